//! The statements that add the rows of the source to the draft.

/// Runs of the draft that seem to go on.
pub(super) const END_RUNS: &str = "UPDATE main.run SET status = 'interrupted' WHERE status = 'running'";

/// In the order of references. Neighbors are not among them: they are searched anew, among the
/// tasks of all datasets. Nor are tallies, which anybody counts again.
pub(super) const ADD: [&str; 29] = [
    RUN,
    REQUEST,
    ROUND,
    TASK,
    INSTANCE,
    SPLIT,
    EVOLUTION,
    DOCUMENT,
    PASSAGE,
    GROUNDING,
    CANDIDATE,
    JUDGMENT,
    VALIDATION,
    INFLUENCE,
    INFLUENCE_ON,
    DIFFICULTY,
    MISSING_INFLUENCE,
    MISSING_IFD,
    EVALUATION,
    EVALUATION_ANSWER,
    COMPARISON,
    PAIR,
    VOTE,
    FIELD,
    SAME_FIELD,
    FIELD_VALUE,
    ASSIGNMENT,
    OPINION,
    COMMENT,
];

/// Whoever is at work on the source is not at work on the draft.
const RUN: &str = "
    INSERT INTO main.run (id, command, config, seed, model, started_at, ended_at, status)
    SELECT
        run_map.new, command, config, seed, model, started_at, ended_at,
        iif(status = 'running', 'interrupted', status)
    FROM source.run AS theirs
    JOIN temp.run_map ON run_map.old = theirs.id AND run_map.is_new
    ORDER BY theirs.id";

/// A key that the draft has belongs to another response there, and is made another one here. Rounds
/// that were never admitted follow those that were.
const REQUEST: &str = "
    INSERT INTO main.request (
        id, run_id, round, stage, ordinal, content_key, prompt, parameters, response, finish_reason,
        prompt_tokens, completion_tokens, latency_ms, created_at, reasoning, refusal, places
    )
    SELECT
        request_map.new, run_map.new,
        coalesce(round_map.new, theirs.round + iif(run.command = 'generate', shift.round, 0)),
        stage, ordinal,
        content_key || iif(
            EXISTS (SELECT 1 FROM main.request AS ours WHERE ours.content_key = theirs.content_key),
            '+' || request_map.new,
            ''
        ),
        prompt, parameters, response, finish_reason, prompt_tokens, completion_tokens, latency_ms, created_at,
        reasoning, refusal, places
    FROM source.request AS theirs
    CROSS JOIN temp.request_map ON request_map.old = theirs.id AND request_map.is_new
    JOIN temp.run_map ON run_map.old = theirs.run_id
    JOIN source.run AS run ON run.id = theirs.run_id
    CROSS JOIN temp.shift
    LEFT JOIN temp.round_map ON round_map.old = theirs.round
    ORDER BY theirs.id";

const ROUND: &str = "
    INSERT INTO main.round (round, run_id, parsed, accepted, admitted_at)
    SELECT round_map.new, round_map.run_id, parsed, accepted, admitted_at
    FROM source.round AS theirs
    JOIN temp.round_map ON round_map.old = theirs.round AND round_map.is_new
    ORDER BY theirs.round";

/// A task of a round that both have, whose texts were edited in one of them, is a task by itself:
/// the candidates of that round became the other.
const TASK: &str = "
    INSERT INTO main.task (
        id, source_id, name, instruction, is_classification, origin, review, request_id, round, run_id,
        created_at, updated_at, length, system, influence, ifd
    )
    SELECT
        task_map.new, source_id, name, instruction, is_classification, origin, review, request_map.new,
        iif(round_map.is_new, round_map.new, NULL), run_map.new, created_at, updated_at, length, system,
        iif(shift.takes_influence, influence, NULL), iif(shift.takes_ifd, ifd, NULL)
    FROM source.task AS theirs
    JOIN temp.task_map ON task_map.old = theirs.id AND task_map.is_new
    CROSS JOIN temp.shift
    LEFT JOIN temp.request_map ON request_map.old = theirs.request_id
    LEFT JOIN temp.round_map ON round_map.old = theirs.round
    LEFT JOIN temp.run_map ON run_map.old = theirs.run_id
    ORDER BY theirs.id";

const INSTANCE: &str = "
    INSERT INTO main.instance (id, task_id, ordinal, input, output, source_row, extra, turns)
    SELECT instance_map.new, task_map.new, ordinal, input, output, source_row, extra, turns
    FROM source.instance AS theirs
    CROSS JOIN temp.instance_map ON instance_map.old = theirs.id AND instance_map.is_new
    JOIN temp.task_map ON task_map.old = theirs.task_id
    ORDER BY theirs.id";

