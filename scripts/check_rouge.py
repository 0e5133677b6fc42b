"""Compares every decision of `ewe filter` with Google's rouge_score, on more than 100,000 pairs of
texts.

    make check-reference        or    .venv/bin/python scripts/check_rouge.py

Rows are compared in order with an evaluation file and the rows accepted before, by ewe and by brute
force with rouge_score. Verdict, most similar text and its score must be the same, at several
thresholds. Texts are ASCII, with everything that a tokenizer may get wrong. ewe decides by integers
whether a score equals the threshold exactly; the script prints how often rouge_score's rounding
decides otherwise.
"""

import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from rouge_score import rouge_scorer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benches"))
from filter_data import instructions  # noqa: E402

EWE = ROOT / "target/debug/ewe"
ROWS, EVALUATION = 320, 300
SCORER = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)


def texts(count, rng):
    """Returns rows of both kinds of benches/filter_data.py, and short texts of few words, all with
    capitals, digits and punctuation mixed in."""
    plain = instructions("zipf", count // 3) + instructions("adversarial", count // 3)
    while len(plain) < count:
        plain.append(" ".join(f"w{n}" for n in rng.integers(0, 12, rng.integers(0, 15))))
    joints = [" ", " ", " ", " ", ", ", ". ", "-", "_", "'", "\n", "\t", " (", ") ", " 3.5 ", "...", '"', " A1b2 ", "!?"]
    mixed = []
    for text in plain:
        words = [word.upper() if rng.random() < 0.2 else word for word in text.split()]
        mixed.append("x" if not words else words[0] + "".join(rng.choice(joints) + word for word in words[1:]))
    order = rng.permutation(len(mixed))
    return [mixed[i] for i in order]


def score(tokens, other):
    """Returns rouge_score's F1, and the same as an exact fraction."""
    if not tokens or not other:
        return 0.0, Fraction(0)
    f1 = rouge_scorer._score_lcs(other, tokens).fmeasure
    return f1, Fraction(round(f1 * (len(tokens) + len(other))), len(tokens) + len(other))


def brute_force(rows, evaluation, threshold):
    """Returns a verdict for each row, the number of pairs compared, and the number of ties that
    rounding decides otherwise."""
    tokenize = SCORER._tokenizer.tokenize
    pool = [("eval.jsonl", i, tokenize(text)) for i, text in enumerate(evaluation)]
    verdicts, pairs, rounded = [], 0, 0
    for i, text in enumerate(rows):
        tokens, best = tokenize(text), (Fraction(0), None)
        for source, row, other in pool:
            f1, exact = score(tokens, other)
            assert abs(f1 - exact) < 1e-12, "the fraction is that of the rounded number"
            rounded += (f1 > float(threshold)) != (exact > threshold)
            pairs += 1
            if exact > best[0]:
                best = (exact, {"source": source, "row": row})
        if best[0] > threshold:
            verdicts.append(("rejected", best[1], best[0]))
        else:
            verdicts.append(("accepted", None, None))
            pool.append(("rows.jsonl", i, tokens))
    return verdicts, pairs, rounded


def with_ewe(folder, threshold):
    command = [EWE, "-q", "filter", "rows.jsonl", "--against", "eval.jsonl", "--rules", "none"]
    command += ["--threshold", threshold, "--verdicts", "verdicts.jsonl"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return [json.loads(line) for line in (folder / "verdicts.jsonl").open()]


def main():
    rng = np.random.default_rng(11)
    rows, evaluation = texts(ROWS, rng), texts(EVALUATION, rng)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, some in (("rows.jsonl", rows), ("eval.jsonl", evaluation)):
            lines = (json.dumps({"instruction": text, "input": "", "output": "x"}) for text in some)
            (folder / file).write_text("".join(line + "\n" for line in lines))
        for threshold in ("0.7", "0.5", "0.3", "0.000000001"):
            expected, pairs, rounded = brute_force(rows, evaluation, Fraction(threshold))
            judged = with_ewe(folder, threshold)
            assert len(judged) == len(expected)
            for i, (verdict, (word, nearest, exact)) in enumerate(zip(judged, expected)):
                assert (verdict["verdict"], verdict["nearest"]) == (word, nearest), (i, rows[i], verdict, nearest)
                assert exact is None or abs(verdict["rouge_l"] - float(exact)) < 1e-15, (i, verdict)
            rejected = sum(word == "rejected" for word, _, _ in expected)
            print(
                f"rouge_score: {pairs:,} pairs at {threshold}: the same {rejected} of {len(rows)} rows rejected, "
                f"for the same neighbour; {rounded} pairs at the threshold exactly were rounded over it"
            )


if __name__ == "__main__":
    main()
