-- Lists of a million tasks begin within a few hundredths of a second whatever the filter: what is looked for in an index
-- brings along what is wanted of it, so that the row itself need not be read.

PRAGMA user_version = 6;

DROP INDEX instance_by_label;
CREATE INDEX instance_by_label ON instance (output COLLATE NOCASE, task_id) WHERE length(output) <= 64;

DROP INDEX candidate_instance_by_reason;
CREATE INDEX candidate_instance_by_reason ON candidate (reason, parent_id)
WHERE kind = 'instance' AND verdict = 'rejected' AND reason <> 'instruction_rejected';
CREATE INDEX candidate_that_became_task ON candidate (id, task_id) WHERE kind = 'instruction' AND task_id IS NOT NULL;

-- Classification tasks are short, so that a list of the longest would find them at its end.
DROP INDEX task_of_classification;
CREATE INDEX task_of_classification ON task (length) WHERE is_classification = 1;

-- Whether ewe is adding tasks at this moment: first these, then their instances, then the words of both, once. Its row is
-- there from the start to the end of a transaction, so nobody ever sees it. While it is there, the triggers below keep still.
CREATE TABLE adding (
    id INTEGER PRIMARY KEY CHECK (id = 1)
) STRICT;

DROP TRIGGER task_fts_insert;
CREATE TRIGGER task_fts_insert AFTER INSERT ON task
WHEN NOT EXISTS (SELECT 1 FROM adding)
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

DROP TRIGGER instance_fts_insert;
CREATE TRIGGER instance_fts_insert AFTER INSERT ON instance
WHEN NOT EXISTS (SELECT 1 FROM adding)
BEGIN
    UPDATE task_fts
    SET input = (SELECT group_concat(input, char(10)) FROM instance WHERE task_id = NEW.task_id),
        output = (SELECT group_concat(output, char(10)) FROM instance WHERE task_id = NEW.task_id)
    WHERE rowid = NEW.task_id;
END;

DROP TRIGGER task_length_insert;
CREATE TRIGGER task_length_insert AFTER INSERT ON task
WHEN NOT EXISTS (SELECT 1 FROM adding)
    AND NEW.length <> length(NEW.instruction)
        + (SELECT coalesce(sum(length(input) + length(output)), 0) FROM instance WHERE instance.task_id = NEW.id)
BEGIN
    UPDATE task
    SET length = length(instruction)
        + (SELECT coalesce(sum(length(input) + length(output)), 0) FROM instance WHERE instance.task_id = NEW.id)
    WHERE id = NEW.id;
END;

DROP TRIGGER instance_length_insert;
CREATE TRIGGER instance_length_insert AFTER INSERT ON instance
WHEN NOT EXISTS (SELECT 1 FROM adding)
BEGIN
    UPDATE task
    SET length = length + length(NEW.input) + length(NEW.output)
    WHERE id = NEW.task_id;
END;