/// A task that is held out in one dataset is held out.
const SPLIT: &str = "
    INSERT OR IGNORE INTO main.held_out (task_id, run_id)
    SELECT task_map.new, run_map.new
    FROM source.held_out AS theirs
    JOIN temp.task_map ON task_map.old = theirs.task_id
    JOIN temp.run_map ON run_map.old = theirs.run_id";

const EVOLUTION: &str = "
    INSERT INTO main.evolution (round, parent_task_id, operator)
    SELECT round_map.new, task_map.new, operator
    FROM source.evolution AS theirs
    JOIN temp.round_map ON round_map.old = theirs.round AND round_map.is_new
    JOIN temp.task_map ON task_map.old = theirs.parent_task_id";

const DOCUMENT: &str = "
    INSERT INTO main.document (
        id, path, format, title, bytes, changed_at, hash, settings, notes, added_at, read_at, removed_at
    )
    SELECT
        document_map.new, path, format, title, bytes, changed_at, hash, settings, notes, added_at, read_at,
        removed_at
    FROM source.document AS theirs
    JOIN temp.document_map ON document_map.old = theirs.id AND document_map.is_new
    ORDER BY theirs.id";

/// What a file of the draft does not say is not of today.
const PASSAGE: &str = "
    INSERT INTO main.passage (
        id, document_id, ordinal, heading, text, tokens, page, language, hash, is_current
    )
    SELECT
        passage_map.new, document_map.new, ordinal, heading, text, tokens, page, language, hash,
        is_current AND document_map.is_new
    FROM source.passage AS theirs
    CROSS JOIN temp.passage_map ON passage_map.old = theirs.id AND passage_map.is_new
    JOIN temp.document_map ON document_map.old = theirs.document_id
    ORDER BY theirs.id";

const GROUNDING: &str = "
    INSERT INTO main.grounding (round, ordinal, passage_id, kind)
    SELECT round_map.new, ordinal, passage_map.new, kind
    FROM source.grounding AS theirs
    JOIN temp.round_map ON round_map.old = theirs.round AND round_map.is_new
    JOIN temp.passage_map ON passage_map.old = theirs.passage_id";

const CANDIDATE: &str = "
    INSERT INTO main.candidate (
        id, run_id, round, request_id, kind, parent_id, task_id, instruction, input, output, verdict, reason,
        detail, nearest_task_id, rouge_l, created_at
    )
    SELECT
        theirs.id + shift.candidate, run_map.new, round_map.new, request_map.new, kind,
        parent_id + shift.candidate, task_map.new, instruction, input, output, verdict, reason, detail,
        nearest.new, rouge_l, created_at
    FROM source.candidate AS theirs
    CROSS JOIN temp.round_map ON round_map.old = theirs.round AND round_map.is_new
    CROSS JOIN temp.shift
    JOIN temp.run_map ON run_map.old = theirs.run_id
    JOIN temp.request_map ON request_map.old = theirs.request_id
    LEFT JOIN temp.task_map ON task_map.old = theirs.task_id
    LEFT JOIN temp.task_map AS nearest ON nearest.old = theirs.nearest_task_id
    ORDER BY theirs.id";

const JUDGMENT: &str = "
    INSERT INTO main.judgment (
        instance_id, run_id, request_id, model, instruction, input, output, score, reason, problem, judged_by,
        expected, created_at, turns, rubric, rubric_hash, criteria
    )
    SELECT
        instance_map.new, run_map.new, request_map.new, model, instruction, input, output, score, reason,
        problem, judged_by, expected, created_at, turns, rubric, rubric_hash, criteria
    FROM source.judgment AS theirs
    CROSS JOIN temp.instance_map ON instance_map.old = theirs.instance_id
    JOIN temp.run_map ON run_map.old = theirs.run_id
    JOIN temp.request_map ON request_map.old = theirs.request_id
    WHERE NOT EXISTS (
        SELECT 1
        FROM main.judgment AS ours
        WHERE ours.instance_id = instance_map.new AND ours.request_id = request_map.new
    )
    ORDER BY theirs.id";

const VALIDATION: &str = "
    INSERT INTO main.validation (
        instance_id, run_id, validator, instruction, input, output, turns, accepted, reason, created_at
    )
    SELECT
        instance_map.new, run_map.new, validator, instruction, input, output, turns, accepted, reason, created_at
    FROM source.validation AS theirs
    CROSS JOIN temp.instance_map ON instance_map.old = theirs.instance_id
    JOIN temp.run_map ON run_map.old = theirs.run_id
    WHERE NOT EXISTS (
        SELECT 1
        FROM main.validation AS ours
        WHERE ours.instance_id = instance_map.new
            AND ours.run_id = run_map.new
            AND ours.validator = theirs.validator
            AND ours.created_at = theirs.created_at
    )
    ORDER BY theirs.id";

