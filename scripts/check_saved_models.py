#!/usr/bin/env python3
"""Trains with `ewe`, loads the saved models with `transformers` and `peft`, and compares the
likelihoods that both sides give to the same rows.

    .venv/bin/python scripts/check_saved_models.py             # the tiny models
    .venv/bin/python scripts/check_saved_models.py --gemma     # also models/gemma-3-270m

Each side computes the summed negative log-likelihood of each row's completion by itself: `ewe
score`, and the reference from its logits. Both compute in fp32, whatever the precision of training.
Needs requirements-dev.txt and built binaries.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parent.parent
EWE = ROOT / "target" / "debug" / "ewe"


def rows():
    return [
        {"prompt": f"count {k}: ", "completion": " ".join(str(n) for n in range(k, k + 3 + k % 4))} for k in range(24)
    ]


def ewe(*arguments):
    subprocess.run([EWE, "-q", *map(str, arguments)], check=True)


def reference_nll(model, tokenizer, row):
    prompt = tokenizer(row["prompt"], add_special_tokens=True)["input_ids"]
    completion = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1].float()
    return torch.nn.functional.cross_entropy(logits, torch.tensor(completion), reduction="sum").item()


def check(base, method, precision, limit, scratch):
    name = f"{base.name} {method} {precision}"
    out, data, scores = (scratch / f"{name} {what}" for what in ("out", "data.jsonl", "scores.jsonl"))
    data.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    options = {"full": ["--method", "full"], "lora": ["--method", "lora"], "dora": ["--method", "lora", "--dora"]}[method]
    adapted = method != "full"
    ewe("train", "--model", base, "--data", data, "--out", out, *options, "--precision", precision,
        "--steps", 6, "--lr", 1e-3, "--eval-fraction", 0)  # fmt: skip
    model_arguments = ["--model", base, "--adapter", out] if adapted else ["--model", out]
    ewe("score", *model_arguments, "--data", data, "--out", scores, "--dtype", "fp32")
    ours = [json.loads(line)["nll"] for line in scores.read_text().splitlines()]
    model = AutoModelForCausalLM.from_pretrained(base if adapted else out, dtype=torch.float32)
    untrained = [reference_nll(model, AutoTokenizer.from_pretrained(base), row) for row in rows()[:1]]
    if adapted:
        model = PeftModel.from_pretrained(model, out)
    model.eval()
    # The tokenizer saved beside the model, not that of the base model.
    tokenizer = AutoTokenizer.from_pretrained(out)
    theirs = [reference_nll(model, tokenizer, row) for row in rows()]
    apart = max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(ours, theirs))
    if adapted and abs(untrained[0] - theirs[0]) < 1e-3:
        raise SystemExit(f"{name}: the adapter changes nothing")
    print(f"{name:<32} {len(ours)} rows, nll apart by at most {apart:.1e} (allowed {limit:.0e})")
    return apart <= limit


def main():
    names = ("gptj", "neox", "neox_serial", "llama3", "llama_biased", "mistral", "qwen2", "qwen3_biased", "gemma3", "gemma3_untied", "olmo2",
             "smollm3", "phi3", "gemma2", "gemma3_vision", "granite", "stablelm", "stablelm_parallel", "ministral", "gpt2", "qwen3_moe")
    cases = [(ROOT / "tests" / "golden" / name, "fp32", 1e-5) for name in names]
    if "--gemma" in sys.argv:
        cases += [(ROOT / "models" / "gemma-3-270m", "bf16", 1e-4)]
    with tempfile.TemporaryDirectory() as scratch:
        passed = [check(base, method, precision, limit, Path(scratch))
                  for base, precision, limit in cases for method in ("lora", "dora", "full")]
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
