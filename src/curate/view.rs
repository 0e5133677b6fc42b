//! One task with all its details: for `ewe show`, the page and `ewe review`.

use crate::filter::grounding::marked::{self, Piece};
use crate::store::asked::evolution::Evolution;
use crate::store::curation::judgment::Judgment;
use crate::store::curation::log::Revision;
use crate::store::documents::grounding::TaskPassage;
use crate::store::instance::StoredInstance;
use crate::store::query::figures::{InfluenceOn, InstanceFigures};
use crate::store::query::neighbor::StoredNeighbor;
use crate::store::query::provenance::{Provenance, SourceFile};
use crate::store::task::StoredTask;
use crate::store::{Result, Store};

/// A task with its texts, neighbors, origin and history.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TaskView {
    /// The task itself.
    #[serde(flatten)]
    pub task: StoredTask,
    /// The version, which grows with each action on the task; an edit names the one it was made
    /// from.
    pub version: i64,
    /// Inputs and outputs in order.
    pub instances: Vec<StoredInstance>,
    /// The most similar tasks, the nearest first.
    pub neighbors: Vec<StoredNeighbor>,
    /// The task that it was rewritten from, if any.
    pub evolution: Option<Evolution>,
    /// The file that it was read from; `None` for a generated task.
    pub source: Option<SourceFile>,
    /// The requests that it came from.
    pub provenance: Vec<Provenance>,
    /// The passages of documents that it was made from, with the words marked that it has.
    pub passages: Vec<PassageView>,
    /// Judgments of its instances, in order.
    pub judgments: Vec<Judgment>,
    /// Influence and difficulty of those of its instances that have any.
    pub figures: Vec<InstanceFigures>,
    /// For a held-out task, the tasks that helped it most and those that hurt it most.
    pub influenced_by: Vec<InfluenceOn>,
    /// Its history, in order.
    pub history: Vec<Revision>,
}

/// A passage beside its task.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct PassageView {
    /// The passage.
    #[serde(flatten)]
    pub passage: TaskPassage,
    /// Its text in pieces: those that the outputs of the task have, and the rest.
    pub pieces: Vec<Piece>,
}

impl PassageView {
    async fn of_task(store: &Store, id: i64, instances: &[StoredInstance]) -> Result<Vec<PassageView>> {
        let passages = store.task_passages(id).await?;
        let outputs: Vec<&str> = instances
            .iter()
            .map(|instance| instance.output.as_str())
            .collect();
        let said = outputs.join("\n");
        let view = |passage: TaskPassage| PassageView {
            pieces: marked::pieces(&passage.text, &said),
            passage,
        };
        Ok(passages.into_iter().map(view).collect())
    }
}

impl TaskView {
    /// Reads all details.
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

    /// Reads the details needed to review it: neither requests nor history, which can be long.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error::NoTask`].
    pub async fn brief(store: &Store, id: i64) -> Result<TaskView> {
        // The version comes first: texts read after it can only be newer, and an edit made from
        // them is then refused.
        let version = store.version(id).await?;
        let task = store.task(id).await?;
        let influenced_by = match task.is_held_out {
            true => store.influenced_by(id).await?,
            false => Vec::new(),
        };
        let instances = store.instances(id).await?;
        Ok(TaskView {
            task,
            version,
            influenced_by,
            passages: PassageView::of_task(store, id, &instances).await?,
            instances,
            neighbors: store.neighbors(id).await?,
            evolution: store.evolution(id).await?,
            source: None,
            provenance: Vec::new(),
            judgments: store.judgments(id).await?,
            figures: store.instance_figures(id).await?,
            history: Vec::new(),
        })
    }
}
