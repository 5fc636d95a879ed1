#!/usr/bin/env python3
"""Broken jobs, each ending in the sort of error that is its own: found before submit (status 2, no run made, file, line, key and
remedy), found by a rank (a failed run with a typed reason, its cost kept, status 1 with --wait), or found in one row of a batch.

A row of the table: what is broken | the change to a job that is whole | the line on standard error. In that line DIR stands for
the job's folder and `...` for words of the operating system.
"""
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys

from home import NOBODY, ROOT, Home

sys.path.insert(0, str(ROOT / "tests" / "support"))
import tiny_model  # noqa: E402

JOB = """kind: finetune
name: broken
project: docs
base_model: t/tiny
dataset:
  path: train.jsonl
  max_length: 200
adapter:
  r: 4
training:
  max_steps: 2
resources: {cpus: 2}
output: {adapter: t/broken}
"""
BATCH = """kind: batch
name: rows
project: docs
model: t/tiny
input: rows.jsonl
prompt: "Say {{ text }}"
output: out/
sampling: {max_tokens: 4}
resources: {cpus: 2}
"""
REQUESTS = 'input: rows.jsonl\nprompt: "Say {{ text }}"\n'  # what a job of OpenAI lines has in this place:
STRICT = "input: FILE\nvalidation: strict\n"
COMMAND = """kind: command
name: program
project: docs
argv: [/bin/true]
"""

