//! Statements that are put together when they are needed. They are made of fixed texts; what comes from people is bound.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sqlx::{Arguments, AssertSqlSafe, sqlite::SqliteArguments};

use crate::store::{Result, Store};

/// After so many of SQLite's steps, which are less than a millisecond, it looks whether anybody still waits.
const STEPS: i32 = 20_000;

/// A value for a place in a statement.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::store) enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
}

/// A statement under way: its text, which is made of fixed parts, and the values for the places in it.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Sql {
    text: String,
    values: Vec<Value>,
}

impl Sql {
    /// Adds text.
    pub(in crate::store) fn push(&mut self, text: &str) -> &mut Sql {
        self.text.push_str(text);
        self
    }

    /// Adds another statement, with its values.
    pub(in crate::store) fn append(&mut self, other: Sql) {
        self.text.push_str(&other.text);
        self.values.extend(other.values);
    }

    /// Adds values for the next places.
    pub(in crate::store) fn values(&mut self, values: &[Value]) -> &mut Sql {
        self.values.extend_from_slice(values);
        self
    }

    /// The statement. Only fixed texts were put together, so that there is nothing in it to be afraid of.
    pub(in crate::store) fn finish(self) -> (AssertSqlSafe<String>, SqliteArguments) {
        let mut arguments = SqliteArguments::default();
        for value in self.values {
            match value {
                Value::Text(text) => arguments.add(text),
                Value::Integer(number) => arguments.add(number),
                Value::Real(number) => arguments.add(number),
            }
            .expect("texts and numbers can be encoded");
        }
        (AssertSqlSafe(self.text), arguments)
    }
}

/// Says when it is dropped that nobody waits any more.
struct Interest(Arc<AtomicBool>);

impl Drop for Interest {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Store {
    /// The numbers that a query gives. It is broken off when nobody waits for it any more: somebody who types asks for a
    /// list at every pause, and a few queries that look at a million tasks would keep all connections busy.
    pub(in crate::store) async fn numbers(&self, sql: Sql) -> Result<Vec<i64>> {
        let mut connection = self.pool.acquire().await?;
        let is_over = Arc::new(AtomicBool::new(false));
        let _interest = Interest(is_over.clone());
        // A task of its own, since the connection must be put in order however this ends.
        let query = tokio::spawn(async move {
            connection
                .lock_handle()
                .await?
                .set_progress_handler(STEPS, move || !is_over.load(Ordering::Relaxed));
            let (text, values) = sql.finish();
            let found = sqlx::query_scalar_with::<_, i64, _>(text, values)
                .fetch_all(&mut *connection)
                .await;
            connection.lock_handle().await?.remove_progress_handler();
            found
        });
        Ok(query.await.expect("a query does not panic")?)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Integer(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Real(number)
    }
}
