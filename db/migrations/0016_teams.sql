-- Several reviewers of the same tasks: who is to look at what, what each said, and what people write beside tasks.

PRAGMA user_version = 16;

-- A reviewer who is to give an opinion on a task.
CREATE TABLE assignment (
    id           INTEGER PRIMARY KEY,
    -- What revisions call it: ids change when datasets are merged.
    uid          TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(8)))),
    task_id      INTEGER NOT NULL REFERENCES task (id),
    -- Upper and lower case alike.
    reviewer     TEXT NOT NULL COLLATE NOCASE CHECK (reviewer <> ''),
    -- Who assigned it.
    who          TEXT NOT NULL,
    created_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- When it was withdrawn; it is kept, and undo brings it back.
    withdrawn_at TEXT
) STRICT;

CREATE UNIQUE INDEX assignment_in_force ON assignment (reviewer, task_id) WHERE withdrawn_at IS NULL;
CREATE INDEX assignment_by_task ON assignment (task_id, reviewer) WHERE withdrawn_at IS NULL;

-- What a reviewer said of a task. A reviewer's latest one counts.
CREATE TABLE opinion (
    id           INTEGER PRIMARY KEY,
    uid          TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(8)))),
    task_id      INTEGER NOT NULL REFERENCES task (id),
    reviewer     TEXT NOT NULL COLLATE NOCASE CHECK (reviewer <> ''),
    verdict      TEXT NOT NULL CHECK (verdict IN ('accepted', 'rejected', 'unsure')),
    note         TEXT,
    -- The texts that the reviewer saw, as `seen_text` has them. Once they are edited the opinion holds no more; if they come
    -- back it holds again.
    texts        TEXT NOT NULL CHECK (json_valid(texts)),
    created_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    withdrawn_at TEXT
) STRICT;

CREATE INDEX opinion_by_task ON opinion (task_id, reviewer, created_at) WHERE withdrawn_at IS NULL;

-- What somebody wrote beside a task, for the others.
CREATE TABLE comment (
    id           INTEGER PRIMARY KEY,
    uid          TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(8)))),
    task_id      INTEGER NOT NULL REFERENCES task (id),
    author       TEXT NOT NULL CHECK (author <> ''),
    text         TEXT NOT NULL CHECK (text <> ''),
    created_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    withdrawn_at TEXT
) STRICT;

CREATE INDEX comment_by_task ON comment (task_id, id) WHERE withdrawn_at IS NULL;

CREATE TRIGGER assignment_is_only_withdrawn BEFORE UPDATE OF id, uid, task_id, reviewer, who, created_at ON assignment
BEGIN
    SELECT raise(ABORT, 'assignment is append-only but for withdrawn_at');
END;

CREATE TRIGGER assignment_is_never_deleted BEFORE DELETE ON assignment
BEGIN
    SELECT raise(ABORT, 'assignment is append-only but for withdrawn_at');
END;

CREATE TRIGGER opinion_is_only_withdrawn
BEFORE UPDATE OF id, uid, task_id, reviewer, verdict, note, texts, created_at ON opinion
BEGIN
    SELECT raise(ABORT, 'opinion is append-only but for withdrawn_at');
END;

CREATE TRIGGER opinion_is_never_deleted BEFORE DELETE ON opinion
BEGIN
    SELECT raise(ABORT, 'opinion is append-only but for withdrawn_at');
END;

CREATE TRIGGER comment_is_only_withdrawn BEFORE UPDATE OF id, uid, task_id, author, text, created_at ON comment
BEGIN
    SELECT raise(ABORT, 'comment is append-only but for withdrawn_at');
END;

CREATE TRIGGER comment_is_never_deleted BEFORE DELETE ON comment
BEGIN
    SELECT raise(ABORT, 'comment is append-only but for withdrawn_at');
END;

-- What a revision is about where that is neither a text nor a field: `after` then has the uids of the rows that came, and
-- `before` of those that went, as {"comment": ["…"]}. An opinion that decides has the review, too.
ALTER TABLE revision ADD COLUMN about TEXT CHECK (about IN ('assignment', 'opinion', 'comment'));

-- All texts of a task as one JSON list: system message, instruction, and [input, output, turns] of each instance.
CREATE VIEW seen_text AS
SELECT
    task.id AS task_id,
    json_array(
        task.system,
        task.instruction,
        json((
            SELECT json_group_array(json_array(input, output, turns))
            FROM (SELECT input, output, turns FROM instance WHERE instance.task_id = task.id ORDER BY ordinal)
        ))
    ) AS texts
FROM task;

-- The opinions that hold: the latest of each reviewer, on the texts as they are now.
CREATE VIEW opinion_now AS
SELECT
    opinion.id AS opinion_id,
    opinion.task_id,
    opinion.reviewer,
    opinion.verdict,
    opinion.note,
    opinion.created_at
FROM opinion
WHERE opinion.withdrawn_at IS NULL
    AND opinion.texts = (SELECT seen_text.texts FROM seen_text WHERE seen_text.task_id = opinion.task_id)
    AND NOT EXISTS (
        SELECT 1
        FROM opinion AS later
        WHERE later.task_id = opinion.task_id
            AND later.reviewer = opinion.reviewer
            AND (later.created_at, later.id) > (opinion.created_at, opinion.id)
            AND later.withdrawn_at IS NULL
    );

-- Who is to give an opinion on which task, and what they said; null where they have not yet.
CREATE VIEW assigned AS
SELECT
    assignment.task_id,
    assignment.reviewer,
    opinion_now.verdict,
    opinion_now.note,
    assignment.created_at
FROM assignment
LEFT JOIN opinion_now ON opinion_now.task_id = assignment.task_id AND opinion_now.reviewer = assignment.reviewer
WHERE assignment.withdrawn_at IS NULL;

-- Tasks that nobody has decided although all their reviewers have spoken: one is unsure, or two disagree. A task is among
-- them, too, whose reviewers agree only since an assignment was taken back.
CREATE VIEW disagreement AS
SELECT assigned.task_id, count(*) AS reviewers, group_concat(assigned.reviewer || ': ' || assigned.verdict, ', ') AS opinions
FROM assigned
CROSS JOIN task ON task.id = assigned.task_id
WHERE task.review = 'pending'
GROUP BY assigned.task_id
HAVING count(assigned.verdict) = count(*);
