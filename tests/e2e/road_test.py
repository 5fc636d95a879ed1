#!/usr/bin/env python3
"""The road of one job with real daemons and a tiny model: fine-tune, publish, use, download, bill."""
import datetime
import hashlib
import json
import urllib.request

from exact_cost import check_run
from home import Home

ROWS = 48


def rows(count):
    for i in range(count):
        yield {"id": f"row-{i}", "text": f"the package number {i} holds " + "a thing and another " * (i % 7 + 1), "synopsis": f"thing {i % 5}"}


def finetune_job(home):
    home.write("train.jsonl", "".join(json.dumps({"prompt": "Summarize: " + r["text"], "completion": " " + r["synopsis"]}) + "\n" for r in rows(ROWS)))
    return home.write("finetune.yaml", """kind: finetune
name: tiny
project: docs
base_model: t/tiny
dataset: {path: train.jsonl, val_fraction: 0.25, max_length: 200, too_long: truncate}
adapter: {r: 4, alpha: 8}
training: {max_steps: 6, rows_per_micro_batch: 2, micro_batches_per_step: 2, eval_every_steps: 3, learning_rate: 1.0e-3, precision: fp32}
checkpoint: {every_steps: 2, keep_last: 2}
resources: {cpus: 2, threads_per_lane: 1, ranks: 1}
output: {adapter: t/thing, alias: prod}
""")


def batch_job(home):
    home.write("test.jsonl", "".join(json.dumps(r) + "\n" for r in rows(20)))
    return home.write("batch.yaml", """kind: batch
name: things
project: docs
model: t/tiny
adapter: t/thing@prod
input: test.jsonl
prompt: "Summarize: {{ text }}"
output: out/
sampling: {max_tokens: 8, temperature: 0}
evaluate: {reference: synopsis, metrics: [rouge]}
resources: {cpus: 2}
""")


def check_created(home):
    """OpenAI answers carry the time of the version that answers, whenever they are computed; a directory has none."""
    lines = [{"custom_id": f"c-{i}", "method": "POST", "url": "/v1/completions", "body": {"model": "t/tiny", "prompt": "a thing"}} for i in range(2)]
    home.write("openai.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    adapter, model = (home.lorry(kind, "show", name)["versions"][0]["created"] for kind, name in (("adapter", "t/thing"), ("model", "t/tiny")))
    assert adapter > model, (adapter, model)
    for model_line, version in (("model: t/tiny\nadapter: t/thing@v1", adapter), ("model: t/tiny", model), ("model: ./tiny", None)):
        job = home.write("openai.yaml", f"""kind: batch
name: openai
project: docs
{model_line}
input: openai.jsonl
output: out/
sampling: {{max_tokens: 2, temperature: 0}}
resources: {{cpus: 1}}
""")
        run = home.submit(job)
        assert home.wait(run)["state"] == "succeeded", home.run("logs", run).stdout
        home.lorry("pull", run, "--to", home.path / run)
        answers = [json.loads(line)["response"]["body"]["created"] for line in next((home.path / run).rglob("output.jsonl")).read_text().splitlines()]
        expected = int(datetime.datetime.fromisoformat(version.replace("Z", "+00:00")).timestamp()) if version else 0
        assert answers == [expected] * len(lines), (model_line, answers, expected)


def check_continued(home, run):
    """A training that begins with an adapter, alone and as a sweep; what belongs to the adapter cannot be said beside it."""
    home.lorry("pull", run, "--to", home.path / "first")
    adapter = next((home.path / "first").rglob("adapter_config.json")).parent
    text = (home.path / "finetune.yaml").read_text().replace("{r: 4, alpha: 8}", f"{{init_from: {adapter}}}").replace("t/thing, alias: prod", "t/more")
    job = home.write("more.yaml", text)
    assert home.lorry("plan", job)["steps"] == 6
    more = home.submit(job)
    assert home.wait(more)["state"] == "succeeded", home.run("logs", more).stdout
    swept = home.submit(home.write("swept.yaml", text.replace("t/more", "t/swept") + "sweep: {space: {training.learning_rate: [1.0e-3, 1.0e-4]}}\n"))
    assert home.wait(swept)["state"] == "succeeded", home.run("logs", swept).stdout
    for addition, says in (("adapter: {r: 4, ", "adapter.r: comes from adapter.init_from"), ("sweep: {space: {adapter.r: [4, 8]}}\n", "sweep.space.adapter.r: comes from")):
        both = text.replace("adapter: {", addition, 1) if addition.startswith("adapter") else text + addition
        refused = home.run("submit", home.write("both.yaml", both))
        assert refused.returncode == 2 and says in refused.stderr, refused


def check_download(home, name, expected_files):
    """Bytes over HTTP equal the registry's digests."""
    shown = home.lorry("adapter", "show", name)
    files = {f["path"]: f["digest"] for f in shown["versions"][-1]["files"]}
    assert set(expected_files) <= set(files), files
    for path in expected_files:
        with urllib.request.urlopen(f"{home.addresses['http']}/{name}/resolve/main/{path}", timeout=30) as answer:
            body = answer.read()
            assert answer.headers["X-Repo-Commit"] and answer.headers["ETag"], dict(answer.headers)
        if path.endswith(".safetensors"):  # small files may be rewritten to name the base in this registry
            assert hashlib.sha256(body).hexdigest() == files[path], path


def main():
    with Home() as home:
        home.tiny_model()
        tune = home.submit(finetune_job(home))
        ended = home.wait(tune)
        assert ended["state"] == "succeeded", (ended, home.run("explain", tune).stdout, home.run("logs", tune).stdout)
        check_download(home, "t/thing", ["adapter_model.safetensors", "adapter_config.json"])
        batch = home.submit(batch_job(home))
        ended = home.wait(batch)
        assert ended["state"] == "succeeded", (ended, home.run("explain", batch).stdout, home.run("logs", batch).stdout)
        home.lorry("pull", batch, "--to", home.path / "pulled")
        outputs = [json.loads(line) for line in next((home.path / "pulled").rglob("output.jsonl")).read_text().splitlines()]
        assert [o["id"] for o in outputs] == [r["id"] for r in rows(20)]
        check_created(home)
        for run in (tune, batch):
            assert check_run(home, run) > 0
        assert home.lorry("ledger", "verify") is not None
        check_continued(home, tune)
        again = home.submit(home.path / "finetune.yaml", "--id", "same")
        assert home.submit(home.path / "finetune.yaml", "--id", "same") == again
        home.wait(again)
        print("one road walked, two bills checked")


main()
