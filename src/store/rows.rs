//! Many rows in one statement, as a JSON array that `json_each` reads or `json_group_array` wrote.
//! Each statement wakes the thread that talks to SQLite and waits for it, which costs several times
//! what a row does.

use serde::{Deserialize, Serialize};

use super::Result;

/// Writes the rows as `json_each` reads them.
pub(super) fn json_rows<T: Serialize>(rows: &[T]) -> String {
    serde_json::to_string(rows).expect("rows are plain values")
}

/// Reads the rows that `json_group_array` wrote.
pub(super) fn rows_of<'a, T: Deserialize<'a>>(json: &'a str) -> Result<Vec<T>> {
    let rows = serde_json::from_str(json).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{Connection, SqliteConnection};

    /// Values survive the round trip bit by bit: hostile text, and every score of two short texts.
    #[tokio::test]
    async fn values_survive() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let texts = [
            "",
            "a\0b",
            "\u{1}\u{1f}\u{7f}\u{80}\u{9f}",
            "\"\\/\u{8}\u{c}\n\r\t",
            "😀 \u{fffd} \u{ffff} \u{10ffff}",
            "\u{2028}\u{2029}{}[]'",
        ];
        let rows: Vec<String> = sqlx::query_scalar("SELECT value ->> 0 FROM json_each(?)")
            .bind(json_rows(&texts.map(|text| (text,))))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        assert_eq!(rows, texts);
        let scores: Vec<f64> = (1..300u32)
            .flat_map(|total| (0..=total / 2).map(move |lcs| f64::from(2 * lcs) / f64::from(total)))
            .collect();
        let rows: Vec<f64> = sqlx::query_scalar("SELECT cast(value AS REAL) FROM json_each(?)")
            .bind(json_rows(&scores))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        assert!(rows == scores);
    }
}
