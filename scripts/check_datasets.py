#!/usr/bin/env python3
"""Exports a dataset in every format and opens each file, unmodified, with Hugging Face `datasets`.

    .venv/bin/python scripts/check_datasets.py

Every row must be there with the texts that SQLite has. Needs requirements-dev.txt and a built `ewe`; nothing is fetched.
"""

import os
import sqlite3
import subprocess
import tempfile
from pathlib import Path

os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

from datasets import load_dataset  # noqa: E402  (reads the environment when it is imported)

ROOT = Path(__file__).resolve().parent.parent
EWE = Path(os.environ.get("EWE", ROOT / "target" / "debug" / "ewe"))

HOSTILE = 'Quote "this" \\ and\nthat \u0001 ☂ 𝄞 \u2028 <script>alert(1)</script>, = cmd'


def ewe(*arguments):
    subprocess.run([EWE, "-q", *map(str, arguments)], check=True)


def question(row):
    return f"{row['instruction']}\n\n{row['input']}" if row["input"] else row["instruction"]


# A format, the file's name, the loader, and what a row of the dataset is there.
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


if __name__ == "__main__":
    main()
