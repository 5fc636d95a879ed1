#!/usr/bin/env python3
"""Our training step against PEFT's, live, on a real model in fp32: from one initial adapter and the same rows, 20 steps at
learning rate 2e-4; each loss within 2e-5.

usage: peft_parity.py --train-step BUILD/bench/train_step --model DIR --rows ROWS.jsonl [--steps 20] [--rows-per-step 4]
ROWS as bench/peers/token_rows.py writes them. Exits 1 if a step is further apart.
"""
import argparse, json, subprocess, sys, tempfile
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM


def main():
    p = argparse.ArgumentParser()
    for k in ("train-step", "model", "rows"):
        p.add_argument("--" + k, required=True)
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--rows-per-step", type=int, default=4)
    p.add_argument("--tolerance", type=float, default=2e-5)
    a = p.parse_args()
    rows = [json.loads(line) for line in open(a.rows)][: a.steps * a.rows_per_step]
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, task_type="CAUSAL_LM", target_modules=[
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
    with tempfile.TemporaryDirectory() as adapter:
        model.save_pretrained(adapter)
        ours = json.loads(subprocess.run(
            [a.train_step, "--model", a.model, "--rows", a.rows, "--adapter", adapter, "--precision", "fp32", "--steps", str(a.steps),
             "--rows-per-step", str(a.rows_per_step)], check=True, capture_output=True, text=True).stdout)["losses"]
    optimizer = torch.optim.AdamW([q for q in model.parameters() if q.requires_grad], lr=2e-4, weight_decay=0.0)
    worst = 0.0
    for step in range(a.steps):
        chunk = rows[step * a.rows_per_step:(step + 1) * a.rows_per_step]
        count = sum(sum(r["loss"][1:]) for r in chunk)
        total = 0.0
        for r in chunk:
            logits = model(torch.tensor([r["ids"]])).logits[0, :-1]
            targets, marks = torch.tensor(r["ids"][1:]), torch.tensor(r["loss"][1:], dtype=torch.bool)
            loss = torch.nn.functional.cross_entropy(logits[marks], targets[marks], reduction="sum") / count
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_([q for q in model.parameters() if q.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        worst = max(worst, abs(total - ours[step]))
        print(f"step {step + 1}: PEFT {total:.7f}  ours {ours[step]:.7f}  apart {abs(total - ours[step]):.1e}", flush=True)
    print(f"furthest apart {worst:.2e}, allowed {a.tolerance:.0e}")
    sys.exit(worst > a.tolerance)


main()
