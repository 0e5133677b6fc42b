#!/usr/bin/env python3
"""Measures what ranks take that divide a model (`ewe train --shard`), against the plan and against
ranks that do not divide it. Exits with 1 if a plan of the process is more than 5 % off.

What a process takes is its peak of physical memory (VmHWM) until the last step has ended. "Memory"
is what the rank's own log says: the thread that computes counts what it allocates, and what Gloo's
threads free of that within a step stays in its count.

    python3 scripts/check_shards.py --model models/gemma-3-270m --ranks 2 4
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LINE = re.compile(r"step (\d+): ([\d.]+) s, ([\d.]+) MB of memory, ([\d.]+) MB of the process")
PLANNED = re.compile(r"planned: ([\d.]+) MB of memory, ([\d.]+) MB of the process")
# The plan is to be this near.
MOST = 0.05


def rows(path, count):
    """Writes rows of about 60 tokens."""
    with open(path, "w") as file:
        for number in range(count):
            words = " ".join(str(number + step) for step in range(20))
            file.write(json.dumps({"prompt": f"count from {number}: ", "completion": words}) + "\n")


def is_done(out, ranks, steps):
    logs = [out / f"rank-{rank}.log" for rank in range(ranks)]
    return all(log.exists() and len(LINE.findall(log.read_text())) == steps for log in logs)


def peaks_of(out):
    """Returns the most bytes that each process of a run has had in physical memory, by its number."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            words = status.with_name("cmdline").read_text().split("\0")
            if words[0].endswith("ewe-torch") and str(out) in words:
                found[status.parent.name] = 1024 * int(re.search(r"VmHWM:\s*(\d+)", status.read_text()).group(1))
        except (OSError, AttributeError):
            continue
    return found


def run(args, data, out, ranks, more):
    command = [args.ewe, "train", "--model", args.model, "--data", str(data), "--out", str(out)]
    command += ["--method", args.method, "--device", "cpu", "--eval-fraction", "0", "--save-every", "1000"]
    command += ["--steps", str(args.steps), "--batch-size", str(args.batch_size), "-q"]
    command += ["--ranks", str(ranks)] + more + args.options.split()
    peaks, process = {}, subprocess.Popen(command)
    while process.poll() is None and not is_done(out, ranks, args.steps):
        peaks |= peaks_of(out)
        time.sleep(0.1)
    if process.wait():
        sys.exit(process.returncode)
    found = []
    for rank in range(ranks):
        text = (out / f"rank-{rank}.log").read_text()
        steps = [[float(number) for number in line] for line in LINE.findall(text)]
        planned = PLANNED.search(text)
        # The first step makes what later ones use again.
        seconds = sorted(step[1] for step in steps[1:] or steps)
        found.append(
            {
                "seconds": seconds[len(seconds) // 2],
                "memory": max(step[2] for step in steps),
                "process": max(peaks.values()) / 1e6,
                "planned": [float(number) for number in planned.groups()] if planned else None,
            }
        )
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ewe", default="target/debug/ewe")
    parser.add_argument("--model", default="models/gemma-3-270m")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--method", default="full", choices=["full", "lora"])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--options", default="", help="further options of ewe train")
    parser.add_argument("--whole", action="store_true", help="also without --shard")
    args = parser.parse_args()
    off = 0.0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        data = folder / "rows.jsonl"
        rows(data, args.steps * args.batch_size)
        print(f"{'':<18}{'s/step':>8}{'memory':>10}{'planned':>10}{'process':>10}{'planned':>10}")
        for ranks in args.ranks:
            for more in [["--shard", "all"]] + ([[]] if args.whole else []):
                name = f"{ranks} ranks" + (" divided" if more else "")
                found = run(args, data, folder / name.replace(" ", "-"), ranks, more)
                seconds = max(one["seconds"] for one in found)
                memory = max(one["memory"] for one in found)
                process = max(one["process"] for one in found)
                planned = found[0]["planned"] or [float("nan")] * 2
                apart = planned[1] / process - 1
                if more:
                    off = max(off, abs(apart))
                print(
                    f"{name:<18}{seconds:>8.2f}{memory:>10.0f}{planned[0]:>10.0f}"
                    f"{process:>10.0f}{planned[1]:>10.0f}{100 * apart:>+8.1f}%"
                )
    return int(off > MOST)


if __name__ == "__main__":
    sys.exit(main())
