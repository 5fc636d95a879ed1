#!/usr/bin/env python3
"""A row that ends its engine each time it is computed alone is given up and comes out as an error row; the rows that were in flight with
it when the engine first ended are not held against, and come out as they should.
"""
import json
import os
import signal
import sqlite3

from home import Home, wait_for
from storm import RunFiles

ROWS = 6
TRIES = 2  # alone
JOB = """kind: batch
name: poison
project: docs
model: t/tiny
input: rows.jsonl
prompt: "Tell: {{ text }}"
output: out/
sampling: {max_tokens: 2000, temperature: 0}
resources: {cpus: 2}
row_retry: {max_attempts: %d}
"""


def leased_rows(home, run):
    with sqlite3.connect(f"file:{home.home}/state.db?mode=ro", uri=True, timeout=30) as db:
        return [row for first, count in db.execute("SELECT first, count FROM work_lease WHERE run=? ORDER BY first", (run,)) for row in range(first, first + count)]


def crash_engine(home, run, attempt, rows):
    """A SIGSEGV for the attempt's engine while exactly these rows are in flight."""
    files = RunFiles(home, run)
    wait_for(f"attempt {attempt} at work on rows {rows}",
             lambda: files.attempt() == attempt and attempt - 1 in {0, *files.ended_attempts()} and leased_rows(home, run) == rows, 120)
    for pid in home.processes("lorry-batch"):
        os.kill(pid, signal.SIGSEGV)
    ended = wait_for(f"the end of attempt {attempt}", lambda: files.ended_attempts().get(attempt), 60)
    assert ended["reason"] == "rank_crash", ended


def main():
    with Home() as home:
        home.tiny_model("--layers", "4", "--hidden", "192", "--context", "4096")  # a row takes long enough to be hit
        home.write("rows.jsonl", "".join(json.dumps({"id": f"r{i}", "text": f"thing {i}"}) + "\n" for i in range(ROWS)))
        run = home.submit(home.write("poison.yaml", JOB % TRIES))
        crash_engine(home, run, 1, list(range(ROWS)))
        for attempt in range(2, 2 + TRIES):
            crash_engine(home, run, attempt, [0])
        ended = home.wait(run)
        assert (ended["state"], ended["attempts"]) == ("succeeded", 2 + TRIES), ended
        home.lorry("pull", run, "--to", home.path / "pulled")
        lines = {n: [json.loads(line) for line in next((home.path / "pulled").rglob(n)).read_text().splitlines()] for n in ("output.jsonl", "errors.jsonl")}
        assert [line["id"] for line in lines["output.jsonl"]] == [f"r{i}" for i in range(1, ROWS)], lines
        assert [(line["id"], line["error"]["code"]) for line in lines["errors.jsonl"]] == [("r0", "given_up")], lines
        print(f"one row of {ROWS} given up after {TRIES} tries alone, the others written")


main()
