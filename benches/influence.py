"""Planted bad rows: does `ewe influence` find them, does leaving out the worst rows help, and how
long does it take beside an epoch of training?

    .venv/bin/python benches/influence.py [--quick] [--seeds N] [--first-seed N]
        [--directions adam,less,sgd] [--work DIR] [--model DIR]

EWE names another program than target/debug/ewe, such as a copy that no build replaces.

500 rows: the shipped seeds and rows of simple skills (influence_rows.py), less 120 that are held
out, 60 on which influence is computed and 60 on which losses are measured: rows that chose nothing.
A fifth of the rows is spoilt: the answer of another row, the own answer with its words shuffled, or
sentences in another language, in equal parts. For each of three seeds, a fresh choice of rows to
spoil and of rows to hold out:

1. An adapter is trained on all rows for two epochs, with two checkpoints kept.
2. Influence on the held-out rows, by each direction: the area under the ROC curve (AUROC) for
   spoilt rows being low, and the time divided by that of a training epoch, its evaluation included:
   wall time, and processor time, which other work on the machine disturbs less.
3. Adapters are trained on the rows without the worst fifth by influence, without a random fifth, and
   without the fifth that was spoilt: loss of each on the second 60 rows, same seed and steps.

Every result is kept in the working folder, so that a run that was cut off goes on. --quick takes
60 rows, one seed and one epoch: whether it works, not a measurement.
"""

import argparse
import json
import os
import random
import sqlite3
import statistics
import subprocess
import time
from pathlib import Path

import machine
from influence_rows import KINDS, own_rows, seed_rows, spoil

ROOT = Path(__file__).resolve().parent.parent
EWE = Path(os.environ.get("EWE", ROOT / "target/debug/ewe"))
DIRECTIONS = ("adam", "less", "sgd")


