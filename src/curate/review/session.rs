//! The state of `ewe review`: the present task, its queue, and the actions so far.

use std::cell::Cell;

use crate::{
    curate::view::TaskView,
    interchange::turns,
    store::{Actor, Edit, Error, Filter, Position, Result, Sort, Store, instance::StoredInstance},
    task::{Review, Stance, Turn},
};

/// Waiting tasks are counted up to this number.
const COUNTED: i64 = 10_000;

/// What keys do at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Decide and navigate.
    Queue,
    /// Type a reason for a rejection.
    Reason(String),
    /// Type why one is unsure.
    Unsure(String),
    /// Type a comment.
    Comment(String),
    /// Type words to search for.
    Search(String),
    /// Choose a field to give a value.
    Fields,
    /// Give the field at this place a value, which is typed.
    Value(usize, String),
    /// Show the keys.
    Help,
    /// Resolve a conflict: somebody changed the task meanwhile. What was seen, or was to be saved,
    /// is shown beside its present state.
    Conflict,
}

/// What is shown beside the task.
#[derive(Debug)]
pub enum SidePanel {
    /// Nothing.
    Nothing,
    /// A similar task, with its texts.
    Neighbor {
        /// Its place among the task's neighbors.
        place: usize,
        /// Its inputs and outputs.
        instances: Vec<StoredInstance>,
    },
    /// The origin of the task.
    Provenance,
}

/// An action of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Done {
    /// Its group in the history.
    pub group: i64,
    /// Its task.
    pub id: i64,
    /// What it did: `accepted`, `rejected`, `unsure`, `edited`, `labelled` or `commented`; empty
    /// for another's action.
    pub what: &'static str,
}

/// A review session of one person.
#[derive(Debug)]
pub struct ReviewSession<'a> {
    store: &'a Store,
    pub(super) who: &'a str,
    /// Whether decisions on tasks that are assigned to `who` are opinions.
    pub(super) is_reviewer: bool,
    /// The filter of the queue.
    pub filter: Filter,
    /// The order of the queue.
    pub sort: Sort,
    /// What keys do.
    pub mode: Mode,
    /// The present task; `None` at the end of the queue.
    pub task: Option<TaskView>,
    /// In a conflict, the present state of the task.
    pub now: Option<TaskView>,
    /// What is shown beside the task.
    pub beside: SidePanel,
    /// Whether somebody asked for what is beside the task: a small terminal has no room for it
    /// else.
    pub is_asked: bool,
    /// How far the text is scrolled, in lines.
    pub scroll: u16,
    /// Whether the terminal is too small for two texts, as it was drawn last.
    pub is_small: Cell<bool>,
    /// Whether there is more below what is shown, as it was drawn last.
    pub has_more: Cell<bool>,
    /// The last action, or what went wrong.
    pub message: String,
    /// The number of tasks in the queue, as far as they were counted.
    pub waiting: i64,
    /// Tasks seen before, the latest last.
    trail: Vec<i64>,
    /// Actions of this session that can be undone.
    pub(super) done: Vec<Done>,
    /// Undos of this session that can be redone.
    pub(super) undone: Vec<Done>,
    /// An edit that was refused in a conflict.
    refused: Option<Edit>,
}

