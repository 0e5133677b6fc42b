"""Training in several ranks, one for each GPU."""

import json
import os
import random
import re
import shutil

from . import shapes
from .runner import Skipped

# As `rank-N.log` has them.
BEGUN = re.compile(r"exchanging by (.+)")
PLANNED = re.compile(r"planned: ([\d.]+) MB of memory")
STEP = re.compile(r"step \d+: ([\d.]+) s, ([\d.]+) MB of memory")
STEPS = 6
# Examples of a step, for each rank.
EXAMPLES = 4


def part(bench, options, length):
    """Returns a function that trains with these options of `ewe train` on all GPUs, on examples of
    `length` tokens. On the CPU there are two ranks."""

    def measure(clock):
        count = 2 if bench.device == "cpu" else gpus(clock)
        if count < 2:
            raise Skipped("it needs two GPUs")
        if not bench.checkpoint.exists():
            shapes.make_checkpoint(bench.checkpoint, bench.config)
        rows, out = bench.folder / "rows.jsonl", bench.folder / "ranks"
        rows.write_text("".join(examples(STEPS * EXAMPLES * count, length)))
        command = [bench.ewe, "train", "--model", bench.checkpoint, "--data", rows, "--out", out, "--ranks", count,
                   "--device", bench.device.partition(":")[0], "--steps", STEPS, "--batch-size", EXAMPLES * count,
                   "--eval-fraction", 0, "--save-every", 1000, "-q", *options.split()]  # fmt: skip
        try:
            clock.run(command)
            logs = [(out / f"rank-{rank}.log").read_text() for rank in range(count)]
        finally:
            shutil.rmtree(out, ignore_errors=True)
        # The first step makes what later ones use again.
        seconds = sorted(float(of[0]) for of in STEP.findall(logs[0])[1:])
        planned = PLANNED.search(logs[0])
        return {
            "ranks": count,
            "by": BEGUN.search(logs[0]).group(1),
            "tokens": EXAMPLES * count * length,
            "tokens_per_s": EXAMPLES * count * length / seconds[len(seconds) // 2],
            "planned": planned and 1e6 * float(planned.group(1)),
            "memory": 1e6 * max(float(of[1]) for log in logs for of in STEP.findall(log)),
        }

    return measure


def gpus(clock):
    """Returns how many GPUs programs see."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen:
        return len(chosen.split(","))
    return len(clock.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"])[0].split())


def examples(count, length):
    """Yields rows of random letters, each of about `length` tokens."""
    chance = random.Random(count)
    letters = lambda size: "".join(chance.choice("ABCDEFGHIJKLMNOPQRSTUVW") for _ in range(size))
    for _ in range(count):
        yield json.dumps({"prompt": letters(length // 2), "completion": letters(length - length // 2 - 1)}) + "\n"
