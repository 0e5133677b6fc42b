//! What a run of `generate` takes over from earlier runs with the same settings.

use super::FRUITLESS_ROUNDS;
use super::novelty::{self, Novelty};
use crate::store::Store;
use anyhow::Result;

/// The state in which the latest runs with the same model and settings left the dataset. Novelty
/// and rounds without a new task are counted over them together; another model or other settings
/// begin again.
pub(super) struct PastRuns {
    /// The number of the next round.
    pub next_round: u64,
    /// The number of last rounds without a new task.
    pub fruitless: u64,
    pub novelty: Novelty,
}

impl PastRuns {
    /// Loads the state for a run with these settings, as the store keeps them, and this model.
    pub async fn load(store: &Store, settings: &serde_json::Value, model: &str) -> Result<PastRuns> {
        let next_round = store.next_round().await?;
        let since = first_alike(store, settings, model).await?;
        Ok(PastRuns {
            next_round,
            novelty: Novelty::after(store.last_novelties(novelty::SPAN, since).await?),
            fruitless: store.fruitless_rounds(FRUITLESS_ROUNDS, since).await?,
        })
    }
}

/// The id of the first of the latest runs that, in a row, had this model and these settings, all
/// but limits; `i64::MAX` if the latest run differs.
async fn first_alike(store: &Store, settings: &serde_json::Value, model: &str) -> Result<i64> {
    let now = what_decides(settings.clone());
    let runs = store.runs_of("generate").await?.into_iter();
    let alike = runs.take_while(|(_, settings, of)| {
        of.as_deref() == Some(model) && what_decides(settings.clone()) == now
    });
    Ok(alike.last().map_or(i64::MAX, |(id, ..)| id))
}

/// The settings that decide what the model writes: all but when to stop, and how many rounds run
/// side by side.
fn what_decides(mut settings: serde_json::Value) -> serde_json::Value {
    if let Some(settings) = settings.as_object_mut() {
        settings.retain(|name, _| !matches!(name.as_str(), "target" | "budget" | "min_novelty" | "window"));
    }
    settings
}
