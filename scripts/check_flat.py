"""Watches the resident memory of `ewe complete`, `ewe serve` and `ewe generate` over thousands of
prompts of random lengths.

    make check-flat
    .venv/bin/python scripts/check_flat.py [--prompts N] [--model DIR] [--only COMMAND]

Prints the resident memory in each tenth of the prompts. Fails if the second half took more than
1.05 times the maximum of the first half plus 64 MB, which a server keeps beyond its need.
"""

import argparse
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EWE = Path(os.environ.get("EWE", ROOT / "target/debug/ewe"))
SEEDS = ROOT / "seeds/seed_tasks.jsonl"
BEYOND = 64e6


class Watch:
    """Samples the resident memory of a process until it ends or `stop` is called."""

    def __init__(self, process):
        self.process, self.seen, self.over = process, [], False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.over and self.process.poll() is None:
            try:
                text = Path(f"/proc/{self.process.pid}/status").read_text()
            except OSError:
                break
            if found := re.search(r"VmRSS:\s+(\d+) kB", text):
                self.seen.append(int(found.group(1)) * 1024)
            time.sleep(0.1)

    def stop(self):
        self.over = True
        self.thread.join()
        return self.seen


def prompts(count):
    """Yields texts of 2 to 400 words, half of them of at most 28."""
    words = " ".join(json.loads(line)["instruction"] for line in SEEDS.open()).split()
    chance = random.Random(2)
    for _ in range(count):
        length = int(math.exp(chance.uniform(math.log(2), math.log(400))))
        yield " ".join(chance.choice(words) for _ in range(length))


def complete(args, folder):
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts(args.prompts)))
    process = subprocess.Popen([EWE, "-q", "complete", "--model", args.model, "--prompts", file, "--out", folder / "out.jsonl",
                                "--max-tokens", "8"])  # fmt: skip
    watch = Watch(process)
    if process.wait() != 0:
        raise SystemExit("ewe complete failed")
    return watch.stop()


def serve(args, folder):
    process = subprocess.Popen([EWE, "serve", "--model", args.model, "--bind", "127.0.0.1:8977"], stderr=subprocess.DEVNULL)
    try:
        wait_for("http://127.0.0.1:8977/health")

        def ask(prompt):
            body = json.dumps({"prompt": prompt, "max_tokens": 8}).encode()
            request = urllib.request.Request("http://127.0.0.1:8977/v1/completions", body, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=600) as answer:
                return json.load(answer)["usage"]["prompt_tokens"]

        watch = Watch(process)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, prompts(args.prompts)))
        return watch.stop()
    finally:
        process.terminate()
        process.wait()


def generate(args, folder):
    """Twice as many requests: the prefix cache, 512 MiB, is full after some 1,800, since few of these
    prompts differ by more than half from those before."""
    dataset = folder / "d.db"
    subprocess.run([EWE, "-q", "init", "--db", dataset, "--seeds", SEEDS], check=True)
    process = subprocess.Popen([EWE, "-q", "generate", "--db", dataset, "--target", str(10 * args.prompts), "--max-requests",
                                str(2 * args.prompts), "--min-novelty", "0", "--give-up-after", "0", "--model", args.model])  # fmt: skip
    watch = Watch(process)
    process.wait()
    seen = watch.stop()
    stats = json.loads(subprocess.run([EWE, "stats", "--db", dataset, "--json"], check=True, stdout=subprocess.PIPE).stdout)
    print(f"generate: {json.dumps(stats)[:300]}")
    return seen


def wait_for(address):
    for _ in range(600):
        try:
            return urllib.request.urlopen(address, timeout=1).read()
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"nothing answers at {address}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--model", type=Path, default=ROOT / "models/gemma-3-270m")
    parser.add_argument("--only", choices=["complete", "serve", "generate"])
    args = parser.parse_args()
    wrong = False
    for way in [complete, serve, generate]:
        if args.only not in (None, way.__name__):
            continue
        begun = time.time()
        with tempfile.TemporaryDirectory() as name:
            seen = way(args, Path(name))
        tenths = [max(seen[len(seen) * part // 10 : len(seen) * (part + 1) // 10]) for part in range(10)]
        first, second = max(tenths[:5]), max(tenths[5:])
        wrong |= second > 1.05 * first + BEYOND
        told = " ".join(f"{most / 1e9:.2f}" for most in tenths)
        print(f"{way.__name__}: {args.prompts} prompts in {time.time() - begun:.0f} s, GB resident in each tenth of them: {told}", flush=True)
    sys.exit(wrong)


if __name__ == "__main__":
    main()
