//! A round of Self-Instruct: instructions, then for each that the filter lets through its kind and its instances.

use super::outcome::{Developed, Outcome, fault_rejection, said};
use super::{NoAnswer, Run};
use crate::filter::elimination::answer as answer_objection;
use crate::generate::parse;
use crate::generate::recipe::self_instruct::Stage;
use crate::generate::recipe::{Evolve, SelfInstruct};
use crate::prompt::few_shot::{self, Classification, InputFirst, OutputFirst};
use crate::store::asked::round::{AdmittedInstance, Rejection};
use crate::task::Task;

/// The recipe with the parts of its prompts that are the same in all rounds.
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
    /// Built once a run.
    pub fn new(recipe: &'a SelfInstruct, seeds: &[Task]) -> Self {
        SelfInstructMethod {
            recipe,
            classification: Classification::from_seeds(seeds, recipe.yes_examples, recipe.no_examples),
            input_first: InputFirst::from_seeds(seeds, recipe.input_first_examples, recipe.with_input),
            output_first: OutputFirst::from_seeds(seeds, recipe.output_first_examples),
        }
    }
}

impl Run<'_> {
    /// Runs one round up to, and not including, its admission.
    pub(super) async fn self_instruct(
        &self,
        method: &SelfInstructMethod<'_>,
        round: u64,
    ) -> Result<Outcome, NoAnswer> {
        let (dealt, within) = self.deal(round);
        let prompt = {
            let pool = self.pool.read().expect("no admission panicked");
            let shown: Vec<&str> = dealt
                .iter()
                .map(|&i| pool.entries[i].instruction.as_str())
                .collect();
            few_shot::new_instructions(&shown, method.recipe.wanted, self.config.topics.of(round))
        };
        let stage = Stage::Instructions;
        let sampling = method.recipe.sampling(stage, dealt.len());
        let mut answer = match self.ask(round, stage.as_str(), 0, prompt, sampling).await {
            Ok(answer) => answer,
            Err(NoAnswer::Failed(error)) => return Ok(Outcome::failed(error)),
            Err(other) => return Err(other),
        };
        if answer.completion.emptiness().is_some() {
            return Ok(Outcome::empty(answer));
        }
        let (id, completion) = (answer.id, &answer.completion);
        let parsed = parse::instructions(&completion.text, completion.finish_reason, dealt.len() + 1);
        let texts: Vec<_> = parsed
            .iter()
            .map(|parsed| {
                (
                    parsed.text.as_str(),
                    parsed.fault.map(|fault| fault_rejection(fault, "")),
                )
            })
            .collect();
        let verdicts = self.judge(&texts, within);
        let offers = texts.iter().zip(&verdicts);
        answer.settle_by(offers.map(|((text, _), verdict)| (*text, verdict.as_ref())));
        let candidates = parsed
            .into_iter()
            .zip(verdicts)
            .enumerate()
            .map(|(ordinal, (parsed, verdict))| {
                let candidate = Developed::new(id, parsed.text, verdict);
                self.develop(method, round, ordinal, candidate, None)
            });
        let candidates = futures::future::join_all(candidates)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Outcome {
            candidates,
            ..Outcome::default()
        })
    }

    /// Stages 2 and 3 of one instruction, unless it is rejected already. Of an instruction that was made of another, the
    /// answers pass the elimination step before the rules.
    pub(super) async fn develop(
        &self,
        method: &SelfInstructMethod<'_>,
        round: u64,
        ordinal: usize,
        mut developed: Developed,
        evolve: Option<&Evolve>,
    ) -> Result<Developed, NoAnswer> {
        if developed.rejection.is_some() {
            return Ok(developed);
        }
        let text = &developed.text;
        let asked = self
            .ask(
                round,
                Stage::Classification.as_str(),
                ordinal,
                method.classification.prompt(text),
                method.recipe.sampling(Stage::Classification, 0),
            )
            .await;
        let mut answer = match asked {
            Ok(answer) => answer,
            Err(NoAnswer::Failed(error)) => {
                developed.rejection = Some(Rejection::new("request_failed", error));
                return Ok(developed);
            }
            Err(other) => return Err(other),
        };
        let label = parse::yes_or_no(&answer.completion.text);
        answer.settle(label.is_some());
        let Some(is_classification) = label else {
            developed.rejection = Some(Rejection::new("unclear_label", said(&answer.completion)));
            return Ok(developed);
        };
        developed.is_classification = is_classification;
        let (stage, prompt) = if is_classification {
            (Stage::OutputFirst, method.output_first.prompt(text))
        } else {
            (Stage::InputFirst, method.input_first.prompt(text))
        };
        let sampling = method.recipe.sampling(stage, 0);
        let mut answer = match self.ask(round, stage.as_str(), ordinal, prompt, sampling).await {
            Ok(answer) => answer,
            Err(NoAnswer::Failed(error)) => {
                developed.rejection = Some(Rejection::new("request_failed", error));
                return Ok(developed);
            }
            Err(other) => return Err(other),
        };
        let finish = answer.completion.finish_reason;
        let parsed = if is_classification {
            parse::output_first(&answer.completion.text, finish)
        } else {
            parse::input_first(&answer.completion.text, finish)
        };
        let eliminated: Vec<_> = parsed
            .iter()
            .map(|parsed| {
                let output = &parsed.instance.output;
                evolve.filter(|_| parsed.fault.is_none()).and_then(|evolve| {
                    answer_objection(text, is_classification, output, evolve.refusal_words)
                })
            })
            .collect();
        let whole: Vec<_> = parsed
            .iter()
            .zip(&eliminated)
            .filter(|(parsed, eliminated)| parsed.fault.is_none() && eliminated.is_none())
            .map(|(parsed, _)| parsed.instance.clone())
            .collect();
        let mut judged = self.config.rules.judge_instances(text, &whole).into_iter();
        developed.instances = parsed
            .into_iter()
            .zip(eliminated)
            .map(|(parsed, eliminated)| AdmittedInstance {
                request_id: answer.id,
                rejection: match (parsed.fault, eliminated) {
                    (Some(fault), _) => Some(fault_rejection(fault, "")),
                    (None, Some(objection)) => Some(objection.into()),
                    (None, None) => judged.next().flatten().map(Rejection::from),
                },
                instance: parsed.instance,
            })
            .collect();
        let offers = developed.instances.iter();
        answer.settle_by(offers.map(|offer| (offer.instance.output.as_str(), offer.rejection.as_ref())));
        if developed
            .instances
            .iter()
            .all(|instance| instance.rejection.is_some())
        {
            let detail = answer.completion.emptiness().unwrap_or_default();
            developed.rejection = Some(Rejection::new("no_valid_instance", detail.to_string()));
        }
        Ok(developed)
    }
}
