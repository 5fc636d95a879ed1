#!/usr/bin/env python3
"""Holds the tokenizer, chat templates and loss masks of every family against transformers': ids, decoded texts, renderings, the masks
of {% generation %}, and for each loss_on the mask that follows from transformers' own renderings and ids.

usage: families_text_live.py PEERS_DIR BUILD_DIR [--strings 100000] [--chats 2000] [--seed 1] [--family NAME]
Each family's tokenizer is made by tests/golden/family_models.py (needs mistral-common, sentencepiece and protobuf). Prints for each
family what was compared and the first ten differences; status 1 where there is one.

Rows that Lorry refuses because a prompt's tokens are not the beginning of the row's are held to that: by transformers' ids too they
must not be. In such a row transformers' mask would learn a token of which the model is given the beginning.
"""
import argparse, datetime, json, os, pathlib, random, subprocess, sys, tempfile, time

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden"))
from family_models import families
from fuzz_chats import Chats
from fuzz_strings import fuzz_strings
from loss_masks import REFUSED, SEAM, Row, render
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils, logging

logging.set_verbosity_error()
p = argparse.ArgumentParser()
p.add_argument("peers"); p.add_argument("build"); p.add_argument("--family")
p.add_argument("--strings", type=int, default=100000); p.add_argument("--chats", type=int, default=2000); p.add_argument("--seed", type=int, default=1)
a = p.parse_args()
tool = a.build + "/tests/bin/tokenize_lines"


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(1_700_000_000, datetime.timezone.utc)


chat_template_utils.datetime = FixedTime


def around(one, other):
    """`one` from a little before the place where it differs from `other`."""
    while type(one) is type(other) is tuple:
        place = next((i for i, (x, y) in enumerate(zip(one, other)) if x != y), 0)
        one, other = one[place], other[place]
    if type(one) is not type(other) or not isinstance(one, (str, list)): return ascii(one)[:500]
    place = max(0, next((i for i, (x, y) in enumerate(zip(one, other)) if x != y), min(len(one), len(other))) - 10)
    return f"{len(one)} long, from {place}: " + ascii(one[place:place + 60])


