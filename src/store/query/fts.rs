//! Table `task_fts`: what people type into a search box, as a query of FTS5.
//!
//! Words are looked for in any order and all of them, in every form that looks the same; `"two words"` in quotes must
//! follow one another; a `*` after two letters or more stands for any ending. Nothing else is syntax, so that no text
//! fails.

use std::collections::HashSet;

use super::sql::Sql;
use crate::fold::folded;
use crate::store::rows::json_rows;
use crate::store::{Filter, Position, Result, Sort, Store};

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
    (!terms.is_empty()).then(|| terms.join(" AND "))
}

/// One quoted term, or several of which any will do; none where the tokenizer would find nothing in it.
fn term(text: &str) -> Option<String> {
    let (text, prefix) = match text.trim().strip_suffix('*') {
        Some(text) => (text, "*"),
        None => (text.trim(), ""),
    };
    // Half of all words begin with one of a few letters, and the index has no beginnings of one letter.
    let prefix = if text.chars().count() > 1 { prefix } else { "" };
    let terms: Vec<String> = forms(text)
        .iter()
        .filter(|form| form.contains(char::is_alphanumeric))
        .map(|form| format!("\"{form}\"{prefix}"))
        .collect();
    match terms.len() {
        0 => None,
        1 => terms.into_iter().next(),
        _ => Some(format!("({})", terms.join(" OR "))),
    }
}

/// How texts may have what somebody typed, each form once. The tokenizer sees to case, as far as it is one letter for
/// one, and to accents; the index has no invisible characters within words (`task_text`). What else looks the same is
/// looked for beside it, however it was typed: ß and ss, full width and half width, ligatures.
fn forms(typed: &str) -> Vec<String> {
    let folded: String = folded(typed).collect();
    let mut forms = with_sharp_s(&folded);
    forms.push(ligatures(&folded));
    forms.push(full_width(&folded));
    // Accents aside, the tokenizer makes this of what was typed.
    forms.push(typed.to_lowercase());
    let mut seen = HashSet::new();
    forms
        .into_iter()
        // SQLite ends a query at a zero byte, and FTS5 a term at a quote, which one of full width has become.
        .map(|form| form.replace(['\0', '"'], " "))
        .filter(|form| seen.insert(form.clone()))
        .collect()
}

/// The text, then it with ß in place of some of its ss or of all: Flussstraße has both.
fn with_sharp_s(text: &str) -> Vec<String> {
    /// Of so many places each is tried with the others; at later ones ss stays.
    const PLACES: usize = 3;
    let mut forms = vec![String::new()];
    for (place, part) in text.splitn(PLACES + 1, "ss").enumerate() {
        if place > 0 {
            let with = |sign: &'static str| forms.iter().map(move |form| format!("{form}{sign}"));
            forms = with("ss").chain(with("ß")).collect();
        }
        forms.iter_mut().for_each(|form| form.push_str(part));
    }
    forms
}

/// The text with the ligatures that printed texts have, as they come out of PDF.
fn ligatures(text: &str) -> String {
    [("ffi", "ﬃ"), ("ffl", "ﬄ"), ("ff", "ﬀ"), ("fi", "ﬁ"), ("fl", "ﬂ")]
        .into_iter()
        .fold(text.to_owned(), |text, (letters, ligature)| {
            text.replace(letters, ligature)
        })
}

/// The text with ASCII in full width, as Chinese and Japanese texts have it.
fn full_width(text: &str) -> String {
    let widened = |c: char| match c {
        '!'..='~' => char::from_u32(c as u32 + 0xfee0).expect("U+FF01 to U+FF5E are characters"),
        c => c,
    };
    text.chars().map(widened).collect()
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

    /// The query, without the forms in full width, which every word has.
    fn narrow(typed: &str) -> Option<String> {
        let query = query(typed)?;
        let is_wide = |c: char| ('\u{ff01}'..='\u{ff5e}').contains(&c);
        let terms = query.split(" AND ").map(|term| {
            let forms: Vec<&str> = term
                .trim_matches(['(', ')'])
                .split(" OR ")
                .filter(|form| !form.contains(is_wide))
                .collect();
            forms.join("|")
        });
        Some(terms.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn words_phrases_and_endings() {
        assert_eq!(query("two").as_deref(), Some(r#"("two" OR "ｔｗｏ")"#));
        assert_eq!(narrow("two words").as_deref(), Some(r#""two" "words""#));
        assert_eq!(
            narrow(r#"a "b c" de* f*"#).as_deref(),
            Some(r#""a" "b c" "de"* "f""#)
        );
        assert_eq!(narrow(r#"open "quote"#).as_deref(), Some(r#""open" "quote""#));
        assert_eq!(narrow("NOT ( OR - ^ :").as_deref(), Some(r#""not" "or""#));
        assert_eq!(query("  * \" \" - "), None);
        // A quote of full width ends no term, and neither does what SQLite would end at.
        assert_eq!(narrow("a\0b＂c").as_deref(), Some(r#""ab c""#));
    }

    #[test]
    fn what_looks_the_same_is_looked_for() {
        assert_eq!(narrow("Straße").as_deref(), Some(r#""strasse"|"straße""#));
        assert_eq!(
            narrow("Passstrasse*").as_deref(),
            Some(r#""passstrasse"*|"paßstrasse"*|"passstraße"*|"paßstraße"*"#)
        );
        assert_eq!(narrow("office").as_deref(), Some(r#""office"|"oﬃce""#));
        assert_eq!(narrow("ＡＢＣ１２").as_deref(), Some(r#""abc12""#));
        assert_eq!(query("日本").as_deref(), Some(r#""日本""#));
        assert_eq!(
            narrow("soft\u{ad}hyphen").as_deref(),
            Some("\"softhyphen\"|\"soft\u{ad}hyphen\"")
        );
    }
}
