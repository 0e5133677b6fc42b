//! The end of a run with batch files: the requests that wait for answers go into the batch file.

use super::Ending;
use super::budget::{Budget, Spent};
use crate::atomic_file;
use crate::client::batch_backend::{BatchBackend, Counts, Written};
use crate::store::Store;
use anyhow::Result;

/// The result of a run with batch files.
#[derive(Debug)]
pub struct BatchSummary {
    /// The name of the batch file.
    pub out: String,
    /// The requests that were written.
    pub written: Written,
    /// The most that they cost, if tokens have a price.
    pub cost: Option<f64>,
    /// Waiting requests beyond `--max-requests`, which were not written.
    pub held_back: u64,
    /// Counts of the results that were read.
    pub counts: Counts,
    /// Answers to requests of neither this run nor an earlier one.
    pub unknown: u64,
    /// Lines of the results that are damaged.
    pub damaged: Vec<String>,
}

/// Ends a run with batch files: writes the waiting requests, given by their content keys, to the
/// batch file, or removes a file of which no request waits any more. A waiting run whose budget is
/// spent ends for that reason.
pub(super) async fn finish(
    store: &Store,
    batch: &BatchBackend,
    ending: &mut Ending,
    waiting: &[String],
    budget: &Budget,
) -> Result<BatchSummary> {
    let mut sent = waiting;
    if *ending != Ending::Waiting {
        sent = &[];
    } else if let Some(spent) = spent_on_results(batch, budget) {
        *ending = Ending::Budget(spent);
        sent = &[];
    }
    let written = batch.write(sent, budget.requests)?;
    let mut unknown = 0;
    for id in batch.unclaimed() {
        unknown += u64::from(store.answer(id).await?.is_none());
    }
    Ok(BatchSummary {
        out: match atomic_file::is_stdout(batch.out()) {
            true => "standard output".to_owned(),
            false => batch.out().display().to_string(),
        },
        written,
        cost: Some(budget.price.of(prompt_tokens(&written), written.most_tokens)).filter(|cost| *cost > 0.0),
        held_back: sent.len() as u64 - written.requests,
        counts: batch.counts(),
        unknown,
        damaged: batch.damaged().to_vec(),
    })
}

/// About how many tokens the prompts have: four bytes of English are one.
pub fn prompt_tokens(written: &Written) -> u64 {
    written.prompt_bytes / 4
}

/// The limit of the budget that the results have reached. All results count, committed or not, so
/// that the same command ends in the same way when it is repeated.
fn spent_on_results(batch: &BatchBackend, budget: &Budget) -> Option<Spent> {
    let counts = batch.counts();
    let tokens = counts.prompt_tokens + counts.completion_tokens;
    if budget.tokens.is_some_and(|most| tokens >= most) {
        return Some(Spent::Tokens);
    }
    let cost = budget.price.of(counts.prompt_tokens, counts.completion_tokens);
    budget
        .money
        .is_some_and(|most| cost >= most)
        .then_some(Spent::Money)
}
