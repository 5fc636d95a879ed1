#!/usr/bin/env python3
"""Adapters on experts, from lorry-train to PEFT and from PEFT to us, on small random Mixtral and Qwen3-MoE models.

usage: experts_live.py PEERS_DIR BUILD_DIR
For each family: lorry-train makes an adapter with all-linear; PEFT on transformers 5 loads it (experts one by one, into its fused
weights) and every number of it is found there. An adapter that PEFT makes with all-linear (fused, gate and up with one A) is loaded
by us. With either, our fp32 logits, beside the weights and merged into them, are within 5e-4 of PEFT's and no farther from its fp64
ones than three times its own; merged into files (lorry-batch export), transformers loads them, each fp32 weight within 2e-7 of PEFT's
merge_and_unload. Training on from the fused one, and a GGUF of either, are refused by name.
"""
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("make_decoder", ROOT / "tests/golden/make_decoder.py")
golden = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(golden)  # its routers compute in fp64 where the model does

FAMILIES = {
    "mixtral": dict(intermediate_size=40, num_local_experts=6, num_experts_per_tok=2),
    "qwen3_moe": dict(intermediate_size=72, moe_intermediate_size=40, num_experts=7, num_experts_per_tok=3, head_dim=16,
                      norm_topk_prob=True, mlp_only_layers=[1]),
}
TEXTS = ["A mixture of experts sends each token to a few of them.", "The router decides.", "One expert, two experts, three.",
         "Ties are rare, and decided by the order in which they come."]


def make_base(family, tokenizer, out):
    config = AutoConfig.for_model(family, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                                  vocab_size=len(tokenizer), max_position_embeddings=256, eos_token_id=tokenizer.eos_token_id,
                                  **FAMILIES[family])
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() > 1:
                p.copy_(torch.randn_like(p) * p.shape[-1] ** -0.5)
    golden.spread_experts(model)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def train(build, base, work, initial=None):
    """lorry-train's exit status, its lines and its adapter."""
    rows = [{"text": text} for text in TEXTS * 4]
    pathlib.Path(f"{work}/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = f"{work}/run{'-on' if initial else ''}"
    os.makedirs(f"{run}/attempts/1")
    job = {"kind": "finetune", "name": "live", "project": "docs", "base_model": base,
           "dataset": {"path": f"{work}/train.jsonl", "max_length": 64, "loss_on": "all"}, "adapter": {"r": 4, "alpha": 8},
           "training": {"max_steps": 10, "tokens_per_step": 96, "learning_rate": 2e-2, "precision": "fp32"},
           "resources": {"cpus": 1}, "output": {"adapter": "live/adapter"}}
    task = {"schema": 1, "run": "R1", "attempt": 1, "epoch": 1, "kind": "finetune", "job": job, "attempt_dir": f"{run}/attempts/1",
            "run_dir": run, "cache_dir": f"{work}/cache", "socket": None, "ranks": 1, "lanes": 1, "threads_per_lane": 1,
            "inputs": {"base_model": base, "train": f"{work}/train.jsonl", **({"adapter": initial} if initial else {})}, "resume_from": None, "shards": []}
    pathlib.Path(f"{run}/task.json").write_text(json.dumps(task))
    done = subprocess.run([f"{build}/bin/lorry-train", "--task", f"{run}/task.json"], stdout=subprocess.PIPE, text=True)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], f"{run}/attempts/1/adapter"


def peft_makes(base, out):
    peft = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8,
                                                                                 target_modules="all-linear"))
    with torch.no_grad():
        for name, p in peft.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.randn_like(p) * 0.05)
    peft.save_pretrained(out)
    return out


def load(base, adapter, dtype):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, experts_implementation="eager")
    return PeftModel.from_pretrained(model, adapter).eval().to(dtype)


def check_all_read(peft, adapter, family):
    """Each tensor of our file stands in PEFT's model."""
    found = {}
    for name, p in peft.named_parameters():
        if "lora_" in name:
            found |= golden.v4_parts(name.replace(".default", ""), p, family, 4)
    stored = golden.load_file(f"{adapter}/adapter_model.safetensors")
    assert found.keys() == stored.keys(), sorted(found.keys() ^ stored.keys())[:6]
    assert all(torch.equal(found[name], stored[name]) for name in stored)
    return len(stored)


def farthest_merged_weight(build, base, adapter, out):
    export = [f"{build}/bin/lorry-batch", "export", "--model", base, "--adapter", adapter]
    os.makedirs(out)
    done = subprocess.run([*export, "--format", "safetensors", "--dtype", "float32", "--out", out], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    gguf = subprocess.run([*export, "--format", "gguf", "--out", f"{out}.gguf"], capture_output=True, text=True)
    assert gguf.returncode and "cannot be written as GGUF" in gguf.stdout + gguf.stderr, gguf
    ours = AutoModelForCausalLM.from_pretrained(out).state_dict()
    theirs = load(base, adapter, torch.float32).merge_and_unload().state_dict()
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def distances(build, base, adapter, ids, work):
    with open(f"{work}/ids.jsonl", "w") as file:
        file.writelines(json.dumps({"ids": row}) + "\n" for row in ids)
    rows = []
    for dtype in (torch.float32, torch.float64):
        peft = load(base, adapter, dtype)
        with torch.inference_mode():
            rows.append(torch.cat([peft(torch.tensor([row])).logits[0] for row in ids]))
    far = {"peft_from_fp64": float((rows[0] - rows[1]).abs().max())}
    for way, options in (("beside", ["--separate"]), ("merged", [])):
        done = subprocess.run([f"{build}/bin/lorry-batch", "logits", "--model", base, "--adapter", adapter, "--data",
                               f"{work}/ids.jsonl", "--out", f"{work}/logits", "--dtype", "float32", "--threads", "1", *options],
                              capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        ours = torch.from_numpy(np.fromfile(f"{work}/logits", dtype=np.float32)).reshape(rows[0].shape)
        far[way], far[f"{way}_from_fp64"] = float((ours - rows[0]).abs().max()), float((ours - rows[1]).abs().max())
    far["passed"] = all(far[way] < 5e-4 and far[f"{way}_from_fp64"] < 3 * far["peft_from_fp64"] for way in ("beside", "merged"))
    return far


def main():
    peers, build = (os.path.abspath(path) for path in sys.argv[1:3])
    torch.set_num_threads(1)
    torch.manual_seed(11)
    tokenizer = AutoTokenizer.from_pretrained(f"{peers}/smollm2")
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    passed = True
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as work:
            base = f"{work}/base"
            make_base(family, tokenizer, base)
            status, lines, adapter = train(build, base, work)
            losses = [line["loss"] for line in lines if line["t"] == "step"]
            assert status == 0 and losses[-1] < losses[0], lines[-3:]
            result = {"family": family, "losses": [losses[0], losses[-1]]}
            result["tensors_read_by_peft"] = check_all_read(load(base, adapter, torch.float32), adapter, family)
            fused = peft_makes(base, f"{work}/fused")
            for name, made in (("lorry_trained", adapter), ("peft_made", fused)):
                result[name] = distances(build, base, made, ids, work)
                result[name]["merged_weight"] = farthest_merged_weight(build, base, made, f"{work}/merged-{name}")
                passed &= result[name]["passed"] and result[name]["merged_weight"] < 2e-7
            status, lines, _ = train(build, base, work, fused)
            assert status and "target_parameters" in json.dumps(lines[-1]), lines[-3:]
            print(json.dumps(result), flush=True)
    print("passed" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
