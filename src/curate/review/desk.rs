//! The task that is looked at, the queue that it is in, and what was done so far.

use crate::{
    curate::view::TaskView,
    store::{Actor, Edit, Error, Filter, Position, Result, Sort, Store, instance::StoredInstance},
    task::Review,
};

/// So far the tasks that wait are counted.
const COUNTED: i64 = 10_000;

/// What the keys are for at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Decisions and steps.
    Queue,
    /// A reason is typed, for a rejection.
    Reason(String),
    /// Words to look for are typed.
    Search(String),
    /// The keys are shown.
    Help,
    /// Somebody changed the task meanwhile: what was seen, or what was to be saved, is beside what is there now.
    Conflict,
}

/// What is beside the task.
#[derive(Debug)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// A similar task: which of them, and its texts.
    Neighbor {
        /// Its place among the task's neighbors.
        place: usize,
        /// Its inputs and outputs.
        instances: Vec<StoredInstance>,
    },
    /// Where it came from.
    Provenance,
}

/// Somebody at work.
#[derive(Debug)]
pub struct Desk<'a> {
    store: &'a Store,
    who: &'a str,
    /// Which tasks are in the queue.
    pub filter: Filter,
    /// In which order.
    pub sort: Sort,
    /// What the keys are for.
    pub mode: Mode,
    /// The task; none where the queue has none behind the last one.
    pub task: Option<TaskView>,
    /// In a conflict, the task as it is now.
    pub now: Option<TaskView>,
    /// What is beside it.
    pub beside: Beside,
    /// How far the text is scrolled, in lines.
    pub scroll: u16,
    /// What was done last, or what went wrong.
    pub message: String,
    /// How many tasks the queue has, as far as they were counted.
    pub waiting: i64,
    /// Tasks looked at before, the latest last.
    trail: Vec<i64>,
    /// Actions of this sitting that can be taken back, with their tasks.
    pub(super) done: Vec<(i64, i64)>,
    /// Undos of this sitting that can be taken back.
    pub(super) undone: Vec<(i64, i64)>,
    /// An edit that was refused in a conflict.
    refused: Option<Edit>,
}

