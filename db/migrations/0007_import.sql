-- An import is an action like others, which can be taken back; what rows of a file say beyond instruction, input and output is
-- kept.

PRAGMA user_version = 7;

-- A system message that goes before the instruction: one for all instances.
ALTER TABLE task ADD COLUMN system TEXT;
-- The row of the file that an instance came from, counted from 1: the file is that of the task's run.
ALTER TABLE instance ADD COLUMN source_row INTEGER;
-- Fields of that row that have no column here, a JSON object; written back by export.
ALTER TABLE instance ADD COLUMN extra TEXT CHECK (extra IS NULL OR json_valid(extra));

-- SQLite cannot change what an action may be but by a new table. Triggers that name the old one would be in the way.
DROP TRIGGER revision_is_never_updated;
DROP TRIGGER revision_is_never_deleted;
DROP TRIGGER task_changed_by_sql;
DROP TRIGGER instance_changed_by_sql;

CREATE TABLE new_revision (
    id          INTEGER PRIMARY KEY,
    group_id    INTEGER NOT NULL REFERENCES new_revision (id),
    task_id     INTEGER NOT NULL REFERENCES task (id),
    -- Null where the task's own columns changed.
    instance_id INTEGER REFERENCES instance (id),
    who         TEXT NOT NULL,
    at          TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    action      TEXT NOT NULL CHECK (action IN ('import', 'accept', 'reject', 'edit', 'undo')),
    -- The columns that changed and only those: {"review": "pending"}. Before an import, a task is as one that was rejected.
    before      TEXT NOT NULL CHECK (json_valid(before)),
    after       TEXT NOT NULL CHECK (json_valid(after)),
    note        TEXT,
    -- The group that this one takes back; taking back an undo is a redo.
    undoes      INTEGER REFERENCES new_revision (id) CHECK ((action = 'undo') = (undoes IS NOT NULL))
) STRICT;

INSERT INTO new_revision (id, group_id, task_id, instance_id, who, at, action, before, after, note, undoes)
SELECT id, group_id, task_id, instance_id, who, at, action, before, after, note, undoes
FROM revision
ORDER BY id;

DROP TABLE revision;
ALTER TABLE new_revision RENAME TO revision;

CREATE INDEX revision_by_group ON revision (group_id);
CREATE INDEX revision_by_task ON revision (task_id);
CREATE INDEX revision_by_undoes ON revision (undoes) WHERE undoes IS NOT NULL;
-- Reasons are looked for by how they begin. The note of an import is its file, and the same for all of its tasks.
CREATE INDEX revision_by_note ON revision (note) WHERE note IS NOT NULL AND action <> 'import';

CREATE TRIGGER revision_is_never_updated BEFORE UPDATE ON revision
BEGIN
    SELECT raise(ABORT, 'revision is append-only');
END;

CREATE TRIGGER revision_is_never_deleted BEFORE DELETE ON revision
BEGIN
    SELECT raise(ABORT, 'revision is append-only');
END;

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

-- Tasks whose import was taken back. They are rejected, and nobody has said anything against them: a file that has them
-- brings them back.
CREATE VIEW withdrawn AS
SELECT task.id AS task_id
FROM task
WHERE task.review = 'rejected'
    AND (
        SELECT (SELECT undone.action FROM revision AS undone WHERE undone.id = last.undoes)
        FROM revision AS last
        WHERE last.task_id = task.id AND last.after ->> 'review' IS NOT NULL
        ORDER BY last.id DESC
        LIMIT 1
    ) = 'import';

DROP VIEW dataset;
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
    task.created_at,
    task.system,
    instance.extra
FROM task
JOIN instance ON instance.task_id = task.id
WHERE task.review <> 'rejected';