# what is broken | job, text in it, what it becomes | the error line
BEFORE_SUBMIT = [
    ("key of another trainer", JOB, "  r: 4", "  rank: 4", 'job.yaml:9:3: adapter.rank: unknown key; here it is called "r"'),
    ("misspelt key", JOB, "  max_steps: 2", "  max_steps: 2\n  learing_rate: 1e-4", 'job.yaml:12:3: training.learing_rate: unknown key; did you mean "learning_rate"?'),
    ("key in the wrong section", JOB, "resources:", "max_length: 9\nresources:", 'job.yaml:12:1: max_length: unknown key; did you mean "dataset.max_length"?'),
    ("quoted number", JOB, "max_steps: 2", 'max_steps: "2"', 'job.yaml:11:14: training.max_steps: expected a whole number, found text "2"; take the quotes away'),
    ("fraction of a step", JOB, "max_steps: 2", "max_steps: 2.5", "job.yaml:11:14: training.max_steps: expected a whole number, found 2.5"),
    ("YAML 1.1 number", JOB, "max_steps: 2", "max_steps: 1_000",
     "job.yaml:11:14: training.max_steps: 1_000 is not a value of JSON; write a decimal number such as 10, 0.5 or 2e-4, or quote it where text is meant"),
    ("duration without a unit", JOB, "resources:", "limits: {max_duration: 2}\nresources:",
     "job.yaml:12:24: limits.max_duration: expected a duration: a whole number above 0 and s, m, h or d, such as 90s or 2h, found 2; put it in quotes"),
    ("size with a wrong unit", JOB, "{cpus: 2}", "{gpus: {min_memory: 24 gigs}}",
     'job.yaml:12:32: resources.gpus.min_memory: "24 gigs" is not a size: a whole number and KB, MB, GB or TB, such as 24GB'),
    ("learning rate out of range", JOB, "  max_steps: 2", "  max_steps: 2\n  learning_rate: 2", "job.yaml:12:18: training.learning_rate: 2 is outside 0 < x <= 1 (did you mean 2.0e-4?)"),
    ("two ways of saying one thing", JOB, "{cpus: 2}", "{cpus: 2, gpus: 1}", "job.yaml:12:19: resources.cpus: says the same thing as resources.gpus; keep one of them"),
    ("repeated key", JOB, "name: broken\n", "name: broken\nname: other\n", "job.yaml:3:1: name: repeated key; it stands on line 2 already; keep one of them"),
    ("quote that nobody closes", JOB, "name: broken", 'name: "broken', 'job.yaml:2:7: this quote is never closed; end the text with "'),
    ("Latin-1", JOB, "name: broken", b"name: caf\xe9", "job.yaml:2:10: the text is not UTF-8 here; save the file as UTF-8"),
    ("tag", JOB, "max_steps: 2", "max_steps: !!int 2", "job.yaml:11:14: training.max_steps: a tag is not a value of JSON; tags are not read; quote text, write numbers plainly"),
    ("second document", JOB, "output:", "---\noutput:", "job.yaml:13:1: a second document begins; one file holds one document"),
    ("nothing in the file", JOB, JOB, "", "job.yaml:1:1: the file is empty"),
    ("no output named", JOB, "output: {adapter: t/broken}", "labels: {}", "job.yaml:1:1: output.adapter: missing; this key is required"),
    ("neither epochs nor steps", JOB, "  max_steps: 2", "  seed: 1", "job.yaml:11:3: training: neither epochs nor max_steps is given; one of them must be there"),
    ("kind of a later version", JOB, "kind: finetune", "kind: pipeline", 'job.yaml:1:7: kind: not in this version; "pipeline" is known, but not carried out yet'),
    ("value of a later version", JOB, "resources:", "limits: {on_exceed: notify}\nresources:",
     'job.yaml:12:21: limits.on_exceed: not in this version; "notify" is known, but not carried out yet'),
    ("sweep without a space", JOB, "resources:", "sweep: {method: grid}\nresources:", "job.yaml:12:1: sweep.space: missing; this key is required"),
    ("reserved name", JOB, "t/broken", "runs/broken", 'job.yaml:13:19: output.adapter: "runs/broken" is reserved: this organisation is one of Lorry\'s own paths'),
    ("validation on the training file", JOB, "  max_length", "  validation: ./train.jsonl\n  max_length",
     "job.yaml:7:15: dataset.validation: is the training file itself; use other rows, or dataset.val_fraction"),
    ("after itself", JOB, "resources:", "after: [broken]\nresources:", "job.yaml:12:9: after[0]: a job cannot come after itself; name another run"),
    ("ranks that do not fit", JOB, "{cpus: 2}", "{cpus: 2, ranks: 3}", "job.yaml:12:29: resources.ranks: 3 does not divide 2 lanes; every rank drives the same number of lanes"),
    ("model that nobody knows", JOB, "t/tiny", "t/tinny", "job.yaml:4:13: base_model: ..."),
    ("data file that is not there", JOB, "train.jsonl", "trian.jsonl", "job.yaml:6:9: dataset.path: DIR/trian.jsonl: the file does not exist"),
    ("data file with no rows", JOB, "train.jsonl", "empty.jsonl", "job.yaml:6:9: dataset.path: DIR/empty.jsonl has no rows; each line is a JSON object with messages, prompt + completion, or text"),
    ("data file cut off", JOB, "train.jsonl", "cut.jsonl", "DIR/cut.jsonl:3:..."),
    ("row without a completion", JOB, "train.jsonl", "hollow.jsonl", "DIR/hollow.jsonl:2:..."),
    ("two row forms in one file", JOB, "train.jsonl", "mixed.jsonl", "DIR/mixed.jsonl:2: another row form than the rows before; a file holds one of messages, prompt + completion, text"),
    ("row over max_length", JOB, "train.jsonl", "long.jsonl", "DIR/long.jsonl:2:..."),
    ("max_length over the context", JOB, "max_length: 200", "max_length: 4096", "job.yaml:7:15: dataset.max_length: 4096 is over the model's context of 256 tokens"),
    ("target module that matches nothing", JOB, "  r: 4", "  target_modules: [q_porj]",
     'job.yaml:9:20: adapter.target_modules[0]: "q_porj" matches no linear layer of the model; did you mean "q_proj"?'),
    ("adapter for another base", JOB, "  r: 4", "  init_from: other-adapter",
     "job.yaml:9:14: adapter.init_from: the adapter is for another base: its base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight is [4, 32], "
     "and the model has [64, 64] there; use the base that the adapter was trained on"),
    ("model directory cut off", JOB, "t/tiny", "./cut-model", "job.yaml:4:13: base_model: ..."),
    ("GPU where there is none", JOB, "{cpus: 2}", "{gpus: 1}", "job.yaml:12:19: resources.gpus: ...cpus: 2..."),
    ("batch input that is not there", BATCH, "rows.jsonl", "raws.jsonl", "job.yaml:5:8: input: DIR/raws.jsonl: the file does not exist"),
    ("batch input with no rows", BATCH, "rows.jsonl", "empty.jsonl", "job.yaml:5:8: input: ..."),
    ("prompt that is no template", BATCH, "{{ text }}", "{{ text", "job.yaml:6:9: prompt: ..."),
    ("row that the prompt does not fit, in a strict batch", BATCH, "sampling:", "validation: strict\nsampling:",
     "DIR/rows.jsonl:2: prompt: the job's prompt: 'text' is undefined; the row's keys are the prompt's variables"),
    ("parameter out of range in a strict batch", BATCH, REQUESTS, STRICT.replace("FILE", "hot.jsonl"), "DIR/hot.jsonl:1: invalid_parameter: temperature must be in 0..2 (0: greedy)"),
    ("another model in a strict batch", BATCH, REQUESTS, STRICT.replace("FILE", "other.jsonl"), "DIR/other.jsonl:1: model_not_found: model gpt-4 is not this job's; it is t/tiny"),
    ("prompt over the context in a strict batch", BATCH, REQUESTS, STRICT.replace("FILE", "wide.jsonl"),
     "DIR/wide.jsonl:1: context_length_exceeded: the prompt has ... tokens; the model's context holds 256 and must leave room for an answer"),
    ("output that is a file", BATCH, "out/", "train.jsonl", "job.yaml:7:9: output: DIR/train.jsonl is a file; a folder is expected"),
    ("program that is not there", COMMAND, "/bin/true", "./no-such-program", "job.yaml:4:8: argv[0]: DIR/no-such-program does not exist"),
    ("program that cannot be run", COMMAND, "/bin/true", "./train.jsonl", "job.yaml:4:8: argv[0]: DIR/train.jsonl is not executable; chmod +x it, or name the interpreter first"),
]


