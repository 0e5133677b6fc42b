-- Verdicts of the user's validators, and judgments by the user's rubrics.

PRAGMA user_version = 15;

-- What a validator said of an instance, by `ewe validate`.
CREATE TABLE validation (
    id          INTEGER PRIMARY KEY,
    instance_id INTEGER NOT NULL REFERENCES instance (id),
    run_id      INTEGER NOT NULL REFERENCES run (id),
    -- Its command line.
    validator   TEXT NOT NULL,
    -- The texts that it saw. Once they are edited the verdict holds no more; if they come back it holds again.
    instruction TEXT NOT NULL,
    input       TEXT NOT NULL,
    output      TEXT NOT NULL,
    turns       TEXT,
    accepted    INTEGER NOT NULL CHECK (accepted IN (0, 1)),
    reason      TEXT NOT NULL,
    created_at  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE INDEX validation_by_instance ON validation (instance_id, validator);
CREATE INDEX validation_by_run ON validation (run_id);

CREATE TRIGGER validation_is_never_updated BEFORE UPDATE ON validation
BEGIN
    SELECT raise(ABORT, 'validation is append-only');
END;

CREATE TRIGGER validation_is_never_deleted BEFORE DELETE ON validation
BEGIN
    SELECT raise(ABORT, 'validation is append-only');
END;

-- The verdicts that hold: the latest of each validator on the texts as they are now.
CREATE VIEW validated AS
SELECT
    validation.id AS validation_id,
    instance.task_id,
    validation.instance_id,
    validation.validator,
    validation.accepted,
    validation.reason,
    validation.run_id,
    validation.created_at
FROM validation
JOIN instance ON instance.id = validation.instance_id
JOIN task ON task.id = instance.task_id
WHERE validation.instruction = task.instruction
    AND validation.input = instance.input
    AND validation.output = instance.output
    AND validation.turns IS instance.turns
    AND NOT EXISTS (
        SELECT 1
        FROM validation AS later
        WHERE later.instance_id = validation.instance_id
            AND later.validator = validation.validator
            AND later.id > validation.id
            AND later.instruction = validation.instruction
            AND later.input = validation.input
            AND later.output = validation.output
            AND later.turns IS validation.turns
    );

-- The rubric of a judgment, its SHA-256, and what the judge said of each criterion: a JSON list of objects with
-- criterion, score, lowest, highest, weight and reason. Null for ewe's own scale. `expected` is then the weighted mean
-- of the criteria, from 1 to 5, and `score` the nearest whole number.
ALTER TABLE judgment ADD COLUMN rubric TEXT;
ALTER TABLE judgment ADD COLUMN rubric_hash TEXT;
ALTER TABLE judgment ADD COLUMN criteria TEXT CHECK (criteria IS NULL OR json_valid(criteria));

DROP VIEW judged;
CREATE VIEW judged AS
SELECT
    judgment.id AS judgment_id,
    instance.task_id,
    judgment.instance_id,
    judgment.model,
    coalesce(judgment.expected, judgment.score) AS score,
    judgment.reason,
    judgment.problem,
    judgment.judged_by,
    judgment.request_id,
    judgment.run_id,
    judgment.created_at,
    judgment.rubric,
    judgment.rubric_hash,
    judgment.criteria
FROM judgment
JOIN instance ON instance.id = judgment.instance_id
JOIN task ON task.id = instance.task_id
WHERE judgment.instruction = task.instruction
    AND judgment.input = instance.input
    AND judgment.output = instance.output
    AND judgment.turns IS instance.turns
    AND NOT EXISTS (
        SELECT 1
        FROM judgment AS later
        WHERE later.instance_id = judgment.instance_id
            AND later.model = judgment.model
            AND later.id > judgment.id
            AND later.instruction = judgment.instruction
            AND later.input = judgment.input
            AND later.output = judgment.output
            AND later.turns IS judgment.turns
    );

-- What each judge said of each criterion, in judgments that hold.
CREATE VIEW criterion_score AS
SELECT
    judged.task_id,
    judged.instance_id,
    judged.model,
    judged.rubric,
    value ->> 'criterion' AS criterion,
    value ->> 'score' AS score,
    value ->> 'lowest' AS lowest,
    value ->> 'highest' AS highest,
    value ->> 'weight' AS weight,
    value ->> 'reason' AS reason
FROM judged
JOIN json_each(judged.criteria);
