//! Table `document`: files by path. Passages whose text is as before keep their ids.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::passage::NewPassage;
use crate::store::rows::json_rows;
use crate::store::{Result, Store};

/// A document, with what its passages gave.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StoredDocument {
    /// Its id.
    pub id: i64,
    /// Its absolute path.
    pub path: String,
    /// Its format, as [`crate::documents::Kind`] names it.
    pub format: String,
    /// Its title, where it has one.
    pub title: Option<String>,
    /// Its size in bytes.
    pub bytes: i64,
    /// When the file was changed, as [`NewDocument::changed_at`] has it.
    pub changed_at: String,
    /// SHA-256 of its bytes.
    pub hash: String,
    /// How it was cut, as JSON.
    pub settings: String,
    /// What was found in it, a JSON list of sentences.
    pub notes: String,
    /// When it was no longer where it had been, in UTC.
    pub removed_at: Option<String>,
    /// Its passages of today.
    pub passages: i64,
    /// Those of them that a round asked about.
    pub asked: i64,
    /// Those of them that gave a task which nobody rejected.
    pub fruitful: i64,
}

/// A file that was read.
#[derive(Debug, Clone)]
pub struct NewDocument<'a> {
    /// Its absolute path.
    pub path: &'a str,
    /// Its format.
    pub format: &'a str,
    /// Its title.
    pub title: Option<&'a str>,
    /// Its size in bytes.
    pub bytes: i64,
    /// When it was changed: seconds and nanoseconds since 1970.
    pub changed_at: &'a str,
    /// SHA-256 of its bytes.
    pub hash: &'a str,
    /// How it is cut, as JSON.
    pub settings: &'a str,
    /// What was found in it, a JSON list of sentences.
    pub notes: &'a str,
    /// Its passages in order.
    pub passages: &'a [NewPassage],
}

/// What became of the passages of a document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct PassageChanges {
    /// Passages that are as they were.
    pub kept: i64,
    /// New ones.
    pub added: i64,
    /// Old ones that rounds asked about: they stay beside their tasks.
    pub retired: i64,
    /// Old ones that nothing refers to: they are gone.
    pub dropped: i64,
}

/// How many documents and passages there are, and what they gave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct DocumentCounts {
    /// Documents that are where they were.
    pub documents: i64,
    /// Documents that are not.
    pub removed: i64,
    /// Passages of today.
    pub passages: i64,
    /// Those of them that a round asked about.
    pub asked: i64,
    /// Those of them that gave a task which nobody rejected.
    pub fruitful: i64,
    /// Tasks with a passage that nobody rejected.
    pub tasks: i64,
}

