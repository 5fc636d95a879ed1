#!/usr/bin/env python3
"""Holds our Jinja against transformers': every template of a folder over conversations of every shape, text and {% generation %}
spans equal, and an error where transformers has one.

usage: chat_templates_live.py PEERS_DIR BUILD_DIR [--templates DIR]      (DIR: *.jinja; without it those that TRL carries)
"""
import argparse, datetime, glob, importlib.util, json, os, subprocess, sys
from transformers.utils import chat_template_utils as hf

p = argparse.ArgumentParser()
p.add_argument("peers"); p.add_argument("build"); p.add_argument("--templates")
a = p.parse_args()
tool = a.build + "/tests/bin/tokenize_lines"
folder = a.templates or os.path.join(os.path.dirname(importlib.util.find_spec("trl").origin), "chat_templates")
if not glob.glob(folder + "/*.jinja"): sys.exit(f"no *.jinja in {folder}")


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(1_700_000_000, datetime.timezone.utc)


hf.datetime = FixedTime
tools = [{"type": "function", "function": {"name": "weather", "description": "Weather \u2600 of a town", "parameters": {
    "type": "object", "properties": {"town": {"type": "string", "description": "which <town> & 'where'"}, "days": {"type": "integer", "enum": [1, 2]}},
    "required": ["town"]}}}]
call = {"role": "assistant", "content": "", "tool_calls": [{"id": "abc123XYZ", "type": "function", "function": {"name": "weather", "arguments": {"town": "Bärn", "days": 2}}}]}
answer = {"role": "tool", "tool_call_id": "abc123XYZ", "name": "weather", "content": "{\"sky\": \"clear\"}"}
U, A, S = (lambda r: lambda t: {"role": r, "content": t})("user"), (lambda t: {"role": "assistant", "content": t}), (lambda t: {"role": "system", "content": t})
chats = [
    [U("Hi")], [U("Hi"), A("Hello.")], [S("Be brief."), U(" Hi \n"), A("\n Hello. ")], [U("a"), A("b"), U("c"), A("d")],
    [S("x"), U("a"), A("<think>\nhm\n</think>\n\nb"), U("c")], [U("a"), {**A("b"), "reasoning_content": "because\n"}, U("c"), {**A("d"), "reasoning_content": "so"}],
    [U("weather?"), call, answer, A("Clear.")], [S("s"), U("weather?"), call, answer], [U("weather?"), call, answer, answer, A("x"), U("more")],
    [U([{"type": "text", "text": "part one"}, {"type": "text", "text": "two"}])], [A("first")], [U("a"), U("b")], [S("only")],
    [U("日本語 \u00a0 \U0001f600"), A("ok\r\nyes\x1c")], [{"role": "user", "content": None}, A("x")], [U("")], [{"role": "weird", "content": "x"}],
]
cases = []
for path in sorted(glob.glob(os.path.join(folder, "*.jinja"))):
    text = open(path).read()
    for chat in chats:
        for extra in ({}, {"tools": tools}, {"enable_thinking": False}, {"date_string": "1 Jan"}):
            for prompt in (False, True):
                v = dict(messages=chat, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>", pad_token="<pad>", tools=None, documents=None)
                v.update(extra)
                cases.append((os.path.basename(path), text, v))
lines = "".join(json.dumps({"template": t, "variables": v}) + "\n" for _, t, v in cases)
out = subprocess.run([tool, "-", "template"], input=lines, capture_output=True, text=True, check=True).stdout.splitlines()
bad, errors = {}, 0
for (name, text, v), line in zip(cases, out):
    # what apply_chat_template does to the turns before they are rendered
    got, chat = json.loads(line), hf._alias_reasoning_fields([{k: x for k, x in m.items() if x is not None} for m in v["messages"]])
    kw = {k: x for k, x in v.items() if k != "messages"}
    try:
        compiled = hf._compile_jinja_template(text)
        if "generation" in text and "{% generation" in text.replace("{%-", "{%"):
            want_text, spans = hf._render_with_assistant_indices(compiled_template=compiled, messages=chat, tools=kw.pop("tools"), documents=kw.pop("documents"), add_generation_prompt=kw.pop("add_generation_prompt"), **kw)
        else:
            want_text, spans = compiled.render(messages=chat, **kw), []
        same = got.get("text") == want_text and got.get("spans") == [list(s) for s in spans]
        want = {"text": want_text, "spans": spans}
    except Exception as e:
        errors += 1
        same, want = "error" in got, repr(e)
    if not same:
        bad.setdefault(name, []).append((v, got, want))
print(f"{len(out)} renderings, {errors} of them errors in transformers, {sum(map(len, bad.values()))} differ")
for name, all_of in bad.items():
    v, got, want = all_of[0]
    print(f"{name}: {len(all_of)}\n  in   {ascii(v)[:400]}\n  ours {ascii(got)[:700]}\n  want {ascii(want)[:700]}")
sys.exit(1 if bad or len(out) != len(cases) else 0)
