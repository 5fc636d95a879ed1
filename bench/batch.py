#!/usr/bin/env python3
"""Batch rows per second, lorry-batch against transformers' generate: same rows, same threads, interleaved, median of three.

usage: batch.py BUILD_DIR --model DIR --data F.jsonl [--rows 64] [--threads 2] [--repeat 3] [--python PYTHON] [--lanes 2]
`--data` has rows of {"id","messages"}, the last turn being the assistant's. The peer is bench/peers/hf_generate.py. Times
are of the computing alone on both sides: loading the model is in neither.
"""
import argparse, json, os, pathlib, statistics, subprocess, sys, tempfile

p = argparse.ArgumentParser()
p.add_argument("build"); p.add_argument("--model", required=True); p.add_argument("--data", required=True)
p.add_argument("--rows", type=int, default=64); p.add_argument("--threads", type=int, default=2)
p.add_argument("--repeat", type=int, default=3); p.add_argument("--python", default=sys.executable)
p.add_argument("--lanes", type=int, default=0, help="lanes of one thread each, in place of one lane of all threads")
p.add_argument("--max-new", type=int, default=32); p.add_argument("--dtype", default="bfloat16")
a = p.parse_args()
here = pathlib.Path(__file__).resolve().parent
data = [json.loads(l) for l in open(a.data)][: a.rows]
work = tempfile.TemporaryDirectory()
rows_file = work.name + "/rows.jsonl"
open(rows_file, "w").write("".join(json.dumps({"id": r["id"], "messages": r["messages"][:-1]}) + "\n" for r in data))
env = {**os.environ, "OMP_NUM_THREADS": str(a.threads)}


def ours():
    command = [a.build + "/bin/lorry-batch", "generate", "--model", a.model, "--data", rows_file, "--max-tokens", str(a.max_new), "--dtype", a.dtype]
    command += ["--lanes", str(a.lanes), "--threads", "1"] if a.lanes else ["--threads", str(a.threads)]
    document = json.loads(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
    assert len(document["rows"]) == len(data) and not any(r["error"] for r in document["rows"])
    return len(data) / document["seconds"], document["counters"]


def theirs():
    command = [a.python, str(here / "peers/hf_generate.py"), "--model", a.model, "--data", a.data, "--rows", str(a.rows), "--threads", str(a.threads),
               "--max-new", str(a.max_new), "--dtype", a.dtype]
    return json.loads(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip().split("\n")[-1])["rows_per_s"]


mine, peer = [], []
for _ in range(a.repeat):
    peer.append(theirs())
    rate, counters = ours()
    mine.append(rate)
m, q = statistics.median(mine), statistics.median(peer)
print(json.dumps({"bench": "batch", "rows": len(data), "dtype": a.dtype, "threads": a.threads, "lanes": a.lanes or 1,
                  "lorry_rows_per_s": [round(x, 3) for x in mine], "transformers_rows_per_s": [round(x, 3) for x in peer],
                  "median": [round(m, 3), round(q, 3)], "ratio": round(m / q, 2), "counters": counters}))
