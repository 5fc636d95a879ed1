#!/usr/bin/env python3
"""Fine-tuning speed and memory against transformers + PEFT: the same rows, the same 8 rows a step, two threads each, interleaved.

usage: finetune.py --python PEERS_PYTHON --model DIR --data train.jsonl --train-program build/bin/lorry-train
                   [--steps 30] [--rounds 3] [--sort | --qlora] [--dtype bfloat16]
Prints one line a run and a last line of JSON: the median tokens/s of each side (non-pad tokens of the steps after the first five),
peak resident memory, and the ratios. The peer is bench/peers/peft_sft.py; --sort is its batches of like length. --qlora: both sides keep
the base in NF4 (the peer by bitsandbytes), and our own run on the whole base stands beside them.
"""
import argparse, json, os, pathlib, statistics, subprocess, sys, tempfile


def peer(args):
    command = [args.python, str(pathlib.Path(__file__).parent / "peers/peft_sft.py"), "--model", args.model, "--data", args.data,
               "--steps", str(args.steps), "--batch", "8", "--max-length", "512", "--dtype", args.dtype, "--threads", "2"]
    out = subprocess.run(command + ["--" + name for name in ("sort", "qlora") if getattr(args, name)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(out.stdout.splitlines()[-1])


def lorry(args, work, number, kind="lora"):
    run = f"{work}/run-{kind}{number}"
    os.makedirs(f"{run}/attempts/1")
    rows = f"{work}/rows.jsonl"
    with open(rows, "w") as f:
        for i, line in enumerate(open(args.data)):
            if i == 8 * args.steps:
                break
            f.write(line)
    inputs = {"base_model": os.path.abspath(args.model), "train": rows}
    job = {"kind": "finetune", "name": "bench", "project": "bench", "base_model": inputs["base_model"],
           "dataset": {"path": rows, "max_length": 512, "too_long": "truncate", "shuffle": False},
           "adapter": {"type": kind, "r": 16, "alpha": 32},
           "training": {"max_steps": args.steps, "rows_per_micro_batch": 4, "micro_batches_per_step": 2, "learning_rate": 2e-4,
                        "lr_scheduler": "constant", "precision": "bf16" if args.dtype == "bfloat16" else "fp32"},
           "resources": {"cpus": 2}, "output": {"adapter": "bench/adapter"}}
    task = {"schema": 1, "run": "R1", "attempt": 1, "epoch": 1, "kind": "finetune", "job": job, "attempt_dir": f"{run}/attempts/1",
            "run_dir": run, "cache_dir": f"{work}/cache{number}", "socket": None, "ranks": 1, "lanes": 2, "threads_per_lane": 1,
            "inputs": inputs, "resume_from": None, "shards": []}
    json.dump(task, open(f"{run}/task.json", "w"))
    child = subprocess.Popen([args.train_program, "--task", f"{run}/task.json"], stdout=subprocess.PIPE, text=True)
    steps = [x for x in map(json.loads, child.stdout) if x["t"] == "step"]
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"lorry-train ended with status {status}")
    timed = steps[5:]
    seconds = sum(x["seconds"] for x in timed)
    return {"tokens_per_s": round(sum(x["tokens"] for x in timed) / seconds, 1),
            "loss_tokens_per_s": round(sum(x["loss_tokens"] for x in timed) / seconds, 1),
            "seconds": round(seconds, 2), "peak_rss_mb": usage.ru_maxrss // 1024, "first_loss": round(steps[0]["loss"], 4),
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