impl<'a> Desk<'a> {
    /// Sits down before the first task of the queue.
    pub async fn open(store: &'a Store, filter: Filter, sort: Sort, who: &'a str) -> Result<Desk<'a>> {
        let mut desk = Desk {
            store,
            who,
            filter,
            sort,
            mode: Mode::Queue,
            task: None,
            now: None,
            beside: Beside::Nothing,
            scroll: 0,
            message: "? shows the keys".to_owned(),
            waiting: 0,
            trail: Vec::new(),
            done: Vec::new(),
            undone: Vec::new(),
            refused: None,
        };
        desk.first().await?;
        Ok(desk)
    }

    /// The dataset.
    pub fn store(&self) -> &'a Store {
        self.store
    }

    /// How many wait, for people.
    pub fn waiting(&self) -> String {
        match self.waiting > COUNTED {
            true => format!("more than {COUNTED}"),
            false => self.waiting.to_string(),
        }
    }

    fn id(&self) -> Option<i64> {
        self.task.as_ref().map(|view| view.task.id)
    }

    pub(super) fn actor<'b>(&'b self, note: Option<&'b str>) -> Actor<'b> {
        Actor { who: self.who, note }
    }

    async fn count(&mut self) -> Result<()> {
        self.waiting = self.store.count(&self.filter, Some(COUNTED + 1)).await?;
        Ok(())
    }

    /// Puts a task on the desk.
    pub(super) async fn look_at(&mut self, id: i64) -> Result<()> {
        self.task = Some(TaskView::load(self.store, id).await?);
        self.now = None;
        self.refused = None;
        self.scroll = 0;
        self.mode = Mode::Queue;
        self.neighbor(0).await?;
        self.count().await
    }

    /// Puts a similar task beside it, the `place`-th; nothing where there is none.
    async fn neighbor(&mut self, place: usize) -> Result<()> {
        let id = self
            .task
            .as_ref()
            .and_then(|view| view.neighbors.get(place))
            .map(|near| near.id);
        self.beside = match id {
            Some(id) => Beside::Neighbor {
                place,
                instances: self.store.instances(id).await?,
            },
            None => Beside::Nothing,
        };
        Ok(())
    }

    /// The similar task after the one beside; after the last one, the first.
    pub async fn next_neighbor(&mut self) -> Result<()> {
        let count = self.task.as_ref().map_or(0, |view| view.neighbors.len());
        let place = match &self.beside {
            Beside::Neighbor { place, .. } if place + 1 < count => place + 1,
            _ => 0,
        };
        self.neighbor(place).await
    }

    /// Shows where the task came from, or the similar task again.
    pub async fn provenance(&mut self) -> Result<()> {
        match self.beside {
            Beside::Provenance => self.neighbor(0).await,
            _ => {
                self.beside = Beside::Provenance;
                Ok(())
            }
        }
    }

    /// The first task of the queue.
    pub async fn first(&mut self) -> Result<()> {
        self.go(
            Position::Start,
            "nothing in this queue: / looks for words, f changes the review",
        )
        .await
    }

    /// The next task of the queue.
    pub async fn next(&mut self) -> Result<()> {
        match self.id() {
            Some(id) => {
                self.go(Position::After(id), "that was the last one: g begins anew")
                    .await
            }
            None => self.first().await,
        }
    }

    async fn go(&mut self, from: Position, nothing: &str) -> Result<()> {
        let next = self.store.ids(&self.filter, self.sort, from, 1).await?;
        if let Some(id) = self.id() {
            self.trail.push(id);
        }
        match next.first() {
            Some(&id) => self.look_at(id).await,
            None => {
                self.task = None;
                self.beside = Beside::Nothing;
                self.message = match self.message.as_str() {
                    "" => nothing.to_owned(),
                    done => format!("{done} · {nothing}"),
                };
                self.count().await
            }
        }
    }

    /// The task looked at before, whatever became of it.
    pub async fn back(&mut self) -> Result<()> {
        match self.trail.pop() {
            Some(id) => self.look_at(id).await,
            None => {
                self.message = "that was the first one".to_owned();
                Ok(())
            }
        }
    }

    /// Accepts or rejects the task as it is on the desk, and goes on.
    pub async fn decide(&mut self, review: Review, note: Option<&str>) -> Result<()> {
        let Some(view) = &self.task else {
            return Ok(());
        };
        let (id, version) = (view.task.id, view.version);
        let decided = self
            .store
            .review_seen(id, version, review, self.actor(note))
            .await;
        self.mode = Mode::Queue;
        match decided {
            Ok(change) => {
                self.remember(change, id);
                self.message = format!("task {id} {review}");
                self.next().await
            }
            Err(error) => self.refuse(id, error, None).await,
        }
    }

    /// What came out of the editor.
    pub async fn edited(&mut self, edited: anyhow::Result<Edit>) -> Result<()> {
        let Some(id) = self.id() else {
            return Ok(());
        };
        match edited {
            Ok(edit) => self.save(id, edit).await,
            Err(error) => {
                self.message = format!("{error:#}").replace('\n', " · ");
                Ok(())
            }
        }
    }

    async fn save(&mut self, id: i64, edit: Edit) -> Result<()> {
        match self.store.edit(id, &edit, self.actor(None)).await {
            Ok(change) => {
                self.message = match change {
                    Some(_) => format!("task {id} edited"),
                    None => "nothing was changed".to_owned(),
                };
                self.remember(change, id);
                self.look_at(id).await
            }
            Err(error) => self.refuse(id, error, Some(edit)).await,
        }
    }

    /// A change that was made from an older version is refused, and both are shown; other errors are.
    async fn refuse(&mut self, id: i64, error: Error, edit: Option<Edit>) -> Result<()> {
        let Error::ChangedMeanwhile { .. } = error else {
            return Err(error);
        };
        self.now = Some(TaskView::load(self.store, id).await?);
        self.refused = edit;
        self.mode = Mode::Conflict;
        self.scroll = 0;
        Ok(())
    }

    /// What was to be saved, or what was seen, with the texts of a refused edit.
    pub fn mine(&self) -> Option<TaskView> {
        let mut view = self.task.clone()?;
        if let Some(edit) = &self.refused {
            if let Some(instruction) = &edit.instruction {
                view.task.instruction.clone_from(instruction);
            }
            for text in &edit.instances {
                for instance in &mut view.instances {
                    if instance.ordinal == text.ordinal {
                        instance.input = text.input.clone().unwrap_or_else(|| instance.input.clone());
                        instance.output = text.output.clone().unwrap_or_else(|| instance.output.clone());
                    }
                }
            }
        }
        Some(view)
    }

    /// Whether the conflict is about texts that could be saved over what is there now.
    pub fn has_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Ends a conflict: takes what is there now, or with `over` saves the refused texts over it.
    pub async fn settle(&mut self, over: bool) -> Result<()> {
        let (Some(id), Some(version)) = (self.id(), self.now.as_ref().map(|now| now.version)) else {
            return Ok(());
        };
        match self.refused.take() {
            Some(edit) if over => {
                let edit = Edit {
                    version: Some(version),
                    ..edit
                };
                self.save(id, edit).await
            }
            _ => {
                self.message = "this is how it is now; nothing of yours was saved".to_owned();
                self.look_at(id).await
            }
        }
    }

    /// Looks for these words from now on; for everything where there are none.
    pub async fn search(&mut self, words: &str) -> Result<()> {
        self.filter.text = (!words.trim().is_empty()).then(|| words.to_owned());
        self.mode = Mode::Queue;
        self.message.clear();
        self.first().await
    }

    /// The queue of the next review: pending, accepted, rejected, any.
    pub async fn next_review(&mut self) -> Result<()> {
        self.filter.review = match self.filter.review {
            Some(Review::Pending) => Some(Review::Accepted),
            Some(Review::Accepted) => Some(Review::Rejected),
            Some(Review::Rejected) => None,
            None => Some(Review::Pending),
        };
        self.message.clear();
        self.first().await
    }

    /// The queue in the next order.
    pub async fn next_sort(&mut self) -> Result<()> {
        self.sort = match self.sort {
            Sort::Id => Sort::Newest,
            Sort::Newest => Sort::Similar,
            Sort::Similar => Sort::Longest,
            Sort::Longest => Sort::Shortest,
            Sort::Shortest => Sort::Score,
            Sort::Score => Sort::Id,
        };
        self.message.clear();
        self.first().await
    }
}
