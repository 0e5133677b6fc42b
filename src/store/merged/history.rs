//! Revisions of the source, and the reviews of tasks that both datasets have.
//!
//! Of a task that both have, what was rejected in one is rejected, else what was accepted in one is
//! accepted. An import that was undone is no opinion. Its history stays one line that `undo` can
//! follow back: first the draft's, then the actions of the source that are in force, of which the
//! first begins where the draft's end. Where that line ends in another review, the merge records
//! one of its own, as one action for all tasks.

use sqlx::SqliteConnection;

use super::run;
use crate::store::Result;
use crate::store::curation::revision::next_group;

/// Revisions that both have, from a common ancestor. What was before may have been adapted when
/// an earlier dataset was added.
const SAME: &str = "
    CREATE TEMP TABLE revision_map AS
    SELECT
        theirs.id AS old, min(ours.id) AS new, 0 AS is_new, theirs.group_id AS old_group,
        min(ours.group_id) AS our_group
    FROM source.revision AS theirs
    JOIN temp.task_map ON task_map.old = theirs.task_id AND NOT task_map.is_new
    LEFT JOIN temp.instance_map ON instance_map.old = theirs.instance_id
    LEFT JOIN temp.field_map ON field_map.old = theirs.field_id
    JOIN main.revision AS ours
        ON ours.task_id = task_map.new
        AND ours.instance_id IS instance_map.new
        AND ours.field_id IS field_map.new
        AND ours.at = theirs.at
        AND ours.who = theirs.who
        AND ours.action = theirs.action
        AND ours.after = theirs.after
    GROUP BY theirs.id";

/// The others. Of a task that both have, actions that were taken back are left out, and imports: it
/// was there already. So are edits if both were edited, since they led to the same texts, and
/// changes of a field that has a value in the draft, which stays.
const NEW: &str = "
    INSERT INTO temp.revision_map (old, new, is_new, old_group)
    WITH in_force(id) AS (
        SELECT action.id
        FROM source.revision AS action
        WHERE action.id = action.group_id
            AND action.undoes IS NULL
            AND NOT EXISTS (
                SELECT 1
                FROM source.revision AS taken
                WHERE taken.undoes = action.id
                    AND NOT EXISTS (SELECT 1 FROM source.revision AS redone WHERE redone.undoes = taken.group_id)
            )
    )
    SELECT theirs.id, shift.revision + row_number() OVER (ORDER BY theirs.id), 1, theirs.group_id
    FROM source.revision AS theirs
    JOIN temp.task_map ON task_map.old = theirs.task_id
    LEFT JOIN temp.field_map ON field_map.old = theirs.field_id
    CROSS JOIN temp.shift
    WHERE theirs.id NOT IN (SELECT old FROM temp.revision_map)
        AND (
            task_map.is_new
            OR (
                theirs.group_id IN (SELECT id FROM in_force)
                AND theirs.action <> 'import'
                AND (
                    theirs.after ->> 'review' IS NOT NULL
                    OR theirs.about IS NOT NULL
                    OR iif(
                        theirs.field_id IS NULL,
                        NOT EXISTS (
                            SELECT 1
                            FROM main.revision AS ours
                            WHERE ours.task_id = task_map.new
                                AND ours.after ->> 'review' IS NULL
                                AND ours.field_id IS NULL
                                AND ours.about IS NULL
                        ),
                        NOT EXISTS (
                            SELECT 1
                            FROM temp.our_field
                            WHERE our_field.task_id = task_map.new AND our_field.field_id = field_map.new
                        )
                    )
                )
            )
        )";

/// A group is named by its first revision.
const GROUP: &str = "
    CREATE TEMP TABLE group_map AS
    SELECT old_group AS old, coalesce(min(our_group), min(new)) AS new
    FROM temp.revision_map
    GROUP BY old_group";

/// The first review by the source of each task that both have.
const FIRST_REVIEW: &str = "
    CREATE TEMP TABLE first_review AS
    SELECT min(theirs.id) AS old
    FROM temp.revision_map
    CROSS JOIN source.revision AS theirs ON theirs.id = revision_map.old
    JOIN temp.task_map ON task_map.old = theirs.task_id AND NOT task_map.is_new
    WHERE revision_map.is_new AND theirs.after ->> 'review' IS NOT NULL
    GROUP BY theirs.task_id";

const INDEXES: [&str; 2] = [
    "CREATE UNIQUE INDEX temp.revision_map_by_old ON revision_map (old)",
    "CREATE UNIQUE INDEX temp.group_map_by_old ON group_map (old)",
];

