//! Temporary tables that say which id of the source is which id of the draft. `is_new` rows are
//! added; the others are those of rows that the draft has.

use sqlx::SqliteConnection;

use super::{Brought, run};
use crate::store::Result;

/// The ids of the draft that are taken, before anything is added, and what decides about columns
/// of which only one dataset's values can be compared with each other.
const SHIFT: &str = "
    CREATE TEMP TABLE shift AS
    SELECT
        (SELECT coalesce(max(id), 0) FROM main.run) AS run,
        (SELECT coalesce(max(round) + 1, 0) FROM main.round) AS round,
        (SELECT coalesce(max(id), 0) FROM main.request) AS request,
        (SELECT coalesce(max(id), 0) FROM main.task) AS task,
        (SELECT coalesce(max(id), 0) FROM main.instance) AS instance,
        (SELECT coalesce(max(id), 0) FROM main.candidate) AS candidate,
        (SELECT coalesce(max(id), 0) FROM main.revision) AS revision,
        (SELECT coalesce(max(id), 0) FROM main.evaluation) AS evaluation,
        (SELECT coalesce(max(id), 0) FROM main.comparison) AS comparison,
        (SELECT coalesce(max(id), 0) FROM main.comparison_pair) AS pair,
        (SELECT coalesce(max(id), 0) FROM main.document) AS document,
        (SELECT coalesce(max(id), 0) FROM main.passage) AS passage,
        (SELECT coalesce(max(id), 0) FROM main.field) AS field,
        NOT EXISTS (SELECT 1 FROM main.task WHERE influence IS NOT NULL) AS takes_influence,
        NOT EXISTS (SELECT 1 FROM main.task WHERE ifd IS NOT NULL)
            OR (SELECT model FROM main.difficulty ORDER BY run_id DESC LIMIT 1)
                IS (SELECT model FROM source.difficulty ORDER BY run_id DESC LIMIT 1) AS takes_ifd";

/// A run of a common ancestor began at the same millisecond, with the same settings. Of several
/// such runs, it is the one with the same id.
const RUN: &str = "
    CREATE TEMP TABLE run_map AS
    SELECT old, coalesce(same, old + shift.run) AS new, same IS NULL AS is_new
    FROM (
        SELECT
            theirs.id AS old,
            (
                SELECT abs(min(iif(ours.id = theirs.id, -ours.id, ours.id)))
                FROM main.run AS ours
                WHERE ours.started_at = theirs.started_at
                    AND ours.command = theirs.command
                    AND ours.config = theirs.config
                    AND ours.seed IS theirs.seed
                    AND ours.model IS theirs.model
            ) AS same
        FROM source.run AS theirs
    )
    CROSS JOIN shift";

/// A round of a run that both have: its place within the run stays, whatever its number became.
const ROUND: &str = "
    CREATE TEMP TABLE round_map AS
    WITH
        our_round AS (
            SELECT *, row_number() OVER (PARTITION BY run_id ORDER BY round) AS place
            FROM main.round
        ),
        their_round AS (
            SELECT *, row_number() OVER (PARTITION BY run_id ORDER BY round) AS place
            FROM source.round
        )
    SELECT
        theirs.round AS old,
        coalesce(ours.round, theirs.round + shift.round) AS new,
        ours.round IS NULL AS is_new,
        run_map.new AS run_id
    FROM their_round AS theirs
    JOIN run_map ON run_map.old = theirs.run_id
    CROSS JOIN shift
    LEFT JOIN our_round AS ours
        ON ours.run_id = run_map.new
        AND NOT run_map.is_new
        AND ours.place = theirs.place
        AND ours.admitted_at = theirs.admitted_at
        AND ours.parsed = theirs.parsed
        AND ours.accepted = theirs.accepted";

/// A request with the same key and the same response. With another response, it is another one.
const REQUEST: &str = "
    CREATE TEMP TABLE request_map AS
    SELECT
        theirs.id AS old,
        coalesce(ours.id, theirs.id + shift.request) AS new,
        ours.id IS NULL AS is_new
    FROM source.request AS theirs
    CROSS JOIN shift
    LEFT JOIN main.request AS ours
        ON ours.content_key = theirs.content_key AND ours.response = theirs.response";

