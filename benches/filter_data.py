"""Generates instructions for benchmarks of the filter, as JSON lines of `instruction`, `input`,
`output`.

    .venv/bin/python benches/filter_data.py zipf|adversarial ROWS FILE

Each row is, at random:

- free: 6 to 30 words (18 on average) of the vocabulary;
- of a template: fixed words, and slots that each row fills with other words. Three to six of ten
  words are slots, so two rows of one template are as similar as instructions of one kind, on either
  side of ROUGE-L 0.7;
- a planted near-duplicate: an earlier row with a random share of its words, from none to all,
  replaced, removed or moved, so that every similarity occurs.

`zipf` draws from 60,000 words by Zipf's law, like natural language, and from 20,000 templates.
`adversarial` draws uniformly from 4,000 words and has no free rows, only 1,000 templates: no word
is rare, and every row has hundreds of others just below the threshold. The same name and number of
rows give the same file.
"""

import json
import sys
from array import array
from pathlib import Path

import numpy as np

ONSETS = ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "st", "tr", "gr", "pl", "sh"]
NUCLEI = ["a", "e", "i", "o", "u", "ai", "ea", "ou"]
SYLLABLES = [onset + nucleus for onset in ONSETS for nucleus in NUCLEI]


def word(n):
    """Returns the n-th word. Frequent words are short, as in natural language."""
    syllables = []
    while True:
        n, syllable = divmod(n, len(SYLLABLES))
        syllables.append(SYLLABLES[syllable])
        if n == 0:
            return "".join(syllables)
        n -= 1


class Draws:
    """Draws word numbers, many at a time."""

    def __init__(self, rng, weights):
        self.rng, self.sums = rng, np.cumsum(weights / weights.sum())
        self.ready = iter(())

    def take(self, count):
        taken = [n for n, _ in zip(self.ready, range(count))]
        while len(taken) < count:
            drawn = np.minimum(np.searchsorted(self.sums, self.rng.random(1 << 18)), len(self.sums) - 1)
            self.ready = iter(drawn.tolist())
            taken += [n for n, _ in zip(self.ready, range(count - len(taken)))]
        return taken


def each_row(kind, count):
    """Yields the rows as lists of word numbers. Those made so far are kept in two bytes a word."""
    rng = np.random.default_rng(7)
    if kind == "zipf":
        draws = Draws(rng, 1.0 / np.arange(1, 60_001))
        templates, free, planted = 20_000, 0.55, 0.15
    else:
        draws = Draws(rng, np.ones(4_000))
        templates, free, planted = 1_000, 0.0, 0.10
    forms = []
    for _ in range(templates):
        length = int(rng.integers(6, 31))
        slots = rng.random(length) < rng.uniform(0.3, 0.6)
        forms.append((draws.take(length), slots.nonzero()[0].tolist()))
    words, ends = array("H"), array("Q", [0])
    kinds, places = rng.random(count), rng.random(count)
    lengths = rng.integers(6, 31, count)
    for i in range(count):
        kind, place = float(kinds[i]), float(places[i])
        if kind < planted and i > 0:
            copied = int(place * i)
            row = words[ends[copied] : ends[copied + 1]].tolist()
            for _ in range(int(rng.integers(0, len(row) + 1))):
                at = int(rng.integers(len(row)))
                match int(rng.integers(4)):
                    case 0 if len(row) > 4:
                        del row[at]
                    case 1:
                        row.insert(int(rng.integers(len(row))), row.pop(at))
                    case _:
                        row[at] = draws.take(1)[0]
        elif kind < planted + free:
            row = draws.take(int(lengths[i]))
        else:
            fixed, slots = forms[int(place * templates)]
            row = list(fixed)
            for slot, filled in zip(slots, draws.take(len(slots))):
                row[slot] = filled
        words.extend(row)
        ends.append(len(words))
        yield row


def each_instruction(kind, count):
    """Yields the rows as texts."""
    words = [word(n) for n in range(60_000)]
    for row in each_row(kind, count):
        yield " ".join(words[n] for n in row).capitalize() + "."


def instructions(kind, count):
    """Returns the rows as texts."""
    return list(each_instruction(kind, count))


def write(texts, path):
    """Writes JSON lines with Alpaca's fields."""
    with Path(path).open("w") as out:
        for text in texts:
            out.write(json.dumps({"instruction": text, "input": "", "output": "Done."}) + "\n")


if __name__ == "__main__":
    write(each_instruction(sys.argv[1], int(sys.argv[2])), sys.argv[3])
