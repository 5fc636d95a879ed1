#!/usr/bin/env python3
"""Writes a tiny random Llama in Hugging Face form: what tests run when they need a model, not its wisdom.

usage: tiny_model.py OUT_DIR [--seed 1] [--layers 2] [--hidden 64] [--context 256]
Standard library only. Byte-level tokenizer (256 bytes, a few merges, three special tokens), ChatML template, tied head. The same
arguments give the same bytes.
"""
import argparse
import json
import os
import random
import struct

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["t h", "th e", "i n", "a n", "Ġ a", "Ġ t", "e r", "o n"]
TEMPLATE = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def byte_symbols():
    """The printable character that stands for each byte in a byte-level vocabulary."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    symbols, extra = {}, 0
    for byte in range(256):
        if byte in plain:
            symbols[byte] = chr(byte)
        else:
            symbols[byte] = chr(256 + extra)
            extra += 1
    return [symbols[b] for b in range(256)]


def tokenizer():
    vocabulary = {}
    for token in SPECIAL + byte_symbols() + [m.replace(" ", "") for m in MERGES]:
        vocabulary[token] = len(vocabulary)
    added = [{"id": vocabulary[t], "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for t in SPECIAL]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocabulary, "merges": MERGES}}


def weights(args, vocabulary):
    """Tensor name -> (shape, values), in a fixed order."""
    draw = random.Random(args.seed)
    hidden, inner, kv = args.hidden, 2 * args.hidden, args.hidden // 2

    def normal(rows, columns):
        return [rows, columns], [draw.gauss(0.0, 0.08) for _ in range(rows * columns)]

    tensors = {"model.embed_tokens.weight": normal(vocabulary, hidden)}
    for i in range(args.layers):
        p = f"model.layers.{i}."
        tensors[p + "input_layernorm.weight"] = [hidden], [1.0] * hidden
        for name, rows, columns in (("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", kv, hidden), ("self_attn.v_proj", kv, hidden),
                                    ("self_attn.o_proj", hidden, hidden), ("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden),
                                    ("mlp.down_proj", hidden, inner)):
            tensors[p + name + ".weight"] = normal(rows, columns)
        tensors[p + "post_attention_layernorm.weight"] = [hidden], [1.0] * hidden
    tensors["model.norm.weight"] = [hidden], [1.0] * hidden
    return tensors


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (shape, values) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + 4 * len(values)]}
        offset += 4 * len(values)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, values in tensors.values():
            out.write(struct.pack(f"<{len(values)}f", *values))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    for name, value in dict(seed=1, layers=2, hidden=64, context=256).items():
        parser.add_argument("--" + name, type=int, default=value)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    words = tokenizer()
    size = len(words["model"]["vocab"])

    def dump(name, value):
        with open(os.path.join(args.out, name), "w") as out:
            json.dump(value, out, indent=2, ensure_ascii=False)

    dump("config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": size, "hidden_size": args.hidden,
        "intermediate_size": 2 * args.hidden, "num_hidden_layers": args.layers, "num_attention_heads": 4, "num_key_value_heads": 2,
        "hidden_act": "silu", "max_position_embeddings": args.context, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"})
    dump("generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})
    dump("tokenizer.json", words)
    dump("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIAL[1], "eos_token": SPECIAL[2],
                                   "pad_token": SPECIAL[0], "model_max_length": args.context, "chat_template": TEMPLATE})
    write_safetensors(os.path.join(args.out, "model.safetensors"), weights(args, size))


if __name__ == "__main__":
    main()
