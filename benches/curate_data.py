"""Fills a dataset made by `ewe init` for benches/curate.py, by default up to 1,000,000 tasks.

    .venv/bin/python benches/curate_data.py FILE [TASKS]

The dataset looks like one after long use: an import (a tenth); runs of generate in rounds of one
request and some tasks each, with rejected candidates, reasons, and ten neighbors of each task;
reviews and edits with their revisions; scores of two judges. Words are those of the seeds by their
frequency, with a tail of invented ones (Zipf). Lengths are about those of Alpaca's dataset. The
same number of tasks gives the same rows.

Rows go through the real schema. Indices and the triggers of the full-text index are dropped for the
load: indices are built afterwards, and the full-text index is filled with what its triggers would
have written. All other triggers fire.
"""

import json
import re
import sqlite3
import sys
from collections import Counter
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import numpy as np
from filter_data import word

SEEDS = Path(__file__).resolve().parent.parent / "seeds/seed_tasks.jsonl"
VERBS = """write explain describe list generate give create find identify classify summarize rewrite translate compare suggest
name calculate convert edit provide design make tell compose determine construct categorize outline analyze recommend""".split()
ADJECTIVES = """short long simple formal funny detailed polite clear new old local brief modern cheap useful common famous
quiet friendly technical weekly daily small large careful honest creative practical possible typical""".split()
NOUNS = """sentence paragraph poem story list summary email letter recipe joke dialogue question plan table function title headline
review speech song description definition example reason word tweet article report essay schedule invoice receipt menu budget
contract lesson quiz riddle slogan message product city animal plant meal sport book film game tool machine engine budget number
equation sequence angle fraction percentage date temperature distance price discount tax salary loan garden kitchen bicycle train
airport museum library school teacher student doctor patient nurse lawyer farmer baker customer manager meeting interview survey
password program script query database website form button error warning test version file folder chart map diagram language
grammar verb noun synonym antonym proverb metaphor character hero villain habit exercise diet breakfast dinner soup salad bread
coffee tea sauce holiday birthday wedding festival storm river mountain forest island planet star galaxy atom molecule cell
virus vaccine medicine law rule policy election treaty war empire king queen painting sculpture melody rhythm""".split()
REASONS = ["near_duplicate"] * 60 + ["too_short"] * 8 + ["unsuitable_medium"] * 9 + ["merged_task"] * 6 + ["repetition"] * 5
REASONS += ["too_long"] * 4 + ["list_item"] * 3 + ["wrong_language"] * 2 + ["control_characters", "leading_punctuation"]
INSTANCE_REASONS = ["incomplete", "truncated_output", "truncated_output", "echo", "refusal", "empty_output", "no_code"]
MODELS = ["gemma-3-270m", "gpt-j-6b", "pythia-6.9b", "llama-3.2-3b", "qwen3-4b"]
LABELS = ["positive", "negative", "neutral", "yes", "no", "spam", "not spam", "true", "false", "mixed"]
JUDGES = ["critic-small", "critic-large"]
TASKS_PER_RUN = 100_000
ROUNDS_AT_ONCE = 4_000
START = datetime(2026, 1, 5, 8, 0, 0)


