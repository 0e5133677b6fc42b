"""Makes a GPT-J of the shape of the published 6B model with random bf16 weights, to measure what a
model of this size needs.

    .venv/bin/python scripts/make_6b.py models/gptj-6b-random [--format safetensors|bin]

12.1 GB in shards of at most 2 GB. The tokenizer is the small one of the tests, which is enough for
random weights.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests/golden/gptj"
SHARD = 2 * 10**9
CONFIG = {
    "model_type": "gptj",
    "architectures": ["GPTJForCausalLM"],
    "activation_function": "gelu_new",
    "attn_pdrop": 0.0,
    "bos_token_id": 1,
    "embd_pdrop": 0.0,
    "eos_token_id": 1,
    "layer_norm_epsilon": 1e-05,
    "n_embd": 4096,
    "n_head": 16,
    "n_inner": None,
    "n_layer": 28,
    "n_positions": 2048,
    "resid_pdrop": 0.0,
    "rotary_dim": 64,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 50400,
}


def shapes():
    """Yields name and shape of every tensor, in the order of the checkpoint."""
    d, vocabulary = CONFIG["n_embd"], CONFIG["vocab_size"]
    yield "transformer.wte.weight", (vocabulary, d)
    for layer in range(CONFIG["n_layer"]):
        path = f"transformer.h.{layer}"
        for name in ("ln_1.weight", "ln_1.bias"):
            yield f"{path}.{name}", (d,)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{path}.attn.{name}.weight", (d, d)
        yield f"{path}.mlp.fc_in.weight", (4 * d, d)
        yield f"{path}.mlp.fc_in.bias", (4 * d,)
        yield f"{path}.mlp.fc_out.weight", (d, 4 * d)
        yield f"{path}.mlp.fc_out.bias", (d,)
    for name in ("weight", "bias"):
        yield f"transformer.ln_f.{name}", (d,)
    yield "lm_head.weight", (vocabulary, d)
    yield "lm_head.bias", (vocabulary,)


def tensor(name, shape, generator):
    """Returns a tensor: the identity for norms, else normally distributed with a standard deviation
    of 0.02."""
    if ".ln_" in name:
        return torch.full(shape, float(name.endswith("weight")), dtype=torch.bfloat16)
    return torch.empty(shape, dtype=torch.bfloat16).normal_(0.0, 0.02, generator=generator)


def save(tensors, path):
    if path.suffix == ".bin":
        torch.save(tensors, path)
        return
    from safetensors.torch import save_file

    save_file(tensors, path, metadata={"format": "pt"})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--format", choices=["safetensors", "bin"], default="safetensors")
    args = parser.parse_args()
    stem, ending = {"safetensors": ("model", "safetensors"), "bin": ("pytorch_model", "bin")}[args.format]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "config.json").write_text(json.dumps(CONFIG, indent=2))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(GOLDEN / file, args.out / file)
    # Tensors are assigned to shards before the first is made, because file names contain the number
    # of shards.
    groups, size = [[]], 0
    for name, shape in shapes():
        bytes_ = 2 * torch.Size(shape).numel()
        if size + bytes_ > SHARD and groups[-1]:
            groups.append([])
            size = 0
        groups[-1].append((name, shape))
        size += bytes_
    generator, places = torch.Generator().manual_seed(6), {}
    for number, group in enumerate(groups, 1):
        file = f"{stem}-{number:05}-of-{len(groups):05}.{ending}"
        save({name: tensor(name, shape, generator) for name, shape in group}, args.out / file)
        places |= {name: file for name, _ in group}
        print(f"{file}: {len(group)} tensors", flush=True)
    total = sum(2 * torch.Size(shape).numel() for _, shape in shapes())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (args.out / f"{stem}.{ending}.index.json").write_text(json.dumps(index, indent=2))


if __name__ == "__main__":
    main()