impl Store {
    /// All documents, by path.
    pub async fn documents(&self) -> Result<Vec<StoredDocument>> {
        Ok(sqlx::query_as!(
            StoredDocument,
            r#"
            SELECT
                document.id AS "id!", document.path, document.format, document.title, document.bytes,
                document.changed_at, document.hash, document.settings, document.notes, document.removed_at,
                count(passage_yield.passage_id) AS "passages!: i64",
                count(*) FILTER (WHERE passage_yield.rounds > 0) AS "asked!: i64",
                count(*) FILTER (WHERE passage_yield.tasks > 0) AS "fruitful!: i64"
            FROM document
            LEFT JOIN passage_yield ON passage_yield.document_id = document.id
            GROUP BY document.id
            ORDER BY document.path
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Counts documents and passages.
    pub async fn document_counts(&self) -> Result<DocumentCounts> {
        Ok(sqlx::query_as!(
            DocumentCounts,
            r#"
            SELECT
                (SELECT count(*) FROM document WHERE removed_at IS NULL) AS "documents!: i64",
                (SELECT count(*) FROM document WHERE removed_at IS NOT NULL) AS "removed!: i64",
                count(*) AS "passages!: i64",
                count(*) FILTER (WHERE rounds > 0) AS "asked!: i64",
                count(*) FILTER (WHERE tasks > 0) AS "fruitful!: i64",
                (
                    SELECT count(*)
                    FROM task
                    WHERE review <> 'rejected'
                        AND round IN (SELECT round FROM grounding)
                ) AS "tasks!: i64"
            FROM passage_yield
            "#
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// Stores a document that is new or has changed, in one transaction.
    pub async fn put_document(&self, new: &NewDocument<'_>) -> Result<PassageChanges> {
        let mut transaction = self.write().await?;
        let id = sqlx::query_scalar!(
            r#"
            INSERT INTO document (path, format, title, bytes, changed_at, hash, settings, notes)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (path) DO UPDATE
            SET format = excluded.format, title = excluded.title, bytes = excluded.bytes,
                changed_at = excluded.changed_at, hash = excluded.hash, settings = excluded.settings,
                notes = excluded.notes, read_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), removed_at = NULL
            RETURNING id AS "id!: i64"
            "#,
            new.path,
            new.format,
            new.title,
            new.bytes,
            new.changed_at,
            new.hash,
            new.settings,
            new.notes
        )
        .fetch_one(&mut *transaction)
        .await?;
        let changes = put_passages(&mut transaction, id, new.passages).await?;
        transaction.commit().await?;
        Ok(changes)
    }

    /// Records that a file was touched, but says what it said.
    pub async fn touch_document(&self, id: i64, bytes: i64, changed_at: &str) -> Result<()> {
        let mut transaction = self.write().await?;
        sqlx::query!(
            "
            UPDATE document
            SET bytes = ?, changed_at = ?
            WHERE id = ?
            ",
            bytes,
            changed_at,
            id
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Records that files are gone: their passages are not asked about any more.
    pub async fn remove_documents(&self, ids: &[i64]) -> Result<PassageChanges> {
        let mut transaction = self.write().await?;
        let mut all = PassageChanges::default();
        for &id in ids {
            let changes = put_passages(&mut transaction, id, &[]).await?;
            all.retired += changes.retired;
            all.dropped += changes.dropped;
            sqlx::query!(
                "
                UPDATE document
                SET removed_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
                WHERE id = ?
                ",
                id
            )
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(all)
    }
}

/// `id`, `ordinal`, `page`
#[derive(serde::Serialize)]
struct KeptRow(i64, usize, Option<u32>);

/// `ordinal`, `heading`, `text`, `tokens`, `page`, `language`, `hash`
#[derive(serde::Serialize)]
struct NewRow<'a>(
    usize,
    &'a str,
    &'a str,
    u32,
    Option<u32>,
    Option<&'a str>,
    &'a str,
);

/// Makes `passages` those of a document.
async fn put_passages(
    connection: &mut SqliteConnection,
    document: i64,
    passages: &[NewPassage],
) -> Result<PassageChanges> {
    let old = sqlx::query!(
        r#"
        SELECT
            id AS "id!", hash, is_current AS "is_current!: bool",
            EXISTS (SELECT 1 FROM grounding WHERE passage_id = passage.id) AS "is_used!: bool"
        FROM passage
        WHERE document_id = ?
        ORDER BY id DESC
        "#,
        document
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut by_hash: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, row) in old.iter().enumerate() {
        by_hash.entry(&row.hash).or_default().push(place);
    }
    let mut is_left = vec![true; old.len()];
    let (mut kept, mut added) = (Vec::new(), Vec::new());
    for (ordinal, passage) in passages.iter().enumerate() {
        match by_hash.get_mut(passage.hash.as_str()).and_then(Vec::pop) {
            Some(place) => {
                is_left[place] = false;
                kept.push(KeptRow(old[place].id, ordinal, passage.page));
            }
            None => added.push(NewRow(
                ordinal,
                &passage.heading,
                &passage.text,
                passage.tokens,
                passage.page,
                passage.language,
                &passage.hash,
            )),
        }
    }
    let left = || {
        old.iter()
            .zip(&is_left)
            .filter(|(_, left)| **left)
            .map(|(row, _)| row)
    };
    let retired: Vec<i64> = left().filter(|row| row.is_used).map(|row| row.id).collect();
    let dropped: Vec<i64> = left().filter(|row| !row.is_used).map(|row| row.id).collect();
    let newly_retired = left().filter(|row| row.is_used && row.is_current).count();
    replace(connection, document, &kept, &added, &retired, &dropped).await?;
    Ok(PassageChanges {
        kept: kept.len() as i64,
        added: added.len() as i64,
        retired: newly_retired as i64,
        dropped: dropped.len() as i64,
    })
}

async fn replace(
    connection: &mut SqliteConnection,
    document: i64,
    kept: &[KeptRow],
    added: &[NewRow<'_>],
    retired: &[i64],
    dropped: &[i64],
) -> Result<()> {
    let kept = json_rows(kept);
    sqlx::query!(
        "
        UPDATE passage
        SET ordinal = fresh.value ->> 1, page = fresh.value ->> 2, is_current = 1
        FROM json_each(?) AS fresh
        WHERE passage.id = fresh.value ->> 0
        ",
        kept
    )
    .execute(&mut *connection)
    .await?;
    let added = json_rows(added);
    sqlx::query!(
        "
        INSERT INTO passage (document_id, ordinal, heading, text, tokens, page, language, hash)
        SELECT
            ?, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
        FROM json_each(?)
        ",
        document,
        added
    )
    .execute(&mut *connection)
    .await?;
    let retired = json_rows(retired);
    sqlx::query!(
        "
        UPDATE passage
        SET is_current = 0
        WHERE id IN (SELECT value FROM json_each(?))
        ",
        retired
    )
    .execute(&mut *connection)
    .await?;
    let dropped = json_rows(dropped);
    sqlx::query!(
        "
        DELETE FROM passage
        WHERE id IN (SELECT value FROM json_each(?))
        ",
        dropped
    )
    .execute(&mut *connection)
    .await?;
    Ok(())
}