def stamp(seconds):
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class Texts:
    """Generates texts of plausible words and lengths."""

    def __init__(self, rng):
        self.rng = rng
        seeds = [json.loads(line) for line in SEEDS.open(encoding="utf-8")]
        texts = [text for seed in seeds for instance in seed["instances"] for text in instance.values()]
        counts = Counter(re.findall(r"[a-z]+", " ".join(texts + [seed["instruction"] for seed in seeds]).lower()))
        words = [found for found, _ in counts.most_common()] + [word(n) for n in range(400, 30_400)]
        weights = 1.0 / np.arange(1, len(words) + 1)
        drawn = iter(rng.choice(len(words), 2_000_000, p=weights / weights.sum()).tolist())
        lengths = rng.integers(6, 22, 100_000).tolist()
        self.sentences = []
        for length in lengths:
            sentence = " ".join(words[next(drawn)] for _ in range(length))
            self.sentences.append(sentence[0].upper() + sentence[1:] + ".")
        self.nouns = NOUNS + [word(n) for n in range(400, 3_000)]
        # Nouns also fall off by rank, and each verb has nouns of its own.
        self.noun_weights = np.cumsum(1.0 / np.arange(1, len(self.nouns) + 1) ** 1.1)
        self.verb_weights = np.cumsum(1.0 / np.arange(1, len(VERBS) + 1) ** 0.7)

    def ranks(self, sums, count):
        return np.searchsorted(sums, self.rng.random(count) * sums[-1]).clip(0, len(sums) - 1).tolist()

    def instructions(self, count):
        rng = self.rng
        verbs, nouns, topics = self.ranks(self.verb_weights, count), self.ranks(self.noun_weights, count), self.ranks(self.noun_weights, count)
        adjectives, tails = rng.integers(0, len(ADJECTIVES), count).tolist(), rng.integers(0, len(self.sentences), count).tolist()
        kinds = rng.random(count).tolist()
        for verb, noun, topic, adjective, tail, kind in zip(verbs, nouns, topics, adjectives, tails, kinds):
            thing, about, rest = self.nouns[(noun + 7 * verb) % len(self.nouns)], self.nouns[topic], self.sentences[tail]
            if kind < 0.7:
                yield f"{VERBS[verb].capitalize()} a {ADJECTIVES[adjective]} {thing} about {about} for {rest[:-1].lower()}."
            elif kind < 0.85:
                yield f"{VERBS[verb].capitalize()} the {thing} below. {rest}"
            elif kind < 0.95:
                yield f"What is the {ADJECTIVES[adjective]} {thing} of {about}? {rest}"
            else:
                yield f"{about.capitalize()}: {rest}"

    def passages(self, count, mean):
        """Returns texts of `mean` sentences on average, geometrically distributed."""
        lengths = self.rng.geometric(1.0 / mean, count).clip(1, 40).tolist()
        starts = self.rng.integers(0, len(self.sentences) - 40, count).tolist()
        return [" ".join(self.sentences[start : start + length]) for start, length in zip(starts, lengths)]


