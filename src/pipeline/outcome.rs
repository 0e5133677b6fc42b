//! The outcome of a round, before it is admitted: candidates with their verdicts so far.

use super::ask::Response;
use crate::backend::Completion;
use crate::generate::parse::Fault;
use crate::store::asked::evolution::NewEvolution;
use crate::store::documents::grounding::NewGrounding;
use crate::task::{Candidate, Reason, Verdict};

/// The outcome of a round.
#[derive(Default)]
pub(super) struct RoundOutcome {
    /// The error, if the first request failed.
    pub(super) failure: Option<String>,
    pub(super) candidates: Vec<Candidate>,
    /// The task that the round rewrote, if it did.
    pub(super) evolution: Option<NewEvolution>,
    /// The passages that it asked about, if it did.
    pub(super) grounding: Option<NewGrounding>,
}

impl RoundOutcome {
    /// The outcome of a round whose first request failed.
    pub(super) fn failed(error: String) -> RoundOutcome {
        RoundOutcome {
            failure: Some(error),
            ..RoundOutcome::default()
        }
    }

    /// The outcome of a round whose first response is empty: one candidate, so that it is counted.
    pub(super) fn empty(mut response: Response<'_>) -> RoundOutcome {
        response.settle(false);
        let why = response.completion.emptiness().unwrap_or_default();
        let verdict = Verdict::rejected(Reason::EmptyAnswer, why);
        RoundOutcome {
            candidates: vec![Candidate::new(response.id, String::new(), verdict)],
            ..RoundOutcome::default()
        }
    }
}

/// Quotes an answer that is neither yes nor no, or says why it is empty.
pub(super) fn quoted(completion: &Completion) -> String {
    match completion.emptiness() {
        Some(empty) => empty.to_string(),
        None => format!("'{}'", completion.text.trim()),
    }
}

/// The verdict on a part of a response that cannot be used.
pub(super) fn faulty(fault: Fault, found: &str) -> Verdict {
    Verdict::rejected(fault.reason(), found)
}
