"""Writes a model directory with tokenizer for each family, as the family's models ship it: for tests/live/families_text_live.py.

Real vocabularies: SmolLM2's, and the SentencePiece models and Tekken files of the package mistral-common, converted by
transformers' own converters. Llama 3 and Qwen have none that may be fetched: a byte-level BPE of some thousand tokens is
trained in their pre-tokenizer, normalizer and special tokens. Templates: what the package trl carries of the models' own, those of
tests/golden/text/templates, and for Mistral those that mistral-common makes.
"""
import importlib.util, json, pathlib, shutil
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaTokenizer, TokenizersBackend
from transformers.convert_slow_tokenizer import LlamaConverter, SentencePieceExtractor
from transformers.integrations.mistral.tokenizer import MistralConverter

HERE = pathlib.Path(__file__).resolve().parent
TEMPLATES = HERE / "text/templates"
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
ROLE = "<|start_header_id|>%s<|end_header_id|>"


def package(name, *path):
    return pathlib.Path(importlib.util.find_spec(name).origin).parent.joinpath(*path)


def read(path):
    return pathlib.Path(path).read_text(encoding="utf-8")


def trl(name):
    return read(package("trl", "chat_templates", name + ".jinja"))


def put(text, *pairs):
    """`text` with each (old, new) replaced; every old must stand there."""
    for old, new in pairs:
        assert text.count(old) == 1, (old, text.count(old))
        text = text.replace(old, new)
    return text


def marked(line):
    return "{%- generation %}\n" + line + "\n{%- endgeneration %}\n"


def llama3_training(text):
    """The 3.1 and 3.2 templates with the answers marked, calls of tools too."""
    plain = "        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}\n"
    header = "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}\n"
    call, end = "        {%- set tool_call = message.tool_calls[0].function %}\n", "    {%- elif message.role == \"tool\""
    assert text.count(header) in (1, 2)
    return put(text.replace(header, ""), (call, call + header + "{%- generation %}\n"), (end, "{%- endgeneration %}\n" + end),
               (plain, "{%- if message.role == 'assistant' %}\n{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n"
                + marked("{{- message['content'] | trim + '<|eot_id|>' }}") + "{%- else %}\n" + plain + "{%- endif %}\n"))


def qwen25_training(text):
    """Answers marked from behind the role's line, where the generation prompt ends."""
    return put(text, (' or (message.role == "assistant" and not message.tool_calls)', ""),
               ("        {{- '<|im_start|>' + message.role }}\n        {%- if message.content %}\n            {{- '\\n' + message.content }}\n        {%- endif %}\n",
                "        {{- '<|im_start|>assistant\\n' }}\n{%- generation %}\n{{- message.content }}\n"),
               ("            {{- '\\n<tool_call>\\n{\"name\": \"' }}", "            {{- ('' if loop.first and not message.content else '\\n') + '<tool_call>\\n{\"name\": \"' }}"),
               ("        {%- endfor %}\n        {{- '<|im_end|>\\n' }}\n", "        {%- endfor %}\n        {{- '<|im_end|>\\n' }}\n{%- endgeneration %}\n"))


def smollm2(peers):
    return read(peers + "/smollm2/chat_template.jinja")


class SlowLlama:
    """What LlamaConverter reads of a slow tokenizer."""

    def __init__(self, legacy):
        self.legacy, self.add_prefix_space = legacy, True