const INFLUENCE: &str = "
    INSERT OR IGNORE INTO main.influence (run_id, instance_id, value)
    SELECT run_map.new, instance_map.new, value
    FROM source.influence AS theirs
    CROSS JOIN temp.run_map ON run_map.old = theirs.run_id
    JOIN temp.instance_map ON instance_map.old = theirs.instance_id";

const INFLUENCE_ON: &str = "
    INSERT OR IGNORE INTO main.influence_on (run_id, instance_id, task_id, value)
    SELECT run_map.new, instance_map.new, task_map.new, value
    FROM source.influence_on AS theirs
    CROSS JOIN temp.run_map ON run_map.old = theirs.run_id
    JOIN temp.instance_map ON instance_map.old = theirs.instance_id
    JOIN temp.task_map ON task_map.old = theirs.task_id";

/// Of two values of one model for one instance, the first dataset's stays.
const DIFFICULTY: &str = "
    INSERT OR IGNORE INTO main.difficulty (instance_id, run_id, model, tokens, nll, nll_alone)
    SELECT instance_map.new, run_map.new, model, tokens, nll, nll_alone
    FROM source.difficulty AS theirs
    CROSS JOIN temp.instance_map ON instance_map.old = theirs.instance_id
    JOIN temp.run_map ON run_map.old = theirs.run_id";

/// Tasks that both have, where only the source computed something that can be compared.
const MISSING_INFLUENCE: &str = "
    UPDATE main.task
    SET influence = theirs.influence
    FROM source.task AS theirs
    JOIN temp.task_map ON task_map.old = theirs.id AND NOT task_map.is_new
    CROSS JOIN temp.shift ON shift.takes_influence
    WHERE task.id = task_map.new AND theirs.influence IS NOT NULL";

const MISSING_IFD: &str = "
    UPDATE main.task
    SET ifd = theirs.ifd
    FROM source.task AS theirs
    JOIN temp.task_map ON task_map.old = theirs.id AND NOT task_map.is_new
    CROSS JOIN temp.shift ON shift.takes_ifd
    WHERE task.id = task_map.new AND task.ifd IS NULL AND theirs.ifd IS NOT NULL";

const EVALUATION: &str = "
    INSERT INTO main.evaluation (id, run_id, suite, source, model, train_run_id, result, created_at)
    SELECT evaluation_map.new, run_map.new, suite, theirs.source, model, trained.new, result, created_at
    FROM source.evaluation AS theirs
    JOIN temp.evaluation_map ON evaluation_map.old = theirs.id
    JOIN temp.run_map ON run_map.old = theirs.run_id
    LEFT JOIN temp.run_map AS trained ON trained.old = theirs.train_run_id
    ORDER BY theirs.id";

const EVALUATION_ANSWER: &str = r#"
    INSERT INTO main.evaluation_answer (
        evaluation_id, item, category, task_id, prompt, answer, finish_reason, "references", scores, found_in
    )
    SELECT
        evaluation_map.new, item, category, task_map.new, prompt, answer, finish_reason, "references", scores,
        found.new
    FROM source.evaluation_answer AS theirs
    CROSS JOIN temp.evaluation_map ON evaluation_map.old = theirs.evaluation_id
    LEFT JOIN temp.task_map ON task_map.old = theirs.task_id
    LEFT JOIN temp.task_map AS found ON found.old = theirs.found_in
    ORDER BY theirs.id"#;

const COMPARISON: &str = "
    INSERT INTO main.comparison (id, run_id, model_a, model_b, judge, source, result, created_at)
    SELECT comparison_map.new, run_map.new, model_a, model_b, judge, theirs.source, result, created_at
    FROM source.comparison AS theirs
    JOIN temp.comparison_map ON comparison_map.old = theirs.id AND comparison_map.is_new
    JOIN temp.run_map ON run_map.old = theirs.run_id
    ORDER BY theirs.id";

const PAIR: &str = "
    INSERT INTO main.comparison_pair (
        id, comparison_id, item, category, prompt, reference, answer_a, answer_b, a_first, b_first, verdict, b_wins
    )
    SELECT
        pair_map.new, comparison_map.new, item, category, prompt, reference, answer_a, answer_b, a_first, b_first,
        verdict, b_wins
    FROM source.comparison_pair AS theirs
    JOIN temp.pair_map ON pair_map.old = theirs.id AND pair_map.is_new
    JOIN temp.comparison_map ON comparison_map.old = theirs.comparison_id
    ORDER BY theirs.id";

