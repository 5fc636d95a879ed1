#!/usr/bin/env python3
"""lorry-train against PEFT on the real model: 20 steps in fp32 from PEFT's initial adapter and the same batches, and each side's
trained adapter loaded by the other. Or, in bf16, to the end.

usage: peft_losses.py PEERS_DIR BUILD_DIR [--data TRAIN.jsonl] [--rows-per-step 4] [--long --eval TEST.jsonl]
The model is PEERS_DIR/smollm2; without --data and --eval the Debian pairs are made. Both sides take the rows in the file's order, cut
at 512 tokens. Passes where each of the 20 losses is within 2e-5 of PEFT's, and where our logits with either adapter, beside the
weights and merged into them, are within 5e-4 of PEFT's and no farther from its fp64 logits than 3 times its own fp32: the bounds of
the base model (batch_parity.py). PEFT's model is in fp32, its loss the cross-entropy of its logits in fp64: torch's fp32 one sums
49,152 exponentials in a row, 8 or 16 at a time, gives losses and probabilities 1.5e-5 off with AVX2, and so a gradient ten times as
far from fp64's as ours or as PEFT's with this loss. PEFT as it comes, with its own loss, has to stay within 1e-4 of ours, and how
far it is from both is printed ("as_it_comes"); so is how far PEFT is from itself with another attention kernel over five steps.
--long: 120 steps in bf16, PEFT as it comes; passes where the held-out loss of both (200 rows) is within 1e-2. The last line is JSON.
"""
import argparse, json, math, os, pathlib, subprocess, sys, tempfile
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
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


def peft_side(args, work, steps, dtype, attention="sdpa", loss_in_fp64=True):
    torch.manual_seed(0)
    tok = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype, attn_implementation=attention)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules=TARGETS))
    model.save_pretrained(f"{work}/initial")
    opt = torch.optim.AdamW([q for q in model.parameters() if q.requires_grad], lr=2e-4, weight_decay=0.0)
    rows = args.rows_per_step
    data = encode(tok, args.data, rows * steps)
    losses = []
    model.train()
    for step in range(steps):
        batch = collate(data[rows * step:rows * (step + 1)])
        loss = cross_entropy_in_fp64(model, **batch) if loss_in_fp64 else model(**batch).loss
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
    model.save_pretrained(f"{work}/peft-trained")
    return losses, held_out_loss(model, tok, args.eval) if args.eval else None


def cross_entropy_in_fp64(model, input_ids, labels, attention_mask):
    logits = model(input_ids=input_ids, attention_mask=attention_mask).logits
    wanted = labels[:, 1:] != -100
    return torch.nn.functional.cross_entropy(logits[:, :-1][wanted].double(), labels[:, 1:][wanted])


def held_out_loss(model, tok, path):
    model.eval()
    total = count = 0
    with torch.no_grad():
        rows = encode(tok, path, 200)
        for i in range(0, len(rows), 8):
            b = collate(rows[i:i + 8])
            n = int((b["labels"][:, 1:] != -100).sum())
            total += float(model(**b).loss) * n
            count += n
    return total / count


def lorry_side(args, work, steps, precision):
    run = f"{work}/run"
    os.makedirs(f"{run}/attempts/1", exist_ok=True)
    inputs = {"base_model": os.path.abspath(args.model), "train": f"{work}/train.jsonl", "adapter": f"{work}/initial"}
    head(args.data, inputs["train"], args.rows_per_step * steps)
    dataset = {"path": inputs["train"], "max_length": 512, "too_long": "truncate", "shuffle": False}
    if args.eval:
        inputs["validation"] = dataset["validation"] = f"{work}/eval.jsonl"
        head(args.eval, inputs["validation"], 200)
    job = {"kind": "finetune", "name": "live", "project": "docs", "base_model": inputs["base_model"], "dataset": dataset,
           "adapter": {"r": 16, "alpha": 32},
           "training": {"max_steps": steps, "rows_per_micro_batch": args.rows_per_step // 2, "micro_batches_per_step": 2, "learning_rate": 2e-4,
                        "lr_scheduler": "constant", "precision": precision},
           "resources": {"cpus": 2}, "output": {"adapter": "live/adapter"}}
    task = {"schema": 1, "run": "R1", "attempt": 1, "epoch": 1, "kind": "finetune", "job": job, "attempt_dir": f"{run}/attempts/1",
            "run_dir": run, "cache_dir": f"{work}/cache", "socket": None, "ranks": 1, "lanes": 2, "threads_per_lane": 1,
            "inputs": inputs, "resume_from": None, "shards": []}
    json.dump(task, open(f"{run}/task.json", "w"))
    out = subprocess.run([args.build + "/bin/lorry-train", "--task", f"{run}/task.json"], stdout=subprocess.PIPE, text=True)
    lines = [json.loads(x) for x in out.stdout.splitlines()]
    if out.returncode != 0:
        sys.exit(f"lorry-train ended with {out.returncode}: {[x for x in lines if x['t'] == 'error']}")
    os.symlink(f"{run}/attempts/1/adapter", f"{work}/lorry-trained")
    held_out = [x["loss"] for x in lines if x["t"] == "eval"]
    return [x["loss"] for x in lines if x["t"] == "step"], held_out[-1] if held_out else None


