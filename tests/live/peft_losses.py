#!/usr/bin/env python3
"""lorry-train against PEFT on a real model: 20 steps in fp32 from PEFT's initial adapter and the same batches; and bf16 to the end.

usage: peft_losses.py --model DIR --train-program build/bin/lorry-train --data train.jsonl [--eval test.jsonl] [--long]
Rows are {"messages": [...]} (bench/peers/debian_pairs.py). Both sides take 8 rows a step in the file's order, cut at 512 tokens.
Passes where each of the 20 losses is within 2e-5 of PEFT's. --long: 120 steps in bf16; passes where the held-out loss of both
(first 200 rows of --eval) is within 1e-2. The last line is JSON.
"""
import argparse, json, math, os, subprocess, sys, tempfile
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def encode(tok, path, limit, max_length=512):
    out = []
    for line in open(path):
        m = json.loads(line)["messages"]
        prompt = tok.apply_chat_template(m[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
        full = tok.apply_chat_template(m, return_dict=True)["input_ids"][:max_length]
        n = min(len(prompt), max_length)
        out.append((full, [-100] * n + full[n:]))
        if len(out) == limit:
            break
    return out


def collate(chunk):
    w = max(len(x) for x, _ in chunk)
    return {"input_ids": torch.tensor([x + [0] * (w - len(x)) for x, _ in chunk]),
            "labels": torch.tensor([y + [-100] * (w - len(y)) for _, y in chunk]),
            "attention_mask": torch.tensor([[1] * len(x) + [0] * (w - len(x)) for x, _ in chunk])}


def peft_side(args, work, steps, dtype):
    torch.manual_seed(0)
    tok = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules=TARGETS))
    model.save_pretrained(f"{work}/initial")
    opt = torch.optim.AdamW([q for q in model.parameters() if q.requires_grad], lr=2e-4, weight_decay=0.0)
    data = encode(tok, args.data, 8 * steps)
    losses = []
    model.train()
    for step in range(steps):
        loss = model(**collate(data[8 * step:8 * step + 8])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        losses.append(float(loss))
    held_out = None
    if args.eval:
        model.eval()
        total = count = 0
        with torch.no_grad():
            rows = encode(tok, args.eval, 200)
            for i in range(0, len(rows), 8):
                b = collate(rows[i:i + 8])
                n = int((b["labels"][:, 1:] != -100).sum())
                total += float(model(**b).loss) * n
                count += n
        held_out = total / count
    return losses, held_out


def lorry_side(args, work, steps, precision):
    run = f"{work}/run"
    os.makedirs(f"{run}/attempts/1", exist_ok=True)
    inputs = {"base_model": os.path.abspath(args.model), "train": f"{work}/train.jsonl", "adapter": f"{work}/initial"}
    head(args.data, inputs["train"], 8 * steps)
    dataset = {"path": inputs["train"], "max_length": 512, "too_long": "truncate", "shuffle": False}
    if args.eval:
        inputs["validation"] = dataset["validation"] = f"{work}/eval.jsonl"
        head(args.eval, inputs["validation"], 200)
    job = {"kind": "finetune", "name": "live", "project": "docs", "base_model": inputs["base_model"], "dataset": dataset,
           "adapter": {"r": 16, "alpha": 32},
           "training": {"max_steps": steps, "rows_per_micro_batch": 4, "micro_batches_per_step": 2, "learning_rate": 2e-4,
                        "lr_scheduler": "constant", "precision": precision},
           "resources": {"cpus": 2}, "output": {"adapter": "live/adapter"}}
    task = {"schema": 1, "run": "R1", "attempt": 1, "epoch": 1, "kind": "finetune", "job": job, "attempt_dir": f"{run}/attempts/1",
            "run_dir": run, "cache_dir": f"{work}/cache", "socket": None, "ranks": 1, "lanes": 2, "threads_per_lane": 1,
            "inputs": inputs, "resume_from": None, "shards": []}
    json.dump(task, open(f"{run}/task.json", "w"))
    out = subprocess.run([args.train_program, "--task", f"{run}/task.json"], stdout=subprocess.PIPE, text=True)
    lines = [json.loads(x) for x in out.stdout.splitlines()]
    if out.returncode != 0:
        sys.exit(f"lorry-train ended with {out.returncode}: {[x for x in lines if x['t'] == 'error']}")
    held_out = [x["loss"] for x in lines if x["t"] == "eval"]
    return [x["loss"] for x in lines if x["t"] == "step"], held_out[-1] if held_out else None


def head(source, target, rows):
    with open(target, "w") as f:
        for i, line in enumerate(open(source)):
            if i == rows:
                break
            f.write(line)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--model", required=True)
    p.add_argument("--train-program", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--eval")
    p.add_argument("--long", action="store_true")
    args = p.parse_args()
    torch.set_num_threads(2)
    steps, dtype, precision = (120, torch.bfloat16, "bf16") if args.long else (20, torch.float32, "fp32")
    with tempfile.TemporaryDirectory() as work:
        theirs, their_held_out = peft_side(args, work, steps, dtype)
        ours, our_held_out = lorry_side(args, work, steps, precision)
    farthest = max(abs(a - b) for a, b in zip(ours, theirs))
    result = {"steps": steps, "precision": precision, "farthest_loss": farthest, "mean_difference": abs(sum(ours) - sum(theirs)) / steps,
              "held_out": our_held_out, "peft_held_out": their_held_out, "last_loss": ours[-1], "peft_last_loss": theirs[-1]}
    if args.long:
        result["passed"] = their_held_out is None or abs(our_held_out - their_held_out) < 1e-2
    else:
        result["passed"] = farthest < 2e-5 and not math.isnan(farthest)
    print(json.dumps(result))
    sys.exit(0 if result["passed"] else 1)


main()
