"""Text pairs that ROUGE is held against the rouge_score package on: used by make_rouge.py and tests/live/rouge_peer.py."""
import random

WORDS = ("the of a library for reading running flies died dying skies generously controlling hopping rational analogies "
         "conformably vietnamization sensibilities adjustable replacement allowance happily enjoyment Python3 GTK C++ "
         "x86-64 v2.0 naïve café 日本語 данные Ωmega \u212aelvin \u0130stanbul state-of-the-art e.g. news innings").split()
FIXED = [("", ""), ("", "a"), ("a", ""), ("\n\n", "a b"), ("...", "a"), ("a\nb\n\nc", "c\nb\na"), ("the the the", "the"),
         ("the cat sat\non the mat", "the mat\nthe cat sat on"), ("a b c d", "d c b a"), ("\r\n x \t y", "x\ny"),
         ("police killed the gunman", "the gunman killed police"), ("\u212aING", "king"), ("\u0130I", "i i")]


def sentence(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def text(rng, longest):
    lines = [sentence(rng, rng.randrange(0, longest)) for _ in range(rng.randrange(1, 5))]
    return rng.choice(["\n", "\n", " ", "\n\n"]).join(lines)


def pairs(count, seed, longest=14):
    """`count` pairs of [target, prediction, use_stemmer]; half of the predictions share words with their target."""
    rng = random.Random(seed)
    out = [[a, b, s] for a, b in FIXED for s in (True, False)][:count]
    while len(out) < count:
        target = text(rng, longest)
        prediction = text(rng, longest)
        if rng.random() < 0.5:
            words = target.split(" ")
            rng.shuffle(words)
            prediction = " ".join(words[: rng.randrange(0, len(words) + 1)]) + rng.choice(["", "\n", " "]) + prediction
        out.append([target, prediction, rng.random() < 0.7])
    return out
