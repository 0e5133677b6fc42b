//! A round that rewrites a task (Evol-Instruct, Xu et al. 2023). It asks for the rewritten task,
//! then whether that differs from its parent, then for its kind and its instances, as in a round of
//! Self-Instruct.
//!
//! A rewritten task must pass all checks of other tasks, and the elimination step.

use super::outcome::{RoundOutcome, faulty, quoted};
use super::pool::Pool;
use super::self_instruct::SelfInstructMethod;
use super::{GenerateRun, NoAnswer};
use crate::filter::{Index, Threshold, elimination};
use crate::generate::evolution::{Ancestry, Draw};
use crate::generate::parse::{self, ParsedInstruction};
use crate::generate::recipe::Evolve;
use crate::generate::recipe::evolve::EvolveStage as Stage;
use crate::prompt::evolution as prompt;
use crate::store::asked::evolution::NewEvolution;
use crate::task::{Candidate, Nearest, Origin, Reason, Review, Task, TaskRef, Verdict};

/// The constants, with the parts of the prompts that are the same in all rounds.
pub struct Evolver<'a> {
    pub constants: &'a Evolve,
    /// Stages 2 and 3.
    stages: SelfInstructMethod<'a>,
}

impl<'a> Evolver<'a> {
    /// Builds the prompts, once per run.
    pub fn new(constants: &'a Evolve, seeds: &[Task]) -> Self {
        Evolver {
            constants,
            stages: SelfInstructMethod::new(&constants.stages, seeds),
        }
    }
}

/// The task that a round rewrites.
struct Parent {
    id: i64,
    instruction: String,
}

impl GenerateRun<'_> {
    /// Runs a round up to its admission. It has at most one candidate.
    pub(super) async fn evolve(
        &self,
        evolver: &Evolver<'_>,
        draw: Draw,
        round: u64,
    ) -> Result<RoundOutcome, NoAnswer> {
        // The examples of the recipe are sampled but not used, so that other rounds show the same
        // ones whatever share of the rounds rewrites.
        let (_, within) = self.sample_examples(round);
        let operator = draw.operator;
        let Some(parent) = self.parent(draw, within, evolver.constants.generations) else {
            return Ok(RoundOutcome::default());
        };
        let outcome = |failure, candidates| RoundOutcome {
            failure,
            candidates,
            evolution: Some(NewEvolution {
                parent_task_id: parent.id,
                operator: operator.as_str(),
            }),
            grounding: None,
        };
        let stage = Stage::Evolution;
        let topic = self.config.topic(round);
        let question = prompt::rewrite(operator, &parent.instruction, topic);
        let sampling = evolver.constants.sampling(stage);
        let mut response = match self.ask(round, stage.as_str(), 0, question, sampling).await {
            Ok(response) => response,
            Err(NoAnswer::Failed(error)) => return Ok(outcome(Some(error), Vec::new())),
            Err(other) => return Err(other),
        };
        let completion = &response.completion;
        let parsed = parse::evolved(&completion.text, completion.finish_reason, operator.label());
        let own = eliminated(
            operator,
            &parent,
            &parsed,
            completion.emptiness().unwrap_or_default(),
        );
        let mut verdicts = self.check_instructions(&[(&parsed.text, own)], within);
        let mut verdict = verdicts.pop().expect("a verdict for each text");
        response.settle_by([(parsed.text.as_str(), &verdict)]);
        if verdict.is_accepted() && evolver.constants.equality {
            verdict = self.compare(evolver, round, &parent, &parsed.text).await?;
        }
        let candidate = Candidate::new(response.id, parsed.text, verdict);
        let candidate = self
            .develop(&evolver.stages, round, 0, candidate, Some(evolver.constants))
            .await?;
        Ok(outcome(None, vec![candidate]))
    }

    /// Draws the task to rewrite among the first `within` of the pool; `None` if there is none.
    fn parent(&self, draw: Draw, within: usize, generations: u64) -> Option<Parent> {
        let pool = self.pool.read().expect("no admission panicked");
        let position = draw.parent(&ancestry(&pool, within), generations)?;
        let task = &pool.entries[position];
        Some(Parent {
            id: task.id,
            instruction: task.instruction.clone(),
        })
    }

    /// Asks the model whether a rewritten task is the same as its parent.
    async fn compare(
        &self,
        evolver: &Evolver<'_>,
        round: u64,
        parent: &Parent,
        text: &str,
    ) -> Result<Verdict, NoAnswer> {
        let stage = Stage::Equality;
        let question = prompt::equality(&parent.instruction, text);
        let sampling = evolver.constants.sampling(stage);
        let mut response = match self.ask(round, stage.as_str(), 0, question, sampling).await {
            Ok(response) => response,
            Err(NoAnswer::Failed(error)) => return Ok(Verdict::rejected(Reason::RequestFailed, error)),
            Err(other) => return Err(other),
        };
        let is_same = parse::yes_or_no(&response.completion.text);
        response.settle(is_same.is_some());
        Ok(match is_same {
            Some(true) => no_gain(parent, text, "the same task in other words, the model says"),
            Some(false) => Verdict::accepted(),
            None => Verdict::rejected(Reason::UnclearEquality, quoted(&response.completion)),
        })
    }
}

/// What the draw of a parent must know of the first `within` tasks of the pool. Imports are not
/// rewritten, as they are not shown in prompts either, nor are tasks that are held out, nor
/// conversations that continue a task, whose question is that of the task.
fn ancestry(pool: &Pool, within: usize) -> Vec<Ancestry> {
    pool.entries[..within]
        .iter()
        .map(|task| Ancestry {
            id: task.id,
            parent_id: task.parent_task_id.filter(|_| !task.is_continuation),
            is_eligible: task.review != Review::Rejected
                && !task.is_continuation
                && task.origin != Origin::Import
                && !task.is_held_out,
        })
        .collect()
}

/// Checks the form of a rewritten task, and compares it with its parent and the prompt, which costs
/// no request. `empty` says why the response is empty, if it is.
fn eliminated(
    operator: prompt::Operator,
    parent: &Parent,
    parsed: &ParsedInstruction,
    empty: &str,
) -> Verdict {
    match parsed.fault {
        Some(fault) => faulty(fault, empty),
        None if elimination::same_words(&parent.instruction, &parsed.text) => {
            no_gain(parent, &parsed.text, "the same words")
        }
        None => match leak(operator, &parent.instruction, &parsed.text) {
            Some(found) => Verdict::rejected(Reason::PromptLeak, found),
            None => Verdict::accepted(),
        },
    }
}

/// Finds text of the prompt in a rewritten task: a marker, or one of the examples.
fn leak(operator: prompt::Operator, parent: &str, text: &str) -> Option<String> {
    if let Some(found) = elimination::leak(text, parent, &prompt::MARKERS) {
        return Some(format!("'{found}'"));
    }
    elimination::example(text, prompt::shown(operator))
}

/// Rejects a rewritten task that is the same as its parent.
fn no_gain(parent: &Parent, text: &str, detail: &str) -> Verdict {
    let mut pair = Index::new(Threshold::SELF_INSTRUCT);
    pair.extend(&[parent.instruction.as_str(), text]);
    Verdict {
        nearest: Some(Nearest {
            task: TaskRef::Stored(parent.id),
            rouge_l: Some(pair.score(0, 1).f1()),
        }),
        ..Verdict::rejected(Reason::NoGain, detail)
    }
}
