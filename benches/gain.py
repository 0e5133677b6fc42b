"""Does generated data help? Measures what the held-out seed tasks say of a model tuned on seeds
alone, on rows that ewe grew from them, and on both.

    make bench-gain        or    .venv/bin/python benches/gain.py [--quick] [--dir DIR] [options]

For each of three random seeds: the seed tasks are split by task, 65 of 215 held out; the model
writes as many rows as seeds are left; each row gets an influence (from a run on everything), a
difficulty (IFD) and a judge's score; then one adapter is tuned for each row set below, and
evaluated on the held-out tasks: negative log-likelihood of the references in nats a token, ROUGE-L,
and the share of answers that the model ends itself.

Row sets: none (the base model); seeds; grown; seeds + grown; seeds + the better half of the grown
rows by influence, by IFD, by judge. With --teacher, also seeds + rows that another model wrote.

Differences to "seeds" are paired: the same held-out tasks, resampled together 10,000 times.
Everything is kept in --dir, so the same command goes on where it was stopped.
"""

import argparse
import json
import random
import shutil
import sqlite3
import statistics
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EWE = ROOT / "target/debug/ewe"
SEED_TASKS = ROOT / "seeds/seed_tasks.jsonl"
RESAMPLES = 10_000
FIGURES = {"nll": "NLL", "rougeL": "ROUGE-L", "stop_rate": "stop rate"}


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=ROOT / "models/gemma-3-270m", type=Path)
    parser.add_argument("--dir", default=ROOT / "target/gain", type=Path, help="keeps everything")
    parser.add_argument("--seeds", default=3, type=int, help="how many random seeds")
    parser.add_argument("--held-out", default=65, type=int, help="tasks held out")
    parser.add_argument("--grown", type=int, help="rows to grow [default: as many as seeds are left]")
    parser.add_argument("--epochs", default=3, type=int)
    parser.add_argument("--teacher", help="another model, a directory, that writes rows too")
    parser.add_argument("--quick", action="store_true", help="one seed, 20 tasks held out, 30 rows, 1 epoch")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.held_out, args.grown, args.epochs = 1, 20, 30, 1
    return args


def ewe(*arguments, log):
    """Runs a command; its output goes to the end of a file."""
    command = [str(EWE), *map(str, arguments)]
    start = time.perf_counter()
    with log.open("a") as out:
        print("$", *command, file=out, flush=True)
        subprocess.run(command, stdout=out, stderr=out, check=True)
    print(f"  {time.perf_counter() - start:6.0f} s  ewe {' '.join(map(str, arguments[:1]))}", flush=True)


def query(db, sql):
    with sqlite3.connect(f"file:{db}?mode=ro", uri=True) as connection:
        return connection.execute(sql).fetchall()


