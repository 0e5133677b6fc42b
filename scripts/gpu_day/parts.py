"""The measurements of a day, in the order of their importance."""

import csv
import json
import random
import re
import shutil
from pathlib import Path

from . import peers, ranks, shapes
from .runner import Failed, Part, Skipped

PEERS = Path(peers.__file__)
SPLIT = {"precision": "bf16", "master": "split", "optimizer": "adamw"}
EIGHT = {**SPLIT, "optimizer": "adamw8bit"}
IN_BACKWARD = {"update_in_backward": True, "recompute": True}
# The memory table of `ewe plan`: options of `ewe train`, method, formats. The two of most interest
# come first.
ROWS = [
    ("--method full --optimizer adamw8bit", "full", EIGHT),
    ("--method lora", "lora", SPLIT),
    ("--method full", "full", SPLIT),
    ("--method full --master fp32", "full", {**SPLIT, "master": "fp32"}),
    ("--method full --update-in-backward --offload", "full", {**SPLIT, **IN_BACKWARD, "offload": True}),
    ("--method full --optimizer adamw8bit --update-in-backward", "full", {**EIGHT, **IN_BACKWARD}),
    (
        "--method full --optimizer adamw8bit --master stochastic --update-in-backward",
        "full",
        {**EIGHT, **IN_BACKWARD, "master": "stochastic"},
    ),
    (
        "--method full --optimizer adafactor --master stochastic --update-in-backward",
        "full",
        {**SPLIT, **IN_BACKWARD, "optimizer": "adafactor", "master": "stochastic"},
    ),
    ("--method lora --quantize nf4", "lora", {**SPLIT, "quantize": "nf4"}),
]
IMPORTANT_ROWS = 2
# Options of `ewe train` with several GPUs.
RANKS = ["--method lora", "--method full --shard all"]
# Examples of a step, and most tokens of a micro-batch, at "2k" and "16k" tokens.
STEPS = {"gptj-6b": {"2k": (8, 2048), "16k": (64, 8192)}, "tiny": {"2k": (4, 128), "16k": (16, 256)}}
# Tokens of an example.
LENGTH = {"gptj-6b": 256, "tiny": 32}
# Generated tokens of each sequence.
GENERATED = {"gptj-6b": 256, "tiny": 32}
SEQUENCES = (1, 16, 64, 256)
# Letters of a prompt, each a token.
PROMPT = 16
# Memory bandwidth in GB/s from the makers' data sheets, by a part of the card's name; the first
# that fits counts.
BANDWIDTH = [("B200", 8000), ("H200", 4800), ("H100 PCIe", 2000), ("H100", 3350), ("A100 80GB", 2039), ("A100", 1555), ("L40S", 864), ("4090", 1008)]


