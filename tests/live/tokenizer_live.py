#!/usr/bin/env python3
"""Holds our tokenizer and chat templates against transformers and `tokenizers`: same ids, same text, same rendered chats.

usage: tokenizer_live.py PEERS_DIR BUILD_DIR [--model DIR] [--rows 100000] [--strings 20000] [--seed 1]
The model is PEERS_DIR/smollm2; the rows are the Debian test pairs. Prints one line per check; status 1 where any differs.
"""
import argparse, json, pathlib, random, subprocess, sys, tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))
from fuzz_strings import fuzz_strings
from transformers import AutoTokenizer

p = argparse.ArgumentParser()
p.add_argument("peers"); p.add_argument("build"); p.add_argument("--model")
p.add_argument("--rows", type=int, default=100000); p.add_argument("--strings", type=int, default=20000); p.add_argument("--seed", type=int, default=1)
a = p.parse_args()
a.model = a.model or a.peers + "/smollm2"
tool = a.build + "/tests/bin/tokenize_lines"
tok = AutoTokenizer.from_pretrained(a.model)


def ours(mode, values):
    text = "".join(json.dumps(v) + "\n" for v in values)
    out = subprocess.run([tool, a.model, mode], input=text, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def compare(name, inputs, got, want):
    bad = [i for i in range(len(want)) if i >= len(got) or got[i] != want[i]]
    print(f"{name}: {len(want) - len(bad)} of {len(want)} equal", flush=True)
    for i in bad[:5]:
        print("  input", ascii(inputs[i])[:300], "\n  ours ", ascii(got[i] if i < len(got) else None)[:300], "\n  their", ascii(want[i])[:300])
    return not bad


ok = True
r = random.Random(a.seed)
strings = fuzz_strings(r, a.strings, [str(t) for t in tok.all_special_tokens] + list(tok.get_added_vocab()))
want = [tok.encode(s, add_special_tokens=False) for s in strings]
ok &= compare("encode", strings, ours("encode", strings), want)
ok &= compare("encode with special tokens", strings[:2000], ours("encode_special", strings[:2000]), [tok.encode(s) for s in strings[:2000]])
size = len(tok)
lists = [[r.randrange(size) for _ in range(r.randrange(0, 20))] for _ in range(5000)] + want[:2000]
kw = dict(clean_up_tokenization_spaces=False)
ok &= compare("decode", lists, ours("decode", lists), [[tok.decode(x, **kw), tok.decode(x, skip_special_tokens=True, **kw)] for x in lists])
with tempfile.TemporaryDirectory() as work:
    pairs = pathlib.Path(__file__).resolve().parents[2] / "bench/peers/debian_pairs.py"
    subprocess.run([sys.executable, str(pairs), work + "/rows.jsonl", "--split", "test", "--limit", str(a.rows)], check=True, capture_output=True)
    rows = [json.loads(line)["messages"] for line in open(work + "/rows.jsonl")]
if not rows: sys.exit("no test pairs: run apt-get update -o Acquire::Languages=en")
chats = [{"messages": m} for m in rows] + [{"messages": m[:-1], "add_generation_prompt": True} for m in rows]
want = [tok.apply_chat_template(c["messages"], tokenize=False, add_generation_prompt=c.get("add_generation_prompt", False)) for c in chats]
ok &= compare("chats", chats, [g.get("text", g) for g in ours("chat", chats)], want)
full = [tok.apply_chat_template(m, return_dict=True)["input_ids"] for m in rows]
prompt = [tok.apply_chat_template(m[:-1], add_generation_prompt=True, return_dict=True)["input_ids"] for m in rows]
got = ours("rows", [{"messages": m} for m in rows])
ok &= compare("rows: ids", rows, [g.get("ids", g) for g in got], full)
ok &= compare("rows: loss masks", rows, [g.get("loss_mask") for g in got], [[0] * len(x) + [1] * (len(f) - len(x)) for f, x in zip(full, prompt)])
sys.exit(0 if ok else 1)
