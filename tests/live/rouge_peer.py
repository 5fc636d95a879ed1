#!/usr/bin/env python3
"""ROUGE against the live rouge_score package: stems of 60,000 words and scores of 2,400 text pairs, some of 10,000 words.

usage: rouge_peer.py PEERS_DIR BUILD_DIR [--seed 3]      exit status 1 where a stem differs or a score by more than 1e-12
"""
import argparse, json, pathlib, random, subprocess, sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))
from nltk.stem.porter import PorterStemmer
from rouge_cases import pairs, sentence
from rouge_score import rouge_scorer

p = argparse.ArgumentParser()
p.add_argument("peers"); p.add_argument("build"); p.add_argument("--seed", type=int, default=3)
a = p.parse_args()
rng = random.Random(a.seed)
SUFFIXES = ("ational tional enci anci izer bli alli entli eli ousli ization ation ator alism iveness fulness ousness aliti "
            "iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent "
            "ion ou ism ate iti ous ive ize e ll eed ed ing ied ies sses ss s y").split()
words = ["".join(rng.choice("aeiouybcdlstzwx1") for _ in range(rng.randrange(0, 6))) +
         "".join(rng.choice(SUFFIXES) for _ in range(rng.randrange(1, 4))) for _ in range(60000)] + list(PorterStemmer().pool)
rows = pairs(2390, a.seed) + pairs(6, a.seed + 1, longest=700)
rows += [["\n".join(sentence(rng, 25) for _ in range(80)), "\n".join(sentence(rng, 25) for _ in range(80)), True] for _ in range(2)]
# The package needs minutes and gigabytes for 10,000 words on each side; 10,000 against 200 shows the same.
rows += [[sentence(rng, 10000), sentence(rng, 200), True], [sentence(rng, 200), sentence(rng, 10000), True]]
lines = [json.dumps(x) for x in words + rows]
out = subprocess.run([a.build + "/tests/bin/rouge_pairs"], input="\n".join(lines) + "\n", text=True, capture_output=True, check=True)
answers = [json.loads(x) for x in out.stdout.split("\n") if x]
assert len(answers) == len(lines)
stemmer = PorterStemmer()
bad = [(w, stemmer.stem(w), s) for w, s in zip(words, answers) if stemmer.stem(w) != s]
worst, types = 0.0, ["rouge1", "rouge2", "rougeL", "rougeLsum"]
for (target, prediction, stem), ours in zip(rows, answers[len(words):]):
    scores = rouge_scorer.RougeScorer(types, use_stemmer=stem).score(target, prediction)
    for t, o in zip(types, ours):
        s = scores[t]
        worst = max(worst, abs(s.precision - o[0]), abs(s.recall - o[1]), abs(s.fmeasure - o[2]))
print(json.dumps({"words": len(words), "stems_that_differ": len(bad), "pairs": len(rows), "largest_difference": worst, "examples": bad[:5]}))
sys.exit(1 if bad or worst > 1e-12 else 0)
