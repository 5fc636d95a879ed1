#!/usr/bin/env python3
"""Writes tests/golden/text/: small tokenizers of four kinds with what `tokenizers` makes of some texts, renderings of chat templates
as transformers makes them, and the loss masks of training rows that follow from these (its {% generation %} masks too). Needs
tokenizers 0.23 and transformers 5; usage: make_text.py (writes beside itself).
"""
import json, os, random
from fuzz_chats import Chats
from loss_masks import Row, without_null
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import TokenizersBackend
from transformers.utils import chat_template_utils as hf

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "text")
os.makedirs(here, exist_ok=True)
corpus = ["The package contains a small program that prints what other programs would print, it's the 2nd one of 1234 such programs.",
          "Diese Bücherei enthält überflüssige Dateien, wir'll sehen. naïve café Ünï", "日本語の文章です。日本語のプログラム", "привет мир, программа для печати",
          "   indented\n\n\tlines   of  text\r\n\r\nand so on...", "don't won't we've you're I'm he'd she'll DON'T"] * 20
CL = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
B = pre_tokenizers.ByteLevel


def make(kind):
    t = Tokenizer(models.BPE(ignore_merges=kind == "llama3", byte_fallback=kind == "llama2", fuse_unk=kind == "llama2", unk_token="<unk>" if kind == "llama2" else None))
    t.decoder = decoders.ByteLevel()
    if kind == "smollm":
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), B(add_prefix_space=False, use_regex=True)])
    elif kind == "llama3":
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CL % r"\p{N}{1,3}"), "isolated"), B(add_prefix_space=False, use_regex=False)])
    elif kind == "qwen2":
        t.normalizer = normalizers.NFC()
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CL % r"\p{N}"), "isolated"), B(add_prefix_space=False, use_regex=False)])
    else:
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    alphabet = B.alphabet() if kind != "llama2" else []
    special = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)] if kind == "llama2" else ["<s>", "</s>"]
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, special_tokens=special, show_progress=False))
    if kind == "llama2":  # byte tokens are vocabulary, not special
        j = json.loads(t.to_str())
        j["added_tokens"] = [x for x in j["added_tokens"] if not x["content"].startswith("<0x")]
        t = Tokenizer.from_str(json.dumps(j))
    t.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("  strip ", lstrip=True, rstrip=True, normalized=False),
                  AddedToken("word", single_word=True, normalized=True), AddedToken("<mask>", lstrip=True, special=True), AddedToken("Café", normalized=True)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", t.token_to_id("<s>"))])
    return t


r = random.Random(7)
pieces = ["the package", " ", "   ", "\n", "\n\n", "\t", "it's", "DON'T", "12345", "٣", "²", "ⅷ", "é", "e\u0301", "日本語", "привет", "<s>", "</s>", "<tool>", "<tool", " word ", "words", "  strip ",
          "<mask>", "Cafe\u0301", "Café", "\U0001f600", "\U000105c0", "\U00010d40", "\U00011de0", "\u0085", "\u00a0", "\u180e", "\u2028", "\ufeff", "\u0000", "'ſ", "a" * 70, "...!?", "\r\n", "▁", "<0x41>", "\u1100\u1161\u11a8"]
texts = ["", " ", "Hello world"] + ["".join(r.choice(pieces) for _ in range(r.randrange(1, 9))) for _ in range(110)]
for kind in ("smollm", "llama3", "qwen2", "llama2"):
    t = make(kind)
    t.save(os.path.join(here, f"{kind}.tokenizer.json"), pretty=False)
    ids = [t.encode(x, add_special_tokens=False).ids for x in texts]
    lists = ids + [[r.randrange(t.get_vocab_size() + 5) for _ in range(r.randrange(9))] for _ in range(60)]
    cases = {"encode": [[x, i] for x, i in zip(texts, ids)], "special": [[x, t.encode(x).ids] for x in texts[:10]],
             "decode": [[i, t.decode(i, skip_special_tokens=False), t.decode(i)] for i in lists]}
    json.dump(cases, open(os.path.join(here, f"{kind}.cases.json"), "w"), ensure_ascii=True, separators=(",", ":"))

