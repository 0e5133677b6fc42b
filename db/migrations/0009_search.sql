-- Words are found where nobody sees what splits them: the index gets texts without characters that are
-- invisible and carry nothing. What else looks the same to people is seen to where a query is made.

PRAGMA user_version = 9;

-- A task's texts as the index of words has them, those of several instances joined by line breaks:
-- without soft hyphens, grapheme joiners, the strokes that make Arabic words longer, marks of direction, word
-- joiners, blanks of Braille, byte order marks, marks of what was left away, and zero width spaces. These last
-- stand between words in texts with letters from Thai to Burmese or Khmer, and are spaces there. Joiners (U+200C,
-- U+200D) stay: in Persian they stand where other languages begin a word. What else is invisible is at the ends of
-- words, where it splits none; the parser of sqlite3 before 3.46 would not take a much longer expression. A text
-- with as many bytes as characters is ASCII.
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
                CASE length(CAST(output AS BLOB))
                    WHEN length(output) THEN output
                    ELSE replace(replace(replace(replace(replace(
                        replace(replace(replace(replace(replace(
                        output, char(173), ''), char(847), ''), char(1600), ''), char(8206), ''),
                        char(8207), ''), char(8288), ''), char(10240), ''), char(65279), ''), char(65532), ''),
                        char(8203), CASE WHEN output GLOB '*[ก-႟ក-៿]*' THEN ' ' ELSE '' END)
                END,
                char(10)
            ),
            ''
        )
        FROM instance
        WHERE task_id = task.id
    ) AS output
FROM task;

UPDATE task_fts
SET (instruction, input, output) = (SELECT instruction, input, output FROM task_text WHERE id = task_fts.rowid)
WHERE rowid IN (
    SELECT task_text.id
    FROM task_text
    JOIN task_fts ON task_fts.rowid = task_text.id
    WHERE task_fts.instruction <> task_text.instruction
        OR task_fts.input <> task_text.input
        OR task_fts.output <> task_text.output
);

DROP TRIGGER task_fts_insert;
CREATE TRIGGER task_fts_insert AFTER INSERT ON task
WHEN NOT EXISTS (SELECT 1 FROM adding)
BEGIN
    INSERT INTO task_fts (rowid, instruction, input, output)
    SELECT id, instruction, input, output
    FROM task_text
    WHERE id = NEW.id;
END;

DROP TRIGGER task_fts_update;
CREATE TRIGGER task_fts_update AFTER UPDATE OF instruction ON task
WHEN NEW.instruction <> OLD.instruction
BEGIN
    UPDATE task_fts
    SET instruction = (SELECT instruction FROM task_text WHERE id = NEW.id)
    WHERE rowid = NEW.id;
END;

DROP TRIGGER instance_fts_insert;
CREATE TRIGGER instance_fts_insert AFTER INSERT ON instance
WHEN NOT EXISTS (SELECT 1 FROM adding)
BEGIN
    UPDATE task_fts
    SET (input, output) = (SELECT input, output FROM task_text WHERE id = NEW.task_id)
    WHERE rowid = NEW.task_id;
END;

DROP TRIGGER instance_fts_update;
CREATE TRIGGER instance_fts_update AFTER UPDATE OF input, output ON instance
BEGIN
    UPDATE task_fts
    SET (input, output) = (SELECT input, output FROM task_text WHERE id = NEW.task_id)
    WHERE rowid = NEW.task_id;
END;

DROP TRIGGER instance_fts_delete;
CREATE TRIGGER instance_fts_delete AFTER DELETE ON instance
BEGIN
    UPDATE task_fts
    SET (input, output) = (SELECT input, output FROM task_text WHERE id = OLD.task_id)
    WHERE rowid = OLD.task_id;
END;

DROP TRIGGER instance_fts_move;
CREATE TRIGGER instance_fts_move AFTER UPDATE OF task_id ON instance
WHEN NEW.task_id <> OLD.task_id
BEGIN
    UPDATE task_fts
    SET (input, output) = (SELECT input, output FROM task_text WHERE id = task_fts.rowid)
    WHERE rowid IN (OLD.task_id, NEW.task_id);
END;
