"""Makes the golden files of GGUF with gguf-py, in tests/golden/gguf.

    python scripts/make_gguf_goldens.py      # needs gguf and numpy (requirements-dev.txt)

- kinds.gguf: random blocks of each type, NAME, and what gguf-py dequantizes them to, NAME.f32; and
  the tensor `numbers` quantized to each type that ewe writes, numbers.NAME.
- llama3.gguf and the others of MODELS: the tiny models of make_goldens.py in F16. Names of tensors
  and keys are gguf-py's own; the order of rows, which tensors are one, and which are F32 is that of
  llama.cpp's converter.

The files are the same each time.
"""

import json
import math
import re
from pathlib import Path

import gguf
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
OUT = GOLDEN / "gguf"
KIND = gguf.GGMLQuantizationType
# Where the halves of a block are, for the types that have scales.
HALVES = {
    KIND.Q4_0: [0],
    KIND.Q4_1: [0, 2],
    KIND.Q5_0: [0],
    KIND.Q5_1: [0, 2],
    KIND.Q8_0: [0],
    KIND.Q4_K: [0, 2],
    KIND.Q5_K: [0, 2],
    KIND.Q6_K: [208],
}


def save(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_blocks(kind, rows, random):
    """Returns `rows` rows of 256 numbers of `kind`, as bytes."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if kind == KIND.F32:
        return random.standard_normal((rows, 256)).astype(np.float32).view(np.uint8)
    if kind == KIND.F16:
        # With numbers so small that they have fewer digits.
        scale = 10.0 ** random.uniform(-7, 2, (rows, 256))
        return (random.standard_normal((rows, 256)) * scale).astype(np.float16).view(np.uint8)
    if kind == KIND.BF16:
        bits = random.standard_normal((rows, 256)).astype(np.float32).view(np.uint32) >> 16
        return bits.astype(np.uint16).view(np.uint8)
    blocks = random.integers(0, 256, (rows * 256 // block, size), dtype=np.uint8)
    for at in HALVES[kind]:
        scales = (random.standard_normal(len(blocks)) * 0.01).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def make_kinds():
    random = np.random.default_rng(7)
    writer = gguf.GGUFWriter(OUT / "kinds.gguf", "kinds")
    for kind in [KIND.F32, KIND.F16, KIND.BF16, *HALVES]:
        blocks = random_blocks(kind, 3, random)
        writer.add_tensor(kind.name, blocks, raw_dtype=kind)
        numbers = gguf.quants.dequantize(blocks, kind).astype(np.float32)
        writer.add_tensor(f"{kind.name}.f32", np.ascontiguousarray(numbers.reshape(3, 256)))
    numbers = (random.standard_normal((4, 256)) * 10.0 ** random.uniform(-4, 1, (4, 1))).astype(np.float32)
    numbers[0, :32] = 0
    # Halves, which are rounded away from zero in Q8_0 and to even elsewhere.
    numbers[1, :32] = np.arange(-16, 16) + 0.5
    numbers[1, 0] = 127
    writer.add_tensor("numbers", numbers)
    for kind in [KIND.F32, KIND.F16, KIND.BF16, KIND.Q8_0]:
        packed = gguf.quants.quantize(numbers, kind)
        writer.add_tensor(f"numbers.{kind.name}", packed, raw_dtype=kind)
    save(writer)


def tensors_of(path):
    """Returns the fp32 tensors of a safetensors file."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    found = {}
    for name, info in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__" and info["dtype"] == "F32":
            start, end = (8 + length + offset for offset in info["data_offsets"])
            found[name] = np.frombuffer(data[start:end], dtype="<f4").reshape(info["shape"])
    return found


def adjacent(rows, heads):
    """Puts the two halves of each head's rows in turn, as llama.cpp rotates them."""
    shape = rows.shape
    return rows.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def apart(rows, heads):
    """Puts all queries before all keys, and these before all values."""
    shape = rows.shape
    parts = rows.reshape(heads, 3, shape[0] // heads // 3, *shape[1:])
    return np.concatenate([parts[:, part].reshape(-1, *shape[1:]) for part in range(3)])


def rope_factors(config):
    """The factors of Llama 3.1's frequencies."""
    scaling, dims = config["rope_scaling"], config["head_dim"]
    low, high, context = (
        scaling[name] for name in ["low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
    )
    factors = []
    for frequency in 1 / config["rope_theta"] ** (np.arange(0, dims, 2, dtype=np.float32) / dims):
        wavelength = 2 * math.pi / frequency
        share = min(max((context / wavelength - low) / (high - low), 0), 1)
        factors.append(1 / ((1 - share) / scaling["factor"] + share))
    return np.array(factors, dtype=np.float32)


def add_tokenizer(writer, folder, config):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    rows = config["vocab_size"]
    tokens = [f"[PAD{i}]" for i in range(rows)]
    kinds = [gguf.TokenType.UNUSED] * rows
    for text, i in tokenizer["model"]["vocab"].items():
        tokens[i], kinds[i] = text, gguf.TokenType.NORMAL
    for token in tokenizer["added_tokens"]:
        tokens[token["id"]], kinds[token["id"]] = token["content"], gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(tokens.index("<bos>"))
    writer.add_eos_token_id(tokens.index("<eos>"))
    writer.add_add_bos_token(tokenizer["post_processor"] is not None)
    writer.add_add_eos_token(False)


ARCH = gguf.MODEL_ARCH
# The models, and what of their config is changed to what llama.cpp computes.
MODELS = {
    "llama3": (ARCH.LLAMA, {}),
    "gemma3": (ARCH.GEMMA3, {}),
    "neox": (ARCH.GPTNEOX, {}),
    "gemma2": (ARCH.GEMMA2, {}),
    "phi3": (ARCH.PHI3, {"sliding_window": None}),
    "granite": (ARCH.GRANITE, {}),
    "smollm3": (ARCH.SMOLLM3, {}),
    "stablelm": (ARCH.STABLELM, {}),
    "stablelm_parallel": (ARCH.STABLELM, {}),
    "qwen3_moe": (ARCH.QWEN3MOE, {}),
    "gpt2": (ARCH.GPT2, {}),
}
# Those whose pairs of features are adjacent when llama.cpp rotates them.
ADJACENT = [ARCH.LLAMA, ARCH.GRANITE, ARCH.SMOLLM3]
EXACT = ("_norm.weight", "position_embd.weight", "ffn_gate_inp.weight")


def add_sizes(writer, config):
    """Adds what every model has; returns query heads, key heads and features of a head."""
    first = lambda *names: next(config[name] for name in names if name in config)
    heads, hidden = first("num_attention_heads", "n_head"), first("hidden_size", "n_embd")
    kv_heads = config.get("num_key_value_heads", heads)
    head_dim = config.get("head_dim", hidden // heads)
    writer.add_type("model")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(first("num_hidden_layers", "n_layer"))
    writer.add_context_length(first("max_position_embeddings", "n_positions"))
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(first("intermediate_size", "n_inner"))
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_vocab_size(config["vocab_size"])
    if "rms_norm_eps" in config:
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    else:
        writer.add_layer_norm_eps(first("layer_norm_eps", "layer_norm_epsilon"))
    return heads, kv_heads, head_dim


def add_rotation(writer, architecture, config, head_dim):
    rope = config.get("rope_parameters", {})
    rope = rope.get("full_attention", rope)
    theta = config.get("rotary_emb_base", rope.get("rope_theta", config.get("rope_theta")))
    if theta is None:
        return
    writer.add_rope_freq_base(theta)
    share = config.get("rotary_pct", rope.get("partial_rotary_factor", 1.0))
    if architecture not in (ARCH.GEMMA2, ARCH.GEMMA3):
        writer.add_rope_dimension_count(int(head_dim * share))


def add_details(writer, architecture, config):
    """Adds what only some models have."""
    if "use_parallel_residual" in config:
        writer.add_parallel_residual(config["use_parallel_residual"])
    if architecture in (ARCH.GEMMA2, ARCH.GEMMA3):
        writer.add_sliding_window(config["sliding_window"])
    if architecture == ARCH.GEMMA2:
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if architecture == ARCH.GRANITE:
        writer.add_attention_scale(config["attention_multiplier"])
        writer.add_embedding_scale(config["embedding_multiplier"])
        writer.add_residual_scale(config["residual_multiplier"])
        writer.add_logit_scale(config["logits_scaling"])
    if architecture == ARCH.QWEN3MOE:
        writer.add_expert_count(config["num_local_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if architecture == ARCH.PHI3:
        original = config["original_max_position_embeddings"]
        scale = config["max_position_embeddings"] / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)))
        writer.add_sliding_window(config["sliding_window"] or 0)


def factors(architecture, config):
    """The tensors that are settings."""
    if architecture == ARCH.LLAMA:
        yield "rope_freqs.weight", rope_factors(config)
    if architecture == ARCH.PHI3:
        for length in ["long", "short"]:
            values = np.array(config["rope_parameters"][f"{length}_factor"], dtype=np.float32)
            yield f"rope_factors_{length}.weight", values


def joined(tensors):
    """Joins the tensors of experts, and the norms of heads."""
    found = {}
    for name, values in tensors.items():
        parts = re.fullmatch(r"(.*)\.(?:experts|norms)\.(\d+)(\..*)", name)
        if parts is None:
            found[name] = values
        else:
            stem = f"{parts[1]}.experts" if ".experts." in name else parts[1]
            found.setdefault(stem + parts[3], []).append((int(parts[2]), values))
    stack = lambda parts: np.stack([values for _, values in sorted(parts, key=lambda part: part[0])])
    return {name: stack(values) if isinstance(values, list) else values for name, values in found.items()}


def make_model(name, architecture, changes):
    folder = GOLDEN / name
    config = json.loads((folder / "config.json").read_text()) | changes
    writer = gguf.GGUFWriter(OUT / f"{name}.gguf", gguf.MODEL_ARCH_NAMES[architecture])
    heads, kv_heads, head_dim = add_sizes(writer, config)
    add_rotation(writer, architecture, config, head_dim)
    add_details(writer, architecture, config)
    add_tokenizer(writer, folder, config)
    names = gguf.get_tensor_name_map(architecture, writer.kv_data[0][f"{writer.arch}.block_count"].value)
    for theirs, values in sorted(joined(tensors_of(folder / "model.safetensors")).items()):
        ours = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
        if ours is None or theirs.endswith("inv_freq"):
            continue
        if architecture in ADJACENT and ".q_proj." in theirs:
            values = adjacent(values, heads)
        if architecture in ADJACENT and ".k_proj." in theirs:
            values = adjacent(values, kv_heads)
        if name == "neox" and ".query_key_value." in theirs:
            values = apart(values, heads)
        if name in ("gemma2", "gemma3") and theirs.endswith("norm.weight"):
            values = values + np.float32(1)
        if name == "gpt2" and ".c_" in theirs:
            values = values.T
        values = np.ascontiguousarray(values)
        is_exact = values.ndim == 1 or ours.endswith(EXACT)
        writer.add_tensor(ours, values if is_exact else values.astype(np.float16))
    for ours, values in factors(architecture, config):
        writer.add_tensor(ours, values)
    save(writer)


def main():
    OUT.mkdir(exist_ok=True)
    make_kinds()
    for name, (architecture, changes) in MODELS.items():
        make_model(name, architecture, changes)
    for path in sorted(OUT.iterdir()):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
