//! Requests that bring nothing: how many in a row, of which stage, and what was said each time. A run that asks in vain
//! ends while it has cost little.

use crate::backend::{BackendError, Completion, FinishReason};
use crate::text::{counted, one_line};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// Different things said that are told apart; a server that says another one each time is cut short.
const MOST_KINDS: usize = 1000;
/// Of these so many are told.
const TOLD: usize = 3;
/// Characters of a text that is told as an example.
const SHOWN: usize = 80;
/// The kind of what is said about answers that a rule turned away begins so.
const BY_RULE: &str = "rule ";

/// Counts the requests of each stage since the last answer that could be used. Those under way count: no more are sent
/// than would be allowed if all of them failed. Each answer of use allows one more of them at once, so that a limit on what
/// is in vain is none on how wide a good endpoint is used.
pub struct Futility {
    /// So many in a row end the run; none do where this is missing.
    limit: Option<u64>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    stages: BTreeMap<&'static str, Stage>,
    /// What was said, by its kind: how often, and in full once. The kind is the words without
    /// digits, or a rule.
    said: BTreeMap<String, (u64, String)>,
    /// The stage whose requests were too many.
    over: Option<&'static str>,
}

#[derive(Default)]
struct Stage {
    /// Requests since the last answer that could be used.
    sent: u64,
    /// Questions whose answer is not known to be of use or not.
    under_way: u64,
    /// Those of them that wait to be sent.
    waiting: u64,
    /// Those of them that were sent, and do not wait to be sent again.
    asked: u64,
    /// Answers that could be used.
    useful: u64,
    /// Answers that could not, and failures.
    useless: u64,
}

impl Stage {
    /// Whether one more request may be sent, where `others` are asked for.
    fn has_room(&self, limit: u64, others: u64) -> bool {
        let in_vain = self.sent.saturating_sub(others);
        self.sent < limit.saturating_add(self.useful) && in_vain < limit
    }
}