const SAME_TASK: &str = "
    CREATE TEMP TABLE task_map (old INTEGER PRIMARY KEY, new INTEGER NOT NULL, is_new INTEGER NOT NULL)";

const KNOWN_TASK: &str = "
    INSERT INTO temp.task_map (old, new, is_new)
    SELECT value ->> 0, value ->> 1, 0
    FROM json_each(?)";

/// The others, one after another.
const NEW_TASK: &str = "
    INSERT INTO temp.task_map (old, new, is_new)
    SELECT id, shift.task + row_number() OVER (ORDER BY id), 1
    FROM source.task
    CROSS JOIN shift
    WHERE id NOT IN (SELECT old FROM temp.task_map)";

const INSTANCE: &str = "
    CREATE TEMP TABLE instance_map AS
    SELECT
        theirs.id AS old,
        coalesce(ours.id, theirs.id + shift.instance) AS new,
        ours.id IS NULL AS is_new
    FROM source.instance AS theirs
    JOIN task_map ON task_map.old = theirs.task_id
    CROSS JOIN shift
    LEFT JOIN main.instance AS ours
        ON ours.task_id = task_map.new AND ours.ordinal = theirs.ordinal AND NOT task_map.is_new";

const EVALUATION: &str = "
    CREATE TEMP TABLE evaluation_map AS
    SELECT theirs.id AS old, theirs.id + shift.evaluation AS new, 1 AS is_new
    FROM source.evaluation AS theirs
    JOIN run_map ON run_map.old = theirs.run_id
    CROSS JOIN shift
    WHERE NOT EXISTS (
        SELECT 1
        FROM main.evaluation AS ours
        WHERE ours.run_id = run_map.new AND ours.suite = theirs.suite AND ours.source = theirs.source
    )";

const COMPARISON: &str = "
    CREATE TEMP TABLE comparison_map AS
    SELECT
        theirs.id AS old,
        coalesce(ours.id, theirs.id + shift.comparison) AS new,
        ours.id IS NULL AS is_new
    FROM source.comparison AS theirs
    JOIN run_map ON run_map.old = theirs.run_id
    CROSS JOIN shift
    LEFT JOIN main.comparison AS ours
        ON ours.run_id = run_map.new AND ours.created_at = theirs.created_at AND ours.source = theirs.source";

const PAIR: &str = "
    CREATE TEMP TABLE pair_map AS
    SELECT
        theirs.id AS old,
        coalesce(ours.id, theirs.id + shift.pair) AS new,
        ours.id IS NULL AS is_new
    FROM source.comparison_pair AS theirs
    JOIN comparison_map ON comparison_map.old = theirs.comparison_id
    CROSS JOIN shift
    LEFT JOIN main.comparison_pair AS ours
        ON ours.comparison_id = comparison_map.new AND ours.item = theirs.item";

/// A file is known by its path.
const DOCUMENT: &str = "
    CREATE TEMP TABLE document_map AS
    SELECT theirs.id AS old, coalesce(ours.id, theirs.id + shift.document) AS new, ours.id IS NULL AS is_new
    FROM source.document AS theirs
    CROSS JOIN shift
    LEFT JOIN main.document AS ours ON ours.path = theirs.path";

/// A passage of a file that both have is known by what it says.
const PASSAGE: &str = "
    CREATE TEMP TABLE passage_map AS
    SELECT old, coalesce(same, old + shift.passage) AS new, same IS NULL AS is_new
    FROM (
        SELECT
            theirs.id AS old,
            (
                SELECT max(ours.id)
                FROM main.passage AS ours
                WHERE ours.document_id = document_map.new AND ours.hash = theirs.hash
            ) AS same
        FROM source.passage AS theirs
        JOIN document_map ON document_map.old = theirs.document_id
    )
    CROSS JOIN shift";

