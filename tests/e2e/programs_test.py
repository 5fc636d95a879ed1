#!/usr/bin/env python3
"""What every program answers to --version, --help and wrong words: the statuses that users' scripts rely on."""
import subprocess

from home import BIN

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
    print(f"{len(CASES)} answers as promised")


main()
