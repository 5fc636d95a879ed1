"""A Lorry home of a test's own: real daemons on loopback, killed and looked after through the commands that users have."""
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

BIN = pathlib.Path(os.environ.get("LORRY_BIN", "build/release/bin")).resolve()
NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def free_port():
    """A port P such that P, P+1 and P+2 are free now."""
    while True:
        port = random.randrange(20000, 50000)
        try:
            for offset in range(3):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
            return port
        except OSError:
            continue


def wait_for(what, condition, seconds=60.0):
    """Polls until `condition()` gives something true; fails the test with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.02)


class Home:
    """with Home() as home: ...   stops the daemons and removes the folder at the end, printing the logs if the test failed."""

    def __init__(self, devices="cpu:2", environment=None, beneath=".", user=None):
        self.folder = tempfile.TemporaryDirectory(prefix="lorry-e2e-")
        self.path = pathlib.Path(self.folder.name)
        self.home = self.path / beneath / "home"
        self.devices = devices
        self.prefix, self.bin = [], BIN
        if user is not None:  # root runs its programs as a user whom modes of files hold back, and who may not reach the build either
            self.prefix, self.bin = AS_NOBODY, self.path / "bin"
            shutil.copytree(BIN, self.bin)
            os.chown(self.path, user, user)
        self.env = {**os.environ, "LORRY_HOME": str(self.home), **(environment or {})}

    def __enter__(self):
        self.addresses = self.lorry("up", "--detach", "--devices", self.devices, "--port", str(free_port()))
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None:
            for log in sorted(p for p in self.home.rglob("*.log") if p.name != "steps.log"):
                print(f"--- {log.relative_to(self.home)}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
        self.run("down")
        if self.home.parent == self.path:  # else it is on a file system of somebody else's
            self.folder.cleanup()

    def run(self, *words, **options):
        return subprocess.run([*self.prefix, self.bin / "lorry", *map(str, words)], env=self.env, capture_output=True, text=True, timeout=600, **options)

    def lorry(self, *words, status=0):
        """`lorry WORDS --json`: its document. The exit status must be `status`."""
        done = self.run(*words, "--json")
        assert done.returncode == status, f"lorry {words} ended with {done.returncode}, not {status}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def write(self, name, text):
        path = self.path / name
        path.write_text(text)
        return path

    def tiny_model(self, *options, name="t/tiny"):
        """Imports the tiny random model; gives its folder."""
        folder = self.path / "tiny"
        subprocess.run([sys.executable, ROOT / "tests" / "support" / "tiny_model.py", folder, *options], check=True)
        self.lorry("model", "import", folder, "--name", name)
        return folder

    def submit(self, job, *words):
        return self.lorry("submit", job, *words)["run"]

    def state(self, run):
        for row in self.lorry("ps", "--all")["runs"]:
            if row["run"] == run:
                return row
        raise AssertionError(f"no run {run}")

    def wait(self, run, seconds=300):
        row = wait_for(f"the end of {run}", lambda: (lambda r: r if r["state"] in ("succeeded", "failed", "cancelled", "expired") else None)(self.state(run)),
                       seconds)
        return row

    def processes(self, program):
        """The pids of this home's processes that run `program`, oldest first."""
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                words = pathlib.Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
                if os.path.basename(words[0]) == program.encode() and any(str(self.home).encode() in w for w in words):
                    found.append(int(entry))
            except OSError:
                continue
        return sorted(found)

    def kill(self, program):
        """kill -9 of every process of this home that runs `program`; how many there were."""
        pids = self.processes(program)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return len(pids)
