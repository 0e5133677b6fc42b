#!/usr/bin/env python3
"""Writes the golden files of the training tests: a few weights quantized by `bitsandbytes`, and
results of `transformers` and `peft` in fp32 on the tiny random models of make_goldens.py.

    .venv/bin/python scripts/make_train_goldens.py          # tests/golden/train/*.json
    .venv/bin/python scripts/make_train_goldens.py olmo2    # those of one model

For each model with full, LoRA and DoRA training: loss and gradients of one batch, and the loss of
every step of a short AdamW run (PyTorch's single-tensor AdamW, with gradient clipping, and weight
decay on matrices only). Token ids of examples and initial adapters come from formulas, so both
sides have them without a file. Running it again changes nothing but the last digits of libtorch's
sums.
"""

import json
import sys
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
    "olmo2": GATED,
    "smollm3": GATED,
    "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
    "gemma2": GATED,
    "granite": GATED,
    "stablelm": GATED,
    "stablelm_parallel": GATED,
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    # Experts take no adapter.
    "qwen3_moe": GATED[:4],
}
STEPS, BATCH, RATE, DECAY, CLIP = 30, 4, 1e-2, 0.1, 1.0
RANK, ALPHA = 3, 6


class Experts(torch.nn.ModuleList):
    """Experts as matrices of their own, as in published checkpoints, in place of the tensors into
    which `transformers` 5 joins them: these would have joint gradients and optimizer states."""

    def __init__(self, joint):
        super().__init__()
        for gate_up, down in zip(joint.gate_up_proj.data, joint.down_proj.data):
            expert = torch.nn.Module()
            for name, weight in zip(("gate_proj", "up_proj", "down_proj"), (*gate_up.chunk(2), down)):
                linear = torch.nn.Linear(*reversed(weight.shape), bias=False)
                linear.weight.data = weight.clone()
                setattr(expert, name, linear)
            self.append(expert)

    def forward(self, hidden, index, weights):
        summed = torch.zeros_like(hidden)
        for number, expert in enumerate(self):
            token, place = (index == number).nonzero(as_tuple=True)
            if len(token) > 0:
                inner = torch.nn.functional.silu(expert.gate_proj(hidden[token])) * expert.up_proj(hidden[token])
                summed = summed.index_add(0, token, expert.down_proj(inner) * weights[token, place, None])
        return summed


def with_experts_apart(model):
    for layer in model.modules():
        if hasattr(layer, "experts"):
            layer.experts = Experts(layer.experts)
    return model


def examples():
    """Returns eight examples of 6 to 20 tokens, as (ids, first target). Token 0 does not occur: it
    is Gemma's padding token, whose embedding `transformers` does not train."""
    made = []
    for n in range(8):
        length = 6 + 2 * n
        made.append(([1 + (17 * n + 5 * t + t * t // 3) % 95 for t in range(length)], 2 + n % 3))
    return made


def batch_loss(model, batch):
    """Returns the mean loss over the target tokens of the batch. Examples are computed one at a
    time, so there is no padding and no mask."""
    total, targets = 0.0, 0
    for ids, first in batch:
        logits = model(torch.tensor([ids[:-1]])).logits[0, first - 1 :].float()
        target = torch.tensor(ids[first:])
        total = total + torch.nn.functional.cross_entropy(logits, target, reduction="sum")
        targets += len(target)
    return total / targets


def start_adapters(model):
    """Sets A and B by a formula. B is not zero, because A would have no gradient then. DoRA's
    magnitudes stay the norms of the base's rows."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                i = torch.arange(weight.shape[0]).unsqueeze(1)
                j = torch.arange(weight.shape[1]).unsqueeze(0)
                values = (i * 7 + j * 3) % 11 - 5 if "lora_A" in name else (i * 5 + j * 2) % 7 - 3
                weight.copy_(values.float() / 50)


def digest(gradient):
    """Returns a few numbers that identify a gradient."""
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
    """Returns loss and gradient norm of each step."""
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
    """Returns the losses with Adafactor at a fixed learning rate and without first moment."""
    trained = list(model.parameters())
    rule = Adafactor(trained, lr=RATE / 10, scale_parameter=False, relative_step=False, warmup_init=False)
    return follow(model, examples(), rule, trained)[0]


class Lion(torch.optim.Optimizer):
    """Algorithm 2 of the paper (Chen et al. 2023)."""

    def __init__(self, parameters, lr, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            (beta1, beta2), rate = group["betas"], group["lr"]
            for weight in group["params"]:
                if weight.grad is not None:
                    state = self.state[weight]
                    momentum = state.setdefault("momentum", torch.zeros_like(weight))
                    weight.mul_(1 - rate * group["weight_decay"])
                    weight.sub_(rate * torch.sign(beta1 * momentum + (1 - beta1) * weight.grad))
                    state["momentum"] = beta2 * momentum + (1 - beta2) * weight.grad


def lion(model):
    """Returns the losses with Lion, and weight decay on matrices only."""
    trained = list(model.parameters())
    groups = [
        {"params": [w for w in trained if w.dim() >= 2], "weight_decay": DECAY},
        {"params": [w for w in trained if w.dim() < 2]},
    ]
    return follow(model, examples(), Lion(groups, lr=RATE / 10), trained)[0]


def nf4():
    """Returns codes and scales by bitsandbytes of weights from a formula. The length of a row is
    not a multiple of the block size."""
    weight = ((torch.arange(900, dtype=torch.float64) * 0.731).sin() * 0.05).float().view(6, 150)
    codes, state = quantize_4bit(weight, blocksize=64, quant_type="nf4")
    return {"codes": codes.flatten().tolist(), "scales": state.absmax.tolist()}


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    (GOLDEN / "train").mkdir(exist_ok=True)
    (GOLDEN / "train" / "nf4.json").write_text(json.dumps(nf4()) + "\n")
    for name in sys.argv[1:] or MODELS:
        targets = MODELS[name]
        load = lambda: with_experts_apart(
            AutoModelForCausalLM.from_pretrained(GOLDEN / name, dtype=torch.float32, attn_implementation="eager"))
        model = load()
        model.train()
        golden = {
            "settings": {"batch": BATCH, "rate": RATE, "decay": DECAY, "clip": CLIP, "rank": RANK, "alpha": ALPHA},
            "examples": [{"ids": ids, "first_target": first} for ids, first in examples()],
            "full": record(model),
        }
        golden["adafactor"] = adafactor(load())
        golden["lion"] = lion(load())
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
