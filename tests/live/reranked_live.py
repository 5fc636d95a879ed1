#!/usr/bin/env python3
"""Twenty runs of lorry-train, each killed with -9 at random steps and resumed on one, two or four ranks by chance: all twenty adapters
and traces are the undisturbed run's, byte for byte. Seed, ranks and moments are printed.

usage: reranked_live.py PEERS_DIR BUILD_DIR        (PEERS_DIR is not looked at; LORRY_SEED repeats a run)
"""
import os
import pathlib
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parents[2]
build = pathlib.Path(sys.argv[2]).resolve()
environment = {**os.environ, "LORRY_BIN": str(build / "bin")}
sys.exit(subprocess.run([str(build / "tests/trainers/trainers_test"), "[.twenty]"], cwd=root, env=environment).returncode)
