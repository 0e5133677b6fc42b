"""Do tasks from documents help a model to answer about them? Makes grounded and backtranslated tasks
of 30 documents that Debian ships, and as many self-instruct tasks that know nothing of them; tunes
an adapter on each; and asks the base model and the three about the documents.

    .venv/bin/python benches/documents.py [--tasks N] [--dir DIR] [--model DIR] [--endpoint URL]

The questions, 45 of them on 11 of the documents, and their answers were written by a person who read
these (benches/documents/questions.jsonl). Of each: negative log-likelihood of the answer in nats a
token, and ROUGE-L of what the model says. Differences to the base model and to the self-instruct
tasks are paired over the questions, drawn with replacement 10,000 times.

With --endpoint, a chat model writes the tasks, by structured output; else the base model itself
does. Everything is kept in --dir, so the same command goes on where it was stopped. EWE names
another program than target/debug/ewe.
"""

import argparse
import json
import random
from pathlib import Path

from gain import EWE, ROOT, ewe, interval, paired, query

HERE = ROOT / "benches/documents"
DOCUMENTS = (HERE / "list.txt").read_text().split()
READ = "origin = 'machine' and review <> 'rejected'"


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=200, type=int, help="tasks of each recipe")
    parser.add_argument("--dir", default=ROOT / "target/documents", type=Path, help="keeps everything")
    parser.add_argument("--model", default=ROOT / "models/gemma-3-270m", type=Path, help="the model to tune")
    parser.add_argument("--endpoint", help="a server whose model writes the tasks")
    parser.add_argument("--epochs", default=3, type=int)
    parser.add_argument("--sample", type=int, metavar="N", help="print N tasks of each recipe to read, and end")
    return parser.parse_args()


class Trial:
    """Everything, in one directory."""

    def __init__(self, args):
        self.args, self.dir = args, args.dir
        self.dir.mkdir(parents=True, exist_ok=True)
        self.log = self.dir / "log.txt"

    def once(self, name, *commands):
        mark = self.dir / f"{name}.done"
        if not mark.exists():
            for command in commands:
                ewe(*command, log=self.log)
            mark.touch()

    def db(self, name):
        return self.dir / f"{name}.db"

    def make(self):
        """Makes the tasks: of documents as many as come, of self-instruct as many as those."""
        args = self.args
        writer = ["--endpoint", args.endpoint, "--structured"] if args.endpoint else ["--model", args.model]
        for recipe in ("grounded", "backtranslation"):
            db = self.db(recipe)
            self.once(f"{recipe}-init", ["init", "--db", db], ["add-documents", "--db", db, *DOCUMENTS])
            self.once(recipe, ["generate", "--db", db, "--recipe", recipe, "--target", args.tasks, *writer])
        both = self.db("documents")
        self.once("documents", ["merge-db", self.db("grounded"), self.db("backtranslation"), "--out", both])
        count = query(both, f"select count(*) from task where {READ}")[0][0]
        alone = self.db("self-instruct")
        self.once("self-instruct", ["init", "--db", alone], ["generate", "--db", alone, "--target", count, *writer])
        return count

    def measure(self, name, db):
        """Returns the figures of a model tuned on the tasks of a dataset, or of the base model."""
        args, out = self.args, self.dir / name
        adapter = []
        if db:
            command = ["train", "--db", db, "--model", args.model, "--out", out, "--epochs", args.epochs]
            self.once(f"train-{name}", [*command, "--where", READ, "--eval-fraction", 0])
            adapter = ["--adapter", out]
        result, answers = self.dir / f"{name}.json", self.dir / f"{name}.jsonl"
        evaluate = ["eval", "--model", args.model, *adapter, "--suite", f"instructions={HERE / 'questions.jsonl'}"]
        evaluate += ["--template", "alpaca", "--max-tokens", 64, "--out", result, "--answers", answers]
        self.once(f"eval-{name}", evaluate)
        rows = [json.loads(line)["scores"] for line in answers.open()]
        keys = ("nll", "rougeL", "reference_tokens")
        items = {str(number): {key: row.get(key) for key in keys} for number, row in enumerate(rows)}
        return json.loads(result.read_text())["suites"]["instructions"], items


def sample(trial, count):
    """Prints tasks to read, each with its passage."""
    for recipe in ("grounded", "backtranslation"):
        rows = query(trial.db(recipe), f"""
            select task.id, instruction, instance.input, instance.output, task_passage.text from task
            join instance on instance.task_id = task.id
            join task_passage on task_passage.task_id = task.id and task_passage.ordinal = 0
            where {READ} group by task.id""")  # fmt: skip
        print(f"\n# {recipe}: {len(rows)} tasks")
        for row in random.Random(0).sample(rows, min(count, len(rows))):
            print(f"\n## {row[0]}\n{row[1]}\n-- input: {row[2]}\n-- output: {row[3]}\n-- passage: {row[4]}")


def main():
    args = options()
    trial = Trial(args)
    count = trial.make()
    if args.sample:
        return sample(trial, args.sample)
    names = {"base": None, "self-instruct": trial.db("self-instruct"), "documents": trial.db("documents")}
    found = {name: trial.measure(name, db) for name, db in names.items()}
    print(f"\n{EWE.name}, {args.model.name}, {count} tasks of documents and as many without, {args.epochs} epochs\n")
    print("| rows | NLL | ROUGE-L | NLL below that of base, 95 % | NLL below that of self-instruct, 95 % | ROUGE-L above self-instruct, 95 % |")
    print("| --- | ---: | ---: | --- | --- | --- |")
    for name, (figures, items) in found.items():
        below = [interval(*paired([(found[other][1], items)], "nll"), 3) for other in ("base", "self-instruct")]
        above = interval(*paired([(items, found["self-instruct"][1])], "rougeL"), 1)
        print(f"| {name} | {figures['nll']:.3f} | {figures['rougeL']:.1f} | {' | '.join(below)} | {above} |")


if __name__ == "__main__":
    main()
