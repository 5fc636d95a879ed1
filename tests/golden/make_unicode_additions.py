#!/usr/bin/env python3
"""Writes model/format/unicode_additions.cc: code points that the regular expressions of the `tokenizers` package (Unicode 16;
its Digits rule: Unicode 17) count to a property and PCRE2 10.42 (Unicode 14) does not.

usage: make_unicode_additions.py PCRE2_MEMBERS > model/format/unicode_additions.cc
PCRE2_MEMBERS: one line per property, "NAME CODEPOINT CODEPOINT ...", as PCRE2 with UTF and UCP matches it.
Needs the `tokenizers` package (0.23.3 made the file that is checked in).
"""
import sys
from tokenizers import Regex, pre_tokenizers


def members(pre_tokenizer):
    out = set()
    for cp in range(0x110000):
        if not 0xD800 <= cp < 0xE000 and len(pre_tokenizer.pre_tokenize_str("\u0001" + chr(cp) + "\u0001")) == 3:
            out.add(cp)
    return out


def runs(points):
    out = []
    for cp in sorted(points):
        if out and out[-1][1] == cp - 1:
            out[-1][1] = cp
        else:
            out.append([cp, cp])
    return out


pcre = {}
for line in open(sys.argv[1]):
    name, *points = line.split()
    pcre[name] = set(map(int, points))
print("""// Made by tests/golden/make_unicode_additions.py: do not edit.
#include "model/format/unicode_additions.h"

#include <array>

namespace lorry {
namespace {
""")
names = ["L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "N", "Nd", "P", "S"]
for name in names + ["Numeric"]:
    if name == "Numeric":
        theirs = members(pre_tokenizers.Digits(individual_digits=True))
        ours = pcre["N"]
    else:
        theirs = members(pre_tokenizers.Split(Regex(r"\p{%s}" % name), "isolated"))
        ours = pcre[name]
    assert not ours - theirs, name
    r = runs(theirs - ours)
    print(f"constexpr std::array<CodePointRange, {len(r)}> k{name} = {{{{")
    for i in range(0, len(r), 6):
        print("    " + " ".join(f"{{0x{a:X}, 0x{b:X}}}," for a, b in r[i:i + 6]))
    print("}};")
print("""
struct Row {
  std::string_view property;
  std::span<const CodePointRange> ranges;
};
const std::array<Row, %d> kRows = {{""" % (len(names) + 1))
for name in names + ["Numeric"]:
    print(f'    {{"{name}", k{name}}},')
print("""}};

}  // namespace

std::optional<std::span<const CodePointRange>> UnicodeAdditions(std::string_view property) {
  for (const Row& row : kRows) {
    if (row.property == property) return row.ranges;
  }
  return std::nullopt;
}

}  // namespace lorry""")
