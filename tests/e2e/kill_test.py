#!/usr/bin/env python3
"""Nothing is lost and nothing done twice: a batch and a fine-tuning whose processes are killed with -9 at random moments end with
the bytes of the undisturbed run, and every millisecond of every attempt is billed once.

usage: kill_test.py [batch|finetune] [--seed N] [--rows N] [--kills N]
"""
import argparse
import json
import random
import sys
import time

from exact_cost import check_run
from home import Home, wait_for

BATCH = """kind: batch
name: rows
project: docs
model: t/tiny
input: rows.jsonl
prompt: "Tell: {{{{ text }}}}"
output: {out}/
sampling: {{max_tokens: 48, temperature: 0}}
resources: {{cpus: 2}}
"""
FINETUNE = """kind: finetune
name: tune
project: docs
base_model: t/tiny
dataset: {{path: train.jsonl, max_length: 200, too_long: truncate}}
adapter: {{r: 4, alpha: 8}}
training: {{max_steps: 500, rows_per_micro_batch: 4, micro_batches_per_step: 2, learning_rate: 1.0e-3, precision: fp32, seed: 3}}
checkpoint: {{every_steps: 25, keep_last: 2}}
resources: {{cpus: 2, threads_per_lane: 1, ranks: 1}}
retry: {{max_attempts: 50}}
output: {{adapter: t/{out}}}
"""


def write_inputs(home, rows):
    text = lambda i: f"number {i} " + "and the thing in another " * (i % 5 + 1)
    home.write("rows.jsonl", "".join(json.dumps({"id": f"r{i}", "text": text(i)}) + "\n" for i in range(rows)))
    home.write("train.jsonl", "".join(json.dumps({"prompt": text(i), "completion": f" {i % 9}"}) + "\n" for i in range(1280)))


def submit(home, kind, name):
    job = (BATCH if kind == "batch" else FINETUNE).format(out=name)
    return home.submit(home.write(f"{name}.yaml", job))


def result_bytes(home, kind, run, name):
    """What the run produced, as bytes to compare."""
    if kind == "batch":
        home.lorry("pull", run, "--to", home.path / f"pulled-{name}")
        return next((home.path / f"pulled-{name}").rglob("output.jsonl")).read_bytes()
    home.lorry("adapter", "pull", f"t/{name}", "--to", home.path / f"pulled-{name}")
    return next((home.path / f"pulled-{name}").rglob("adapter_model.safetensors")).read_bytes()


def disturb(home, kind, run, kills, draw):
    """Kills each kind of process `kills` times while the run is under way; how often something that worked was hit."""
    program = "lorry-batch" if kind == "batch" else "lorry-train"
    order = ["lorryd", "lorry-worker", program] * kills
    draw.shuffle(order)
    hits = 0
    for victim in order:
        ended = lambda: home.run("ps", "--all", "--json").returncode == 0 and home.state(run)["state"] == "succeeded"
        wait_for(f"{victim} at work", lambda: home.processes(victim) and home.processes(program) or ended(), 120)
        if not home.processes(program):
            break
        time.sleep(draw.uniform(0.0, 0.8))  # the random moment; nothing waits for it
        hits += home.kill(victim) > 0
    return hits


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", nargs="?", default="batch", choices=["batch", "finetune"])
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--kills", type=int, default=3)
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    draw = random.Random(args.seed)
    with Home() as home:
        home.tiny_model("--layers", "4", "--hidden", "192")  # slow enough to be hit
        write_inputs(home, args.rows)
        calm = submit(home, args.kind, "calm")
        assert home.wait(calm)["state"] == "succeeded", home.run("explain", calm).stdout
        stormy = submit(home, args.kind, "stormy")
        hits = disturb(home, args.kind, stormy, args.kills, draw)
        ended = home.wait(stormy)
        assert ended["state"] == "succeeded", (ended, home.run("explain", stormy).stdout)
        assert hits > 0 and home.state(stormy)["attempts"] > 1, f"no work was interrupted ({hits} kills)"
        assert result_bytes(home, args.kind, calm, "calm") == result_bytes(home, args.kind, stormy, "stormy"), "other bytes"
        for run in (calm, stormy):
            check_run(home, run)
        print(f"{args.kind}: {hits} kills, {home.state(stormy)['attempts']} attempts, the same bytes")


sys.exit(main())
