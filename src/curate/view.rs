//! One task with everything that is known of it: what `show` prints and what the page lays out.

use crate::store::asked::evolution::Evolution;
use crate::store::curation::judgment::Judgment;
use crate::store::curation::log::Revision;
use crate::store::instance::StoredInstance;
use crate::store::query::neighbor::Neighbor;
use crate::store::query::provenance::{Provenance, SourceFile};
use crate::store::task::StoredTask;
use crate::store::{Result, Store};

/// A task, its texts, its neighbours, its origin and its history.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TaskView {
    /// The task itself.
    #[serde(flatten)]
    pub task: StoredTask,
    /// Grows with each action on the task; an edit names the one that it was made from.
    pub version: i64,
    /// Inputs and outputs in order.
    pub instances: Vec<StoredInstance>,
    /// The most similar tasks, the nearest first.
    pub neighbors: Vec<Neighbor>,
    /// What it was made of; none for a task that was not made of another.
    pub evolution: Option<Evolution>,
    /// The file that it was read from; none for a task that a model made.
    pub source: Option<SourceFile>,
    /// The model calls that it came from.
    pub provenance: Vec<Provenance>,
    /// What models think of its instances, in order.
    pub judgments: Vec<Judgment>,
    /// What was done to it, in order.
    pub history: Vec<Revision>,
}

impl TaskView {
    /// Reads all of it.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error::NoTask`].
    pub async fn load(store: &Store, id: i64) -> Result<TaskView> {
        Ok(TaskView {
            source: store.source_file(id).await?,
            provenance: store.provenance(id).await?,
            history: store.history(id).await?,
            ..TaskView::brief(store, id).await?
        })
    }

    /// Reads what is needed to decide about it: neither the model calls nor the history, which can be long.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error::NoTask`].
    pub async fn brief(store: &Store, id: i64) -> Result<TaskView> {
        // The version first: what is read after it can only be newer, and then an edit made from it is refused.
        let version = store.version(id).await?;
        Ok(TaskView {
            task: store.task(id).await?,
            version,
            instances: store.instances(id).await?,
            neighbors: store.neighbors(id).await?,
            evolution: store.evolution(id).await?,
            source: None,
            provenance: Vec::new(),
            judgments: store.judgments(id).await?,
            history: Vec::new(),
        })
    }
}
