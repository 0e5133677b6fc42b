"""The models of a day, with random weights.

Training makes them on the device (`ewe selftest --workload`). Generation reads a checkpoint in the
format of `torch.save`, in which all tensors are views of one storage as large as the largest: 0.4
GB for a 6B model. Its numbers are a block of normally distributed ones, repeated; as the block's
length is a prime, no two rows of a matrix are equal.
"""

import json
import random
import shutil
import struct
import zipfile
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent.parent.parent / "tests/golden/gptj"
# Numbers of the block, and their standard deviation.
BLOCK = 65_521
DEVIATION = 0.02
COMMON = {
    "model_type": "gptj",
    "architectures": ["GPTJForCausalLM"],
    "activation_function": "gelu_new",
    "attn_pdrop": 0.0,
    "bos_token_id": 1,
    "embd_pdrop": 0.0,
    "eos_token_id": 0,
    "layer_norm_epsilon": 1e-05,
    "n_inner": None,
    "n_positions": 2048,
    "resid_pdrop": 0.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
CONFIGS = {
    "gptj-6b": {**COMMON, "n_embd": 4096, "n_head": 16, "n_layer": 28, "rotary_dim": 64, "vocab_size": 50_400},
    "tiny": {**COMMON, "n_embd": 64, "n_head": 4, "n_layer": 2, "rotary_dim": 8, "vocab_size": 256},
}


def shapes(config):
    """Yields name and shape of every tensor."""
    d, vocabulary = config["n_embd"], config["vocab_size"]
    yield "transformer.wte.weight", (vocabulary, d)
    for layer in range(config["n_layer"]):
        path = f"transformer.h.{layer}"
        yield f"{path}.ln_1.weight", (d,)
        yield f"{path}.ln_1.bias", (d,)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{path}.attn.{name}.weight", (d, d)
        yield f"{path}.mlp.fc_in.weight", (4 * d, d)
        yield f"{path}.mlp.fc_in.bias", (4 * d,)
        yield f"{path}.mlp.fc_out.weight", (d, 4 * d)
        yield f"{path}.mlp.fc_out.bias", (d,)
    yield "transformer.ln_f.weight", (d,)
    yield "transformer.ln_f.bias", (d,)
    yield "lm_head.weight", (vocabulary, d)
    yield "lm_head.bias", (vocabulary,)


def numbers(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def parameters(config):
    return sum(numbers(shape) for _, shape in shapes(config))


def kv_bytes_per_token(config):
    """Bytes of keys and values of one token in bf16."""
    return 2 * 2 * config["n_layer"] * config["n_embd"]


def bf16(values):
    """Returns numbers as bf16, cut off."""
    return b"".join(struct.pack("<f", value)[2:] for value in values)


def make_checkpoint(folder, config):
    """Writes config, tokenizer and weights into a new folder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(GOLDEN / file, folder / file)
    largest = max(numbers(shape) for name, shape in shapes(config) if len(shape) == 2)
    # Views begin at different places, so that no two matrices are equal.
    room = largest + BLOCK
    width = max(numbers(shape) for _, shape in shapes(config) if len(shape) == 1)
    chance = random.Random(6)
    block = bf16(chance.gauss(0.0, DEVIATION) for _ in range(BLOCK))
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled(config, room, width))
        archive.writestr("archive/byteorder", "little")
        # Matrices; then ones for norms; then zeros for biases.
        with archive.open("archive/data/0", "w") as out:
            repeated(out, block, 2 * room)
        archive.writestr("archive/data/1", bf16([1.0]) * width)
        archive.writestr("archive/data/2", bytes(2 * width))
        archive.writestr("archive/version", "3\n")


def repeated(out, block, size):
    """Writes `block` again and again, `size` bytes in all."""
    many = block * max(1, (8 << 20) // len(block))
    while size > 0:
        out.write(many[: min(size, len(many))])
        size -= len(many)


def pickled(config, room, width):
    """Returns the pickle of a state dict, opcode by opcode, as `torch.save` writes it: without
    torch there is nothing that `pickle` could take the names from."""
    out = bytearray(b"\x80\x02ccollections\nOrderedDict\n)R(")
    for at, (name, shape) in enumerate(shapes(config)):
        key, size, offset = ("0", room, at * 7919 % BLOCK)
        if len(shape) == 1:
            key, size, offset = ("1" if name.endswith("weight") else "2", width, 0)
        strides = (shape[1], 1) if len(shape) == 2 else (1,)
        out += text(name)
        out += b"ctorch._utils\n_rebuild_tensor_v2\n("
        out += b"(" + text("storage") + b"ctorch\nBFloat16Storage\n" + text(key) + text("cpu") + integer(size) + b"tQ"
        out += integer(offset) + integers(shape) + integers(strides)
        # No gradient, no hooks.
        out += b"\x89ccollections\nOrderedDict\n)RtR"
    return bytes(out + b"u.")


def text(value):
    value = value.encode()
    return b"X" + struct.pack("<I", len(value)) + value


def integer(value):
    return b"J" + struct.pack("<i", value)


def integers(values):
    return b"(" + b"".join(map(integer, values)) + b"t"
