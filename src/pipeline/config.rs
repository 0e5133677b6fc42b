//! The settings of a run, and which earlier runs had the same.

use super::budget::Budget;
use crate::filter::rules::RuleSet;
use crate::filter::screen::NEAR_DUPLICATE;
use crate::filter::{Threshold, elimination};
use crate::generate::recipe::{Evolve, Recipe};
use crate::generate::topics::Topics;
use crate::store::Store;
use anyhow::Result;

/// Settings of a run.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Config {
    /// Accepted machine-made tasks that the dataset shall have.
    pub target: u64,
    /// Seeds all randomness.
    pub seed: u64,
    /// Rounds that run side by side.
    pub window: u64,
    /// ROUGE-L F1 above which two instructions are the same.
    #[serde(serialize_with = "as_text")]
    pub threshold: Threshold,
    /// What a single task must satisfy.
    pub rules: RuleSet,
    /// Stop when this is spent.
    pub budget: Budget,
    /// Stop when a smaller part of the instructions that the rules let through is new, 0 to 1.
    pub min_novelty: f64,
    /// Prompts and sampling.
    pub recipe: Recipe,
    /// Which rounds rewrite a task in place of the recipe's round, and how; none does where this is missing.
    pub evolve: Option<Evolve>,
    /// What the tasks of a round shall have to do with.
    pub topics: Topics,
}

impl Config {
    /// What the store keeps: the settings, and the reasons for which they may turn a candidate away.
    pub(super) fn to_json(&self) -> Result<serde_json::Value> {
        let mut json = serde_json::to_value(self)?;
        let mut reasons = self.rules.reasons();
        reasons.push(NEAR_DUPLICATE);
        if self.evolve.is_some() {
            reasons.extend(elimination::REASONS);
        }
        json["reasons"] = reasons.into();
        Ok(json)
    }
}

fn as_text<S: serde::Serializer>(threshold: &Threshold, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(threshold)
}

/// What of a configuration, as the store keeps it, decides about what is written: all but when to stop, and how many rounds run
/// side by side.
fn voice(mut config: serde_json::Value) -> serde_json::Value {
    if let Some(settings) = config.as_object_mut() {
        settings.retain(|name, _| !matches!(name.as_str(), "target" | "budget" | "min_novelty" | "window"));
    }
    config
}

/// The first of the runs at the end that all were told the same. What is to be said about a run that goes on is said of them
/// together; a run with another model or other settings begins anew.
pub(super) async fn first_alike(store: &Store, config: &serde_json::Value, model: &str) -> Result<i64> {
    let voice_now = voice(config.clone());
    let runs = store.runs_of("generate").await?.into_iter();
    let alike =
        runs.take_while(|(_, config, of)| of.as_deref() == Some(model) && voice(config.clone()) == voice_now);
    Ok(alike.last().map_or(i64::MAX, |(id, ..)| id))
}