templates = {
    "smollm": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}\n",
    "white space": "  {# note #}\nA\n  {% if true %}  \n  B {%- if 1 %} C {%- endif +%}\n  {% endif %}\n{%- set x = 1 -%}\n\n D {{- x -}} \n E\r\n{{ x }}\n {%+ if true %}F{% endif %}\n{% raw %}{{ raw }}{% endraw %}\n\n",
    "values": "{{ none }}|{{ true }}|{{ 1.0 }}|{{ 10 // 3 }}|{{ -7 // 2 }}|{{ -7 % 3 }}|{{ 7 / 2 }}|{{ 2 ** 10 }}|{{ 1e20 }}|{{ [1, 'a', none, \"it's\"] }}|{{ {'k': [1.5, true]} }}|{{ 'a' ~ 1 ~ none }}|{{ undefined_thing }}|{{ 'äöü'[1:] }}|{{ 'äöü'[::-1] }}|{{ [1,2,3][-1] }}|{{ [1,2,3,4][1:-1] }}|{{ 'x' * 3 }}|{{ 1 if false }}|{{ not 1 == 2 and 3 }}|{{ 1 < 2 < 3 }}",
    "filters": "{{ '  a b ' | trim }}|{{ ['b','A','c'] | sort | join(',') }}|{{ {'b': 1, 'a': 2} | dictsort | map('first') | join }}|{{ 'hello world' | title }}|{{ 'a,b,,c'.split(',') }}|{{ ' a  b '.split() }}|{{ 'x.y.z'.split('.', 1) }}|{{ {'z': 1, 'a': ['é', '<']} | tojson }}|{{ [1, 2] | tojson(indent=2) }}|{{ messages | map(attribute='role') | list }}|{{ messages | selectattr('role', 'equalto', 'user') | list | length }}|{{ '--a--'.strip('-') }}|{{ 'abc'.replace('b', 'BB') }}|{{ missing | default('d') }}|{{ 'a\nb' | indent(2) }}|{{ [3, 1] | max }}|{{ 'AbC' | lower | upper }}|{{ [1, 1, 2] | unique | list }}|{{ 3.7 | int }}|{{ '42' | int + 1 }}",
    "scopes": "{% set ns = namespace(found=false, n=0) %}{% set x = 'out' %}{% for m in messages if m.role == 'user' %}{% set x = m.content %}{% set ns.n = ns.n + 1 %}{% set ns.found = true %}[{{ loop.index }}/{{ loop.length }} {{ x }}{% if loop.last %}!{% endif %}]{% else %}none{% endfor %}{{ x }} {{ ns.n }} {{ ns.found }}{% macro show(a, b='d') %}<{{ a }},{{ b }}>{% endmacro %}{{ show('p') }}{{ show(b='q', a='r') }}{% for k, v in {'a': 1}.items() %}{{ k }}={{ v }}{% endfor %}{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}{% set block %}<{{ x }}>{% endset %}{{ block | upper }}{{ messages[::-1][0].content }}{{ 'content' in messages[0] }}{{ messages[0] is mapping }}{{ messages is iterable and messages is not string }}",
    "generation": "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}{{ m.content }}é\n{% endgeneration %}{% else %}{{ m.content }}\n{% endif %}{% endfor %}",
    "refused": "{% if messages|length < 99 %}{{ raise_exception('roles must alternate') }}{% endif %}",
    "undefined": "{{ messages[0].nothing.more }}",
    "date": "{{ strftime_now('%d %b %Y') }}",
    "whole turns": "{% for m in messages %}{{ m }}|{{ m.content is defined }}|{{ m.content is none }}|{{ m.reasoning_content }}|{{ m.thinking }}|{{ m | tojson }}\n{% endfor %}",
}
import datetime
hf.datetime = type("Fixed", (), {"now": staticmethod(lambda: datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.timezone.utc))})
chats = [[{"role": "user", "content": "Hi \u00e9"}], [{"role": "system", "content": "s"}, {"role": "user", "content": "a\n"}, {"role": "assistant", "content": " b"}, {"role": "user", "content": "c"}],
         [{"role": "user", "content": [{"type": "text", "text": "'a\u00a0\"\u200b\u00e9\u0301\ue000\U0001f600\U000e0001\U00031350\u0085\u007f\\"}], "name": None},
          {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"x": None}}}]}, {"role": "tool", "content": "1"},
          {"role": "assistant", "content": "b", "reasoning": "r", "thinking": None}, {"role": "user", "content": ""}, {"role": "assistant", "content": "c", "thinking": "t", "reasoning": "s"}]]
out = []
for name, text in templates.items():
    for chat in chats:
        for prompt in (False, True):
            compiled = hf._compile_jinja_template(text)
            if len(chat) == 6 and name not in ("whole turns", "scopes"): continue
            v = dict(messages=hf._alias_reasoning_fields(without_null(chat)), add_generation_prompt=prompt)
            try:
                if "generation %" in text:
                    rendered, spans = hf._render_with_assistant_indices(compiled_template=compiled, tools=None, documents=None, **v)
                else:
                    rendered, spans = compiled.render(**v), []
                out.append({"name": name, "template": text, "messages": chat, "prompt": prompt, "text": rendered,
                            "spans": [[len(rendered[:a].encode()), len(rendered[:b].encode())] for a, b in spans]})
            except Exception as e:
                out.append({"name": name, "template": text, "messages": chat, "prompt": prompt, "error": str(e)})
json.dump(out, open(os.path.join(here, "chats.json"), "w"), ensure_ascii=True, indent=0)

# Rows with the masks of each loss_on: an answer's place found by rendering prefixes, and marked by {% generation %}.
out = []
for kind, name in (("llama2", "llama2"), ("llama2", "llama2_training"), ("llama2", "mistral_v3_training"), ("smollm", "mistral_nemo"), ("smollm", "mistral_nemo_training"), ("smollm", "smollm2_training")):
    tok = TokenizersBackend(tokenizer_file=os.path.join(here, f"{kind}.tokenizer.json"), bos_token="<s>", eos_token="</s>")
    template, source = open(os.path.join(here, "templates", name + ".jinja")).read(), Chats(random.Random(f"{kind} {name}"), ["<s>", "</s>", "<tool>"])
    rows = [r for r in (source.row(tools=0.4) for _ in range(400)) if sum(len(m.get("content") or "") for m in r["messages"]) < 160][:16]
    for row in rows:
        theirs = Row(tok, template, row["messages"], **({"tools": row["tools"]} if "tools" in row else {}))
        out.append({"tokenizer": kind, "template": name, "row": row, "ids": theirs.ids, "masks": {k: m if isinstance(m, str) else "".join(map(str, m)) for k, m in theirs.masks().items()}})
json.dump(out, open(os.path.join(here, "masks.json"), "w"), ensure_ascii=True, separators=(",", ":"))
