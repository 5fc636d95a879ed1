#!/usr/bin/env python3
"""The kills of tests/e2e/kill_test.py on the real model with Debian's package descriptions: a fine-tuning and a batch of 500 rows.

usage: kills_live.py PEERS_DIR BUILD_DIR      exit status 1 where one of them does not hold
"""
import os
import pathlib
import subprocess
import sys

peers, build = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
e2e = pathlib.Path(__file__).resolve().parent.parent / "e2e" / "kill_test.py"
failed = 0
for words in (["finetune", "--steps", "45", "--precision", "bf16"], ["batch", "--rows", "500"]):
    done = subprocess.run([sys.executable, e2e, *words, "--model", peers / "smollm2"], env={**os.environ, "LORRY_BIN": str(build / "bin")})
    failed += done.returncode != 0
sys.exit(1 if failed else 0)
