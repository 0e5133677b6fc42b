"""Compares the memory that `ewe plan` predicts with what `ewe train` uses, over configurations of
two models, on rows of every length.

    make check-plan
    .venv/bin/python scripts/check_plan.py [--steps N] [--model gemma|gptj] [--only TEXT]

The models are Gemma 3 270M and a GPT-J of 120M parameters with random weights (benches/train.py).
Two figures are compared:

- the peak of the bytes that the allocator had handed out in the heaviest step (`--dry-run`), which
  must be within 5 % of the plan;
- the peak resident memory of a run of 200 steps, libraries included, by metrics.jsonl and by the
  operating system, which must be at most 1.15 times the plan.
"""

import argparse
import json
import math
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benches"))

from train import EWE, GEMMA, examples, small_gptj  # noqa: E402

CONFIGURATIONS = [
    "--method full",
    "--method full --master fp32",
    "--method full --optimizer adamw8bit --recompute",
    "--method full --optimizer adafactor --master stochastic --update-in-backward --clip 0",
    "--method full --micro-tokens 512",
    "--method full --master fp32 --micro-tokens 512",
    "--method full --optimizer adamw8bit --precision bf16 --recompute --micro-tokens 512",
    "--method full --optimizer adafactor --master stochastic --update-in-backward --micro-tokens 512",
    "--method lora --lora-rank 16",
    "--method lora --lora-rank 64 --recompute",
]
APART = 0.05
RESIDENT = 1.15


def rows_of_every_length(folder, data, count, longest):
    """Writes a file of rows whose prompts and completions have 2 words or more, as many of them
    from 2 to 20 as from 20 to 200."""
    words = " ".join(prompt + completion for prompt, completion in data).split()
    chance = random.Random(1)

    def text():
        length = int(math.exp(chance.uniform(math.log(2), math.log(longest / 2))))
        start = chance.randrange(len(words) - length)
        return " ".join(words[start : start + length])

    file = folder / "varied.jsonl"
    file.write_text("".join(json.dumps({"prompt": text(), "completion": text()}) + "\n" for _ in range(count)))
    return file


def command(model, data, out, options, batch):
    return [EWE, "train", "--data", data, "--template", "completion", "--model", model, "--out", out, "--eval-fraction", "0",
            "--save-every", "0", "--batch-size", str(batch), *options.split()]  # fmt: skip


def dry_run(command):
    """Returns the megabytes allocated, planned to be allocated, and planned to be resident."""
    told = subprocess.run([*command, "--dry-run"], check=True, stderr=subprocess.PIPE, text=True).stderr
    found = re.search(r"and (\d+) MB of memory \((\d+) MB were planned\), \d+ MB of the process \((\d+) MB were planned\)", told)
    return [float(group) for group in found.groups()]


def most_resident(command, out):
    """Returns the peak resident megabytes: of all steps by the run's metrics, and of the whole run
    by the operating system."""
    seen = 0
    process = subprocess.Popen([*command, "-q"])
    while process.poll() is None:
        try:
            text = Path(f"/proc/{process.pid}/status").read_text()
            if found := re.search(r"VmHWM:\s+(\d+) kB", text):
                seen = max(seen, int(found.group(1)))
        except OSError:
            pass
        time.sleep(0.05)
    if process.returncode != 0:
        raise SystemExit("ewe train failed")
    told = max(json.loads(line)["resident"] for line in (out / "metrics.jsonl").open())
    return told / 1e6, seen * 1024 / 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--model", choices=["gemma", "gptj"], help="both unless told")
    parser.add_argument("--only", default="", help="configurations that have this in them")
    parser.add_argument("--length", type=int, default=400, help="words of the longest rows")
    args = parser.parse_args()
    apart, resident = 0.0, 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = examples(folder, 256)
        file = rows_of_every_length(folder, data, 512, args.length)
        models = {"gptj": lambda: small_gptj(data, folder), "gemma": lambda: GEMMA}
        for model in [make() for name, make in models.items() if args.model in (None, name)]:
            for number, options in enumerate(of for of in CONFIGURATIONS if args.only in of):
                out = folder / f"{model.name}-{number}"
                run = command(model, file, out, f"{options} --steps {args.steps}", args.batch)
                measured, planned, planned_resident = dry_run(run)
                told, seen = most_resident(run, out)
                apart = max(apart, abs(planned / measured - 1))
                resident = max(resident, told / planned_resident, seen / planned_resident)
                print(
                    f"{model.name:<14}{options:<90}{measured / 1e3:6.2f} GB, planned {planned / 1e3:6.2f} GB, {planned / measured - 1:+.1%}; "
                    f"resident {told / 1e3:6.2f} GB, seen {seen / 1e3:6.2f} GB, planned {planned_resident / 1e3:6.2f} GB, "
                    f"{max(told, seen) / planned_resident:.2f}",
                    flush=True,
                )
                subprocess.run(["rm", "-r", out], check=True)
    print(f"at most {apart:.1%} apart; at most {resident:.2f} of the plan resident")
    sys.exit(apart > APART or resident > RESIDENT)


if __name__ == "__main__":
    main()