class Loader:
    """Inserts rows into the tables."""

    def __init__(self, database, texts):
        self.database, self.texts, self.rng = database, texts, texts.rng
        one = lambda query: database.execute(query).fetchone()[0]
        self.task, self.instance, self.candidate, self.request, self.revision = (
            one(f"SELECT coalesce(max(id), 0) + 1 FROM {table}")
            for table in ("task", "instance", "candidate", "request", "revision")
        )
        self.round = one("SELECT coalesce(max(round) + 1, 0) FROM round")
        self.seconds = 0

    def insert(self, table, columns, rows):
        marks = ", ".join("?" for _ in columns.split(","))
        self.database.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)

    def run(self, command, config, model=None):
        row = (command, json.dumps(config), 0 if command == "generate" else None, model, stamp(self.seconds), "done")
        query = "INSERT INTO run (command, config, seed, model, started_at, status) VALUES (?, ?, ?, ?, ?, ?)"
        return self.database.execute(query, row).lastrowid

    def end(self, run_id):
        self.database.execute("UPDATE run SET ended_at = ? WHERE id = ?", (stamp(self.seconds), run_id))

    def instances_of(self, count):
        """Returns for each task whether it is a classification, and its instances."""
        rng = self.rng
        kinds, with_input = rng.random(count).tolist(), (rng.random(3 * count) < 0.4).tolist()
        many = rng.choice([1, 2, 3], count, p=[0.85, 0.12, 0.03]).tolist()
        inputs, outputs = self.texts.passages(3 * count, 2.0), self.texts.passages(3 * count, 4.0)
        labels = (rng.geometric(0.3, 3 * count) % len(LABELS)).tolist()
        for i in range(count):
            classifies = kinds[i] < 0.2
            yield classifies, [
                (
                    inputs[j] if with_input[j] or classifies else "",
                    LABELS[labels[j]] if classifies else outputs[j],
                )
                for j in range(3 * i, 3 * i + many[i])
            ]

    def reviews(self, count):
        """Returns reviews at the time of the load. Most tasks are pending."""
        kinds = self.rng.random(count).tolist()
        return ["accepted" if kind < 0.2 else "rejected" if kind < 0.28 else "pending" for kind in kinds]

    def revise(self, reviewed):
        """Writes a revision for each (task, review, time), each an action of its own."""
        rows = []
        for task, review, at in reviewed:
            action = {"accepted": "accept", "rejected": "reject"}[review]
            after = '{"review":"%s"}' % review
            rows.append((self.revision, self.revision, task, "ann" if task % 3 else "bob", at, action, '{"review":"pending"}', after))
            self.revision += 1
        self.insert("revision", "id, group_id, task_id, who, at, action, before, after", rows)

    def neighbors(self, first, count):
        """Returns ten neighbors of each task among earlier tasks. The similarity of the nearest is
        distributed as it is after the filter."""
        rng = self.rng
        nearest = (rng.beta(4, 5, count) * 0.7).round(4)
        steps = np.cumsum(rng.random((count, 10)) * 0.02, axis=1)
        scores = np.maximum(nearest[:, None] - steps + steps[:, :1], 0.02).round(4).tolist()
        places = rng.random((count, 10)).tolist()
        rows = []
        for i in range(count):
            others = sorted({int(place * (first + i - 1)) + 1 for place in places[i]})
            rows += [(first + i, other, rank + 1, scores[i][rank]) for rank, other in enumerate(others)]
        self.insert("neighbor", "task_id, neighbor_id, rank, rouge_l", rows)

    def store(self, tasks):
        """Writes a batch of tasks, each (instruction, classifies, instances, origin, request,
        round, run, time)."""
        first = self.task
        reviews = self.reviews(len(tasks))
        rows = []
        for i, (instruction, classifies, _, origin, request, round_, run, at) in enumerate(tasks):
            rows.append((first + i, instruction, classifies, origin, reviews[i], request, round_, run, at, at))
        columns = "id, instruction, is_classification, origin, review, request_id, round, run_id, created_at, updated_at"
        self.insert("task", columns, rows)
        rows = []
        for i, task in enumerate(tasks):
            rows += [(first + i, ordinal, *texts) for ordinal, texts in enumerate(task[2])]
        self.insert("instance", "task_id, ordinal, input, output", rows)
        self.revise((first + i, review, tasks[i][7]) for i, review in enumerate(reviews) if review != "pending")
        if first > 1:
            self.neighbors(first, len(tasks))
        self.task += len(tasks)

    def imports(self, count):
        run = self.run("import", {"file": "alpaca.json", "format": "alpaca"})
        done = 0
        while done < count:
            now = min(20_000, count - done)
            at = stamp(self.seconds)
            drawn = zip(self.texts.instructions(now), self.instances_of(now))
            self.store([(text, classifies, instances, "import", None, None, run, at) for text, (classifies, instances) in drawn])
            done += now
            self.seconds += 1
        self.end(run)

    def generate(self, count, model):
        config = {"target": count, "recipe": {"name": "alpaca"}, "threshold": "0.7", "reasons": sorted(set(REASONS + INSTANCE_REASONS + ["pii_email"]))}
        run = self.run("generate", config, model)
        until = self.task + count
        while self.task < until:
            self.rounds(run, until - self.task)
        self.end(run)

    def rounds(self, run, most):
        """Writes rounds of one request and five instructions each. About three of these are
        accepted, fewer as the dataset grows."""
        rng = self.rng
        rounds = min(ROUNDS_AT_ONCE, most // 5 + 1)
        texts, answers = self.texts.instructions(5 * rounds), self.instances_of(5 * rounds)
        kept = (rng.random(5 * rounds) < 0.5 + 0.35 / (1 + self.task / 300_000)).tolist()
        bad = (rng.random(5 * rounds) < 0.04).tolist()
        reasons = rng.integers(0, len(REASONS), 5 * rounds).tolist()
        nearest = (0.7 + 0.3 * rng.beta(1, 3, 5 * rounds)).round(4).tolist()
        places = rng.random(5 * rounds).tolist()
        prompts = self.texts.passages(rounds, 12.0)
        tokens, latencies = rng.integers(-40, 40, rounds).tolist(), rng.integers(800, 9_000, rounds).tolist()
        requests, candidates, records, tasks = [], [], [], []
        for i in range(rounds):
            at = stamp(self.seconds)
            before, admitted, response = len(candidates), len(tasks), []
            for j in range(5 * i, 5 * i + 5):
                text, (classifies, instances) = next(texts), next(answers)
                parent, task = self.candidate, self.task + len(tasks)
                stays = kept[j] and len(tasks) < most
                reason = REASONS[reasons[j]] if not kept[j] else "over_target"
                similar = (int(places[j] * (self.task - 1)) + 1, nearest[j]) if reason == "near_duplicate" else (None, None)
                ends = (task, None, None, None, "accepted", None) if stays else (None, None, *similar, "rejected", reason)
                candidates.append((parent, run, self.round, self.request, "instruction", None, ends[0], text, None, None, *ends[2:], ends[1], at))
                self.candidate += 1
                response.append(text)
                if bad[j]:
                    instances = instances + [(instances[0][0], instances[0][1][:-3])]
                for k, (given, answer) in enumerate(instances):
                    good = stays and not (bad[j] and k == len(instances) - 1)
                    why = None if good else INSTANCE_REASONS[reasons[j] % len(INSTANCE_REASONS)] if stays else "instruction_rejected"
                    verdict = "accepted" if good else "rejected"
                    detail = reason if why == "instruction_rejected" else None
                    owner = task if good else None
                    candidates.append((self.candidate, run, self.round, self.request, "instance", parent, owner, text, given, answer, None, None, verdict, why, detail, at))
                    self.candidate += 1
                    response += [given, answer]
                if stays:
                    held = instances[:-1] if bad[j] else instances
                    tasks.append((text, classifies, held, "machine", self.request, self.round, run, at))
            key = sha256(f"{run} {self.round}".encode()).hexdigest()
            prompt, said = "Come up with a series of tasks:\n" + prompts[i], "\n".join(response)
            requests.append(
                (self.request, run, self.round, "tasks", 0, key, prompt, '{"max_tokens":1024,"temperature":0.7}', said, "stop", len(prompt) // 4 + tokens[i] + 40, len(said) // 4, latencies[i], at)
            )
            records.append((self.round, run, len(candidates) - before, len(tasks) - admitted, at))
            self.request += 1
            self.round += 1
            self.seconds += 5
        columns = "id, run_id, round, stage, ordinal, content_key, prompt, parameters, response, finish_reason, prompt_tokens, completion_tokens, latency_ms, created_at"
        self.insert("request", columns, requests)
        self.store(tasks)
        columns = "id, run_id, round, request_id, kind, parent_id, task_id, instruction, input, output, nearest_task_id, rouge_l, verdict, reason, detail, created_at"
        self.insert("candidate", columns, candidates)
        self.insert("round", "round, run_id, parsed, accepted, admitted_at", records)

    def judge(self, model, count):
        run = self.run("judge", {"limit": count}, model)
        rows = self.database.execute(
            "SELECT instance_id, instruction, input, output FROM dataset WHERE instance_id % 7 = ? LIMIT ?", (len(model) % 7, count)
        ).fetchall()
        scores = self.rng.choice([1, 2, 3, 4, 5, 0], len(rows), p=[0.06, 0.12, 0.25, 0.36, 0.2, 0.01]).tolist()
        requests, judgments = [], []
        for (instance, instruction, given, output), score in zip(rows, scores):
            at = stamp(self.seconds)
            key = sha256(f"{model} {instance}".encode()).hexdigest()
            prompt = f"Judge this answer.\n{instruction}\n{given}\n{output}"
            requests.append((self.request, run, 0, "judge", 0, key, prompt, "{}", f"It is plausible. {score}", "stop", len(prompt) // 4, 12, 900, at))
            problem = None if score else "no score"
            judgments.append((instance, run, self.request, model, instruction, given, output, score or None, "It is plausible.", problem, at))
            self.request += 1
            if instance % 4 == 0:
                self.seconds += 1
        columns = "id, run_id, round, stage, ordinal, content_key, prompt, parameters, response, finish_reason, prompt_tokens, completion_tokens, latency_ms, created_at"
        self.insert("request", columns, requests)
        columns = "instance_id, run_id, request_id, model, instruction, input, output, score, reason, problem, created_at"
        self.insert("judgment", columns, judgments)
        self.end(run)

    def edit(self, every):
        """Writes edits of a person: one in several tasks had another ending of its output
        before."""
        rows = self.database.execute("SELECT id, task_id, output FROM instance WHERE ordinal = 0 AND task_id % ? = 0", (every,)).fetchall()
        revisions = []
        for instance, task, output in rows:
            texts = (json.dumps({"output": output + " Etc."}), json.dumps({"output": output}))
            revisions.append((self.revision, self.revision, task, instance, "ann", stamp(self.seconds), "edit", *texts))
            self.revision += 1
        self.insert("revision", "id, group_id, task_id, instance_id, who, at, action, before, after", revisions)


def set_aside(database):
    """Drops the triggers of the full-text index, and the indices that no other trigger needs.
    Returns the statements that create them again."""
    query = "SELECT name, type, sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL AND tbl_name <> 'judgment'"
    found = database.execute(query).fetchall()
    dropped = [row for row in found if row[1] == "index" or "_fts_" in row[0]]
    for name, kind, _ in dropped:
        database.execute(f"DROP {kind} {name}")
    return [sql for _, kind, sql in sorted(dropped, key=lambda row: row[1])]


def fill(path, count):
    database = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -2000000", "temp_store = MEMORY", "foreign_keys = OFF"):
        database.execute(f"PRAGMA {pragma}")
    before = database.execute("SELECT max(id) FROM task").fetchone()[0]
    database.execute("BEGIN")
    again = set_aside(database)
    loader = Loader(database, Texts(np.random.default_rng(7)))
    imported = (count - before) // 10
    loader.imports(imported)
    left = count - before - imported
    for n in range(10**9):
        if left <= 0:
            break
        now = min(TASKS_PER_RUN, left)
        print(f"{left} tasks to go", file=sys.stderr)
        loader.generate(now, MODELS[n % len(MODELS)])
        left -= now
    for judge in JUDGES:
        print(f"judgments of {judge}", file=sys.stderr)
        loader.judge(judge, count // 10)
    loader.edit(100)
    print("the full-text index", file=sys.stderr)
    database.execute(
        """
        INSERT INTO task_fts (rowid, instruction, input, output)
        SELECT
            id, instruction,
            (SELECT group_concat(input, char(10)) FROM instance WHERE task_id = task.id),
            (SELECT group_concat(output, char(10)) FROM instance WHERE task_id = task.id)
        FROM task
        WHERE id > ?
        """,
        (before,),
    )
    for sql in again:
        database.execute(sql)
    database.execute("COMMIT")
    database.execute("PRAGMA journal_mode = WAL")
    database.close()


if __name__ == "__main__":
    fill(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