class Family:
    def __init__(self, name, directory):
        self.name, self.directory, self.tok = name, directory, AutoTokenizer.from_pretrained(directory)
        self.counts, self.bad = {}, []
        special = [str(t) for t in self.tok.all_special_tokens] + list(self.tok.get_added_vocab())
        self.specials = special if len(special) < 40 else special[:30] + special[-10:]

    def ours(self, mode, values):
        text = "".join(json.dumps(v) + "\n" for v in values)
        out = subprocess.run([tool, self.directory, mode], input=text, capture_output=True, text=True)
        lines = out.stdout.splitlines()
        if out.returncode != 0 or len(lines) != len(values): sys.exit(f"{self.name} {mode}: {len(lines)} lines for {len(values)}, {out.stderr}")
        return [json.loads(line) for line in lines]

    def count(self, what, more, of):
        before = self.counts.get(what, (0, 0))
        self.counts[what] = (before[0] + more, before[1] + of)

    def compare(self, what, inputs, got, want):
        wrong = [i for i in range(len(want)) if got[i] != want[i]]
        self.count(what, len(want) - len(wrong), len(want))
        self.bad += [(what, inputs[i], got[i], want[i]) for i in wrong]

    def ids(self, texts, special=False):
        return [x for i in range(0, len(texts), 1000) for x in self.tok(texts[i:i + 1000], add_special_tokens=special)["input_ids"]] if texts else []

    def strings(self, r):
        strings = fuzz_strings(r, a.strings - 5, self.specials)
        ids = self.ids(strings)
        self.compare("encode", strings, self.ours("encode", strings), ids)
        few = strings[:max(1000, a.strings // 5)]
        self.compare("encode with special tokens", few, self.ours("encode_special", few), self.ids(few, True))
        lists = ids + [[r.randrange(len(self.tok)) for _ in range(r.randrange(0, 20))] for _ in range(a.strings // 5)]
        kw = dict(clean_up_tokenization_spaces=False)
        want = [list(x) for x in zip(self.tok.batch_decode(lists, **kw), self.tok.batch_decode(lists, skip_special_tokens=True, **kw))]
        self.compare("decode", lists, self.ours("decode", lists), want)

    def chats(self, name, template, chats):
        (pathlib.Path(self.directory) / "chat_template.jinja").write_text(template, encoding="utf-8")
        got = self.ours("chat", chats)
        want = [render(self.tok, template, c["messages"], **{k: v for k, v in c.items() if k != "messages"}) for c in chats]
        self.count(f"({name}: refused by transformers)", sum(w is None for w in want), len(want))
        self.compare("chats: text and ids, or refused", [(name, c) for c in chats], [None if "error" in g else (g["text"], g["ids"]) for g in got], [w and w[:2] for w in want])

    def masks(self, name, template, rows):
        """The masks of ours, by row."""
        got = self.ours("masks", rows)
        for row, ours in zip(rows, got):
            theirs = Row(self.tok, template, row["messages"], **({"tools": row["tools"]} if "tools" in row else {}))
            for loss_on, want in theirs.masks().items(): self.tally(f"loss_on {loss_on}", (name, row), ours[loss_on], want)
            if theirs.ids is not None: self.compare("rows: ids", [(name, row)], [ours.get("ids")], [theirs.ids])
            if theirs.early: self.count("(transformers' mask ends early: no token for a character)", 1, 1)
        return got

    def pairs(self, source):
        """Rows of prompt and completion: the ids of the two joined, the end of sequence behind them."""
        rows = [{"prompt": source.text(), "completion": source.text(may_be_empty=False)} for _ in range(a.chats)]
        got = self.ours("masks", rows)
        for row, ours, whole, prompt in zip(rows, got, self.ids([r["prompt"] + r["completion"] for r in rows], True), self.ids([r["prompt"] for r in rows], True)):
            ids = whole + [self.tok.eos_token_id]
            mask = [int(i >= max(1, len(prompt))) for i in range(len(ids))] if ids[:len(prompt)] == prompt else SEAM
            self.tally("prompt and completion", row, ours["completion"], mask)
            self.tally("prompt and completion", row, ours["all"], [0] + [1] * len(whole) if mask != SEAM else SEAM)
            if mask != SEAM: self.compare("prompt and completion: ids", [row], [ours.get("ids")], [ids])

    def tally(self, what, case, ours, want):
        """`ours`: a mask or an error's text."""
        if isinstance(ours, str): ours = SEAM if SEAM in ours else REFUSED
        result = "mask equal" if isinstance(want, list) else "refused, and by transformers' ids too no beginning" if want == SEAM else "refused by both: template"
        self.compare(f"{what}: {result}", [case], [ours], [want])

    def report(self, seconds):
        print(f"== {self.name}: {len(self.tok)} tokens, {seconds:.0f} s, {len(self.bad)} differ")
        for what, (equal, of) in self.counts.items(): print(f"   {what}: {equal} of {of}")
        for what, given, got, want in self.bad[:10]:
            print(f" - {what}\n     input {ascii(given)[:900]}\n     ours  {around(got, want)}\n     their {around(want, got)}")
        sys.stdout.flush()


def check(name, make, templates, marked):
    with tempfile.TemporaryDirectory() as directory:
        make(directory)
        begin, family, r = time.time(), Family(name, directory), random.Random(f"{a.seed} {name}")
        family.strings(r)
        source = Chats(r, family.specials)
        chats, rows = [source.chat() for _ in range(a.chats)], [source.row() for _ in range(a.chats)]
        family.pairs(source)
        masks = {}
        for template_name, template in templates.items():
            family.chats(template_name, template, chats)
            masks[template_name] = family.masks(template_name, template, rows)
        for plain, training in marked.items():  # answers found by rendering prefixes, and the same marked by {% generation %}
            both = [(row, x, y) for row, x, y in zip(rows, masks[plain], masks[training]) if x.get("ids") == y.get("ids") and isinstance(x["assistant"], list) and isinstance(y["assistant"], list)]
            family.compare(f"{plain}: loss_on assistant without and with generation blocks", [b[0] for b in both], [b[1]["assistant"] for b in both], [b[2]["assistant"] for b in both])
        family.report(time.time() - begin)
        return not family.bad


all_families = families(a.peers)
if a.family and a.family not in all_families: sys.exit(f"families: {', '.join(all_families)}")
ok = [check(name, *parts) for name, parts in all_families.items() if a.family in (None, name)]
print(f"{sum(ok)} of {len(ok)} families equal")
sys.exit(0 if all(ok) else 1)
