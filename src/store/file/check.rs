//! Checks a dataset: the integrity of the file, and the invariants of its rows.

use futures::{Stream, StreamExt, TryStreamExt, stream::FuturesUnordered};
use sqlx::{Connection, SqliteConnection, SqlitePool};

use crate::store::curation::turns::Conversation;
use crate::store::{Error, Result, Store};
use crate::task::FieldType;
use crate::text::one_line;

/// Returns the version of SQLite, which is compiled in.
///
/// # Errors
///
/// If SQLite does not answer.
pub async fn sqlite_version() -> Result<String> {
    let mut connection = SqliteConnection::connect("sqlite::memory:").await?;
    let version = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(version)
}

/// How many problems of one kind are listed; if there are more, it says so.
const NAMED: usize = 100;

/// A violated invariant.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The table, or empty for the file itself.
    pub table: String,
    /// The row's id, if a row is meant.
    pub id: Option<i64>,
    /// What is wrong.
    pub problem: String,
}

impl Problem {
    fn new(table: &str, id: impl Into<Option<i64>>, problem: impl Into<String>) -> Problem {
        Problem {
            table: table.to_owned(),
            id: id.into(),
            problem: problem.into(),
        }
    }

    /// Returns where it is, for people: `task 7`, `acting`, `file`.
    pub fn place(&self) -> String {
        match (self.table.as_str(), self.id) {
            ("", _) => "file".to_owned(),
            (table, Some(id)) => format!("{table} {id}"),
            (table, None) => table.to_owned(),
        }
    }
}

/// Runs queries for the ids of rows that violate an invariant, one after the other.
macro_rules! broken {
    ($pool:expr, $($table:literal, $problem:literal, $sql:literal;)+) => {{
        let mut found = Vec::new();
        $(
            let rows = sqlx::query_scalar!($sql).fetch($pool);
            found.extend(named($table, rows.map_ok(|id| Problem::new($table, id, $problem))).await?);
        )+
        Ok(found)
    }};
}

impl Store {
    /// Returns everything that is wrong with the dataset, in the order of tables. Reads the whole
    /// file.
    ///
    /// # Errors
    ///
    /// When the dataset cannot be read for another reason than damage, which is listed as a
    /// problem.
    pub async fn check(&self) -> Result<Vec<Problem>> {
        let pool = &self.pool;
        let checks: [futures::future::LocalBoxFuture<'_, Result<Vec<Problem>>>; 8] = [
            Box::pin(file(pool)),
            Box::pin(references(pool)),
            Box::pin(tasks(pool)),
            Box::pin(conversations(pool)),
            Box::pin(candidates(pool)),
            Box::pin(history(pool)),
            Box::pin(fields(pool)),
            Box::pin(team(pool)),
        ];
        // Each on a connection of its own, as long as there are any.
        let mut found: Vec<Problem> = checks
            .into_iter()
            .collect::<FuturesUnordered<_>>()
            .try_concat()
            .await?;
        found.sort_by(|one, other| (&one.table, one.id).cmp(&(&other.table, other.id)));
        found.dedup();
        Ok(found)
    }
}

