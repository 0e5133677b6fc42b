//! A reviewer's session, `ewe review --as NAME`: opinions on tasks of the reviewer's, and comments,
//! which everybody writes.

use ratatui::text::Line;

use super::session::{Mode, ReviewSession};
use crate::curate::view::TaskView;
use crate::store::teams::assignment::Chosen;
use crate::store::teams::opinion::{Given, NewOpinion};
use crate::store::{Error, Result};
use crate::task::Stance;
use crate::text::clean;

impl ReviewSession<'_> {
    /// Whether a decision on the present task is an opinion: it is the reviewer's.
    pub(super) fn is_assigned(&self) -> bool {
        let of = |view: &TaskView| {
            view.assigned
                .iter()
                .any(|one| one.reviewer.eq_ignore_ascii_case(self.who))
        };
        self.is_reviewer && self.task.as_ref().is_some_and(of)
    }

    /// Begins to say that somebody else has to decide.
    pub fn begin_unsure(&mut self) {
        match self.is_assigned() {
            true => self.mode = Mode::Unsure(String::new()),
            false => {
                self.message = match self.is_reviewer {
                    true => format!("this task is not assigned to {}", line(self.who)),
                    false => "only reviewers are unsure: `ewe review --as NAME`".to_owned(),
                }
            }
        }
    }

    /// Gives the reviewer's opinion of the task as it was seen, and goes on.
    pub async fn give(&mut self, verdict: Stance, note: Option<&str>) -> Result<()> {
        let Some(view) = &self.task else {
            return Ok(());
        };
        let (id, version) = (view.task.id, view.version);
        let new = NewOpinion {
            reviewer: self.who,
            verdict,
            note,
        };
        let ids = [id];
        let given = self
            .store()
            .give_opinion(Chosen::Ids(&ids), None, Some(version), &new)
            .await;
        self.mode = Mode::Queue;
        match given {
            Ok(given) => {
                self.remember(given.map(|given| given.change), id, verdict.as_str());
                self.message = format!("task {id}: {verdict}{}", outcome(given.as_ref()));
                self.next().await
            }
            Err(Error::Team(error)) => {
                self.message = error.to_string().lines().next().unwrap_or_default().to_owned();
                Ok(())
            }
            Err(error) => self.refuse(id, error, None).await,
        }
    }

    /// Writes a comment beside the task; nothing if it is empty.
    pub async fn comment(&mut self, text: &str) -> Result<()> {
        self.mode = Mode::Queue;
        let Some(id) = self.task.as_ref().map(|view| view.task.id) else {
            return Ok(());
        };
        if text.trim().is_empty() {
            self.message = "nothing was written".to_owned();
            return Ok(());
        }
        match self.store().comment(&[id], self.who, text).await {
            Ok(change) => {
                self.remember(change, id, "commented");
                self.look_at(id).await?;
                self.message = format!("task {id} commented");
                Ok(())
            }
            Err(Error::Team(error)) => {
                self.message = error.to_string().lines().next().unwrap_or_default().to_owned();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Puts a text on one line and cleans it.
pub(super) fn line(text: &str) -> String {
    clean(text).replace(['\n', '\t'], " ")
}

/// Says what an opinion decided.
fn outcome(given: Option<&Given>) -> &'static str {
    match given {
        None => ", as before",
        Some(given) if given.accepted > 0 => "; all reviewers accept it",
        Some(given) if given.rejected > 0 => "; all reviewers reject it",
        Some(given) if given.disagreements > 0 => "; the reviewers do not agree on it",
        Some(_) => "",
    }
}

/// Lays out whom a task is assigned to, and what they said, and the comments.
pub(super) fn beside(view: &TaskView) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for one in &view.assigned {
        lines.push(Line::from(format!(
            "{}: {}",
            line(&one.reviewer),
            line(&one.said())
        )));
    }
    for comment in &view.comments {
        let (author, text) = (line(&comment.author), line(&comment.text));
        lines.push(Line::from(format!("comment by {author}: {text}")));
    }
    if !lines.is_empty() {
        lines.push(Line::default());
    }
    lines
}