# As above, for a user who is not root: what a mode of 0 keeps from its owner.
WITHOUT_PERMISSION = [
    ("output in a folder of another", BATCH, "out/", "locked/out/", "job.yaml:7:9: output: no permission to write in DIR/locked; name a folder of your own"),
    ("data that may not be read", JOB, "train.jsonl", "locked.jsonl", "job.yaml:6:9: dataset.path: cannot open DIR/locked.jsonl: Permission denied; check the owner and mode of the file and its folders"),
    ("batch input that may not be read", BATCH, "rows.jsonl", "locked.jsonl", "job.yaml:5:8: input: cannot open DIR/locked.jsonl: Permission denied; check the owner and mode of the file and its folders"),
    ("model that may not be read", JOB, "t/tiny", "./locked", "job.yaml:4:13: base_model: ...Permission denied; check the owner and mode of the file and its folders"),
]


def write_inputs(home):
    def rows(*items):
        return "".join(json.dumps(i) + "\n" for i in items)

    good = {"prompt": "one", "completion": " two"}
    home.write("train.jsonl", rows(*[good] * 8))
    home.write("empty.jsonl", "\n\n")
    home.write("cut.jsonl", rows(good, good) + '{"prompt": "one", "comple')
    home.write("hollow.jsonl", rows(good, {"prompt": "one", "completion": ""}))
    home.write("mixed.jsonl", rows(good, {"text": "three"}))
    home.write("long.jsonl", rows(good, {"prompt": "one", "completion": "word " * 200}))
    home.write("rows.jsonl", rows({"id": "a", "text": "x"}, {"id": "b"}, {"id": "c", "text": "y"}))
    ask = {"messages": [{"role": "user", "content": "x"}]}
    for name, body in (("hot", {**ask, "temperature": 9}), ("other", {**ask, "model": "gpt-4"}), ("wide", {"messages": [{"role": "user", "content": "word " * 200}]})):
        home.write(f"{name}.jsonl", rows({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}))
    adapter = home.path / "other-adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "base_model_name_or_path": "other"}))
    layer = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    tiny_model.write_safetensors(adapter / "adapter_model.safetensors", {layer + "A.weight": ([4, 32], [0.0] * 128), layer + "B.weight": ([32, 4], [0.0] * 128)})