class Bench:
    """What the parts have in common: program, device, model and a folder for what they write."""

    def __init__(self, ewe, python, device, shape, folder, card):
        self.ewe, self.python, self.device, self.shape, self.folder, self.card = ewe, python, device, shape, folder, card
        self.config = shapes.CONFIGS[shape]
        self.checkpoint = folder / "model"

    def parts(self):
        """Returns all parts with their limits in seconds for a day of 600."""
        rows = [Part(f"memory: {name}", 30, self.workload(method, formats)) for name, method, formats in ROWS]
        training = [
            Part(f"training: {name}, {tokens} tokens", 30, self.workload(method, formats, tokens, steps=4))
            for name, method, formats in ROWS[:IMPORTANT_ROWS]
            for tokens in ("2k", "16k")
        ]
        decode = [Part(f"decode: {count} at once", 40, self.decode(count)) for count in SEQUENCES]
        return [
            Part("selftest", 90, self.selftest),
            Part("kernels", 60, self.kernels),
            *rows[:IMPORTANT_ROWS],
            *training,
            *decode,
            Part("decode trace", 60, self.trace),
            *[Part(f"ranks: {options}", 90, ranks.part(self, options, LENGTH[self.shape])) for options in RANKS],
            *rows[IMPORTANT_ROWS:],
            *[
                Part(f"peer: transformers Trainer, {method}, {tokens} tokens", 60, self.trainer(method, tokens))
                for method in ("full", "lora")
                for tokens in ("2k", "16k")
            ],
            Part("peer: transformers generate", 60, self.peer("generate", "transformers", SEQUENCES[2:3])),
            Part("peer: vLLM", 150, self.peer("vllm", "vllm", SEQUENCES)),
        ]

    def selftest(self, clock):
        return reported(clock, [self.ewe, "selftest", "--device", self.device, "--json"])

    def kernels(self, clock):
        return reported(clock, [self.ewe, "selftest", "--device", self.device, "--kernels", "--json"])

    def workload(self, method, formats, tokens="2k", steps=1):
        def measure(clock):
            examples, micro_tokens = STEPS[self.shape][tokens]
            work = {
                "work": "train",
                "config": self.config,
                "method": method,
                "formats": formats,
                "examples": examples,
                "length": LENGTH[self.shape],
                "micro_tokens": micro_tokens,
                "steps": steps,
                "trace": True,
            }
            file = self.folder / "workload.json"
            # Where the larger micro-batches of "16k" do not fit, those of "2k" may.
            for size in sorted({micro_tokens, STEPS[self.shape]["2k"][1]}, reverse=True):
                file.write_text(json.dumps({**work, "micro_tokens": size}))
                result = loads(clock.run([self.ewe, "selftest", "--device", self.device, "--workload", file])[0])
                result["micro_tokens"] = size
                if result["fits"]:
                    break
            if result.get("memory"):
                result["planned_apart"] = round(result["planned"] / result["memory"] - 1, 4)
            return result

        return measure

    def complete(self, count, tokens):
        """Returns a command that generates from `count` prompts, and the file of its answers."""
        if not self.checkpoint.exists():
            shapes.make_checkpoint(self.checkpoint, self.config)
        prompts, out = self.folder / "prompts.jsonl", self.folder / "answers.jsonl"
        chance = random.Random(count)
        letters = lambda: "".join(chance.choice("ABCDEFGHIJKLMNOPQRSTUVW") for _ in range(PROMPT))
        prompts.write_text("".join(json.dumps({"prompt": letters()}) + "\n" for _ in range(count)))
        out.unlink(missing_ok=True)
        command = [self.ewe, "complete", "--model", self.checkpoint, "--device", self.device, "--dtype", "bf16", "--prompts", prompts, "--out", out,
                   "--max-tokens", tokens, "--batch", count, "--ignore-eos", "--temperature", 0.7, "--top-p", 0.9]  # fmt: skip
        return command, out

    def decode(self, count):
        def measure(clock):
            command, out = self.complete(count, GENERATED[self.shape])
            said = clock.run(command)[1]
            answers = [json.loads(row) for row in out.open()]
            made = sum(row["completion_tokens"] for row in answers)
            if len(answers) != count or made != count * GENERATED[self.shape]:
                raise Failed(f"{len(answers)} answers of {made} tokens in all")
            return {"sequences": count, "tokens": made, **statistics(said), **self.bound(count)}

        return measure

    def bound(self, count):
        """Returns the tokens per second at which a decode step would read weights and cache once,
        at the bandwidth of the card's data sheet; nothing for cards that are not listed."""
        known = [rate for name, rate in BANDWIDTH if name.replace(" ", "") in self.card.replace(" ", "")]
        if not known:
            return {}
        embedding = self.config["vocab_size"] * self.config["n_embd"]
        weights = 2 * (shapes.parameters(self.config) - embedding)
        cached = count * (PROMPT + GENERATED[self.shape] / 2) * shapes.kv_bytes_per_token(self.config)
        return {"bound_tokens_per_s": count * known[0] * 1e9 / (weights + cached)}

    def trace(self, clock):
        """Counts the operators of a decode step of 16 sequences by libtorch's own callbacks and,
        with `nsys`, its kernels."""
        work = {"work": "decode", "config": self.config, "sequences": 16, "prompt": PROMPT, "steps": 16}
        file = self.folder / "decode.json"
        file.write_text(json.dumps(work))
        result = loads(clock.run([self.ewe, "selftest", "--device", self.device, "--workload", file])[0])
        if self.device == "cpu":
            return {**result, "unknown": "kernels: there are none on the CPU"}
        if not shutil.which("nsys"):
            unknown = "which kernels a step launches, ewe's own and those within CUDA graphs included: nsys is not installed"
            return {**result, "unknown": unknown}
        # What loading and prompts launch is in both.
        short, long = 16, 48
        kernels = [self.launched(clock, tokens) for tokens in (short, long)]
        launches = (sum(kernels[1].values()) - sum(kernels[0].values())) / (long - short)
        return {
            **result,
            "kernels_per_step": launches,
            "kernels_per_layer": launches / self.config["n_layer"],
            "cudnn_kernels": sorted({name for found in kernels for name in found if "cudnn" in name.lower()}),
        }

    def launched(self, clock, tokens):
        """Returns how often each kernel was launched while 16 sequences of so many tokens were
        generated."""
        report = self.folder / "trace"
        # Kernels within CUDA graphs are counted one by one.
        profile = ["nsys", "profile", "--trace=cuda", "--sample=none", "--cpuctxsw=none", "--cuda-graph-trace=node", "--force-overwrite=true", "-o", report]
        clock.run([*profile, *self.complete(16, tokens)[0]])
        told = clock.run(["nsys", "stats", "--report", "cuda_gpu_kern_sum", "--format", "csv", "--force-export=true", f"{report}.nsys-rep"])[0]
        lines = told.splitlines()
        head = next((at for at, line in enumerate(lines) if "Instances" in line and "Name" in line), None)
        if head is None:
            raise Failed(f"nsys told no kernels: {told[-300:]}")
        found = {}
        for row in csv.DictReader(lines[head:]):
            if row.get("Name") and (row.get("Instances") or "").isdigit():
                found[row["Name"]] = found.get(row["Name"], 0) + int(row["Instances"])
        return found

    def trainer(self, method, tokens):
        return self.peer("train", "transformers" if method == "full" else "peft", (), method=method, examples=STEPS[self.shape][tokens][0])

    def peer(self, what, module, sequences, **work):
        """Returns a part that runs `peers.py` where its module is installed."""

        def measure(clock):
            installed(clock, self.python, module)
            file = self.folder / "peer.json"
            work_of_peer = {
                "what": what,
                "config": self.config,
                "device": self.device,
                "length": LENGTH[self.shape],
                "prompt": PROMPT,
                "generated": GENERATED[self.shape],
                "sequences": list(sequences),
                "folder": str(self.folder / "peer"),
                **work,
            }
            file.write_text(json.dumps(work_of_peer))
            # Nothing may be fetched.
            offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
            return loads(clock.run([self.python, PEERS, file], offline)[0].strip().splitlines()[-1])

        return measure


