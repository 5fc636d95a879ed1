#!/usr/bin/env python3
"""Nothing is lost and nothing done twice: a batch and a fine-tuning whose rank, worker and scheduler are killed with -9 at random
moments end with the bytes of the undisturbed run, and every millisecond of every attempt is billed once.

usage: kill_test.py [batch|finetune] [--seed N] [--kills N] [--rows N] [--steps N] [--model PATH]
--model takes a real model (a GGUF or a Hugging Face directory) and Debian's package descriptions in place of the tiny model and its
rows. A plan's kills must all happen, and each must interrupt work (storm.py): fewer fail the test.

fine-tuning: one rank with two lanes undisturbed, then two ranks with one lane each undisturbed, then two ranks with --kills kills of
each process at random moments, one more of the ranks inside a checkpoint's write, and one more of the worker and of the scheduler
between the output and its report. All three adapters must be the same bytes.

batch: rows computed again are at most those that were in flight at the kills. In flight at the end of an attempt are the rows that were
leased to it and not yet committed, as the scheduler's event `attempt_ended` records them: those that its engine was computing or had
in its queue, and those whose bytes were durable in the attempt's shard, but not yet known. Computed again is a row whose line lies in a
later attempt's shard than one that it was in flight in; a row whose line lies in two shards would have been computed again although
nothing was missing. So the test holds: no row lies in two shards; no row that was durable in an attempt's shard at its end lies in
a later one; what was in flight is never more than an engine asks for ahead; and an attempt more than the first comes from a kill of
engine or worker, never from the scheduler's.
"""
import argparse
import json
import math
import pathlib
import random
import subprocess
import sys
import time

from exact_cost import check_run
from home import ROOT, Home
from storm import RANKS, Storm

ENGINE_ROWS = 64  # that one lane computes at once; it asks for as many again ahead
LANES = 2
# An engine computes what it was leased while the scheduler is dead, and training never waits for it: what there is to do must outlast
# the scheduler's returns, each of up to 2 s.
OUTLAST_SECONDS_A_KILL = 4
MAX_STRETCH = 32

BATCH = """kind: batch
name: rows
project: docs
model: t/model
input: rows.jsonl
output: {out}/
sampling: {{max_tokens: 48, temperature: 0}}
resources: {{cpus: {lanes}}}
"""
FINETUNE = """kind: finetune
name: tune
project: docs
base_model: t/model
dataset: {{path: train.jsonl, max_length: {length}, too_long: truncate}}
adapter: {{r: {r}, alpha: 8}}
training: {{max_steps: {steps}, rows_per_micro_batch: {rows}, micro_batches_per_step: 2, learning_rate: 5.0e-4, precision: {precision}, seed: 3}}
checkpoint: {{every_steps: {every}, keep_last: 2}}
resources: {{cpus: 2, threads_per_lane: 1, ranks: {ranks}}}
retry: {{max_attempts: 50}}
output: {{adapter: t/{out}}}
"""


def tiny_pairs(count):
    for i in range(count):
        yield f"number {i} " + "and the thing in another " * (i % 5 + 1), f"{i % 9}"


def debian_pairs(home, split, count):
    out = home.path / f"{split}.pairs"
    subprocess.run([sys.executable, ROOT / "bench/peers/debian_pairs.py", out, "--split", split, "--limit", str(count)],
                   check=True, stdout=subprocess.DEVNULL)
    for line in out.read_text().splitlines():
        user, assistant = json.loads(line)["messages"]
        yield user["content"], assistant["content"]


def write_inputs(home, args):
    """Rows of the OpenAI form with limits of their own, so that they do not all end together; training rows of the other form."""
    count = args.rows if args.kind == "batch" else args.steps * 8
    pairs = tiny_pairs(count) if args.model is None else debian_pairs(home, "test" if args.kind == "batch" else "train", count)
    with open(home.path / "rows.jsonl", "w") as rows, open(home.path / "train.jsonl", "w") as train:
        for i, (text, synopsis) in enumerate(pairs):
            body = {"model": "t/model", "messages": [{"role": "user", "content": text}], "max_tokens": args.stretch * (4 + i * 7 % 45)}
            rows.write(json.dumps({"custom_id": f"r{i}", "method": "POST", "url": "/v1/chat/completions", "body": body}) + "\n")
            train.write(json.dumps({"prompt": text, "completion": " " + synopsis}) + "\n")


def import_model(home, args):
    if args.model is None:
        args.model = home.path / "tiny"
        subprocess.run([sys.executable, ROOT / "tests/support/tiny_model.py", args.model, "--layers", "4", "--hidden", "192",
                        "--context", "2048"], check=True)
    home.lorry("model", "import", args.model.resolve(), "--name", "t/model")


def submit(home, args, name, ranks=1):
    real = args.real
    job = BATCH.format(out=name, lanes=LANES) if args.kind == "batch" else FINETUNE.format(
        out=name, ranks=ranks, steps=args.steps, every=2 if real else 10, rows=2, r=16 if real else 4, length=512 if real else 200,
        precision=args.precision)
    return home.submit(home.write(f"{name}.yaml", job))


def must_succeed(home, run):
    ended = home.wait(run, 900)
    assert ended["state"] == "succeeded", (ended, home.run("explain", run).stdout)
    return ended


def result_bytes(home, kind, run, name):
    """What the run produced, as bytes to compare."""
    pulled = home.path / f"pulled-{name}"
    if kind == "batch":
        home.lorry("pull", run, "--to", pulled)
        return {n: next(pulled.rglob(n)).read_bytes() for n in ("output.jsonl", "errors.jsonl")}
    home.lorry("adapter", "pull", f"t/{name}", "--to", pulled)
    return {n: next(pulled.rglob(n)).read_bytes() for n in ("adapter_model.safetensors", "adapter_config.json")}


