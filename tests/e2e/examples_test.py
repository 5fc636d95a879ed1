#!/usr/bin/env python3
"""The shipped examples and the README's first job run as they stand, in the order that their heads say, once the model is imported under
the name that they say. The model is the tiny one, so that this takes seconds."""
import json
import re
import shutil
import sys

from home import ROOT, Home

README = (ROOT / "README.md").read_text()
IMPORT = re.compile(r"lorry model import ~/\.cache/lorry/(\S+) --name (\S+)")


def names_told():
    """The model file and the name, as every document and the demo give them: one story."""
    told = {IMPORT.search(text).groups() for text in (README, *((ROOT / "configs" / f).read_text() for f in ("finetune.yaml", "batch.yaml")))}
    assert len(told) == 1, told
    (file, name), = told
    assert f"model=$LORRY_DEPS/{file}\n" in (ROOT / "scripts" / "demo").read_text(), file
    assert f'args.model, "--name", "{name}")' in (ROOT / "scripts" / "demo_road.py").read_text(), name
    return name


def plan_and_run(home, job, *changes):
    words = [word for change in changes for word in ("--set", change)]
    home.lorry("plan", job, *words)
    ended = home.lorry("submit", job, *words, "--wait")
    assert ended["state"] == "succeeded", (job, ended, home.run("logs", ended["run"]).stdout)
    return ended["run"]


def main():
    name = names_told()
    home = Home()
    home.home.mkdir(parents=True)
    for settings in ("cluster.yaml", "prices.yaml", "policy.yaml"):
        shutil.copy(ROOT / "configs" / settings, home.home)
    with home:
        home.tiny_model("--context", "1024", name=name)
        configs = home.path / "configs"
        shutil.copytree(ROOT / "configs", configs, ignore=lambda _, names: [n for n in names if n == "out"])
        plan_and_run(home, configs / "command.yaml", "array=20")
        plan_and_run(home, configs / "finetune.yaml")
        sweep = plan_and_run(home, configs / "sweep.yaml")
        home.lorry("pull", sweep, "--to", home.path / "swept")
        table = json.loads((home.path / "swept" / "sweep.json").read_text())
        best = home.path / "swept" / "points" / f"{table['best']:02}"
        assert [row["point"] for row in table["points"]] == [0, 1, 2, 3], table
        assert (best / "adapter_model.safetensors").read_bytes() == (home.path / "swept" / "adapter" / "adapter_model.safetensors").read_bytes()
        run = plan_and_run(home, configs / "batch.yaml")
        home.lorry("pull", run, "--to", home.path / "pulled")
        rows = (configs / "data" / "test.jsonl").read_text().count("\n")
        assert (configs / "out" / "output.jsonl").read_text().count("\n") == rows
        first, = re.findall(r"```yaml\n(.*?)```", README, re.S)
        shutil.copy(configs / "data" / "train.jsonl", home.path)
        plan_and_run(home, home.write("finetune.yaml", first), "training.max_steps=3", "dataset.val_fraction=0.25")
        print("four examples and the README's first job run")


sys.exit(main())
