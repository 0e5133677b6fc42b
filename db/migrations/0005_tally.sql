-- Counts that dashboards would otherwise read every row for. They are kept for blocks of 4,096 tasks and for the candidates
-- of 512 rounds, and a block whose rows changed since is counted anew by whoever wants to know. Only tally has counts; it may be emptied
-- at any time.

PRAGMA user_version = 5;

-- How often something of the tasks id >> 12, their instances, or what is known of them changed.
CREATE TABLE task_block (
    block   INTEGER PRIMARY KEY,
    changes INTEGER NOT NULL DEFAULT 1
) STRICT;

-- How often one of the candidates of the rounds round >> 9 changed.
CREATE TABLE candidate_block (
    block   INTEGER PRIMARY KEY,
    changes INTEGER NOT NULL DEFAULT 1
) STRICT;

-- What was counted in a block when so many changes had been made; it holds as long as there were no more.
CREATE TABLE tally (
    subject TEXT NOT NULL CHECK (subject IN ('task', 'candidate')),
    block   INTEGER NOT NULL,
    changes INTEGER NOT NULL,
    -- Which way of counting: what another version of ewe counted otherwise is counted anew.
    version INTEGER NOT NULL,
    counts  TEXT NOT NULL CHECK (json_valid(counts)),
    PRIMARY KEY (subject, block)
) STRICT;

INSERT INTO task_block (block)
SELECT DISTINCT id >> 12
FROM task;

INSERT INTO candidate_block (block)
SELECT DISTINCT round >> 9
FROM candidate;

CREATE TRIGGER task_block_insert AFTER INSERT ON task
BEGIN
    INSERT INTO task_block (block)
    VALUES (NEW.id >> 12)
    ON CONFLICT (block) DO UPDATE SET changes = changes + 1;
END;

CREATE TRIGGER task_block_update AFTER UPDATE OF id, instruction, is_classification, origin, review, nearest_rouge_l ON task
BEGIN
    INSERT INTO task_block (block)
    VALUES (OLD.id >> 12), (NEW.id >> 12)
    ON CONFLICT (block) DO UPDATE SET changes = changes + 1;
END;

CREATE TRIGGER task_block_delete AFTER DELETE ON task
BEGIN
    INSERT INTO task_block (block)
    VALUES (OLD.id >> 12)
    ON CONFLICT (block) DO UPDATE SET changes = changes + 1;
END;

CREATE TRIGGER instance_block_insert AFTER INSERT ON instance
BEGIN
    INSERT INTO task_block (block)
    VALUES (NEW.task_id >> 12)
    ON CONFLICT (block) DO UPDATE SET changes = changes + 1;
END;

CREATE TRIGGER instance_block_update AFTER UPDATE ON instance
BEGIN
    INSERT INTO task_block (block)
    VALUES (OLD.task_id >> 12), (NEW.task_id >> 12)
    ON CONFLICT (block) DO UPDATE SET changes = changes + 1;
END;

CREATE TRIGGER instance_block_delete AFTER DELETE ON instance
BEGIN
    INSERT INTO task_block (block)
    VALUES (OLD.task_id >> 12)
    ON CONFLICT (block) DO UPDATE SET changes = changes + 1;
END;

-- Judgments are only ever added.
CREATE TRIGGER judgment_block_insert AFTER INSERT ON judgment
BEGIN
    INSERT INTO task_block (block)
    SELECT instance.task_id >> 12
    FROM instance
    WHERE instance.id = NEW.instance_id
    ON CONFLICT (block) DO UPDATE SET changes = changes + 1;
END;

CREATE TRIGGER candidate_block_insert AFTER INSERT ON candidate
BEGIN
    INSERT INTO candidate_block (block)
    VALUES (NEW.round >> 9)
    ON CONFLICT (block) DO UPDATE SET changes = changes + 1;
END;

CREATE TRIGGER candidate_block_update AFTER UPDATE OF round, kind, verdict, reason ON candidate
BEGIN
    INSERT INTO candidate_block (block)
    VALUES (OLD.round >> 9), (NEW.round >> 9)
    ON CONFLICT (block) DO UPDATE SET changes = changes + 1;
END;

CREATE TRIGGER candidate_block_delete AFTER DELETE ON candidate
BEGIN
    INSERT INTO candidate_block (block)
    VALUES (OLD.round >> 9)
    ON CONFLICT (block) DO UPDATE SET changes = changes + 1;
END;

-- Verdicts, without reading texts.
DROP INDEX candidate_by_round;
CREATE INDEX candidate_by_round ON candidate (round, kind, verdict, reason);

-- What runs cost, without reading prompts and responses.
DROP INDEX request_by_run;
CREATE INDEX request_by_run ON request (run_id, prompt_tokens, completion_tokens, latency_ms);
