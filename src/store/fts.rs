//! Table `task_fts`: what people type into a search box, as a query of FTS5.
//!
//! Words are looked for as they are, in any order and all of them; `"two words"` in quotes must follow one another;
//! a `*` after a word stands for any ending. Nothing else is syntax, so that no text fails.

use super::{Result, Store};

/// The FTS5 query for what somebody typed; none where there is no word in it.
pub fn query(typed: &str) -> Option<String> {
    let mut terms = Vec::new();
    // Inside and outside of quotes alternate; a quote that is never closed reaches to the end.
    for (index, part) in typed.split('"').enumerate() {
        if index % 2 == 1 {
            terms.extend(term(part));
        } else {
            terms.extend(part.split_whitespace().filter_map(term));
        }
    }
    (!terms.is_empty()).then(|| terms.join(" "))
}

/// One quoted term; none where the tokenizer would find nothing in it.
fn term(text: &str) -> Option<String> {
    let (text, prefix) = match text.trim().strip_suffix('*') {
        Some(text) => (text, "*"),
        None => (text.trim(), ""),
    };
    // SQLite ends a query at a zero byte.
    let text = text.replace('\0', " ");
    text.contains(char::is_alphanumeric)
        .then(|| format!("\"{text}\"{prefix}"))
}

/// A task found by full-text search.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Hit {
    /// The task's id.
    pub id: i64,
    /// What people think of it.
    pub review: crate::task::Review,
    /// What is to be done.
    pub instruction: String,
    /// Text around the words that were found, which stand between U+0002 and U+0003.
    pub snippet: String,
}

impl Store {
    /// Tasks with these words, the best match first; none where nothing was asked for.
    pub async fn search(&self, typed: &str, limit: i64) -> Result<Vec<Hit>> {
        let Some(query) = query(typed) else {
            return Ok(Vec::new());
        };
        let hits = sqlx::query_as!(
            Hit,
            r#"
            SELECT
                task.id, task.review AS "review: crate::task::Review", task.instruction,
                snippet(task_fts, -1, char(2), char(3), '…', 24) AS "snippet!: String"
            FROM task_fts
            JOIN task ON task.id = task_fts.rowid
            WHERE task_fts MATCH ?1
            ORDER BY task_fts.rank, task.id
            LIMIT ?2
            "#,
            query,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(hits)
    }
}

#[cfg(test)]
mod tests {
    use super::query;

    #[test]
    fn words_phrases_and_endings() {
        assert_eq!(query("two words").as_deref(), Some(r#""two" "words""#));
        assert_eq!(query(r#"a "b c" d*"#).as_deref(), Some(r#""a" "b c" "d"*"#));
        assert_eq!(query(r#"open "quote"#).as_deref(), Some(r#""open" "quote""#));
        assert_eq!(query("NOT ( OR - ^ :").as_deref(), Some(r#""NOT" "OR""#));
        assert_eq!(query("  * \" \" - "), None);
    }
}
