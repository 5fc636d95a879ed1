#!/usr/bin/env python3
"""Golden files for model/net and lora: tiny random checkpoints of each family in odd shapes, a PEFT adapter with B drawn
non-zero, what transformers and PEFT compute from them in fp32 and fp64, and a few steps of PEFT's training.

usage: make_decoder.py OUT_DIR [--steps 20] [--seed 7] [--case NAME]...        (transformers 5.23, peft 0.21, torch 2.11)

Adapters on experts are PEFT's of transformers 4 (each expert's linears by themselves). PEFT here loads them into fused weights, gate
with up; what is compared are the parts of those that the files have, the others (gate's B on up's A) being held at zero. Experts'
embeddings are drawn in clusters that the routers tell apart: where two experts are near a tie, fp32 and fp64 differ by which is taken.

OUT_DIR/CASE/ holds: config.json, model.safetensors (or shards); adapter/ (PEFT's files); batch.json (documents of ids and loss
marks); expected.safetensors: per document logits.I (fp32 model, with adapter), logits64.I (fp64), base_logits.I (without
adapter), loss (sum over targets), grad.<tensor name> (of the sum, by fp64 arithmetic); steps.json: losses of PEFT with AdamW
at 2e-4 on the same documents, from adapter/, the factor by which B learns faster (LoRA+), and how far PEFT in fp64 strays; with
experts fused/, an adapter of PEFT's own on transformers 5 (gate and up share an A), and its fused_logits.I and fused_logits64.I.
"""
import argparse
import copy
import json
import os

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.mixtral.modeling_mixtral import MixtralTopKRouter
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeTopKRouter
from peft import LoraConfig, PeftModel, get_peft_model

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
    "mixtral_all_linear_windowed": ("mixtral", dict(hidden_size=20, intermediate_size=14, num_hidden_layers=2, num_attention_heads=2,
                                                    num_key_value_heads=1, head_dim=10, vocab_size=39, tie_word_embeddings=True,
                                                    sliding_window=9, num_local_experts=5, num_experts_per_tok=2),
                                    dict(r=3, lora_alpha=6)),
    "mixtral_attention": ("mixtral", dict(hidden_size=22, intermediate_size=18, num_hidden_layers=2, num_attention_heads=2,
                                          num_key_value_heads=2, vocab_size=37, tie_word_embeddings=False, head_dim=8,
                                          num_local_experts=3, num_experts_per_tok=1),
                          dict(r=2, lora_alpha=4, use_rslora=True, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])),
    "qwen3_moe_all_linear_one_dense": ("qwen3_moe", dict(hidden_size=18, intermediate_size=26, moe_intermediate_size=10, head_dim=8,
                                                         num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1,
                                                         vocab_size=35, tie_word_embeddings=False, num_experts=5,
                                                         num_experts_per_tok=3, norm_topk_prob=True, mlp_only_layers=[1],
                                                         attention_bias=True),
                                       dict(r=2, lora_alpha=2)),
    "qwen3_moe_experts_every_second": ("qwen3_moe", dict(hidden_size=24, intermediate_size=20, moe_intermediate_size=13, head_dim=10,
                                                         num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
                                                         vocab_size=41, tie_word_embeddings=True, num_experts=5,
                                                         num_experts_per_tok=2, norm_topk_prob=False, decoder_sparse_step=2,
                                                         use_sliding_window=True, sliding_window=13),
                                       dict(r=3, lora_alpha=6, target_modules=["q_proj", "gate_proj", "up_proj", "down_proj"])),
}
SHARDED_BF16 = {"qwen3_sharded_bf16"}
# LoRA+ as its paper recommends: B learns 16 times as fast.
LORAPLUS = {"mistral_window_yarn": 16.0, "qwen3_dora_some_targets": 16.0}
LENGTHS = (1, 37, 5, 70)


def route(self, hidden_states):
    """transformers' routers, with softmax in fp64 where the model is: theirs is fp32 in any model."""
    logits = torch.nn.functional.linear(hidden_states.reshape(-1, self.hidden_dim), self.weight)
    probabilities = torch.softmax(logits, -1, dtype=torch.promote_types(logits.dtype, torch.float32))
    weights, experts = torch.topk(probabilities, self.top_k, dim=-1)
    if getattr(self, "norm_topk_prob", True):
        weights = weights / weights.sum(dim=-1, keepdim=True)
    return logits, weights.to(logits.dtype), experts


MixtralTopKRouter.forward = Qwen3MoeTopKRouter.forward = route


def spread_experts(model):
    """Embeddings that favour k experts each, and routers that see which: picks far from a tie."""
    config = model.config
    directions = torch.linalg.qr(torch.randn(config.hidden_size, config.num_local_experts))[0].T
    strengths = torch.linspace(12.0, 8.0, config.num_experts_per_tok)
    with torch.no_grad():
        for row in model.get_input_embeddings().weight:
            favoured = torch.randperm(config.num_local_experts)[: config.num_experts_per_tok]
            row.copy_(torch.randn_like(row) + strengths @ directions[favoured])
        for name, p in model.named_parameters():
            if name.endswith("mlp.gate.weight"):
                p.copy_(directions + 0.1 * torch.randn_like(p))
        if config.tie_word_embeddings:  # the head is as large as the embedding
            model.model.norm.weight.mul_(0.1)


def new_model(family, settings, half):
    config = AutoConfig.for_model(family, **{"rms_norm_eps": 1e-5, "max_position_embeddings": 128, **settings})
    experts = dict(experts_implementation="eager") if "moe" in family or family == "mixtral" else {}
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", **experts)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(1 + 0.1 * torch.randn_like(p) if "norm" in name
                    else torch.randn_like(p) * (0.4 if p.dim() == 1 else p.shape[-1] ** -0.5))
            if half:  # stored in bf16, computed in fp32
                p.copy_(p.bfloat16())
    if experts:
        spread_experts(model)
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


