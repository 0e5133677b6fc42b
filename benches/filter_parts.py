"""Filters more rows than memory may hold, with `ewe filter --memory`, beside the same in memory.

    .venv/bin/python benches/filter_parts.py ROWS.jsonl FOLDER COUNT[:MEMORY]…

ROWS.jsonl comes from filter_data.py. For each COUNT, its first rows are filtered without a limit, or
with `--memory MEMORY`, as a whole process: start, reading, comparing, writing verdicts and the rows
kept. Outputs stay in FOLDER until the next run; runs of one COUNT must give the same bytes. `EWE`
names another binary.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import machine

ROOT = Path(__file__).resolve().parent.parent
EWE = os.environ.get("EWE", ROOT / "target/debug/ewe")

# A process's memory includes that of the process it was forked from, so a small one must fork.
MEASURE = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
sys.exit(status != 0)
"""


def digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cut(source, count, target):
    """Writes the first rows of a file to another."""
    with source.open("rb") as rows, target.open("wb") as out:
        out.writelines(islice(rows, count))


def run(rows, folder, memory):
    """Returns seconds, processor seconds, peak MiB, parts, and digests of both outputs."""
    work = folder / "run"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    command = [EWE, "-q", "filter", rows, "--rules", "none", "--json"]
    command += ["--verdicts", work / "verdicts.jsonl", "--out", work / "kept.jsonl"]
    command += ["--memory", memory] if memory else []
    measured = [sys.executable, "-S", "-c", MEASURE, *command]
    said = subprocess.run(measured, check=True, capture_output=True, text=True).stdout
    seconds, processor, peak = map(float, said.split())
    digests = [digest(work / name) for name in ("verdicts.jsonl", "kept.jsonl")]
    return seconds, processor, peak, digests


def main():
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    machine.watch()
    print()
    print("| rows | --memory | seconds | µs a row | processor µs a row | MiB | load |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    seen = {}
    for what in sys.argv[3:]:
        count, _, memory = what.partition(":")
        count = int(count)
        rows = folder / f"rows-{count}.jsonl"
        if not rows.exists():
            cut(source, count, rows)
        seconds, processor, peak, digests = run(rows, folder, memory)
        assert seen.setdefault(count, digests) == digests, f"{what}: not the same verdicts"
        load = os.getloadavg()[0]
        each = [f"{part / count * 1e6:.1f}" for part in (seconds, processor)]
        line = [f"{count:,}", memory or "none", f"{seconds:.1f}", *each, f"{peak:.0f}", f"{load:.1f}"]
        print("|", " | ".join(line), "|", flush=True)
    print("\nruns of the same rows gave the same bytes")


if __name__ == "__main__":
    main()
