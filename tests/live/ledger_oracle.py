#!/usr/bin/env python3
"""What a bill must be, by exact fractions: an independent count of the rules in docs/formats/books.md.

usage: ledger_oracle.py PEERS_DIR BUILD_DIR [--slices 300000] [--seed 1]
           makes random usage and prices, has BUILD_DIR/tests/bin/ledger_replay make books of them, compares every slice and total
           digit by digit (of PEERS_DIR nothing is needed)
       ledger_oracle.py --record DIR       writes the small recorded fixtures of tests/golden/ledger
"""
import argparse, json, os, random, subprocess, sys, tempfile
from fractions import Fraction

HOUR = 3_600_000
CLASSES = ["startup", "productive", "recomputed", "checkpoint", "gang_wait", "drain", "idle_lease"]


def half_away(x):
    """Nearest integer, halves away from zero."""
    sign = -1 if x < 0 else 1
    x = abs(x)
    whole = x.numerator // x.denominator
    return sign * (whole + (1 if x - whole >= Fraction(1, 2) else 0))


def quantity(ms):
    return half_away(Fraction(ms * 10**9, HOUR))


def decimal18(x):
    scaled = x * 10**18
    assert scaled.denominator == 1, "a product of price and quantity has at most 18 decimals"
    n = abs(scaled.numerator)
    return f"{'-' if x < 0 else ''}{n // 10**18}.{n % 10**18:018d}"


def governing(prices, kind, category, at):
    """The id (from 1) of the row that decides at `at`: of those valid then the one that begins last, then the one recorded last."""
    best = None
    for number, row in enumerate(prices, 1):
        if row["device_kind"] == kind and row["pricing_category"] == category and row["valid_from_ms"] <= at \
                and (row["valid_to_ms"] is None or at < row["valid_to_ms"]) \
                and (best is None or row["valid_from_ms"] >= prices[best - 1]["valid_from_ms"]):
            best = number
    return best


