#!/usr/bin/env python3
"""Golden files for NF4: what bitsandbytes makes of matrices, and 4-bit checkpoints that transformers stores and PEFT trains on.

usage: make_nf4.py [OUT_DIR]       (default: nf4/ beside this script; bitsandbytes 0.50.2, transformers 5.23, peft 0.21.2, torch 2.11)

OUT_DIR/matrices.safetensors: for each case NAME.plain (the numbers), NAME and NAME.* (what bitsandbytes stores of them on the CPU),
NAME.dequantized. OUT_DIR/double/: a tiny Llama in fp32, stored with double quantization; adapter/ (PEFT's, B not zero); batch.json (documents of
ids and loss marks); expected.safetensors: W.dequantized of each linear, logits.I, loss (sum over targets), grad.<tensor name>; steps.json:
20 losses of PEFT with AdamW at 2e-4. OUT_DIR/single/: the same model in bf16 without double quantization, one linear left whole.
"""
import json, os, sys
os.environ["TORCHDYNAMO_DISABLE"] = "1"
import torch
import bitsandbytes.functional as F
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "nf4")
os.makedirs(out, exist_ok=True)
torch.set_num_threads(1)  # the order of the scales' mean

CASES = {  # name: rows, columns, dtype, share of zeros, outliers, double quantization
    "one": (1, 1, torch.float32, 0, 0, True),
    "few": (3, 5, torch.bfloat16, 0, 0, True),
    "block": (1, 64, torch.float32, 0, 0, True),
    "odd": (7, 67, torch.float32, 0.2, 3, True),
    "zeros": (4, 80, torch.float32, 1, 0, True),
    "half": (9, 33, torch.float16, 0.1, 2, True),
    "wide": (130, 131, torch.bfloat16, 0.1, 9, True),
    "long": (137, 150, torch.float32, 0, 40, True),
    "single": (33, 63, torch.float32, 0.1, 5, False),
    "single_bf16": (10, 96, torch.bfloat16, 0, 2, False),
}


def pieces(name, codes, state):
    return {name: codes, **{f"{name}.{key}": value for key, value in state.as_dict(packed=True).items()}}


def make_matrices():
    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for name, (rows, columns, dtype, zeros, outliers, double) in CASES.items():
        x = torch.randn(rows, columns, generator=generator) * 0.03
        x[torch.rand(rows, columns, generator=generator) < zeros] = 0
        for _ in range(outliers):
            x.view(-1)[int(torch.randint(0, x.numel(), (1,), generator=generator))] *= 60
        if rows * columns > 300:
            x.view(-1)[64:128] = 0  # a whole block
        x = x.to(dtype)
        codes, state = F.quantize_4bit(x, quant_type="nf4", compress_statistics=double)
        tensors |= pieces(name, codes, state)
        tensors[name + ".plain"] = x
        tensors[name + ".dequantized"] = F.dequantize_4bit(codes, state).reshape(x.shape)
    save_file({name: t.contiguous() for name, t in tensors.items()}, f"{out}/matrices.safetensors", metadata={"format": "pt"})


def tiny_model(folder, dtype, double, skipped):
    torch.manual_seed(7)
    config = LlamaConfig(hidden_size=36, intermediate_size=50, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, head_dim=10,
                         vocab_size=61, tie_word_embeddings=False, rms_norm_eps=1e-5, max_position_embeddings=128)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(1 + 0.1 * torch.randn_like(p) if "norm" in name else torch.randn_like(p) * p.shape[-1] ** -0.5)
    model.to(dtype).save_pretrained(folder + ".plain")
    quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=double, bnb_4bit_compute_dtype=dtype,
                                      llm_int8_skip_modules=["lm_head", *skipped])
    model = AutoModelForCausalLM.from_pretrained(folder + ".plain", quantization_config=quantization, dtype=dtype, device_map={"": "cpu"})
    model.save_pretrained(folder)
    for name in os.listdir(folder + ".plain"):
        os.remove(f"{folder}.plain/{name}")
    os.rmdir(folder + ".plain")
    return model


def dequantized(model):
    return {f"{name}.weight.dequantized": F.dequantize_4bit(m.weight.data, m.weight.quant_state).contiguous()
            for name, m in model.named_modules() if getattr(m, "weight", None) is not None and hasattr(m.weight, "quant_state")}


def make_documents(vocabulary):
    generator = torch.Generator().manual_seed(11)
    documents = []
    for n in (1, 37, 5, 70):
        ids = torch.randint(0, vocabulary, (n,), generator=generator).tolist()
        documents.append({"ids": ids, "loss": (torch.rand(n, generator=generator) < 0.4).int().tolist()})
    return documents


def loss_sum(model, documents):
    total = 0.0
    for d in documents:
        if len(d["ids"]) > 1:
            logits = model(torch.tensor([d["ids"]])).logits[0, :-1]
            marks = torch.tensor(d["loss"][1:], dtype=torch.bool)
            total = total + torch.nn.functional.cross_entropy(logits[marks].double(), torch.tensor(d["ids"][1:])[marks], reduction="sum")
    return total


def make_double():
    folder = f"{out}/double"
    model = tiny_model(folder, torch.float32, True, [])
    expected = dequantized(model)
    documents = make_documents(model.config.vocab_size)
    json.dump(documents, open(f"{folder}/batch.json", "w"))
    peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=6, target_modules="all-linear"))
    with torch.no_grad():
        for name, p in peft.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.randn_like(p) * 0.1)
    peft.save_pretrained(f"{folder}/adapter")
    os.remove(f"{folder}/adapter/README.md")
    settings = json.load(open(f"{folder}/adapter/adapter_config.json"))
    json.dump(settings | {"base_model_name_or_path": "tiny"}, open(f"{folder}/adapter/adapter_config.json", "w"), indent=2, sort_keys=True)
    with torch.no_grad():
        for i, d in enumerate(documents):
            expected[f"logits.{i}"] = peft(torch.tensor([d["ids"]])).logits[0].clone()
    trained = {name: p for name, p in peft.named_parameters() if p.requires_grad}
    loss = loss_sum(peft, documents)
    loss.backward()
    expected["loss"] = loss.detach().reshape(1)
    expected |= {"grad." + name.replace(".default", ""): p.grad.clone() for name, p in trained.items()}
    save_file(expected, f"{folder}/expected.safetensors", metadata={"format": "pt"})
    count = sum(sum(d["loss"][1:]) for d in documents)
    optimizer = torch.optim.AdamW(trained.values(), lr=2e-4, weight_decay=0.0)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = loss_sum(peft, documents) / count
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    json.dump(losses, open(f"{folder}/steps.json", "w"))


def make_single():
    model = tiny_model(f"{out}/single", torch.bfloat16, False, ["model.layers.1.self_attn.v_proj"])
    save_file(dequantized(model), f"{out}/single/expected.safetensors", metadata={"format": "pt"})


make_matrices()
make_double()
make_single()
