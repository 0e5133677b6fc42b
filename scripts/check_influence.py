#!/usr/bin/env python3
"""Compares `ewe influence` without a projection with a naive computation: PyTorch and peft, one
backward pass for each row at each checkpoint, all gradients kept.

    .venv/bin/python scripts/check_influence.py             # the tiny models
    .venv/bin/python scripts/check_influence.py --gemma     # also models/gemma-3-270m

For each direction, the influence of each row and its values on single held-out tasks must agree to
1e-3. Needs requirements-dev.txt and built binaries.
"""

import json
import math
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from check_saved_models import EWE, ROOT
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

DIRECTIONS = ("adam", "less", "sgd")
LIMIT = 1e-3
BETAS, EPS = (0.9, 0.999), 1e-8


def ewe(*arguments):
    subprocess.run([EWE, "-q", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def tasks(count):
    def answer(n):
        if n % 5 == 3:
            return ("xq zv", "vzz q x", "qxv")[n % 3]
        return " ".join(str(at % 10) for at in range(n, n + 3 + n % 3))

    return [{"instruction": f"from {n}:", "input": "", "output": answer(n)} for n in range(count)]


def rate(schedule, step):
    """The learning rate of a step, as `transformers` computes it."""
    if step < schedule["warmup"]:
        return schedule["peak"] * step / schedule["warmup"]
    progress = (step - schedule["warmup"]) / max(1, schedule["total"] - schedule["warmup"])
    return schedule["peak"] * {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1 - progress}.get(
        schedule["kind"], 1.0
    )


def example(tokenizer, instruction, output):
    """Token ids of prompt and completion as one text, with an end token, and the first target."""
    whole = tokenizer(instruction + output, return_offsets_mapping=True)
    first = next(at for at, (_, to) in enumerate(whole.offset_mapping) if to > len(instruction))
    return whole.input_ids + [tokenizer.eos_token_id], max(first, 1)


class Checkpoint:
    """A model at a checkpoint, and what Adam kept."""

    def __init__(self, base, out, place):
        self.state = json.loads((place / "state.json").read_text())
        self.tensors = load_file(place / "state.safetensors")
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        self.model = PeftModel.from_pretrained(model, out, is_trainable=True).eval()
        self.parameters = []
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                # peft's name in memory contains that of the adapter.
                name = name.replace(".default", "")
                parameter.data.copy_(self.tensors[f"weight.{name}"])
                self.parameters.append((name, parameter))

    def gradients(self, ids, first):
        self.model.zero_grad()
        logits = self.model(torch.tensor([ids[:-1]])).logits[0, first - 1 :]
        torch.nn.functional.cross_entropy(logits, torch.tensor(ids[first:])).backward()
        return [(name, parameter.grad.flatten().clone()) for name, parameter in self.parameters]

    def update(self, gradients, direction):
        """The direction of a row's update, flat."""
        if direction == "sgd":
            return torch.cat([gradient for _, gradient in gradients])
        parts = []
        for name, gradient in gradients:
            step = int(self.tensors[f"steps.{name}"]) + 1
            second = BETAS[1] * self.tensors[f"second.{name}"] + (1 - BETAS[1]) * gradient**2
            below = (second / (1 - BETAS[1] ** step)).sqrt() + EPS
            if direction == "less":
                first = BETAS[0] * self.tensors[f"first.{name}"] + (1 - BETAS[0]) * gradient
                gradient = first / (1 - BETAS[0] ** step)
            parts.append(gradient / below)
        return torch.cat(parts)


def unit(x):
    return x / x.norm()


def naive(base, out, rows, held_out):
    """The influence of each row on each held-out task by each direction, `[rows, held out]`."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = {task: example(tokenizer, *texts) for task, *texts in rows + held_out}
    places = sorted((out / "checkpoints").iterdir())
    sums = {direction: torch.zeros(len(rows), len(held_out)) for direction in DIRECTIONS}
    before, total = 0, 0.0
    for place in places:
        checkpoint = Checkpoint(base, out, place)
        step, schedule = checkpoint.state["step"], checkpoint.state["settings"]["schedule"]
        share = sum(rate(schedule, at) for at in range(before, step))
        before, total = step, total + share
        targets = [unit(checkpoint.update(checkpoint.gradients(*encoded[task]), "sgd")) for task, *_ in held_out]
        targets = torch.stack(targets)
        for at, (task, *_) in enumerate(rows):
            gradients = checkpoint.gradients(*encoded[task])
            for direction in DIRECTIONS:
                sums[direction][at] += share * targets @ unit(checkpoint.update(gradients, direction))
    return {direction: sums[direction] / total for direction in DIRECTIONS}


def check(base, count, held_out, scratch):
    db, out, seeds = scratch / f"{base.name}.db", scratch / base.name, scratch / "seeds.jsonl"
    seeds.write_text("".join(json.dumps(task) + "\n" for task in tasks(count)))
    ewe("init", "--db", db, "--seeds", seeds)
    ewe("split", "--db", db, "--eval", held_out)
    ewe("train", "--db", db, "--model", base, "--out", out, "--template", "completion", "--precision", "fp32",
        "--lora-rank", 4, "--lr", 5e-3, "--steps", 8, "--keep-checkpoints", 2, "--save-every", 0)  # fmt: skip
    with sqlite3.connect(db) as connection:
        query = "select task_id, instruction, output from dataset where task_id {} in (select task_id from held_out) order by task_id"
        apart = connection.execute(query.format("")).fetchall()
        rows = connection.execute(query.format("not")).fetchall()
    wanted = naive(base, out, rows, apart)
    worst = 0.0
    for direction in DIRECTIONS:
        ewe("influence", "--db", db, "--run-dir", out, "--dimensions", 0, "--direction", direction)
        with sqlite3.connect(db) as connection:
            values = dict(connection.execute("select id, influence from task where influence is not null"))
            on = connection.execute(
                "select instance.task_id, influence_on.task_id, value from influence_on join instance on instance.id = instance_id"
                " where run_id = (select max(run_id) from influence)"
            ).fetchall()
        if set(values) - {task for task, *_ in rows}:
            raise SystemExit(f"{base.name}: influence of rows that are not trained on")
        place, column = ({task: at for at, (task, *_) in enumerate(side)} for side in (rows, apart))
        apart_by = [abs(value - wanted[direction][place[task]].mean().item()) for task, value in values.items()]
        apart_by += [abs(value - wanted[direction][place[task], column[of]].item()) for task, of, value in on]
        worst = max(worst, *apart_by)
        spread = max(values.values()) - min(values.values())
        print(f"{base.name:<16} {direction:<5} {len(values)} rows, {len(on)} on single tasks, from {min(values.values()):+.3f} "
              f"to {max(values.values()):+.3f}, apart by at most {max(apart_by):.1e}")  # fmt: skip
        if spread < 10 * LIMIT:
            raise SystemExit(f"{base.name}: the values are too close to each other to tell anything")
    return worst <= LIMIT


def main():
    cases = [(ROOT / "tests/golden" / name, 40, 6) for name in ("gptj", "llama3", "qwen3", "gemma3")]
    if "--gemma" in sys.argv:
        cases.append((ROOT / "models/gemma-3-270m", 24, 4))
    with tempfile.TemporaryDirectory() as scratch:
        passed = [check(*case, Path(scratch)) for case in cases]
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
