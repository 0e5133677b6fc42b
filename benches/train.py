"""Compares `ewe train` with Hugging Face's `Trainer`: full fine-tuning in bf16 with fp32 master
weights or in fp32, or an adapter of rank 16 beside `peft`; the same examples in the same order,
steps of 8 or more, which the Trainer accumulates by 8, the same threads. The models are Gemma 3
270M, and a GPT-J of 120M parameters with random weights and a tokenizer trained on the examples.

    make bench-train
    .venv/bin/python benches/train.py [--turns N] [--examples N] [--model gemma|gptj]
        [--precision fp32] [--batch-size N] [--method lora]

The examples are ewe's seed tasks in Alpaca's template, repeated as needed. Peers are the Trainer as
in published recipes, with each batch padded to its longest example, and the Trainer with
`DataCollatorWithFlattening`, which packs a batch into one row as ewe does. Useful tokens are those
of examples, without padding, and the time is that of the steps, without loading. The time from
start to first step is reported separately: both are processes of their own, timed from the start of
the program. A ratio compares two runs that followed each other. Both report their mean loss, which
must be the same. Starts are compared with steps of 8 only.
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
GEMMA = ROOT / "models/gemma-3-270m"
EWE = Path(os.environ.get("EWE", ROOT / "target/debug/ewe"))
# Examples of a step; more of them are accumulated.
AT_ONCE = 8
WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that "
    "appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)


def examples(folder, count):
    """Returns pairs of prompt and completion."""
    database, out = folder / "seeds.db", folder / "seeds.json"
    subprocess.run([EWE, "-q", "init", "--db", database], check=True)
    subprocess.run([EWE, "-q", "export", "--db", database, "--format", "alpaca", "--review", "any", "--out", out], check=True)
    rows = json.loads(out.read_text())
    rows = (rows * (count // len(rows) + 1))[:count]
    return [((WITH_INPUT if row["input"] else WITHOUT_INPUT).format(**row), row["output"]) for row in rows]


def small_gptj(data, folder):
    """Writes a GPT-J of 120M parameters with random weights, and a byte-level BPE tokenizer trained
    on the examples."""
    import tokenizers
    from transformers import GPTJConfig, GPTJForCausalLM, PreTrainedTokenizerFast

    out = folder / "gptj"
    bpe = tokenizers.ByteLevelBPETokenizer()
    bpe.train_from_iterator([p + c for p, c in data], vocab_size=8000, special_tokens=["<|endoftext|>"], show_progress=False)
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token=end, eos_token=end, unk_token=end).save_pretrained(out)
    torch.manual_seed(0)
    config = GPTJConfig(n_embd=768, n_layer=6, n_head=12, rotary_dim=32, n_positions=2048, bos_token_id=0, eos_token_id=0)
    GPTJForCausalLM(config).to(torch.bfloat16).save_pretrained(out)
    return out


def write(folder, data):
    """Writes the examples to a file."""
    file = folder / "data.jsonl"
    file.write_text("".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in data))
    return file


def first_line(file, process):
    """Returns the time at which the first line of a file appeared."""
    while process.poll() is None:
        if file.exists() and b"\n" in file.read_bytes():
            return time.time()
        time.sleep(0.005)
    raise SystemExit("ewe train failed")


def with_ewe(model, data, folder, steps, args):
    """Returns useful tokens per second, seconds to the first step, mean loss, and the share of the
    matmul rate."""
    file, out = write(folder, data), folder / f"out{time.monotonic_ns()}"
    start = time.time()
    process = subprocess.Popen(
        [EWE, "-q", "train", "--data", file, "--model", model, "--out", out, "--method", args.method, "--template", "completion",
         "--steps", str(steps), "--batch-size", str(args.batch_size), "--order", "sequential", "--lr", "1e-5", "--warmup-steps", "0",
         "--eval-fraction", "0", "--save-every", "0", "--precision", args.precision],
    )  # fmt: skip
    stepped = first_line(out / "metrics.jsonl", process)
    if process.wait() != 0:
        raise SystemExit("ewe train failed")
    rows = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    seconds = sum(row["tokens"] / row["tokens_per_s"] for row in rows)
    # A line is written after its step.
    first = stepped - rows[0]["tokens"] / rows[0]["tokens_per_s"] - start
    subprocess.run(["rm", "-r", out], check=True)
    loss, mfu = (statistics.mean(row[name] for row in rows) for name in ("loss", "mfu"))
    return sum(row["tokens"] for row in rows) / seconds, first, loss, mfu


class Trainer:
    """Hugging Face's `Trainer` on the same examples."""

    def __init__(self, model, data):
        from transformers import AutoTokenizer

        self.model = model
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.rows = []
        for prompt, completion in data:
            source = self.tokenizer(prompt).input_ids
            target = self.tokenizer(completion, add_special_tokens=False).input_ids + [self.tokenizer.eos_token_id]
            self.rows.append({"input_ids": source + target, "labels": [-100] * len(source) + target})

    def run(self, steps, packed, args):
        """Returns useful tokens per second, the time at which the first step began, and the mean
        loss."""
        import transformers
        from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, DataCollatorWithFlattening, TrainingArguments

        transformers.logging.set_verbosity_error()
        is_lora, is_bf16 = args.method == "lora", args.precision == "bf16"
        # A frozen base needs no master weights.
        model = AutoModelForCausalLM.from_pretrained(self.model, dtype=torch.bfloat16 if is_lora and is_bf16 else torch.float32)
        if is_lora:
            from peft import LoraConfig, get_peft_model

            model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
        collator = DataCollatorWithFlattening() if packed else DataCollatorForSeq2Seq(self.tokenizer, padding="longest")

        class InOrder(transformers.Trainer):
            def _get_train_sampler(self, *_):
                return torch.utils.data.SequentialSampler(self.train_dataset)

        class Clock(transformers.TrainerCallback):
            def on_step_begin(self, *_, **__):
                times.append(time.time())

        times = []
        arguments = TrainingArguments(
            output_dir=args.folder / "trainer", per_device_train_batch_size=AT_ONCE, gradient_accumulation_steps=args.batch_size // AT_ONCE,
            max_steps=steps, learning_rate=1e-5, bf16=is_bf16,
            use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True, logging_steps=steps, warmup_steps=0,
            lr_scheduler_type="cosine", weight_decay=0.0, dataloader_num_workers=0,
        )  # fmt: skip
        trainer = InOrder(model=model, args=arguments, train_dataset=self.rows, data_collator=collator, callbacks=[Clock()])
        result = trainer.train()
        seconds = time.time() - times[0]
        tokens = sum(len(self.rows[i % len(self.rows)]["input_ids"]) for i in range(steps * args.batch_size))
        return tokens / seconds, times[0], result.training_loss


