-- What looking through a large dataset asks for: columns to filter and sort by, views for the common questions, and a
-- history that direct changes by SQL enter, too.

PRAGMA user_version = 4;

-- Triggers below keep these three in step. Characters of the instruction and of all inputs and outputs:
ALTER TABLE task ADD COLUMN length INTEGER NOT NULL DEFAULT 0;
-- ROUGE-L F1 with the most similar task: that of its neighbor of rank 1.
ALTER TABLE task ADD COLUMN nearest_rouge_l REAL;
-- What models think of it: of its instances the one with the lowest mean over the models that judged it.
ALTER TABLE task ADD COLUMN score REAL;

UPDATE task
SET length = length(instruction) + (
        SELECT coalesce(sum(length(input) + length(output)), 0) FROM instance WHERE instance.task_id = task.id
    ),
    nearest_rouge_l = (SELECT rouge_l FROM neighbor WHERE neighbor.task_id = task.id AND neighbor.rank = 1);

UPDATE task
SET score = (
    SELECT min(score)
    FROM (
        SELECT avg(judged.score) AS score FROM judged WHERE judged.task_id = task.id GROUP BY judged.instance_id
    )
)
WHERE id IN (SELECT instance.task_id FROM judgment JOIN instance ON instance.id = judgment.instance_id);

-- A list in one of its orders, of one review or of all. Not every task has neighbors or a score.
CREATE INDEX task_by_length ON task (length);
CREATE INDEX task_by_review_and_length ON task (review, length);
CREATE INDEX task_by_nearest ON task (nearest_rouge_l) WHERE nearest_rouge_l IS NOT NULL;
CREATE INDEX task_by_review_and_nearest ON task (review, nearest_rouge_l) WHERE nearest_rouge_l IS NOT NULL;
CREATE INDEX task_by_score ON task (score) WHERE score IS NOT NULL;
CREATE INDEX task_by_review_and_score ON task (review, score) WHERE score IS NOT NULL;
CREATE INDEX task_of_classification ON task (id) WHERE is_classification = 1;
-- Labels are short; an index over all outputs would be as large as they are.
CREATE INDEX instance_by_label ON instance (output COLLATE NOCASE) WHERE length(output) <= 64;
CREATE INDEX revision_by_note ON revision (note) WHERE note IS NOT NULL;
-- Instances that were turned away by themselves, not together with their instruction.
CREATE INDEX candidate_instance_by_reason ON candidate (reason)
WHERE kind = 'instance' AND verdict = 'rejected' AND reason <> 'instruction_rejected';

-- ewe adds a task after its instances, and then gives the length.
CREATE TRIGGER task_length_insert AFTER INSERT ON task
WHEN NEW.length <> length(NEW.instruction)
    + (SELECT coalesce(sum(length(input) + length(output)), 0) FROM instance WHERE instance.task_id = NEW.id)
BEGIN
    UPDATE task
    SET length = length(instruction)
        + (SELECT coalesce(sum(length(input) + length(output)), 0) FROM instance WHERE instance.task_id = NEW.id)
    WHERE id = NEW.id;
END;

CREATE TRIGGER task_length_update AFTER UPDATE OF instruction ON task
WHEN length(NEW.instruction) <> length(OLD.instruction)
BEGIN
    UPDATE task
    SET length = length - length(OLD.instruction) + length(NEW.instruction)
    WHERE id = NEW.id;
END;

CREATE TRIGGER instance_length_insert AFTER INSERT ON instance
BEGIN
    UPDATE task
    SET length = length + length(NEW.input) + length(NEW.output)
    WHERE id = NEW.task_id;
END;

CREATE TRIGGER instance_length_update AFTER UPDATE OF task_id, input, output ON instance
BEGIN
    UPDATE task
    SET length = length - length(OLD.input) - length(OLD.output)
    WHERE id = OLD.task_id;
    UPDATE task
    SET length = length + length(NEW.input) + length(NEW.output)
    WHERE id = NEW.task_id;
END;

CREATE TRIGGER instance_length_delete AFTER DELETE ON instance
BEGIN
    UPDATE task
    SET length = length - length(OLD.input) - length(OLD.output)
    WHERE id = OLD.task_id;
END;

CREATE TRIGGER neighbor_nearest_insert AFTER INSERT ON neighbor
WHEN NEW.rank = 1
BEGIN
    UPDATE task
    SET nearest_rouge_l = NEW.rouge_l
    WHERE id = NEW.task_id;
END;

CREATE TRIGGER neighbor_nearest_update AFTER UPDATE ON neighbor
WHEN NEW.rank = 1 OR OLD.rank = 1
BEGIN
    UPDATE task
    SET nearest_rouge_l = (SELECT rouge_l FROM neighbor WHERE neighbor.task_id = task.id AND neighbor.rank = 1)
    WHERE id IN (OLD.task_id, NEW.task_id);
