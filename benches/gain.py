"""Does generated data help? Measures what the held-out seed tasks say of a model tuned on seeds
alone, on rows that ewe grew from them, and on both.

    make bench-gain        or    .venv/bin/python benches/gain.py [--quick] [--dir DIR] [options]

EWE names another program than target/debug/ewe, such as a copy that no build replaces.

For each of three random seeds: the seed tasks are split by task, 65 of 215 held out; the model
writes as many rows as seeds are left; each row gets an influence (from a run on everything), a
difficulty (IFD) and a judge's score; then one adapter is tuned for each row set of ROW_SETS below,
and evaluated on the held-out tasks: negative log-likelihood of the references in nats a token,
ROUGE-L, and the share of answers that the model ends itself. With --teacher, another model writes
rows from the same seeds, too.

Seeds and grown rows are twice as many rows, so twice as many steps: "seeds, twice the epochs" tells
how much of a difference is due to that. "Grown, then seeds" continues the adapter of the grown rows
on the seeds.

Differences to "seeds" are paired: the same held-out tasks, drawn with replacement 10,000 times. A
task that several random seeds held out is drawn as a whole.

Everything is kept in --dir, so the same command goes on where it was stopped. The figures of each
held-out task are in DIR/seed-N.json; --table prints the tables of such files, which may come from
several machines, with the row sets that all of them have.
"""

import argparse
import json
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EWE = Path(os.environ.get("EWE", ROOT / "target/debug/ewe"))
SEED_TASKS = ROOT / "seeds/seed_tasks.jsonl"
RESAMPLES = 10_000
FIGURES = ("nll", "rougeL", "stop_rate")
SEEDS, GROWN = "origin = 'seed'", "origin = 'machine'"


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=ROOT / "models/gemma-3-270m", type=Path)
    parser.add_argument("--dir", default=ROOT / "target/gain", type=Path, help="keeps everything")
    parser.add_argument("--seeds", default=3, type=int, help="how many random seeds")
    parser.add_argument("--first-seed", default=0, type=int, help="the first of them")
    parser.add_argument("--held-out", default=65, type=int, help="tasks held out")
    parser.add_argument("--grown", type=int, help="rows to grow [default: as many as seeds are left]")
    parser.add_argument("--epochs", default=3, type=int)
    parser.add_argument("--teacher", help="another model, a directory, that writes rows too")
    parser.add_argument("--table", nargs="+", type=Path, metavar="FILE", help="print tables of seed-N.json files")
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
        kept = f"select count(*) from task where {SEEDS} and id not in (select task_id from held_out)"
        self.kept = query(self.db, kept)[0][0]
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
        self.once("rate-train", lambda: self.train("for-influence", {"options": ["--keep-checkpoints", 2]}))
        self.once("influence", lambda: self.ewe("influence", "--db", self.db, "--run-dir", tuned))
        self.once("ifd", lambda: self.ewe("score", "--db", self.db, "--model", args.model))
        self.once("judge", lambda: self.ewe("judge", "--db", self.db, "--model", args.model))

    def train(self, name, rows):
        out = self.dir / name
        shutil.rmtree(out, ignore_errors=True)
        self.ewe(
            "train", "--db", rows.get("db", self.db), "--model", self.args.model, "--out", out,
            "--epochs", self.args.epochs * rows.get("times", 1), "--seed", self.seed, "--eval-every", 1_000_000,
            *(["--where", rows["where"]] if rows.get("where") else []),
            *(["--adapter", self.dir / slug(rows["after"])] if rows.get("after") else []),
            *rows.get("options", []),
        )  # fmt: skip

    def better_half(self, column, bound=None):
        """Returns the rows that stay: seeds, and about half of the grown rows, those with the
        highest values. Scores of a judge are few numbers, so it may not be exactly half."""
        usable = f"{column} is not null" + (f" and {column} < {bound}" if bound else "")
        values = sorted(
            value for (value,) in query(self.db, f"""
                select {column} from task where origin = 'machine' and review <> 'rejected' and {usable}""")
        )  # fmt: skip
        half = len(values) / 2
        least = min(values, key=lambda value: abs(sum(other >= value for other in values) - half), default=0)
        below = f" and {column} < {bound}" if bound else ""
        return f"origin = 'seed' or ({column} >= {least!r}{below})"

    def row_sets(self):
        """Returns name and rows of each adapter; one that continues another comes after it."""
        sets = {
            "base": None,
            "seeds": {"where": SEEDS},
            "seeds, twice the epochs": {"where": SEEDS, "times": 2},
            "grown": {"where": GROWN},
            "seeds + grown": {},
            "grown, then seeds": {"where": SEEDS, "after": "grown"},
            "seeds + best half by influence": {"where": self.better_half("influence")},
            # The paper leaves out rows from 1 on: their instruction does not help (Li et al. 2023).
            "seeds + best half by IFD": {"where": self.better_half("ifd", bound=1)},
            "seeds + best half by judge": {"where": self.better_half("score")},
        }
        if self.args.teacher:
            sets["teacher"] = {"where": GROWN, "db": self.taught}
            sets["seeds + teacher"] = {"db": self.taught}
            sets["teacher, then seeds"] = {"where": SEEDS, "db": self.taught, "after": "teacher"}
        return sets

    def measure(self, name, rows):
        """Returns the figures of a row set, and those of each held-out task."""
        folder = slug(name)
        result, answers = self.dir / f"{folder}.json", self.dir / f"{folder}.jsonl"
        adapter = []
        if rows is not None:
            self.once(f"train-{folder}", lambda: self.train(folder, rows))
            adapter = ["--adapter", self.dir / folder]
        evaluate = ["eval", "--db", self.db, "--model", self.args.model, *adapter, "--suite", "held-out"]
        evaluate += ["--template", "alpaca", "--max-tokens", 128, "--out", result, "--answers", answers]
        self.once(f"eval-{folder}", lambda: self.ewe(*evaluate))
        figures = json.loads(result.read_text())["suites"]["held-out"]
        items = {}
        for line in answers.read_text().splitlines():
            row = json.loads(line)
            items[str(row["task"])] = {key: row["scores"].get(key) for key in ("nll", "rougeL", "reference_tokens")}
        return {"figures": {key: figures[key] for key in FIGURES}, "items": items}

    def run(self):
        """Does everything of this seed, and returns the figures of each row set. They are written
        after each, so that a run that was stopped has those that it came to."""
        self.grow()
        self.rate()
        grown = query(self.db, "select count(*) from task where origin = 'machine' and review <> 'rejected'")[0][0]
        args = self.args
        result = {
            "seed": self.seed, "model": args.model.name, "teacher": args.teacher and Path(args.teacher).name,
            "seeds": self.kept, "grown": grown, "held_out": args.held_out, "epochs": args.epochs,
            "rows": {},
        }  # fmt: skip
        for name, rows in self.row_sets().items():
            result["rows"][name] = self.measure(name, rows)
            (args.dir / f"seed-{self.seed}.json").write_text(json.dumps(result, indent=1) + "\n")
        return result