const ADD: &str = "
    INSERT INTO main.revision (
        id, group_id, task_id, instance_id, field_id, about, who, at, action, before, after, note, undoes
    )
    SELECT
        revision_map.new, group_map.new, task_map.new, instance_map.new, field_map.new, about, who, at, action,
        iif(
            theirs.id IN (SELECT old FROM temp.first_review),
            json_set(before, '$.review', (SELECT review FROM main.task WHERE id = task_map.new)),
            before
        ),
        after, note, undone.new
    FROM source.revision AS theirs
    CROSS JOIN temp.revision_map ON revision_map.old = theirs.id AND revision_map.is_new
    JOIN temp.group_map ON group_map.old = theirs.group_id
    JOIN temp.task_map ON task_map.old = theirs.task_id
    LEFT JOIN temp.instance_map ON instance_map.old = theirs.instance_id
    LEFT JOIN temp.field_map ON field_map.old = theirs.field_id
    LEFT JOIN temp.group_map AS undone ON undone.old = theirs.undoes
    WHERE (theirs.undoes IS NULL) = (undone.new IS NULL)
    ORDER BY theirs.id";

/// What becomes of tasks that both have: `last` is the review by the history as it is now. Seeds
/// are accepted from the start, which is nobody's opinion.
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
        (ours = 'accepted' AND we_accepted AND theirs = 'rejected')
            OR (ours = 'rejected' AND theirs = 'accepted' AND they_accepted) AS is_conflict
    FROM (
        SELECT
            our_task.id AS task_id,
            iif(our_task.id IN (SELECT task_id FROM temp.our_withdrawn), 'withdrawn', our_task.review) AS ours,
            iif(their_task.id IN (SELECT task_id FROM source.withdrawn), 'withdrawn', their_task.review) AS theirs,
            our_task.id IN (SELECT task_id FROM temp.our_accepted) AS we_accepted,
            EXISTS (
                SELECT 1
                FROM source.revision
                WHERE revision.task_id = their_task.id AND after ->> 'review' = 'accepted'
            ) AS they_accepted,
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

/// What goes by the revisions of the draft, before those of the source are added.
const OURS: [&str; 2] = [
    "CREATE TEMP TABLE our_withdrawn AS SELECT task_id FROM main.withdrawn",
    "CREATE TEMP TABLE our_accepted AS
    SELECT DISTINCT task_id FROM main.revision WHERE after ->> 'review' = 'accepted'",
];

/// Ends the history of these tasks in their review. An import that was undone in one dataset only
/// is brought back as by another import.
const SETTLE: &str = "
    INSERT INTO main.revision (group_id, task_id, who, action, before, after, note)
    SELECT
        ?1, task_id, 'ewe merge-db',
        CASE review WHEN 'accepted' THEN 'accept' WHEN 'rejected' THEN 'reject' ELSE 'import' END,
        json_object('review', last), json_object('review', review),
        review || ' in ' || iif(theirs = review, '', 'a dataset before ') || '`' || ?2 || '`'
    FROM temp.decision
    WHERE last <> review
    ORDER BY task_id";

const REVIEW: &str = "
    UPDATE main.task
    SET review = decision.review, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    FROM temp.decision
    WHERE decision.task_id = task.id AND decision.review <> task.review";

/// Decides the tasks whose reviewers all agree, now that the opinions of both are together.
const AGREED: &str = "
    INSERT INTO main.revision (group_id, task_id, who, action, about, before, after, note)
    SELECT
        ?1, task_id, 'ewe merge-db', iif(verdict = 'accepted', 'accept', 'reject'), 'opinion',
        json_object('review', 'pending'), json_object('review', verdict), 'its reviewers agree'
    FROM (
        SELECT assigned.task_id, max(assigned.verdict) AS verdict
        FROM main.assigned
        CROSS JOIN main.task ON task.id = assigned.task_id
        WHERE task.review = 'pending'
        GROUP BY assigned.task_id
        HAVING count(assigned.verdict) = count(*)
            AND min(assigned.verdict) = max(assigned.verdict)
            AND max(assigned.verdict) <> 'unsure'
    )
    ORDER BY task_id";

const AGREED_REVIEW: &str = "
    UPDATE main.task
    SET review = revision.after ->> 'review', updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    FROM main.revision
    WHERE revision.group_id = ? AND revision.task_id = task.id";

/// Adds the revisions of the source.
pub(super) async fn add(connection: &mut SqliteConnection) -> Result<()> {
    for statement in OURS.into_iter().chain([SAME, NEW, GROUP, FIRST_REVIEW]) {
        run(connection, statement).await?;
    }
    for statement in INDEXES {
        run(connection, statement).await?;
    }
    run(connection, ADD).await
}

/// Gives one review to each task that both have. Returns how many somebody accepted in one dataset,
/// and were rejected in the other.
pub(super) async fn settle(connection: &mut SqliteConnection, name: &str) -> Result<i64> {
    run(connection, DECISION).await?;
    let group = next_group(connection).await?;
    sqlx::query(SETTLE)
        .bind(group)
        .bind(name)
        .execute(&mut *connection)
        .await?;
    run(connection, REVIEW).await?;
    let group = next_group(connection).await?;
    for statement in [AGREED, AGREED_REVIEW] {
        sqlx::query(statement)
            .bind(group)
            .execute(&mut *connection)
            .await?;
    }
    Ok(
        sqlx::query_scalar("SELECT count(*) FROM temp.decision WHERE is_conflict")
            .fetch_one(connection)
            .await?,
    )
}