/// Collects the first problems. A table that cannot be read is one, too.
async fn named(
    table: &str,
    rows: impl Stream<Item = std::result::Result<Problem, sqlx::Error>>,
) -> Result<Vec<Problem>> {
    let mut rows = std::pin::pin!(rows);
    let mut found = Vec::new();
    while let Some(row) = rows.next().await {
        match row.map_err(Error::from) {
            Ok(_) if found.len() == NAMED => {
                found.push(Problem::new(
                    table,
                    None,
                    format!("more than {NAMED} such problems"),
                ));
                break;
            }
            Ok(problem) => found.push(problem),
            Err(Error::Damaged { reason }) => {
                found.push(Problem::new(table, None, reason));
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Checks pages, indexes and constraints, and that the full-text index has the words of its texts.
/// The columns of pragmas are expressions, as in `header::look`.
async fn file(pool: &SqlitePool) -> Result<Vec<Problem>> {
    let lines =
        sqlx::query_scalar!(r#"SELECT integrity_check || '' AS "line!: String" FROM pragma_integrity_check"#)
            .fetch(pool)
            .try_filter(|line| std::future::ready(line != "ok"));
    named("", lines.map_ok(|line| Problem::new("", None, line))).await
}

/// Finds rows that refer to missing rows.
async fn references(pool: &SqlitePool) -> Result<Vec<Problem>> {
    let rows = sqlx::query!(
        r#"
        SELECT "table" || '' AS "table!: String", rowid + 0 AS "rowid?: i64", parent || '' AS "parent!: String"
        FROM pragma_foreign_key_check
        "#
    )
    .fetch(pool);
    named(
        "",
        rows.map_ok(|row| {
            let problem = format!("refers to a row of {} that is not there", row.parent);
            Problem::new(&row.table, row.rowid, problem)
        }),
    )
    .await
}

/// Checks the texts in the full-text index, and the columns of `task` derived from other tables.
async fn tasks(pool: &SqlitePool) -> Result<Vec<Problem>> {
    broken! {
        pool,
        "task", "its texts are not those in task_fts",
        r#"
        SELECT task.id AS "id!: i64"
        FROM task
        JOIN task_text ON task_text.id = task.id
        LEFT JOIN task_fts ON task_fts.rowid = task.id
        WHERE task_fts.instruction IS NOT task_text.instruction
            OR task_fts.input IS NOT task_text.input
            OR task_fts.output IS NOT task_text.output
        "#;
        "task_fts", "there is no such task",
        r#"SELECT rowid AS "id!: i64" FROM task_fts WHERE rowid NOT IN (SELECT id FROM task)"#;
        "task", "length is not that of its texts",
        r#"
        SELECT id AS "id!: i64"
        FROM task
        WHERE length <> length(instruction) + (
            SELECT coalesce(sum(length(input) + length(output)), 0) FROM instance WHERE task_id = task.id
        )
        "#;
        "task", "nearest_rouge_l is not that of its first neighbor",
        r#"
        SELECT id AS "id!: i64"
        FROM task
        WHERE nearest_rouge_l IS NOT (SELECT rouge_l FROM neighbor WHERE task_id = task.id AND rank = 1)
        "#;
        "instance", "its task was accepted, and its output is empty",
        r#"
        SELECT instance.id AS "id!: i64"
        FROM instance
        JOIN task ON task.id = instance.task_id
        WHERE task.review = 'accepted' AND trim(instance.output, ' ' || char(9, 10, 13)) = ''
            AND instance.turns IS NULL
        "#;
        "task", "score is not that of its judgments",
        r#"
        SELECT task.id AS "id!: i64"
        FROM task
        LEFT JOIN (
            SELECT task_id, min(score) AS score
            FROM (SELECT task_id, avg(score) AS score FROM judged GROUP BY instance_id)
            GROUP BY task_id
        ) AS worst ON worst.task_id = task.id
        WHERE task.score IS NOT worst.score
        "#;
    }
}

/// Checks that nobody says nothing in a conversation of an accepted task.
async fn conversations(pool: &SqlitePool) -> Result<Vec<Problem>> {
    let rows = sqlx::query_as::<_, Conversation>(
        "SELECT instance.id, task.instruction, instance.output, instance.extra, instance.turns
        FROM task
        JOIN instance ON instance.task_id = task.id
        WHERE task.review = 'accepted' AND instance.turns IS NOT NULL",
    )
    .fetch(pool);
    let silent = rows.try_filter_map(|conversation| {
        let problem = "its task was accepted, and a message of its conversation is empty";
        let is_silent = conversation.silent() > 0;
        std::future::ready(Ok(
            is_silent.then(|| Problem::new("instance", conversation.id, problem))
        ))
    });
    named("instance", silent).await
}

/// Checks that every candidate is accounted for, and that every generated task was a candidate.
async fn candidates(pool: &SqlitePool) -> Result<Vec<Problem>> {
    broken! {
        pool,
        "round", "has another number of candidates than were parsed",
        r#"
        SELECT round AS "id!: i64"
        FROM round
        WHERE parsed <> (SELECT count(*) FROM candidate WHERE candidate.round = round.round)
        "#;
        "round", "has another number of tasks than were accepted",
        r#"
        SELECT round AS "id!: i64"
        FROM round
        WHERE accepted <> (
            SELECT count(*)
            FROM candidate
            WHERE candidate.round = round.round AND kind = 'instruction' AND verdict = 'accepted'
        )
        "#;
        "candidate", "is of a round that was not admitted",
        r#"SELECT id AS "id!: i64" FROM candidate WHERE round NOT IN (SELECT round FROM round)"#;
        "candidate", "was accepted, and is part of no task",
        r#"SELECT id AS "id!: i64" FROM candidate WHERE verdict = 'accepted' AND task_id IS NULL"#;
        "candidate", "was rejected, and is part of a task that nobody rescued",
        r#"
        SELECT id AS "id!: i64"
        FROM candidate
        WHERE verdict = 'rejected'
            AND task_id IS NOT NULL
            AND NOT EXISTS (
                SELECT 1 FROM revision WHERE revision.task_id = candidate.task_id AND revision.action = 'import'
            )
        "#;
        "task", "is of a round, and no candidate became it",
        r#"
        SELECT id AS "id!: i64"
        FROM task
        WHERE round IS NOT NULL
            AND NOT EXISTS (
                SELECT 1 FROM candidate WHERE candidate.task_id = task.id AND candidate.kind = 'instruction'
            )
        "#;
        "task", "was made by a model, and its request is not known",
        r#"SELECT id AS "id!: i64" FROM task WHERE round IS NOT NULL AND request_id IS NULL"#;
    }
}

/// Checks that the last revision of each task is its present state.
async fn history(pool: &SqlitePool) -> Result<Vec<Problem>> {
    broken! {
        pool,
        "revision", "is in a group that does not begin with itself",
        r#"
        SELECT revision.id AS "id!: i64"
        FROM revision
        LEFT JOIN revision AS first ON first.id = revision.group_id
        WHERE first.group_id IS NOT revision.group_id
        "#;
        "task", "has a review that no revision gave it",
        r#"
        SELECT task.id AS "id!: i64"
        FROM revision
        CROSS JOIN task ON task.id = revision.task_id
        WHERE revision.after ->> 'review' <> task.review
            AND NOT EXISTS (
                SELECT 1
                FROM revision AS later
                WHERE later.task_id = revision.task_id
                    AND later.id > revision.id
                    AND later.after ->> 'review' IS NOT NULL
            )
        "#;
        "instance", "has a row of a file, and its task is of no file",
        r#"
        SELECT instance.id AS "id!: i64"
        FROM instance
        JOIN task ON task.id = instance.task_id
        WHERE instance.source_row IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM run WHERE run.id = task.run_id AND run.command IN ('import', 'init'))
        "#;
        "acting", "was left behind: changes by SQL do not enter the history",
        r#"SELECT id AS "id!: i64" FROM acting"#;
        "adding", "was left behind: lengths and words of what SQL adds are not seen to",
        r#"SELECT id AS "id!: i64" FROM adding"#;
    }
}

/// Checks that values of fields are of their types, and those that the history ends with.
async fn fields(pool: &SqlitePool) -> Result<Vec<Problem>> {
    let mut found = values(pool).await?;
    for problem in &mut found {
        if let ("field", Some(id)) = (problem.table.as_str(), problem.id) {
            problem.problem = wrong_values(pool, id, &problem.problem).await?;
        }
    }
    Ok(found)
}

/// Names a field with values that are none of its type; and what helps where a choice has values no
/// more.
async fn wrong_values(pool: &SqlitePool, id: i64, problem: &str) -> Result<String> {
    /// How many values a way out has at most.
    const MOST: i64 = 100;
    let known = crate::store::fields::all(&mut *pool.acquire().await?).await?;
    let Some(field) = known.iter().find(|field| field.id == id) else {
        return Ok(problem.to_owned());
    };
    let named = format!("`{}` {problem} ({})", one_line(&field.name, 60), field.kind);
    let gone: Vec<String> = match field.kind {
        FieldType::Choice => {
            sqlx::query_scalar(
                "SELECT DISTINCT cast(value AS TEXT)
                FROM field_value
                WHERE field_id = ?1
                    AND value NOT IN (
                        SELECT choice.value
                        FROM field
                        CROSS JOIN json_each(field.choices) AS choice
                        WHERE field.id = ?1
                    )
                ORDER BY 1
                LIMIT ?2",
            )
            .bind(id)
            .bind(MOST)
            .fetch_all(pool)
            .await?
        }
        _ => Vec::new(),
    };
    Ok(match gone.first() {
        Some(first) => format!(
            "{named}, such as `{}`: {}",
            one_line(first, 60),
            field.brings_back(&gone)
        ),
        None => named,
    })
}

/// Finds fields and tasks whose values are not as fields and history say.
async fn values(pool: &SqlitePool) -> Result<Vec<Problem>> {
    broken! {
        pool,
        "field", "has values that are none of its type",
        r#"
        SELECT DISTINCT field.id AS "id!: i64"
        FROM field
        JOIN field_value ON field_value.field_id = field.id
        WHERE CASE field.type
            WHEN 'number' THEN typeof(value) NOT IN ('integer', 'real') OR abs(value) > 1.7976931348623157e308
            WHEN 'flag' THEN typeof(value) <> 'integer' OR value NOT IN (0, 1)
            WHEN 'choice' THEN value NOT IN (SELECT choice.value FROM json_each(field.choices) AS choice)
            ELSE typeof(value) <> 'text'
        END
        "#;
        "task", "has several values of a field that is not one of tags",
        r#"
        SELECT DISTINCT task_id AS "id!: i64"
        FROM field_value
        JOIN field ON field.id = field_value.field_id
        WHERE field.type <> 'tags'
        GROUP BY task_id, field_id
        HAVING count(*) > 1
        "#;
        "task", "has values of a field that are not those of its last revision",
        r#"
        SELECT DISTINCT task_id AS "id!: i64"
        FROM revision
        WHERE field_id IS NOT NULL
            AND NOT EXISTS (
                SELECT 1
                FROM revision AS later
                WHERE later.task_id = revision.task_id AND later.field_id = revision.field_id AND later.id > revision.id
            )
            AND after -> '$.values' <> (
                SELECT json_group_array(value)
                FROM (
                    SELECT value
                    FROM field_value
                    WHERE field_id = revision.field_id AND task_id = revision.task_id
                    ORDER BY value
                )
            )
        "#;
    }
}

/// Checks that assignments, opinions and comments are there or withdrawn as the history ends.
async fn team(pool: &SqlitePool) -> Result<Vec<Problem>> {
    broken! {
        pool,
        "assignment", "is in force, and its last revision withdrew it",
        r#"
        SELECT assignment.id AS "id!: i64"
        FROM assignment
        JOIN revision ON revision.task_id = assignment.task_id AND revision.about = 'assignment'
        GROUP BY assignment.id
        HAVING max(iif(instr(revision.before || revision.after, uid), revision.id, NULL))
            = max(iif(instr(revision.before, uid), revision.id, NULL))
            AND withdrawn_at IS NULL
        "#;
        "opinion", "counts, and its last revision withdrew it",
        r#"
        SELECT opinion.id AS "id!: i64"
        FROM opinion
        JOIN revision ON revision.task_id = opinion.task_id AND revision.about = 'opinion'
        GROUP BY opinion.id
        HAVING max(iif(instr(revision.before || revision.after, uid), revision.id, NULL))
            = max(iif(instr(revision.before, uid), revision.id, NULL))
            AND withdrawn_at IS NULL
        "#;
        "comment", "is shown, and its last revision withdrew it",
        r#"
        SELECT comment.id AS "id!: i64"
        FROM comment
        JOIN revision ON revision.task_id = comment.task_id AND revision.about = 'comment'
        GROUP BY comment.id
        HAVING max(iif(instr(revision.before || revision.after, uid), revision.id, NULL))
            = max(iif(instr(revision.before, uid), revision.id, NULL))
            AND withdrawn_at IS NULL
        "#;
        "revision", "names a row beside its task that is not there",
        r#"
        SELECT revision.id AS "id!: i64"
        FROM revision
        CROSS JOIN json_each(revision.after, '$.' || revision.about) AS named
        WHERE revision.about IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM assignment WHERE uid = named.value)
            AND NOT EXISTS (SELECT 1 FROM opinion WHERE uid = named.value)
            AND NOT EXISTS (SELECT 1 FROM comment WHERE uid = named.value)
        "#;
    }
}
