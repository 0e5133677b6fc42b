#!/usr/bin/env python3
"""Compares the loss of a base in 4 bits: that of ewe's first step, and that of `transformers` with each linear layer of its blocks as
bitsandbytes quantises it and back, both in fp32.

    .venv/bin/python scripts/check_nf4.py
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from check_saved_models import ROOT, ewe, rows
from transformers import AutoModelForCausalLM, AutoTokenizer

MODELS = ("gptj", "neox", "llama3", "qwen3_biased", "gemma3")


def in_four_bits(model):
    """Replaces what the linear layers of the blocks hold."""
    head = model.get_output_embeddings()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear) and layer is not head:
            layer.weight.data = dequantize_4bit(*quantize_4bit(layer.weight.data, blocksize=64, quant_type="nf4"))


def reference(base):
    """Mean negative log-likelihood of the rows' completions and the end of the text behind each."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    in_four_bits(model)
    end = model.config.eos_token_id
    total, count = 0.0, 0
    for row in rows():
        prompt = tokenizer(row["prompt"]).input_ids
        target = tokenizer(row["completion"], add_special_tokens=False).input_ids + [end if isinstance(end, int) else end[0]]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + target])).logits[0, len(prompt) - 1 : -1]
        total += torch.nn.functional.cross_entropy(logits, torch.tensor(target), reduction="sum").item()
        count += len(target)
    return total / count


def ours(base, scratch):
    data, out = scratch / "rows.jsonl", scratch / base.name
    data.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    ewe("train", "--model", base, "--data", data, "--out", out, "--method", "lora", "--quantize", "nf4", "--precision", "fp32",
        "--steps", 1, "--batch-size", len(rows()), "--eval-fraction", 0, "--save-every", 0)  # fmt: skip
    return json.loads((out / "metrics.jsonl").read_text().splitlines()[0])["loss"]


def main():
    worst = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        for name in MODELS:
            base = ROOT / "tests/golden" / name
            a, b = ours(base, Path(scratch)), reference(base)
            worst = max(worst, abs(a - b))
            print(f"{name:<16} ewe {a:.6f}, transformers {b:.6f}, apart by {abs(a - b):.1e}")
    sys.exit(worst > 1e-5)


if __name__ == "__main__":
    main()
