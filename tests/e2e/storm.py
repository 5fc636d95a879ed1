"""kill -9 at chosen moments of a run: what a run has done is read from its files, so that nobody needs to be alive to answer.

A moment is a number of steps or rows that must be done before the kill. Moments rise, and a kill waits until the run has come so far
and its ranks are at work, so every kill of a plan happens; a run that ends before its kills have all come fails the test.
"""
import json
import math
import os
import signal
import sqlite3
import struct
import time

from home import wait_for

NOTICE_SECONDS = 0.5  # within which a step that was reached is surely seen here
RANKS = {"finetune": "lorry-train", "batch": "lorry-batch"}


def journal(path):
    """The whole records of a journal (docs/formats/batch-shards.md), oldest first; what is torn ends it."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    at = 8
    while at + 8 <= len(data):
        length = struct.unpack_from("<I", data, at)[0]
        if at + 8 + length > len(data):
            return
        yield data[at + 8:at + 8 + length]
        at += 8 + length


class RunFiles:
    """What a run has left on the disk so far."""

    def __init__(self, home, run):
        self.home = home
        self.run = run
        self.folder = home.home / "runs" / run

    def steps(self):
        """The step that the run has reached."""
        done = 0
        for record in journal(self.folder / "steps.log"):
            done = json.loads(record).get("step", done)
        return done

    def shard_rows(self):
        """(row, attempt whose shard holds it) of every whole row of every shard."""
        found = []
        for shard in sorted(self.folder.glob("attempts/*/shard-*.rows")):
            found += [(struct.unpack_from("<Q", record, 16)[0], int(shard.parent.name)) for record in journal(shard)]
        return found

    def checkpoint_steps(self):
        return {int(marker.parent.name.removeprefix("step-")) for marker in self.folder.glob("checkpoints/step-*/COMPLETE")}

    def unfinished_checkpoint(self):
        """The step whose checkpoint is being written now, if one is."""
        try:
            names = os.listdir(self.folder / "checkpoints")
        except FileNotFoundError:
            return None
        return next((int(name.removeprefix(".writing-")) for name in names if name.startswith(".writing-")), None)

    def attempt(self):
        """The newest attempt's number; 0 before the first."""
        return max((int(folder.name) for folder in self.folder.glob("attempts/*")), default=0)

    def has_adapter(self, attempt):
        """Whether the attempt's adapter lies there whole: its configuration is written last."""
        return (self.folder / "attempts" / str(attempt) / "adapter" / "adapter_config.json").exists()

    def ended_attempts(self):
        """The scheduler's events of attempts that ended, by attempt."""
        with sqlite3.connect(f"file:{self.home.home}/state.db?mode=ro", uri=True, timeout=30) as db:
            rows = db.execute("SELECT json FROM event WHERE run=? AND kind='attempt_ended' ORDER BY seq", (self.run,)).fetchall()
        events = [json.loads(text) for (text,) in rows]
        return {event["attempt"]: event for event in events}


class Storm:
    """Kills processes of one run; `kills` counts the blows that hit by program."""

    def __init__(self, home, run, kind, draw):
        self.home = home
        self.files = RunFiles(home, run)
        self.rank = RANKS[kind]
        self.progress = self.files.steps if kind == "finetune" else lambda: len(self.files.shard_rows())
        self.draw = draw
        self.kills = {"lorryd": 0, "lorry-worker": 0, self.rank: 0}
        self.begun = time.monotonic()
        self.last_output = 0  # the attempt that was struck after its output

    def plan(self, each, last):
        """`each` kills of each kind of process in any order, each with a moment of its own between 1 and `last`."""
        victims = list(self.kills) * each
        self.draw.shuffle(victims)
        width = last / len(victims)  # one moment in each stretch of the run
        return [(max(1, int((i + self.draw.random()) * width)), victim) for i, victim in enumerate(victims)]

    def at_work(self, victim):
        assert all(event["reason"] != "done" for event in self.files.ended_attempts().values()), f"the run is over after {self.kills}"
        return self.home.processes(self.rank) and self.home.processes(victim)

    def wait_for_progress(self):
        """Until the run has done more than it had."""
        before = self.progress()
        wait_for("more steps or rows", lambda: self.progress() > before, 300)

    def rage(self, plan):
        """Carries the plan out. Each kill comes at a random instant after its moment, and only once something more was done."""
        seen = self.progress()
        for moment, victim in plan:
            due = max(moment, seen + 1)
            wait_for(f"step or row {due}", lambda: self.progress() >= due and self.at_work(victim), 300)
            time.sleep(self.draw.uniform(0.0, 0.05))  # the random instant; nothing waits for it
            seen = self.progress()
            pids = self.home.processes(victim)
            self.strike(self.draw.sample(pids, min(1, len(pids))), victim, f"at {seen} done")

    def strike_inside_a_checkpoint(self):
        """Kills the ranks while a checkpoint is being written: it must not be there afterwards. Tried until one is hit."""
        while True:
            wait_for("ranks at work", lambda: self.home.processes(self.rank), 120)
            pids, step, end = [], None, time.monotonic() + 120
            while step is None and time.monotonic() < end:  # without a pause: the write may take a millisecond
                step = self.files.unfinished_checkpoint()
            assert step is not None, "no checkpoint was written"
            pids = self.home.processes(self.rank)
            if not pids:
                continue  # what an earlier kill left there
            self.strike(pids, self.rank, f"inside the write of checkpoint {step}")
            if step not in self.files.checkpoint_steps():
                return
            print("  ... which was whole by then; again", flush=True)

    def strike_after_the_output(self, victim, last, step_seconds):
        """Kills `victim` between the adapter's last byte and its report: it is held from shortly before the last step on, so that it
        cannot say or hear what comes then."""
        near = last - max(1, math.ceil(NOTICE_SECONDS / step_seconds))

        def near_its_end():
            fresh = self.files.attempt() > self.last_output and not self.files.has_adapter(self.files.attempt())
            return fresh and self.files.steps() >= near and self.at_work(victim)

        wait_for("an attempt near its end", near_its_end, 300)
        pids = self.home.processes(victim)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        self.last_output = self.files.attempt()
        wait_for("the output", lambda: self.files.has_adapter(self.last_output), 120)
        assert self.last_output not in self.files.ended_attempts(), "the end was reported already"
        self.strike(pids, victim, f"between the output of attempt {self.last_output} and its report")

    def strike(self, pids, victim, what):
        assert pids, f"no {victim} to kill {what}"
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.kills[victim] += 1
        print(f"  {time.monotonic() - self.begun:6.1f} s: {victim} killed {what}", flush=True)
