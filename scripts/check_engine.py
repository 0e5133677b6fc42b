"""Compares greedy text of the demo model by `ewe complete` and by `transformers`: ten prompts, 128
tokens each. In fp32 every character must be the same. In bf16, where the two round in different
places, prints after how many tokens they diverge.

    make check-reference    or    .venv/bin/python scripts/check_engine.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models/gemma-3-270m"
TOKENS = 128
PROMPTS = [
    "Come up with a series of tasks:\n\n1. Name three rivers of Europe.\n2. Explain why the sky is blue.\n3.",
    "The capital of France is",
    "Once upon a time, in a village at the foot of a mountain,",
    "def fibonacci(n):\n    ",
    "Zutaten für einen Apfelkuchen:\n-",
    "Q: What is the boiling point of water?\nA:",
    "Dear Sir or Madam,\n\nI am writing to",
    "The three laws of thermodynamics are:",
    "人工智能的历史",
    "<html>\n<head>\n<title>",
]


def with_ewe(dtype, folder):
    source, out = folder / "prompts.jsonl", folder / "out.jsonl"
    source.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in PROMPTS))
    command = [ROOT / "target/debug/ewe", "-q", "complete", "--model", MODEL, "--prompts", source, "--out", out]
    command += ["--max-tokens", str(TOKENS), "--temperature", "0", "--dtype", dtype]
    subprocess.run(command, check=True)
    return [json.loads(line)["completion"] for line in out.open()]


def with_transformers(dtype, tokenizer):
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=dtype)
    texts = []
    for text in PROMPTS:
        given = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            made = model.generate(**given, max_new_tokens=TOKENS, do_sample=False)
        whole = tokenizer.decode(made[0], skip_special_tokens=True)
        texts.append(whole[len(tokenizer.decode(given.input_ids[0], skip_special_tokens=True)) :])
    return texts


def main():
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        for kind, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            pairs = list(zip(with_ewe(kind, Path(name)), with_transformers(dtype, tokenizer)))
            same = sum(ours == theirs for ours, theirs in pairs)
            print(f"{kind}: {same} of {len(pairs)} texts of {TOKENS} tokens are the same")
            for number, (ours, theirs) in enumerate(pairs):
                if ours != theirs:
                    at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
                    print(f"  prompt {number}: the same for {len(tokenizer(ours[:at]).input_ids)} tokens, then {ours[at:at + 20]!r} and {theirs[at:at + 20]!r}")
            wrong += kind == "fp32" and same != len(pairs)
    sys.exit(wrong)


if __name__ == "__main__":
    main()
