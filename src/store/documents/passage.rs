//! Table `passage`: parts of documents.

use crate::store::{Result, Store};

/// A passage to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPassage {
    /// The headings that it is under.
    pub heading: String,
    /// Its text.
    pub text: String,
    /// Its tokens, estimated.
    pub tokens: u32,
    /// The page that it begins on.
    pub page: Option<u32>,
    /// Its language.
    pub language: Option<&'static str>,
    /// A hash of heading and text.
    pub hash: String,
}

/// A passage of today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPassage {
    /// Its id.
    pub id: i64,
    /// The document that it is of.
    pub document_id: i64,
    /// The title of the document, where it has one.
    pub title: Option<String>,
    /// The headings that it is under.
    pub heading: String,
    /// Its text.
    pub text: String,
    /// Its tokens, estimated.
    pub tokens: i64,
    /// Its language.
    pub language: Option<String>,
}

/// A passage that gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SilentPassage {
    /// Its id.
    pub passage_id: i64,
    /// The path of its document.
    pub path: String,
    /// Its place within the document, from 0.
    pub ordinal: i64,
    /// The headings that it is under.
    pub heading: String,
    /// Rounds that asked about it.
    pub rounds: i64,
}

impl Store {
    /// All passages of today, in the order of documents.
    pub async fn passages(&self) -> Result<Vec<StoredPassage>> {
        Ok(sqlx::query_as!(
            StoredPassage,
            r#"
            SELECT
                passage.id AS "id!", passage.document_id, document.title, passage.heading, passage.text,
                passage.tokens, passage.language
            FROM passage
            JOIN document ON document.id = passage.document_id
            WHERE passage.is_current = 1
            ORDER BY passage.document_id, passage.ordinal
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Passages that rounds asked about and that gave no task which nobody rejected, at most
    /// `most`, those that were asked about most often first.
    pub async fn silent_passages(&self, most: i64) -> Result<Vec<SilentPassage>> {
        Ok(sqlx::query_as!(
            SilentPassage,
            r#"
            SELECT
                passage.id AS "passage_id!", document.path, passage.ordinal, passage.heading,
                passage_yield.rounds AS "rounds!: i64"
            FROM passage_yield
            JOIN passage ON passage.id = passage_yield.passage_id
            JOIN document ON document.id = passage.document_id
            WHERE passage_yield.rounds > 0 AND passage_yield.tasks = 0
            ORDER BY passage_yield.rounds DESC, passage.id
            LIMIT ?
            "#,
            most
        )
        .fetch_all(&self.pool)
        .await?)
    }
}