EXPERT_LINEARS = {"mixtral": ("w1", "w3", "w2"), "qwen3_moe": ("gate_proj", "up_proj", "down_proj")}
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def adapts_experts(family, settings):
    return family in EXPERT_LINEARS and settings.get("target_modules") != list(ATTENTION)


def v4_adapter(base, family, settings, out):
    """PEFT's files of transformers 4 for the checkpoint `base`: all-linear was every linear but the head, here without dense MLPs."""
    targets = settings.get("target_modules", [*ATTENTION, *EXPERT_LINEARS[family], "gate"])
    tensors = {}
    for name, weight in load_file(f"{base}/model.safetensors").items():
        module = name.removesuffix(".weight")
        dense = ".mlp." in module and ".experts." not in module and not module.endswith(".gate")
        if module.rsplit(".", 1)[-1] not in targets or not name.endswith(".weight") or dense:
            continue
        r, (rows, columns) = settings["r"], weight.shape
        tensors[f"base_model.model.{module}.lora_A.weight"] = (torch.rand(r, columns) * 2 - 1) * columns ** -0.5
        tensors[f"base_model.model.{module}.lora_B.weight"] = torch.randn(rows, r) * 0.1
    LoraConfig(task_type="CAUSAL_LM", inference_mode=True, **{**settings, "target_modules": targets}).save_pretrained(out)
    save_file(tensors, f"{out}/adapter_model.safetensors", metadata={"format": "pt"})
    return tensors


def v4_parts(name, value, family, r):
    """Of a fused tensor of PEFT (or its gradient), the parts that the files of transformers 4 have: {name: part}."""
    gate, up, down = EXPERT_LINEARS[family]
    block = "block_sparse_moe" if family == "mixtral" else "mlp"
    layer, _, rest = name.partition(".mlp.")
    if rest.startswith("gate."):
        return {f"{layer}.{block}.{rest}": value}
    if not rest.startswith("experts."):
        return {name: value}
    parts, fused, kind = {}, "base_layer" in rest, rest.split(".")[-2]
    ranks = 2 * r if fused else r
    if kind == "lora_A":
        by_expert = value.reshape(-1, ranks, value.shape[-1])
    else:
        by_expert = value.reshape(value.shape[0], ranks, -1).permute(2, 0, 1)
    half = by_expert.shape[1] // 2
    for e, own in enumerate(by_expert):
        stem = f"{layer}.{block}.experts.{e}"
        if not fused:
            parts[f"{stem}.{down}.{kind}.weight"] = own
        elif kind == "lora_A":
            parts |= {f"{stem}.{gate}.{kind}.weight": own[:r], f"{stem}.{up}.{kind}.weight": own[r:]}
        else:
            parts |= {f"{stem}.{gate}.{kind}.weight": own[:half, :r], f"{stem}.{up}.{kind}.weight": own[half:, r:]}
    return parts


def hold_at_zero(peft, r):
    """What loading made zero in the fused B of gate and up stays so."""
    for name, p in peft.named_parameters():
        if "experts.base_layer.lora_B" in name:
            mask = torch.zeros(p.shape[0], 2 * r, p.shape[1] // (2 * r))
            mask[: p.shape[0] // 2, :r] = mask[p.shape[0] // 2:, r:] = 1
            assert torch.equal(p.detach() * mask.reshape(p.shape), p.detach())
            p.register_hook(lambda grad, mask=mask.reshape(p.shape): grad * mask)


def load_v4(model, base, family, settings, out):
    """The adapter that v4_adapter wrote, loaded by PEFT; every number of it must be there."""
    tensors = v4_adapter(base, family, settings, out)
    peft = PeftModel.from_pretrained(model, out, is_trainable=True)
    found = {}
    for name, p in peft.named_parameters():
        if "lora_" in name:
            found |= v4_parts(name.replace(".default", ""), p.detach(), family, settings["r"])
    assert found.keys() == tensors.keys(), sorted(found.keys() ^ tensors.keys())[:9]
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    hold_at_zero(peft, settings["r"])
    return peft


def fused_logits(model, documents, out):
    """An adapter as PEFT makes it on transformers 5."""
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate.weight"]
    peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=6, target_modules=["q_proj"],
                                            target_parameters=names))
    peft.eval()
    with torch.no_grad():
        for name, p in peft.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.randn_like(p) * 0.1)
    peft.save_pretrained(f"{out}/fused")
    os.remove(f"{out}/fused/README.md")
    expected = {f"fused_logits.{i}": logits for i, logits in enumerate(logits_of(peft, documents))}
    return expected | {f"fused_logits64.{i}": logits for i, logits in enumerate(logits_of(peft.double(), documents))}


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


def new_adapter(model, settings, out):
    peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **{"target_modules": "all-linear", **settings}))
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
    return peft


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
    if family in EXPERT_LINEARS:
        expected |= fused_logits(copy.deepcopy(model), documents, out)
    if adapts_experts(family, adapter_settings):
        peft = load_v4(model, out, family, adapter_settings, f"{out}/adapter").eval()
    else:
        peft = new_adapter(model, adapter_settings, out)
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
            name = name.replace(".default", "").replace("magnitude_vector.weight", "magnitude_vector")
            parts = v4_parts(name, p.grad, family, adapter_settings["r"]) if family in EXPERT_LINEARS else {name: p.grad}
            expected |= {f"grad.{part}": grad.float().clone() for part, grad in parts.items()}
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
