"""Completes the demo's stage-1 prompts with `ewe complete`, beside `transformers` generate, on the same weights.

    make bench        or    .venv/bin/python benches/engine.py [PROMPTS] [TOKENS]

Both sample with temperature 0.7, top-p 0.9 and repetition penalty 1.15 in bf16 on the same threads, in turn, three
times; a pair's ratio is of one turn. ewe is timed as a whole process, loading included; transformers without it.
"""

import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models/gemma-3-270m"
TURNS = 3


def prompts(count):
    """Stage-1 prompts as `ewe generate` makes them."""
    seeds = [json.loads(line)["instruction"] for line in (ROOT / "seeds/seed_tasks.jsonl").open()]
    rng = random.Random(7)
    lists = (rng.sample(seeds, 8) for _ in range(count))
    numbered = ("".join(f"{i}. {text}\n" for i, text in enumerate(chosen, 1)) for chosen in lists)
    return [f"Come up with a series of tasks:\n\n{items}9." for items in numbered]


def with_ewe(texts, tokens, folder):
    """Generated tokens a second of the whole process."""
    source, out = folder / "prompts.jsonl", folder / "out.jsonl"
    source.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    start = time.perf_counter()
    command = [ROOT / "target/debug/ewe", "-q", "complete", "--model", MODEL, "--prompts", source, "--out", out]
    command += ["--max-tokens", str(tokens), "--temperature", "0.7", "--top-p", "0.9", "--repetition-penalty", "1.15"]
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - start
    return sum(json.loads(line)["completion_tokens"] for line in out.open()) / seconds


def with_transformers(model, tokenizer, texts, tokens, batch):
    """Generated tokens a second, end-of-text and padding after it not counted."""
    made, start = 0, time.perf_counter()
    for i in range(0, len(texts), batch):
        given = tokenizer(texts[i : i + batch], return_tensors="pt", padding=True)
        with torch.no_grad():
            out = model.generate(
                **given, max_new_tokens=tokens, do_sample=True, temperature=0.7, top_p=0.9, top_k=0, repetition_penalty=1.15
            )
        made += int((out[:, given.input_ids.shape[1] :] != tokenizer.pad_token_id).sum())
    return made / (time.perf_counter() - start)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    tokens = int(sys.argv[2]) if len(sys.argv) > 2 else 96
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(MODEL, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.bfloat16)
    texts, ratios = prompts(count), []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(TURNS):
            ewe = with_ewe(texts, tokens, Path(folder))
            peer = with_transformers(model, tokenizer, texts, tokens, 16)
            ratios.append(ewe / peer)
            print(f"turn {turn + 1}: ewe {ewe:.1f} tokens/s (whole process), transformers {peer:.1f} tokens/s at batch 16, ratio {ewe / peer:.2f}")
    print(f"{count} prompts, {tokens} tokens each, {threads} threads: median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