def bill(usage, prices):
    """Slices in the order of the books: attempt as given, device, time."""
    out = []
    for attempt in usage:
        by_device = {}
        for span in attempt["usage"]:
            if span["t0_ms"] < span["t1_ms"]:
                by_device.setdefault(span["device_id"], []).append(span)
        for device in sorted(by_device):
            spans = sorted(by_device[device], key=lambda s: s["t0_ms"])
            joined = []
            for s in spans:
                if joined and joined[-1]["t1_ms"] == s["t0_ms"] and joined[-1]["class"] == s["class"] and joined[-1]["device_kind"] == s["device_kind"] \
                        and joined[-1]["pricing_category"] == s["pricing_category"]:
                    joined[-1] = dict(joined[-1], t1_ms=s["t1_ms"])
                else:
                    joined.append(s)
            start = end = None
            for s in joined:
                if s["t0_ms"] != end:
                    start = s["t0_ms"]
                end = s["t1_ms"]
                category = s["pricing_category"]
                cuts = {s["t0_ms"], s["t1_ms"]}
                cuts.update(range((s["t0_ms"] // HOUR + 1) * HOUR, s["t1_ms"], HOUR))
                for row in prices:
                    for bound in (row["valid_from_ms"], row["valid_to_ms"]):
                        if bound is not None and s["t0_ms"] < bound < s["t1_ms"] \
                                and governing(prices, s["device_kind"], category, bound) != governing(prices, s["device_kind"], category, bound - 1):
                            cuts.add(bound)
                cuts = sorted(cuts)
                for a, b in zip(cuts, cuts[1:]):
                    price_id = governing(prices, s["device_kind"], category, a)
                    price = Fraction(prices[price_id - 1]["usd_per_hour"]) if price_id else Fraction(0)
                    q = quantity(b - start) - quantity(a - start)
                    out.append({"run": attempt["run"], "attempt": attempt["attempt"], "device_id": device, "device_kind": s["device_kind"],
                                "class": s["class"], "t0_ms": a, "t1_ms": b, "pricing_category": category, "price_id": price_id or 0,
                                "quantity_e9": q, "usd": decimal18(price * Fraction(q, 10**9))})
    return out


def random_case(rng, want_slices):
    """Leases from milliseconds to days, gaps, price changes inside them, superseded prices, kinds without a price."""
    start = 1_793_000_000_000
    kinds = ["cpu", "H100", "A100-80G", "unpriced"]
    prices = []
    for recorded in range(24):
        kind = rng.choice(kinds[:3])
        valid_from = start + rng.randrange(-5 * HOUR, 60 * HOUR)
        valid_to = None if rng.random() < 0.5 else valid_from + rng.randrange(1, 40 * HOUR)
        usd = f"{rng.randrange(0, 5)}.{rng.randrange(0, 10**9):09d}"
        prices.append({"device_kind": kind, "pricing_category": rng.choice(["standard", "spot"]), "usd_per_hour": usd,
                       "valid_from_ms": valid_from, "valid_to_ms": valid_to, "recorded_at_ms": start - 10**9 + recorded})
    usage, count = [], 0
    while count < want_slices:
        spans = []
        for device in range(rng.randrange(1, 4)):
            kind, category = rng.choice(kinds), rng.choice(["standard", "spot"])
            at = start + rng.randrange(0, 50 * HOUR)
            for _ in range(rng.randrange(1, 7)):
                at += 0 if rng.random() < 0.8 else rng.randrange(1, 10_000)
                length = rng.choice([0, 1, 2, 7, rng.randrange(1, 1000), rng.randrange(1, 100_000), rng.randrange(1, 4 * HOUR)])
                spans.append({"device_id": f"n1:{kind}:{device}", "device_kind": kind, "class": rng.choice(CLASSES), "pricing_category": category, "t0_ms": at, "t1_ms": at + length})
                at += length
        rng.shuffle(spans)
        one = {"run": f"r-{len(usage):06d}", "attempt": rng.randrange(1, 4), "usage": spans}
        count += len(bill([one], prices))
        usage.append(one)
    return usage, prices


def total(slices):
    return decimal18(sum((Fraction(s["usd"]) for s in slices), Fraction(0)))


def named_cases():
    day = 1_793_491_200_000  # 2026-11-01T00:00:00Z
    def price(kind, usd, start, end=None, recorded=0):
        return {"device_kind": kind, "pricing_category": "standard", "usd_per_hour": usd, "valid_from_ms": start, "valid_to_ms": end, "recorded_at_ms": day - 10**6 + recorded}
    def attempt(number, *spans):
        return {"run": "r-000001", "attempt": number,
                "usage": [{"device_id": d, "device_kind": k, "class": c, "pricing_category": "standard", "t0_ms": day + a, "t1_ms": day + b} for d, k, c, a, b in spans]}
    return {
        "one_millisecond_slices": ([attempt(1, *[("n1:cpu:0", "cpu", CLASSES[i % 7], i, i + 1) for i in range(50)])], [price("cpu", "0.05", 0)]),
        "hour_crossed": ([attempt(1, ("n1:cpu:0", "cpu", "productive", HOUR - 1234, 3 * HOUR + 77))], [price("cpu", "0.049999999", 0)]),
        "price_change_inside_a_lease": ([attempt(1, ("n1:H100:0", "H100", "startup", 100, 40_000), ("n1:H100:0", "H100", "productive", 40_000, 5_000_000))],
                                        [price("H100", "1.79", 0, day + 1_234_567), price("H100", "2.010000001", day + 1_234_567)]),
        "price_corrected_later": ([attempt(1, ("n1:cpu:0", "cpu", "productive", 0, 7_200_000))],
                                  [price("cpu", "0.05", 0), price("cpu", "0.07", day + 1_800_000, day + 1_900_001, recorded=5)]),
        "prices_recorded_out_of_order": ([attempt(1, ("n1:cpu:0", "cpu", "productive", 0, 7_200_000))],
                                         [price("cpu", "0.08", day + 5_000_000), price("cpu", "0.05", 0, recorded=1), price("cpu", "0.06", 0, recorded=2),
                                          price("cpu", "0.07", day + 1_000_000, recorded=3)]),
        "killed_attempt_and_gap": ([attempt(1, ("n1:cpu:0", "cpu", "startup", 0, 999), ("n1:cpu:0", "cpu", "productive", 999, 12_345), ("n1:cpu:0", "cpu", "drain", 12_345, 27_345)),
                                    attempt(2, ("n1:cpu:0", "cpu", "startup", 30_000, 31_001), ("n1:cpu:0", "cpu", "recomputed", 31_001, 40_000),
                                            ("n1:cpu:0", "cpu", "productive", 50_003, 60_007), ("n1:cpu:1", "cpu", "gang_wait", 30_000, 60_007))], [price("cpu", "0.05", 0)]),
        "no_price": ([attempt(1, ("n1:tpu:0", "tpu", "productive", 5, 10_000))], [price("cpu", "0.05", 0)]),
    }


def main():
    p = argparse.ArgumentParser()
    p.add_argument("peers", nargs="?")
    p.add_argument("build", nargs="?")
    p.add_argument("--slices", type=int, default=300_000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--record")
    a = p.parse_args()
    if a.record:
        os.makedirs(a.record, exist_ok=True)
        for name, (usage, prices) in named_cases().items():
            slices = bill(usage, prices)
            with open(os.path.join(a.record, name + ".json"), "w") as f:
                json.dump({"rows": usage, "prices": prices, "slices": slices, "total_usd": total(slices)}, f, indent=1)
                f.write("\n")
        return
    if not a.build:
        p.error("PEERS_DIR and BUILD_DIR, or --record DIR")
    usage, prices = random_case(random.Random(a.seed), a.slices)
    expected = bill(usage, prices)
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, n) for n in ("usage.json", "prices.json")]
        for path, value in zip(paths, ({"rows": usage}, {"prices": prices})):
            with open(path, "w") as f:
                json.dump(value, f)
        got = json.loads(subprocess.run([a.build + "/tests/bin/ledger_replay", *paths], check=True, stdout=subprocess.PIPE).stdout)
    wrong = sum(e != g for e, g in zip(expected, got["slices"])) + abs(len(expected) - len(got["slices"]))
    print(f"seed {a.seed}: {len(expected)} slices in {len(usage)} attempts, {len(got['slices'])} computed, {wrong} differ; "
          f"total {total(expected)} against {got['total_usd']}")
    sys.exit(0 if wrong == 0 and got["total_usd"] == total(expected) else 1)


if __name__ == "__main__":
    main()
