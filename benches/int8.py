"""Measures what int8 weights would change in a model's answers: Gemma 3 270M, each row of each
layer's matrices rounded to 255 steps of the row's largest magnitude, as libtorch's weight-only int8
product needs them. The tied embedding is unchanged in one variant and rounded likewise in another.

    .venv/bin/python benches/int8.py [--dtype bf16]

Prints the nats per token on the answers of ewe's seed tasks, and the share of a greedy text of 64
tokens up to the first different character.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import machine
import torch
from safetensors.torch import load_file, save_file

from train import EWE, GEMMA, examples

EXAMPLES, PROMPTS, TOKENS = 150, 30, 64


def rounded(weight):
    """Returns a matrix as represented by int8 and a scale for each row."""
    weight = weight.float()
    scale = weight.abs().amax(1, keepdim=True) / 127
    return (weight / scale).round().mul(scale).bfloat16()


def variant(folder, name, chosen):
    """Writes a copy of the model, with the weights selected by `chosen` rounded."""
    out = folder / name
    shutil.copytree(GEMMA, out, symlinks=False)
    for file in out.glob("*.safetensors"):
        weights = load_file(file)
        save_file({key: rounded(w) if chosen(key, w) else w for key, w in weights.items()}, file, metadata={"format": "pt"})
    return out


def ewe(command, model, rows, folder, *options):
    """Returns the output rows of a command for `rows`."""
    file, out = folder / "in.jsonl", folder / "out.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out.unlink(missing_ok=True)
    flag = "--data" if command == "score" else "--prompts"
    subprocess.run([EWE, "-q", command, "--model", model, flag, file, "--out", out, *options], check=True)
    return [json.loads(line) for line in out.open()]


def same(a, b):
    """Returns the length of the common prefix as a share of the shorter text."""
    common = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    return common / max(1, min(len(a), len(b)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dtype", default="auto")
    args = parser.parse_args()
    machine.watch()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = examples(folder, EXAMPLES)
        # Skips the first seeds, which ask for one word only. A base model begins an answer on a new
        # line.
        rows = [{"prompt": prompt + "\n", "completion": completion} for prompt, completion in data[60:] + data[:60]]
        models = {
            "bf16": GEMMA,
            "int8 layers": variant(folder, "layers", lambda key, weight: weight.dim() == 2 and "layers." in key),
            "int8 layers and embedding": variant(folder, "all", lambda key, weight: weight.dim() == 2),
        }
        greedy = ["--temperature", "0", "--max-tokens", str(TOKENS), "--repetition-penalty", "1.15"]
        first = None
        for label, model in models.items():
            scores = ewe("score", model, rows, folder, "--dtype", args.dtype)
            nats = sum(row["nll"] for row in scores) / sum(row["tokens"] for row in scores)
            answers = ewe("complete", model, rows[:PROMPTS], folder, "--dtype", args.dtype, *greedy)
            texts = [row["completion"] for row in answers]
            first = first or texts
            alike = [same(a, b) for a, b in zip(first, texts)]
            print(f"{label}: {nats:.4f} nats a token; greedy text the same for {sum(alike) / len(alike):.0%}, wholly in "
                  f"{sum(share == 1 for share in alike)} of {len(alike)}", flush=True)


if __name__ == "__main__":
    main()
