-- The whole dataset is this one file. Names of tables, columns and views are public: people query them.
-- Times are ISO 8601 in UTC with milliseconds; columns that hold JSON say so in a check.

-- "ewe1" in ASCII: how `ewe`, and `file`, know the database.
PRAGMA application_id = 1702323505;
-- The number of the last migration: an older `ewe` refuses a newer file instead of misreading it.
PRAGMA user_version = 1;

-- One generate, import, train or eval run.
CREATE TABLE run (
    id         INTEGER PRIMARY KEY,
    command    TEXT NOT NULL,
    config     TEXT NOT NULL CHECK (json_valid(config)),
    seed       INTEGER,
    model      TEXT,
    started_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    ended_at   TEXT,
    status     TEXT NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'done', 'failed', 'interrupted'))
) STRICT;

-- Every answered model call, committed before its response is parsed.
CREATE TABLE request (
    id                INTEGER PRIMARY KEY,
    run_id            INTEGER NOT NULL REFERENCES run (id),
    round             INTEGER NOT NULL,
    stage             TEXT NOT NULL,
    ordinal           INTEGER NOT NULL,
    -- A hash of model, prompt and parameters: the same question is never paid for twice.
    content_key       TEXT NOT NULL UNIQUE,
    prompt            TEXT NOT NULL,
    parameters        TEXT NOT NULL CHECK (json_valid(parameters)),
    response          TEXT NOT NULL,
    finish_reason     TEXT NOT NULL,
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    latency_ms        INTEGER NOT NULL,
    created_at        TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE INDEX request_by_round ON request (round, stage, ordinal);
CREATE INDEX request_by_run ON request (run_id);

-- A round is one prompt for new instructions and all that follows from it. Rounds are admitted in order, each in
-- one transaction.
CREATE TABLE round (
    round       INTEGER PRIMARY KEY,
    run_id      INTEGER NOT NULL REFERENCES run (id),
    parsed      INTEGER NOT NULL,
    accepted    INTEGER NOT NULL,
    admitted_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE TABLE task (
    id                INTEGER PRIMARY KEY,
    -- The id it had in the file it came from, for seeds and imports.
    source_id         TEXT,
    name              TEXT,
    instruction       TEXT NOT NULL,
    is_classification INTEGER NOT NULL DEFAULT 0 CHECK (is_classification IN (0, 1)),
    origin            TEXT NOT NULL CHECK (origin IN ('seed', 'machine', 'import')),
    -- A task leaves the dataset by review = 'rejected'; rows are not deleted.
    review            TEXT NOT NULL DEFAULT 'pending' CHECK (review IN ('pending', 'accepted', 'rejected')),
    request_id        INTEGER REFERENCES request (id),
    round             INTEGER,
    run_id            INTEGER REFERENCES run (id),
    created_at        TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updated_at        TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE INDEX task_by_review ON task (review);
CREATE INDEX task_by_origin ON task (origin);
CREATE INDEX task_by_run ON task (run_id);
CREATE INDEX task_by_request ON task (request_id);

CREATE TABLE instance (
    id      INTEGER PRIMARY KEY,
    task_id INTEGER NOT NULL REFERENCES task (id),
    -- 0, 1, 2 … within the task.
    ordinal INTEGER NOT NULL,
    input   TEXT NOT NULL,
    output  TEXT NOT NULL,
    UNIQUE (task_id, ordinal)
) STRICT;

-- Everything ever parsed out of a response, with its verdict: accepted + rejected by reason = parsed.
CREATE TABLE candidate (
    id              INTEGER PRIMARY KEY,
    run_id          INTEGER NOT NULL REFERENCES run (id),
    round           INTEGER NOT NULL,
    request_id      INTEGER NOT NULL REFERENCES request (id),
    kind            TEXT NOT NULL CHECK (kind IN ('instruction', 'instance')),
    -- The instruction that an instance was generated for.
    parent_id       INTEGER REFERENCES candidate (id),
    -- The task that it became, or became part of.
    task_id         INTEGER REFERENCES task (id),
    instruction     TEXT,
    input           TEXT,
    output          TEXT,
    verdict         TEXT NOT NULL CHECK (verdict IN ('accepted', 'rejected')),
    reason          TEXT CHECK (verdict = 'accepted' OR reason IS NOT NULL),
    detail          TEXT,
    nearest_task_id INTEGER REFERENCES task (id),
    -- ROUGE-L F1 with the nearest task, 0 to 1.
    rouge_l         REAL,
    created_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE INDEX candidate_by_verdict ON candidate (verdict, reason);
CREATE INDEX candidate_by_round ON candidate (round);
CREATE INDEX candidate_by_request ON candidate (request_id);
CREATE INDEX candidate_by_task ON candidate (task_id);

-- The most similar tasks of each accepted one, rank 1 the nearest.
CREATE TABLE neighbor (
    task_id     INTEGER NOT NULL REFERENCES task (id),
    neighbor_id INTEGER NOT NULL REFERENCES task (id),
    rank        INTEGER NOT NULL,
    rouge_l     REAL NOT NULL,
    PRIMARY KEY (task_id, rank)
) STRICT, WITHOUT ROWID;

CREATE INDEX neighbor_by_neighbor ON neighbor (neighbor_id);

-- The history of every review and edit. A bulk action is one group; a group is named by its first revision.
CREATE TABLE revision (
    id          INTEGER PRIMARY KEY,
    group_id    INTEGER NOT NULL REFERENCES revision (id),
    task_id     INTEGER NOT NULL REFERENCES task (id),
    -- Null where the task's own columns changed.
    instance_id INTEGER REFERENCES instance (id),
    who         TEXT NOT NULL,
    at          TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    action      TEXT NOT NULL CHECK (action IN ('accept', 'reject', 'edit', 'undo')),
    -- The columns that changed and only those: {"review": "pending"}.
    before      TEXT NOT NULL CHECK (json_valid(before)),
    after       TEXT NOT NULL CHECK (json_valid(after)),
    note        TEXT,
    -- The group that this one takes back; taking back an undo is a redo.
    undoes      INTEGER REFERENCES revision (id) CHECK ((action = 'undo') = (undoes IS NOT NULL))
) STRICT;

CREATE INDEX revision_by_group ON revision (group_id);
CREATE INDEX revision_by_task ON revision (task_id);
CREATE INDEX revision_by_undoes ON revision (undoes) WHERE undoes IS NOT NULL;

CREATE TRIGGER revision_is_never_updated BEFORE UPDATE ON revision
BEGIN
    SELECT raise(ABORT, 'revision is append-only');
END;

CREATE TRIGGER revision_is_never_deleted BEFORE DELETE ON revision
BEGIN
    SELECT raise(ABORT, 'revision is append-only');
END;

-- Full-text search. rowid is task.id; the texts of several instances are joined by line breaks.
CREATE VIRTUAL TABLE task_fts USING fts5 (instruction, input, output, tokenize = 'unicode61 remove_diacritics 2');

CREATE TRIGGER task_fts_insert AFTER INSERT ON task
BEGIN
    INSERT INTO task_fts (rowid, instruction, input, output)
    VALUES (NEW.id, NEW.instruction, '', '');
END;

CREATE TRIGGER task_fts_update AFTER UPDATE OF instruction ON task
BEGIN
    UPDATE task_fts
    SET instruction = NEW.instruction
    WHERE rowid = NEW.id;
END;

CREATE TRIGGER task_fts_delete AFTER DELETE ON task
BEGIN
    DELETE FROM task_fts
    WHERE rowid = OLD.id;
END;

CREATE TRIGGER instance_fts_insert AFTER INSERT ON instance
BEGIN
    UPDATE task_fts
    SET input = (SELECT group_concat(input, char(10)) FROM instance WHERE task_id = NEW.task_id),
        output = (SELECT group_concat(output, char(10)) FROM instance WHERE task_id = NEW.task_id)
    WHERE rowid = NEW.task_id;
END;

CREATE TRIGGER instance_fts_update AFTER UPDATE OF input, output ON instance
BEGIN
    UPDATE task_fts
    SET input = (SELECT group_concat(input, char(10)) FROM instance WHERE task_id = NEW.task_id),
        output = (SELECT group_concat(output, char(10)) FROM instance WHERE task_id = NEW.task_id)
    WHERE rowid = NEW.task_id;
END;

CREATE TRIGGER instance_fts_delete AFTER DELETE ON instance
BEGIN
    UPDATE task_fts
    SET input = (SELECT coalesce(group_concat(input, char(10)), '') FROM instance WHERE task_id = OLD.task_id),
        output = (SELECT coalesce(group_concat(output, char(10)), '') FROM instance WHERE task_id = OLD.task_id)
    WHERE rowid = OLD.task_id;
END;

-- What people query and what training reads: a row for each instance of every task that was not rejected.
CREATE VIEW dataset AS
SELECT
    task.id AS task_id,
    instance.id AS instance_id,
    task.instruction,
    instance.input,
    instance.output,
    task.is_classification,
    task.origin,
    task.review,
    task.run_id,
    task.created_at
FROM task
JOIN instance ON instance.task_id = task.id
WHERE task.review <> 'rejected';

-- What the filter turned away, and why.
CREATE VIEW rejection AS
SELECT
    candidate.id AS candidate_id,
    candidate.instruction,
    candidate.input,
    candidate.output,
    candidate.reason,
    nearest.instruction AS nearest_instruction,
    candidate.rouge_l,
    candidate.detail,
    candidate.run_id,
    candidate.round
FROM candidate
LEFT JOIN task AS nearest ON nearest.id = candidate.nearest_task_id
WHERE candidate.verdict = 'rejected';