def installed(clock, python, module):
    """Skips a part whose Python module is not there. Importing it would take up to half a
    minute."""
    try:
        clock.run([python, "-c", f"import importlib.util, sys; sys.exit(importlib.util.find_spec('{module}') is None)"])
    except Failed:
        raise Skipped(f"{module} is not installed") from None
    except OSError as error:
        raise Skipped(f"{python}: {error.strerror}") from None


def reported(clock, command):
    """Runs a self-test. Its exit status 1 with a report says that checks failed, which the report
    lists."""
    # The exit status is in the report as `failed`, and output that is no report fails to parse.
    out, error = clock.run(["sh", "-c", '"$@"; code=$?; [ $code -le 1 ] || exit $code', "sh", *command])
    try:
        return json.loads(out)
    except ValueError:
        raise Failed(error.strip() or out.strip() or "it printed nothing") from None


def loads(text):
    try:
        return json.loads(text)
    except ValueError:
        raise Failed(f"this is no JSON: {text[-300:]}") from None


def statistics(said):
    """Reads the last line of `ewe complete`."""
    line = (said.strip().splitlines() or [""])[-1]
    found = {name: re.search(pattern, line) for name, pattern in PATTERNS.items()}
    if not all(found.values()):
        raise Failed(f"`ewe complete` ended with another line than expected: {line}")
    values = {name: float(of.group(1).replace(",", "")) for name, of in found.items()}
    steps = values["model_s"] + values["sampling_s"]
    return {**values, "tokens_per_s": values["generated"] / max(values["seconds"], 1e-9), "decode_tokens_per_s": values["generated"] / max(steps, 1e-9)}


PATTERNS = {
    "generated": r"([\d,]+) tokens? in ",
    "seconds": r" in ([\d.]+) s",
    "steps": r"\(([\d,]+) steps?",
    "prompts_s": r"prompts ([\d.]+) s",
    "model_s": r"model ([\d.]+) s",
    "sampling_s": r"sampling ([\d.]+) s",
}
