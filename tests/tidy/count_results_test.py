#!/usr/bin/env python3
"""scripts/count_results.py: what real ctest runs report, and what it must make of that."""
import pathlib
import subprocess
import sys
import tempfile

COUNT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "count_results.py"
PASSES = "add_test(NAME passes COMMAND true)\n"
SKIPS = 'add_test(NAME skips COMMAND sh -c "echo no room here; exit 77")\nset_tests_properties(skips PROPERTIES SKIP_RETURN_CODE 77)\n'

# the tests of a build | status | lines expected
CTESTS = [
    (PASSES, 0, ["1 passed, 0 failed, 0 skipped"]),
    (PASSES + SKIPS, 0, ["SKIPPED build skips: no room here", "1 passed, 0 failed, 1 skipped"]),
    (SKIPS, 1, ["0 passed, 0 failed, 1 skipped"]),
    (PASSES + "add_test(NAME breaks COMMAND false)\n", 1, ["FAILED build breaks", "1 passed, 1 failed, 0 skipped"]),
    (PASSES + "add_test(NAME missing COMMAND /nowhere/program)\n", 1,
     ["FAILED build missing: Unable to find executable: /nowhere/program", "1 passed, 1 failed, 0 skipped"]),
    ("", 1, ["FAILED build: ran no tests", "0 passed, 1 failed, 0 skipped"]),
]
# files | status | lines expected
FILES = [
    ({"lint.status": "0"}, 0, ["1 passed, 0 failed, 0 skipped"]),
    ({"lint.status": "1", "fuzz.status": "0"}, 1, ["FAILED lint", "1 passed, 1 failed, 0 skipped"]),
    ({"build.status": "8", "build.xml": '<testsuite><testcase name="a" status="run"/></testsuite>'}, 1,
     ["FAILED build: ctest ended with status 8, though no test is reported as failed", "1 passed, 1 failed, 0 skipped"]),
    ({"build.status": "1", "build.xml": ""}, 1, ["0 passed, 1 failed, 0 skipped"]),
    ({}, 1, ["0 passed, 0 failed, 0 skipped"]),
]


def counted(folder, status, expected):
    done = subprocess.run([sys.executable, COUNT, folder], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == status and lines[-1] == expected[-1] and set(expected) <= set(lines), (expected, done)


def main():
    for tests, status, expected in CTESTS:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(x NONE)\nenable_testing()\n" + tests)
            subprocess.run(["cmake", "-S", folder, "-B", folder / "b"], check=True, capture_output=True)
            done = subprocess.run(["ctest", "--test-dir", folder / "b", "--output-junit", folder / "build.xml"], capture_output=True)
            (folder / "build.status").write_text(str(done.returncode))
            counted(folder, status, expected)
    for files, status, expected in FILES:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                pathlib.Path(folder, name).write_text(text)
            counted(folder, status, expected)
    print(len(CTESTS) + len(FILES), "results counted")


main()
