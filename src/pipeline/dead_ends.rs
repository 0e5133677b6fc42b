//! The errors of runs that cannot begin or go on, with their ways out.

use super::FRUITLESS_ROUNDS;
use crate::store::Store;
use crate::task::Reason;
use anyhow::{Result, anyhow};

/// Says why there are no seeds for prompts, and the way out.
pub(super) async fn without_seeds(store: &Store) -> Result<&'static str> {
    Ok(match store.held_out().await?.is_empty() {
        true => "there are no accepted seed tasks\nhint: make the database with `ewe init --seeds FILE`",
        false => {
            "all accepted seed tasks are held out, and prompts never show these\nhint: `ewe split --clear`, and a smaller \
             share of them"
        }
    })
}

/// The error that the rounds before `next` had no new task, with the reasons of their rejections
/// and the complaints about requests in vain.
pub(super) async fn nothing_new(store: &Store, next: u64, told: Option<String>) -> Result<anyhow::Error> {
    let reasons = store
        .rejections_since(next.saturating_sub(FRUITLESS_ROUNDS))
        .await?;
    let repeats = reasons
        .first()
        .is_some_and(|(reason, _)| Reason::of_code(reason) == Some(Reason::NearDuplicate));
    let mut why: Vec<String> = reasons
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    if why.is_empty() {
        why.push("there was no candidate".to_string());
    }
    let mut error = format!(
        "{FRUITLESS_ROUNDS} rounds in a row brought no new task: {}",
        why.join(", ")
    );
    if let Some(told) = told {
        error.push_str(&format!("; requests in vain: {told}"));
    }
    error.push_str(match repeats {
        true => "\nhint: the model repeats what is there; give more seeds, another --seed, or take a larger model",
        false => "\nhint: `select reason, detail, instruction from rejection` shows what it wrote; another model, recipe or --seed begins anew",
    });
    Ok(anyhow!(error))
}
