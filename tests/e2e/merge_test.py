#!/usr/bin/env python3
"""lorry merge and lorry export with a real lorryd and a tiny model: what comes out is the same everywhere, and a refusal leaves nothing."""
import hashlib
import json
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import time

from home import Home, ROOT

RANK, HIDDEN, ALPHA = 4, 64, 6


def write_safetensors(path, tensors):
    """name -> (shape, values), fp32."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (shape, values) in sorted(tensors.items()):
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * len(values)]}
        data += struct.pack(f"<{len(values)}f", *values)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    """name -> (dtype, bytes)."""
    whole = path.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8:8 + length])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], whole[8 + length + t["data_offsets"][0]:8 + length + t["data_offsets"][1]]) for name, t in header.items()}


def write_adapter(folder, hidden=HIDDEN):
    folder.mkdir()
    draw = random.Random(5)
    tensors = {}
    for layer in range(2):
        for module, rows, columns in (("self_attn.q_proj", hidden, hidden), ("mlp.down_proj", hidden, 2 * hidden)):
            for half, shape in (("A", [RANK, columns]), ("B", [rows, RANK])):
                name = f"base_model.model.model.layers.{layer}.{module}.lora_{half}.weight"
                tensors[name] = (shape, [draw.gauss(0, 0.3) for _ in range(shape[0] * shape[1])])
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return tensors


def digests(folder):
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def nothing_left(folder):
    return [p.name for p in folder.iterdir() if p.name.startswith(".lorry-")] == []


def check_merge(home, base_folder, adapter):
    merged = home.lorry("merge", "t/thing@v1", "--to", "t/merged")
    assert (merged["name"], merged["version"]) == ("t/merged", "v1") and len(merged["digest"]) == 64, merged
    assert {f["path"] for f in merged["files"]} >= {"config.json", "model.safetensors", "tokenizer.json"}, merged
    again = home.lorry("merge", "t/thing", "--to", "t/merged", "--base", "t/tiny@v1")
    assert again["existing"] and (again["version"], again["files"]) == ("v1", merged["files"]), again
    lineage = home.lorry("model", "lineage", "t/merged")
    assert [p["reference"] for p in lineage["parents"]] == ["t/tiny@v1", "t/thing@v1"], lineage
    home.lorry("model", "pull", "t/merged", "--to", home.path / "merged")
    stored, base = read_safetensors(home.path / "merged" / "model.safetensors"), read_safetensors(base_folder / "model.safetensors")
    assert stored.keys() == base.keys()
    changed = {name for name in base if stored[name] != base[name]}
    assert changed == {n[len("base_model.model."):-len(".lora_A.weight")] + ".weight" for n in adapter if ".lora_A." in n}, changed
    name = "model.layers.1.mlp.down_proj"
    a, b = (adapter[f"base_model.model.{name}.lora_{half}.weight"][1] for half in "AB")
    before, after = (struct.unpack(f"<{HIDDEN * 2 * HIDDEN}f", t[name + ".weight"][1]) for t in (base, stored))
    for i in range(0, len(before), 97):
        row, column = divmod(i, 2 * HIDDEN)
        exact = before[i] + ALPHA / RANK * sum(b[row * RANK + k] * a[k * 2 * HIDDEN + column] for k in range(RANK))
        assert abs(after[i] - exact) < 1e-6, (i, after[i], exact)
    prompt = ("--prompt", "the thing", "--raw", "--max-tokens", "12", "--dtype", "float32")
    answers = [home.lorry("generate", *which, *prompt)["rows"][0]["tokens"]
               for which in (["--model", "t/merged"], ["--model", "t/tiny", "--adapter", "t/thing"], ["--model", "t/tiny"])]
    assert answers[0] == answers[1] != answers[2], answers
    bf16 = home.lorry("merge", "t/thing", "--to", "t/merged", "--dtype", "bfloat16")
    assert bf16["version"] == "v2", bf16
    home.lorry("model", "pull", "t/merged@v2", "--to", home.path / "bf16")
    assert json.loads((home.path / "bf16" / "config.json").read_text()).get("torch_dtype", "bfloat16") == "bfloat16"
    assert {dtype for dtype, _ in read_safetensors(home.path / "bf16" / "model.safetensors").values()} == {"BF16"}
    return answers[0]


def check_export(home, adapter_folder, answer):
    told = home.lorry("export", "t/thing", "--format", "peft", "--to", home.path / "peft")
    assert {f["path"]: f["sha256"] for f in told["files"]} == digests(home.path / "peft") and told["to"] == str(home.path / "peft"), told
    assert (home.path / "peft" / "adapter_model.safetensors").read_bytes() == (adapter_folder / "adapter_model.safetensors").read_bytes()
    (home.path / "hf").mkdir()  # an empty folder is taken as it is
    home.lorry("export", "t/thing", "--format", "safetensors", "--to", home.path / "hf")
    assert digests(home.path / "hf") == digests(home.path / "merged")
    home.lorry("export", "t/tiny", "--format", "safetensors", "--to", home.path / "model")
    assert digests(home.path / "model") == digests(home.path / "tiny")
    told = home.lorry("export", adapter_folder, "--base", "t/tiny", "--format", "gguf", "--type", "f32", "--to", home.path / "deep" / "er")
    assert [f["path"] for f in told["files"]] == ["hand-F32.gguf"], told
    home.lorry("export", adapter_folder, "--base", home.path / "tiny", "--format", "gguf", "--type", "f32", "--to", home.path / "gguf")
    assert digests(home.path / "gguf") == digests(home.path / "deep" / "er")
    read = home.lorry("generate", "--model", home.path / "gguf" / "hand-F32.gguf", "--prompt", "the thing", "--raw", "--max-tokens", "12", "--dtype", "float32")
    assert read["rows"][0]["tokens"] == answer, read
    sizes = [home.lorry("export", "t/merged@v1", "--format", "gguf", "--type", kind, "--to", home.path / kind)["files"][0]["bytes"] for kind in ("f16", "q8_0")]
    assert sizes[0] > sizes[1], sizes
    # In NF4: read again as any model is, and refused where four bits cannot go.
    home.lorry("export", "t/merged@v1", "--format", "nf4", "--to", home.path / "nf4")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(digests(home.path / "nf4")), digests(home.path / "nf4")
    home.lorry("export", "t/merged@v1", "--format", "nf4", "--to", home.path / "nf4-again")
    assert digests(home.path / "nf4") == digests(home.path / "nf4-again")
    read = home.lorry("generate", "--model", home.path / "nf4", "--prompt", "the thing", "--raw", "--max-tokens", "12", "--dtype", "float32")
    assert len(read["rows"][0]["tokens"]) > 0, read
    assert nothing_left(home.path) and nothing_left(home.path / "hf")


def check_refusals(home, adapter_folder):
    other = home.path / "other"
    subprocess.run([sys.executable, ROOT / "tests" / "support" / "tiny_model.py", other, "--hidden", "32"], check=True)
    broken = home.path / "broken"
    broken.mkdir()
    (broken / "adapter_config.json").write_bytes((adapter_folder / "adapter_config.json").read_bytes())
    (broken / "adapter_model.safetensors").write_bytes((adapter_folder / "adapter_model.safetensors").read_bytes()[:1000])
    empty = home.path / "empty-adapter"
    empty.mkdir()
    (empty / "adapter_config.json").write_bytes((adapter_folder / "adapter_config.json").read_bytes())
    write_safetensors(empty / "adapter_model.safetensors", {})
    lost = home.path / "lost"
    lost.mkdir()
    (lost / "adapter_config.json").write_bytes((adapter_folder / "adapter_config.json").read_bytes())
    # words | status | code | what the error says
    to = ["--to", home.path / "out"]
    refusals = [
        (["merge", "t/nothing", "--to", "t/x"], 5, "not_found", "t/nothing not found"),
        (["merge", "t/thing@v9", "--to", "t/x"], 5, "not_found", "t/thing@v9 not found"),
        (["merge", "t/tiny", "--to", "t/x"], 2, "usage", "is a model, not an adapter"),
        (["merge", adapter_folder, "--to", "t/x"], 2, "usage", "its base is not known"),
        (["merge", "t/thing", "--to", "t/thing"], 1, "conflict", "is a name of an adapter"),
        (["merge", adapter_folder, "--base", other, "--to", "t/x"], 1, "data", "trained on another base"),
        (["merge", broken, "--base", "t/tiny", "--to", "t/x"], 1, "data", "adapter_model.safetensors"),
        (["merge", empty, "--base", "t/tiny", "--to", "t/x"], 1, "data", "is missing"),
        (["merge", lost, "--base", "t/tiny", "--to", "t/x"], 5, "not_found", "adapter_model.safetensors"),
        (["merge", "t/thing", "--base", other, "--to", "t/x"], 2, "usage", "was trained on t/tiny@v1"),
        (["export", empty, "--format", "peft", *to], 1, "data", "holds no tensor"),
        (["export", "t/thing", "--format", "nf4", *to], 2, "not_in_this_version", "lorry merge it"),
        (["export", "t/tiny", "--format", "gguf", "--to", home.path / "tiny"], 1, "conflict", "is not empty"),
        (["export", "t/tiny", "--format", "gguf", "--to", "/proc/no/such"], 5, "not_found", "/proc/no"),
    ]
    for words, status, code, says in refusals:
        error = home.lorry(*words, status=status)["error"]
        shown = " ".join(str(error[key]) for key in ("file", "key", "message", "hint"))
        assert error["code"].startswith(code) and says in shown, (words, error)
        assert "/cache/" not in shown and "/tmp/lorry-" not in shown.replace(str(home.path), ""), error
    assert not (home.path / "out").exists() and nothing_left(home.path) and nothing_left(home.home / "cache")
    assert "t/x" not in [item["name"] for item in home.lorry("model", "list")["items"]]


def check_full_disk(home):
    disk = home.path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode != 0:
        print("no file system can be mounted here: a full disk is left out")
        return
    try:
        for words in (["--format", "gguf", "--to", disk], ["--format", "safetensors", "--dtype", "float32", "--to", disk / "new"]):
            error = home.lorry("export", "t/merged", *words, status=1)["error"]
            assert error["code"] == "storage" and "No space" in error["message"], error
            assert list(disk.iterdir()) == [], list(disk.iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)


def check_killed(home):
    """What a killed export leaves is hidden, and the next one beside it takes it away."""
    target = home.path / "killed" / "out"
    words = [home.bin / "lorry", "export", "t/big", "--format", "gguf", "--type", "q8_0", "--to", target]
    for _ in range(20):
        started = subprocess.Popen(words, env=home.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while started.poll() is None and not (target.parent.exists() and any(target.parent.iterdir())):
            time.sleep(0.001)
        started.send_signal(signal.SIGKILL)
        if started.wait() == -signal.SIGKILL and not target.exists():
            break
    else:
        raise AssertionError("no export could be killed midway")
    time.sleep(0.2)  # lorry-batch dies with its parent
    home.lorry("export", "t/big", "--format", "gguf", "--type", "q8_0", "--to", target)
    assert [p.name for p in target.parent.iterdir()] == ["out"], list(target.parent.iterdir())
    assert [p.name for p in target.iterdir()] == ["big-Q8_0.gguf"]


def check_private(home, adapter_folder):
    home.lorry("model", "visibility", "t/tiny", "private")
    home.lorry("merge", adapter_folder, "--base", "t/tiny", "--to", "t/secret")
    assert home.lorry("model", "show", "t/secret")["private"]


def main():
    with Home() as home:
        base_folder = home.tiny_model("--hidden", str(HIDDEN))
        adapter_folder = home.path / "hand"
        adapter = write_adapter(adapter_folder)
        home.lorry("adapter", "import", adapter_folder, "--name", "t/thing", "--base", "t/tiny@v1")
        answer = check_merge(home, base_folder, adapter)
        check_export(home, adapter_folder, answer)
        check_refusals(home, adapter_folder)
        check_full_disk(home)
        subprocess.run([sys.executable, ROOT / "tests" / "support" / "tiny_model.py", home.path / "big", "--layers", "6", "--hidden", "128"], check=True)
        home.lorry("model", "import", home.path / "big", "--name", "t/big")
        check_killed(home)
        check_private(home, adapter_folder)
        print("merged, exported, refused")


main()
