//! Statements composed at run time, of fixed texts. Texts of people are bound as values.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sqlx::{Arguments, AssertSqlSafe, sqlite::SqliteArguments};

use crate::store::{Result, Store};

/// After so many of SQLite's steps, less than a millisecond, it checks whether anybody still waits.
const STEPS: i32 = 20_000;

/// A value to bind.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::store) enum SqlValue {
    /// Text.
    Text(String),
    /// An integer.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
}

/// A statement under construction: its text, and the values of its `?`.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Sql {
    text: String,
    values: Vec<SqlValue>,
}

impl Sql {
    /// Appends text.
    pub(in crate::store) fn push(&mut self, text: &str) -> &mut Sql {
        self.text.push_str(text);
        self
    }

    /// Appends another statement with its values.
    pub(in crate::store) fn append(&mut self, other: Sql) {
        self.text.push_str(&other.text);
        self.values.extend(other.values);
    }

    /// Appends values for the next `?`.
    pub(in crate::store) fn values(&mut self, values: &[SqlValue]) -> &mut Sql {
        self.values.extend_from_slice(values);
        self
    }

    /// Returns the statement. It was composed of fixed texts only, so that it is safe.
    pub(in crate::store) fn finish(self) -> (AssertSqlSafe<String>, SqliteArguments) {
        let mut arguments = SqliteArguments::default();
        for value in self.values {
            match value {
                SqlValue::Text(text) => arguments.add(text),
                SqlValue::Integer(number) => arguments.add(number),
                SqlValue::Real(number) => arguments.add(number),
            }
            .expect("texts and numbers can be encoded");
        }
        (AssertSqlSafe(self.text), arguments)
    }
}

/// Signals when it is dropped that nobody waits any more.
struct Interest(Arc<AtomicBool>);

impl Drop for Interest {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Store {
    /// Runs a query for numbers. It is interrupted when its future is dropped: somebody who types
    /// asks for a list at every pause, and a few queries over a million tasks would keep all
    /// connections busy.
    pub(in crate::store) async fn numbers(&self, sql: Sql) -> Result<Vec<i64>> {
        self.scalars(sql).await
    }

    /// Runs a query for texts, in the same way.
    pub(in crate::store) async fn texts(&self, sql: Sql) -> Result<Vec<String>> {
        self.scalars(sql).await
    }

    async fn scalars<T>(&self, sql: Sql) -> Result<Vec<T>>
    where
        T: Send + Unpin + 'static + sqlx::Type<sqlx::Sqlite> + for<'r> sqlx::Decode<'r, sqlx::Sqlite>,
    {
        let mut connection = self.pool.acquire().await?;
        let is_over = Arc::new(AtomicBool::new(false));
        let _interest = Interest(is_over.clone());
        // A task of its own, since the connection must be restored however this ends.
        let query = tokio::spawn(async move {
            connection
                .lock_handle()
                .await?
                .set_progress_handler(STEPS, move || !is_over.load(Ordering::Relaxed));
            let (text, values) = sql.finish();
            let found = sqlx::query_scalar_with::<_, T, _>(text, values)
                .fetch_all(&mut *connection)
                .await;
            connection.lock_handle().await?.remove_progress_handler();
            // The caller's next query takes it; see `Store::bring_up_to_date`.
            connection.return_to_pool().await;
            found
        });
        Ok(query.await.expect("a query does not panic")?)
    }
}

impl From<&str> for SqlValue {
    fn from(text: &str) -> SqlValue {
        SqlValue::Text(text.to_owned())
    }
}

impl From<i64> for SqlValue {
    fn from(number: i64) -> SqlValue {
        SqlValue::Integer(number)
    }
}

impl From<f64> for SqlValue {
    fn from(number: f64) -> SqlValue {
        SqlValue::Real(number)
    }
}
