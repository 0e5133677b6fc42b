//! Table `adding`, the bulk guard. A row in it says, within a transaction that adds tasks with
//! their instances, that ewe sets their lengths and indexes their words itself, once for each task.
//! Otherwise the triggers for additions by SQL would do it once for the task and again for each of
//! its instances.
//!
//! Tasks come before their instances. The other way round, with foreign keys deferred, SQLite
//! searches every table that refers to tasks without an index for each new task, and these tables
//! are the largest.

use sqlx::SqliteConnection;

use crate::store::Result;
use crate::task::Instance;

/// Prepares a transaction for new tasks. Returns the id of the next one, which nobody else takes
/// while the write lock is held.
pub(in crate::store) async fn begin(connection: &mut SqliteConnection) -> Result<i64> {
    sqlx::query!("INSERT INTO adding (id) VALUES (1)")
        .execute(&mut *connection)
        .await?;
    Ok(
        sqlx::query_scalar!(r#"SELECT coalesce(max(id), 0) + 1 AS "next!: i64" FROM task"#)
            .fetch_one(connection)
            .await?,
    )
}

/// Indexes the words of the added tasks, those from `first` on. Comes before the commit.
pub(in crate::store) async fn end(connection: &mut SqliteConnection, first: i64) -> Result<()> {
    sqlx::query!(
        "
        INSERT INTO task_fts (rowid, instruction, input, output)
        SELECT id, instruction, input, output
        FROM task_text
        WHERE id >= ?
        ",
        first
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("DELETE FROM adding").execute(connection).await?;
    Ok(())
}

/// Computes `task.length` of a task.
pub(in crate::store) fn length<'a>(
    instruction: &'a str,
    instances: impl IntoIterator<Item = &'a Instance>,
) -> i64 {
    let of_instances = instances.into_iter();
    let of_instances = of_instances.flat_map(|instance| [instance.input.as_str(), instance.output.as_str()]);
    length_of(std::iter::once(instruction).chain(of_instances))
}

/// Adds up the lengths of texts as SQLite's `length` counts them: characters before the first NUL.
pub(in crate::store) fn length_of(texts: impl IntoIterator<Item = impl AsRef<str>>) -> i64 {
    let characters = |text: &str| text.chars().take_while(|&character| character != '\0').count();
    texts
        .into_iter()
        .map(|text| characters(text.as_ref()))
        .sum::<usize>() as i64
}
