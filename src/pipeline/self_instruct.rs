//! A round of Self-Instruct: instructions, then the kind and the instances of each one that the
//! filter accepts.

use super::ask::Response;
use super::outcome::{RoundOutcome, faulty, quoted};
use super::{GenerateRun, NoAnswer};
use crate::filter::elimination;
use crate::generate::parse::{self, ParsedInstance};
use crate::generate::recipe::self_instruct::SelfInstructStage as Stage;
use crate::generate::recipe::{Evolve, SelfInstruct};
use crate::prompt::self_instruct::{self, Classification, InputFirst, OutputFirst};
use crate::task::{Candidate, Instance, InstanceCandidate, Reason, Task, Verdict};

/// The recipe, with the parts of its prompts that are the same in all rounds.
pub struct SelfInstructMethod<'a> {
    recipe: &'a SelfInstruct,
    /// Stage 2.
    classification: Classification,
    /// Stage 3 of most tasks.
    input_first: InputFirst,
    /// Stage 3 of classification tasks.
    output_first: OutputFirst,
}

impl<'a> SelfInstructMethod<'a> {
    /// Builds the prompts, once per run.
    pub fn new(recipe: &'a SelfInstruct, seeds: &[Task]) -> Self {
        SelfInstructMethod {
            recipe,
            classification: Classification::from_seeds(seeds, recipe.yes_examples, recipe.no_examples),
            input_first: InputFirst::from_seeds(seeds, recipe.input_first_examples, recipe.with_input),
            output_first: OutputFirst::from_seeds(seeds, recipe.output_first_examples),
        }
    }
}