class Trial:
    """Everything of one random seed, in a directory of its own."""

    def __init__(self, args, seed):
        self.args, self.seed = args, seed
        self.dir = args.dir / f"seed-{seed}"
        self.dir.mkdir(parents=True, exist_ok=True)
        self.log = self.dir / "log.txt"
        self.db = self.dir / "rows.db"
        self.taught = self.dir / "taught.db"

    def ewe(self, *arguments):
        ewe(*arguments, log=self.log)

    def once(self, name, work):
        """Does a piece of work unless it was done before."""
        mark = self.dir / f"{name}.done"
        if not mark.exists():
            work()
            mark.touch()

    def grow(self):
        args = self.args
        self.once("init", lambda: self.ewe("init", "--db", self.db, "--seeds", SEED_TASKS))
        self.once("split", lambda: self.ewe("split", "--db", self.db, "--eval", args.held_out, "--seed", self.seed))
        self.kept = query(self.db, "select count(*) from task where id not in (select task_id from held_out)")[0][0]
        target = args.grown or self.kept
        generate = ["generate", "--db", self.db, "--target", target, "--seed", self.seed]
        self.once("grow", lambda: self.ewe(*generate, "--model", args.model))
        if args.teacher:
            self.once("teacher-copy", lambda: self.ewe("init", "--db", self.taught, "--seeds", SEED_TASKS))
            split = ["split", "--db", self.taught, "--eval", args.held_out, "--seed", self.seed]
            self.once("teacher-split", lambda: self.ewe(*split))
            generate[2] = self.taught
            self.once("teacher-grow", lambda: self.ewe(*generate, "--model", args.teacher))

    def rate(self):
        args = self.args
        tuned = self.dir / "for-influence"
        self.once("rate-train", lambda: self.train("for-influence", None, "--keep-checkpoints", 2))
        self.once("influence", lambda: self.ewe("influence", "--db", self.db, "--run-dir", tuned))
        self.once("ifd", lambda: self.ewe("score", "--db", self.db, "--model", args.model))
        self.once("judge", lambda: self.ewe("judge", "--db", self.db, "--model", args.model))

    def train(self, name, where, *more, db=None):
        out = self.dir / name
        shutil.rmtree(out, ignore_errors=True)
        chosen = ["--where", where] if where else []
        self.ewe(
            "train", "--db", db or self.db, "--model", self.args.model, "--out", out, *chosen, *more,
            "--epochs", self.args.epochs, "--seed", self.seed,
        )  # fmt: skip

    def better_half(self, column):
        """Returns the rows that stay: seeds, and the grown rows above the median of a column."""
        values = sorted(
            value for (value,) in query(self.db, f"""
                select {column} from task
                where origin = 'machine' and review <> 'rejected' and {column} is not null""")
        )  # fmt: skip
        median = values[len(values) // 2] if values else 0
        return f"origin = 'seed' or {column} >= {median!r}"

    def row_sets(self):
        return {
            "base": None,
            "seeds": "origin = 'seed'",
            "grown": "origin = 'machine'",
            "seeds + grown": "id > 0",
            "seeds + best half by influence": self.better_half("influence"),
            "seeds + best half by IFD": self.better_half("ifd"),
            "seeds + best half by judge": self.better_half("score"),
        }

    def measure(self, name, where, db=None):
        """Returns the figures of a row set, and those of each held-out task."""
        slug = name.replace(" + ", "-").replace(" ", "-")
        result, answers = self.dir / f"{slug}.json", self.dir / f"{slug}.jsonl"
        adapter = []
        if where:
            self.once(f"train-{slug}", lambda: self.train(slug, where, db=db))
            adapter = ["--adapter", self.dir / slug]
        evaluate = ["eval", "--db", self.db, "--model", self.args.model, *adapter, "--suite", "held-out"]
        evaluate += ["--template", "alpaca", "--max-tokens", 128, "--out", result, "--answers", answers]
        self.once(f"eval-{slug}", lambda: self.ewe(*evaluate))
        figures = json.loads(result.read_text())["suites"]["held-out"]
        items = {}
        for line in answers.read_text().splitlines():
            row = json.loads(line)
            items[row["task"]] = row["scores"]
        return {key: figures[key] for key in FIGURES}, items


def paired(ours, theirs, key, rng):
    """Returns the mean difference of two row sets over the same items, with its 95 % interval."""
    differences = [
        ours[item][key] - theirs[item][key]
        for item in theirs
        if item in ours and ours[item].get(key) is not None and theirs[item].get(key) is not None
    ]
    means = sorted(statistics.fmean(rng.choices(differences, k=len(differences))) for _ in range(RESAMPLES))
    return statistics.fmean(differences), means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES)]


def main():
    args = options()
    start = time.time()
    figures, items = {}, {}
    for seed in range(args.seeds):
        print(f"seed {seed}", flush=True)
        trial = Trial(args, seed)
        trial.grow()
        trial.rate()
        row_sets = [(name, where, None) for name, where in trial.row_sets().items()]
        if args.teacher:
            row_sets.append((f"seeds + rows of {Path(args.teacher).name}", "id > 0", trial.taught))
        for name, where, db in row_sets:
            of_set, of_items = trial.measure(name, where, db)
            figures.setdefault(name, []).append(of_set)
            # Items of all seeds together; each seed has a split of its own.
            items.setdefault(name, {}).update({(seed, item): scores for item, scores in of_items.items()})
    rng = random.Random(0)
    print(f"\n{args.model.name}, {args.seeds} seeds, {args.held_out} tasks held out, {args.epochs} epochs,", end=" ")
    print(f"{(time.time() - start) / 60:.0f} minutes\n")
    print("| rows | NLL | ROUGE-L | stop rate | NLL less than that of seeds, 95 % |")
    print("| --- | ---: | ---: | ---: | --- |")
    for name, of_seeds in figures.items():
        means = [statistics.fmean(one[key] for one in of_seeds) for key in FIGURES]
        mean, low, high = paired(items["seeds"], items[name], "nll", rng)
        gain = "" if name == "seeds" else f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
        print(f"| {name} | {means[0]:.3f} | {means[1]:.1f} | {means[2]:.0f} % | {gain} |")


if __name__ == "__main__":
    main()
