#!/usr/bin/env python3
"""tidy.py finds what it is there to find: each row is a small tree with one fault."""
import os
import tempfile

import tidy

LONG = "int F(int x) {\n" + "  x += 1;\n" * 70 + "  return x;\n}\n"
ROWS = [
    ({"base/a.cc": '#include "scheduler/core.h"\n', "base/CMakeLists.txt": "a.cc"}, "base/ may not include scheduler/core.h"),
    ({"worker/a.cc": '#include "scheduler/core.h"\n', "worker/CMakeLists.txt": "a.cc"}, "worker/ may not include"),
    ({"scheduler/a.h": "#include <zmq.h>\n"}, "only base/transport/ may include <zmq.h>"),
    ({"cli/a.h": "#include <ATen/ATen.h>\n"}, "only model/net/ may include"),
    ({"base/a.cc": LONG, "base/CMakeLists.txt": "a.cc"}, "a function of 73 lines"),
    ({"base/a.h": "class C {\n" + LONG + "};\n"}, "a function of 73 lines"),
    ({"base/a.h": "\n" * 301}, "301 lines; at most 300"),
    ({"base/a.cc": ""}, "no CMake file lists it"),
    ({"base/a.h": "// TO" + "DO: later\n"}, "left over"),
    ({"base/a.h": "// Its bytes: docs/formats/lost.md.\n"}, "names docs/formats/lost.md, which is not there"),
    ({"README.md": "[jobs](docs/lost.md)\n"}, "names docs/lost.md, which is not there"),
    ({"base/string_utils.h": ""}, "a file's name says what it is"),
]
GOOD = {"docs/jobs.md": "The docs/ folder, docs/jobs.md, https://example.org/docs/lost.md\n",
        "base/a.cc": '#include "base/a.h"\n// {{{ not code\nconst char* s = "}{";\n' + LONG.replace("  x += 1;\n", "", 5), "base/CMakeLists.txt": "a.cc",
        "scheduler/b.h": '#include "base/transport/x.h"\nclass C {\n' + "  int f();\n" * 90 + "};\n"}


def run(tree):
    with tempfile.TemporaryDirectory() as root:
        for path, text in tree.items():
            os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(root, path), "w") as out:
                out.write(text)
        return list(tidy.findings(root, sorted(tree)))


for tree, expected in ROWS:
    found = run(tree)
    assert any(expected in line for line in found), (expected, found)
assert run(GOOD) == [], run(GOOD)
print(len(ROWS) + 1, "trees checked")