/// A field of the same name and type. Names are alike in upper and lower case.
const FIELD: &str = "
    CREATE TEMP TABLE field_map AS
    SELECT theirs.id AS old, coalesce(ours.id, theirs.id + shift.field) AS new, ours.id IS NULL AS is_new
    FROM source.field AS theirs
    CROSS JOIN shift
    LEFT JOIN main.field AS ours ON ours.name = theirs.name AND ours.type = theirs.type";

/// Values that the draft has, or that somebody took away there, of tasks that both have.
const OUR_FIELD: &str = "
    CREATE TEMP TABLE our_field (task_id INTEGER, field_id INTEGER, PRIMARY KEY (task_id, field_id)) WITHOUT ROWID";

const OUR_FIELDS: &str = "
    INSERT INTO temp.our_field (task_id, field_id)
    SELECT ours.task_id, ours.field_id
    FROM main.field_value AS ours
    JOIN temp.task_map ON task_map.new = ours.task_id AND NOT task_map.is_new
    UNION
    SELECT ours.task_id, ours.field_id
    FROM main.revision AS ours
    JOIN temp.task_map ON task_map.new = ours.task_id AND NOT task_map.is_new
    WHERE ours.field_id IS NOT NULL";

/// What is looked up by the old id.
const INDEXES: [&str; 11] = [
    "CREATE UNIQUE INDEX temp.field_map_by_old ON field_map (old)",
    "CREATE UNIQUE INDEX temp.document_map_by_old ON document_map (old)",
    "CREATE UNIQUE INDEX temp.passage_map_by_old ON passage_map (old)",
    "CREATE UNIQUE INDEX temp.run_map_by_old ON run_map (old)",
    "CREATE UNIQUE INDEX temp.round_map_by_old ON round_map (old)",
    "CREATE UNIQUE INDEX temp.request_map_by_old ON request_map (old)",
    "CREATE UNIQUE INDEX temp.instance_map_by_old ON instance_map (old)",
    "CREATE UNIQUE INDEX temp.evaluation_map_by_old ON evaluation_map (old)",
    "CREATE UNIQUE INDEX temp.comparison_map_by_old ON comparison_map (old)",
    "CREATE UNIQUE INDEX temp.pair_map_by_old ON pair_map (old)",
    "CREATE INDEX temp.task_map_by_new ON task_map (new)",
];

/// Makes all maps. `same` are the tasks that both have: JSON rows of the ids in the source and in
/// the draft.
pub(super) async fn make(connection: &mut SqliteConnection, same: &str) -> Result<()> {
    for statement in [SHIFT, RUN, ROUND, REQUEST, SAME_TASK] {
        run(connection, statement).await?;
    }
    sqlx::query(KNOWN_TASK)
        .bind(same)
        .execute(&mut *connection)
        .await?;
    for statement in [
        NEW_TASK, INSTANCE, EVALUATION, COMPARISON, PAIR, DOCUMENT, PASSAGE, FIELD, OUR_FIELD, OUR_FIELDS,
    ] {
        run(connection, statement).await?;
    }
    for statement in INDEXES {
        run(connection, statement).await?;
    }
    Ok(())
}

/// Counts what is new, and the tasks that both have.
pub(super) async fn count(connection: &mut SqliteConnection) -> Result<Brought> {
    let (tasks, same_tasks, runs, requests, rounds) = sqlx::query_as(
        "SELECT
            (SELECT count(*) FROM temp.task_map WHERE is_new),
            (SELECT count(*) FROM temp.task_map WHERE NOT is_new),
            (SELECT count(*) FROM temp.run_map WHERE is_new),
            (SELECT count(*) FROM temp.request_map WHERE is_new),
            (SELECT count(*) FROM temp.round_map WHERE is_new)",
    )
    .fetch_one(connection)
    .await?;
    Ok(Brought {
        tasks,
        same_tasks,
        runs,
        requests,
        rounds,
        ..Brought::default()
    })
}
