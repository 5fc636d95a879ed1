#!/usr/bin/env python3
"""Conversations as token ids with loss marks on the assistant's tokens: the same rows that peft_sft.py trains on.

usage: token_rows.py --model DIR --data F.jsonl --out ROWS.jsonl [--limit 240] [--max-length 512]
Each line: {"ids": [...], "loss": [0|1, ...]}.
"""
import argparse, json
from transformers import AutoTokenizer


def main():
    p = argparse.ArgumentParser()
    for k in ("model", "data", "out"):
        p.add_argument("--" + k, required=True)
    p.add_argument("--limit", type=int, default=240)
    p.add_argument("--max-length", type=int, default=512)
    a = p.parse_args()
    tok = AutoTokenizer.from_pretrained(a.model)
    with open(a.out, "w") as out:
        for i, line in enumerate(open(a.data)):
            if i == a.limit:
                break
            m = json.loads(line)["messages"]
            prompt = tok.apply_chat_template(m[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
            full = tok.apply_chat_template(m, return_dict=True)["input_ids"][: a.max_length]
            n = min(len(prompt), len(full))
            out.write(json.dumps({"ids": full, "loss": [0] * n + [1] * (len(full) - n)}) + "\n")


main()
