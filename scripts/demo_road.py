#!/usr/bin/env python3
"""The demo's road, once the programs are built: every step is a `lorry` command that a user could type.

usage: demo_road.py --model F.gguf [--rows 200] [--steps 120] [--port 8600]
Writes report.html and report.json into out/demo/ and prints one table. With the rows and steps of the defaults, ROUGE-L must rise by
at least 0.10: exit status 1 where it does not.
"""
import argparse
import html
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "demo"
LORRY = str(ROOT / "build" / "release" / "bin" / "lorry")
PROMPT = "Summarize this package in one line:\\n{{ text }}"
ROWS_PER_STEP = 8
VALIDATION_ROWS = 50
TEST_ROWS, STEPS = 200, 120
LEAST_GAIN = 0.10  # of ROUGE-L after STEPS steps, over TEST_ROWS rows; PEFT's: 0.225 to 0.339
STARTED = time.monotonic()


def note(text):
    minutes, seconds = divmod(int(time.monotonic() - STARTED), 60)
    print(f"[{minutes:2d}:{seconds:02d}] {text}", file=sys.stderr, flush=True)


def lorry(*words):
    """Runs `lorry WORDS --json` and gives its document; progress goes to the terminal."""
    done = subprocess.run([LORRY, *words, "--json"], stdout=subprocess.PIPE, text=True)
    try:
        answer = json.loads(done.stdout)
    except json.JSONDecodeError:
        sys.exit(f"lorry {' '.join(words)} ended with status {done.returncode}: {done.stdout[:500]}")
    if done.returncode != 0:
        sys.exit(f"lorry {' '.join(words)}: {answer.get('error', answer)}")
    return answer


def make_data(steps, rows):
    """Training, validation and test rows from Debian's descriptions; the same files every time from the same lists."""
    pairs = ROOT / "bench" / "peers" / "debian_pairs.py"
    wanted = {"train": steps * ROWS_PER_STEP + VALIDATION_ROWS, "test": rows}
    for split, count in wanted.items():
        subprocess.run([sys.executable, pairs, OUT / f"{split}.pairs.jsonl", "--split", split, "--limit", str(count)],
                       check=True, stdout=subprocess.DEVNULL)
    lines = (OUT / "train.pairs.jsonl").read_text().splitlines(keepends=True)
    (OUT / "train.jsonl").write_text("".join(lines[: steps * ROWS_PER_STEP]))
    (OUT / "valid.jsonl").write_text("".join(lines[steps * ROWS_PER_STEP:]))
    with open(OUT / "test.jsonl", "w") as out:
        for line in open(OUT / "test.pairs.jsonl"):
            row = json.loads(line)
            text = row["messages"][0]["content"].split("\n", 1)[1]
            out.write(json.dumps({"id": row["id"], "text": text, "synopsis": row["messages"][1]["content"]}, ensure_ascii=False) + "\n")


def write_jobs(steps):
    batch = f"""kind: batch
name: synopses-%s
project: demo
model: demo/smollm2-135m-instruct
%sinput: test.jsonl
prompt: "{PROMPT}"
output: %s/
sampling: {{max_tokens: 32, temperature: 0}}
evaluate: {{reference: synopsis, metrics: [rouge]}}
resources: {{cpus: 2}}
"""
    (OUT / "untuned.yaml").write_text(batch % ("untuned", "", "untuned"))
    (OUT / "tuned.yaml").write_text(batch % ("tuned", "adapter: demo/debian-synopsis\n", "tuned"))
    (OUT / "finetune.yaml").write_text(f"""kind: finetune
name: debian-synopsis
project: demo
base_model: demo/smollm2-135m-instruct
dataset: {{path: train.jsonl, validation: valid.jsonl, max_length: 512, too_long: truncate, loss_on: completion}}
adapter: {{type: lora, r: 16, alpha: 32, target_modules: all-linear}}
training:
  max_steps: {steps}
  rows_per_micro_batch: 4
  micro_batches_per_step: 2
  eval_every_steps: 40
  learning_rate: 5.0e-4
  lr_scheduler: constant
  precision: bf16
  seed: 7
checkpoint: {{every_steps: 40, keep_last: 2}}
resources: {{cpus: 2, threads_per_lane: 1, ranks: 1}}
output: {{adapter: demo/debian-synopsis, alias: prod}}
""")


def run_job(name):
    note(f"lorry submit {name}.yaml --wait")
    begun = time.monotonic()
    run = lorry("submit", str(OUT / f"{name}.yaml"), "--wait")["run"]
    seconds = time.monotonic() - begun
    cost = lorry("cost", run)
    return {"run": run, "minutes": seconds / 60, "device_hours": sum(row["device_ms"] for row in cost["rows"]) / 3.6e6,
            "usd": cost["total_usd"]}


