#!/usr/bin/env python3
"""Holds our tokenizer and chat templates against transformers and `tokenizers`: same ids, same text, same rendered chats.

usage: tokenizer_live.py TOKENIZE_LINES MODEL_DIR [--rows ROWS.jsonl] [--strings 20000] [--seed 1]
TOKENIZE_LINES is the program build/.../tests/bin/tokenize_lines. Prints one line per check; status 1 at the first difference.
"""
import argparse, json, random, subprocess, sys
from transformers import AutoTokenizer

p = argparse.ArgumentParser()
p.add_argument("tool"); p.add_argument("model")
p.add_argument("--rows"); p.add_argument("--strings", type=int, default=20000); p.add_argument("--seed", type=int, default=1)
a = p.parse_args()
tok = AutoTokenizer.from_pretrained(a.model)


def ours(mode, values):
    text = "".join(json.dumps(v) + "\n" for v in values)
    out = subprocess.run([a.tool, a.model, mode], input=text, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def compare(name, inputs, got, want):
    bad = [i for i in range(len(want)) if i >= len(got) or got[i] != want[i]]
    print(f"{name}: {len(want) - len(bad)} of {len(want)} equal", flush=True)
    for i in bad[:5]:
        print("  input", ascii(inputs[i])[:300], "\n  ours ", ascii(got[i] if i < len(got) else None)[:300], "\n  their", ascii(want[i])[:300])
    return not bad


def character(r):
    k = r.random()
    if k < 0.30: return chr(r.randrange(0x20, 0x7F))
    if k < 0.38: return chr(r.randrange(0x00, 0x20))
    if k < 0.46: return r.choice("0123456789")
    if k < 0.54: return " " * r.randrange(1, 40)
    if k < 0.60: return r.choice("\n\r\t\u00a0\u2028\u3000\u0085\u180e\u200b\ufeff")
    if k < 0.68: return chr(r.randrange(0xA0, 0x600))
    if k < 0.80:
        while True:
            c = r.randrange(0x600, 0x10000)
            if not 0xD800 <= c < 0xE000: return chr(c)
    if k < 0.92: return chr(r.randrange(0x10000, 0x20000))
    if k < 0.96: return chr(r.randrange(0x20000, 0x110000))
    return r.choice(["'s", "'LL", "don't", "\u0301", "e\u0301\u0323", "\u1100\u1161\u11a8", "\U0001f468\u200d\U0001f469", "\u0e33", "\u0130", "\u017f"])


def fuzz(r):
    specials = [str(t) for t in tok.all_special_tokens] + list(tok.get_added_vocab())
    words = ["the", "Summarize this package", "http://", "12345678901234567890", "ab" * 60, "\n\n\n", "GNU/Linux", "über", "日本語", "مرحبا"]
    out = []
    for _ in range(a.strings):
        s = ""
        for _ in range(r.randrange(1, 30)):
            k = r.random()
            s += character(r) if k < 0.7 else r.choice(words) if k < 0.93 else r.choice(specials) if k < 0.98 else r.choice(specials)[:-1]
        if r.random() < 0.01: s += r.choice(" a0") * r.randrange(200, 5000)
        out.append(s)
    return out


ok = True
r = random.Random(a.seed)
strings = ["", " ", "  ", "a", "\n"] + fuzz(r)
want = [tok.encode(s, add_special_tokens=False) for s in strings]
ok &= compare("encode", strings, ours("encode", strings), want)
ok &= compare("encode with special tokens", strings[:2000], ours("encode_special", strings[:2000]), [tok.encode(s) for s in strings[:2000]])
size = len(tok)
lists = [[r.randrange(size) for _ in range(r.randrange(0, 20))] for _ in range(5000)] + want[:2000]
kw = dict(clean_up_tokenization_spaces=False)
ok &= compare("decode", lists, ours("decode", lists), [[tok.decode(x, **kw), tok.decode(x, skip_special_tokens=True, **kw)] for x in lists])
if a.rows:
    rows = [json.loads(line)["messages"] for line in open(a.rows)]
    chats = [{"messages": m} for m in rows] + [{"messages": m[:-1], "add_generation_prompt": True} for m in rows]
    want = [tok.apply_chat_template(c["messages"], tokenize=False, add_generation_prompt=c.get("add_generation_prompt", False)) for c in chats]
    ok &= compare("chats", chats, [g.get("text", g) for g in ours("chat", chats)], want)
    full = [tok.apply_chat_template(m, return_dict=True)["input_ids"] for m in rows]
    prompt = [tok.apply_chat_template(m[:-1], add_generation_prompt=True, return_dict=True)["input_ids"] for m in rows]
    got = ours("rows", [{"messages": m} for m in rows])
    ok &= compare("rows: ids", rows, [g.get("ids", g) for g in got], full)
    ok &= compare("rows: loss masks", rows, [g.get("loss_mask") for g in got], [[0] * len(x) + [1] * (len(f) - len(x)) for f, x in zip(full, prompt)])
sys.exit(0 if ok else 1)
