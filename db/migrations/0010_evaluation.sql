-- Proof that the data helped: tasks held out, suites answered and scored, two models compared, and the influence of
-- each row on the held-out loss.

PRAGMA user_version = 10;

-- Tasks set apart for evaluation by `ewe split`: never in a prompt of generate, never trained on.
CREATE TABLE held_out (
    task_id INTEGER PRIMARY KEY REFERENCES task (id),
    run_id  INTEGER NOT NULL REFERENCES run (id)
) STRICT;

CREATE INDEX held_out_by_run ON held_out (run_id);

-- One suite of one `ewe eval`.
CREATE TABLE evaluation (
    id           INTEGER PRIMARY KEY,
    run_id       INTEGER NOT NULL REFERENCES run (id),
    -- superni, instructions, ifeval, held-out or checks.
    suite        TEXT NOT NULL,
    -- The file or directory; empty for held-out tasks.
    source       TEXT NOT NULL,
    model        TEXT NOT NULL,
    -- The training run that made the model, where it is known.
    train_run_id INTEGER REFERENCES run (id),
    -- The suite's part of the file of `--out`.
    result       TEXT NOT NULL CHECK (json_valid(result)),
    created_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    UNIQUE (run_id, suite, source)
) STRICT;

-- One answer of an evaluation.
CREATE TABLE evaluation_answer (
    id            INTEGER PRIMARY KEY,
    evaluation_id INTEGER NOT NULL REFERENCES evaluation (id),
    -- The item's name within the suite.
    item          TEXT NOT NULL,
    category      TEXT,
    -- The held-out task that was asked.
    task_id       INTEGER REFERENCES task (id),
    prompt        TEXT NOT NULL,
    answer        TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    "references"  TEXT NOT NULL CHECK (json_valid("references")),
    scores        TEXT NOT NULL CHECK (json_valid(scores)),
    -- The training task in which the item was found.
    found_in      INTEGER REFERENCES task (id),
    UNIQUE (evaluation_id, item)
) STRICT;

CREATE INDEX evaluation_by_train_run ON evaluation (train_run_id) WHERE train_run_id IS NOT NULL;
CREATE INDEX evaluation_answer_by_task ON evaluation_answer (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX evaluation_answer_by_found_in ON evaluation_answer (found_in) WHERE found_in IS NOT NULL;

-- Two models that answered the same prompts, and what a judge said.
CREATE TABLE comparison (
    id         INTEGER PRIMARY KEY,
    run_id     INTEGER NOT NULL REFERENCES run (id),
    model_a    TEXT NOT NULL,
    model_b    TEXT NOT NULL,
    -- Null without a judge: people alone vote.
    judge      TEXT,
    source     TEXT NOT NULL,
    result     TEXT NOT NULL CHECK (json_valid(result)),
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE INDEX comparison_by_run ON comparison (run_id);

CREATE TABLE comparison_pair (
    id            INTEGER PRIMARY KEY,
    comparison_id INTEGER NOT NULL REFERENCES comparison (id),
    item          TEXT NOT NULL,
    category      TEXT,
    prompt        TEXT NOT NULL,
    reference     TEXT,
    answer_a      TEXT NOT NULL,
    answer_b      TEXT NOT NULL,
    -- The judge's choice with a shown first, and with b shown first; null where it was not asked.
    a_first       TEXT CHECK (a_first IN ('a', 'b', 'tie', 'error')),
    b_first       TEXT CHECK (b_first IN ('a', 'b', 'tie', 'error')),
    -- What follows from both orders.
    verdict       TEXT CHECK (verdict IN ('a', 'b', 'tie', 'error')),
    UNIQUE (comparison_id, item)
) STRICT;

-- What a person said of a pair, without knowing which model wrote which answer. Rows are only ever added; a person's
-- latest counts.
CREATE TABLE comparison_vote (
    id      INTEGER PRIMARY KEY,
    pair_id INTEGER NOT NULL REFERENCES comparison_pair (id),
    who     TEXT NOT NULL,
    choice  TEXT NOT NULL CHECK (choice IN ('a', 'b', 'tie')),
    at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE INDEX comparison_vote_by_pair ON comparison_vote (pair_id, who);

-- The influence of an instance on the loss of the held-out tasks, by one `ewe influence`: above zero, training on it
-- lowered that loss.
CREATE TABLE influence (
    run_id      INTEGER NOT NULL REFERENCES run (id),
    instance_id INTEGER NOT NULL REFERENCES instance (id),
    value       REAL NOT NULL,
    PRIMARY KEY (run_id, instance_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX influence_by_instance ON influence (instance_id);

-- The held-out tasks that an instance helped or hurt most.
CREATE TABLE influence_on (
    run_id      INTEGER NOT NULL REFERENCES run (id),
    instance_id INTEGER NOT NULL REFERENCES instance (id),
    task_id     INTEGER NOT NULL REFERENCES task (id),
    value       REAL NOT NULL,
    PRIMARY KEY (run_id, instance_id, task_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX influence_on_by_instance ON influence_on (instance_id);
CREATE INDEX influence_on_by_task ON influence_on (task_id);

-- How hard an answer is for a model with and without its instruction (instruction-following difficulty, IFD, Li et al.
-- 2023): mean negative log-likelihoods in nats a token.
CREATE TABLE difficulty (
    instance_id INTEGER NOT NULL REFERENCES instance (id),
    run_id      INTEGER NOT NULL REFERENCES run (id),
    model       TEXT NOT NULL,
    tokens      INTEGER NOT NULL,
    nll         REAL NOT NULL,
    nll_alone   REAL NOT NULL,
    PRIMARY KEY (instance_id, model)
) STRICT, WITHOUT ROWID;

CREATE INDEX difficulty_by_run ON difficulty (run_id);

-- Of the latest `ewe influence` and `ewe score --db`, for lists: the mean over the instances of a task.
ALTER TABLE task ADD COLUMN influence REAL;
ALTER TABLE task ADD COLUMN ifd REAL;

CREATE INDEX task_by_influence ON task (influence) WHERE influence IS NOT NULL;
CREATE INDEX task_by_review_and_influence ON task (review, influence) WHERE influence IS NOT NULL;
CREATE INDEX task_by_ifd ON task (ifd) WHERE ifd IS NOT NULL;
CREATE INDEX task_by_review_and_ifd ON task (review, ifd) WHERE ifd IS NOT NULL;
