"""Measures `ewe generate` with a mock endpoint, compared with the loop of the published Alpaca
script.

    make bench-generate        or    .venv/bin/python benches/generate.py [SECONDS [RESPONSES]]

1. Latency: the mock answers after 2 s and accepts 256 requests at once, so it can give 128
   responses a second, with four tasks in each. How many does ewe get, with parsing, rules,
   near-duplicates and commits?
2. Work: the mock answers immediately, and the dataset has 50,000 tasks. What does an accepted task
   cost? For comparison, the published script's method on a sample of the same tasks: `rouge_score`
   against the pool, in a `Pool` of two.
3. The same at the million tasks of `make bench-curate`, if they are there, and what starting there
   takes.
4. Memory: 200,000 responses of the mock without latency. 99 of 100 tasks in them were seen before,
   so the pool stays small. How much memory does ewe use? And which remaining time did it print
   after 5 %?

Instructions come from filter_data.py (`zipf`).
"""

import functools
import json
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import machine
from filter_data import instructions, write
from rouge_score import rouge_scorer

ROOT = Path(__file__).resolve().parent.parent
EWE = Path(os.environ.get("EWE", ROOT / "target/debug/ewe"))
MOCK = ROOT / "target/debug/examples/mock_endpoint"
TASKS, SLOTS, LATENCY = 4, 256, 2.0
POOL, SAMPLE = 50_000, 4
LARGE = ROOT / "target/bench-curate/1000000.db"
RESPONSES, FRESH_EVERY = 200_000, 100


@contextmanager
def mock(rows, latency):
    """Starts a mock, and yields its address."""
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


def at_a_million(folder, texts):
    if not LARGE.exists():
        return print(f"at a million tasks: left out, there is no {LARGE.relative_to(ROOT)}")
    db, fresh = folder / "large.db", folder / "fresh.jsonl"
    shutil.copyfile(LARGE, db)
    write(texts[POOL:], fresh)
    with sqlite3.connect(db) as connection:
        query = "select count(*) from task where origin = 'machine' and review <> 'rejected'"
        count = connection.execute(query).fetchone()[0]
    with mock(fresh, 0) as url:
        _, starting = generate(db, url, count + 1)
        said, wall = generate(db, url, count + 4001)
    each = (wall - starting) / said["new"] * 1e3
    print(f"at a million tasks: {starting:.1f} s to start and add a few, then {each:.3f} ms an accepted task ({said['new']} in {wall:.1f} s)")


def resident(process):
    """Returns the resident memory of a process in MiB."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def many(folder, texts, responses):
    """Measures memory while most tasks of the mock are duplicates and rejected. It must not grow
    with them."""
    db, rows = folder / "many.db", folder / "many.jsonl"
    tasks = responses * TASKS
    fresh = iter(texts)
    write((next(fresh) if i % FRESH_EVERY == 0 else texts[i % 97 * FRESH_EVERY % 5000] for i in range(tasks)), rows)
    subprocess.run([EWE, "-q", "init", "--db", db], check=True, stdout=subprocess.DEVNULL)
    target = int(0.9 * tasks / FRESH_EVERY)
    with mock(rows, 0) as url:
        command = [EWE, "generate", "--db", db, "--target", str(target), "--recipe", "alpaca", "--json", "--endpoint", url + "/v1"]
        command += ["--endpoint-model", "mock", "--api", "completions", "--concurrency", "64", "--window", "128", "--min-novelty", "0"]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        samples = []
        for line in process.stderr:
            if line.startswith("{"):
                said = json.loads(line)
                samples.append((said["seconds"], said["requests"], said["accepted"], said["seconds_left"], resident(process)))
        assert process.wait() == 0
        wall = time.perf_counter() - start
        count, _ = answered(url)
    print(f"{count} responses in {wall:.0f} s, {target} tasks accepted; MiB resident by responses:")
    step = max(1, len(samples) // 10)
    print("  " + ", ".join(f"{requests}: {mib:.0f}" for _, requests, _, _, mib in samples[::step]))
    seconds, _, accepted, left, _ = next(sample for sample in samples if sample[2] >= 0.05 * target)
    print(f"  after {100 * accepted / target:.0f} %: {left:.0f} s left, where it was {wall - seconds:.0f}")


def main():
    machine.watch()
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 120
    responses = int(sys.argv[2]) if len(sys.argv) > 2 else RESPONSES
    texts = instructions("zipf", POOL + 40_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = folder / "rows.jsonl"
        write(texts, rows)
        with_latency(folder, rows, seconds)
        at_once(folder, rows, texts)
        at_a_million(folder, texts)
        many(folder, texts, responses)


if __name__ == "__main__":
    main()
