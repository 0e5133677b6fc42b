#!/usr/bin/env python3
"""Exports a dataset in every format and shape and opens each file, unmodified, with Hugging Face
`datasets`. Imports files that `datasets`, Python's `csv` and its compressors write.

    .venv/bin/python scripts/check_datasets.py

Every row must be there with the texts that SQLite has, in both directions. Needs
requirements-dev.txt and a built `ewe`. Downloads nothing.
"""

import bz2
import csv
import gzip
import json
import lzma
import os
import sqlite3
import subprocess
import tempfile
from pathlib import Path

os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

from datasets import Dataset, load_dataset  # noqa: E402  (reads the environment when it is imported)

ROOT = Path(__file__).resolve().parent.parent
EWE = Path(os.environ.get("EWE", ROOT / "target" / "debug" / "ewe"))

HOSTILE = 'Quote "this" \\ and\nthat \u0001 ☂ 𝄞 \u2028 <script>alert(1)</script>, = cmd'


def ewe(*arguments):
    subprocess.run([EWE, "-q", *map(str, arguments)], check=True)


def question(row):
    return f"{row['instruction']}\n\n{row['input']}" if row["input"] else row["instruction"]


# Format, file name, loader, and the row that `datasets` must read for a row of the dataset.
FORMATS = [
    ("alpaca", "a.json", "json", lambda row: {key: row[key] for key in ("instruction", "input", "output")}),
    (
        "dolly",
        "d.jsonl",
        "json",
        lambda row: {"instruction": row["instruction"], "context": row["input"], "response": row["output"]},
    ),
    (
        "chat",
        "c.jsonl",
        "json",
        lambda row: {
            "messages": [
                {"role": "user", "content": question(row)},
                {"role": "assistant", "content": row["output"]},
            ]
        },
    ),
    ("completion", "p.jsonl", "json", lambda row: {"completion": row["output"]}),
    ("parquet", "t.parquet", "parquet", lambda row: {key: row[key] for key in ("instruction", "input", "output")}),
]

# File names that ask for other shapes and compressions, and their loaders.
SHAPES = [("x.jsonl", "json"), ("x.json", "json"), ("x.parquet", "parquet"), ("x.jsonl.gz", "json"), ("x.jsonl.zst", "json")]

# Rows that other programs write.
ROWS = [
    {"instruction": HOSTILE, "input": "", "output": HOSTILE},
    {"instruction": "Name a river; a \"large\" one.", "input": "a,b\tc", "output": "The Rhine,\r\nof course."},
    {"instruction": "Zähle die Flüsse auf.", "input": "2\n3", "output": "eins ☂"},
]


def written(scratch):
    """Writes ROWS to files, each by another program."""
    dataset = Dataset.from_list(ROWS)
    dataset.to_json(scratch / "lines.jsonl")
    dataset.to_json(scratch / "array.json", lines=False)
    dataset.to_json(scratch / "escaped.jsonl", force_ascii=True)
    dataset.to_csv(scratch / "datasets.csv")
    dataset.to_parquet(scratch / "datasets.parquet")
    dataset.save_to_disk(scratch / "saved", num_shards=2)
    yield from ("lines.jsonl", "array.json", "escaped.jsonl", "datasets.csv", "datasets.parquet", "saved")
    yield str(next((scratch / "saved").glob("data-00000*.arrow")).relative_to(scratch))
    for name, options in [("module.csv", {}), ("module.tsv", {"delimiter": "\t"}), ("module.txt", {"delimiter": ";", "quoting": csv.QUOTE_ALL})]:
        with open(scratch / name, "w", newline="") as file:
            writer = csv.DictWriter(file, ROWS[0], **options)
            writer.writeheader()
            writer.writerows(ROWS)
        yield name
    with open(scratch / "indented.json", "w") as file:
        json.dump(ROWS, file, indent=2)
    yield "indented.json"
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    for name, pack in [("x.gz", gzip.compress), ("x.xz", lzma.compress), ("x.bz2", bz2.compress)]:
        (scratch / name).write_bytes(pack(lines.encode()))
        yield name
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
        (scratch / encoding).write_text(lines, encoding=encoding)
        yield encoding
    chat = [
        {"messages": [{"role": "user", "content": row["instruction"]}, {"role": "assistant", "content": row["output"]}]}
        for row in ROWS
    ]
    Dataset.from_list(chat).to_parquet(scratch / "chat.parquet")
    yield "chat.parquet"


def check_reading(scratch):
    for number, name in enumerate(written(scratch)):
        db = scratch / f"{number}.db"
        (scratch / "one.jsonl").write_text('{"instruction": "Say hi.", "output": "hi"}')
        ewe("init", "--db", db, "--seeds", scratch / "one.jsonl")
        ewe("import", "--db", db, scratch / name)
        with sqlite3.connect(db) as connection:
            connection.row_factory = sqlite3.Row
            stored = connection.execute("SELECT * FROM dataset WHERE origin = 'import' ORDER BY instance_id").fetchall()
        stored = [{key: row[key] for key in ROWS[0]} for row in stored]
        shard = "data-00000" in name
        wanted = ROWS[: len(stored)] if shard else ROWS
        if name == "chat.parquet":
            wanted = [dict(row, input="") for row in ROWS]
        assert stored and stored == wanted, f"{name}: {stored}"
        print(f"{name:32} read")


def check_shapes(scratch, db, expected):
    for format, _, _, wanted in FORMATS[:-1]:
        for name, loader in SHAPES:
            out = scratch / f"{format}-{name}"
            ewe("export", "--db", db, "--format", format, "--out", out)
            loaded = load_dataset(loader, data_files=str(out), split="train", cache_dir=str(scratch / "cache"))
            assert len(loaded) == len(expected), f"{out.name}: {len(loaded)} rows, not {len(expected)}"
            for row, stored in zip(loaded, expected):
                for key, value in wanted(stored).items():
                    assert row[key] == value, f"{out.name}, {key}: {row[key]!r} is not {value!r}"
            print(f"{out.name:32} {len(loaded):6} rows")


def main():
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        db = scratch / "d.db"
        ewe("init", "--db", db)
        with sqlite3.connect(db) as connection:
            connection.execute("INSERT INTO task (instruction, origin) VALUES (?, 'import')", (HOSTILE,))
            connection.execute(
                "INSERT INTO instance (task_id, ordinal, input, output) SELECT max(id), 0, ?, ? FROM task",
                (HOSTILE, HOSTILE),
            )
        connection.row_factory = sqlite3.Row
        expected = connection.execute("SELECT * FROM dataset ORDER BY task_id, instance_id").fetchall()
        for format, name, loader, wanted in FORMATS:
            ewe("export", "--db", db, "--format", format, "--out", scratch / name)
            loaded = load_dataset(
                loader, data_files=str(scratch / name), split="train", cache_dir=str(scratch / "cache")
            )
            assert len(loaded) == len(expected), f"{format}: {len(loaded)} rows, not {len(expected)}"
            for row, stored in zip(loaded, expected):
                for key, value in wanted(stored).items():
                    assert row[key] == value, f"{format}, {key}: {row[key]!r} is not {value!r}"
            print(f"{format:12} {len(loaded):6} rows with columns {', '.join(loaded.column_names)}")
        check_shapes(scratch, db, expected)
        check_reading(scratch)


if __name__ == "__main__":
    main()
