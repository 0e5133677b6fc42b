"""Compares the stems and ROUGE-L of `ewe eval` with nltk's Porter stemmer and Google's rouge_score
with `use_stemmer=True`.

    make check-reference    or    .venv/bin/python scripts/check_rouge_stemmed.py

Words are those of the texts that come with Python, its packages and this repository, and words made
of letters and suffixes, more than 100,000 in all. Pairs of texts are pieces of these texts, whole,
mixed and cut, with everything that a tokenizer may get wrong, more than 20,000. Every stem and every
score must be the same.
"""

import json
import random
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer

ROOT = Path(__file__).resolve().parent.parent
STEM = ROOT / "target/debug/examples/stemmed_rouge"
WORDS, PAIRS = 100_000, 20_000
ENDS = (
    "ational tional enci anci izer bli alli entli eli ousli ization ation ator alism iveness fulness ousness aliti "
    "iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent ion "
    "ou ism ate iti ous ive ize ed ing eed ied ies s ss sses y ll e"
).split()
LETTERS = "abcdeiouylstnrz1"
JOINTS = [" ", " ", " ", ", ", ". ", "-", "_", "'", "\n", "\t", " (", " 3.5 ", "...", " É ", "ß", " 中文 ", "\u212a", "\u0130"]
FOLDERS = [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib")), ROOT]


def texts():
    """Returns pieces of text of the machine's documentation and sources."""
    found, room = [], 60_000_000
    for folder in FOLDERS:
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".md", ".txt", ".rst", ".rs") and "target" not in path.parts and room > 0:
                found.append(path.read_text(errors="ignore")[:100_000])
                room -= len(found[-1])
    return found


def all_words(found, rng):
    """Returns words of texts, and made ones until there are enough."""
    words = {word for text in found for word in re.findall("[a-z0-9]+", text.lower()) if len(word) < 60}
    made = set()
    while len(words) + len(made) < WORDS + 50_000 or len(made) < 50_000:
        stem = "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 6)))
        made.add(stem + rng.choice(ENDS) + (rng.choice(ENDS) if rng.random() < 0.5 else ""))
    return sorted(words | made)


def pairs(found, rng):
    """Returns pairs of texts with something in common, and with nothing."""
    pieces = [" ".join(text[at : at + 400].split()) for text in found for at in range(0, min(len(text), 4000), 400)]
    made = []
    while len(made) < PAIRS + 500:
        one, other = rng.choice(pieces), rng.choice(pieces)
        words = [word for text in (one, other) for word in text.split() if rng.random() < 0.5]
        kind = rng.randrange(4)
        if kind == 0:
            rng.shuffle(words)
        other = [other, one[: rng.randint(0, len(one))], "".join(word + rng.choice(JOINTS) for word in words), ""][kind]
        made.append((one.upper() if rng.random() < 0.1 else one, other))
    return made


def with_ewe(requests):
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    ran = subprocess.run([STEM], input=lines, text=True, encoding="utf-8", check=True, stdout=subprocess.PIPE)
    return [json.loads(line) for line in ran.stdout.splitlines()]


def main():
    rng = random.Random(11)
    found = texts()
    words = all_words(found, rng)
    stemmer = PorterStemmer()
    wrong = 0
    for word, reply in zip(words, with_ewe({"word": word} for word in words), strict=True):
        if reply["stem"] != stemmer.stem(word):
            wrong += 1
            print(f"{word}: {reply['stem']}, and nltk has {stemmer.stem(word)}")
    print(f"nltk: {len(words):,} words, {wrong} stems differ")
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    made = pairs(found, rng)
    replies = with_ewe({"answer": one, "reference": other} for one, other in made)
    different = 0
    for (one, other), reply in zip(made, replies, strict=True):
        expected = scorer.score(other, one)["rougeL"].fmeasure
        if abs(reply["score"] - expected) > 1e-12:
            different += 1
            print(f"{reply['score']}, and rouge_score has {expected}: {one!r} {other!r}")
    print(f"rouge_score: {len(made):,} pairs, {different} scores differ")
    enough = len(words) >= WORDS and len(made) >= PAIRS
    sys.exit(wrong + different > 0 or not enough)


if __name__ == "__main__":
    main()
