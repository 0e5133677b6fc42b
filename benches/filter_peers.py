"""Approximate deduplication as a peer of `filter.py`: datasketch's MinHashLSH, text-dedup's MinHash
and semhash, on the rows of one file, each timed with reading and its decisions, on two processes or
threads where it has them.

These answer another question than `ewe filter`, which compares ROUGE-L exactly: which rows have
words (or vectors) in common with another. So what they reject is told beside what ewe rejects:
recall, the share of ewe's rejected rows that they reject too, and how many rows they reject that
are as new as ewe's threshold asks.

text-dedup pins old releases of what other peers need, and lives in an environment of its own:

    python3 -m venv .venv-text-dedup && .venv-text-dedup/bin/pip install text-dedup==0.4.0
    .venv/bin/python benches/filter.py --text-dedup .venv-text-dedup/bin/python
"""

import json
import subprocess
import time

import numpy as np

# Two rows of n words with ROUGE-L of 0.7 share 0.7 n words, of 1.3 n different ones.
JACCARD = 0.5
PERMUTATIONS = 128
# Vectors of the size of potion-base-8M, semhash's own model.
WIDTH = 256


def read(source):
    with source.open() as lines:
        return [json.loads(line)["instruction"] for line in lines]


def words(row):
    return row.lower().rstrip(".").split()


def datasketch_lsh(source, threads):
    """Rejects a row if the index finds an earlier one that was kept, as ewe does."""
    import datasketch

    start = time.perf_counter()
    index = datasketch.MinHashLSH(threshold=JACCARD, num_perm=PERMUTATIONS)
    kept = set()
    sets = ([word.encode() for word in words(row)] for row in read(source))
    for i, sketch in enumerate(datasketch.MinHash.generator(sets, num_perm=PERMUTATIONS)):
        if not index.query(sketch):
            index.insert(i, sketch)
            kept.add(i)
    return kept, time.perf_counter() - start, f"datasketch {datasketch.__version__}, Jaccard {JACCARD} of words"


def text_dedup(python, ngram, threshold):
    """text-dedup's script as a whole process: of each cluster, it keeps the first row."""

    def run(source, threads):
        from datasets import load_from_disk

        folder = source.parent
        out, cache = folder / f"text-dedup-{ngram}", folder / "cache"
        command = [python, "-m", "text_dedup.minhash", "--path", "json", "--data_files", source, "--split", "train"]
        command += ["--cache_dir", cache, "--output", out, "--column", "instruction", "--idx_column", "row", "--batch_size", 10000]
        command += ["--num_proc", threads, "--ngram", ngram, "--threshold", threshold, "--min_length", 1]
        start = time.perf_counter()
        subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd=folder)
        seconds = time.perf_counter() - start
        return set(load_from_disk(str(out))["row"]), seconds, f"text-dedup 0.4.0, Jaccard {threshold} of {ngram}-grams"

    return run


def semhash(source, threads):
    """semhash with random vectors of words in place of its model, which cannot be had without the
    hub: its speed is that of any vectors, its decisions are those of bags of words."""
    from importlib.metadata import version

    from model2vec import StaticModel
    from semhash import SemHash
    from tokenizers import Tokenizer, models, pre_tokenizers

    rows = read(source)
    vocabulary = {"[UNK]": 0}
    for row in rows:
        for word in words(row):
            vocabulary.setdefault(word, len(vocabulary))
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    vectors = np.random.default_rng(0).standard_normal((len(vocabulary), WIDTH)).astype(np.float32)
    model = StaticModel(vectors, tokenizer, normalize=True)
    start = time.perf_counter()
    found = SemHash.from_records([{"row": str(i), "text": " ".join(words(row))} for i, row in enumerate(rows)], columns=["text"], model=model)
    kept = {int(record["row"]) for record in found.self_deduplicate(threshold=0.9).selected}
    return kept, time.perf_counter() - start, f"semhash {version('semhash')}, cosine 0.9 of random vectors of words"


def beside(rows, rejected, seconds, folder, threads, python):
    """Prints the time of each, what it found of the `rejected` rows of ewe, and what else. `python`
    is that of text-dedup's environment, if there is one."""
    source = folder / "peers.jsonl"
    with source.open("w") as out:
        for i, row in enumerate(rows):
            out.write(json.dumps({"row": i, "instruction": row}) + "\n")
    peers = [datasketch_lsh, semhash]
    if python:
        # As its defaults are, and as near to ewe's threshold as it can be set.
        peers += [text_dedup(python, 5, 0.7), text_dedup(python, 1, JACCARD)]
    for peer in peers:
        kept, took, name = peer(source, threads)
        theirs = set(range(len(rows))) - kept
        print(
            f"- {name}: {took:.1f} s, {took / seconds:.0f} times ewe's; rejects {len(theirs & rejected) / max(1, len(rejected)):.1%} of "
            f"ewe's {len(rejected):,} rejected rows, and {len(theirs - rejected):,} of the {len(rows) - len(rejected):,} that ewe keeps",
            flush=True,
        )
