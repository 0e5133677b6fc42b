//! A round that rewrites a task (Evol-Instruct, Xu et al. 2023): the task, then whether it says more than the one it was
//! made of, then its kind and its instances, as in a round of Self-Instruct.
//!
//! What is made this way passes everything that other tasks pass, and the elimination step besides.

use super::outcome::{Developed, Outcome, fault_rejection, said};
use super::pool::Pool;
use super::self_instruct::SelfInstructMethod;
use super::{NoAnswer, Run};
use crate::filter::elimination::{self, NO_GAIN, PROMPT_LEAK, UNCLEAR_EQUALITY};
use crate::filter::{Index, Threshold};
use crate::generate::evolution::{Ancestry, Draw};
use crate::generate::parse;
use crate::generate::recipe::Evolve;
use crate::generate::recipe::evolve::Stage;
use crate::prompt::evolution as prompt;
use crate::store::asked::evolution::NewEvolution;
use crate::store::asked::round::{Rejection, Similar};
use crate::task::{Origin, Review, Task};

/// The constants with the parts of the prompts that are the same in all rounds.
pub struct Evolver<'a> {
    pub constants: &'a Evolve,
    /// Stages 2 and 3.
    stages: SelfInstructMethod<'a>,
}

impl<'a> Evolver<'a> {
    /// Built once a run.
    pub fn new(constants: &'a Evolve, seeds: &[Task]) -> Self {
        Evolver {
            constants,
            stages: SelfInstructMethod::new(&constants.stages, seeds),
        }
    }
}

impl Run<'_> {
    /// Runs one round up to, and not including, its admission. It has one candidate.
    pub(super) async fn evolve(
        &self,
        evolver: &Evolver<'_>,
        draw: Draw,
        round: u64,
    ) -> Result<Outcome, NoAnswer> {
        let constants = evolver.constants;
        // The tasks that the recipe would have shown are dealt and laid aside, so that other rounds show the same ones
        // whatever part of the rounds rewrites.
        let (_, within) = self.deal(round);
        let operator = draw.operator;
        let parent = {
            let pool = self.pool.read().expect("no admission panicked");
            draw.parent(&ancestry(&pool, within), constants.generations)
                .map(|position| {
                    (
                        pool.entries[position].id,
                        pool.entries[position].instruction.clone(),
                    )
                })
        };
        let Some((parent_id, parent)) = parent else {
            return Ok(Outcome::default());
        };
        let outcome = |failure, candidates| Outcome {
            failure,
            candidates,
            evolution: Some(NewEvolution {
                parent_task_id: parent_id,
                operator: operator.as_str(),
            }),
        };
        let topic = self.config.topics.of(round);
        let stage = Stage::Evolution;
        let asked = self
            .ask(
                round,
                stage.as_str(),
                0,
                prompt::rewrite(operator, &parent, topic),
                constants.sampling(stage),
            )
            .await;
        let mut answer = match asked {
            Ok(answer) => answer,
            Err(NoAnswer::Failed(error)) => return Ok(outcome(Some(error), Vec::new())),
            Err(other) => return Err(other),
        };
        let (id, completion) = (answer.id, &answer.completion);
        let parsed = parse::evolved(&completion.text, completion.finish_reason, operator.label());
        let empty = completion.emptiness();
        let no_gain = |detail: &str| no_gain(parent_id, &parent, &parsed.text, detail);
        let objection = match parsed.fault {
            Some(fault) => Some(fault_rejection(fault, empty.unwrap_or_default())),
            // What costs no request comes first.
            None if elimination::same_words(&parent, &parsed.text) => Some(no_gain("the same words")),
            None => leak(operator, &parent, &parsed.text).map(|found| Rejection::new(PROMPT_LEAK, found)),
        };
        let mut rejection = self.judge(&[(&parsed.text, objection)], within).pop().flatten();
        answer.settle_by([(parsed.text.as_str(), rejection.as_ref())]);
        if rejection.is_none() && constants.equality {
            let stage = Stage::Equality;
            let question = prompt::equality(&parent, &parsed.text);
            let asked = self
                .ask(round, stage.as_str(), 0, question, constants.sampling(stage))
                .await;
            rejection = match asked {
                Ok(mut answer) => {
                    let is_same = parse::yes_or_no(&answer.completion.text);
                    answer.settle(is_same.is_some());
                    match is_same {
                        Some(true) => Some(no_gain("the same task in other words, the model says")),
                        Some(false) => None,
                        None => Some(Rejection::new(UNCLEAR_EQUALITY, said(&answer.completion))),
                    }
                }
                Err(NoAnswer::Failed(error)) => Some(Rejection::new("request_failed", error)),
                Err(other) => return Err(other),
            };
        }
        let candidate = Developed::new(id, parsed.text, rejection);
        let candidate = self
            .develop(&evolver.stages, round, 0, candidate, Some(constants))
            .await?;
        Ok(outcome(None, vec![candidate]))
    }
}

/// What the choice of a task must know of the first `within` of the pool. Imports are not rewritten: they are not shown
/// in prompts either.
fn ancestry(pool: &Pool, within: usize) -> Vec<Ancestry> {
    pool.entries[..within]
        .iter()
        .map(|task| Ancestry {
            id: task.id,
            parent_id: task.parent_task_id,
            is_eligible: task.review != Review::Rejected && task.origin != Origin::Import,
        })
        .collect()
}

/// What of the prompt that asked for a task is in it: words of its own, or one of its examples.
fn leak(operator: prompt::Operator, parent: &str, text: &str) -> Option<String> {
    if let Some(found) = elimination::leak(text, parent, &prompt::MARKERS) {
        return Some(format!("'{found}'"));
    }
    let shown: Vec<&str> = prompt::shown(operator).collect();
    let mut examples = Index::new(Threshold::SELF_INSTRUCT);
    examples.extend(&shown);
    let found = examples.duplicate(text, shown.len())?;
    Some(format!("an example of the prompt: '{}'", shown[found.position]))
}

fn no_gain(parent_id: i64, parent: &str, text: &str, detail: &str) -> Rejection {
    let mut pair = Index::new(Threshold::SELF_INSTRUCT);
    pair.extend(&[parent, text]);
    Rejection {
        nearest: Some((Similar::Task(parent_id), pair.score(0, 1).f1())),
        ..Rejection::new(NO_GAIN, detail.to_string())
    }
}
