#!/usr/bin/env python3
"""NF4 and QLoRA against bitsandbytes, transformers and PEFT, all on the CPU.

usage: nf4_live.py PEERS_DIR BUILD_DIR [--steps 100] [--seed 1]
1. 50 random matrices (fp32, bf16 and fp16, odd sizes, zeros, outliers): codes, scales, nested scales, offset and dequantized numbers equal
   to bitsandbytes', bit for bit; and large ones on two threads, where torch's own mean differs in its last bit, given its offset.
2. A checkpoint that transformers stores with bitsandbytes, read by us: numbers equal, logits within 5e-4 of transformers'.
3. A checkpoint that we write, read by transformers: the bytes that it makes itself, and the same logits.
4. 100 steps of QLoRA on a small random Llama in fp32, from the plain base and from the stored one: losses within 1e-3 of PEFT's.
Passes where all four hold; the last line is JSON.
"""
import argparse, json, os, pathlib, shutil, subprocess, sys, tempfile
os.environ["TORCHDYNAMO_DISABLE"] = "1"
import numpy as np
import torch
import bitsandbytes.functional as F
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden/training"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def run(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{words[0]} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


def random_matrix(i, generator, large):
    rows, columns = (int(torch.randint(900, 2000, (), generator=generator)) * 2 + i % 2 if large else int(torch.randint(1, 300, (), generator=generator))
                     for _ in range(2))
    x = torch.randn(rows, columns, generator=generator) * 10.0 ** float(torch.randint(-3, 1, (), generator=generator))
    if i % 3 == 0:
        x[torch.rand(rows, columns, generator=generator) < 0.3] = 0
    if i % 4 == 1:
        x.view(-1)[:min(x.numel(), 130)] = 0
    if i % 5 == 0:
        x.view(-1)[torch.randint(0, x.numel(), (1 + x.numel() // 400,), generator=generator)] *= 80
    return x.to(DTYPES[i % 3])


def check_matrices(args, work, count, large, threads):
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(args.seed + large)
    plain, expected, numbers, offsets = {}, {}, {}, {}
    for i in range(count):
        x = plain[f"m{i}"] = random_matrix(i, generator, large)
        codes, state = F.quantize_4bit(x, quant_type="nf4", compress_statistics=i % 7 != 6)
        expected[f"m{i}"] = codes
        expected |= {f"m{i}.{k}": v for k, v in state.as_dict(packed=True).items()}
        numbers[f"m{i}"] = F.dequantize_4bit(codes, state).reshape(x.shape).float()
        if large and state.offset is not None:
            offsets[f"m{i}.offset"] = state.offset.reshape(1)
    torch.set_num_threads(2)
    save_file(plain | offsets, f"{work}/plain.safetensors")
    run(args.probe, "quantize", f"{work}/plain.safetensors", f"{work}/ours.safetensors")
    ours = load_file(f"{work}/ours.safetensors")
    wrong = 0
    for name in plain:
        nested = f"{name}.nested_absmax" in expected
        kind = "double" if nested else "single"
        mine = {k.removeprefix(kind + "."): v for k, v in ours.items() if k.startswith(f"{kind}.{name}.") or k == f"{kind}.{name}"}
        theirs = {k: v for k, v in expected.items() if k == name or k.startswith(name + ".")}
        if large:  # the text of the offset that was given
            assert bytes(mine[f"{name}.quant_state.bitsandbytes__nf4"]) == bytes(theirs[f"{name}.quant_state.bitsandbytes__nf4"]), name
        good = all(same(mine[k], v) for k, v in theirs.items()) and len(mine) == len(theirs) + 1
        good &= same(mine[f"{name}.dequantized"], numbers[name])
        wrong += not good
        if not good:
            print("differs:", name, plain[name].shape, plain[name].dtype, [k for k, v in theirs.items() if not same(mine[k], v)])
    return {"matrices": count, "elements": sum(x.numel() for x in plain.values()), "different": wrong}


def small_model(folder):
    torch.manual_seed(3)
    tok = PreTrainedTokenizerFast.from_pretrained(GOLDEN / "base")
    config = LlamaConfig(vocab_size=len(tok), hidden_size=96, intermediate_size=250, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
                         max_position_embeddings=256, rms_norm_eps=1e-5, tie_word_embeddings=True, bos_token_id=None, eos_token_id=0, pad_token_id=1,
                         initializer_range=0.12)
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    copy_tokenizer(folder)
    return tok


def copy_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(GOLDEN / "base" / name, folder)


def load_4bit(folder, **settings):
    quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map={"": "cpu"},
                                                **({"quantization_config": quantization} if settings.get("quantize") else {}))


def logits_of(model, ids):
    with torch.no_grad():
        return torch.cat([model(torch.tensor([i])).logits[0] for i in ids])


def our_logits(args, work, folder, ids):
    with open(f"{work}/ids.jsonl", "w") as f:
        f.writelines(json.dumps({"ids": i}) + "\n" for i in ids)
    done = run(args.build + "/bin/lorry-batch", "logits", "--model", folder, "--data", f"{work}/ids.jsonl", "--out", f"{work}/logits.f32",
               "--dtype", "float32", "--threads", "2")
    return torch.from_numpy(np.fromfile(f"{work}/logits.f32", dtype=np.float32)).reshape(-1, json.loads(done)["vocab_size"])


def check_checkpoints(args, work, data):
    ids = [x for x, _ in data[:4]]
    model = load_4bit(f"{work}/base", quantize=True).eval()
    model.save_pretrained(f"{work}/theirs")
    copy_tokenizer(f"{work}/theirs")
    run(args.probe, "dequantize", f"{work}/theirs", f"{work}/numbers.safetensors")
    numbers = load_file(f"{work}/numbers.safetensors")
    modules = {f"{name}.weight": m.weight for name, m in model.named_modules() if hasattr(getattr(m, "weight", None), "quant_state")}
    equal = len(modules) == len(numbers) == 21 and all(same(numbers[n], F.dequantize_4bit(w.data, w.quant_state)) for n, w in modules.items())
    theirs = logits_of(model, ids)
    far = float((our_logits(args, work, f"{work}/theirs", ids) - theirs).abs().max())

    os.makedirs(f"{work}/ours")
    run(args.probe, "export", f"{work}/base", f"{work}/ours")
    mine, other = load_file(f"{work}/ours/model.safetensors"), load_file(f"{work}/theirs/model.safetensors")
    bytes_equal = mine.keys() == other.keys() and all(same(mine[k], other[k]) for k in other)
    again = load_4bit(f"{work}/ours").eval()
    loaded = getattr(again, "is_loaded_in_4bit", False) and torch.equal(logits_of(again, ids), theirs)
    return {"read_equal": equal, "logits": far, "written_equal": bytes_equal, "read_by_transformers": bool(loaded)}


def encode(tok):
    data = []
    for line in open(GOLDEN / "train.jsonl"):
        row = json.loads(line)
        n = len(tok(row["prompt"])["input_ids"])
        ids = tok(row["prompt"] + row["completion"])["input_ids"] + [tok.eos_token_id]
        data.append((ids, [-100] * n + ids[n:]))
    return data


def peft_losses(args, work, data):
    torch.manual_seed(5)
    model = get_peft_model(load_4bit(f"{work}/base", quantize=True),
                           LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules=TARGETS))
    model.save_pretrained(f"{work}/initial")
    optimizer = torch.optim.AdamW([q for q in model.parameters() if q.requires_grad], lr=args.learning_rate, weight_decay=0.0)
    losses = []
    model.train()
    for step in range(args.steps):
        chunk = [data[(4 * step + i) % len(data)] for i in range(4)]
        w = max(len(x) for x, _ in chunk)
        ids = torch.tensor([x + [1] * (w - len(x)) for x, _ in chunk])
        labels = torch.tensor([y + [-100] * (w - len(y)) for _, y in chunk])
        mask = torch.tensor([[1] * len(x) + [0] * (w - len(x)) for x, _ in chunk])
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return losses


def our_losses(args, work, base, kind):
    folder = tempfile.mkdtemp(dir=work)
    os.makedirs(f"{folder}/attempts/1")
    inputs = {"base_model": base, "train": str(GOLDEN / "train.jsonl"), "adapter": f"{work}/initial"}
    job = {"kind": "finetune", "name": "live", "project": "docs", "base_model": base,
           "dataset": {"path": inputs["train"], "max_length": 256, "shuffle": False}, "adapter": {"type": kind, "r": 4, "alpha": 8},
           "training": {"max_steps": args.steps, "rows_per_micro_batch": 4, "micro_batches_per_step": 1, "learning_rate": args.learning_rate,
                        "lr_scheduler": "constant", "precision": "fp32"},
           "resources": {"cpus": 1}, "output": {"adapter": "live/adapter"}}
    task = {"schema": 1, "run": "R1", "attempt": 1, "epoch": 1, "kind": "finetune", "job": job, "attempt_dir": f"{folder}/attempts/1",
            "run_dir": folder, "cache_dir": f"{work}/cache", "socket": None, "ranks": 1, "lanes": 1, "threads_per_lane": 1,
            "inputs": inputs, "resume_from": None, "shards": []}
    json.dump(task, open(f"{folder}/task.json", "w"))
    return [x["loss"] for x in map(json.loads, run(args.build + "/bin/lorry-train", "--task", f"{folder}/task.json").splitlines()) if x["t"] == "step"]


def farthest(a, b):
    assert len(a) == len(b)
    return max(abs(x - y) for x, y in zip(a, b))


def check_training(args, work, data):
    peft = peft_losses(args, work, data)
    ours = our_losses(args, work, f"{work}/base", "qlora")
    stored = our_losses(args, work, f"{work}/theirs", "qlora")
    whole = our_losses(args, work, f"{work}/theirs", "lora")
    plain = our_losses(args, work, f"{work}/base", "lora")
    return {"steps": args.steps, "first": peft[0], "last": peft[-1], "farthest_loss": farthest(ours, peft), "stored_base_is_the_same": stored == ours,
            "lora_on_the_stored_base_is_the_same": whole == ours, "lora_on_the_plain_base": farthest(plain, peft)}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("peers")
    p.add_argument("build")
    p.add_argument("--steps", type=int, default=100)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--learning-rate", type=float, default=1e-3)
    args = p.parse_args()
    args.build = os.path.abspath(args.build)
    args.probe = args.build + "/tests/bin/nf4_probe"
    with tempfile.TemporaryDirectory() as work:
        result = {"small": check_matrices(args, work, 50, False, 1), "large": check_matrices(args, work, 6, True, 2)}
        tok = small_model(f"{work}/base")
        data = encode(tok)
        torch.set_num_threads(1)
        result |= {"checkpoints": check_checkpoints(args, work, data), "training": check_training(args, work, data)}
    checkpoints, training = result["checkpoints"], result["training"]
    result["passed"] = result["small"]["different"] == result["large"]["different"] == 0 and checkpoints["read_equal"] and checkpoints["logits"] < 5e-4 \
        and checkpoints["written_equal"] and checkpoints["read_by_transformers"] and training["farthest_loss"] < 1e-3 \
        and training["stored_base_is_the_same"] and training["lora_on_the_stored_base_is_the_same"]
    print(json.dumps(result))
    sys.exit(0 if result["passed"] else 1)


main()
