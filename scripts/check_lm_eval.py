#!/usr/bin/env python3
"""Runs `lm-evaluation-harness` against `ewe serve` (`local-completions`) and with its own Hugging
Face back end, on tasks of our own, and compares every answer of the two.

    .venv/bin/python scripts/check_lm_eval.py                # models/gemma-3-270m
    .venv/bin/python scripts/check_lm_eval.py --model DIR

In fp32, log-likelihoods must agree to 1e-4, those of whole texts to 1e-5 of their size if that is
more, and greedy answers must be equal. Needs requirements-dev.txt, built binaries and the model;
nothing is downloaded.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

from check_openai import ROOT, Server, expect

LIMIT = 1e-4
TOKEN = "open sesame"

QUESTIONS = [
    ("The capital of France is", [" Paris", " London", " a large pear", " Berlin"], 0),
    ("Water freezes at a temperature of", [" zero degrees Celsius", " ninety degrees Celsius", " noon"], 0),
    ("A sheep gives us", [" petrol", " wool", " electricity", " marble"], 1),
    ("2 + 2 =", [" 3", " 4", " 5", " 22"], 1),
    ("The opposite of hot is", [" warm", " cold", " hot"], 1),
    ("Question: Which animal barks?\nAnswer:", [" a dog", " a fish", " a chair"], 0),
    ("The sun rises in the", [" west", " north", " cellar", " east"], 3),
    ("Er öffnete die Tür und sah", [" nichts.", " 东西。", " \U0001f411\U0001f411"], 0),
    ("", ["The quick brown fox", "Fox brown quick the"], 0),
    ("In 1969, two astronauts walked on the", [" sea", " moon", " stairs"], 1),
]
TEXTS = [
    "Wool is a fibre from the fleece of sheep. It is warm even when it is wet, and it can be spun, woven, knitted and felted. "
    "A ewe gives two to four kilograms of it in a year.",
    "def add(a, b):\n    return a + b\n\n\nprint(add(1, 2))\n",
    "Ein Satz auf Deutsch, mit Umlauten: für, über, schön. Und einer danach.",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20",
    "a",
]
OPEN = [
    ("Question: What colour is the sky?\nAnswer:", "blue"),
    ("Monday, Tuesday, Wednesday,", "Thursday"),
    ("List three animals:\n1.", "a dog"),
    ("Once upon a time, there was", "a king"),
    ("The recipe for bread: take flour, water and", "salt"),
]

CHOICES = """\
task: ewe_choices
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: choices
doc_to_target: label
target_delimiter: ""
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
ROLLING = """\
task: ewe_rolling
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}]
"""
GREEDY = """\
task: ewe_greedy
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 32, do_sample: false}
metric_list: [{metric: exact_match}]
"""


def write_tasks(folder):
    """Writes the tasks into a folder; returns their names."""
    rows = {
        "choices": [{"question": question, "choices": choices, "label": label} for question, choices, label in QUESTIONS],
        "rolling": [{"text": text} for text in TEXTS],
        "greedy": [{"question": question, "answer": answer} for question, answer in OPEN],
    }
    for (name, rows), task in zip(rows.items(), (CHOICES, ROLLING, GREEDY), strict=True):
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        (folder / f"{name}.yaml").write_text(task % json.dumps(str(data)), encoding="utf-8")
    return ["ewe_choices", "ewe_rolling", "ewe_greedy"]


def evaluate(model, arguments, tasks, folder, batch_size):
    """Returns the harness's figures, and for each task what the model answered, by document."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    results = simple_evaluate(
        model=model, model_args=arguments, tasks=tasks, task_manager=manager, batch_size=batch_size, device="cpu", bootstrap_iters=0
    )
    answers = {}
    for task in tasks:
        samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
        answers[task] = [[response[0] for response in sample["resps"]] for sample in samples]
    return results["results"], answers


def compare(mine, theirs):
    """Compares answers; returns how far apart two log-likelihoods are at most."""
    apart = 0.0
    for a, b in zip(sum(mine["ewe_choices"], []), sum(theirs["ewe_choices"], []), strict=True):
        apart = max(apart, abs(float(a[0]) - float(b[0])))
        if bool(a[1]) != bool(b[1]):
            raise SystemExit(f"FAILED: greedy according to one only: {a} {b}")
    for a, b in zip(sum(mine["ewe_rolling"], []), sum(theirs["ewe_rolling"], []), strict=True):
        # The harness adds up the tokens of a text in fp32.
        apart = max(apart, abs(as_number(a) - as_number(b)) / max(1, abs(as_number(b)) / 10))
    for a, b in zip(sum(mine["ewe_greedy"], []), sum(theirs["ewe_greedy"], []), strict=True):
        if a != b:
            raise SystemExit(f"FAILED: greedy answers differ: {a!r} {b!r}")
    return apart


def as_number(response):
    return float(response[0] if isinstance(response, (tuple, list)) else response)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "gemma-3-270m")
    model = parser.parse_args().model.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # Before the libraries are imported.
        os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_CACHE=str(folder / "cache"), OPENAI_API_KEY=TOKEN)
        tasks = write_tasks(folder)
        shared = {"add_bos_token": True}
        _, theirs = evaluate("hf", {"pretrained": str(model), "dtype": "float32", **shared}, tasks, folder, 1)
        for batch_size, concurrent in [(1, 1), (7, 1), (4, 3)]:
            with Server(model) as client:
                arguments = {
                    "model": client.models.list().data[0].id,
                    "base_url": f"{client.base_url}completions",
                    "tokenizer": str(model),
                    "tokenizer_backend": "huggingface",
                    "num_concurrent": concurrent,
                    "max_retries": 1,
                    **shared,
                }
                figures, mine = evaluate("local-completions", arguments, tasks, folder, batch_size)
            apart = compare(mine, theirs)
            count = sum(len(answer) for answer in mine["ewe_choices"]) + len(TEXTS)
            expect(
                apart < LIMIT,
                f"batches of {batch_size}, {concurrent} at once: {count} log-likelihoods are apart by at most {apart:.1e}, "
                f"{len(OPEN)} greedy answers are equal",
            )
    print(f"  accuracy {figures['ewe_choices']['acc,none']:.2f}, {figures['ewe_rolling']['bits_per_byte,none']:.3f} bits a byte")


if __name__ == "__main__":
    main()
