#!/usr/bin/env python3
"""The bill of one run whose price changes inside a lease, whose leases cross a UTC hour, and whose rank, worker and scheduler are killed,
equals to the last digit of 10^-18 dollars what exact fractions give (exact_cost.py).

usage: cost_test.py [--real]
The daemons' clock is set shortly before a full hour by libfaketime (Debian: faketime), so that this can be run at any time; without it
the test is skipped (status 77). --real waits for the next real hour instead. How shortly, and how soon prices change, goes by the time
that this machine takes to bring a run to its first step, which is measured first.
"""
import argparse
import datetime
import glob
import math
import random
import sys
import time

from exact_cost import check_run, price_rows
from home import Home, wait_for
from storm import Storm

SKIPPED = 77
JOB = """kind: finetune
name: long
project: docs
base_model: t/tiny
dataset: {path: train.jsonl, max_length: 200, too_long: truncate}
adapter: {r: 4, alpha: 8}
training: {max_steps: 1000000, rows_per_micro_batch: 2, micro_batches_per_step: 2, learning_rate: 1.0e-3, precision: fp32}
checkpoint: {every_steps: 10, keep_last: 2}
resources: {cpus: 2, threads_per_lane: 1, ranks: 2}
retry: {max_attempts: 50}
output: {adapter: t/long}
"""


class ShiftedClock:
    """The clock of a home's daemons: the machine's plus whole seconds."""

    def __init__(self, shift):
        self.shift = shift

    def now(self):
        return time.time() + self.shift

    def environment(self):
        if self.shift == 0:
            return {}
        library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        if not library:
            print("skipped: libfaketime is not there (Debian: apt install faketime), and --real was not asked for")
            sys.exit(SKIPPED)
        return {"LD_PRELOAD": library[0], "FAKETIME": f"+{self.shift}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def wait_until(self, moment):
        wait_for(f"{moment - self.now():.0f} seconds to pass", lambda: self.now() >= moment, 4000)


def utc(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def price_file(changes):
    """prices.yaml with a price of a CPU slot from each of these instants on, none of them a round number."""
    lines = [f'  - {{device: cpu, usd_per_hour: {price}, from: "{utc(start)}", source: test}}' for start, price in changes]
    return "prices:\n" + "\n".join(lines) + "\n"


def boundaries_inside_leases(home, run):
    """The instants (ms) at which one slice of a lease ends and the next of the same lease begins."""
    inside = set()
    for attempt in home.lorry("cost", run, "--by", "attempt")["rows"]:
        uses = {(use["device_id"], use["t0_ms"]) for use in attempt["usage"]}
        inside |= {use["t1_ms"] for use in attempt["usage"] if (use["device_id"], use["t1_ms"]) in uses}
    return inside


def start_run(home):
    """Submits the long run; gives the run and its storm once a step is done, so that its lease has begun."""
    home.tiny_model("--layers", "4", "--hidden", "192")
    home.write("train.jsonl", '{"prompt": "one and two", "completion": " three and four"}\n' * 64)
    run = home.submit(home.write("long.yaml", JOB))
    storm = Storm(home, run, "finetune", random.Random(1))
    storm.wait_for_progress()
    return run, storm


def seconds_to_first_step():
    begun = time.monotonic()
    with Home() as home:
        run, _ = start_run(home)
        needed = time.monotonic() - begun
        home.lorry("cancel", run, "--now")
    return math.ceil(needed)


def known_prices(home):
    """How many prices are on the books; 0 while the scheduler starts again."""
    return len(price_rows(home)) if home.run("price", "history").returncode == 0 else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--real", action="store_true")
    args = parser.parse_args()
    needed = seconds_to_first_step()
    lead = 4 * needed + 5  # from the daemons' start to the full hour
    hour = ((int(time.time()) + lead) // 3600 + 1) * 3600
    clock = ShiftedClock(0 if args.real else (hour - lead - int(time.time())))
    if args.real:
        clock.wait_until(hour - lead)
    home = Home(environment=clock.environment())
    changes = [(0, "0.051234567")]
    home.home.mkdir(parents=True)
    prices = home.home / "prices.yaml"
    prices.write_text(price_file(changes))
    with home:
        run, storm = start_run(home)
        storm.rage([(1, "lorry-train")])
        storm.wait_for_progress()
        assert clock.now() < hour, f"the second attempt began after the hour, though a first step took {needed} s before"
        # The changes come while the run is on: a scheduler that starts again takes new prices from the file.
        first = math.ceil(clock.now()) + needed + 5
        second = first + 3
        changes += [(first, "0.07"), (second, "0.033333331")]
        prices.write_text(price_file(changes))
        storm.rage([(1, "lorryd")])
        wait_for("the new prices", lambda: known_prices(home) == len(changes))
        assert clock.now() < first, f"the scheduler took longer than {needed + 5} s to start again"
        clock.wait_until(max(second, hour) + 2)
        storm.rage([(1, "lorry-worker"), (1, "lorry-train")])
        storm.wait_for_progress()
        home.lorry("cancel", run)
        ended = home.wait(run)
        assert (ended["state"], ended["attempts"]) == ("cancelled", 4), ended
        total = check_run(home, run)
        inside = boundaries_inside_leases(home, run)
        assert {first * 1000, second * 1000, hour * 1000} <= inside, (first, second, hour, sorted(inside))
        used = {use["price_id"] for attempt in home.lorry("cost", run, "--by", "attempt")["rows"] for use in attempt["usage"]}
        assert len(used) == 3, used
        assert home.lorry("ledger", "verify") is not None
        print(f"{ended['attempts']} attempts, prices changed at {utc(first)} and {utc(second)} and the hour at {utc(hour)} inside leases, "
              f"{len(price_rows(home))} prices: {total} x 10^-18 dollars, to the last digit")


sys.exit(main())