impl Futility {
    /// Nothing was asked yet.
    pub fn new(limit: Option<u64>) -> Futility {
        Futility {
            limit,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// A question of this stage is going to be asked.
    pub fn trial(&self, stage: &'static str) -> Trial<'_> {
        self.state().stages.entry(stage).or_default().under_way += 1;
        Trial {
            futility: self,
            stage,
            is_asked: AtomicBool::new(false),
        }
    }

    /// Whether a stage brought nothing at all, over as many answers as end a run: the stage, if there is one.
    pub fn hopeless(&self) -> Option<&'static str> {
        let limit = self.limit?;
        let state = self.state();
        let hopeless = |stage: &Stage| stage.useful == 0 && stage.useless >= limit;
        state
            .stages
            .iter()
            .find(|(_, stage)| hopeless(stage))
            .map(|(name, _)| *name)
    }

    /// The end of the run, if too many requests were in vain.
    pub fn over(&self) -> Option<String> {
        let stage = self.state().over?;
        Some(self.message(stage))
    }

    /// Whether too many requests were in vain.
    pub fn is_over(&self) -> bool {
        self.state().over.is_some()
    }

    /// That a stage brings nothing, and why.
    pub fn message(&self, stage: &str) -> String {
        let way_out = match self.is_about_rules() {
            true => {
                "`select reason, detail, instruction from rejection` shows what was turned away; another model, recipe or \
                     set of rules may do better"
            }
            false => "--request-field, --drop-field and --extra-body shape what an endpoint is sent",
        };
        format!(
            "{} in a row brought no answer that can be used (stage {stage}): {}\n\
             hint: {way_out}; --give-up-after N allows more",
            counted(self.limit.unwrap_or_default(), "request"),
            self.told()
                .unwrap_or_else(|| "nothing was said about it".to_string())
        )
    }

    /// Whether most of what brought nothing was turned away by rules.
    fn is_about_rules(&self) -> bool {
        let state = self.state();
        let count = |by_rule: bool| -> u64 {
            let said = state.said.iter();
            let said = said.filter(|(kind, _)| kind.starts_with(BY_RULE) == by_rule);
            said.map(|(_, (count, _))| count).sum()
        };
        count(true) > count(false)
    }

    /// What was said about requests that brought nothing, most frequent first; none where all did.
    pub fn said(&self) -> Vec<(u64, String)> {
        let mut said: Vec<(u64, String)> = self.state().said.values().cloned().collect();
        said.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        said
    }

    /// The first of [`Futility::said`] in a line.
    pub fn told(&self) -> Option<String> {
        told(&self.said())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }
}

/// What was said most, in a line; none where nothing was.
pub fn told(said: &[(u64, String)]) -> Option<String> {
    let told = said
        .iter()
        .take(TOLD)
        .map(|(count, words)| format!("{count} × {words}"));
    (!said.is_empty()).then(|| told.collect::<Vec<_>>().join("; "))
}

/// One question, from before it is sent until somebody knows what the answer is worth.
pub struct Trial<'a> {
    futility: &'a Futility,
    stage: &'static str,
    /// Whether it is one of those in [`Stage::asked`]. Changed only by who holds the state.
    is_asked: AtomicBool,
}

impl Trial<'_> {
    /// Waits until one more request may be sent: while so many others are under way that, if all were in vain, it would be
    /// one too many.
    ///
    /// # Errors
    ///
    /// When they were.
    pub async fn request(&self) -> Result<(), BackendError> {
        loop {
            let changed = self.futility.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let _waits = {
                let mut state = self.futility.state();
                if state.over.is_some() {
                    return Err(BackendError::Withdrawn);
                }
                let stage = state.stages.entry(self.stage).or_default();
                self.leave_asked(stage);
                let has_room = |limit| stage.has_room(limit, stage.asked);
                if self.futility.limit.is_none_or(has_room) {
                    stage.sent += 1;
                    stage.asked += 1;
                    self.is_asked.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                if stage.waiting + 1 >= stage.under_way {
                    state.over = Some(self.stage);
                    self.futility.changed.notify_waiters();
                    return Err(BackendError::Withdrawn);
                }
                stage.waiting += 1;
                Waits(self)
            };
            changed.await;
        }
    }

    /// A request that followed another without asking.
    pub fn count(&self) {
        self.with(|stage| stage.sent += 1);
    }

    /// The last request counts for nothing.
    pub fn refund(&self) {
        self.with(|stage| {
            stage.sent = stage.sent.saturating_sub(1);
            self.leave_asked(stage);
        });
        self.futility.changed.notify_waiters();
    }

    /// The answer could be used.
    pub fn is_useful(self) {
        self.with(|stage| {
            stage.useful += 1;
            self.leave_asked(stage);
            stage.sent = stage.asked;
        });
    }

    /// There was none, or it could not: what is said about it.
    pub fn is_useless(self, words: &str) {
        let kind = words.chars().filter(|c| !c.is_ascii_digit()).take(200).collect();
        self.fails(kind, words);
    }

    /// It could be read, and something spoke against all that was in it: most often this rule, for
    /// one against this text.
    pub fn is_turned_away(self, rule: &str, text: &str) {
        let text = one_line(text, SHOWN);
        let words = format!("all that was in the answer was turned away, most often for {rule}: '{text}'");
        self.fails(format!("{BY_RULE}{rule}"), &words);
    }

    fn fails(&self, kind: String, words: &str) {
        self.with(|stage| stage.useless += 1);
        let mut state = self.futility.state();
        if state.said.len() < MOST_KINDS || state.said.contains_key(&kind) {
            state.said.entry(kind).or_insert_with(|| (0, words.to_string())).0 += 1;
        }
    }

    /// What an answer was worth, by whether something in it could be used.
    pub fn settle(self, is_useful: bool, completion: &Completion) {
        match is_useful {
            true => self.is_useful(),
            false => self.is_useless(&complaint(completion)),
        }
    }

    /// It is not asked for any more, if it was.
    fn leave_asked(&self, stage: &mut Stage) {
        stage.asked -= u64::from(self.is_asked.swap(false, Ordering::Relaxed));
    }

    fn with(&self, change: impl FnOnce(&mut Stage)) {
        change(self.futility.state().stages.entry(self.stage).or_default());
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        self.with(|stage| {
            stage.under_way -= 1;
            self.leave_asked(stage);
        });
        self.futility.changed.notify_waiters();
    }
}

/// Counted among those who wait as long as it lives.
struct Waits<'a>(&'a Trial<'a>);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.with(|stage| stage.waiting -= 1);
    }
}

