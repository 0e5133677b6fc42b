//! What the filter says about a task, and the candidates of a response with what it said of them.

use super::{Instance, Reason, Turn};

/// A reference to a task or to a row that will become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskRef {
    /// A task of the dataset, by its id.
    Stored(i64),
    /// The n-th instruction that the same admission accepts, from 0; it has no id yet.
    Fresh(usize),
    /// A row of a file. Files are numbered by whoever reads them, rows from 0.
    Row {
        /// The number of the file.
        file: u32,
        /// The number of the row.
        row: u32,
    },
}

impl TaskRef {
    /// Whether both belong to one dataset or one file.
    pub fn has_source_of(self, other: TaskRef) -> bool {
        match (self, other) {
            (TaskRef::Row { file, .. }, TaskRef::Row { file: other, .. }) => file == other,
            (TaskRef::Row { .. }, _) | (_, TaskRef::Row { .. }) => false,
            _ => true,
        }
    }
}

/// The task that another one is most similar to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest {
    /// The similar task.
    pub task: TaskRef,
    /// ROUGE-L F1 of the two, from 0 to 1; `None` if they were matched by other means.
    pub rouge_l: Option<f64>,
}

/// Accepted, or rejected for a reason. By default accepted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// Why it is rejected; `None` if it is accepted.
    pub reason: Option<Reason>,
    /// What exactly was found; empty where the reason says everything.
    pub detail: String,
    /// The task that it was compared with. Rejections by similarity have it, and all verdicts of a
    /// filter that was asked for the nearest task of each.
    pub nearest: Option<Nearest>,
}

impl Verdict {
    /// No objection.
    pub fn accepted() -> Verdict {
        Verdict::default()
    }

    /// A rejection that names no other task.
    pub fn rejected(reason: Reason, detail: impl Into<String>) -> Verdict {
        Verdict {
            reason: Some(reason),
            detail: detail.into(),
            nearest: None,
        }
    }

    /// A rejection for its similarity to another task.
    pub fn near_duplicate(task: TaskRef, rouge_l: f64) -> Verdict {
        Verdict {
            reason: Some(Reason::NearDuplicate),
            detail: String::new(),
            nearest: Some(Nearest {
                task,
                rouge_l: Some(rouge_l),
            }),
        }
    }

    /// Whether it accepts.
    pub fn is_accepted(&self) -> bool {
        self.reason.is_none()
    }

    /// Whether it rejects.
    pub fn is_rejected(&self) -> bool {
        self.reason.is_some()
    }

    /// This verdict if it rejects, else the next one.
    pub fn or_else(self, next: impl FnOnce() -> Verdict) -> Verdict {
        match self.reason {
            Some(_) => self,
            None => next(),
        }
    }

    /// Whether an instruction with this verdict counts as new: see [`Reason::is_new`].
    pub fn is_new(&self) -> Option<bool> {
        self.reason.map_or(Some(true), Reason::is_new)
    }

    /// The word in the database and in JSON: `accepted` or `rejected`.
    pub fn as_str(&self) -> &'static str {
        match self.reason {
            Some(_) => "rejected",
            None => "accepted",
        }
    }
}

/// An instruction that was parsed from a response, with its instances and its verdict.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The response that it was parsed from: `request.id`.
    pub request_id: i64,
    /// The text.
    pub instruction: String,
    /// What the model said; false where it was not asked.
    pub is_classification: bool,
    /// The verdict so far.
    pub verdict: Verdict,
    /// Its instances, in the order of the response; of a conversation, the questions behind the
    /// first one with their answers.
    pub instances: Vec<InstanceCandidate>,
    /// What its instances continue, if they are turns of a conversation.
    pub opening: Option<Opening>,
}

/// The beginning of a conversation, behind its first question: what a task that is continued has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opening {
    /// The system message.
    pub system: Option<String>,
    /// The first input and the first answer.
    pub first: Instance,
}

/// An instance that was parsed from a response, with its verdict.
#[derive(Debug, Clone)]
pub struct InstanceCandidate {
    /// The response that it was parsed from: `request.id`.
    pub request_id: i64,
    /// Input and output.
    pub instance: Instance,
    /// The verdict so far.
    pub verdict: Verdict,
}

impl Candidate {
    /// An instruction without instances.
    pub fn new(request_id: i64, instruction: String, verdict: Verdict) -> Candidate {
        Candidate {
            request_id,
            instruction,
            is_classification: false,
            verdict,
            instances: Vec::new(),
            opening: None,
        }
    }

    /// The instances of the task that an accepted candidate becomes, each with the messages that
    /// follow its answer: its accepted instances, or one conversation.
    pub fn task_instances(&self) -> Vec<(&Instance, Vec<Turn>)> {
        let accepted = self
            .instances
            .iter()
            .filter(|instance| instance.verdict.is_accepted())
            .map(|instance| &instance.instance);
        let Some(opening) = &self.opening else {
            return accepted.map(|instance| (instance, Vec::new())).collect();
        };
        let turns = accepted.flat_map(|turn| {
            [(Turn::USER, &turn.input), (Turn::ASSISTANT, &turn.output)]
                .map(|(role, text)| Turn::new(role, text.as_str()))
        });
        vec![(&opening.first, turns.collect())]
    }

    /// The verdict that explains this one: that of a rejected instance, if an instance is the
    /// cause.
    pub fn cause(&self) -> &Verdict {
        if self.verdict.is_accepted() {
            return &self.verdict;
        }
        let mut of_instances = self.instances.iter().map(|instance| &instance.verdict);
        of_instances
            .find(|verdict| verdict.is_rejected())
            .unwrap_or(&self.verdict)
    }
}