def sentencepiece(directory, model, form):
    """`form`: prepend (tokenizer.json of Llama 2 and Mistral v0.1: a normalizer that prepends), always or first (Metaspace)."""
    kept = SentencePieceExtractor(str(model)).extract(models.BPE)
    if form != "prepend":
        source = pathlib.Path(directory) / "source"
        source.mkdir()
        shutil.copy(model, source / "tokenizer.model")
        LlamaTokenizer.from_pretrained(str(source), legacy=form == "always").save_pretrained(directory)
        if form == "always":  # LlamaTokenizer forgets that it is a legacy one and reads the file as "first"; the plain class reads it as it is
            config = pathlib.Path(directory) / "tokenizer_config.json"
            config.write_text(json.dumps({**json.loads(read(config)), "tokenizer_class": "TokenizersBackend"}))
        return
    t = Tokenizer(models.BPE(vocab=kept["vocab"], merges=kept["merges"], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.add_tokens([AddedToken("<unk>", normalized=False, special=True)] + kept["additional_special_tokens"])
    converter = LlamaConverter.__new__(LlamaConverter)
    converter.original_tokenizer = SlowLlama(legacy=True)
    t.normalizer, t.decoder = converter.normalizer(None), converter.decoder("▁", True)
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", t.token_to_id("<s>"))])
    TokenizersBackend(tokenizer_object=t, bos_token="<s>", eos_token="</s>", unk_token="<unk>").save_pretrained(directory)


def tekken(directory, file):
    names = dict(bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    TokenizersBackend(tokenizer_object=MistralConverter(str(file)).converted(), **names).save_pretrained(directory)


def corpus():
    files = sorted((HERE.parents[1] / "docs").rglob("*.md")) + sorted((HERE.parents[1] / "model/format").glob("*.cc"))
    letters = ["".join(chr(c) for c in range(a, b)) for a, b in ((0xC0, 0x250), (0x370, 0x530), (0x5D0, 0x650), (0x905, 0x940), (0x3041, 0x30FF), (0x4E00, 0x5000), (0xAC00, 0xAD00))]
    return [read(f) for f in files] + [s[i:i + 5] + " " + s[i + 2:i + 9] for s in letters for i in range(0, len(s), 3)] * 3


def byte_level(directory, kind):
    t = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
    digits = r"\p{N}{1,3}" if kind == "llama3" else r"\p{N}"
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(WORDS % digits), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    if kind != "llama3": t.normalizer = normalizers.NFC()
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=6000, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    byte_step = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    if kind == "llama3":
        special = ["<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"]
        t.add_special_tokens([AddedToken(x, special=True, normalized=False) for x in special])
        t.post_processor = processors.Sequence([byte_step, processors.TemplateProcessing(
            single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B", special_tokens=[("<|begin_of_text|>", t.token_to_id("<|begin_of_text|>"))])])
        names = dict(bos_token="<|begin_of_text|>", eos_token="<|eot_id|>", pad_token="<|finetune_right_pad_id|>")
    else:
        special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|vision_pad|>"]
        plain = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|file_sep|>"] + (["<tool_response>", "</tool_response>", "<think>", "</think>"] if kind == "qwen3" else [])
        t.add_special_tokens([AddedToken(x, special=True, normalized=False) for x in special])
        t.add_tokens([AddedToken(x, normalized=False) for x in plain])
        t.post_processor = byte_step
        names = dict(eos_token="<|im_end|>", pad_token="<|endoftext|>")
    TokenizersBackend(tokenizer_object=t, **names).save_pretrained(directory)


def mistral_templates(file):
    from mistral_common.integrations.chat_templates.chat_templates import convert_tokenizer_to_chat_template
    return {"mistral-common": convert_tokenizer_to_chat_template(str(file))}


def with_training(name):
    return {name: read(TEMPLATES / (name + ".jinja")), name + "_training": read(TEMPLATES / (name + "_training.jinja"))}


def families(peers):
    """Family -> (makes its directory, {name: template}, hub template's name -> that of the same text with its answers marked)."""
    data = package("mistral_common", "data")
    old = {n: data / f for n, f in (("v1", "tokenizer.model.v1"), ("v2", "mistral_instruct_tokenizer_240216.model.v2"),
                                    ("v3", "mistral_instruct_tokenizer_240323.model.v3"), ("v7", "mistral_instruct_tokenizer_241114.model.v7"))}
    llama2, mistral1, mistral3, nemo = (with_training(n) for n in ("llama2", "mistral_v1", "mistral_v3", "mistral_nemo"))
    llama3 = {n: trl(n) for n in ("llama3", "llama3_1", "llama3_2", "llama3_training")}
    llama3 |= {"llama3_1_marked": llama3_training(llama3["llama3_1"]), "llama3_2_marked": llama3_training(llama3["llama3_2"])}
    qwen25 = {n: trl(n) for n in ("qwen2_5", "qwen2_5_training")}
    qwen25["qwen2_5_marked"] = qwen25_training(qwen25["qwen2_5"])
    qwen3 = {n: trl(n) for n in ("qwen3", "qwen3_training", "qwen3_instruct_2507", "qwen3_instruct_2507_training")}
    smol = {"smollm2": smollm2(peers), "smollm2_training": read(TEMPLATES / "smollm2_training.jinja")}
    spm = lambda name, form: lambda d: sentencepiece(d, old[name], form)
    tek = lambda name: lambda d: tekken(d, data / name)
    return {
        "llama2": (spm("v1", "prepend"), llama2, {"llama2": "llama2_training"}),
        "llama2 non-legacy": (spm("v2", "first"), llama2, {"llama2": "llama2_training"}),
        "llama3": (lambda d: byte_level(d, "llama3"), llama3, {"llama3": "llama3_training", "llama3_1": "llama3_1_marked", "llama3_2": "llama3_2_marked"}),
        "qwen2.5": (lambda d: byte_level(d, "qwen2.5"), qwen25, {"qwen2_5": "qwen2_5_marked"}),
        "qwen3": (lambda d: byte_level(d, "qwen3"), qwen3, {"qwen3_instruct_2507": "qwen3_instruct_2507_training"}),
        "mistral v1": (spm("v1", "always"), mistral1 | mistral_templates(old["v1"]), {}),
        "mistral v2": (spm("v2", "prepend"), mistral3 | mistral_templates(old["v2"]), {"mistral_v3": "mistral_v3_training"}),
        "mistral v3": (spm("v3", "first"), mistral3 | mistral_templates(old["v3"]), {"mistral_v3": "mistral_v3_training"}),
        "mistral v7": (spm("v7", "first"), mistral_templates(old["v7"]), {}),
        "tekken 240718": (tek("tekken_240718.json"), nemo | mistral_templates(data / "tekken_240718.json"), {"mistral_nemo": "mistral_nemo_training"}),
        "tekken 240911": (tek("tekken_240911.json"), nemo | mistral_templates(data / "tekken_240911.json"), {"mistral_nemo": "mistral_nemo_training"}),
        "smollm2": (lambda d: shutil.copytree(peers + "/smollm2", d, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors")), smol, {"smollm2": "smollm2_training"}),
    }
