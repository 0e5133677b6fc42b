//! The state of the page's server.

use std::sync::Arc;

use super::tickets::Tickets;
use crate::store::file::watch::Watch;
use crate::store::{Actor, Store};

/// The state of the server, shared by all handlers.
#[derive(Debug, Clone)]
pub struct AppState {
    /// The dataset.
    pub store: Store,
    /// Notices when anybody writes to it.
    pub watch: Watch,
    /// The name for the history.
    pub who: Arc<str>,
    /// Exports that were requested and not fetched yet.
    pub tickets: Tickets,
}

impl AppState {
    /// Returns the user as an actor, with a note unless it is blank.
    pub(super) fn actor<'a>(&'a self, note: Option<&'a str>) -> Actor<'a> {
        Actor {
            who: &self.who,
            note: note.filter(|note| !note.trim().is_empty()),
        }
    }
}