const VOTE: &str = "
    INSERT INTO main.comparison_vote (pair_id, who, choice, at)
    SELECT pair_map.new, who, choice, at
    FROM source.comparison_vote AS theirs
    JOIN temp.pair_map ON pair_map.old = theirs.pair_id
    WHERE NOT EXISTS (
        SELECT 1
        FROM main.comparison_vote AS ours
        WHERE ours.pair_id = pair_map.new AND ours.who = theirs.who AND ours.at = theirs.at
    )
    ORDER BY theirs.id";

/// A field whose name the draft has for another type gets its type after its name; a key that is
/// taken is left away.
const FIELD: &str = "
    INSERT INTO main.field (id, name, type, choices, key, column_name, created_at, hidden_at)
    SELECT
        field_map.new,
        name || iif(
            EXISTS (SELECT 1 FROM main.field AS ours WHERE ours.name = theirs.name),
            '_' || type || iif(
                EXISTS (SELECT 1 FROM main.field AS ours WHERE ours.name = theirs.name || '_' || theirs.type),
                '_' || field_map.new,
                ''
            ),
            ''
        ),
        type, choices,
        iif(EXISTS (SELECT 1 FROM main.field AS ours WHERE ours.key = theirs.key), NULL, key),
        column_name, created_at, hidden_at
    FROM source.field AS theirs
    JOIN temp.field_map ON field_map.old = theirs.id AND field_map.is_new
    ORDER BY theirs.id";

/// A field that both have, and that one of them has not removed, is there, with the choices of
/// both.
const SAME_FIELD: &str = "
    UPDATE main.field
    SET hidden_at = iif(theirs.hidden_at IS NULL, NULL, field.hidden_at),
        choices = (
            SELECT nullif(json_group_array(value), '[]')
            FROM (
                SELECT value, min(place) AS place
                FROM (
                    SELECT value, key AS place FROM json_each(field.choices)
                    UNION ALL
                    SELECT value, key + 100000 FROM json_each(theirs.choices)
                )
                GROUP BY value
                ORDER BY place
            )
        )
    FROM source.field AS theirs
    JOIN temp.field_map ON field_map.old = theirs.id AND NOT field_map.is_new
    WHERE field.id = field_map.new";

/// Of a task that both have, the values of the draft stay, and what somebody made of them there.
const FIELD_VALUE: &str = "
    INSERT INTO main.field_value (field_id, value, task_id)
    SELECT field_map.new, value, task_map.new
    FROM source.field_value AS theirs
    JOIN temp.field_map ON field_map.old = theirs.field_id
    JOIN temp.task_map ON task_map.old = theirs.task_id
    WHERE task_map.is_new
        OR NOT EXISTS (
            SELECT 1
            FROM temp.our_field
            WHERE our_field.task_id = task_map.new AND our_field.field_id = field_map.new
        )";

/// A task is assigned to somebody once. What both have goes by its `uid`.
const ASSIGNMENT: &str = "
    INSERT OR IGNORE INTO main.assignment (uid, task_id, reviewer, who, created_at, withdrawn_at)
    SELECT
        uid, task_map.new, reviewer, who, created_at,
        coalesce(
            withdrawn_at,
            iif(
                EXISTS (
                    SELECT 1
                    FROM main.assignment AS ours
                    WHERE ours.reviewer = theirs.reviewer
                        AND ours.task_id = task_map.new
                        AND ours.withdrawn_at IS NULL
                ),
                created_at,
                NULL
            )
        )
    FROM source.assignment AS theirs
    JOIN temp.task_map ON task_map.old = theirs.task_id
    WHERE uid NOT IN (SELECT uid FROM main.assignment)
    ORDER BY theirs.id";

const OPINION: &str = "
    INSERT INTO main.opinion (uid, task_id, reviewer, verdict, note, texts, created_at, withdrawn_at)
    SELECT uid, task_map.new, reviewer, verdict, note, texts, created_at, withdrawn_at
    FROM source.opinion AS theirs
    JOIN temp.task_map ON task_map.old = theirs.task_id
    WHERE uid NOT IN (SELECT uid FROM main.opinion)
    ORDER BY theirs.id";

const COMMENT: &str = "
    INSERT INTO main.comment (uid, task_id, author, text, created_at, withdrawn_at)
    SELECT uid, task_map.new, author, text, created_at, withdrawn_at
    FROM source.comment AS theirs
    JOIN temp.task_map ON task_map.old = theirs.task_id
    WHERE uid NOT IN (SELECT uid FROM main.comment)
    ORDER BY theirs.id";
