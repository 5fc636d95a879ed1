#!/usr/bin/env python3
"""Golden files for model/net and lora: tiny random checkpoints of each family in odd shapes, a PEFT adapter with B drawn
non-zero, what transformers and PEFT compute from them in fp32 and fp64, and a few steps of PEFT's training.

usage: make_decoder.py OUT_DIR [--steps 20] [--seed 7] [--case NAME]...        (transformers 5.23, peft 0.21, torch 2.11)

OUT_DIR/CASE/ holds: config.json, model.safetensors (or shards); adapter/ (PEFT's files); batch.json (documents of ids and loss
marks); expected.safetensors: per document logits.I (fp32 model, with adapter), logits64.I (fp64), base_logits.I (without
adapter), loss (sum over targets), grad.<tensor name> (of the sum, by fp64 arithmetic); steps.json: losses of PEFT with AdamW
at 2e-4 on the same documents, from adapter/, the factor by which B learns faster (LoRA+), and how far PEFT in fp64 strays.
"""
import argparse
import copy
import json
import os

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
from peft import LoraConfig, get_peft_model

LLAMA3_ROPE = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=32)
YARN_ROPE = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32)
LONG_ROPE = dict(rope_type="longrope", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32,
                 short_factor=[1.0, 1.1, 1.2, 1.3], long_factor=[1.5, 2.0, 3.0, 4.0])
CASES = {
    # name: family, model settings, adapter settings
    "gqa_tied": ("llama", dict(hidden_size=36, intermediate_size=50, num_hidden_layers=2, num_attention_heads=6,
                               num_key_value_heads=2, head_dim=10, vocab_size=61, tie_word_embeddings=True),
                 dict(r=3, lora_alpha=6)),
    "one_kv_head_biased": ("llama", dict(hidden_size=24, intermediate_size=33, num_hidden_layers=2, num_attention_heads=4,
                                         num_key_value_heads=1, head_dim=6, vocab_size=53, tie_word_embeddings=False,
                                         attention_bias=True, mlp_bias=True),
                           dict(r=5, lora_alpha=5, use_rslora=True)),
    "llama3_rope_some_targets": ("llama", dict(hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=2,
                                               num_key_value_heads=2, head_dim=18, vocab_size=67, tie_word_embeddings=False,
                                               max_position_embeddings=256, rope_parameters=LLAMA3_ROPE),
                                 dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])),
    "mistral_window_yarn": ("mistral", dict(hidden_size=24, intermediate_size=30, num_hidden_layers=2, num_attention_heads=3,
                                            num_key_value_heads=1, head_dim=10, vocab_size=47, tie_word_embeddings=False,
                                            sliding_window=9, rope_parameters=YARN_ROPE),
                            dict(r=2, lora_alpha=4)),
    "qwen2_half_windowed": ("qwen2", dict(hidden_size=28, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
                                          num_key_value_heads=2, vocab_size=43, tie_word_embeddings=True, sliding_window=11,
                                          use_sliding_window=True, max_window_layers=1,
                                          rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0)),
                            dict(r=3, lora_alpha=3)),
    "qwen3_sharded_bf16": ("qwen3", dict(hidden_size=20, intermediate_size=26, num_hidden_layers=2, num_attention_heads=4,
                                         num_key_value_heads=2, head_dim=12, vocab_size=45, tie_word_embeddings=True,
                                         rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0)),
                           dict(r=4, lora_alpha=8)),
    "qwen3_biased_longrope": ("qwen3", dict(hidden_size=20, intermediate_size=18, num_hidden_layers=2, num_attention_heads=3,
                                            num_key_value_heads=1, head_dim=8, vocab_size=39, tie_word_embeddings=False,
                                            attention_bias=True, rope_parameters=LONG_ROPE),
                              dict(r=2, lora_alpha=2)),
    "llama_dora_biased": ("llama", dict(hidden_size=22, intermediate_size=34, num_hidden_layers=2, num_attention_heads=2,
                                        num_key_value_heads=1, head_dim=14, vocab_size=41, tie_word_embeddings=True,
                                        attention_bias=True, mlp_bias=True),
                          dict(r=3, lora_alpha=6, use_dora=True)),
    "qwen3_dora_some_targets": ("qwen3", dict(hidden_size=26, intermediate_size=22, num_hidden_layers=2, num_attention_heads=2,
                                              num_key_value_heads=2, head_dim=10, vocab_size=37, tie_word_embeddings=False),
                                dict(r=2, lora_alpha=4, use_dora=True, use_rslora=True,
                                     target_modules=["k_proj", "v_proj", "up_proj", "down_proj"])),
}
SHARDED_BF16 = {"qwen3_sharded_bf16"}
# LoRA+ as its paper recommends: B learns 16 times as fast.
LORAPLUS = {"mistral_window_yarn": 16.0, "qwen3_dora_some_targets": 16.0}
LENGTHS = (1, 37, 5, 70)


