//! Rounds that continue a task as a conversation: the model writes what the user says next, then
//! answers it, turn after turn.
//!
//! What comes of a round is a new task, whose parent stays as it is. Its turns are the instances of
//! its candidate, each with a verdict of its own; the first one that is rejected ends the
//! conversation, and what came before it is kept if it has enough turns.

mod course;

use super::outcome::{RoundOutcome, faulty};
use super::pool::ShownPool;
use super::{GenerateConfig, GenerateRun, NoAnswer};
use crate::generate::evolution::Draw;
use crate::generate::examples::ExamplePool;
use crate::generate::recipe::Turns;
use crate::generate::recipe::turns::TurnStage as Stage;
use crate::generate::turns::{self, Beginning, Continuation, Deal};
use crate::prompt::turns as prompt;
use crate::store::Store;
use crate::store::asked::evolution::NewEvolution;
use crate::store::asked::round::PoolTask;
use crate::task::{Origin, Reason, Review, Verdict};
use anyhow::Result;
use course::{Course, Message};
use std::collections::HashSet;
use std::sync::Mutex;

/// Continues tasks: the constants, and which round continues which task.
pub struct Continuer<'a> {
    constants: &'a Turns,
    deal: Mutex<Deal>,
    /// Tasks that the dataset had at the start and that cannot be continued.
    unfit: HashSet<i64>,
}

impl<'a> Continuer<'a> {
    /// Loads what earlier rounds continued, for a run that begins with `next_round`; `None` if the
    /// run continues nothing.
    pub async fn load(
        store: &Store,
        config: &'a GenerateConfig,
        next_round: u64,
    ) -> Result<Option<Continuer<'a>>> {
        let Some(constants) = &config.turns else {
            return Ok(None);
        };
        let before = store.continued().await?;
        Ok(Some(Continuer {
            constants,
            deal: Mutex::new(Deal::new(
                config.seed,
                config.part,
                config.window,
                next_round,
                &before,
            )),
            unfit: store.not_to_continue().await?.into_iter().collect(),
        }))
    }

    /// What the deal must know of a task. Imports are continued only if somebody accepted them;
    /// nothing is that is held out.
    fn beginning(&self, task: &PoolTask) -> Beginning {
        let is_ours = task.origin != Origin::Import || task.review == Review::Accepted;
        Beginning {
            id: task.id,
            continues: task.parent_task_id.filter(|_| task.is_continuation),
            is_eligible: is_ours
                && task.review != Review::Rejected
                && !task.is_held_out
                && !task.is_continuation
                && !self.unfit.contains(&task.id),
        }
    }
}