def cut_model(home, whole):
    folder = home.path / "cut-model"
    subprocess.run(["cp", "-r", whole, folder], check=True)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def pattern(line, folder):
    return "".join(".*" if part == "..." else re.escape(part) for part in re.split(r"(\.\.\.)", line.replace("DIR", str(folder))))


def check_before_submit(home, cases):
    """Every case through `submit`, in the job's own folder; nothing may have been submitted in the end. Gives the failures."""
    failures = []
    for what, job, old, new, expected in cases:
        text = job.encode().replace(old.encode(), new if isinstance(new, bytes) else new.encode(), 1)
        (home.path / "job.yaml").write_bytes(text)
        done = home.run("submit", "job.yaml", cwd=home.path)
        lines = [line for line in done.stderr.splitlines() if re.fullmatch(pattern(expected, home.path), line)]
        if done.returncode != 2 or not lines or done.stdout:
            failures.append(f"{what}: status {done.returncode}\n  expected {expected}\n  got      {done.stderr.strip()}{done.stdout.strip()}")
        shown = json.loads(home.run("submit", "job.yaml", "--json", cwd=home.path).stdout)
        if set(shown["error"]) != {"code", "message", "hint", "file", "line", "key"}:
            failures.append(f"{what}: the JSON error is {shown}")
    if home.lorry("ps", "--all")["runs"]:
        failures.append("a broken job made a run")
    return failures


def check_found_by_a_rank(home):
    job = home.write("fails.yaml", COMMAND.replace("[/bin/true]", "[/bin/sh, -c, exit 3]"))
    ended = home.lorry("submit", job, "--wait", status=1)
    assert (ended["state"], ended["reason"]) == ("failed", "user_error"), ended
    assert home.lorry("cost", ended["run"])["rows"], "the cost of a failed run is kept"


def check_found_by_training(home, whole):
    """A base with a weight that is no number: plan reads headers alone, the first step finds it, and no version is made."""
    folder = home.path / "not-a-number"
    subprocess.run(["cp", "-r", whole, folder], check=True)
    weights = folder / "model.safetensors"
    bytes_ = bytearray(weights.read_bytes())
    bytes_[-4:] = struct.pack("<f", float("nan"))
    weights.write_bytes(bytes_)
    job = home.write("nan.yaml", JOB.replace("t/tiny", str(folder)))
    ended = home.lorry("submit", job, "--wait", status=1)
    assert (ended["state"], ended["reason"]) == ("failed", "data_error"), ended
    assert "the loss is" in home.run("explain", ended["run"]).stdout, home.run("explain", ended["run"])
    assert home.run("adapter", "show", "t/broken").returncode != 0, "a failed run made a version"


def check_adapter_of_another_base(home, whole):
    """An adapter of the registry on other weights of the same shapes: by name, and where the model is a folder."""
    other = home.path / "other-weights"
    subprocess.run([sys.executable, tiny_model.__file__, other, "--seed", "2"], check=True)
    home.lorry("model", "import", other, "--name", "t/other")
    home.lorry("model", "import", whole, "--name", "t/same")
    adapter = home.path / "fitting"
    adapter.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "base_model_name_or_path": "t/tiny"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    layers = [f"base_model.model.model.layers.{i}.self_attn.q_proj.lora_" for i in range(2)]
    tiny_model.write_safetensors(adapter / "adapter_model.safetensors", {layer + name: (shape, [0.0] * 128) for layer in layers
                                                                         for name, shape in (("A.weight", [2, 64]), ("B.weight", [64, 2]))})
    home.lorry("adapter", "import", adapter, "--name", "t/fitting", "--base", "t/tiny")
    for model, status, says in (("t/other", 2, "t/fitting@v1 was trained on t/tiny@v1, not on t/other@v1"), ("./other-weights", 2, "has other weights than the job's model"),
                                ("t/same", 0, ""), ("./tiny", 0, ""), ("t/fitting", 2, "t/fitting is an adapter, not a model")):
        job = home.write("fitting.yaml", BATCH.replace("model: t/tiny", f"model: {model}\nadapter: t/fitting"))
        done = home.run("submit", job)
        assert done.returncode == status and says in done.stderr, (model, done)
    done = home.run("generate", "--model", "t/other", "--adapter", "t/fitting", "--prompt", "a")
    assert done.returncode == 2 and "was trained on t/tiny@v1" in done.stderr, done
    done = home.run("plan", home.write("wrong.yaml", BATCH.replace("model: t/tiny", "model: t/tiny\nadapter: t/other")))
    assert done.returncode == 2 and "t/other is a model, not an adapter" in done.stderr, done


