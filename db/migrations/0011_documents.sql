-- Documents that tasks are made from: files, passages of them, and which rounds asked about which passage.

PRAGMA user_version = 11;

-- A file that people wrote, by `ewe add-documents`.
CREATE TABLE document (
    id         INTEGER PRIMARY KEY,
    -- The absolute path.
    path       TEXT NOT NULL UNIQUE,
    -- text, markdown, html, pdf, docx, epub, csv, json or code.
    format     TEXT NOT NULL,
    title      TEXT,
    -- Its size in bytes, and when it was changed: a file that has both as before is not read again.
    bytes      INTEGER NOT NULL,
    changed_at TEXT NOT NULL,
    -- SHA-256 of its bytes.
    hash       TEXT NOT NULL,
    -- How it was cut into passages.
    settings   TEXT NOT NULL CHECK (json_valid(settings)),
    -- Pages without a text layer, and what else was found: a JSON list of sentences.
    notes      TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(notes)),
    added_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    read_at    TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- When it was no longer where it had been.
    removed_at TEXT
) STRICT;

CREATE TABLE passage (
    id          INTEGER PRIMARY KEY,
    document_id INTEGER NOT NULL REFERENCES document (id),
    -- 0, 1, 2 … within the document.
    ordinal     INTEGER NOT NULL,
    -- The headings that it is under; empty without any.
    heading     TEXT NOT NULL,
    text        TEXT NOT NULL,
    -- Estimated without a tokenizer.
    tokens      INTEGER NOT NULL,
    page        INTEGER,
    -- Three letters of ISO 639-3, where it can be told.
    language    TEXT,
    -- A hash of heading and text.
    hash        TEXT NOT NULL,
    -- 0 once the document says something else, or is gone. Kept where rounds asked about it.
    is_current  INTEGER NOT NULL DEFAULT 1 CHECK (is_current IN (0, 1))
) STRICT;

CREATE INDEX passage_by_document ON passage (document_id, ordinal);

-- Full-text search. rowid is passage.id.
CREATE VIRTUAL TABLE passage_fts USING fts5 (
    heading, text, content = 'passage', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);

CREATE TRIGGER passage_fts_insert AFTER INSERT ON passage
BEGIN
    INSERT INTO passage_fts (rowid, heading, text)
    VALUES (NEW.id, NEW.heading, NEW.text);
END;

CREATE TRIGGER passage_fts_update AFTER UPDATE OF heading, text ON passage
BEGIN
    INSERT INTO passage_fts (passage_fts, rowid, heading, text)
    VALUES ('delete', OLD.id, OLD.heading, OLD.text);
    INSERT INTO passage_fts (rowid, heading, text)
    VALUES (NEW.id, NEW.heading, NEW.text);
END;

CREATE TRIGGER passage_fts_delete AFTER DELETE ON passage
BEGIN
    INSERT INTO passage_fts (passage_fts, rowid, heading, text)
    VALUES ('delete', OLD.id, OLD.heading, OLD.text);
END;

-- A round that asked about a passage, or about two.
CREATE TABLE grounding (
    round      INTEGER NOT NULL REFERENCES round (round),
    -- 0 for the passage, 1 for the one it was compared with.
    ordinal    INTEGER NOT NULL,
    passage_id INTEGER NOT NULL REFERENCES passage (id),
    -- question, extraction, summary, transformation, comparison, absent or backtranslation.
    kind       TEXT NOT NULL,
    PRIMARY KEY (round, ordinal)
) STRICT, WITHOUT ROWID;

CREATE INDEX grounding_by_passage ON grounding (passage_id);

-- The passages that a task was made from.
CREATE VIEW task_passage AS
SELECT
    task.id AS task_id,
    grounding.ordinal,
    grounding.kind,
    passage.id AS passage_id,
    passage.document_id,
    passage.heading,
    passage.text
FROM task
JOIN grounding ON grounding.round = task.round
JOIN passage ON passage.id = grounding.passage_id;

-- What each passage of today gave: rounds that asked about it, and tasks of them that nobody rejected.
CREATE VIEW passage_yield AS
SELECT
    passage.id AS passage_id,
    passage.document_id,
    count(DISTINCT grounding.round) AS rounds,
    count(DISTINCT task.id) AS tasks
FROM passage
LEFT JOIN grounding ON grounding.passage_id = passage.id
LEFT JOIN task ON task.round = grounding.round AND task.review <> 'rejected'
WHERE passage.is_current = 1
GROUP BY passage.id;
