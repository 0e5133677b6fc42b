//! A round of the Alpaca recipe: one request, whose answer has complete tasks.

use super::outcome::{Developed, Outcome, fault_rejection};
use super::{NoAnswer, Run};
use crate::generate::alpaca::{self, Piece};
use crate::generate::recipe::Alpaca;
use crate::generate::recipe::alpaca::STAGE;
use crate::prompt::task_list;
use crate::store::asked::round::{AdmittedInstance, Rejection};

impl Run<'_> {
    /// Runs one round up to, and not including, its admission.
    pub(super) async fn alpaca(&self, recipe: &Alpaca, round: u64) -> Result<Outcome, NoAnswer> {
        let (dealt, within) = self.deal(round);
        let prompt = {
            let pool = self.pool.read().expect("no admission panicked");
            let shown: Vec<_> = dealt.iter().filter_map(|&i| pool.shown(i)).collect();
            let topic = self.config.topics.of(round);
            match recipe.structured {
                true => task_list::structured(&shown, recipe.last, topic),
                false => task_list::numbered(&shown, recipe.last, topic),
            }
        };
        let asked = self.ask(round, STAGE, 0, prompt, recipe.sampling()).await;
        let mut answer = match asked {
            Ok(answer) => answer,
            Err(NoAnswer::Failed(error)) => return Ok(Outcome::failed(error)),
            Err(other) => return Err(other),
        };
        if answer.completion.emptiness().is_some() {
            return Ok(Outcome::empty(answer));
        }
        let id = answer.id;
        let completion = answer.completion.clone();
        let (text, finish) = (&completion.text, completion.finish_reason);
        let pieces = match recipe.structured {
            true => alpaca::objects(text, finish),
            false => alpaca::numbered(text, finish, dealt.len() + 1),
        };
        let texts: Vec<_> = pieces
            .iter()
            .map(|piece| match &piece.task {
                Ok(task) => (task.instruction.as_str(), None),
                Err(flaw) => (piece.text, Some(fault_rejection(flaw.fault, flaw.found))),
            })
            .collect();
        let verdicts = self.judge(&texts, within);
        let candidates: Vec<_> = pieces
            .into_iter()
            .zip(verdicts)
            .map(|(piece, verdict)| self.complete_task(id, piece, verdict))
            .collect();
        let offers = candidates.iter();
        answer.settle_by(offers.map(|candidate| (candidate.text.as_str(), candidate.objection())));
        Ok(Outcome {
            candidates,
            ..Outcome::default()
        })
    }

    /// A candidate with its only instance; what is no task has none. Whether it is a classification task nobody was
    /// asked, so it is none: the published data has no such column either.
    fn complete_task(&self, request_id: i64, piece: Piece<'_>, rejection: Option<Rejection>) -> Developed {
        let mut developed = Developed::new(request_id, piece.text.to_string(), rejection);
        let Ok(task) = piece.task else {
            return developed;
        };
        developed.text = task.instruction;
        let mut objection = None;
        if developed.rejection.is_none() {
            let instances = std::slice::from_ref(&task.instance);
            let judged = self.config.rules.judge_instances(&developed.text, instances);
            objection = judged.into_iter().flatten().next().map(Rejection::from);
            if objection.is_some() {
                developed.rejection = Some(Rejection::new("no_valid_instance", String::new()));
            }
        }
        developed.instances.push(AdmittedInstance {
            request_id,
            instance: task.instance,
            rejection: objection,
        });
        developed
    }
}
