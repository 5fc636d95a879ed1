"""What a run must cost, by exact fractions from its recorded device-milliseconds and prices: Lorry's arithmetic is not used."""
import datetime
from fractions import Fraction

HOUR_MS = 3_600_000


def half_away(value):
    """The whole number nearest to a fraction, halves away from zero."""
    sign = -1 if value < 0 else 1
    return sign * ((2 * abs(value.numerator) + value.denominator) // (2 * value.denominator))


def quantity(millis):
    """Q(m): 10^-9 device-hours after m milliseconds of a lease."""
    return half_away(Fraction(millis * 10**9, HOUR_MS))


def usd(e18):
    sign = "-" if e18 < 0 else ""
    return f"{sign}{abs(e18) // 10**18}.{abs(e18) % 10**18:018d}"


def millis(text):
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def price_rows(home):
    """The price book, oldest row first: what each row costs, of what, from when to when."""
    rows = home.lorry("price", "history")["prices"]
    return [{"id": row["id"], "kind": row["device"], "category": row["category"], "usd": Fraction(str(row["usd_per_hour"])), "from": millis(row["from"]),
             "until": millis(row["until"]) if row["until"] else None} for row in sorted(rows, key=lambda row: row["id"])]


def price_of(use, prices):
    """The row that holds over the whole of a slice: of those valid at its start the one that begins last, then the last one recorded; and still
    at its end."""
    def decides(at):
        valid = [row for row in prices if (row["kind"], row["category"]) == (use["device_kind"], use["pricing_category"])
                 and row["from"] <= at and (row["until"] is None or at < row["until"])]
        return max(valid, key=lambda row: (row["from"], row["id"]))

    row = decides(use["t0_ms"])
    changes = [at for other in prices for at in (other["from"], other["until"]) if at is not None and use["t0_ms"] < at < use["t1_ms"]]
    assert all(decides(at) is row for at in changes), f"a price changes inside a slice: {use}"
    return row


def check_attempt(attempt, prices):
    """Holds one row of `lorry cost RUN --by attempt --json` against fractions. `prices` as of price_rows()."""
    leases = {}
    for use in attempt["usage"]:
        leases.setdefault(use["device_id"], []).append(use)
    total = 0
    for uses in leases.values():
        uses.sort(key=lambda u: u["t0_ms"])
        start = uses[0]["t0_ms"]
        for before, after in zip(uses, uses[1:]):
            if before["t1_ms"] != after["t0_ms"]:
                start = after["t0_ms"]  # another lease of the same device
            after["lease_start"] = start
        uses[0]["lease_start"] = uses[0]["t0_ms"]
        for use in uses:
            slice_e9 = quantity(use["t1_ms"] - use["lease_start"]) - quantity(use["t0_ms"] - use["lease_start"])
            assert slice_e9 == int(use["quantity_e9"]), (use, slice_e9)
            price = price_of(use, prices)
            assert price["id"] == use["price_id"], (use, price)
            price_e9 = price["usd"] * 10**9
            assert price_e9.denominator == 1
            amount = price_e9.numerator * slice_e9
            assert usd(amount) == use["usd"], (use, usd(amount))
            assert use["t0_ms"] // HOUR_MS == (use["t1_ms"] - 1) // HOUR_MS, f"a slice crosses a UTC hour: {use}"
            total += amount
    lasted = sum(u["t1_ms"] - u["t0_ms"] for u in attempt["usage"])
    assert lasted == attempt["lease_ms"] == sum(attempt["class_ms"].values()), attempt
    assert usd(total) == attempt["usd"], (attempt["usd"], usd(total))
    return total


def check_run(home, run):
    """Every attempt of a run, and the run's total. Gives the dollars in 10^-18."""
    prices = price_rows(home)
    report = home.lorry("cost", run, "--by", "attempt")
    total = sum(check_attempt(row, prices) for row in report["rows"])
    assert report["total_usd"] == usd(total), (report["total_usd"], usd(total))
    whole = home.lorry("cost", run)
    assert whole["total_usd"] == usd(total)
    return total
