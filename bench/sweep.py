#!/usr/bin/env python3
"""An 8-point sweep on one resident base, against the same eight trainings one after the other and against eight runs of transformers +
PEFT: wall time from start to written adapters, start-up included, and peak resident memory. The same rows, 8 a step, two threads.

usage: sweep.py --python PEERS_PYTHON --model DIR --data train.jsonl --train-program build/bin/lorry-train
                [--steps 6] [--peft-runs 8] [--dtype bfloat16]
Eight points: four learning rates by two ranks. With --peft-runs below 8 the peer's time is that of so many, scaled, and the last line
says so. Prints one line a side and a last line of JSON.
"""
import argparse, json, os, pathlib, subprocess, sys, tempfile, time

import train_task

RATES, RANKS = (5e-5, 1e-4, 2e-4, 4e-4), (8, 16)


def lorry(args, work, name, changes):
    """Seconds and peak MB of one lorry-train."""
    job = train_task.job(args.model, f"{work}/rows.jsonl", args.steps, args.dtype)
    job["dataset"]["validation"] = f"{work}/held_out.jsonl"
    for path, value in changes.items():
        section, _, key = path.partition(".")
        if key:
            job[section][key] = value
        else:
            job[section] = value
    return train_task.train(args.train_program, f"{work}/{name}", job)[1:]


def peer(args, rank, rate):
    command = [args.python, str(pathlib.Path(__file__).parent / "peers/peft_sft.py"), "--model", args.model, "--data", args.data,
               "--steps", str(args.steps), "--batch", "8", "--max-length", "512", "--dtype", args.dtype, "--threads", "2",
               "--r", str(rank), "--lr", str(rate)]
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"peft_sft.py ended with status {status}")
    return time.monotonic() - start, usage.ru_maxrss // 1024


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--python", required=True, help="a Python with torch, transformers and peft")
    p.add_argument("--model", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--train-program", required=True)
    p.add_argument("--steps", type=int, default=6)
    p.add_argument("--peft-runs", type=int, default=8)
    p.add_argument("--dtype", default="bfloat16")
    args = p.parse_args()
    if args.steps < 6:
        p.error("--steps must be 6 or more: the peer counts the steps after its first five")
    points = [(rank, rate) for rank in RANKS for rate in RATES]
    with tempfile.TemporaryDirectory() as work:
        lines = open(args.data).readlines()
        open(f"{work}/rows.jsonl", "w").writelines(lines[: 8 * args.steps])
        open(f"{work}/held_out.jsonl", "w").writelines(lines[8 * args.steps : 8 * args.steps + 4])
        space = {"adapter.r": list(RANKS), "training.learning_rate": list(RATES)}
        together = lorry(args, work, "together", {"sweep": {"space": space}})
        print(f"lorry, one sweep: {together[0]:.1f} s, {together[1]} MB", flush=True)
        alone = [lorry(args, work, f"alone{i}", {"adapter.r": rank, "training.learning_rate": rate}) for i, (rank, rate) in enumerate(points)]
        print(f"lorry, one by one: {sum(t for t, _ in alone):.1f} s, at most {max(m for _, m in alone)} MB", flush=True)
        theirs = [peer(args, *point) for point in points[: args.peft_runs]]
        print(f"peft, {len(theirs)} runs: {sum(t for t, _ in theirs):.1f} s, at most {max(m for _, m in theirs)} MB", flush=True)
    peft = sum(t for t, _ in theirs) * len(points) / len(theirs)
    sequence = sum(t for t, _ in alone)
    print(json.dumps({"bench": "sweep", "dtype": args.dtype, "points": len(points), "steps": args.steps, "peft_runs_measured": len(theirs),
                      "sweep_s": round(together[0], 1), "sequence_s": round(sequence, 1), "peft_s": round(peft, 1),
                      "faster_than_peft": round(peft / together[0], 2), "faster_than_sequence": round(sequence / together[0], 2),
                      "memory_over_one_run": round(together[1] / max(m for _, m in alone), 3)}))


main()
