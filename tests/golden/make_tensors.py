#!/usr/bin/env python3
"""Makes the fixtures of tests/model/format: files written by the `safetensors` and `gguf` packages and transformers' reading of them.

usage: make_tensors.py [OUT_DIR]     (default: tensors/ beside this script)
Needs: numpy, safetensors, gguf, torch, transformers, tokenizers. Versions used are written to versions.json.
"""
import importlib.metadata, json, os, sys, tempfile
import numpy as np
import gguf
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

here = os.path.dirname(os.path.abspath(__file__))
out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "tensors")
os.makedirs(out, exist_ok=True)
rng = np.random.default_rng(20261121)
T = gguf.GGMLQuantizationType
TYPES = [T.F32, T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q4_K, T.Q5_K, T.Q6_K]
HALVES_OF_BLOCK = {T.Q4_K: (0, 2), T.Q5_K: (0, 2), T.Q6_K: (208,)}  # where a block's fp16 scales lie


def random_blocks(kind, rows, columns):
    """Random bytes for the types that the package cannot quantize to, their scales small and finite."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (rows * columns // elements, size), dtype=np.uint8)
    for at in HALVES_OF_BLOCK[kind]:
        scales = (rng.standard_normal(len(blocks)) * 0.01).astype(np.float16)
        blocks[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def make_types():
    writer = gguf.GGUFWriter(os.path.join(out, "types.gguf"), "types")
    writer.add_uint8("some.u8", 7)
    writer.add_int64("some.i64", -(2**40))
    writer.add_uint64("some.u64", 2**63 + 2**32)
    writer.add_float64("some.f64", 0.1)
    writer.add_bool("some.flag", True)
    writer.add_array("some.floats", [0.5, -2.0])
    writer.add_array("some.texts", ["a", "\u00e9"])
    expected = {}
    for kind in TYPES:
        values = rng.standard_normal((3, 512)).astype(np.float32)
        values[0, :32] = 0.0
        stored = random_blocks(kind, 3, 512) if kind in HALVES_OF_BLOCK else quantize(values, kind)
        writer.add_tensor(f"t.{kind.name}", stored, raw_dtype=kind)
        expected[f"t.{kind.name}"] = dequantize(stored, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, os.path.join(out, "types.safetensors"), metadata={"format": "pt"})


def make_mixed():
    """A file of many element types, an empty tensor and a scalar: ours must be the same bytes."""
    tensors = {
        "b.bool": np.array([True, False]), "a.u8": np.arange(3, dtype=np.uint8), "z.i64": np.array([-1, 2**40]),
        "f.f64": rng.standard_normal((2, 2)), "f.f32": rng.standard_normal((2, 3)).astype(np.float32),
        "f.f16": rng.standard_normal(5).astype(np.float16), "empty": np.zeros((0, 4), np.float32), "scalar": np.array(1.5, np.float32),
        "name \"with\" \u00e9": np.zeros(1, np.int16),
    }
    save_file(tensors, os.path.join(out, "mixed.safetensors"), metadata={"format": "pt"})


def make_quantized():
    """Floats, and the bytes that the package makes of them: ties, zeros, one large value in a block, values too small for a half."""
    own = np.random.default_rng(20261130)
    values = own.standard_normal((8, 64)).astype(np.float32)
    values[1] = 0.0
    values[2] = np.arange(64, dtype=np.float32) - 31.5  # halves of d
    values[3] *= np.float32(1e-9)
    values[4, 5] = 3e4
    values[5, :32], values[5, 32] = 0.0, -1.0
    values[6] = np.float32(127.0) * np.sign(values[6])
    tensors = {kind.name: quantize(values, kind).view(np.uint8) for kind in (T.F32, T.F16, T.BF16, T.Q8_0)}
    save_file({"values": values, **tensors}, os.path.join(out, "quantized.safetensors"), metadata={"format": "pt"})


def permute(weight, heads):
    """llama.cpp's order of the rows of q and k."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def make_tiny_llama():
    import torch
    from transformers import AutoModelForCausalLM
    hidden, inner, layers, heads, kv_heads, vocab = 64, 96, 2, 4, 2, 280
    path = os.path.join(out, "tiny_llama.gguf")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(20000.0)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_vocab_size(vocab)
    add_tokenizer(writer, vocab)

    def add(name, rows, columns, kind):
        values = (rng.standard_normal((rows, columns)) * 0.2).astype(np.float32)
        if "attn_q" in name or "attn_k" in name:
            values = permute(values, heads if "attn_q" in name else kv_heads)
        writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)

    def add_norm(name):
        writer.add_tensor(name, (1 + 0.1 * rng.standard_normal(hidden)).astype(np.float32))

    add("token_embd.weight", vocab, hidden, T.Q8_0)
    for layer in range(layers):
        add_norm(f"blk.{layer}.attn_norm.weight")
        add_norm(f"blk.{layer}.ffn_norm.weight")
        add(f"blk.{layer}.attn_q.weight", hidden, hidden, T.Q4_1)
        add(f"blk.{layer}.attn_k.weight", hidden // heads * kv_heads, hidden, T.Q4_0)
        add(f"blk.{layer}.attn_v.weight", hidden // heads * kv_heads, hidden, T.Q5_0)
        add(f"blk.{layer}.attn_output.weight", hidden, hidden, T.Q5_1)
        add(f"blk.{layer}.ffn_gate.weight", inner, hidden, T.F16)
        add(f"blk.{layer}.ffn_up.weight", inner, hidden, T.BF16)
        add(f"blk.{layer}.ffn_down.weight", hidden, inner, T.Q8_0)
    add_norm("output_norm.weight")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    model = AutoModelForCausalLM.from_pretrained(out, gguf_file="tiny_llama.gguf", dtype=torch.float32)
    state = {k: v.numpy() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(state, os.path.join(out, "tiny_llama.safetensors"), metadata={"format": "pt"})


def add_tokenizer(writer, vocab):
    """Byte-level BPE over the 256 bytes, a few merges, SmolLM's cut and special tokens."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode
    letters = list(bytes_to_unicode().values())
    merges = ["t h", "th e", "\u0120 the", "i n", "\u0120 a", "a n", "an d", "\u0120 and"]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + letters + [m.replace(" ", "") for m in merges]
    tokens += [f"<unused_{i}>" for i in range(vocab - len(tokens))]
    types = [3] * 3 + [1] * (len(letters) + len(merges)) + [5] * (vocab - 3 - len(letters) - len(merges))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")


make_types()
make_mixed()
make_quantized()
make_tiny_llama()
packages = ["numpy", "safetensors", "gguf", "torch", "transformers", "tokenizers"]
with open(os.path.join(out, "versions.json"), "w") as f:
    json.dump({p: importlib.metadata.version(p) for p in packages}, f, indent=1)
    f.write("\n")
