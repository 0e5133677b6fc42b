-- Conversations: what is said after the first question and its answer. These two stay where they were, in `instruction`,
-- `input` and `output`, so that a task of one turn is as it was, and `dataset` shows of each conversation how it begins.

PRAGMA user_version = 12;

-- The messages after the first answer: a JSON list of objects, each with `role` (`user`, `assistant`, or a tool's, such as
-- `tool`), `content`, and its other fields as they came, such as `tool_calls`. Null where there are none.
ALTER TABLE instance ADD COLUMN turns TEXT CHECK (turns IS NULL OR json_valid(turns));
-- The turns that were judged with the other texts.
ALTER TABLE judgment ADD COLUMN turns TEXT;

CREATE INDEX instance_of_turns ON instance (task_id) WHERE turns IS NOT NULL;

-- Every example as one conversation, a JSON list of messages; a task of one turn, too. Calls of tools and the reasoning of
-- the first answer are with the other fields of its row, in a list with an object for each of the first messages.
CREATE VIEW conversation AS
SELECT
    task.id AS task_id,
    instance.id AS instance_id,
    '['
        || CASE WHEN task.system IS NULL THEN '' ELSE json_object('role', 'system', 'content', task.system) || ',' END
        || json_object(
            'role', 'user',
            'content', task.instruction || CASE instance.input WHEN '' THEN '' ELSE char(10, 10) || instance.input END
        )
        || ','
        || json_patch(
            json_object('role', 'assistant', 'content', instance.output),
            json_object(
                'reasoning_content', json(coalesce(
                    instance.extra -> '$.messages[#-1].reasoning_content',
                    instance.extra -> '$.conversations[#-1].reasoning_content'
                )),
                'tool_calls', json(coalesce(
                    instance.extra -> '$.messages[#-1].tool_calls', instance.extra -> '$.conversations[#-1].tool_calls'
                ))
            )
        )
        || CASE
            WHEN json_array_length(instance.turns) > 0
                THEN ',' || substr(trim(instance.turns), 2, length(trim(instance.turns)) - 2)
            ELSE ''
        END
        || ']' AS messages,
    2 + (task.system IS NOT NULL) + coalesce(json_array_length(instance.turns), 0) AS length,
    task.is_classification,
    task.origin,
    task.review,
    task.run_id,
    task.created_at
FROM task
JOIN instance ON instance.task_id = task.id
WHERE task.review <> 'rejected';

-- A judgment holds for the turns that were judged, too.
DROP VIEW judged;
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

CREATE TRIGGER instance_score_turns AFTER UPDATE OF turns ON instance
WHEN NEW.turns IS NOT OLD.turns
    AND EXISTS (SELECT 1 FROM judgment WHERE judgment.instance_id = NEW.id)
BEGIN
    UPDATE task
    SET score = (
        SELECT min(score)
        FROM (
            SELECT avg(judged.score) AS score FROM judged WHERE judged.task_id = task.id GROUP BY judged.instance_id
        )
    )
    WHERE id = NEW.task_id;
END;

-- Words of later turns are found, and listed with the outputs.
DROP VIEW task_text;
CREATE VIEW task_text AS
SELECT
    id,
    CASE length(CAST(instruction AS BLOB))
        WHEN length(instruction) THEN instruction
        ELSE replace(replace(replace(replace(replace(
            replace(replace(replace(replace(replace(
            instruction, char(173), ''), char(847), ''), char(1600), ''), char(8206), ''),
            char(8207), ''), char(8288), ''), char(10240), ''), char(65279), ''), char(65532), ''),
            char(8203), CASE WHEN instruction GLOB '*[ก-႟ក-៿]*' THEN ' ' ELSE '' END)
    END AS instruction,
    (
        SELECT coalesce(
            group_concat(
                CASE length(CAST(input AS BLOB))
                    WHEN length(input) THEN input
                    ELSE replace(replace(replace(replace(replace(
                        replace(replace(replace(replace(replace(
                        input, char(173), ''), char(847), ''), char(1600), ''), char(8206), ''),
                        char(8207), ''), char(8288), ''), char(10240), ''), char(65279), ''), char(65532), ''),
                        char(8203), CASE WHEN input GLOB '*[ก-႟ក-៿]*' THEN ' ' ELSE '' END)
                END,
                char(10)
            ),
            ''
        )
        FROM instance
        WHERE task_id = task.id
    ) AS input,
    (
        SELECT coalesce(
            group_concat(
                CASE length(CAST(said AS BLOB))
                    WHEN length(said) THEN said
                    ELSE replace(replace(replace(replace(replace(
                        replace(replace(replace(replace(replace(
                        said, char(173), ''), char(847), ''), char(1600), ''), char(8206), ''),
                        char(8207), ''), char(8288), ''), char(10240), ''), char(65279), ''), char(65532), ''),
                        char(8203), CASE WHEN said GLOB '*[ก-႟ក-៿]*' THEN ' ' ELSE '' END)
                END,
                char(10)
            ),
            ''
        )
        FROM (
            SELECT
                CASE
                    WHEN turns IS NULL THEN output
                    ELSE output || char(10) || (
                        SELECT coalesce(group_concat(value ->> 'content', char(10)), '')
                        FROM json_each(instance.turns)
                        WHERE type = 'object'
                    )
                END AS said
            FROM instance
            WHERE task_id = task.id
        )
    ) AS output
FROM task;

CREATE TRIGGER instance_fts_turns AFTER UPDATE OF turns ON instance
WHEN NEW.turns IS NOT OLD.turns
BEGIN
    UPDATE task_fts
    SET output = (SELECT output FROM task_text WHERE id = NEW.task_id)
    WHERE rowid = NEW.task_id;
END;

-- A change of the turns by SQL is a revision like one of the other texts.
DROP TRIGGER instance_changed_by_sql;
CREATE TRIGGER instance_changed_by_sql AFTER UPDATE OF input, output, turns ON instance
WHEN NOT EXISTS (SELECT 1 FROM acting)
    AND (NEW.input <> OLD.input OR NEW.output <> OLD.output OR NEW.turns IS NOT OLD.turns)
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
            UNION ALL SELECT 'turns', OLD.turns, NEW.turns
        )
        WHERE before IS NOT after
    ) AS changed;
    UPDATE task
    SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    WHERE id = NEW.task_id;
END;
