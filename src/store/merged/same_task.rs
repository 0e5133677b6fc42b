//! Tasks that two datasets have: those whose texts are the same to the last byte. A hash of each
//! task of the draft is kept in memory, 24 bytes or so.

use std::collections::HashMap;

use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::{FromRow, SqliteConnection};

use crate::store::Result;
use crate::store::rows::json_rows;

/// The rows of all tasks of the draft, instance by instance.
pub(super) const OF_DRAFT: &str = "
    SELECT task.id, system, instruction, is_classification, ordinal, input, output, extra, turns
    FROM main.task
    LEFT JOIN main.instance ON instance.task_id = task.id
    ORDER BY task.id, ordinal";

/// The same of the other dataset.
pub(super) const OF_SOURCE: &str = "
    SELECT task.id, system, instruction, is_classification, ordinal, input, output, extra, turns
    FROM source.task
    LEFT JOIN source.instance ON instance.task_id = task.id
    ORDER BY task.id, ordinal";

/// A hash of everything that a task says.
type Key = [u8; 16];

/// One instance with its task; a task without instances has one row.
#[derive(FromRow)]
struct InstanceRow {
    id: i64,
    system: Option<String>,
    instruction: String,
    is_classification: bool,
    ordinal: Option<i64>,
    input: Option<String>,
    output: Option<String>,
    extra: Option<String>,
    turns: Option<String>,
}

/// The tasks of the draft by what they say; of equal ones the first.
#[derive(Debug, Default)]
pub(super) struct KnownTasks {
    ids: HashMap<Key, i64>,
    /// The tasks of the source that the draft has not, until they have ids there.
    new: Vec<(Key, i64)>,
}

impl KnownTasks {
    /// Adds all tasks that a statement reads.
    pub(super) async fn add_all(
        &mut self,
        connection: &mut SqliteConnection,
        statement: &'static str,
    ) -> Result<()> {
        let ids = &mut self.ids;
        each(connection, statement, |key, id| {
            ids.entry(key).or_insert(id);
        })
        .await
    }

    /// Returns the tasks of the source that the draft has, as JSON: rows of both ids. A task of the
    /// draft stands for one of the source, the first.
    pub(super) async fn find(
        &mut self,
        connection: &mut SqliteConnection,
        statement: &'static str,
    ) -> Result<String> {
        let KnownTasks { ids, new } = self;
        new.clear();
        let mut found: Vec<(i64, i64)> = Vec::new();
        let mut taken = std::collections::HashSet::new();
        each(connection, statement, |key, id| match ids.get(&key) {
            Some(&ours) if taken.insert(ours) => found.push((id, ours)),
            Some(_) => {}
            None => new.push((key, id)),
        })
        .await?;
        Ok(json_rows(&found))
    }

    /// Adds the tasks that [`KnownTasks::find`] did not find, under the ids that they have now.
    pub(super) async fn add_mapped(&mut self, connection: &mut SqliteConnection) -> Result<()> {
        let KnownTasks { ids, new } = self;
        let mut new = new.drain(..).peekable();
        let mut map = sqlx::query_as::<_, (i64, i64)>("SELECT old, new FROM temp.task_map ORDER BY old")
            .fetch(connection);
        while let Some((old, now)) = map.try_next().await? {
            if let Some((key, _)) = new.next_if(|(_, id)| *id == old) {
                ids.entry(key).or_insert(now);
            }
        }
        Ok(())
    }
}

/// Calls `take` with each task that a statement reads, in order.
async fn each(
    connection: &mut SqliteConnection,
    statement: &'static str,
    mut take: impl FnMut(Key, i64),
) -> Result<()> {
    let mut rows = sqlx::query_as::<_, InstanceRow>(statement).fetch(connection);
    let mut open: Option<(i64, Sha256)> = None;
    let key = |hash: Sha256| -> Key { hash.finalize()[..16].try_into().expect("a hash is longer") };
    while let Some(row) = rows.try_next().await? {
        if let Some((id, hash)) = open.take_if(|(id, _)| *id != row.id) {
            take(key(hash), id);
        }
        let (_, hash) = open.get_or_insert_with(|| (row.id, hash_of(&row)));
        let Some(ordinal) = row.ordinal else { continue };
        hash.update(ordinal.to_le_bytes());
        for text in [&row.input, &row.output] {
            text_into(hash, text.as_deref().unwrap_or_default());
        }
        // Other fields count where they are the answer, such as calls of tools.
        if row.output.as_deref().unwrap_or_default().trim().is_empty() {
            text_into(hash, row.extra.as_deref().unwrap_or_default());
        }
        if let Some(turns) = &row.turns {
            text_into(hash, turns);
        }
    }
    if let Some((id, hash)) = open {
        take(key(hash), id);
    }
    Ok(())
}

/// Begins the hash of a task with what its instances share.
fn hash_of(row: &InstanceRow) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update([u8::from(row.is_classification), u8::from(row.system.is_some())]);
    text_into(&mut hash, row.system.as_deref().unwrap_or_default());
    text_into(&mut hash, &row.instruction);
    hash
}

/// Hashes a text with its length, so that no two lists of texts hash alike.
fn text_into(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}
