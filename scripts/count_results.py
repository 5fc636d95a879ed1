#!/usr/bin/env python3
"""Counts what scripts/test ran: prints each failed and each skipped test, then "N passed, N failed, N skipped".

usage: count_results.py FOLDER      exit status 0 only where something passed and nothing failed
FOLDER holds NAME.status, the exit status of each thing that was run, and beside it NAME.xml (JUnit, from ctest) where that was many tests;
without one it counts as one test. A test that ctest could not start, such as one whose program is missing, has failed; only a test
that itself ends with its SKIP_RETURN_CODE is skipped.
"""
import pathlib
import sys
import xml.etree.ElementTree as tree


def outcome(case):
    """passed, failed or skipped, and why, of one <testcase>."""
    status, skipped = case.get("status"), case.find("skipped")
    told = (case.findtext("system-out") or "").strip().splitlines()
    if status == "run":
        return "passed", ""
    if status == "notrun" and skipped is not None and skipped.get("message", "").startswith("SKIP_RETURN_CODE"):
        return "skipped", told[-1] if told else ""
    return "failed", told[-1] if status == "notrun" and told else ""


def results(folder):
    """(name, outcome, why) of every test."""
    for status in sorted(pathlib.Path(folder).glob("*.status")):
        name, code, junit = status.stem, int(status.read_text()), status.with_suffix(".xml")
        if not junit.exists():
            yield name, "failed" if code else "passed", ""
            continue
        try:
            found = [(f"{name} {case.get('name')}", *outcome(case)) for case in tree.parse(junit).getroot().iter("testcase")]
        except tree.ParseError as error:
            found = [(name, "failed", f"its report cannot be read: {error}")]
        yield from found
        if not found:
            yield name, "failed", "ran no tests"
        elif code and not any(result == "failed" for _, result, _ in found):
            yield name, "failed", f"ctest ended with status {code}, though no test is reported as failed"


def main():
    count = dict.fromkeys(("passed", "failed", "skipped"), 0)
    for name, result, why in results(sys.argv[1]):
        count[result] += 1
        if result != "passed":
            print(f"{result.upper()} {name}{': ' + why if why else ''}")
    print(", ".join(f"{number} {result}" for result, number in count.items()))
    sys.exit(0 if count["passed"] and not count["failed"] else 1)


if __name__ == "__main__":
    main()