impl GenerateRun<'_> {
    /// Runs a round up to its admission.
    pub(super) async fn self_instruct(
        &self,
        method: &SelfInstructMethod<'_>,
        round: u64,
    ) -> Result<RoundOutcome, NoAnswer> {
        let (shown, within) = self.sample_examples(round);
        let prompt = {
            let pool = self.pool.read().expect("no admission panicked");
            let instructions: Vec<&str> = shown
                .iter()
                .map(|&i| pool.entries[i].instruction.as_str())
                .collect();
            self_instruct::new_instructions(&instructions, method.recipe.wanted, self.config.topic(round))
        };
        let stage = Stage::Instructions;
        let sampling = method.recipe.sampling(stage, shown.len());
        let mut response = match self.ask(round, stage.as_str(), 0, prompt, sampling).await {
            Ok(response) => response,
            Err(NoAnswer::Failed(error)) => return Ok(RoundOutcome::failed(error)),
            Err(other) => return Err(other),
        };
        if response.completion.emptiness().is_some() {
            return Ok(RoundOutcome::empty(response));
        }
        let (id, completion) = (response.id, &response.completion);
        let parsed = parse::instructions(&completion.text, completion.finish_reason, shown.len() + 1);
        let texts: Vec<_> = parsed
            .iter()
            .map(|parsed| {
                let fault = parsed.fault.map(|fault| faulty(fault, ""));
                (parsed.text.as_str(), fault.unwrap_or_default())
            })
            .collect();
        let verdicts = self.check_instructions(&texts, within);
        let offers = texts.iter().zip(&verdicts);
        response.settle_by(offers.map(|((text, _), verdict)| (*text, verdict)));
        let candidates = parsed
            .into_iter()
            .zip(verdicts)
            .enumerate()
            .map(|(ordinal, (parsed, verdict))| {
                let candidate = Candidate::new(id, parsed.text, verdict);
                self.develop(method, round, ordinal, candidate, None)
            });
        let candidates = futures::future::join_all(candidates)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        Ok(RoundOutcome {
            candidates,
            ..RoundOutcome::default()
        })
    }

    /// Asks for the kind and the instances of an instruction (stages 2 and 3), unless it is
    /// rejected. Answers to a rewritten instruction pass the elimination step of `evolve` before
    /// the rules.
    pub(super) async fn develop(
        &self,
        method: &SelfInstructMethod<'_>,
        round: u64,
        ordinal: usize,
        mut candidate: Candidate,
        evolve: Option<&Evolve>,
    ) -> Result<Candidate, NoAnswer> {
        if candidate.verdict.is_rejected() {
            return Ok(candidate);
        }
        match self
            .classify(method, round, ordinal, &candidate.instruction)
            .await?
        {
            Ok(is_classification) => candidate.is_classification = is_classification,
            Err(rejected) => {
                candidate.verdict = rejected;
                return Ok(candidate);
            }
        }
        let instruction = candidate.instruction.as_str();
        let (stage, prompt) = match candidate.is_classification {
            true => (Stage::OutputFirst, method.output_first.prompt(instruction)),
            false => (Stage::InputFirst, method.input_first.prompt(instruction)),
        };
        let sampling = method.recipe.sampling(stage, 0);
        let mut response = match self.ask(round, stage.as_str(), ordinal, prompt, sampling).await {
            Ok(response) => response,
            Err(NoAnswer::Failed(error)) => {
                candidate.verdict = Verdict::rejected(Reason::RequestFailed, error);
                return Ok(candidate);
            }
            Err(other) => return Err(other),
        };
        candidate.instances = self.instances(&candidate, &response, evolve);
        let offers = candidate.instances.iter();
        response.settle_by(offers.map(|offer| (offer.instance.output.as_str(), &offer.verdict)));
        if candidate
            .instances
            .iter()
            .all(|instance| instance.verdict.is_rejected())
        {
            let detail = response.completion.emptiness().unwrap_or_default();
            candidate.verdict = Verdict::rejected(Reason::NoValidInstance, detail);
        }
        Ok(candidate)
    }

    /// Asks whether an instruction is a classification task (stage 2). The inner error is the
    /// verdict on an instruction without a clear answer.
    async fn classify(
        &self,
        method: &SelfInstructMethod<'_>,
        round: u64,
        ordinal: usize,
        instruction: &str,
    ) -> Result<Result<bool, Verdict>, NoAnswer> {
        let stage = Stage::Classification;
        let prompt = method.classification.prompt(instruction);
        let sampling = method.recipe.sampling(stage, 0);
        let mut response = match self.ask(round, stage.as_str(), ordinal, prompt, sampling).await {
            Ok(response) => response,
            Err(NoAnswer::Failed(error)) => {
                return Ok(Err(Verdict::rejected(Reason::RequestFailed, error)));
            }
            Err(other) => return Err(other),
        };
        let label = parse::yes_or_no(&response.completion.text);
        response.settle(label.is_some());
        Ok(label.ok_or_else(|| Verdict::rejected(Reason::UnclearLabel, quoted(&response.completion))))
    }

    /// Parses the instances of stage 3 and checks them: the form first, then the elimination step
    /// of a rewritten instruction, then the rules.
    fn instances(
        &self,
        candidate: &Candidate,
        response: &Response<'_>,
        evolve: Option<&Evolve>,
    ) -> Vec<InstanceCandidate> {
        let (completion, instruction) = (&response.completion, candidate.instruction.as_str());
        let parsed = match candidate.is_classification {
            true => parse::output_first(&completion.text, completion.finish_reason),
            false => parse::input_first(&completion.text, completion.finish_reason),
        };
        let eliminate = |instance: &ParsedInstance| match (instance.fault, evolve) {
            (Some(fault), _) => faulty(fault, ""),
            (None, Some(evolve)) => elimination::check_answer(
                instruction,
                candidate.is_classification,
                &instance.instance.output,
                evolve.refusal_words,
            ),
            (None, None) => Verdict::accepted(),
        };
        let verdicts: Vec<Verdict> = parsed.iter().map(eliminate).collect();
        let left: Vec<Instance> = parsed
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| verdict.is_accepted())
            .map(|(parsed, _)| parsed.instance.clone())
            .collect();
        let mut by_rules = self.config.rules.check_instances(instruction, &left).into_iter();
        parsed
            .into_iter()
            .zip(verdicts)
            .map(|(parsed, verdict)| InstanceCandidate {
                request_id: response.id,
                instance: parsed.instance,
                verdict: verdict.or_else(|| by_rules.next().expect("a verdict for each instance")),
            })
            .collect()
    }
}