impl<'a> ReviewSession<'a> {
    /// Starts at the first task of the queue.
    pub async fn open(
        store: &'a Store,
        filter: Filter,
        sort: Sort,
        who: &'a str,
        is_reviewer: bool,
    ) -> Result<ReviewSession<'a>> {
        let mut session = ReviewSession {
            store,
            who,
            is_reviewer,
            filter,
            sort,
            mode: Mode::Queue,
            task: None,
            now: None,
            beside: SidePanel::Nothing,
            is_asked: false,
            scroll: 0,
            is_small: Cell::new(false),
            has_more: Cell::new(false),
            message: String::new(),
            waiting: 0,
            trail: Vec::new(),
            done: Vec::new(),
            undone: Vec::new(),
            refused: None,
        };
        session.first().await?;
        Ok(session)
    }

    /// Returns the dataset.
    pub fn store(&self) -> &'a Store {
        self.store
    }

    /// Scrolls by so many lines, no further than the text goes.
    pub fn scroll_by(&mut self, lines: i32) {
        if lines < 0 || self.has_more.get() {
            self.scroll = u16::try_from((i32::from(self.scroll) + lines).max(0)).unwrap_or(u16::MAX);
        }
    }

    /// Says what the session did, for people; `None` if it did nothing.
    pub fn summary(&self) -> Option<String> {
        let of = |what: &str| self.done.iter().filter(|done| done.what == what).count();
        let parts: Vec<String> = [
            "accepted",
            "rejected",
            "unsure",
            "edited",
            "labelled",
            "commented",
        ]
        .into_iter()
        .filter(|what| of(what) > 0)
        .map(|what| format!("{} {what}", of(what)))
        .collect();
        (!parts.is_empty()).then(|| format!("{}; {} in the queue", parts.join(", "), self.waiting()))
    }

    /// Returns the number of waiting tasks, for people.
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

    /// Shows a task.
    pub(super) async fn look_at(&mut self, id: i64) -> Result<()> {
        self.task = Some(TaskView::load(self.store, id, self.who).await?);
        self.now = None;
        self.refused = None;
        self.scroll = 0;
        self.is_asked = false;
        self.mode = Mode::Queue;
        self.neighbor(0).await?;
        self.count().await
    }

    /// Shows the `place`-th similar task beside it, if there is one.
    async fn neighbor(&mut self, place: usize) -> Result<()> {
        let id = self
            .task
            .as_ref()
            .and_then(|view| view.neighbors.get(place))
            .map(|near| near.id);
        self.beside = match id {
            Some(id) => SidePanel::Neighbor {
                place,
                instances: self.store.instances(id).await?,
            },
            None => SidePanel::Nothing,
        };
        Ok(())
    }

    /// Shows the next similar task; after the last one, the first.
    pub async fn next_neighbor(&mut self) -> Result<()> {
        let count = self.task.as_ref().map_or(0, |view| view.neighbors.len());
        let place = match &self.beside {
            // In a small terminal the first one was not seen yet.
            SidePanel::Neighbor { place, .. }
                if place + 1 < count && (self.is_asked || !self.is_small.get()) =>
            {
                place + 1
            }
            _ => 0,
        };
        self.is_asked = true;
        self.neighbor(place).await
    }

    /// Shows where the task came from, or the similar task again.
    pub async fn provenance(&mut self) -> Result<()> {
        self.is_asked = true;
        match self.beside {
            SidePanel::Provenance => self.neighbor(0).await,
            _ => {
                self.beside = SidePanel::Provenance;
                Ok(())
            }
        }
    }

    /// Goes to the first task of the queue.
    pub async fn first(&mut self) -> Result<()> {
        self.go(
            Position::Start,
            "nothing in this queue: f changes the review, c clears the words",
        )
        .await
    }

    /// Goes to the next task of the queue.
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
                self.beside = SidePanel::Nothing;
                self.message = match self.message.as_str() {
                    "" => nothing.to_owned(),
                    done => format!("{done} · {nothing}"),
                };
                self.count().await
            }
        }
    }

    /// Goes back to the task seen before, whatever became of it.
    pub async fn back(&mut self) -> Result<()> {
        match self.trail.pop() {
            Some(id) => self.look_at(id).await,
            None => {
                self.message = "that was the first one".to_owned();
                Ok(())
            }
        }
    }

    /// Accepts or rejects the task as it was seen, and goes on.
    pub async fn decide(&mut self, review: Review, note: Option<&str>) -> Result<()> {
        if let Some(verdict) = Stance::of(review).filter(|_| self.is_assigned()) {
            return self.give(verdict, note).await;
        }
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
                let what = if review == Review::Accepted {
                    "accepted"
                } else {
                    "rejected"
                };
                self.remember(change, id, what);
                self.message = format!("task {id} {review}");
                self.next().await
            }
            Err(error) => self.refuse(id, error, None).await,
        }
    }

    /// Saves the result of the editor.
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
                self.remember(change, id, "edited");
                self.look_at(id).await
            }
            Err(error @ Error::EmptyTurn { .. }) => {
                self.message = error.to_string();
                Ok(())
            }
            Err(error) => self.refuse(id, error, Some(edit)).await,
        }
    }

    /// Starts a conflict if the change was made from an older version. Other errors are returned.
    pub(super) async fn refuse(&mut self, id: i64, error: Error, edit: Option<Edit>) -> Result<()> {
        let Error::ChangedMeanwhile { .. } = error else {
            return Err(error);
        };
        self.now = Some(TaskView::load(self.store, id, self.who).await?);
        self.refused = edit;
        self.mode = Mode::Conflict;
        self.scroll = 0;
        Ok(())
    }

    /// Returns what was seen, or was to be saved: the texts of a refused edit.
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
                        let mut turns = turns::of_column(instance.turns.as_deref());
                        for edited in &text.turns {
                            let at = usize::try_from(edited.place).unwrap_or(usize::MAX);
                            if let Some(turn) = turns.get_mut(at) {
                                turn.content.clone_from(&edited.content);
                            }
                        }
                        instance.turns = Turn::list_to_column(&turns);
                    }
                }
            }
        }
        Some(view)
    }

    /// Whether the conflict is about texts that could be saved over the present ones.
    pub fn has_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Ends a conflict: takes the present state, or with `over` saves the refused texts over it.
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

    /// Searches for these words from now on; without words, for everything.
    pub async fn search(&mut self, words: &str) -> Result<()> {
        self.filter.text = (!words.trim().is_empty()).then(|| words.to_owned());
        self.mode = Mode::Queue;
        self.message.clear();
        self.first().await
    }

    /// Goes to all pending tasks: no words, whatever they were searched for.
    pub async fn clear(&mut self) -> Result<()> {
        self.filter.text = None;
        self.filter.review = Some(Review::Pending);
        self.message.clear();
        self.first().await
    }

    /// Goes to the queue of the next review: pending, accepted, rejected, any.
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

    /// Sorts the queue by the next order.
    pub async fn next_sort(&mut self) -> Result<()> {
        self.sort = match self.sort {
            Sort::Id => Sort::Newest,
            Sort::Newest => Sort::Similar,
            Sort::Similar => Sort::Longest,
            Sort::Longest => Sort::Shortest,
            Sort::Shortest => Sort::Score,
            Sort::Score => Sort::Influence,
            Sort::Influence => Sort::Helped,
            Sort::Helped => Sort::Ifd,
            Sort::Ifd | Sort::Field(_) => Sort::Id,
        };
        self.message.clear();
        self.first().await
    }
}
