#!/usr/bin/env python3
"""A home whose disk is full: nothing acknowledged is lost, the error says so, and once there is room the work goes on to the same bytes.

The home lies on a file system of its own, which is filled to its last byte: while nothing runs (the event log can take no submission),
while a fine-tuning writes checkpoints, while a batch writes its shards. Needs root, to mount it; skipped (status 77) elsewhere.
"""
import hashlib
import json
import os
import pathlib
import subprocess
import sys

from exact_cost import check_run
from home import Home, wait_for
from storm import RunFiles

SKIPPED = 77
MEGABYTES = 192
COMMAND = "kind: command\nname: %s\nproject: docs\nargv: [/bin/true]\n"
FINETUNE = """kind: finetune
name: tune
project: docs
base_model: t/tiny
dataset: {path: train.jsonl, max_length: 200, too_long: truncate}
adapter: {r: 4, alpha: 8}
training: {max_steps: 120, rows_per_micro_batch: 2, micro_batches_per_step: 2, learning_rate: 1.0e-3, precision: fp32, seed: 3}
checkpoint: {every_steps: 10, keep_last: 2}
resources: {cpus: 2, threads_per_lane: 1, ranks: 1}
output: {adapter: t/%s}
"""
BATCH = """kind: batch
name: rows
project: docs
model: t/tiny
input: rows.jsonl
prompt: "Tell: {{ text }}"
output: %s/
sampling: {max_tokens: 48, temperature: 0}
resources: {cpus: 2}
"""
ROWS = 1200


class Disk:
    """with Disk(folder) as disk: ...   a file system in memory at `folder`, which can be filled and given room again."""

    def __init__(self, folder):
        self.folder = folder
        self.filler = folder / "filler"

    def __enter__(self):
        self.folder.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=755", "tmpfs", self.folder], capture_output=True, text=True)
        if mounted.returncode != 0:
            print(f"skipped: no file system can be mounted here ({mounted.stderr.strip()})")
            sys.exit(SKIPPED)
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "--lazy", self.folder], check=True)

    def fill(self):
        """To the last byte. What a program still writes finds no room, whatever its size."""
        with open(self.filler, "ab", buffering=0) as filler:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        filler.write(b"\0" * size)
                except OSError:
                    continue

    def make_room(self):
        self.filler.unlink()


def submission_story(home, disk):
    """What was acknowledged stays; what was not is told why, and can be sent again under the same id."""
    before = home.lorry("submit", home.write("before.yaml", COMMAND % "before"), "--wait")["run"]
    job = home.write("refused.yaml", COMMAND % "refused")
    disk.fill()
    refused = home.run("submit", job, "--id", "once", "--json")
    error = json.loads(refused.stdout)["error"]
    assert refused.returncode == 1 and error["code"] == "storage" and "free" in error["hint"], (refused.returncode, error)
    assert [row["run"] for row in home.lorry("ps", "--all")["runs"]] == [before]
    disk.make_room()
    again = home.lorry("submit", job, "--id", "once")["run"]
    assert home.wait(again)["state"] == "succeeded"
    assert {row["run"] for row in home.lorry("ps", "--all")["runs"]} == {before, again}
    return f"a submission refused: {error['message']}; {error['hint']}"


def whole_checkpoints(files):
    """Every checkpoint that has its marker has the bytes that the marker says."""
    steps = files.checkpoint_steps()
    for step in steps:
        folder = files.folder / "checkpoints" / f"step-{step:08}"
        assert json.loads((folder / "COMPLETE").read_text())["sha256"] == hashlib.sha256((folder / "state.h5").read_bytes()).hexdigest(), step
    return steps


def interrupted_story(home, disk, calm, job, program, begun):
    """Fills the disk under a run that has come so far, gives it room again, and waits for its end. Gives the run."""
    assert home.wait(calm)["state"] == "succeeded", home.run("explain", calm).stdout
    run = home.submit(job)
    files = RunFiles(home, run)
    wait_for("some work", lambda: begun(files), 120)
    disk.fill()
    wait_for(f"{program} to end", lambda: not home.processes(program), 120)
    checkpoints, rows = whole_checkpoints(files), files.shard_rows()
    why = wait_for("the reason", lambda: (lambda text: text if "storage" in text else None)(home.run("explain", run).stdout), 60)
    disk.make_room()
    ended = home.wait(run)
    assert ended["state"] == "succeeded" and ended["attempts"] > 1, (ended, home.run("explain", run).stdout)
    reasons = [event["reason"] for event in files.ended_attempts().values()]
    assert reasons[-1] == "done" and set(reasons[:-1]) == {"storage"}, reasons
    assert set(rows) <= set(files.shard_rows()), "durable rows were lost"
    check_run(home, run)
    return run, f"{program} found {len(checkpoints)} checkpoints, {len(rows)} rows kept; {' '.join(why.split())[:300]}"


def checkpoint_story(home, disk):
    home.write("train.jsonl", "".join(json.dumps({"prompt": f"number {i} and a thing", "completion": f" {i % 9}"}) + "\n" for i in range(480)))
    calm = home.submit(home.write("calm.yaml", FINETUNE % "calm"))
    _, told = interrupted_story(home, disk, calm, home.write("full.yaml", FINETUNE % "full"), "lorry-train", lambda files: len(files.checkpoint_steps()) > 0)
    adapters = []
    for name in ("calm", "full"):
        home.lorry("adapter", "pull", f"t/{name}", "--to", home.path / name)
        adapters.append(next((home.path / name).rglob("adapter_model.safetensors")).read_bytes())
    assert adapters[0] == adapters[1], "another adapter"
    return told


def shard_story(home, disk):
    home.write("rows.jsonl", "".join(json.dumps({"id": f"r{i}", "text": f"number {i} " + "and the thing " * (i % 5)}) + "\n" for i in range(ROWS)))
    calm = home.submit(home.write("calm-rows.yaml", BATCH % "calm-rows"))
    run, told = interrupted_story(home, disk, calm, home.write("full-rows.yaml", BATCH % "full-rows"), "lorry-batch", lambda files: len(files.shard_rows()) >= 30)
    outputs = []
    for each in (calm, run):
        home.lorry("pull", each, "--to", home.path / each)
        outputs.append(next((home.path / each).rglob("output.jsonl")).read_bytes())
    assert outputs[0] == outputs[1] and outputs[0].count(b"\n") == ROWS, "other rows"
    return told


def main():
    if os.geteuid() != 0:
        print("skipped: only root can mount a file system to fill")
        sys.exit(SKIPPED)
    home = Home(beneath="disk")
    with home.folder, Disk(home.path / "disk") as disk, home:
        home.tiny_model("--layers", "4", "--hidden", "192")
        for story in (submission_story, checkpoint_story, shard_story):
            print(f"{story.__name__}: {story(home, disk)}", flush=True)
        assert home.lorry("ledger", "verify") is not None


main()
