#!/usr/bin/env python3
"""Fine-tuning speed and memory against transformers + PEFT: the same rows, the same 8 rows a step, two threads each, interleaved.

usage: finetune.py --python PEERS_PYTHON --model DIR --data train.jsonl --train-program build/bin/lorry-train
                   [--steps 30] [--rounds 3] [--sort | --qlora] [--dtype bfloat16]
Prints one line a run and a last line of JSON: the median tokens/s of each side (non-pad tokens of the steps after the first five),
peak resident memory, and the ratios. The peer is bench/peers/peft_sft.py; --sort is its batches of like length. --qlora: both sides keep
the base in NF4 (the peer by bitsandbytes), and our own run on the whole base stands beside them.
"""
import argparse, json, pathlib, statistics, subprocess, tempfile

import train_task


def peer(args):
    command = [args.python, str(pathlib.Path(__file__).parent / "peers/peft_sft.py"), "--model", args.model, "--data", args.data,
               "--steps", str(args.steps), "--batch", "8", "--max-length", "512", "--dtype", args.dtype, "--threads", "2"]
    out = subprocess.run(command + ["--" + name for name in ("sort", "qlora") if getattr(args, name)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(out.stdout.splitlines()[-1])


def lorry(args, work, number, kind="lora"):
    rows = f"{work}/rows.jsonl"
    with open(rows, "w") as f:
        for i, line in enumerate(open(args.data)):
            if i == 8 * args.steps:
                break
            f.write(line)
    job = train_task.job(args.model, rows, args.steps, args.dtype)
    job["adapter"]["type"] = kind
    steps, _, peak_mb = train_task.train(args.train_program, f"{work}/run-{kind}{number}", job)
    timed = steps[5:]
    seconds = sum(x["seconds"] for x in timed)
    return {"tokens_per_s": round(sum(x["tokens"] for x in timed) / seconds, 1),
            "loss_tokens_per_s": round(sum(x["loss_tokens"] for x in timed) / seconds, 1),
            "seconds": round(seconds, 2), "peak_rss_mb": peak_mb, "first_loss": round(steps[0]["loss"], 4),
            "last5_loss": round(sum(x["loss"] for x in steps[-5:]) / 5, 4)}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--python", required=True, help="a Python with torch, transformers and peft")
    p.add_argument("--model", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--train-program", required=True)
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--dtype", default="bfloat16")
    p.add_argument("--sort", action="store_true")
    p.add_argument("--qlora", action="store_true")
    args = p.parse_args()
    ours, theirs, whole = [], [], []
    with tempfile.TemporaryDirectory() as work:
        for number in range(args.rounds):
            ours.append(lorry(args, work, number, "qlora" if args.qlora else "lora"))
            print("lorry", json.dumps(ours[-1]), flush=True)
            theirs.append(peer(args))
            print("peft ", json.dumps(theirs[-1]), flush=True)
            if args.qlora:
                whole.append(lorry(args, work, number))
                print("whole", json.dumps(whole[-1]), flush=True)
    median = lambda runs, key: statistics.median(r[key] for r in runs)
    result = {"bench": "finetune", "dtype": args.dtype, "sorted": args.sort, "steps": args.steps, "rounds": args.rounds,
              "lorry_tokens_per_s": median(ours, "tokens_per_s"), "peft_tokens_per_s": median(theirs, "tokens_per_s"),
              "lorry_peak_mb": median(ours, "peak_rss_mb"), "peft_peak_mb": median(theirs, "peak_rss_mb")}
    result["speed_ratio"] = round(result["lorry_tokens_per_s"] / result["peft_tokens_per_s"], 2)
    if whole:
        result["of_our_lora"] = round(result["lorry_tokens_per_s"] / median(whole, "tokens_per_s"), 2)
        result["our_lora_peak_mb"] = median(whole, "peak_rss_mb")
    result["memory_ratio"] = round(result["lorry_peak_mb"] / result["peft_peak_mb"], 3)
    print(json.dumps(result))


main()
