"""Deduplicates instructions with `ewe filter`, compared with rapidfuzz and Google's rouge_score on
the same rows, and with tools that find near-duplicates approximately.

    make bench-filter
    .venv/bin/python benches/filter.py [--most ROWS] [--text-dedup PYTHON]

Rows come from filter_data.py, of both kinds, in growing numbers. ewe is timed as a whole process:
start, reading, parsing, comparing, writing verdicts. The peers are timed within this process,
without reading and tokenization, on a sample of candidates, each against the rows accepted before
it. Their cost grows linearly with that pool, so a sample spread evenly over the rows gives the
mean. All have two threads or processes.

- rapidfuzz: `cdist` of 64 candidates at a time with the pool, Indel similarity of words as numbers,
  cut-off 0.7.
- datasketch, semhash and text-dedup: whole runs over the rows; see filter_peers.py.
- rouge_score: the method of the published Alpaca script, `Pool.map` of the LCS score over all
  tokenized rows.

The verdict on each sampled candidate, and the ROUGE-L of rejected ones, must be those of the peers.
"""

import argparse
import functools
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import filter_peers
import machine
import numpy as np
from filter_data import instructions, write
from rapidfuzz.distance import Indel
from rapidfuzz.process import cdist
from rouge_score import rouge_scorer

ROOT = Path(__file__).resolve().parent.parent
EWE = Path(os.environ.get("EWE", ROOT / "target/debug/ewe"))
THREADS = 2
SIZES = [10_000, 52_000, 100_000, 300_000, 1_000_000]
# Number of rows at which the peers are measured: the size of Alpaca's dataset.
PEERS_AT = 52_000


# A process's memory includes that of the process it was forked from, so a small one must fork.
MEASURE = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss / 1024)
sys.exit(status != 0)
"""


def run_ewe(source, verdicts):
    """Returns the seconds and the peak memory in MiB of a whole process."""
    command = [EWE, "-q", "filter", source, "--rules", "none", "--verdicts", verdicts]
    environment = os.environ | {"RAYON_NUM_THREADS": str(THREADS)}
    said = subprocess.run(
        [sys.executable, "-S", "-c", MEASURE, *command], env=environment, check=True, capture_output=True, text=True
    )
    seconds, memory = said.stdout.split()
    return float(seconds), float(memory)


def with_ewe(rows, folder):
    """Returns verdicts, median seconds and memory of several runs, or of one if a run takes
    long."""
    source, verdicts = folder / "rows.jsonl", folder / "verdicts.jsonl"
    write(rows, source)
    runs = [run_ewe(source, verdicts) for _ in range(5 if len(rows) <= 100_000 else 1)]
    with verdicts.open() as lines:
        judged = [json.loads(line) for line in lines]
    return judged, statistics.median(seconds for seconds, _ in runs), max(memory for _, memory in runs)


def check(judged, i, score):
    """Checks ewe's verdict on row i, given the best `score` among the rows accepted before."""
    # At exactly 0.7, rounding decides for the peers, and integers for ewe.
    if abs(score - 0.7) > 1e-9:
        assert (judged[i]["verdict"] == "rejected") == (score > 0.7), (i, score, judged[i])
    if judged[i]["verdict"] == "rejected":
        assert abs(judged[i]["rouge_l"] - score) < 1e-9, (i, score, judged[i])


def with_rapidfuzz(rows, judged):
    """Returns the seconds per candidate."""
    numbers = {}
    words = [[numbers.setdefault(word, len(numbers)) for word in row.lower().rstrip(".").split()] for row in rows]
    seconds, candidates = 0.0, 0
    for start in np.linspace(64, len(rows) - 64, 8, dtype=int).tolist():
        # Rows of the batch itself are not in the pool, which makes it only cheaper for the peer.
        pool = [words[j] for j in range(start) if judged[j]["verdict"] == "accepted"]
        batch = words[start : start + 64]
        begun = time.perf_counter()
        scores = cdist(batch, pool, scorer=Indel.normalized_similarity, score_cutoff=0.7, workers=THREADS)
        seconds += time.perf_counter() - begun
        candidates += len(batch)
        for i, best in enumerate(scores.max(axis=1).tolist(), start):
            nearest = judged[i]["nearest"]
            if nearest is None or nearest["row"] < start:
                # cdist returns floats of single precision.
                assert (judged[i]["verdict"] == "rejected") == (best > 0.7 + 1e-6) or abs(best - 0.7) < 1e-6, (i, best)
    return seconds / candidates


def with_rouge_score(rows, judged):
    """Returns the seconds per candidate."""
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    tokens = [scorer._tokenizer.tokenize(row) for row in rows]
    # Positions whose mean is the mean of all positions.
    places = [int(len(rows) * part) for part in (0.125, 0.375, 0.625, 0.875)]
    seconds = 0.0
    for i in places:
        pool = [tokens[j] for j in range(i) if judged[j]["verdict"] == "accepted"]
        start = time.perf_counter()
        with multiprocessing.Pool(THREADS) as processes:
            scores = processes.map(functools.partial(rouge_scorer._score_lcs, tokens[i]), pool)
        best = max(score.fmeasure for score in scores)
        seconds += time.perf_counter() - start
        check(judged, i, best)
    return seconds / len(places)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=SIZES[-1], help="rows")
    parser.add_argument("--text-dedup", metavar="PYTHON", help="the Python of an environment that has text-dedup")
    args = parser.parse_args()
    most = args.most
    machine.watch()
    for kind in ("zipf", "adversarial"):
        print(f"\n{kind}\n\n| rows | kept | seconds | µs a candidate | MiB |\n| --- | --- | --- | --- | --- |")
        costs, peers, some = {}, [], None
        for size in (size for size in SIZES if size <= most):
            rows = instructions(kind, size)
            with tempfile.TemporaryDirectory() as folder:
                judged, seconds, memory = with_ewe(rows, Path(folder))
            costs[size] = seconds / size
            kept = sum(verdict["verdict"] == "accepted" for verdict in judged)
            print(f"| {size:,} | {kept:,} | {seconds:.2f} | {costs[size] * 1e6:.1f} | {memory:.0f} |", flush=True)
            if size == PEERS_AT:
                for name, peer in (("rapidfuzz", with_rapidfuzz), ("rouge_score with Pool", with_rouge_score)):
                    cost = peer(rows, judged)
                    peers.append(f"{name}: {cost * 1e3:,.3f} ms a candidate, {cost / costs[size]:,.0f} times ewe's")
                some = rows, {i for i, verdict in enumerate(judged) if verdict["verdict"] == "rejected"}, seconds
        if some is None:
            continue
        print(f"\nat {PEERS_AT:,} rows, extrapolated from samples:", *peers, sep="\n- ")
        print(f"\napproximate ones at {PEERS_AT:,} rows, whole runs:")
        with tempfile.TemporaryDirectory() as folder:
            filter_peers.beside(*some, Path(folder), THREADS, args.text_dedup)
        if most in costs and most > PEERS_AT:
            cost = with_rapidfuzz(rows, judged)
            print(f"\nat {most:,} rows, rapidfuzz: {cost * 1e3:,.3f} ms a candidate, {cost / costs[most]:,.0f} times ewe's")
            print(f"\na candidate at {most:,} rows costs {costs[most] / costs[PEERS_AT]:.2f} times one at {PEERS_AT:,}")


if __name__ == "__main__":
    main()
