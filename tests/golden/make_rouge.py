#!/usr/bin/env python3
"""Makes tests/golden/rouge.jsonl with rouge_score 0.1.2 and nltk. usage: make_rouge.py > rouge.jsonl"""
import json

from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer

from rouge_cases import pairs

TYPES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
STEMS = ("sky skies dying lying tying news innings outings cannings howe proceed exceed succeed dies died flies spied "
         "agreed feed bled sing hopping falling hissing fizzed failing filing happy enjoy try radically hopefully geology "
         "theology archaeology formalities sensibilities adoption opinion controlling roll cease rate probate oed ing "
         "yyyy syzygy toys relational conditional digitizer callousness triplicate electrical replacement a1b2s").split()
for word in STEMS:
    print(json.dumps({"word": word, "stem": PorterStemmer().stem(word)}))
for target, prediction, stem in pairs(90, seed=11):
    scores = rouge_scorer.RougeScorer(TYPES, use_stemmer=stem).score(target, prediction)
    print(json.dumps({"pair": [target, prediction, stem],
                      "scores": [[s.precision, s.recall, s.fmeasure] for s in (scores[t] for t in TYPES)]}))
