//! A round of the Alpaca recipe: one request, whose response has complete tasks.

use super::outcome::{RoundOutcome, faulty};
use super::{GenerateRun, NoAnswer};
use crate::generate::alpaca::{self, ListItem};
use crate::generate::recipe::Alpaca;
use crate::generate::recipe::alpaca::STAGE;
use crate::prompt::alpaca as prompt;
use crate::task::{Candidate, InstanceCandidate, Reason, Verdict};

impl GenerateRun<'_> {
    /// Runs a round up to its admission.
    pub(super) async fn alpaca(&self, recipe: &Alpaca, round: u64) -> Result<RoundOutcome, NoAnswer> {
        let (shown, within) = self.sample_examples(round);
        let prompt = {
            let pool = self.pool.read().expect("no admission panicked");
            let tasks: Vec<_> = shown.iter().filter_map(|&i| pool.prompt_task(i)).collect();
            let topic = self.config.topic(round);
            match recipe.structured {
                true => prompt::structured(&tasks, recipe.last, topic),
                false => prompt::numbered(&tasks, recipe.last, topic),
            }
        };
        let asked = self.ask(round, STAGE, 0, prompt, recipe.sampling()).await;
        let mut response = match asked {
            Ok(response) => response,
            Err(NoAnswer::Failed(error)) => return Ok(RoundOutcome::failed(error)),
            Err(other) => return Err(other),
        };
        if response.completion.emptiness().is_some() {
            return Ok(RoundOutcome::empty(response));
        }
        let id = response.id;
        let completion = response.completion.clone();
        let (text, finish) = (&completion.text, completion.finish_reason);
        let items = match recipe.structured {
            true => alpaca::objects(text, finish),
            false => alpaca::numbered(text, finish, shown.len() + 1),
        };
        let texts: Vec<_> = items
            .iter()
            .map(|item| match &item.task {
                Ok(task) => (task.instruction.as_str(), Verdict::accepted()),
                Err(flaw) => (item.text, faulty(flaw.fault, flaw.found)),
            })
            .collect();
        let verdicts = self.check_instructions(&texts, within);
        let candidates: Vec<_> = items
            .into_iter()
            .zip(verdicts)
            .map(|(item, verdict)| self.complete_task(id, item, verdict))
            .collect();
        let offers = candidates.iter();
        response.settle_by(offers.map(|candidate| (candidate.instruction.as_str(), candidate.cause())));
        Ok(RoundOutcome {
            candidates,
            ..RoundOutcome::default()
        })
    }

    /// Makes a candidate with its only instance, or without one if the item is not a task. Nobody
    /// was asked whether it is classification, so it counts as none: the published data has no such
    /// column either.
    fn complete_task(&self, request_id: i64, item: ListItem<'_>, verdict: Verdict) -> Candidate {
        let Ok(task) = item.task else {
            return Candidate::new(request_id, item.text.to_string(), verdict);
        };
        let mut candidate = Candidate::new(request_id, task.instruction, verdict);
        let mut of_instance = Verdict::accepted();
        if candidate.verdict.is_accepted() {
            let instances = std::slice::from_ref(&task.instance);
            let verdicts = self
                .config
                .rules
                .check_instances(&candidate.instruction, instances);
            of_instance = verdicts.into_iter().next().unwrap_or_default();
            if of_instance.is_rejected() {
                candidate.verdict = Verdict::rejected(Reason::NoValidInstance, "");
            }
        }
        candidate.instances.push(InstanceCandidate {
            request_id,
            instance: task.instance,
            verdict: of_instance,
        });
        candidate
    }
}