def calm_run(home, args, size, lengthen):
    """The undisturbed run, made so long that it outlasts the scheduler's returns; gives it with its name, and its seconds."""
    for number in range(4):
        name = f"calm-{number}"
        begun = time.monotonic()
        run = submit(home, args, name)
        must_succeed(home, run)
        seconds = time.monotonic() - begun
        print(f"{args.kind}: {size()} undisturbed in {seconds:.1f} s", flush=True)
        if args.real or seconds >= args.outlast or not lengthen(args, math.ceil(args.outlast * 1.2 / seconds)):
            break
        write_inputs(home, args)
    return (run, name), seconds


def lengthen_training(args, times):
    args.steps *= times
    return True


def lengthen_rows(args, times):
    before, args.stretch = args.stretch, min(MAX_STRETCH, args.stretch * times)
    return args.stretch > before


def finetune(home, args, draw):
    """Gives the three runs with their names."""
    calm, seconds = calm_run(home, args, lambda: f"{args.steps} steps", lengthen_training)
    step_seconds = seconds / args.steps
    ranks = submit(home, args, "ranks", 2)
    must_succeed(home, ranks)
    runs = [calm, (ranks, "ranks")]
    run = submit(home, args, "stormy", 2)
    storm = Storm(home, run, "finetune", draw)
    storm.strike_inside_a_checkpoint()
    storm.rage(storm.plan(args.kills, args.steps * 19 // 20))
    storm.strike_after_the_output("lorry-worker", args.steps, step_seconds)
    storm.strike_after_the_output("lorryd", args.steps, step_seconds)
    ended = must_succeed(home, run)
    lost = storm.kills["lorry-train"] + storm.kills["lorry-worker"]
    assert storm.kills["lorryd"] > args.kills and lost > 2 * args.kills + 1, storm.kills
    assert ended["attempts"] == lost + 1, (ended, storm.kills)
    print(f"finetune: {storm.kills}, {ended['attempts']} attempts", flush=True)
    return runs + [(run, "stormy")]


def check_rows(storm, rows, attempts):
    """What the docstring above says of rows computed again, from the shards and the scheduler's events."""
    shards = storm.files.shard_rows()
    assert sorted(row for row, _ in shards) == list(range(rows)), "a row lies in two shards, or in none"
    place = dict(shards)
    in_flight = {n: {row for first, count in event["in_flight"] for row in range(first, first + count)}
                 for n, event in storm.files.ended_attempts().items()}
    assert sorted(in_flight) == list(range(1, attempts + 1)) and not in_flight[attempts], sorted(in_flight)
    again = {(row, n) for n, lost in in_flight.items() for row in lost if place[row] > n}
    flying = sum(len(lost) for lost in in_flight.values())
    assert all(len(lost) <= 2 * LANES * ENGINE_ROWS for lost in in_flight.values()), {n: len(lost) for n, lost in in_flight.items()}
    assert 0 < len(again) <= flying, (len(again), flying)
    print(f"batch: rows in flight at the kills {flying}, of which computed again {len(again)} and offered from the shards {flying - len(again)}; "
          f"rows in two shards 0", flush=True)


def batch(home, args, draw):
    """Gives the two runs with their names."""
    calm, _ = calm_run(home, args, lambda: f"rows of up to {48 * args.stretch} tokens", lengthen_rows)
    run = submit(home, args, "stormy")
    storm = Storm(home, run, "batch", draw)
    storm.rage(storm.plan(args.kills, args.rows * 6 // 10))
    ended = must_succeed(home, run)
    assert all(count == args.kills for count in storm.kills.values()), storm.kills
    assert ended["attempts"] == 1 + storm.kills["lorry-worker"] + storm.kills[RANKS["batch"]], (ended, storm.kills)
    check_rows(storm, args.rows, ended["attempts"])
    print(f"batch: {storm.kills}, {ended['attempts']} attempts", flush=True)
    return [calm, (run, "stormy")]


def check_every_row_once(results, rows):
    ids = [json.loads(line)["custom_id"] for name in ("output.jsonl", "errors.jsonl") for line in results[name].decode().splitlines()]
    assert sorted(ids) == sorted(f"r{i}" for i in range(rows)), f"{len(ids)} rows came out, {len(set(ids))} of them different"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", nargs="?", default="batch", choices=["batch", "finetune"])
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--kills", type=int, help="of each of the three kinds of process (batch 3, finetune 5)")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--model", type=pathlib.Path)
    args = parser.parse_args()
    args.kills = args.kills or (3 if args.kind == "batch" else 5)
    args.outlast = OUTLAST_SECONDS_A_KILL * args.kills
    args.real = args.model is not None
    args.stretch = 1  # how many times longer the batch's rows are than at first
    print(f"seed {args.seed}", flush=True)
    draw = random.Random(args.seed)
    with Home() as home:
        write_inputs(home, args)
        import_model(home, args)
        runs = batch(home, args, draw) if args.kind == "batch" else finetune(home, args, draw)
        results = [result_bytes(home, args.kind, run, name) for run, name in runs]
        assert all(result == results[0] for result in results), "other bytes"
        if args.kind == "batch":
            check_every_row_once(results[0], args.rows)
        for run, _ in runs:
            check_run(home, run)
        print(f"{args.kind}: the same bytes from {len(runs)} runs, every attempt billed to the last digit")


sys.exit(main())
