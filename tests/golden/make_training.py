#!/usr/bin/env python3
"""Writes tests/golden/training/: a tiny random Llama, data, a PEFT adapter and what torch and PEFT make of them.

usage: make_training.py OUT_DIR       (needs torch 2.11, transformers 5.23, peft 0.21)
  optimizer.json  AdamW steps, clipping, learning rates of transformers' schedules
  base/           config.json, model.safetensors (fp32, all weights random), tokenizer.json (bytes, no merges)
  train.jsonl     24 rows of prompt + completion
  initial/        the adapter as PEFT begins it (B zero), written by PEFT
  losses.json     20 steps of 4 rows in the file's order, fp32, AdamW at 2e-4, clipped at 1.0: loss and gradient norm of each step
  loraplus.json   the same with PEFT's LoRA+ at ratio 16
"""
import json, os, random, sys
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, get_scheduler

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
torch.set_num_threads(1)
torch.manual_seed(11)
random.seed(11)


def optimizer():
    p = torch.nn.Parameter(torch.randn(7))
    opt = torch.optim.AdamW([p], lr=1e-2, weight_decay=0.1)
    steps = []
    start = p.tolist()
    for i in range(6):
        g = torch.randn(7) * 10 ** (i - 3)
        p.grad = g.clone()
        norm = torch.nn.utils.clip_grad_norm_([p], 1.0)
        clipped = p.grad.tolist()
        opt.step()
        steps.append({"gradient": g.tolist(), "norm": float(norm), "clipped": clipped, "values": p.tolist()})
    rates = {}
    for kind, name in (("linear", "linear"), ("cosine", "cosine"), ("constant", "constant_with_warmup")):
        q = torch.nn.Parameter(torch.zeros(1))
        o = torch.optim.SGD([q], lr=3e-4)
        s = get_scheduler(name, o, num_warmup_steps=3, num_training_steps=17)
        rates[kind] = []
        for _ in range(17):
            rates[kind].append(o.param_groups[0]["lr"])
            o.step()
            s.step()
    return {"start": start, "lr": 1e-2, "weight_decay": 0.1, "steps": steps, "warmup": 3, "total": 17, "peak": 3e-4, "rates": rates}


def base():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<eos>": 0, "<pad>": 1}
    for c in alphabet:
        vocab[c] = len(vocab)
    t = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(["<eos>", "<pad>"])
    tok = PreTrainedTokenizerFast(tokenizer_object=t, eos_token="<eos>", pad_token="<pad>")
    config = LlamaConfig(vocab_size=len(vocab), hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5, tie_word_embeddings=True,
                         rope_theta=10000.0, bos_token_id=None, eos_token_id=0, pad_token_id=1, initializer_range=0.15)
    model = LlamaForCausalLM(config).to(torch.float32)
    with torch.no_grad():
        for n, w in model.named_parameters():
            if "norm" in n:
                w.add_(0.1 * torch.randn_like(w))
    model.save_pretrained(f"{out}/base")
    tok.save_pretrained(f"{out}/base")
    os.remove(f"{out}/base/generation_config.json")
    return tok, model


def rows(tok):
    words = "alpha beta gamma delta kernel packet socket daemon library parser mirror window thread memory".split()
    data = []
    with open(f"{out}/train.jsonl", "w") as f:
        for i in range(24):
            prompt = "Say: " + " ".join(random.choices(words, k=random.randint(2, 9))) + " ="
            completion = " " + " ".join(random.choices(words, k=random.randint(1, 4)))
            f.write(json.dumps({"prompt": prompt, "completion": completion}) + "\n")
            n = len(tok(prompt)["input_ids"])
            ids = tok(prompt + completion)["input_ids"] + [tok.eos_token_id]
            data.append((ids, [-100] * n + ids[n:]))
    return data


def begin(model):
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, task_type="CAUSAL_LM",
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
    model.base_model.peft_config["default"].base_model_name_or_path = "tiny"
    model.save_pretrained(f"{out}/initial")
    os.remove(f"{out}/initial/README.md")
    return model


def train(model, data, opt):
    losses, norms = [], []
    model.train()
    for step in range(20):
        chunk = [data[(4 * step + i) % len(data)] for i in range(4)]
        w = max(len(x) for x, _ in chunk)
        ids = torch.tensor([x + [1] * (w - len(x)) for x, _ in chunk])
        lab = torch.tensor([y + [-100] * (w - len(y)) for _, y in chunk])
        att = torch.tensor([[1] * len(x) + [0] * (w - len(x)) for x, _ in chunk])
        logits = model(input_ids=ids, attention_mask=att).logits.float()
        n = int((lab[:, 1:] != -100).sum())
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), lab[:, 1:].reshape(-1), reduction="sum") / n
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
        opt.step()
        opt.zero_grad(set_to_none=True)
        losses.append(float(loss))
    return {"losses": losses, "norms": norms}


json.dump(optimizer(), open(f"{out}/optimizer.json", "w"), indent=1)
tok, model = base()
data = rows(tok)
model = begin(model)
plain = torch.optim.AdamW([q for q in model.parameters() if q.requires_grad], lr=2e-4, weight_decay=0.0)
json.dump(train(model, data, plain), open(f"{out}/losses.json", "w"), indent=1)
model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(f"{out}/base", dtype=torch.float32), f"{out}/initial", is_trainable=True)
plus = create_loraplus_optimizer(model, torch.optim.AdamW, lr=2e-4, loraplus_lr_ratio=16, weight_decay=0.0)
json.dump(train(model, data, plus), open(f"{out}/loraplus.json", "w"), indent=1)
