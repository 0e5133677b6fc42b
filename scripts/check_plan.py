"""Compares what `ewe plan` predicts with what `ewe train --dry-run` takes, over configurations of two models.

    .venv/bin/python scripts/check_plan.py

The models are Gemma 3 270M and a GPT-J of 120M parameters with random weights (benches/train.py). What is measured is the most bytes
that the allocator had given out at once, which is what is planned. Fails where they are more than 5 % apart.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benches"))

from train import EWE, GEMMA, examples, small_gptj, write  # noqa: E402

CONFIGURATIONS = [
    "--method full",
    "--method full --master fp32",
    "--method full --optimizer adamw8bit --recompute",
    "--method full --optimizer adafactor --master stochastic --update-in-backward --clip 0",
    "--method full --micro-tokens 512",
    "--method full --master fp32 --micro-tokens 512",
    "--method full --optimizer adamw8bit --precision bf16 --recompute --micro-tokens 512",
    "--method lora --lora-rank 16",
    "--method lora --lora-rank 64 --recompute",
]


def dry_run(model, data, out, options):
    """Bytes measured and planned."""
    command = [EWE, "train", "--data", data, "--template", "completion", "--model", model, "--out", out, "--dry-run",
               "--eval-fraction", "0", "--batch-size", "16", *options.split()]  # fmt: skip
    told = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True).stderr
    measured, planned = re.search(r"and (\d+) MB of memory \((\d+) MB were planned\)", told).groups()
    return float(measured) * 1e6, float(planned) * 1e6


def main():
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = examples(folder, 256)
        file = write(folder, data)
        for model in (small_gptj(data, folder), GEMMA):
            for options in CONFIGURATIONS:
                measured, planned = dry_run(model, file, folder / "out", options)
                apart = planned / measured - 1
                worst = max(worst, abs(apart))
                print(f"{model.name:<14}{options:<86}{measured / 1e9:6.2f} GB, planned {planned / 1e9:6.2f} GB, {apart:+.1%}", flush=True)
    print(f"at most {worst:.1%} apart")
    sys.exit(worst > 0.05)


if __name__ == "__main__":
    main()
