#!/usr/bin/env python3
"""Small golden files for model/net and lora: tiny random Llama checkpoints of odd shapes, a PEFT adapter with B drawn
non-zero, what transformers and PEFT compute from them in fp32 and fp64, and a few steps of PEFT's training.

usage: make_decoder.py OUT_DIR        (transformers 5.23, peft 0.21, torch 2.11)

OUT_DIR/CASE/ holds: config.json, model.safetensors; adapter/ (PEFT's files); batch.json (documents of ids and loss marks);
expected.safetensors: per document logits.I (fp32 model, with adapter), logits64.I (fp64), base_logits.I (without adapter),
loss (sum over targets), grad.<tensor name> (of the sum, fp32 by fp64 arithmetic); steps.json: 20 losses of PEFT with
AdamW at 2e-4 on the same documents, from adapter/.
"""
import json, os, sys
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from peft import LoraConfig, get_peft_model

CASES = {
    # name: model settings, adapter settings
    "gqa_tied": (dict(hidden_size=36, intermediate_size=50, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, head_dim=10,
                      vocab_size=61, tie_word_embeddings=True), dict(r=3, lora_alpha=6)),
    "one_kv_head_biased": (dict(hidden_size=24, intermediate_size=33, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1,
                                head_dim=6, vocab_size=53, tie_word_embeddings=False, attention_bias=True, mlp_bias=True),
                           dict(r=5, lora_alpha=5, use_rslora=True)),
    "llama3_rope_some_targets": (dict(hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=2,
                                      head_dim=18, vocab_size=67, tie_word_embeddings=False, max_position_embeddings=256,
                                      rope_parameters=dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
                                                           high_freq_factor=4.0, original_max_position_embeddings=32)),
                                 dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])),
}
LENGTHS = (1, 37, 5, 70)


def make(case, model_settings, adapter_settings, out):
    torch.manual_seed(7)
    os.makedirs(out, exist_ok=True)
    config = LlamaConfig(**{"rms_norm_eps": 1e-5, "max_position_embeddings": 128, **model_settings})
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(1 + 0.1 * torch.randn_like(p) if "norm" in name else torch.randn_like(p) * (0.4 if p.dim() == 1 else p.shape[-1] ** -0.5))
    model.save_pretrained(out)
    g = torch.Generator().manual_seed(11)
    documents = []
    for n in LENGTHS:
        ids = torch.randint(0, config.vocab_size, (n,), generator=g).tolist()
        loss = (torch.rand(n, generator=g) < 0.4).int().tolist()
        documents.append({"ids": ids, "loss": loss})
    json.dump(documents, open(f"{out}/batch.json", "w"))
    expected = {}
    with torch.no_grad():
        for i, d in enumerate(documents):
            expected[f"base_logits.{i}"] = model(torch.tensor([d["ids"]])).logits[0].clone()
    peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **{"target_modules": "all-linear", **adapter_settings}))
    with torch.no_grad():
        for name, p in peft.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.randn_like(p) * 0.1)
    peft.save_pretrained(f"{out}/adapter")
    for extra in ("README.md",):
        if os.path.exists(f"{out}/adapter/{extra}"):
            os.remove(f"{out}/adapter/{extra}")

    def loss_sum(m):
        total = 0.0
        for d in documents:
            if len(d["ids"]) < 2:
                continue
            logits = m(torch.tensor([d["ids"]])).logits[0, :-1]
            targets, marks = torch.tensor(d["ids"][1:]), torch.tensor(d["loss"][1:], dtype=torch.bool)
            total = total + torch.nn.functional.cross_entropy(logits[marks].to(torch.promote_types(logits.dtype, torch.float32)), targets[marks], reduction="sum")
        return total

    with torch.no_grad():
        for i, d in enumerate(documents):
            expected[f"logits.{i}"] = peft(torch.tensor([d["ids"]])).logits[0].clone()
    start = {n: p.detach().clone() for n, p in peft.named_parameters() if p.requires_grad}
    peft.double()
    with torch.no_grad():
        for i, d in enumerate(documents):
            expected[f"logits64.{i}"] = peft(torch.tensor([d["ids"]])).logits[0].clone()
    loss = loss_sum(peft)
    loss.backward()
    expected["loss"] = loss.detach().reshape(1)
    for name, p in peft.named_parameters():
        if p.requires_grad:
            expected["grad." + name.replace(".default", "")] = p.grad.float().clone()
    peft.float()
    with torch.no_grad():
        for n, p in peft.named_parameters():
            if p.requires_grad:
                p.copy_(start[n])
                p.grad = None
    count = sum(sum(d["loss"][1:]) for d in documents)
    optimizer = torch.optim.AdamW([p for p in peft.parameters() if p.requires_grad], lr=2e-4, weight_decay=0.0)
    losses = []
    for _ in range(20):
        loss = loss_sum(peft) / count
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss))
    json.dump(losses, open(f"{out}/steps.json", "w"))
    save_file({k: v.contiguous() for k, v in expected.items()}, f"{out}/expected.safetensors")


for case, (model_settings, adapter_settings) in CASES.items():
    make(case, model_settings, adapter_settings, f"{sys.argv[1]}/{case}")
    print(case, sum(os.path.getsize(os.path.join(r, f)) for r, _, fs in os.walk(f"{sys.argv[1]}/{case}") for f in fs), "bytes")