/// Why an answer cannot be used.
fn complaint(completion: &Completion) -> String {
    if let Some(empty) = completion.emptiness() {
        return empty.to_string();
    }
    if completion.finish_reason == FinishReason::Length {
        return "the answer was cut off by its token limit".to_string();
    }
    "the answer has not the form that was asked for".to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::future::join_all;

    #[tokio::test]
    async fn no_more_are_sent_than_may_be_in_vain() {
        let futility = Futility::new(Some(5));
        let sent = Mutex::new(0);
        let asks = (0..20).map(|_| async {
            let trial = futility.trial("a");
            trial.request().await?;
            *sent.lock().unwrap() += 1;
            tokio::task::yield_now().await;
            trial.is_useless("no 7");
            Ok::<_, BackendError>(())
        });
        let outcomes = join_all(asks).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5);
        assert_eq!(*sent.lock().unwrap(), 5);
        let over = futility.over().unwrap();
        assert!(over.contains("stage a") && over.contains("5 × no 7"), "{over}");
    }

    #[tokio::test]
    async fn one_that_is_of_use_makes_room() {
        let futility = Futility::new(Some(3));
        let trials: Vec<_> = (0..3).map(|_| futility.trial("a")).collect();
        for trial in &trials {
            trial.request().await.unwrap();
        }
        let late = futility.trial("a");
        assert!(late.request().now_or_never().is_none());
        let mut trials = trials.into_iter();
        trials.next().unwrap().is_useful();
        late.request().await.unwrap();
        drop(trials);
        late.is_useful();
        // After two of use, two more at once; no more than before in a row.
        let trials: Vec<_> = (0..5).map(|_| futility.trial("a")).collect();
        for trial in &trials {
            trial.request().await.unwrap();
        }
        let late = futility.trial("a");
        assert!(late.request().now_or_never().is_none());
        let mut trials = trials.into_iter();
        (0..3).for_each(|_| trials.next().unwrap().is_useless("no"));
        assert!(late.request().now_or_never().is_none());
        trials.next().unwrap().is_useful();
        late.request().await.unwrap();
        drop(trials);
        late.is_useful();
        assert_eq!(futility.over(), None);
        let alone = futility.trial("a");
        for _ in 0..3 {
            alone.request().await.unwrap();
        }
        assert!(alone.request().await.is_err());
        assert!(futility.over().is_some());
        // Other stages have their own count.
        let futility = Futility::new(Some(3));
        let (a, b) = (futility.trial("a"), futility.trial("b"));
        for _ in 0..3 {
            a.request().await.unwrap();
            b.request().await.unwrap();
        }
        b.refund();
        b.request().await.unwrap();
        assert!(a.request().await.is_err());
    }

    #[test]
    fn what_was_said_most_comes_first() {
        let futility = Futility::new(None);
        for (words, count) in [("b 1", 1), ("a 12", 2), ("a 13", 2), ("c", 1)] {
            (0..count).for_each(|_| futility.trial("a").is_useless(words));
        }
        assert_eq!(futility.told().unwrap(), "4 × a 12; 1 × b 1; 1 × c");
        assert!(futility.message("a").contains("--request-field"));
        assert_eq!(Futility::new(Some(1)).told(), None);
    }

    #[test]
    fn rules_are_told_most_frequent_first_with_an_example() {
        let futility = Futility::new(Some(5));
        for (rule, text) in [("short", "a"), ("bold", "**b**\nc"), ("bold", "**d**")] {
            futility.trial("a").is_turned_away(rule, text);
        }
        let said = futility.message("a");
        let told = "2 × all that was in the answer was turned away, most often for bold: '**b** c'; \
                    1 × all that was in the answer was turned away, most often for short: 'a'";
        assert!(said.contains(told), "{said}");
        assert!(
            said.contains("from rejection") && said.contains("--give-up-after"),
            "{said}"
        );
    }
}