impl GenerateRun<'_> {
    /// What a round continues; `None` if nothing is left that it could, and for a round that
    /// rewrites a task.
    pub(super) fn continuation(&self, continuer: &Continuer<'_>, round: u64) -> Option<Continuation> {
        let pool = self.pool.read().expect("no admission panicked");
        let shown = ShownPool {
            pool: &pool,
            window: self.config.window,
        };
        let of_round = |round: u64, known: usize| -> Option<Vec<Beginning>> {
            let tasks = &pool.entries[known..shown.within(round)];
            let is_new = !self.rewrites(round);
            is_new.then(|| tasks.iter().map(|task| continuer.beginning(task)).collect())
        };
        let mut deal = continuer.deal.lock().expect("no deal panicked");
        deal.of(continuer.constants, round, of_round)
    }

    /// Whether a round rewrites a task.
    fn rewrites(&self, round: u64) -> bool {
        let place = self.config.part.place(round);
        let evolver = self.evolver.as_ref();
        evolver.is_some_and(|evolver| Draw::of(evolver.constants, self.config.seed, place).is_some())
    }

    /// Runs a round up to its admission. It has one candidate, unless its first request failed.
    pub(super) async fn continue_task(
        &self,
        continuer: &Continuer<'_>,
        dealt: Continuation,
        round: u64,
    ) -> Result<RoundOutcome, NoAnswer> {
        let (shown, _) = self.sample_examples(round);
        let mut outcome = RoundOutcome {
            evolution: Some(NewEvolution::continuation(dealt.parent)),
            ..RoundOutcome::default()
        };
        let parent = self.store.single_turn(dealt.parent).await;
        let Some(parent) = parent.map_err(|error| NoAnswer::Fatal(error.into()))? else {
            return Ok(outcome);
        };
        let manner = self.manner(&shown, continuer.constants.examples);
        let examples = prompt::examples().map(str::to_owned);
        let mut course = Course::of(parent, manner.iter().cloned().chain(examples).collect());
        let manner: Vec<&str> = manner.iter().map(String::as_str).collect();
        for (ordinal, &next) in dealt.moves.iter().enumerate() {
            let talk = course.talk();
            let question = match continuer.constants.structured {
                true => prompt::structured_follow_up(&talk, &manner, next),
                false => prompt::follow_up(&talk, &manner, next),
            };
            let place = (round, ordinal);
            let question = self.message(continuer, &course, Stage::FollowUp, place, question);
            let question = match question.await? {
                Ok(question) => question,
                Err(error) if ordinal == 0 => {
                    outcome.failure = Some(error);
                    return Ok(outcome);
                }
                Err(error) => {
                    course.fail(error);
                    break;
                }
            };
            if !course.ask(question) {
                break;
            }
            let answer = self.answer(continuer, &course, place);
            let goes_on = match answer.await? {
                Ok(answer) => course.answer(answer),
                Err(error) => course.fail(error),
            };
            if !goes_on {
                break;
            }
        }
        outcome
            .candidates
            .extend(course.candidate(continuer.constants.turns.fewest));
        Ok(outcome)
    }

    /// Asks for the answer to the last message.
    async fn answer(
        &self,
        continuer: &Continuer<'_>,
        course: &Course,
        place: (u64, usize),
    ) -> Result<Result<Message, String>, NoAnswer> {
        let talk = course.talk();
        let prompt = match continuer.constants.structured {
            true => prompt::structured_reply(&talk),
            false => prompt::reply(&talk),
        };
        self.message(continuer, course, Stage::Reply, place, prompt).await
    }

    /// Asks for a message and checks it. The inner error is that of a failed request.
    async fn message(
        &self,
        continuer: &Continuer<'_>,
        course: &Course,
        stage: Stage,
        (round, ordinal): (u64, usize),
        prompt: String,
    ) -> Result<Result<Message, String>, NoAnswer> {
        let constants = continuer.constants;
        let sampling = constants.sampling(stage);
        let mut response = match self.ask(round, stage.as_str(), ordinal, prompt, sampling).await {
            Ok(response) => response,
            Err(NoAnswer::Failed(error)) => return Ok(Err(error)),
            Err(other) => return Err(other),
        };
        let (text, finish) = (&response.completion.text, response.completion.finish_reason);
        let parsed = match (constants.structured, stage) {
            (true, _) => turns::structured_message(text, finish),
            (false, Stage::FollowUp) => turns::message(text, finish, prompt::USER),
            (false, Stage::Reply) => turns::message(text, finish, prompt::ASSISTANT),
        };
        let verdict = match (response.completion.emptiness(), parsed.fault) {
            (Some(why), _) => Verdict::rejected(Reason::EmptyAnswer, why),
            (None, Some(fault)) => faulty(fault, ""),
            (None, None) => course.check(stage, &parsed.text, constants, &self.config.rules),
        };
        response.settle_by([(parsed.text.as_str(), &verdict)]);
        Ok(Ok(Message {
            request_id: response.id,
            text: parsed.text,
            verdict,
        }))
    }

    /// Instructions that show how the users of this dataset write.
    fn manner(&self, shown: &[usize], most: usize) -> Vec<String> {
        let pool = self.pool.read().expect("no admission panicked");
        let instructions = shown.iter().map(|&i| pool.entries[i].instruction.clone());
        instructions.take(most).collect()
    }
}
