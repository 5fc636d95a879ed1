#!/usr/bin/env python3
"""lorry-batch on the real model, killed with -9 at random moments and begun again: every row comes out once, the bytes are
those of a run that nobody disturbed, and no row that was written is computed again.

usage: batch_kill.py PEERS_DIR BUILD_DIR [--rows 200] [--kills 5] [--seed N]      exit status 1 where that does not hold
"""
import argparse, hashlib, json, os, pathlib, random, signal, struct, subprocess, sys, tempfile, time

p = argparse.ArgumentParser()
p.add_argument("peers"); p.add_argument("build")
p.add_argument("--rows", type=int, default=200); p.add_argument("--kills", type=int, default=5)
p.add_argument("--seed", type=int, default=int(time.time()))
a = p.parse_args()
rng = random.Random(a.seed)
root = pathlib.Path(__file__).resolve().parents[2]
work = tempfile.TemporaryDirectory()
pairs, rows = work.name + "/pairs.jsonl", work.name + "/rows.jsonl"
subprocess.run([sys.executable, str(root / "bench/peers/debian_pairs.py"), pairs, "--split", "test", "--limit", str(a.rows)], check=True, capture_output=True)
with open(rows, "w") as f:
    for line in open(pairs):
        r = json.loads(line)
        f.write(json.dumps({"id": r["id"], "messages": r["messages"][:-1], "synopsis": r["messages"][-1]["content"]}) + "\n")
job = {"kind": "batch", "name": "kill", "project": "tests", "model": os.path.abspath(a.peers) + "/smollm2", "input": rows, "output": work.name + "/out",
       "sampling": {"max_tokens": 32, "temperature": 0.7, "top_p": 0.9, "seed": 7, "stop": []}, "resources": {"cpus": 2},
       "evaluate": {"reference": "synopsis", "metrics": ["rouge"]}}


def start(run, attempt):
    d = f"{work.name}/{run}/attempts/{attempt}"
    os.makedirs(d)
    task = {"schema": 1, "run": run, "attempt": attempt, "epoch": attempt, "kind": "batch", "job": job, "attempt_dir": d, "run_dir": f"{work.name}/{run}",
            "cache_dir": work.name + "/cache", "socket": None, "ranks": 1, "lanes": 2, "threads_per_lane": 1,
            "inputs": {"base_model": job["model"], "adapter": None, "input": rows}, "resume_from": None, "shards": []}
    json.dump(task, open(d + "/task.json", "w"))
    return d, subprocess.Popen([a.build + "/bin/lorry-batch", "--task", d + "/task.json"], stdout=open(d + "/lines", "w"), stderr=subprocess.STDOUT)


def rows_in(d):
    """Indices of the whole rows of an attempt's shard (docs/formats/batch-shards.md)."""
    try: b = open(d + "/shard-0.rows", "rb").read()
    except FileNotFoundError: return []
    at, out = 8, []
    while at + 8 <= len(b):
        n = struct.unpack_from("<I", b, at)[0]
        if at + 8 + n > len(b): break
        out.append(struct.unpack_from("<Q", b, at + 8 + 16)[0]); at += 8 + n
    return out


def outputs(d):
    return {f: hashlib.sha256(open(f"{d}/output/{f}", "rb").read()).hexdigest() for f in ("output.jsonl", "errors.jsonl", "report.json", "report.html")}


d, whole = start("whole", 1)
begin = time.monotonic()
if whole.wait(): sys.exit(open(d + "/lines").read())
seconds, want = time.monotonic() - begin, outputs(d)
print(f"seed {a.seed}; undisturbed: {a.rows} rows in {seconds:.1f} s with loading")
computed, interrupted, attempt = [], 0, 0
while True:
    attempt += 1
    d, child = start("killed", attempt)
    if attempt > a.kills:
        if child.wait(): sys.exit(open(d + "/lines").read())
        computed += rows_in(d)
        break
    target = rng.randrange(1, max(2, a.rows // (a.kills + 1)))
    while child.poll() is None and len(rows_in(d)) < target:
        try: child.wait(0.02)
        except subprocess.TimeoutExpired: pass
    if child.poll() is None: child.send_signal(signal.SIGKILL)
    ended = child.wait() == 0
    got = rows_in(d)
    print(f"attempt {attempt}: killed with {len(got)} rows written")
    computed += got
    interrupted += not ended and 0 < len(got) < a.rows
    if ended: break
result = {"rows": a.rows, "attempts": attempt, "interrupted": interrupted, "rows_computed": len(computed), "computed_twice": len(computed) - len(set(computed)),
          "bytes_equal": outputs(d) == want, "lines": sum(1 for _ in open(d + "/output/output.jsonl"))}
print(json.dumps(result))
sys.exit(0 if result["bytes_equal"] and not result["computed_twice"] and len(computed) == a.rows and interrupted else 1)
