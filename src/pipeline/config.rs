//! The settings of a run of `generate`.

use super::budget::Budget;
use crate::filter::rules::RuleSet;
use crate::filter::{Threshold, elimination, grounding, turns};
use crate::generate::recipe::{Evolve, Recipe, Turns};
use crate::generate::round::Part;
use crate::generate::topics::Topics;
use crate::task::Reason;
use crate::validator::ValidatorConfig;
use anyhow::Result;

/// The settings of a run. The store keeps them as JSON under the names of the fields.
#[derive(Debug, Clone, serde::Serialize)]
pub struct GenerateConfig {
    /// Machine-made tasks that the dataset shall have.
    pub target: u64,
    /// The seed of all randomness.
    pub seed: u64,
    /// The part of the seed's random numbers that this machine draws from.
    #[serde(skip_serializing_if = "Part::is_whole")]
    pub part: Part,
    /// Rounds that run side by side.
    pub window: u64,
    /// ROUGE-L F1 above which two instructions are near-duplicates.
    #[serde(serialize_with = "as_text")]
    pub threshold: Threshold,
    /// The rules for each task.
    pub rules: RuleSet,
    /// Limits of the run.
    pub budget: Budget,
    /// The run stops if a smaller share of the instructions that the rules accept is new, from 0 to
    /// 1.
    pub min_novelty: f64,
    /// Prompts and sampling.
    pub recipe: Recipe,
    /// Which rounds rewrite a task instead, and how; `None` if none does.
    pub evolve: Option<Evolve>,
    /// To how many turns tasks are continued, and how; `None` if none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<Turns>,
    /// Topics of the rounds.
    pub topics: Topics,
    /// A program of the user's that accepts or rejects instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validator: Option<ValidatorConfig>,
}

impl GenerateConfig {
    /// The topic of a round; `None` without topics.
    pub(super) fn topic(&self, round: u64) -> Option<&str> {
        self.topics.of(self.part.place(round))
    }

    /// The settings as the store keeps them, with the reasons for which they may reject a
    /// candidate.
    pub(super) fn to_json(&self) -> Result<serde_json::Value> {
        let mut json = serde_json::to_value(self)?;
        let mut reasons = self.rules.reasons();
        let further = [
            (true, &[Reason::NearDuplicate][..]),
            (self.evolve.is_some(), &elimination::REASONS),
            (self.turns.is_some(), &turns::REASONS),
            (self.recipe.is_grounded(), &grounding::REASONS),
            (self.recipe.is_grounded(), &[Reason::PromptLeak]),
            (
                self.validator.is_some(),
                &[Reason::Validator, Reason::ValidatorFailed],
            ),
        ];
        for &reason in further
            .iter()
            .filter(|(is_on, _)| *is_on)
            .flat_map(|(_, more)| *more)
        {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        json["reasons"] = serde_json::to_value(reasons)?;
        Ok(json)
    }
}

fn as_text<S: serde::Serializer>(threshold: &Threshold, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(threshold)
}