END;

CREATE TRIGGER neighbor_nearest_delete AFTER DELETE ON neighbor
WHEN OLD.rank = 1
BEGIN
    UPDATE task
    SET nearest_rouge_l = NULL
    WHERE id = OLD.task_id;
END;

-- A score holds for the texts that were judged, so it comes and goes with them.
CREATE TRIGGER judgment_score_insert AFTER INSERT ON judgment
BEGIN
    UPDATE task
    SET score = (
        SELECT min(score)
        FROM (
            SELECT avg(judged.score) AS score FROM judged WHERE judged.task_id = task.id GROUP BY judged.instance_id
        )
    )
    WHERE id = (SELECT task_id FROM instance WHERE instance.id = NEW.instance_id);
END;

CREATE TRIGGER task_score_update AFTER UPDATE OF instruction ON task
WHEN NEW.instruction <> OLD.instruction
    AND EXISTS (
        SELECT 1
        FROM instance
        JOIN judgment ON judgment.instance_id = instance.id
        WHERE instance.task_id = NEW.id
    )
BEGIN
    UPDATE task
    SET score = (
        SELECT min(score)
        FROM (
            SELECT avg(judged.score) AS score FROM judged WHERE judged.task_id = task.id GROUP BY judged.instance_id
        )
    )
    WHERE id = NEW.id;
END;

CREATE TRIGGER instance_score_update AFTER UPDATE OF task_id, input, output ON instance
WHEN EXISTS (SELECT 1 FROM judgment WHERE judgment.instance_id = NEW.id)
BEGIN
    UPDATE task
    SET score = (
        SELECT min(score)
        FROM (
            SELECT avg(judged.score) AS score FROM judged WHERE judged.task_id = task.id GROUP BY judged.instance_id
        )
    )
    WHERE id IN (OLD.task_id, NEW.task_id);
END;

-- The index of words anew, with beginnings of words: `inv*` would otherwise read every word that begins so.
DROP TABLE task_fts;
CREATE VIRTUAL TABLE task_fts USING fts5 (
    instruction, input, output, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3 4'
);
INSERT INTO task_fts (rowid, instruction, input, output)
SELECT
    id,
    instruction,
    (SELECT coalesce(group_concat(input, char(10)), '') FROM instance WHERE task_id = task.id),
    (SELECT coalesce(group_concat(output, char(10)), '') FROM instance WHERE task_id = task.id)
FROM task
ORDER BY id;

-- A task that is added after its instances is indexed once, not once for each of them.
DROP TRIGGER task_fts_insert;
CREATE TRIGGER task_fts_insert AFTER INSERT ON task
BEGIN
    INSERT INTO task_fts (rowid, instruction, input, output)
    SELECT
        NEW.id,
        NEW.instruction,
        coalesce(group_concat(input, char(10)), ''),
        coalesce(group_concat(output, char(10)), '')
    FROM instance
    WHERE task_id = NEW.id;
END;

-- An instance that changes its task takes its texts along.
CREATE TRIGGER instance_fts_move AFTER UPDATE OF task_id ON instance
WHEN NEW.task_id <> OLD.task_id
BEGIN
    UPDATE task_fts
    SET input = (SELECT coalesce(group_concat(input, char(10)), '') FROM instance WHERE task_id = task_fts.rowid),
        output = (SELECT coalesce(group_concat(output, char(10)), '') FROM instance WHERE task_id = task_fts.rowid)
    WHERE rowid IN (OLD.task_id, NEW.task_id);
END;

-- Who is writing revisions at this moment. ewe adds its row at the start of an action and removes it before the commit,
-- so nobody ever sees one, and a crash leaves none: it would have to survive the rollback. While it is there, the two
-- triggers below keep still.
CREATE TABLE acting (
    id  INTEGER PRIMARY KEY CHECK (id = 1),
    who TEXT NOT NULL
) STRICT;

-- Changes by SQL are revisions of one who is called sql. All rows of a statement are one group: SQLite's `now` is the
-- same for all of them, and none comes twice.
CREATE TRIGGER task_changed_by_sql AFTER UPDATE OF review, instruction, is_classification, name ON task
WHEN NOT EXISTS (SELECT 1 FROM acting)
    AND (
        NEW.review <> OLD.review
        OR NEW.instruction <> OLD.instruction
        OR NEW.is_classification <> OLD.is_classification
        OR NEW.name IS NOT OLD.name
    )
