"""Measures in one go, on a GPU, what has targets for GPUs: exactness, kernels, memory, training and
generation.

    make gpu-day [OUT=gpu-day]
    python3 scripts/gpu_day.py [--out DIR] [--seconds N] [--only TEXT]… [--device cuda|cpu] [--model-shape gptj-6b|tiny]

Builds nothing, needs no network and only Python's standard library, and takes at most 10 minutes.
Writes gpu-day.json and gpu-day.md into --out after every part, so that an interruption costs only
the part in progress. A part that fails, or exceeds its own limit, is recorded with its words, and
the next begins. docs/gpu.md describes the parts.
"""

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpu_day import shapes, table
from gpu_day.parts import Bench
from gpu_day.runner import INTERRUPT, LEAST, Day

ROOT = Path(__file__).resolve().parent.parent
# A day's limit, in seconds, at which the limits of parts are as `parts.py` has them.
DAY = 600


def program(given):
    """Returns the path of `ewe`: the given one, that of a build, or that on the path."""
    if given:
        return given
    built = [ROOT / "target" / profile / "ewe" for profile in ("release", "debug")]
    return next((path for path in built if path.exists()), None) or shutil.which("ewe")


def python():
    ours = ROOT / ".venv/bin/python"
    return str(ours) if ours.exists() else sys.executable


def told(command):
    """Returns the output of a command in one line; empty if there is none."""
    try:
        run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "; ".join(run.stdout.strip().splitlines()) if run.returncode == 0 else ""


def machine(device):
    """Returns facts about the machine."""
    facts = {"card": "CPU", "processor": f"{platform.machine()}, {os.cpu_count()} threads"}
    if device == "cpu":
        return facts
    index = device.partition(":")[2] or "0"
    query = lambda names: told(["nvidia-smi", "-i", index, f"--query-gpu={names}", "--format=csv,noheader"])
    return {**facts, "card": query("name") or "unknown GPU", "driver, memory, clock, power limit": query("driver_version,memory.total,clocks.max.sm,power.limit")}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-day"), help="folder of the two files [default: gpu-day]")
    parser.add_argument("--seconds", type=float, default=DAY, help="limit of all parts together [default: 600]")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="parts that have this in their name")
    parser.add_argument("--limit", action="append", default=[], metavar="TEXT=SECONDS", help="limit of the parts that have this in their name")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu [default: cuda]")
    parser.add_argument("--model-shape", choices=sorted(shapes.CONFIGS), default="gptj-6b")
    parser.add_argument("--ewe", type=Path, help="the program [default: target/release/ewe, target/debug/ewe, or that on the path]")
    parser.add_argument("--python", default=python(), help="the Python that may have transformers and vLLM [default: that of .venv, or this one]")
    return parser.parse_args()


def limited(parts, args):
    """Returns the parts that were asked for, with their limits scaled to the day's."""
    wanted = [part for part in parts if not args.only or any(text in part.name for text in args.only)]
    for part in wanted:
        part.limit = max(LEAST, part.limit * args.seconds / DAY)
        for text, _, seconds in (given.rpartition("=") for given in args.limit):
            if text in part.name:
                part.limit = float(seconds)
    return wanted


def main():
    args = arguments()
    ewe = program(args.ewe)
    if ewe is None or not told([ewe, "--version"]):
        sys.exit("there is no `ewe` to measure: `make build` makes it, or --ewe names one")
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, INTERRUPT.request)
    args.out.mkdir(parents=True, exist_ok=True)
    facts = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "ewe": told([ewe, "--version"]),
        "device": args.device,
        "shape": args.model_shape,
        "machine": machine(args.device),
    }
    # Beside the results, where there is room: the checkpoint has 0.4 GB.
    with tempfile.TemporaryDirectory(prefix=".work-", dir=args.out) as folder:
        bench = Bench(ewe, args.python, args.device, args.model_shape, Path(folder).resolve(), facts["machine"]["card"])
        day = Day(args.out, facts, args.seconds, table.write)
        try:
            day.run(limited(bench.parts(), args))
        except KeyboardInterrupt:
            sys.exit(130)
    # Failed parts are results; an incomplete day is not.
    print(f"{day.day['seconds']:.0f} s; {args.out / 'gpu-day.md'}")


if __name__ == "__main__":
    main()
