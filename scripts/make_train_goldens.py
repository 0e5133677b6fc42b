#!/usr/bin/env python3
"""Writes the golden files of the training tests: what `bitsandbytes` makes of a few weights, and what `transformers` and `peft` compute on the tiny random models of
make_goldens.py, in fp32.

    .venv/bin/python scripts/make_train_goldens.py      # tests/golden/train/*.json

For each model, full, LoRA and DoRA: loss and gradients of one batch, and the loss of every step of a short AdamW run (its
update written out as PyTorch's single-tensor AdamW, clipped, decay on matrices only). Examples are token ids by
formula; adapters start from a formula too, so both sides have them without a file. Running it again changes nothing
beyond the last digits of libtorch's own sums.
"""

import json
from pathlib import Path

import torch
from bitsandbytes.functional import quantize_4bit
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.optimization import Adafactor

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
GATED = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MODELS = {
    "gptj": ["q_proj", "k_proj", "v_proj", "out_proj", "fc_in", "fc_out"],
    "neox_tied": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
    "mistral": GATED,
    "qwen3": GATED,
    "gemma3": GATED,
    "gemma3_untied": GATED,
}
STEPS, BATCH, RATE, DECAY, CLIP = 30, 4, 1e-2, 0.1, 1.0
RANK, ALPHA = 3, 6


def examples():
    """Eight examples of 6 to 20 tokens: (ids, first target). Token 0 is not among them: it is Gemma's padding, whose
    embedding `transformers` keeps from learning."""
    made = []
    for n in range(8):
        length = 6 + 2 * n
        made.append(([1 + (17 * n + 5 * t + t * t // 3) % 95 for t in range(length)], 2 + n % 3))
    return made


def batch_loss(model, batch):
    """Mean over the target tokens of the whole batch, an example at a time: no padding, no mask."""
    total, targets = 0.0, 0
    for ids, first in batch:
        logits = model(torch.tensor([ids[:-1]])).logits[0, first - 1 :].float()
        target = torch.tensor(ids[first:])
        total = total + torch.nn.functional.cross_entropy(logits, target, reduction="sum")
        targets += len(target)
    return total / targets


def start_adapters(model):
    """A and B by formula; B is not zero, or A would have no gradient to compare. DoRA's lengths stay those of the base's rows."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                i = torch.arange(weight.shape[0]).unsqueeze(1)
                j = torch.arange(weight.shape[1]).unsqueeze(0)
                values = (i * 7 + j * 3) % 11 - 5 if "lora_A" in name else (i * 5 + j * 2) % 7 - 3
                weight.copy_(values.float() / 50)


def digest(gradient):
    """A few numbers that pin a gradient down."""
    flat = gradient.flatten()
    return {"norm": flat.norm().item(), "sum": flat.double().sum().item(), "start": flat[:6].tolist()}


def record(model):
    data = examples()
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    loss = batch_loss(model, data)
    loss.backward()
    clean = lambda name: name.replace("lora_magnitude_vector.default.weight", "lora_magnitude_vector").replace(".default", "")
    gradients = {clean(name): digest(weight.grad) for name, weight in trained}
    result = {"loss": loss.item(), "gradients": gradients}
    groups = [
        {"params": [w for _, w in trained if w.dim() >= 2], "weight_decay": DECAY},
        {"params": [w for _, w in trained if w.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=RATE, betas=(0.9, 0.999), eps=1e-8, foreach=False)
    result["curve"], result["norms"] = follow(model, data, optimizer, [weight for _, weight in trained])
    return result


def follow(model, data, optimizer, trained):
    """Losses and norms of gradients, step by step."""
    curve, norms = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        start = step * BATCH % len(data)
        loss = batch_loss(model, data[start : start + BATCH])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        curve.append(loss.item())
        norms.append(norm.item())
    return curve, norms


def adafactor(model):
    """The curve of Adafactor with the schedule's own rate and no first moment."""
    trained = list(model.parameters())
    rule = Adafactor(trained, lr=RATE / 10, scale_parameter=False, relative_step=False, warmup_init=False)
    return follow(model, examples(), rule, trained)[0]


def nf4():
    """Codes and scales that bitsandbytes gives to weights by formula, in rows that are no whole number of blocks."""
    weight = ((torch.arange(900, dtype=torch.float64) * 0.731).sin() * 0.05).float().view(6, 150)
    codes, state = quantize_4bit(weight, blocksize=64, quant_type="nf4")
    return {"codes": codes.flatten().tolist(), "scales": state.absmax.tolist()}


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    (GOLDEN / "train").mkdir(exist_ok=True)
    (GOLDEN / "train" / "nf4.json").write_text(json.dumps(nf4()) + "\n")
    for name, targets in MODELS.items():
        load = lambda: AutoModelForCausalLM.from_pretrained(GOLDEN / name, dtype=torch.float32, attn_implementation="eager")
        model = load()
        model.train()
        golden = {
            "settings": {"batch": BATCH, "rate": RATE, "decay": DECAY, "clip": CLIP, "rank": RANK, "alpha": ALPHA},
            "examples": [{"ids": ids, "first_target": first} for ids, first in examples()],
            "full": record(model),
        }
        golden["adafactor"] = adafactor(load())
        for kind in ("lora", "dora"):
            config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM",
                                use_dora=kind == "dora")  # fmt: skip
            model = get_peft_model(load(), config)
            start_adapters(model)
            golden[kind] = record(model)
        path = GOLDEN / "train" / f"{name}.json"
        path.write_text(json.dumps(golden) + "\n")
        print(path.relative_to(ROOT), path.stat().st_size, "bytes; full", golden["full"]["curve"][0], "→",
              golden["full"]["curve"][-1], "lora", golden["lora"]["curve"][-1])


if __name__ == "__main__":
    main()