def read_output(name):
    scores = json.loads((OUT / name / "report.json").read_text())["rouge"]
    outputs = {}
    for line in open(OUT / name / "output.jsonl"):
        row = json.loads(line)
        outputs[row["id"]] = row["output"]
    return {k: scores[k] for k in ("rouge1", "rouge2", "rougeL")}, outputs


def make_report(runs):
    untuned, before = read_output("untuned")
    tuned, after = read_output("tuned")
    samples = [json.loads(line) for line, _ in zip(open(OUT / "test.jsonl"), range(5))]
    return {"rouge": {"untuned": untuned, "tuned": tuned}, "runs": runs,
            "samples": [{"id": s["id"], "reference": s["synopsis"], "untuned": before.get(s["id"]), "tuned": after.get(s["id"])} for s in samples],
            "minutes": (time.monotonic() - STARTED) / 60}


def print_table(report):
    print(f"\n{'':12}{'ROUGE-1':>9}{'ROUGE-2':>9}{'ROUGE-L':>9}")
    for name, scores in report["rouge"].items():
        print(f"{name:12}" + "".join(f"{scores[k]:9.3f}" for k in ("rouge1", "rouge2", "rougeL")))
    print(f"\n{'run':28}{'minutes':>9}{'device-hours':>14}{'dollars':>12}")
    for name, run in report["runs"].items():
        print(f"{name + '  ' + run['run']:28}{run['minutes']:9.1f}{run['device_hours']:14.4f}{float(run['usd']):12.6f}")
    for sample in report["samples"]:
        print(f"\n{sample['id']}\n  maintainer: {sample['reference']}\n  untuned:    {sample['untuned']}\n  tuned:      {sample['tuned']}")


def write_html(report):
    cell = lambda text: f"<td>{html.escape(str(text))}</td>"
    rouge = "".join(f"<tr>{cell(name)}" + "".join(cell(f"{s[k]:.3f}") for k in ("rouge1", "rouge2", "rougeL")) + "</tr>"
                    for name, s in report["rouge"].items())
    runs = "".join(f"<tr>{cell(name)}{cell(r['run'])}{cell(round(r['minutes'], 1))}{cell(round(r['device_hours'], 4))}{cell(r['usd'])}</tr>"
                   for name, r in report["runs"].items())
    samples = "".join(f"<tr>{cell(s['id'])}{cell(s['reference'])}{cell(s['untuned'])}{cell(s['tuned'])}</tr>" for s in report["samples"])
    (OUT / "report.html").write_text(f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Lorry: the demo's report</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}}td,th{{padding:.3rem .7rem;border-bottom:1px solid #8885;text-align:left;vertical-align:top}}</style>
<h1>SmolLM2-135M, fine-tuned to write Debian synopses</h1>
<table><tr><th></th><th>ROUGE-1</th><th>ROUGE-2</th><th>ROUGE-L</th></tr>{rouge}</table>
<table><tr><th>run</th><th>id</th><th>minutes</th><th>device-hours</th><th>dollars</th></tr>{runs}</table>
<table><tr><th>package</th><th>maintainer's synopsis</th><th>untuned</th><th>tuned</th></tr>{samples}</table></html>
""")


def check_gain(report, rows, steps):
    gain = report["rouge"]["tuned"]["rougeL"] - report["rouge"]["untuned"]["rougeL"]
    if (rows, steps) == (TEST_ROWS, STEPS) and gain < LEAST_GAIN:
        sys.exit(f"ROUGE-L rose by {gain:.3f} only, where {LEAST_GAIN:.2f} are promised: something is wrong with this build or this machine")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=int, default=TEST_ROWS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--port", type=int, default=8600)
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    note("starting Lorry on this machine (lorry up --detach)")
    up = lorry("up", "--detach", "--devices", "cpu:2", "--port", str(args.port))
    note("importing SmolLM2 (lorry model import)")
    lorry("model", "import", args.model, "--name", "demo/smollm2-135m-instruct")
    note("making the Debian pairs")
    make_data(args.steps, args.rows)
    write_jobs(args.steps)
    report = make_report({name: run_job(name) for name in ("untuned", "finetune", "tuned")})
    (OUT / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    write_html(report)
    print_table(report)
    where = os.environ.get("LORRY_HOME", "~/.lorry")
    print(f"\nreport: {OUT / 'report.html'}\npages:  {up['http']}\nLorry is still up; stop it with:  scripts/demo --stop   (its home: {where})")
    check_gain(report, args.rows, args.steps)


if __name__ == "__main__":
    main()
