//! Undo and redo of the session's actions.

use super::session::{Done, ReviewSession};
use crate::store::{Change, Error, Result};

impl ReviewSession<'_> {
    /// Records an action that can be undone.
    pub(super) fn remember(&mut self, change: Option<Change>, id: i64, what: &'static str) {
        if let Some(Change { group, .. }) = change {
            self.done.push(Done { group, id, what });
            self.undone.clear();
        }
    }

    /// Takes back the latest action of this session, or without one the latest in the history.
    pub async fn undo(&mut self) -> Result<()> {
        let change = match self.done.last() {
            Some(&Done { group, .. }) => self.store().undo_group(group, self.actor(None)).await,
            None => self.store().undo(self.actor(None)).await,
        };
        let own = self.done.pop();
        self.took_back(change, own, "taken back", true).await
    }

    /// Redoes what was undone last.
    pub async fn redo(&mut self) -> Result<()> {
        let change = match self.undone.last() {
            Some(&Done { group, .. }) => self.store().undo_group(group, self.actor(None)).await,
            None => self.store().redo(self.actor(None)).await,
        };
        let own = self.undone.pop();
        self.took_back(change, own, "done again", false).await
    }

    async fn took_back(
        &mut self,
        change: Result<Change>,
        own: Option<Done>,
        what: &str,
        undo: bool,
    ) -> Result<()> {
        let change = match change {
            Ok(change) => change,
            Err(error) => {
                self.message = error.to_string().lines().next().unwrap_or_default().to_owned();
                return Ok(());
            }
        };
        let (id, kind) = match own {
            Some(own) => (own.id, own.what),
            None => (self.first_of(change.group).await?, ""),
        };
        let place = Done {
            group: change.group,
            id,
            what: kind,
        };
        if undo {
            self.undone.push(place);
        } else {
            self.done.push(place);
        }
        self.look_at(id).await?;
        let action = change.undoes.unwrap_or(change.group);
        self.message = format!("action {action} {what}: task {id}");
        Ok(())
    }

    async fn first_of(&self, group: i64) -> Result<i64> {
        let actions = self.store().actions(1).await?;
        actions
            .first()
            .filter(|action| action.group == group)
            .map(|action| action.first_task)
            .ok_or(Error::NoGroup { group })
    }
}