def with_trainer(model, folder, steps, packed, args):
    """Returns what `with_ewe` returns, from a process of its own."""
    start = time.time()
    command = [sys.executable, Path(__file__).resolve(), "--as-peer", "packed" if packed else "padded", "--folder", folder, "--steps", str(steps)]
    command += ["--model", str(model), "--precision", args.precision, "--method", args.method, "--batch-size", str(args.batch_size)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    rate, begun, loss = json.loads(run.stdout.splitlines()[-1])
    return rate, begun - start, loss


def compare_starts(model, data, folder, args):
    """Prints the seconds to the first step. Each runs twice and the second run counts: a virtual
    machine may take away unused memory and give it back slowly."""
    write(folder, data)
    tools = {
        "ewe": lambda: with_ewe(model, data, folder, 1, args)[1],
        "Trainer": lambda: with_trainer(model, folder, 1, False, args)[1],
    }
    ratios = []
    for turn in range(args.turns):
        starts = {}
        for tool in sorted(tools, reverse=turn % 2 == 1):
            tools[tool]()
            starts[tool] = tools[tool]()
        ratios.append(starts["ewe"] / starts["Trainer"])
        print(f"  to the first step: ewe {starts['ewe']:.2f} s, Trainer {starts['Trainer']:.2f} s", flush=True)
    print(f"start: median ratio {statistics.median(ratios):.2f}")


def compare(model, data, folder, args):
    """Prints all turns and the medians."""
    steps = max(1, args.examples // args.batch_size)
    if args.batch_size == AT_ONCE:
        compare_starts(model, data, folder, args)
    peer = Trainer(model, data)
    lengths = [len(row["input_ids"]) for row in peer.rows]
    padded = sum(max(lengths[i : i + AT_ONCE]) * len(lengths[i : i + AT_ONCE]) for i in range(0, len(lengths), AT_ONCE))
    print(
        f"{model.name}, {args.method}: {args.examples} examples of {statistics.mean(lengths):.0f} tokens, {steps} steps of {args.batch_size}; padded to the "
        f"longest, {sum(lengths) / padded:.0%} of a batch is tokens"
    )
    for packed in (False, True):
        kind, ratios = "packed" if packed else "padded", []
        for _ in range(args.turns):
            ours, _, our_loss, mfu = with_ewe(model, data, folder, steps, args)
            theirs, _, their_loss = with_trainer(model, folder, steps, packed, args)
            ratios.append(ours / theirs)
            print(
                f"  ewe {ours:.0f} useful tokens/s ({mfu:.0%} of the matmul rate), Trainer {kind} {theirs:.0f}; mean loss "
                f"{our_loss:.3f} and {their_loss:.3f}",
                flush=True,
            )
        print(f"Trainer {kind}: median ratio {statistics.median(ratios):.2f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--model", help="gemma or gptj; both unless told")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16", help="fp32 where a processor has no bf16")
    parser.add_argument("--batch-size", type=int, default=AT_ONCE)
    parser.add_argument("--method", choices=["full", "lora"], default="full")
    parser.add_argument("--as-peer", choices=["padded", "packed"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    if args.as_peer:
        data = [(row["prompt"], row["completion"]) for row in map(json.loads, (args.folder / "data.jsonl").open())]
        print(json.dumps(Trainer(args.model, data).run(args.steps, args.as_peer == "packed", args)))
        return
    machine.watch()
    print(f"{threads} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = examples(folder, args.examples)
        if args.model != "gptj":
            compare(GEMMA, data, folder, args)
        if args.model != "gemma":
            compare(small_gptj(data, folder), data, folder, args)


if __name__ == "__main__":
    main()