def new_model(family, settings, half):
    config = AutoConfig.for_model(family, **{"rms_norm_eps": 1e-5, "max_position_embeddings": 128, **settings})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(1 + 0.1 * torch.randn_like(p) if "norm" in name
                    else torch.randn_like(p) * (0.4 if p.dim() == 1 else p.shape[-1] ** -0.5))
            if half:  # stored in bf16, computed in fp32
                p.copy_(p.bfloat16())
    return model.eval()


def save_base(model, out, half):
    if not half:
        model.save_pretrained(out)
        return
    stored = copy.deepcopy(model).bfloat16()
    stored.config.dtype = torch.bfloat16
    stored.save_pretrained(out, max_shard_size="6KB")


def draw_documents(vocab_size, seed):
    g = torch.Generator().manual_seed(seed + 4)
    documents = []
    for n in LENGTHS:
        ids = torch.randint(0, vocab_size, (n,), generator=g).tolist()
        loss = (torch.rand(n, generator=g) < 0.4).int().tolist()
        documents.append({"ids": ids, "loss": loss})
    return documents


def loss_sum(model, documents):
    total = 0.0
    for d in documents:
        if len(d["ids"]) < 2:
            continue
        logits = model(torch.tensor([d["ids"]])).logits[0, :-1]
        targets, marks = torch.tensor(d["ids"][1:]), torch.tensor(d["loss"][1:], dtype=torch.bool)
        wide = logits[marks].to(torch.promote_types(logits.dtype, torch.float32))
        total = total + torch.nn.functional.cross_entropy(wide, targets[marks], reduction="sum")
    return total


def logits_of(model, documents):
    with torch.no_grad():
        return [model(torch.tensor([d["ids"]])).logits[0].clone() for d in documents]


def train(model, documents, start, steps, b_factor):
    """Losses of `steps` steps of AdamW from the values `start`."""
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    values = dict(model.named_parameters())
    with torch.no_grad():
        for n in names:
            values[n].copy_(start[n])
            values[n].grad = None
    is_fast = {n: "lora_B" in n or values[n].dim() == 1 for n in names}  # as peft.optimizers.loraplus sorts them
    slow, fast = [values[n] for n in names if not is_fast[n]], [values[n] for n in names if is_fast[n]]
    optimizer = torch.optim.AdamW([dict(params=slow, lr=2e-4), dict(params=fast, lr=2e-4 * b_factor)], weight_decay=0.0)
    count = sum(sum(d["loss"][1:]) for d in documents)
    losses = []
    for _ in range(steps):
        loss = loss_sum(model, documents) / count
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
    return losses


def make(case, out, seed, steps):
    family, model_settings, adapter_settings = CASES[case]
    torch.manual_seed(seed)
    os.makedirs(out, exist_ok=True)
    half = case in SHARDED_BF16
    model = new_model(family, model_settings, half)
    save_base(model, out, half)
    documents = draw_documents(model.config.vocab_size, seed)
    json.dump(documents, open(f"{out}/batch.json", "w"))
    expected = {f"base_logits.{i}": logits for i, logits in enumerate(logits_of(model, documents))}
    peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **{"target_modules": "all-linear", **adapter_settings}))
    peft.eval()
    with torch.no_grad():
        for name, p in peft.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.randn_like(p) * 0.1)
            elif "lora_magnitude" in name:
                p.mul_(1 + 0.1 * torch.randn_like(p))
    peft.save_pretrained(f"{out}/adapter")
    if os.path.exists(f"{out}/adapter/README.md"):
        os.remove(f"{out}/adapter/README.md")
    start = {n: p.detach().clone() for n, p in peft.named_parameters() if p.requires_grad}
    expected |= {f"logits.{i}": logits for i, logits in enumerate(logits_of(peft, documents))}
    b_factor = LORAPLUS.get(case, 1.0)
    losses = train(peft, documents, start, steps, b_factor)

    peft.double()
    losses64 = train(peft, documents, start, steps, b_factor)
    with torch.no_grad():
        for n, p in peft.named_parameters():
            if p.requires_grad:
                p.copy_(start[n])
                p.grad = None
    expected |= {f"logits64.{i}": logits for i, logits in enumerate(logits_of(peft, documents))}
    loss = loss_sum(peft, documents)
    loss.backward()
    expected["loss"] = loss.detach().reshape(1)
    for name, p in peft.named_parameters():
        if p.requires_grad:
            expected["grad." + name.replace(".default", "").replace("magnitude_vector.weight", "magnitude_vector")] = p.grad.float().clone()
    stray = max(abs(a - b) for a, b in zip(losses, losses64))
    json.dump({"losses": losses, "b_factor": b_factor, "fp64_distance": stray}, open(f"{out}/steps.json", "w"))
    save_file({k: v.contiguous() for k, v in expected.items()}, f"{out}/expected.safetensors")
    return stray


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--case", action="append")
    options = parser.parse_args()
    for case in options.case or CASES:
        stray = make(case, f"{options.out}/{case}", options.seed, options.steps)
        size = sum(os.path.getsize(os.path.join(r, f)) for r, _, fs in os.walk(f"{options.out}/{case}") for f in fs)
        print(f"{case}: {size} bytes; PEFT in fp64 strays {stray:.1e} from PEFT in fp32 over {options.steps} steps")
