-- Scores that models give to instances. A judgment changes nothing about a task, its instances or its review.

PRAGMA user_version = 3;

CREATE TABLE judgment (
    id          INTEGER PRIMARY KEY,
    instance_id INTEGER NOT NULL REFERENCES instance (id),
    run_id      INTEGER NOT NULL REFERENCES run (id),
    request_id  INTEGER NOT NULL REFERENCES request (id),
    model       TEXT NOT NULL,
    -- The texts that were judged. Once they are edited the judgment holds no more; if they come back it holds again.
    instruction TEXT NOT NULL,
    input       TEXT NOT NULL,
    output      TEXT NOT NULL,
    -- Null where the answer has no score that can be read; then `problem` says why.
    score       INTEGER CHECK (score BETWEEN 1 AND 5),
    reason      TEXT NOT NULL,
    problem     TEXT CHECK ((score IS NULL) = (problem IS NOT NULL)),
    created_at  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE INDEX judgment_by_instance ON judgment (instance_id, model);
CREATE INDEX judgment_by_run ON judgment (run_id);
CREATE INDEX judgment_by_request ON judgment (request_id);

CREATE TRIGGER judgment_is_never_updated BEFORE UPDATE ON judgment
BEGIN
    SELECT raise(ABORT, 'judgment is append-only');
END;

CREATE TRIGGER judgment_is_never_deleted BEFORE DELETE ON judgment
BEGIN
    SELECT raise(ABORT, 'judgment is append-only');
END;

-- The judgments that hold: the latest of each model on the texts as they are now.
CREATE VIEW judged AS
SELECT
    judgment.id AS judgment_id,
    instance.task_id,
    judgment.instance_id,
    judgment.model,
    judgment.score,
    judgment.reason,
    judgment.problem,
    judgment.request_id,
    judgment.run_id,
    judgment.created_at
FROM judgment
JOIN instance ON instance.id = judgment.instance_id
JOIN task ON task.id = instance.task_id
WHERE judgment.instruction = task.instruction
    AND judgment.input = instance.input
    AND judgment.output = instance.output
    AND NOT EXISTS (
        SELECT 1
        FROM judgment AS later
        WHERE later.instance_id = judgment.instance_id
            AND later.model = judgment.model
            AND later.id > judgment.id
            AND later.instruction = judgment.instruction
            AND later.input = judgment.input
            AND later.output = judgment.output
    );

-- The dataset with a score: the mean of the models that judged the instance, null where none did.
CREATE VIEW scored AS
SELECT
    dataset.*,
    (SELECT avg(judged.score) FROM judged WHERE judged.instance_id = dataset.instance_id) AS score
FROM dataset;
