"""`ewe train` beside Hugging Face's `Trainer`: every weight of Gemma 3 270M, bf16 with fp32 masters, the same examples in the
same order, batches of 8, the same threads.

    make bench-train        or    .venv/bin/python benches/train.py [--turns N] [--examples N]

The examples are ewe's seed tasks in Alpaca's template, repeated as far as needed. Peers are the Trainer as published recipes run it,
each batch padded to its longest example, and the Trainer with `DataCollatorWithFlattening`, which packs a batch into one row
as ewe does. Useful tokens are those of examples, padding not counted; time is that of the steps, loading not
counted. What each takes from its start to its first step is told apart. A ratio is of two runs that followed each other.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models/gemma-3-270m"
EWE = ROOT / "target/debug/ewe"
BATCH = 8
WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that "
    "appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)


def examples(folder, count):
    """Pairs of prompt and completion."""
    database, out = folder / "seeds.db", folder / "seeds.json"
    subprocess.run([EWE, "-q", "init", "--db", database], check=True)
    subprocess.run([EWE, "-q", "export", "--db", database, "--format", "alpaca", "--review", "any", "--out", out], check=True)
    rows = json.loads(out.read_text())
    rows = (rows * (count // len(rows) + 1))[:count]
    return [((WITH_INPUT if row["input"] else WITHOUT_INPUT).format(**row), row["output"]) for row in rows]


def with_ewe(data, folder, steps):
    """Useful tokens a second, and seconds to the first step's end less that step."""
    file, out = folder / "data.jsonl", folder / f"out{time.monotonic_ns()}"
    file.write_text("".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in data))
    start = time.time()
    subprocess.run(
        [EWE, "-q", "train", "--data", file, "--model", MODEL, "--out", out, "--method", "full", "--template", "completion",
         "--steps", str(steps), "--batch-size", str(BATCH), "--order", "sequential", "--lr", "1e-5", "--warmup-steps", "0",
         "--eval-fraction", "0", "--save-every", "0"],
        check=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    seconds = sum(row["tokens"] / row["tokens_per_s"] for row in rows)
    first = (out / "run.json").stat().st_mtime - start
    subprocess.run(["rm", "-r", out], check=True)
    return sum(row["tokens"] for row in rows) / seconds, first, rows[-1]["loss"], statistics.mean(row["mfu"] for row in rows)


class Trainer:
    """Hugging Face's, on the same examples."""

    def __init__(self, data):
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(MODEL)
        self.rows = []
        for prompt, completion in data:
            source = self.tokenizer(prompt).input_ids
            target = self.tokenizer(completion, add_special_tokens=False).input_ids + [self.tokenizer.eos_token_id]
            self.rows.append({"input_ids": source + target, "labels": [-100] * len(source) + target})

    def run(self, steps, packed, folder):
        import transformers
        from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, DataCollatorWithFlattening, TrainingArguments

        transformers.logging.set_verbosity_error()
        begun = time.perf_counter()
        model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
        collator = DataCollatorWithFlattening() if packed else DataCollatorForSeq2Seq(self.tokenizer, padding="longest")

        class InOrder(transformers.Trainer):
            def _get_train_sampler(self, *_):
                return torch.utils.data.SequentialSampler(self.train_dataset)

        class Clock(transformers.TrainerCallback):
            def on_step_begin(self, *_, **__):
                times.append(time.perf_counter())

        times = []
        arguments = TrainingArguments(
            output_dir=folder / "trainer", per_device_train_batch_size=BATCH, max_steps=steps, learning_rate=1e-5, bf16=True,
            use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True, logging_steps=steps, warmup_steps=0,
            dataloader_num_workers=0,
        )  # fmt: skip
        trainer = InOrder(model=model, args=arguments, train_dataset=self.rows, data_collator=collator, callbacks=[Clock()])
        result = trainer.train()
        seconds = time.perf_counter() - times[0]
        tokens = sum(len(self.rows[i % len(self.rows)]["input_ids"]) for i in range(steps * BATCH))
        return tokens / seconds, times[0] - begun, result.training_loss


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--examples", type=int, default=256)
    args = parser.parse_args()
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    steps = args.examples // BATCH
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = examples(folder, args.examples)
        peer = Trainer(data)
        lengths = [len(row["input_ids"]) for row in peer.rows]
        padded = sum(max(lengths[i : i + BATCH]) * len(lengths[i : i + BATCH]) for i in range(0, len(lengths), BATCH))
        print(
            f"{threads} threads, torch {torch.__version__}; {args.examples} examples of {statistics.mean(lengths):.0f} tokens, "
            f"{steps} steps of {BATCH}; padded to the longest, {sum(lengths) / padded:.0%} of a batch is tokens"
        )
        for packed in (False, True):
            kind, ratios, starts = "packed" if packed else "padded", [], []
            for _ in range(args.turns):
                ours, our_start, our_loss, mfu = with_ewe(data, folder, steps)
                theirs, their_start, their_loss = peer.run(steps, packed, folder)
                ratios.append(ours / theirs)
                starts.append(our_start / their_start)
                print(
                    f"  ewe {ours:.0f} useful tokens/s ({mfu:.0%} of the matmul rate), Trainer {kind} {theirs:.0f}; to the first step "
                    f"{our_start:.1f} s and {their_start:.1f} s; loss {our_loss:.3f} at the last step and {their_loss:.3f} on average",
                    flush=True,
                )
            print(f"Trainer {kind}: median ratio {statistics.median(ratios):.2f}, of the start {statistics.median(starts):.2f}")


if __name__ == "__main__":
    main()
