-- Verdicts by likelihood: how likely a judge finds each score or letter, and not only the one that it writes.

PRAGMA user_version = 13;

-- Where the response names one of the words that were asked for, and how likely each was there, as JSON; null if that
-- was not asked, or the model does not tell.
ALTER TABLE request ADD COLUMN places TEXT CHECK (places IS NULL OR json_valid(places));

-- How the score was read. By likelihood, `score` is still what the judge wrote, and `expected` the mean of all scores,
-- each weighted by its probability.
ALTER TABLE judgment ADD COLUMN judged_by TEXT NOT NULL DEFAULT 'text' CHECK (judged_by IN ('text', 'likelihood'));
ALTER TABLE judgment ADD COLUMN expected REAL CHECK (expected BETWEEN 1 AND 5);

-- The expected score counts where there is one.
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

-- The probability that model b's answer is the better one, by a judge that is read by likelihood: the mean of both
-- orders.
ALTER TABLE comparison_pair ADD COLUMN b_wins REAL CHECK (b_wins BETWEEN 0 AND 1);
