#!/usr/bin/env python3
"""lorry-batch against transformers: logits of 20 texts, greedy answers of 64 rows, log-probabilities of completions.

usage: batch_parity.py PEERS_DIR BUILD_DIR [--data F.jsonl] [--rows 64] [--threads 2]
The model is PEERS_DIR/smollm2. `--data` has rows of {"id","messages"}, the last turn being the assistant's; without it the
Debian pairs are made. Exit status 1 where a bound is broken:
fp32 logits within 5e-4 of transformers' and no farther from its fp64 logits than 3 times its own fp32; greedy answers in
fp32 equal (a row may part from the peer's only where its two best logits lie within 5e-4); sums of log-probabilities
within 1e-3. How many rows part in bf16 is printed, not bounded.
"""
import argparse, json, pathlib, subprocess, sys, tempfile
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

p = argparse.ArgumentParser()
p.add_argument("peers"); p.add_argument("build"); p.add_argument("--data")
p.add_argument("--rows", type=int, default=64); p.add_argument("--texts", type=int, default=20)
p.add_argument("--max-new", type=int, default=32); p.add_argument("--threads", type=int, default=2)
a = p.parse_args()
torch.set_num_threads(a.threads)
work = tempfile.TemporaryDirectory()
a.model = a.peers + "/smollm2"
if not a.data:
    a.data = work.name + "/test.jsonl"
    pairs = pathlib.Path(__file__).resolve().parents[2] / "bench/peers/debian_pairs.py"
    subprocess.run([sys.executable, str(pairs), a.data, "--split", "test", "--limit", str(a.rows)], check=True, capture_output=True)
program = str(pathlib.Path(a.build) / "bin" / "lorry-batch")
tok = AutoTokenizer.from_pretrained(a.model)
data = [json.loads(l) for l in open(a.data)][: max(a.rows, a.texts)]
prompts = [tok.apply_chat_template(r["messages"][:-1], add_generation_prompt=True, tokenize=False) for r in data]
report, bad = {}, []


def run(*args):
    out = subprocess.run([program, *args, "--threads", str(a.threads)], capture_output=True, text=True)
    if out.returncode:
        sys.exit(out.stderr)
    return json.loads(out.stdout)


def logits():
    ids = [tok(t, add_special_tokens=False)["input_ids"] for t in prompts[: a.texts]]
    file, out = work.name + "/ids.jsonl", work.name + "/logits.f32"
    open(file, "w").write("".join(json.dumps({"ids": i}) + "\n" for i in ids))
    head = run("logits", "--model", a.model, "--data", file, "--out", out, "--dtype", "float32")
    ours = np.fromfile(out, dtype=np.float32).reshape(-1, head["vocab_size"])
    worst32 = worst64 = own = 0.0
    m32 = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
    m64 = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float64).eval()
    at = 0
    with torch.inference_mode():
        for i in ids:
            x = torch.tensor([i])
            t32, t64 = m32(x).logits[0].numpy(), m64(x).logits[0].numpy()
            mine = ours[at: at + len(i)]; at += len(i)
            worst32 = max(worst32, float(np.abs(mine - t32).max()))
            worst64 = max(worst64, float(np.abs(mine - t64).max())); own = max(own, float(np.abs(t32 - t64).max()))
    report["logits"] = {"texts": len(ids), "tokens": at, "largest_difference_fp32": worst32, "from_fp64": worst64, "peer_fp32_from_fp64": own}
    if worst32 > 5e-4 or worst64 > 3 * own: bad.append("logits")
    return m32


def greedy(m32):
    file = work.name + "/rows.jsonl"
    open(file, "w").write("".join(json.dumps({"id": r["id"], "messages": r["messages"][:-1]}) + "\n" for r in data[: a.rows]))
    theirs, gaps = [], []
    with torch.inference_mode():
        for t in prompts[: a.rows]:
            x = tok(t, return_tensors="pt", add_special_tokens=False)
            y = m32.generate(**x, max_new_tokens=a.max_new, do_sample=False, pad_token_id=tok.pad_token_id, output_logits=True, return_dict_in_generate=True)
            theirs.append(y.sequences[0, x["input_ids"].shape[1]:].tolist())
            gaps.append([float(torch.topk(l[0], 2).values.diff().abs()) for l in y.logits])
    for dtype in ("float32", "bfloat16"):
        rows = run("generate", "--model", a.model, "--data", file, "--max-tokens", str(a.max_new), "--dtype", dtype)["rows"]
        parted = []
        for k, (row, want) in enumerate(zip(rows, theirs)):
            if row["tokens"] == want: continue
            at = next((i for i, (x, y) in enumerate(zip(row["tokens"], want)) if x != y), min(len(row["tokens"]), len(want)))
            parted.append(round(gaps[k][at], 6) if at < len(gaps[k]) else None)
        report["greedy_" + dtype] = {"rows": len(rows), "rows_that_part": len(parted), "gap_of_the_two_best_where_they_part": parted[:10]}
        if dtype == "float32" and any(g is None or g > 5e-4 for g in parted): bad.append("greedy")


def score(m32):
    file = work.name + "/score.jsonl"
    open(file, "w").write("".join(json.dumps({"messages": r["messages"]}) + "\n" for r in data[: a.texts]))
    ours = run("score", "--model", a.model, "--data", file, "--dtype", "float32")
    worst = 0.0
    with torch.inference_mode():
        for r, row, prompt in zip(data, ours["rows"], prompts):
            full = tok.apply_chat_template(r["messages"], tokenize=False)
            x = tok(full, return_tensors="pt", add_special_tokens=False)["input_ids"]
            n = len(tok(prompt, add_special_tokens=False)["input_ids"])
            lp = torch.log_softmax(m32(x).logits[0, n - 1: -1].double(), -1).gather(1, x[0, n:, None])[:, 0]
            worst = max(worst, abs(float(lp[: row["tokens"]].sum()) - row["sum_logprob"]))
    report["score"] = {"rows": len(ours["rows"]), "perplexity": ours["perplexity"], "largest_difference_of_sums": worst}
    if worst > 1e-3: bad.append("score")


model = logits()
greedy(model)
score(model)
print(json.dumps({**report, "broken": bad}, indent=1))
sys.exit(1 if bad else 0)
