"""De-duplicates instructions with `ewe filter`, beside Google's rouge_score and rapidfuzz on the same rows.

    make bench        or    .venv/bin/python benches/filter.py [ROWS]

Rows are made here: words of a Zipf vocabulary of 50,000 in sentences of 6 to 30, one in five a changed copy of an
earlier row. ewe is timed as a whole process; the peers in this process, imports not counted. rouge_score is the
method of the published Alpaca script (each candidate against every kept row) and is timed on a sample of candidates.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rapidfuzz.distance import Indel
from rapidfuzz.process import cdist
from rouge_score import rouge_scorer

ROOT = Path(__file__).resolve().parent.parent
EWE = ROOT / "target/debug/ewe"


def make_rows(count, rng):
    """Instructions with planted near-duplicates at every similarity."""
    weights = 1.0 / np.arange(1, 50_001)
    weights /= weights.sum()
    draws = iter(rng.choice(50_000, size=count * 31, p=weights))
    rows = []
    for _ in range(count):
        if rows and rng.random() < 0.2:
            words = rows[rng.integers(len(rows))].split()
            for _ in range(int(rng.integers(0, len(words)))):
                words[rng.integers(len(words))] = f"w{next(draws)}"
        else:
            words = [f"w{next(draws)}" for _ in range(rng.integers(6, 31))]
        rows.append(" ".join(words))
    return rows


def with_ewe(rows, folder):
    """Which rows ewe keeps, and the seconds of the whole process."""
    source, verdicts = folder / "rows.jsonl", folder / "verdicts.jsonl"
    source.write_text("".join(json.dumps({"instruction": r, "input": "", "output": "x"}) + "\n" for r in rows))
    start = time.perf_counter()
    subprocess.run([EWE, "-q", "filter", source, "--rules", "none", "--verdicts", verdicts], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    return [json.loads(line)["verdict"] == "accepted" for line in verdicts.open()], seconds


def with_rouge_score(rows, kept, candidates):
    """Checks ewe's verdict on some rows with rouge_score; returns seconds a candidate."""
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    seconds = 0.0
    for i in candidates:
        pool = [rows[j] for j in range(i) if kept[j]]
        start = time.perf_counter()
        near = any(scorer.score(rows[i], other)["rougeL"].fmeasure > 0.7 for other in pool)
        seconds += time.perf_counter() - start
        # A tie at exactly 0.7 is a matter of rounding in rouge_score, of integers in ewe; none is expected here.
        assert near != kept[i], f"row {i}: ewe says kept={kept[i]}, rouge_score says near={near}"
    return seconds / len(candidates)


def with_rapidfuzz(rows, kept, candidates):
    """Seconds a candidate of the strongest peer, over words as hashes, on the same pools."""
    words = [[hash(word) for word in row.split()] for row in rows]
    seconds = 0.0
    for i in candidates:
        pool = [words[j] for j in range(i) if kept[j]]
        start = time.perf_counter()
        cdist([words[i]], pool, scorer=Indel.normalized_similarity, score_cutoff=0.7, workers=2)
        seconds += time.perf_counter() - start
    return seconds / len(candidates)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rows = make_rows(count, np.random.default_rng(7))
    with tempfile.TemporaryDirectory() as folder:
        kept, seconds = with_ewe(rows, Path(folder))
    # The peers' cost grows with the pool, so the sample is spread evenly over it.
    random.seed(7)
    sample = sorted(random.sample(range(count), 24))
    ewe, rouge = seconds / count, with_rouge_score(rows, kept, sample)
    rapid = with_rapidfuzz(rows, kept, sorted(random.sample(range(count), 200)))
    print(f"{count} rows, {sum(kept)} kept; ewe {seconds:.2f} s in all")
    print(f"  ewe          {ewe * 1e3:10.3f} ms a candidate (whole process)")
    print(f"  rapidfuzz    {rapid * 1e3:10.3f} ms a candidate, {rapid / ewe:,.1f} times ewe's (sample of 200)")
    print(f"  rouge_score  {rouge * 1e3:10.3f} ms a candidate, {rouge / ewe:,.0f} times ewe's (sample of 24, verdicts equal)")


if __name__ == "__main__":
    main()
