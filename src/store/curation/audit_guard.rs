//! Table `acting`: says, within a transaction that changes tasks, that ewe writes the revisions itself. Otherwise the
//! triggers that catch changes by SQL would write them once more.

use std::ops::{Deref, DerefMut};

use sqlx::{Sqlite, SqliteConnection, Transaction};

use crate::store::{Result, Store};

/// A transaction of somebody who reviews, edits or undoes. Dropped before [`Action::commit`], it leaves nothing behind.
#[derive(Debug)]
pub(in crate::store) struct Action(Transaction<'static, Sqlite>);

impl Store {
    /// Takes the write lock for an action.
    pub(in crate::store) async fn act(&self, who: &str) -> Result<Action> {
        let mut transaction = self.write().await?;
        sqlx::query!("INSERT INTO acting (id, who) VALUES (1, ?)", who)
            .execute(&mut *transaction)
            .await?;
        Ok(Action(transaction))
    }
}

impl Action {
    /// Keeps what was done.
    pub(in crate::store) async fn commit(mut self) -> Result<()> {
        sqlx::query!("DELETE FROM acting").execute(&mut *self.0).await?;
        self.0.commit().await?;
        Ok(())
    }
}

impl Deref for Action {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.0
    }
}

impl DerefMut for Action {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.0
    }
}
