#!/usr/bin/env python3
"""Tiny random checkpoints of every family, made now with transformers and PEFT at other seeds than the recorded ones, and computed
by us: logits (training and engine), gradients of every adapter matrix, 100 steps of training.

usage: families_live.py PEERS_DIR BUILD_DIR [--seeds 3] [--steps 100]
Bounds as in tests/lora/golden_test.cc: fp32 logits within 5e-4 of transformers' and no farther from its fp64 ones than three times
its own; each gradient within 1e-5 of PEFT's fp64 one (L2 of the difference over L2); each loss within 2e-5 of PEFT's, in a setting
where PEFT in fp64 stays within 1e-5 of PEFT in fp32, which is printed.
"""
import argparse
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

FP64_LIMIT = 1e-5


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peers")
    parser.add_argument("build")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    root = pathlib.Path(__file__).resolve().parents[2]
    tests = pathlib.Path(options.build).resolve() / "tests"
    failed = False
    for seed in random.sample(range(1000, 10**6), options.seeds):
        with tempfile.TemporaryDirectory() as cases:
            make = [sys.executable, str(root / "tests/golden/make_decoder.py"), cases, "--steps", str(options.steps), "--seed", str(seed)]
            made = subprocess.run(make, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
            if made.returncode:
                sys.exit(made.stderr)
            strays = [float(x) for x in re.findall(r"strays (\S+) from", made.stdout)]
            print(f"seed {seed}: {len(strays)} checkpoints; PEFT in fp64 at most {max(strays):.1e} from PEFT in fp32", flush=True)
            failed |= max(strays) > FP64_LIMIT
            for program in ("lora/lora_test", "batch/batch_model_test"):
                run = subprocess.run([str(tests / program), "[golden]"], cwd=root, capture_output=True, text=True,
                                     env={**os.environ, "LORRY_DECODER_CASES": cases})
                for line in re.findall(r"\S+: farthest of[^)]*\)", run.stdout):
                    print("  " + " ".join(line.split()))
                print(f"  {program}: {run.stdout.strip().splitlines()[-1]}", flush=True)
                if run.returncode:
                    failed = True
                    print(run.stdout)
    print("FAILED" if failed else "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
