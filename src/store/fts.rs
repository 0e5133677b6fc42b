//! Table `task_fts`: what people type into a search box, as a query of FTS5.
//!
//! Words are looked for as they are, in any order and all of them; `"two words"` in quotes must follow one another;
//! a `*` after two letters or more stands for any ending. Nothing else is syntax, so that no text fails.

use super::{Filter, Position, Result, Sort, Store, rows::json_rows, sql::Sql};

/// So many matches are ranked; more take longer than somebody waits for them.
const RANKED: i64 = 10_000;

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
    // Half of all words begin with one of a few letters, and the index has no beginnings of one letter.
    let prefix = if text.chars().count() > 1 { prefix } else { "" };
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
    /// Tasks with these words that `filter` lets through, the best match first; none where nothing was asked for. Where
    /// very many tasks have the words, these say little, and the first tasks that have them come in order. The words
    /// take the place of the filter's own.
    pub async fn search(&self, typed: &str, filter: &Filter, limit: i64) -> Result<Vec<Hit>> {
        let Some(query) = query(typed) else {
            return Ok(Vec::new());
        };
        let filter = Filter {
            text: None,
            ..filter.clone()
        };
        let found = sqlx::query_scalar!(
            r#"
            SELECT count(*) AS "count!: i64"
            FROM (SELECT 1 FROM task_fts WHERE task_fts MATCH ? LIMIT ?)
            "#,
            query,
            RANKED
        )
        .fetch_one(&self.pool)
        .await?;
        let ids = if found < RANKED {
            self.best(&query, &filter, limit).await?
        } else {
            let text = Some(typed.to_owned());
            let filter = Filter { text, ..filter };
            self.ids(&filter, Sort::Id, Position::Start, limit).await?
        };
        let ids = json_rows(&ids);
        // The words are looked for once more in the tasks that are shown, for the texts around them.
        let hits = sqlx::query_as!(
            Hit,
            r#"
            SELECT
                task.id, task.review AS "review: crate::task::Review", task.instruction,
                snippet(task_fts, -1, char(2), char(3), '…', 24) AS "snippet!: String"
            FROM json_each(?1) AS wanted
            CROSS JOIN task ON task.id = wanted.value
            CROSS JOIN task_fts ON task_fts.rowid = task.id
            WHERE task_fts MATCH ?2
            ORDER BY wanted.key
            "#,
            ids,
            query
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(hits)
    }

    /// The ids of the best matches that a filter without words lets through.
    async fn best(&self, query: &str, filter: &Filter, limit: i64) -> Result<Vec<i64>> {
        let mut sql = Sql::default();
        sql.push(
            "SELECT task.id
            FROM (SELECT rowid, rank FROM task_fts WHERE task_fts MATCH ? ORDER BY rank, rowid) AS found
            CROSS JOIN task ON task.id = found.rowid
            WHERE 1",
        )
        .values(&[query.into()]);
        filter.push_rows(&mut sql);
        sql.push(" ORDER BY found.rank, found.rowid LIMIT ?")
            .values(&[limit.into()]);
        self.numbers(sql).await
    }
}

#[cfg(test)]
mod tests {
    use super::query;

    #[test]
    fn words_phrases_and_endings() {
        assert_eq!(query("two words").as_deref(), Some(r#""two" "words""#));
        assert_eq!(
            query(r#"a "b c" de* f*"#).as_deref(),
            Some(r#""a" "b c" "de"* "f""#)
        );
        assert_eq!(query(r#"open "quote"#).as_deref(), Some(r#""open" "quote""#));
        assert_eq!(query("NOT ( OR - ^ :").as_deref(), Some(r#""NOT" "OR""#));
        assert_eq!(query("  * \" \" - "), None);
    }
}