def ewe(*arguments):
    """Runs ewe. Returns its wall time and its processor time in seconds."""
    started, before = time.perf_counter(), os.times()
    subprocess.run([EWE, "-q", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, cpu


def write(path, rows):
    fields = ("instruction", "input", "output")
    path.write_text("".join(json.dumps({field: row[field] for field in fields}) + "\n" for row in rows))


def auroc(low, high):
    """The chance that one of `low` is below one of `high`."""
    pairs = [(0.5 if a == b else float(a < b)) for a in low for b in high]
    return statistics.fmean(pairs)


class Trial:
    """One seed: its rows, runs and results, each kept in a folder."""

    def __init__(self, seed, options):
        self.seed, self.options = seed, options
        self.folder = options.work / f"{'quick' if options.quick else 'whole'}-{seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        count, apart = (60, 12) if options.quick else (500, 60)
        rng = random.Random(seed)
        rows = seed_rows() + own_rows(count + 2 * apart)
        rng.shuffle(rows)
        write(self.folder / "held_out.jsonl", rows[:apart])
        write(self.folder / "test.jsonl", rows[apart : 2 * apart])
        self.rows = spoil(rows[2 * apart :][:count], count // 5, rng)

    def kept(self, name, compute):
        """The result `name`, computed unless it is there."""
        path = self.folder / f"{name}.json"
        if not path.is_file():
            result = compute()
            path.with_suffix(".partial").write_text(json.dumps(result))
            path.with_suffix(".partial").rename(path)
        return json.loads(path.read_text())

    def train(self, name, *rows):
        """Trains an adapter. Returns its seconds an epoch, wall and processor, and its losses."""
        out, epochs = self.folder / name, 1 if self.options.quick else 2
        resume = ["--resume"] if (out / "run.json").is_file() else []
        seconds, cpu = ewe(
            "train", *rows, "--eval-data", self.folder / "test.jsonl", "--model", self.options.model, "--out", out,
            "--epochs", epochs, "--seed", self.seed, "--keep-checkpoints", 2, *resume,
        )  # fmt: skip
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        losses = [line["eval_loss"] for line in lines if line.get("eval_loss") is not None]
        return {
            "before": lines[0]["eval_loss_before"],
            "after": losses[-1],
            # A run that was cut off has no time of its own.
            "seconds": None if resume else seconds / epochs,
            "cpu": None if resume else cpu / epochs,
        }

    def dataset(self):
        db = self.folder / "rows.db"
        if not db.is_file():
            write(self.folder / "rows.jsonl", self.rows)
            ewe("init", "--db", db, "--seeds", self.folder / "rows.jsonl")
        return db

    def influence(self, direction):
        db = self.dataset()
        seconds, cpu = ewe(
            "influence", "--db", db, "--run-dir", self.folder / "all", "--eval-data", self.folder / "held_out.jsonl",
            "--direction", direction, "--seed", self.seed,
        )  # fmt: skip
        with sqlite3.connect(db) as connection:
            values = connection.execute("select instruction, influence from task order by id").fetchall()
        if [instruction for instruction, _ in values] != [row["instruction"] for row in self.rows]:
            raise SystemExit("the rows of the dataset are not those of the file")
        return {"values": [value for _, value in values], "seconds": seconds, "cpu": cpu}

    def without(self, name, left_out):
        path = self.folder / f"{name}.jsonl"
        write(path, [row for at, row in enumerate(self.rows) if at not in left_out])
        return self.train(name, "--data", path)

    def run(self):
        trained = self.kept("trained", lambda: self.train("all", "--db", self.dataset()))
        result = {"seed": self.seed, "all": trained, "directions": {}}
        kinds = [row.get("spoilt") for row in self.rows]
        for direction in self.options.directions:
            found = self.kept(f"influence-{direction}", lambda: self.influence(direction))
            scored = [(value, kind) for value, kind in zip(found["values"], kinds) if value is not None]
            good = [value for value, kind in scored if kind is None]
            areas = {kind: auroc([v for v, k in scored if k == kind], good) for kind in KINDS}
            areas["all"] = auroc([v for v, k in scored if k], good)
            cost = {of: found[of] / trained[of] if trained[of] else None for of in ("seconds", "cpu")}
            result["directions"][direction] = {"auroc": areas, "epochs": cost}
        values = self.kept("influence-adam", dict)["values"]
        fifth = len(self.rows) // 5
        order = sorted(range(len(values)), key=lambda at: (values[at] is None, values[at] or 0.0))
        chance = random.Random(self.seed + 1000).sample(range(len(values)), fifth)
        spoilt = [at for at, kind in enumerate(kinds) if kind]
        for name, left_out in (("worst", order[:fifth]), ("random", chance), ("spoilt", spoilt)):
            result[name] = self.kept(f"without-{name}", lambda: self.without(f"without_{name}", set(left_out)))
        return result


def report(results):
    print(f"\n{'seed':>4}  {'direction':<9} " + " ".join(f"{kind:>10}" for kind in (*KINDS, "all")) + "   epochs by wall, by processor")
    for result in results:
        for direction, of in result["directions"].items():
            areas = " ".join(f"{of['auroc'][kind]:>10.3f}" for kind in (*KINDS, "all"))
            epochs = "  ".join(f"{cost:.2f}" if cost else "-" for cost in of["epochs"].values())
            print(f"{result['seed']:>4}  {direction:<9} {areas}   {epochs}")
    print(f"\n{'seed':>4}  held-out loss: before, all rows, without a random fifth, the worst, the spoilt; worst - random")
    gains = []
    for result in results:
        losses = [result["all"]["before"]] + [result[name]["after"] for name in ("all", "random", "worst", "spoilt")]
        gains.append(result["worst"]["after"] - result["random"]["after"])
        print(f"{result['seed']:>4}  " + "  ".join(f"{loss:.4f}" for loss in losses) + f"  {gains[-1]:+.4f}")
    print(f"mean of worst - random: {statistics.fmean(gains):+.4f} over {len(gains)} seeds, all below zero: {all(gain < 0 for gain in gains)}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, default=ROOT / "target/bench-influence")
    parser.add_argument("--model", type=Path, default=ROOT / "models/gemma-3-270m")
    parser.add_argument("--seeds", type=int, default=3, help="how many random seeds")
    parser.add_argument("--first-seed", type=int, default=1, help="the first of them")
    parser.add_argument("--directions", type=lambda text: text.split(","), default=DIRECTIONS, help="`adam` is one")
    options = parser.parse_args()
    machine.watch()
    seeds = (1,) if options.quick else range(options.first_seed, options.first_seed + options.seeds)
    results = []
    for seed in seeds:
        results.append(Trial(seed, options).run())
        (options.work / "results.json").write_text(json.dumps(results, indent=1))
    report(results)


if __name__ == "__main__":
    main()
