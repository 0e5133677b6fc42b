//! One task with all its details: for `ewe show`, the page and `ewe review`.

use crate::filter::grounding::marked::{self, Piece};
use crate::store::asked::evolution::Evolution;
use crate::store::curation::judgment::Judgment;
use crate::store::curation::log::Revision;
use crate::store::curation::validation::Validation;
use crate::store::documents::grounding::TaskPassage;
use crate::store::instance::StoredInstance;
use crate::store::query::figures::{InfluenceOn, InstanceFigures};
use crate::store::query::neighbor::StoredNeighbor;
use crate::store::query::provenance::{Provenance, SourceFile};
use crate::store::task::StoredTask;
use crate::store::teams::comment::Comment;
use crate::store::teams::opinion::Assigned;
use crate::store::{Field, Result, Store};

/// A task with its texts, neighbors, origin and history.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TaskView {
    /// The task itself.
    #[serde(flatten)]
    pub task: StoredTask,
    /// The version, which grows with each action on the task; an edit names the one it was made
    /// from.
    pub version: i64,
    /// The number of its latest change of any kind: opinions and comments change no version.
    pub touched: i64,
    /// Who changed it last; none if nobody has.
    pub changed_by: Option<String>,
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
    /// Verdicts of validators on its instances that hold, in order.
    pub validations: Vec<Validation>,
    /// Influence and difficulty of those of its instances that have any.
    pub figures: Vec<InstanceFigures>,
    /// For a held-out task, the tasks that helped it most and those that hurt it most.
    pub influenced_by: Vec<InfluenceOn>,
    /// Its history, in order.
    pub history: Vec<Revision>,
    /// Whom it is assigned to, and what they said, as far as the viewer may see it.
    pub assigned: Vec<Assigned>,
    /// What people wrote beside it, in order.
    pub comments: Vec<Comment>,
    /// All fields that people added, with its values.
    pub fields: Vec<FieldView>,
}

/// A field with its value for a task.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FieldView {
    /// The field.
    #[serde(flatten)]
    pub field: Field,
    /// Its value, for programs; null, or an empty list, if there is none.
    pub value: serde_json::Value,
    /// Its value as people read and type it.
    pub shown: String,
}

impl FieldView {
    async fn of_task(store: &Store, id: i64) -> Result<Vec<FieldView>> {
        let fields = store.fields().await?;
        let mut own = match fields.is_empty() {
            true => Vec::new(),
            false => store.values_of(&[id]).await?.remove(&id).unwrap_or_default(),
        };
        let view = |field: Field| {
            let at = own.iter().position(|(other, _)| other.id == field.id);
            let values = at.map(|at| own.swap_remove(at).1).unwrap_or_default();
            FieldView {
                value: field.to_json(&values),
                shown: field.shown(&values),
                field,
            }
        };
        Ok(fields.into_iter().map(view).collect())
    }
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
    /// Reads all details, for the person called `viewer`.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error::NoTask`].
    pub async fn load(store: &Store, id: i64, viewer: &str) -> Result<TaskView> {
        Ok(TaskView {
            source: store.source_file(id).await?,
            provenance: store.provenance(id).await?,
            history: store.history(id).await?,
            ..TaskView::brief(store, id, viewer).await?
        })
    }

    /// Reads the details needed to review it: neither requests nor history, which can be long.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error::NoTask`].
    pub async fn brief(store: &Store, id: i64, viewer: &str) -> Result<TaskView> {
        // The version comes first: texts read after it can only be newer, and an edit made from
        // them is then refused.
        let version = store.version(id).await?;
        let touched = store.touched(id).await?;
        let task = store.task(id).await?;
        let influenced_by = match task.is_held_out {
            true => store.influenced_by(id).await?,
            false => Vec::new(),
        };
        let instances = store.instances(id).await?;
        Ok(TaskView {
            task,
            version,
            touched,
            changed_by: store.changed_by(id).await?,
            influenced_by,
            passages: PassageView::of_task(store, id, &instances).await?,
            instances,
            neighbors: store.neighbors(id).await?,
            evolution: store.evolution(id).await?,
            source: None,
            provenance: Vec::new(),
            judgments: store.judgments(id).await?,
            validations: store.validations(id).await?,
            figures: store.instance_figures(id).await?,
            history: Vec::new(),
            assigned: store.assigned(id, viewer).await?,
            comments: store.comments(id).await?,
            fields: FieldView::of_task(store, id).await?,
        })
    }
}