def our_logits(args, work, adapter, *options):
    out = f"{work}/logits.f32"
    done = subprocess.run([args.build + "/bin/lorry-batch", "logits", "--model", args.model, "--adapter", adapter, "--data", f"{work}/ids.jsonl",
                           "--out", out, "--dtype", "float32", "--threads", "2", *options], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return torch.from_numpy(np.fromfile(out, dtype=np.float32)).reshape(-1, json.loads(done.stdout)["vocab_size"])


def peft_logits(args, adapter, ids, dtype):
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype), adapter).eval()
    with torch.inference_mode():
        rows = torch.cat([model(torch.tensor([i])).logits[0] for i in ids])
    assert rows.dtype == dtype
    return rows


def exchange(args, work, name):
    """Farthest distances of logits with the adapter `work`/`name`."""
    ids = [i for i, _ in encode(AutoTokenizer.from_pretrained(args.model), args.data, 5)]
    with open(f"{work}/ids.jsonl", "w") as f:
        f.writelines(json.dumps({"ids": i}) + "\n" for i in ids)
    p32, p64 = (peft_logits(args, f"{work}/{name}", ids, dtype) for dtype in (torch.float32, torch.float64))
    far = {"peft_from_fp64": float((p32 - p64).abs().max())}
    for way, options in (("beside", ["--separate"]), ("merged", [])):
        mine = our_logits(args, work, f"{work}/{name}", *options)
        far[way] = float((mine - p32).abs().max())
        far[way + "_from_fp64"] = float((mine - p64).abs().max())
    far["passed"] = all(far[way] < 5e-4 and far[way + "_from_fp64"] < 3 * far["peft_from_fp64"] for way in ("beside", "merged"))
    return far


def head(source, target, rows):
    with open(target, "w") as f:
        for i, line in enumerate(open(source)):
            if i == rows:
                break
            f.write(line)


def make_pairs(path, split, rows):
    pairs = pathlib.Path(__file__).resolve().parents[2] / "bench/peers/debian_pairs.py"
    subprocess.run([sys.executable, str(pairs), path, "--split", split, "--limit", str(rows)], check=True, capture_output=True)
    return path


def farthest(a, b):
    assert len(a) == len(b) and not any(map(math.isnan, [*a, *b]))
    return max(abs(x - y) for x, y in zip(a, b))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("peers")
    p.add_argument("build")
    p.add_argument("--data")
    p.add_argument("--eval")
    p.add_argument("--rows-per-step", type=int, default=4, help="even: two micro-batches")
    p.add_argument("--long", action="store_true")
    args = p.parse_args()
    args.model = os.path.abspath(args.peers) + "/smollm2"
    torch.set_num_threads(2)
    steps, dtype, precision = (120, torch.bfloat16, "bf16") if args.long else (20, torch.float32, "fp32")
    with tempfile.TemporaryDirectory() as work:
        args.data = args.data or make_pairs(f"{work}/pairs.jsonl", "train", args.rows_per_step * steps)
        if args.long:
            args.eval = args.eval or make_pairs(f"{work}/held-out.jsonl", "test", 200)
        theirs, their_held_out = peft_side(args, work, steps, dtype, loss_in_fp64=not args.long)
        ours, our_held_out = lorry_side(args, work, steps, precision)
        result = {"steps": steps, "precision": precision, "farthest_loss": farthest(ours, theirs),
                  "mean_difference": abs(sum(ours) - sum(theirs)) / steps, "last_loss": ours[-1], "peft_last_loss": theirs[-1]}
        if args.long:
            result |= {"held_out": our_held_out, "peft_held_out": their_held_out}
            result["passed"] = abs(our_held_out - their_held_out) < 1e-2
        else:
            result |= {name: exchange(args, work, name) for name in ("lorry-trained", "peft-trained")}
            plain, _ = peft_side(args, work, steps, dtype, loss_in_fp64=False)
            result["as_it_comes"] = {"from_ours": farthest(plain, ours), "from_its_loss_in_fp64": farthest(plain, theirs)}
            result["peft_from_itself"] = farthest(peft_side(args, work, 5, dtype, "eager")[0], theirs[:5])
            result["passed"] = result["farthest_loss"] < 2e-5 and result["as_it_comes"]["from_ours"] < 1e-4
            result["passed"] &= result["lorry-trained"]["passed"] and result["peft-trained"]["passed"]
    print(json.dumps(result))
    sys.exit(0 if result["passed"] else 1)


main()