BEGIN
    INSERT INTO revision (id, group_id, task_id, who, action, before, after)
    SELECT
        next.id,
        coalesce(
            (
                SELECT latest.group_id
                FROM revision AS latest
                WHERE latest.id = next.id - 1
                    AND latest.who = 'sql'
                    AND latest.at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
                    AND NOT EXISTS (
                        SELECT 1
                        FROM revision AS same
                        WHERE same.task_id = NEW.id AND same.instance_id IS NULL AND same.group_id = latest.group_id
                    )
            ),
            next.id
        ),
        NEW.id,
        'sql',
        CASE
            WHEN NEW.review = OLD.review THEN 'edit'
            WHEN NEW.review = 'accepted' THEN 'accept'
            WHEN NEW.review = 'rejected' THEN 'reject'
            ELSE 'edit'
        END,
        changed.before,
        changed.after
    FROM (SELECT coalesce(max(id), 0) + 1 AS id FROM revision) AS next
    JOIN (
        SELECT json_group_object(name, before) AS before, json_group_object(name, after) AS after
        FROM (
            SELECT 'review' AS name, OLD.review AS before, NEW.review AS after
            UNION ALL SELECT 'instruction', OLD.instruction, NEW.instruction
            UNION ALL SELECT 'is_classification', OLD.is_classification, NEW.is_classification
            UNION ALL SELECT 'name', OLD.name, NEW.name
        )
        WHERE before IS NOT after
    ) AS changed;
    UPDATE task
    SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    WHERE id = NEW.id;
END;

CREATE TRIGGER instance_changed_by_sql AFTER UPDATE OF input, output ON instance
WHEN NOT EXISTS (SELECT 1 FROM acting)
    AND (NEW.input <> OLD.input OR NEW.output <> OLD.output)
BEGIN
    INSERT INTO revision (id, group_id, task_id, instance_id, who, action, before, after)
    SELECT
        next.id,
        coalesce(
            (
                SELECT latest.group_id
                FROM revision AS latest
                WHERE latest.id = next.id - 1
                    AND latest.who = 'sql'
                    AND latest.at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
                    AND NOT EXISTS (
                        SELECT 1
                        FROM revision AS same
                        WHERE same.task_id = NEW.task_id AND same.instance_id IS NEW.id AND same.group_id = latest.group_id
                    )
            ),
            next.id
        ),
        NEW.task_id,
        NEW.id,
        'sql',
        'edit',
        changed.before,
        changed.after
    FROM (SELECT coalesce(max(id), 0) + 1 AS id FROM revision) AS next
    JOIN (
        SELECT json_group_object(name, before) AS before, json_group_object(name, after) AS after
        FROM (
            SELECT 'input' AS name, OLD.input AS before, NEW.input AS after
            UNION ALL SELECT 'output', OLD.output, NEW.output
        )
        WHERE before <> after
    ) AS changed;
    UPDATE task
    SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    WHERE id = NEW.task_id;
END;

-- Tasks of the dataset that are most alike: each with its nearest.
CREATE VIEW nearest_pair AS
SELECT
    task.id AS task_id,
    other.id AS neighbor_id,
    task.nearest_rouge_l AS rouge_l,
    task.instruction,
    other.instruction AS neighbor_instruction,
    task.review,
    other.review AS neighbor_review
FROM task
JOIN neighbor ON neighbor.task_id = task.id AND neighbor.rank = 1
JOIN task AS other ON other.id = neighbor.neighbor_id
WHERE task.nearest_rouge_l IS NOT NULL
    AND task.review <> 'rejected'
    AND other.review <> 'rejected';

-- What each run cost and brought.
CREATE VIEW run_cost AS
SELECT
    run.id AS run_id,
    run.command,
    run.model,
    run.status,
    run.started_at,
    run.ended_at,
    count(request.id) AS requests,
    coalesce(sum(request.prompt_tokens), 0) AS prompt_tokens,
    coalesce(sum(request.completion_tokens), 0) AS completion_tokens,
    avg(request.latency_ms) AS mean_latency_ms,
    (SELECT count(*) FROM task WHERE task.run_id = run.id) AS tasks
FROM run
LEFT JOIN request ON request.run_id = run.id
GROUP BY run.id;

-- What instructions begin with, which is mostly a verb.
CREATE VIEW first_word AS
SELECT lower(trim(substr(text, 1, instr(text || ' ', ' ') - 1), '.,:;!?"''()*#')) AS first_word, count(*) AS tasks
FROM (
    SELECT ltrim(replace(replace(replace(instruction, char(10), ' '), char(13), ' '), char(9), ' ')) AS text
    FROM task
    WHERE review <> 'rejected'
)
GROUP BY 1;

-- The answers of classification tasks, upper and lower case alike.
CREATE VIEW label_balance AS
SELECT
    min(output) AS label,
    count(DISTINCT task_id) AS tasks,
    count(*) AS examples,
    1.0 * count(*) / sum(count(*)) OVER () AS share
FROM dataset
WHERE is_classification = 1
GROUP BY output COLLATE NOCASE;
