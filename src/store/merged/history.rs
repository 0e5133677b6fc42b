//! Revisions of the source, and the reviews of tasks that both datasets have.
//!
//! Of a task that both have, what somebody rejected is rejected, else what somebody accepted is
//! accepted. An import that was undone is no opinion. Where the datasets disagree, or where the
//! history of the source would end in another review, the merge records one of its own, as one
//! action for all tasks.

use sqlx::SqliteConnection;

use super::run;
use crate::store::Result;
use crate::store::curation::revision::next_group;

/// Revisions that both have, from a common ancestor.
const SAME: &str = "
    CREATE TEMP TABLE revision_map AS
    SELECT
        theirs.id AS old, min(ours.id) AS new, 0 AS is_new, theirs.group_id AS old_group,
        min(ours.group_id) AS our_group
    FROM source.revision AS theirs
    JOIN temp.task_map ON task_map.old = theirs.task_id AND NOT task_map.is_new
    LEFT JOIN temp.instance_map ON instance_map.old = theirs.instance_id
    JOIN main.revision AS ours
        ON ours.task_id = task_map.new
        AND ours.instance_id IS instance_map.new
        AND ours.at = theirs.at
        AND ours.who = theirs.who
        AND ours.action = theirs.action
        AND ours.before = theirs.before
        AND ours.after = theirs.after
    GROUP BY theirs.id";

/// The others. A task that both have was there before the source imported it, so neither that
/// import nor its undo say anything of it.
const NEW: &str = "
    INSERT INTO temp.revision_map (old, new, is_new, old_group)
    WITH RECURSIVE import(id) AS (
        SELECT group_id
        FROM source.revision
        WHERE action = 'import'
        UNION
        SELECT revision.group_id
        FROM import
        JOIN source.revision ON revision.undoes = import.id
    )
    SELECT theirs.id, shift.revision + row_number() OVER (ORDER BY theirs.id), 1, theirs.group_id
    FROM source.revision AS theirs
    JOIN temp.task_map ON task_map.old = theirs.task_id
    CROSS JOIN temp.shift
    WHERE theirs.id NOT IN (SELECT old FROM temp.revision_map)
        AND (task_map.is_new OR theirs.group_id NOT IN (SELECT id FROM import))";

/// A group is named by its first revision.
const GROUP: &str = "
    CREATE TEMP TABLE group_map AS
    SELECT old_group AS old, coalesce(min(our_group), min(new)) AS new
    FROM temp.revision_map
    GROUP BY old_group";

const INDEXES: [&str; 2] = [
    "CREATE UNIQUE INDEX temp.revision_map_by_old ON revision_map (old)",
    "CREATE UNIQUE INDEX temp.group_map_by_old ON group_map (old)",
];

const ADD: &str = "
    INSERT INTO main.revision (id, group_id, task_id, instance_id, who, at, action, before, after, note, undoes)
    SELECT
        revision_map.new, group_map.new, task_map.new, instance_map.new, who, at, action, before, after, note,
        undone.new
    FROM source.revision AS theirs
    CROSS JOIN temp.revision_map ON revision_map.old = theirs.id AND revision_map.is_new
    JOIN temp.group_map ON group_map.old = theirs.group_id
    JOIN temp.task_map ON task_map.old = theirs.task_id
    LEFT JOIN temp.instance_map ON instance_map.old = theirs.instance_id
    LEFT JOIN temp.group_map AS undone ON undone.old = theirs.undoes
    WHERE (theirs.undoes IS NULL) = (undone.new IS NULL)
    ORDER BY theirs.id";

/// What becomes of tasks that both have: `last` is the review by the history as it is now.
const DECISION: &str = "
    CREATE TEMP TABLE decision AS
    SELECT
        task_id, ours, theirs, last,
        CASE
            WHEN ours = 'rejected' OR theirs = 'rejected' THEN 'rejected'
            WHEN ours = 'accepted' OR theirs = 'accepted' THEN 'accepted'
            WHEN ours = 'pending' OR theirs = 'pending' THEN 'pending'
            ELSE 'rejected'
        END AS review,
        (ours = 'accepted' AND theirs = 'rejected') OR (ours = 'rejected' AND theirs = 'accepted') AS is_conflict
    FROM (
        SELECT
            our_task.id AS task_id,
            iif(our_task.id IN (SELECT task_id FROM our_withdrawn), 'withdrawn', our_task.review) AS ours,
            iif(their_task.id IN (SELECT task_id FROM source.withdrawn), 'withdrawn', their_task.review) AS theirs,
            coalesce(
                (
                    SELECT after ->> 'review'
                    FROM main.revision
                    WHERE revision.task_id = our_task.id AND after ->> 'review' IS NOT NULL
                    ORDER BY revision.id DESC
                    LIMIT 1
                ),
                our_task.review
            ) AS last
        FROM temp.task_map
        JOIN main.task AS our_task ON our_task.id = task_map.new
        JOIN source.task AS their_task ON their_task.id = task_map.old
        WHERE NOT task_map.is_new
    )";

/// Before the revisions of the source are added, since it goes by the last one.
const WITHDRAWN: &str = "CREATE TEMP TABLE our_withdrawn AS SELECT task_id FROM main.withdrawn";

/// In a conflict, undoing it accepts the task.
const SETTLE: &str = "
    INSERT INTO main.revision (group_id, task_id, who, action, before, after, note)
    SELECT
        ?1, task_id, 'ewe merge-db',
        CASE review WHEN 'accepted' THEN 'accept' WHEN 'rejected' THEN 'reject' ELSE 'import' END,
        json_object('review', iif(is_conflict, 'accepted', last)), json_object('review', review),
        CASE
            WHEN is_conflict AND theirs = 'rejected' THEN 'rejected in `' || ?2 || '`, accepted in a dataset before it'
            WHEN is_conflict THEN 'accepted in `' || ?2 || '`, rejected in a dataset before it'
            ELSE 'as in ' || iif(theirs = review, '`' || ?2 || '`', 'a dataset before `' || ?2 || '`')
        END
    FROM temp.decision
    WHERE is_conflict OR last <> review
    ORDER BY task_id";

const REVIEW: &str = "
    UPDATE main.task
    SET review = decision.review, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    FROM temp.decision
    WHERE decision.task_id = task.id AND decision.review <> task.review";

/// Adds the revisions of the source.
pub(super) async fn add(connection: &mut SqliteConnection) -> Result<()> {
    for statement in [WITHDRAWN, SAME, NEW, GROUP] {
        run(connection, statement).await?;
    }
    for statement in INDEXES {
        run(connection, statement).await?;
    }
    run(connection, ADD).await
}

/// Gives one review to each task that both have. Returns how many were accepted in one dataset and
/// rejected in the other.
pub(super) async fn settle(connection: &mut SqliteConnection, name: &str) -> Result<i64> {
    run(connection, DECISION).await?;
    let group = next_group(connection).await?;
    sqlx::query(SETTLE)
        .bind(group)
        .bind(name)
        .execute(&mut *connection)
        .await?;
    run(connection, REVIEW).await?;
    Ok(
        sqlx::query_scalar("SELECT count(*) FROM temp.decision WHERE is_conflict")
            .fetch_one(connection)
            .await?,
    )
}
