#!/usr/bin/env python3
"""The bills of a home that is there already, such as the demo's: every run of it costs what exact fractions give from its recorded
device-milliseconds and prices (tests/e2e/exact_cost.py), to the last digit.

usage: bills_live.py PEERS_DIR BUILD_DIR [--home DIR]      (of PEERS_DIR nothing is needed; DIR: $LORRY_HOME, else out/demo/home)
A home that is down is brought up for this and taken down again.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from exact_cost import check_run, usd  # noqa: E402
from home import free_port  # noqa: E402

NOT_REACHABLE = 3


class StandingHome:
    """A home of somebody else's, asked through the commands that users have."""

    def __init__(self, programs, path):
        self.program = programs / "lorry"
        self.env = {**os.environ, "LORRY_HOME": str(path)}

    def run(self, *words):
        return subprocess.run([self.program, *words, "--json"], env=self.env, capture_output=True, text=True, timeout=300)

    def lorry(self, *words):
        done = self.run(*words)
        assert done.returncode == 0, (words, done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peers")
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--home", type=pathlib.Path, default=pathlib.Path(os.environ.get("LORRY_HOME", "out/demo/home")))
    args = parser.parse_args()
    if not (args.home / "state.db").exists():
        sys.exit(f"{args.home} is no home of Lorry's; scripts/demo makes one")
    home = StandingHome(args.build.resolve() / "bin", args.home.resolve())
    was_down = home.run("ps").returncode == NOT_REACHABLE
    if was_down:
        home.lorry("up", "--detach", "--port", str(free_port()))
    try:
        home.lorry("ledger", "verify")
        runs = home.lorry("ps", "--all")["runs"]
        billed = [(run, check_run(home, run["run"])) for run in runs if run["state"] in ("succeeded", "failed", "cancelled", "expired")]
        assert billed, "no run has ended here"
        for run, total in billed:
            print(f"{run['run']}  {run['name']:16} ${usd(total)}")
        print(f"{len(billed)} bills equal to the last digit")
    finally:
        if was_down:
            home.run("down")


main()
