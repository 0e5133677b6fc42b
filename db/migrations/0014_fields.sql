-- Fields of one's own: what people want to say of tasks beyond their texts, such as a difficulty or a source.

PRAGMA user_version = 14;

CREATE TABLE field (
    id          INTEGER PRIMARY KEY,
    -- As people type it; upper and lower case alike.
    name        TEXT NOT NULL COLLATE NOCASE UNIQUE,
    type        TEXT NOT NULL CHECK (type IN ('text', 'number', 'flag', 'choice', 'tags')),
    -- The values that a choice has, a JSON list in the order of sorting; null for other types.
    choices     TEXT CHECK ((type = 'choice') = (choices IS NOT NULL) AND (choices IS NULL OR json_valid(choices))),
    -- The key that edits it, on the page and in `ewe review`.
    key         TEXT UNIQUE,
    -- What rows of files call it.
    column_name TEXT NOT NULL,
    created_at  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- A field that was removed is hidden, with its values.
    hidden_at   TEXT
) STRICT;

-- The value of a field for a task: a text, a number, or 0 or 1 for a flag. Of tags each is a row; other fields have one row
-- at the most.
CREATE TABLE field_value (
    field_id INTEGER NOT NULL REFERENCES field (id),
    value    ANY NOT NULL,
    task_id  INTEGER NOT NULL REFERENCES task (id),
    PRIMARY KEY (field_id, value, task_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX field_value_by_task ON field_value (task_id, field_id);

-- The field that a revision changed: `before` and `after` are {"values": […]} of it.
ALTER TABLE revision ADD COLUMN field_id INTEGER REFERENCES field (id);

-- The values of tasks, with the names of their fields.
CREATE VIEW task_field AS
SELECT
    field_value.task_id,
    field.name AS field,
    field.type,
    field_value.value
FROM field_value
JOIN field ON field.id = field_value.field_id
WHERE field.hidden_at IS NULL;

-- Changes by SQL are revisions, as those of texts are.
CREATE TRIGGER field_value_added_by_sql AFTER INSERT ON field_value
WHEN NOT EXISTS (SELECT 1 FROM acting)
BEGIN
    INSERT INTO revision (id, group_id, task_id, field_id, who, action, before, after)
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
                        WHERE same.task_id = NEW.task_id
                            AND same.field_id = NEW.field_id
                            AND same.group_id = latest.group_id
                    )
            ),
            next.id
        ),
        NEW.task_id,
        NEW.field_id,
        'sql',
        'edit',
        json_object('values', json((
            SELECT json_group_array(value)
            FROM (
                SELECT value
                FROM field_value
                WHERE field_id = NEW.field_id AND task_id = NEW.task_id AND value <> NEW.value
                ORDER BY value
            )
        ))),
        json_object('values', json((
            SELECT json_group_array(value)
            FROM (
                SELECT value FROM field_value WHERE field_id = NEW.field_id AND task_id = NEW.task_id ORDER BY value
            )
        )))
    FROM (SELECT coalesce(max(id), 0) + 1 AS id FROM revision) AS next;
    UPDATE task
    SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    WHERE id = NEW.task_id;
END;

CREATE TRIGGER field_value_removed_by_sql AFTER DELETE ON field_value
WHEN NOT EXISTS (SELECT 1 FROM acting)
BEGIN
    INSERT INTO revision (id, group_id, task_id, field_id, who, action, before, after)
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
                        WHERE same.task_id = OLD.task_id
                            AND same.field_id = OLD.field_id
                            AND same.group_id = latest.group_id
                    )
            ),
            next.id
        ),
        OLD.task_id,
        OLD.field_id,
        'sql',
        'edit',
        json_object('values', json((
            SELECT json_group_array(value)
            FROM (
                SELECT value FROM field_value WHERE field_id = OLD.field_id AND task_id = OLD.task_id
                UNION
                SELECT OLD.value
                ORDER BY value
            )
        ))),
        json_object('values', json((
            SELECT json_group_array(value)
            FROM (
                SELECT value FROM field_value WHERE field_id = OLD.field_id AND task_id = OLD.task_id ORDER BY value
            )
        )))
    FROM (SELECT coalesce(max(id), 0) + 1 AS id FROM revision) AS next;
    UPDATE task
    SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    WHERE id = OLD.task_id;
END;

CREATE TRIGGER field_value_changed_by_sql AFTER UPDATE OF value ON field_value
WHEN NOT EXISTS (SELECT 1 FROM acting) AND NEW.value <> OLD.value
BEGIN
    INSERT INTO revision (id, group_id, task_id, field_id, who, action, before, after)
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
                        WHERE same.task_id = NEW.task_id
                            AND same.field_id = NEW.field_id
                            AND same.group_id = latest.group_id
                    )
            ),
            next.id
        ),
        NEW.task_id,
        NEW.field_id,
        'sql',
        'edit',
        json_object('values', json((
            SELECT json_group_array(value)
            FROM (
                SELECT value
                FROM field_value
                WHERE field_id = NEW.field_id AND task_id = NEW.task_id AND value <> NEW.value
                UNION
                SELECT OLD.value
                ORDER BY value
            )
        ))),
        json_object('values', json((
            SELECT json_group_array(value)
            FROM (
                SELECT value FROM field_value WHERE field_id = NEW.field_id AND task_id = NEW.task_id ORDER BY value
            )
        )))
    FROM (SELECT coalesce(max(id), 0) + 1 AS id FROM revision) AS next;
    UPDATE task
    SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    WHERE id = NEW.task_id;
END;
