#!/usr/bin/env python3
"""What every program answers to --version, --help and wrong words: the statuses that users' scripts rely on."""
import json
import pathlib
import socket
import subprocess
import sys
import tempfile

from home import BIN, ROOT, Home, free_port

# program | words | status | what the answer holds
CASES = [(program, [flag], 0, holds) for program in ("lorry", "lorryd", "lorry-worker", "lorry-train", "lorry-batch")
         for flag, holds in (("--version", f"{program} "), ("--help", "Example: "))]
CASES += [(program, [*needed, "--no-such-option"], 2, "no-such-option")
          for program, *needed in (["lorry", "ps"], ["lorryd", "--home", "/nowhere"], ["lorry-worker"], ["lorry-train", "--task", "/nowhere"], ["lorry-batch"])]
CASES += [
    ("lorryd", [], 2, "--home is required"),
    ("lorryd", ["--home", "/nowhere", "--port", "65536"], 2, "--port"),
    ("lorryd", ["--home"], 2, "--home"),
    ("lorry-worker", ["--home", "/nowhere", "one", "two"], 2, "one"),
    ("lorry-train", [], 2, "--task is required"),
    ("lorry-batch", [], 2, "neither --task nor a command"),
    ("lorry-batch", ["score"], 2, "is required"),
    ("lorry-batch", ["generate", "--model", "/nowhere", "--dtype", "int8"], 2, "--dtype"),
    ("lorry", [], 2, "subcommand"),
    ("lorry", ["plam"], 2, 'did you mean "plan"?'),
    ("lorry", ["submit"], 2, "job is required"),
]


def main():
    wrong = []
    for program, words, status, holds in CASES:
        done = subprocess.run([str(BIN / program), *words], capture_output=True, text=True, timeout=60)
        answer, other = (done.stdout, done.stderr) if status == 0 else (done.stderr, done.stdout)
        if done.returncode != status or holds not in answer or other:
            wrong.append(f"{program} {' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    assert not wrong, "\n".join(wrong)
    up_refuses_alike()
    without_a_temporary_folder()
    print(f"{len(CASES)} answers as promised")


def without_a_temporary_folder():
    """No room for temporary files is a storage error of the command, and no end of lorryd."""
    with Home(devices="cpu:1", environment={"TMPDIR": "/nowhere"}) as home:
        model = home.path / "tiny"
        subprocess.run([sys.executable, ROOT / "tests" / "support" / "tiny_model.py", model], check=True)
        before = home.processes("lorryd")
        for words in (("model", "import", model, "--name", "t/tiny"), ("generate", "--model", model, "--prompt", "a")):
            done = home.run(*words)
            assert done.returncode == 1 and "cannot make a temporary folder /nowhere" in done.stderr and "TMPDIR" in done.stderr, done
        assert home.processes("lorryd") == before, "lorryd was started again"


def up_refuses_alike():
    """What `lorry up` cannot start with has one status and one reason, whether it detaches or not."""
    with socket.socket() as taken, tempfile.TemporaryDirectory() as folder:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        # file of the home | what it holds | words | status | what the error says
        refusals = [
            ("none", "", ["--port", str(port)], 1, f"port {port} is taken"),
            ("cluster.yaml", "http_prot: 8600\n", [], 2, "http_prot: unknown key"),
            ("cluster.yaml", "bind: 0.0.0.0\n", ["--port", str(free_port())], 4, "need TLS and at least one token"),
            ("none", "", ["--port", str(free_port()), "--devices", "gpu:nine"], 2, "devices"),
            ("prices.yaml", "prices: {}\n", ["--port", str(free_port())], 2, "prices: expected a list"),
        ]
        for number, (name, text, words, status, says) in enumerate(refusals):
            home = pathlib.Path(folder, str(number))
            home.mkdir()
            (home / name).write_text(text)
            for detach in ([], ["--detach"]):
                devices = [] if "--devices" in words else ["--devices", "cpu:1"]
                done = subprocess.run([BIN / "lorry", "up", "--home", home, *devices, "--json", *words, *detach],
                                      capture_output=True, text=True, timeout=60)
                error = json.loads(done.stdout)["error"]
                assert done.returncode == status and says in done.stderr, (words, detach, done)
                assert error["message"] and (status != 2 or error["code"] == "spec_error"), done


main()
