#!/usr/bin/env python3
"""The tree's own rules, checked: who may include whom, sizes, names, unlisted sources, left-over markers, files named that are not there.

usage: tidy.py ROOT      prints one line a finding; exit status 1 where there is one
"""
import os
import re
import subprocess
import sys

# Folder -> what it may include of ours (docs/reading-path.md draws the same table). `tests` and `bench` may include everything.
LAYERS = {
    "base": [],
    "base/transport": ["base"],
    "base/store": ["base"],
    "configs": ["base"],
    "model/format": ["base"],
    "registry": ["base", "base/store", "model/format"],
    "ledger": ["base", "base/store"],
    "model/net": ["base", "model/format"],
    "batch/evaluation": ["base"],
    "lora": ["base", "model/format", "model/net"],
    "trainers": ["base", "configs", "model/format", "model/net", "lora"],
    "batch": ["base", "configs", "model/format", "model/net", "lora", "batch/evaluation"],
    "scheduler": ["base", "base/transport", "base/store", "configs", "model/format", "registry", "ledger"],
    "worker": ["base", "base/transport", "configs", "registry"],
    "web": ["base", "base/transport", "base/store", "configs", "model/format", "registry", "ledger", "batch/evaluation", "scheduler"],
    "cli": ["base", "base/transport", "base/store", "configs", "model/format", "registry", "ledger", "batch/evaluation"],
}
# A library's header, and the only folder that may include it.
ONLY_IN = {
    r"zmq(\.h|\.hpp|_addon\.hpp)": ["base/transport", "tests"],
    r"sqlite3\.h": ["base/store", "tests"],
    r"yaml-cpp/.*": ["configs", "tests"],
    r"(ATen|torch|c10)/.*": ["model/net", "lora", "trainers", "batch", "tests", "bench", "cmake"],
    r"microhttpd\.h": ["web", "tests"],
}
HEADER_LINES, SOURCE_LINES, FUNCTION_LINES = 300, 600, 70
BANNED_NAMES = re.compile(r"(^|_)(util|utils|common|helper|helpers|manager|misc)(_|\.|$)")
MARKERS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
# A file of the tree that a text names, such as docs/jobs.md; not one inside a longer path or an address.
NAMED_FILE = re.compile(r"(?<![\w/.-])(?:docs|tests|scripts|bench|configs)/[\w./-]*\.\w+")
CONTROL = re.compile(r"^(if|for|while|switch|catch|do|else|try|return|namespace|class|struct|enum|union|extern)\b")


def folder_of(path):
    """The row of LAYERS that a file belongs to, or its first folder."""
    parts = path.split("/")[:-1]
    for n in range(len(parts), 0, -1):
        if "/".join(parts[:n]) in LAYERS:
            return "/".join(parts[:n])
    return parts[0] if parts else ""


def blank_out(text):
    """The same text with comments, strings and characters blanked, lines kept."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


def long_functions(text):
    """(line, length) of every function definition longer than FUNCTION_LINES; a lambda counts with the function that holds it."""
    text = re.sub(r"^[ \t]*#.*(\\\n.*)*", lambda m: re.sub(r"[^\n]", " ", m.group(0)), blank_out(text), flags=re.M)
    stack, inside, start, found = [], 0, 0, []
    for at, char in enumerate(text):
        if char in ";{}":
            head = text[start:at].strip()
            begin = start + len(text[start:at]) - len(text[start:at].lstrip())
            if char == "{":
                is_function = not inside and "(" in head and not CONTROL.match(head) and not re.search(r"=\s*$", head)
                stack.append(begin if is_function else None)
                inside += is_function
            elif char == "}" and stack:
                opened = stack.pop()
                if opened is not None:
                    inside -= 1
                    length = text.count("\n", opened, at) + 1
                    if length > FUNCTION_LINES:
                        found.append((text.count("\n", 0, opened) + 1, length))
            start = at + 1
    return found


def check_includes(path, text):
    folder = folder_of(path)
    for number, line in enumerate(text.split("\n"), 1):
        own = re.match(r'\s*#include "([^"]+)"', line)
        if own and folder in LAYERS:
            target = folder_of(own.group(1))
            if target != folder and target not in LAYERS[folder] and "/" in own.group(1):
                yield f"{path}:{number}: {folder}/ may not include {own.group(1)}"
        library = re.match(r"\s*#include <([^>]+)>", line)
        if library:
            for pattern, allowed in ONLY_IN.items():
                if re.fullmatch(pattern, library.group(1)) and not any(folder == a or path.startswith(a + "/") for a in allowed):
                    yield f"{path}:{number}: only {allowed[0]}/ may include <{library.group(1)}>"


def check_source(path, text):
    lines = text.count("\n")
    limit = HEADER_LINES if path.endswith((".h", ".cuh")) else SOURCE_LINES
    if lines > limit:
        yield f"{path}: {lines} lines; at most {limit}"
    for line, length in long_functions(text):
        yield f"{path}:{line}: a function of {length} lines; at most {FUNCTION_LINES}"
    yield from check_includes(path, text)


def check_named_files(root, path):
    if not (path.endswith((".h", ".cc", ".cu", ".cuh", ".py", ".md", ".yaml", ".cmake", "CMakeLists.txt")) or path.startswith(("scripts/", ".ci/"))):
        return
    with open(os.path.join(root, path), encoding="utf-8") as source:
        for number, line in enumerate(source, 1):
            for named in NAMED_FILE.findall(line):
                if not os.path.exists(os.path.join(root, named)):
                    yield f"{path}:{number}: names {named}, which is not there"


def findings(root, files):
    listed = {}
    for path in files:
        if path.endswith("CMakeLists.txt") or path.endswith(".cmake"):
            folder = os.path.dirname(path)
            with open(os.path.join(root, path)) as cmake:
                for name in re.findall(r"(?<![\w}/.-])[\w.-][\w./-]*\.(?:cc|cu)\b", re.sub(r"\$\{\w+\}/", "", cmake.read())):
                    listed[os.path.normpath(os.path.join(folder, name))] = listed[name] = True
    for path in files:
        name = os.path.basename(path)
        if BANNED_NAMES.search(name) and path.endswith((".h", ".cc", ".cu", ".cuh", ".py", ".cmake")):
            yield f"{path}: a file's name says what it is; not {BANNED_NAMES.search(name).group(2)}"
        if not path.startswith(("tests/fuzz/corpus/", "tests/tidy/")):  # what others wrote; trees with faults
            yield from check_named_files(root, path)
        if not path.endswith((".h", ".cc", ".cu", ".cuh")):
            continue
        with open(os.path.join(root, path), encoding="utf-8") as source:
            text = source.read()
        for number, line in enumerate(text.split("\n"), 1):
            if MARKERS.search(line):
                yield f"{path}:{number}: {MARKERS.search(line).group(1)} left over"
        yield from check_source(path, text)
        if path.endswith((".cc", ".cu")) and path not in listed:
            yield f"{path}: no CMake file lists it"


def main():
    root = sys.argv[1]
    listing = subprocess.run(["git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True)
    files = [f for f in listing.stdout.split("\n") if f and os.path.exists(os.path.join(root, f))]
    if not files:  # not a checkout, e.g. an unpacked archive
        files = [os.path.relpath(os.path.join(d, f), root) for d, _, names in os.walk(root) for f in names if "/build" not in d and "/.git" not in d]
    found = sorted(findings(root, files))
    print("\n".join(found) or f"{len(files)} files: nothing found")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