def check_found_in_a_row(home):
    job = home.write("rows.yaml", BATCH)
    assert home.lorry("plan", job)["faulty_rows"] == 1
    ended = home.lorry("submit", job, "--wait")
    assert ended["state"] == "succeeded", ended
    home.lorry("pull", ended["run"], "--to", home.path / "pulled")
    files = {p.name: p for p in pathlib.Path(home.path / "pulled").rglob("*.jsonl")}
    ids = {name: [json.loads(line)["id"] for line in files[name].read_text().splitlines()] for name in ("output.jsonl", "errors.jsonl")}
    assert ids == {"output.jsonl": ["a", "c"], "errors.jsonl": ["b"]}, ids


def check_home_of_another(home):
    """A home that may not be read or written: status 4, and what to look at."""
    job = home.write("whole.yaml", COMMAND)
    for words in (("ps",), ("up", "--detach"), ("submit", job)):
        done = home.run("--home", home.path / "locked", *words, cwd=home.path)
        assert done.returncode == 4 and "Permission denied" in done.stderr and "check the owner and mode" in done.stderr, (words, done)


def check_runs_folder_lost(home):
    """The home's permission goes away while Lorry runs: the run ends as failed by storage once it is clear that waiting does not mend it."""
    runs = home.home / "runs"
    runs.chmod(0)
    ended = home.lorry("submit", home.write("fails.yaml", COMMAND), "--wait", status=1)
    runs.chmod(0o755)
    assert (ended["state"], ended["reason"]) == ("failed", "storage"), ended
    told = home.run("explain", ended["run"]).stdout
    assert "Permission denied" in told and "check the owner and mode" in told, told
    assert home.lorry("ps", "--all")["runs"], "the failed run stays"
    assert home.lorry("submit", home.write("works.yaml", COMMAND), "--wait")["state"] == "succeeded"


def check_without_permission():
    """As a user whom modes of files hold back."""
    user = None if os.geteuid() != 0 else NOBODY
    with Home(user=user) as home:
        write_inputs(home)
        home.tiny_model()
        home.write("locked.jsonl", "{}\n").chmod(0)
        (home.path / "locked").mkdir(mode=0)
        for path in home.path.rglob("*"):
            if user is not None and not path.is_relative_to(home.home):
                shutil.chown(path, user, user)
        failures = check_before_submit(home, WITHOUT_PERMISSION)
        assert not failures, "\n".join(failures)
        check_home_of_another(home)
        check_runs_folder_lost(home)


def main():
    with Home() as home:
        write_inputs(home)
        whole = home.tiny_model()
        cut_model(home, whole)
        failures = check_before_submit(home, BEFORE_SUBMIT)
        assert not failures, "\n".join(failures)
        check_found_by_a_rank(home)
        check_found_by_training(home, whole)
        check_found_in_a_row(home)
        check_adapter_of_another_base(home, whole)
    check_without_permission()
    print(f"{len(BEFORE_SUBMIT)} broken jobs refused before submit, one failed by its program, one in its first step, one row refused in a batch, {len(WITHOUT_PERMISSION) + 2} cases without permission")


main()