def slug(name):
    return name.replace(",", "").replace(" + ", "-").replace(" ", "-")


def paired(pairs, key):
    """Returns the mean difference of two row sets, an answer's ROUGE-L or a reference token's NLL,
    with its 95 % interval: tasks are drawn, with all their instances."""
    rng = random.Random(0)
    of_task = {}
    for ours, theirs in pairs:
        for instance in sorted(theirs.keys() & ours.keys()):
            one, other = ours[instance], theirs[instance]
            if one.get(key) is not None and other.get(key) is not None:
                sums = of_task.setdefault(instance.split(",")[0], [0.0, 0])
                sums[0] += one[key] - other[key]
                sums[1] += one["reference_tokens"] if key == "nll" else 1
    tasks = list(of_task.values())
    mean = lambda drawn: sum(total for total, _ in drawn) / sum(count for _, count in drawn)
    means = sorted(mean(rng.choices(tasks, k=len(tasks))) for _ in range(RESAMPLES))
    return mean(tasks), means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES)]


def print_table(results):
    """Prints the figures of each row set, and what each gains over the seeds alone."""
    first = results[0]
    print(f"\n{first['model']}, random seeds {', '.join(str(one['seed']) for one in results)},", end=" ")
    print(f"{first['seeds']} seeds, {first['held_out']} held out, {first['epochs']} epochs,", end=" ")
    print(f"grown rows {', '.join(str(one['grown']) for one in results)}\n")
    print("| rows | NLL | ROUGE-L | stop rate | NLL below that of seeds, 95 % | each random seed | ROUGE-L above, 95 % |")
    print("| --- | ---: | ---: | ---: | --- | --- | --- |")
    for name in [name for name in first["rows"] if all(name in one["rows"] for one in results)]:
        of_seeds = [one["rows"][name]["figures"] for one in results]
        means = [statistics.fmean(one[key] for one in of_seeds) for key in FIGURES]
        nll = each = rouge = ""
        if name != "seeds":
            # Above zero, the others are better than the seeds.
            pairs = [(one["rows"][name]["items"], one["rows"]["seeds"]["items"]) for one in results]
            turned = [(seeds, others) for others, seeds in pairs]
            nll = interval(*paired(turned, "nll"), 3)
            each = ", ".join(f"{paired([pair], 'nll')[0]:+.3f}" for pair in turned)
            rouge = interval(*paired(pairs, "rougeL"), 1)
        print(f"| {name} | {means[0]:.3f} | {means[1]:.1f} | {means[2]:.0f} % | {nll} | {each} | {rouge} |")


def interval(mean, low, high, digits):
    return f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def main():
    args = options()
    if args.table:
        return print_table([json.loads(path.read_text()) for path in args.table])
    results = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        print(f"seed {seed}", flush=True)
        results.append(Trial(args, seed).run())
    print_table(results)


if __name__ == "__main__":
    main()
