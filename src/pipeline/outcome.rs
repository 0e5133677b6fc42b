//! What a round brought, before it is admitted: candidates, and what speaks against them.

use super::ask::Answer;
use crate::backend::Completion;
use crate::filter::Score;
use crate::filter::rules::Objection;
use crate::filter::screen::NEAR_DUPLICATE;
use crate::generate::parse::Fault;
use crate::store::asked::evolution::NewEvolution;
use crate::store::asked::round::{AdmittedInstance, Rejection, Similar};

/// The reason of what stands for an answer without text.
const EMPTY_ANSWER: &str = "empty_answer";

/// What a round brought, before it is admitted.
#[derive(Default)]
pub(super) struct Outcome {
    /// Why its first request could not be asked.
    pub(super) failure: Option<String>,
    pub(super) candidates: Vec<Developed>,
    /// Which task it rewrote.
    pub(super) evolution: Option<NewEvolution>,
}

impl Outcome {
    /// Of a round whose first request failed.
    pub(super) fn failed(error: String) -> Outcome {
        Outcome {
            failure: Some(error),
            ..Outcome::default()
        }
    }

    /// Of a round whose first answer has nothing in it: one candidate, so that it is counted.
    pub(super) fn empty(mut answer: Answer<'_>) -> Outcome {
        answer.settle(false);
        let why = answer.completion.emptiness().unwrap_or_default().to_string();
        let rejection = Rejection::new(EMPTY_ANSWER, why);
        Outcome {
            candidates: vec![Developed::new(answer.id, String::new(), Some(rejection))],
            ..Outcome::default()
        }
    }
}

/// What an answer was worth, by what became of the texts in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Worth<'a> {
    /// Some are good, or would be if they were not there already.
    Usable,
    /// None has the form that was asked for.
    Unreadable,
    /// Rules speak against all: the most frequent one, and the first text that it turned away.
    TurnedAway { rule: &'a str, text: &'a str },
}

impl<'a> Worth<'a> {
    /// Of an answer with these texts, by what speaks against each.
    pub(super) fn of(offers: impl IntoIterator<Item = (&'a str, Option<&'a Rejection>)>) -> Worth<'a> {
        let mut against: Vec<(u64, &str, &str)> = Vec::new();
        for (text, rejection) in offers {
            let Some(rejection) = rejection.filter(|rejection| rejection.nearest.is_none()) else {
                return Worth::Usable;
            };
            let rule = rejection.reason.as_str();
            if [Fault::Truncated, Fault::Unparsed]
                .map(Fault::reason)
                .contains(&rule)
            {
                continue;
            }
            match against.iter_mut().find(|(_, other, _)| *other == rule) {
                Some((count, ..)) => *count += 1,
                None => against.push((1, rule, text)),
            }
        }
        // Of several that are as frequent the last one found counts as the greatest.
        let most = against.into_iter().rev().max_by_key(|(count, ..)| *count);
        most.map_or(Worth::Unreadable, |(_, rule, text)| Worth::TurnedAway {
            rule,
            text,
        })
    }
}

/// An instruction with its instances.
pub(super) struct Developed {
    pub(super) request_id: i64,
    pub(super) text: String,
    pub(super) is_classification: bool,
    pub(super) rejection: Option<Rejection>,
    pub(super) instances: Vec<AdmittedInstance>,
}

impl Developed {
    /// An instruction as it was parsed.
    pub(super) fn new(request_id: i64, text: String, rejection: Option<Rejection>) -> Developed {
        Developed {
            request_id,
            text,
            is_classification: false,
            rejection,
            instances: Vec::new(),
        }
    }

    /// What speaks against it: what speaks against its instance, where that is why it is turned away.
    pub(super) fn objection(&self) -> Option<&Rejection> {
        let own = self.rejection.as_ref()?;
        let of_instances = self
            .instances
            .iter()
            .find_map(|instance| instance.rejection.as_ref());
        Some(of_instances.unwrap_or(own))
    }
}

impl From<Objection> for Rejection {
    fn from(objection: Objection) -> Self {
        Rejection::new(objection.reason, objection.detail)
    }
}

/// What an answer says that says neither yes nor no, or why it says nothing.
pub(super) fn said(completion: &Completion) -> String {
    match completion.emptiness() {
        Some(empty) => empty.to_string(),
        None => format!("'{}'", completion.text.trim()),
    }
}

pub(super) fn fault_rejection(fault: Fault, found: &str) -> Rejection {
    Rejection::new(fault.reason(), found.to_string())
}

pub(super) fn near_duplicate(similar: Similar, score: Score) -> Rejection {
    Rejection {
        reason: NEAR_DUPLICATE.into(),
        detail: String::new(),
        nearest: Some((similar, score.f1())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_already_is_of_use_and_what_rules_turn_away_is_not() {
        let rejections =
            ["bold", "short", "unparsed", "bold"].map(|rule| Rejection::new(rule, String::new()));
        let [bold, short, unparsed, bold_too] = &rejections;
        let near = Rejection {
            nearest: Some((Similar::Task(1), 0.9)),
            ..Rejection::new(NEAR_DUPLICATE, String::new())
        };
        let of = |offers: &[(&'static str, Option<&Rejection>)]| match Worth::of(offers.iter().copied()) {
            Worth::Usable => "usable".to_string(),
            Worth::Unreadable => "unreadable".to_string(),
            Worth::TurnedAway { rule, text } => format!("{rule}: {text}"),
        };
        assert_eq!(of(&[("a", Some(bold)), ("b", None)]), "usable");
        assert_eq!(of(&[("a", Some(bold)), ("b", Some(&near))]), "usable");
        assert_eq!(of(&[]), "unreadable");
        assert_eq!(of(&[("a", Some(unparsed)), ("b", Some(unparsed))]), "unreadable");
        assert_eq!(of(&[("a", Some(unparsed)), ("b", Some(short))]), "short: b");
        assert_eq!(of(&[("a", Some(short)), ("b", Some(bold))]), "short: a");
        let most = [("a", Some(short)), ("b", Some(bold)), ("c", Some(bold_too))];
        assert_eq!(of(&most), "bold: b");
    }
}
