"""`ewe generate` against a mock endpoint, beside the published Alpaca script's loop.

    make bench-generate        or    .venv/bin/python benches/generate.py [SECONDS]

1. Latency: the mock answers after 2 s and takes 256 requests at once, so it can give 128 responses a second, four tasks in
   each. How many does ewe get, with everything on: parsing, rules, near-duplicates, commits?
2. Work: the mock answers at once, and the dataset holds 50,000 tasks. What does an accepted task cost? Beside it what
   the published script does with the same tasks: `rouge_score` against the pool in a `Pool` of two, on a sample.

Instructions come from filter_data.py (`zipf`).
"""

import functools
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from filter_data import instructions, write
from rouge_score import rouge_scorer

ROOT = Path(__file__).resolve().parent.parent
EWE = ROOT / "target/debug/ewe"
MOCK = ROOT / "target/debug/examples/mock_endpoint"
TASKS, SLOTS, LATENCY = 4, 256, 2.0
POOL, SAMPLE = 50_000, 4


@contextmanager
def mock(rows, latency):
    """A running mock's address."""
    command = [MOCK, rows, str(TASKS), str(int(latency * 1000)), str(SLOTS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()


def answered(url):
    return json.load(urllib.request.urlopen(url + "/answered"))


def generate(db, url, target, *more):
    command = [EWE, "-q", "generate", "--db", db, "--target", str(target), "--recipe", "alpaca", "--json"]
    command += ["--endpoint", url + "/v1", "--endpoint-model", "mock", "--api", "completions"]
    command += ["--concurrency", str(SLOTS), "--window", str(2 * SLOTS), *more]
    start = time.perf_counter()
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(said.stdout), time.perf_counter() - start


def with_latency(folder, rows, seconds):
    db = folder / "latency.db"
    subprocess.run([EWE, "-q", "init", "--db", db], check=True, stdout=subprocess.DEVNULL)
    with mock(rows, LATENCY) as url:
        command_seconds = f"{seconds / 60:.4f}"
        said, wall = generate(db, url, 10**9, "--max-minutes", command_seconds)
        count, refused = answered(url)
    best = SLOTS / LATENCY * wall
    print(f"{LATENCY} s latency, {SLOTS} at once, {wall:.0f} s: {count} responses, {count / wall:.1f} a second")
    print(f"  {100 * count / best:.1f} % of what the mock can give; {refused} refused; {said['new']} tasks accepted")


def at_once(folder, rows, texts):
    db = folder / "work.db"
    subprocess.run([EWE, "-q", "init", "--db", db], check=True, stdout=subprocess.DEVNULL)
    held, fresh = folder / "held.jsonl", folder / "fresh.jsonl"
    write(texts[:POOL], held)
    write(texts[POOL:], fresh)
    subprocess.run([EWE, "-q", "import", "--db", db, held], check=True, stdout=subprocess.DEVNULL)
    with mock(fresh, 0) as url:
        _, loading = generate(db, url, 1)
        said, wall = generate(db, url, 8001)
    ewe = (wall - loading) / said["new"]
    print(f"no latency, {POOL} tasks there: {ewe * 1e3:.3f} ms an accepted task ({said['new']} of them in {wall:.1f} s)")
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    tokens = [scorer._tokenizer.tokenize(text) for text in texts[: POOL + SAMPLE]]
    start = time.perf_counter()
    for i in range(POOL, POOL + SAMPLE):
        with multiprocessing.Pool(2) as processes:
            scores = processes.map(functools.partial(rouge_scorer._score_lcs, tokens[i]), tokens[:POOL])
        assert max(score.fmeasure for score in scores) > 0
    published = (time.perf_counter() - start) / SAMPLE
    print(f"  the published script's comparison alone: {published * 1e3:,.0f} ms a task, {published / ewe:,.0f} times that")


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    texts = instructions("zipf", POOL + 40_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = folder / "rows.jsonl"
        write(texts, rows)
        with_latency(folder, rows, seconds)
        at_once(folder, rows, texts)


if __name__ == "__main__":
    main()
