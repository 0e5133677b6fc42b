#!/usr/bin/env python3
"""Compares losses of a base model in 4 bits: of ewe's first step, and of `transformers` with each
linear layer of the blocks in the codes and scales of bitsandbytes. Both compute in fp32.

    .venv/bin/python scripts/check_nf4.py
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from bitsandbytes.functional import quantize_4bit
from check_saved_models import ROOT, ewe, rows
from transformers import AutoModelForCausalLM, AutoTokenizer

MODELS = ("gptj", "neox", "llama3", "qwen3_biased", "gemma3", "olmo2", "phi3", "gemma2", "stablelm", "gpt2", "qwen3_moe")


def four_bits(weight):
    """Returns the values that a weight has in bitsandbytes' codes and scales. Its own
    `dequantize_4bit` (0.50.2) gives others on processors with AVX-512 where a row ends within a
    block of 64, which nobody's training sees but tiny models do (2026-11-29)."""
    codes, state = quantize_4bit(weight, blocksize=64, quant_type="nf4")
    both = codes.view(-1).int()
    levels = state.code[torch.stack([both >> 4, both & 15], 1).view(-1)[: weight.numel()]]
    return (levels * state.absmax.repeat_interleave(64)[: weight.numel()]).view(weight.shape)


def in_four_bits(model):
    """Replaces the weights of linear layers in the blocks by their 4-bit values."""
    head = model.get_output_embeddings()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear) and layer is not head:
            layer.weight.data = four_bits(layer.weight.data)
        elif type(layer).__name__ == "Conv1D":
            # Blocks of 64 go along the rows of `[out, in]`.
            layer.weight.data = four_bits(layer.weight.data.T.contiguous()).T.contiguous()
        elif type(layer).__name__.endswith("Experts"):
            for name in ("gate_up_proj", "down_proj"):
                joint = getattr(layer, name).data
                for expert in range(len(joint)):
                    halves = joint[expert].chunk(2 if name == "gate_up_proj" else 1)
                    joint[expert] = torch.cat([four_bits(half.contiguous()) for half in halves])


def reference(base):
    """Returns the mean negative log-likelihood of the rows' completions, each with an end token."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    in_four_bits(model)
    end = model.config.eos_token_id
    total, count = 0.0, 0
    for row in rows():
        # One text, as training encodes it: a token that prompt and completion share is a target.
        whole = tokenizer(row["prompt"] + row["completion"], return_offsets_mapping=True)
        begin = next(at for at, (_, to) in enumerate(whole.offset_mapping) if to > len(row["prompt"]))
        prompt = whole.input_ids[:begin]
        target = whole.input_ids[begin:] + [end if isinstance(end, int) else end[0]]
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
