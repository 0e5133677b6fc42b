//! Table `acting`, the audit guard. A row in it says, within a transaction that changes tasks, that
//! ewe writes the revisions itself. Otherwise the triggers for changes by SQL would write them
//! again.

use std::ops::{Deref, DerefMut};

use sqlx::{Sqlite, SqliteConnection, Transaction};

use crate::store::{Result, Store};

/// A transaction that reviews, edits or undoes. Dropped before [`ActionTransaction::commit`], it
/// changes nothing.
#[derive(Debug)]
pub(in crate::store) struct ActionTransaction(Transaction<'static, Sqlite>);

impl Store {
    /// Takes the write lock for an action.
    pub(in crate::store) async fn act(&self, who: &str) -> Result<ActionTransaction> {
        let mut transaction = self.write().await?;
        sqlx::query!("INSERT INTO acting (id, who) VALUES (1, ?)", who)
            .execute(&mut *transaction)
            .await?;
        Ok(ActionTransaction(transaction))
    }
}

impl ActionTransaction {
    /// Commits the action.
    pub(in crate::store) async fn commit(mut self) -> Result<()> {
        sqlx::query!("DELETE FROM acting").execute(&mut *self.0).await?;
        self.0.commit().await?;
        Ok(())
    }
}

impl Deref for ActionTransaction {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.0
    }
}

impl DerefMut for ActionTransaction {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.0
    }
}
