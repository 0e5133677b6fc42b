//! Counts requests in vain, which have no usable answer, in a row and by stage, with complaints.
//! A run whose requests are all in vain ends while it has cost little.

use crate::backend::{BackendError, Completion, FinishReason};
use crate::task::Reason;
use crate::text::{counted, one_line};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// Kinds of complaints that are counted separately, at most: a server may say something new each
/// time.
const MOST_KINDS: usize = 1000;
/// Complaints that a message shows.
const TOLD: usize = 3;
/// Characters of an example text in a complaint.
const SHOWN: usize = 80;

/// Counts the requests of each stage since its last useful answer.
///
/// Requests in flight count, so that no more are sent than would be allowed if all of them failed.
/// Each useful answer allows one more at once. So the limit on requests in vain does not limit how
/// many requests a good endpoint gets at once.
pub struct Futility {
    /// The number of requests in a row that ends the run; `None` for no limit.
    limit: Option<u64>,
    state: Mutex<FutilityState>,
    changed: Notify,
}

/// Complaints of one kind are counted together.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ComplaintKind {
    /// A rejection for this reason.
    Rejected(Reason),
    /// An error, by its words without digits.
    Words(String),
}

#[derive(Default)]
struct FutilityState {
    stages: BTreeMap<&'static str, StageCounts>,
    /// The number of complaints of each kind, and the first one.
    said: BTreeMap<ComplaintKind, (u64, String)>,
    /// Complaints of requests that are followed by another, by the trial's number: they count if
    /// that one is never sent.
    noted: BTreeMap<u64, String>,
    /// Trials so far.
    trials: u64,
    /// The stage with too many requests in vain.
    over: Option<&'static str>,
}

impl FutilityState {
    /// Counts a complaint.
    fn complain(&mut self, kind: ComplaintKind, words: &str) {
        if self.said.len() < MOST_KINDS || self.said.contains_key(&kind) {
            self.said.entry(kind).or_insert_with(|| (0, words.to_string())).0 += 1;
        }
    }

    /// Ends the run because of `stage`: no request is sent any more.
    fn end(&mut self, stage: &'static str) {
        self.over = Some(stage);
        for words in std::mem::take(&mut self.noted).into_values() {
            self.complain(ComplaintKind::of_words(&words), &words);
        }
    }
}

impl ComplaintKind {
    fn of_words(words: &str) -> ComplaintKind {
        ComplaintKind::Words(words.chars().filter(|c| !c.is_ascii_digit()).take(200).collect())
    }
}

#[derive(Default)]
struct StageCounts {
    /// Requests since the last useful answer.
    sent: u64,
    /// Requests that are not settled yet.
    under_way: u64,
    /// How many of them wait to be sent.
    waiting: u64,
    /// How many of them are in flight.
    asked: u64,
    /// Useful answers.
    useful: u64,
    /// Useless answers and failures.
    useless: u64,
}

impl StageCounts {
    /// Whether one more request may be sent while `others` are in flight.
    fn has_room(&self, limit: u64, others: u64) -> bool {
        let in_vain = self.sent.saturating_sub(others);
        self.sent < limit.saturating_add(self.useful) && in_vain < limit
    }
}

impl Futility {
    /// Starts without requests.
    pub fn new(limit: Option<u64>) -> Futility {
        Futility {
            limit,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Begins a request of this stage.
    pub fn trial(&self, stage: &'static str) -> Trial<'_> {
        let mut state = self.state();
        state.stages.entry(stage).or_default().under_way += 1;
        state.trials += 1;
        Trial {
            futility: self,
            number: state.trials,
            stage,
            is_asked: AtomicBool::new(false),
        }
    }

    /// A stage that had as many useless answers as end a run, and no useful one.
    pub fn hopeless(&self) -> Option<&'static str> {
        let limit = self.limit?;
        let state = self.state();
        let hopeless = |stage: &StageCounts| stage.useful == 0 && stage.useless >= limit;
        state
            .stages
            .iter()
            .find(|(_, stage)| hopeless(stage))
            .map(|(name, _)| *name)
    }

    /// The error that ends the run, if too many requests were in vain.
    pub fn over(&self) -> Option<String> {
        let stage = self.state().over?;
        Some(self.message(stage))
    }

    /// Whether too many requests were in vain.
    pub fn is_over(&self) -> bool {
        self.state().over.is_some()
    }

    /// The error about a stage whose requests are in vain, with the most frequent complaints.
    pub fn message(&self, stage: &str) -> String {
        let way_out = match self.is_about_rules() {
            true => {
                "`select reason, detail, instruction from rejection` shows what was rejected; another model, recipe or \
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

    /// Whether most complaints are about rejections.
    fn is_about_rules(&self) -> bool {
        let state = self.state();
        let count = |by_rule: bool| -> u64 {
            let said = state.said.iter();
            let said = said.filter(|(kind, _)| matches!(kind, ComplaintKind::Rejected(_)) == by_rule);
            said.map(|(_, (count, _))| count).sum()
        };
        count(true) > count(false)
    }

    /// The complaints about requests in vain with their numbers, most frequent first.
    pub fn said(&self) -> Vec<(u64, String)> {
        let mut said: Vec<(u64, String)> = self.state().said.values().cloned().collect();
        said.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        said
    }

    /// The most frequent complaints in a line: see [`told`].
    pub fn told(&self) -> Option<String> {
        told(&self.said())
    }

    fn state(&self) -> MutexGuard<'_, FutilityState> {
        self.state.lock().expect("nobody panics with it")
    }
}

/// The most frequent complaints in a line; `None` if there are none.
pub fn told(said: &[(u64, String)]) -> Option<String> {
    let told = said
        .iter()
        .take(TOLD)
        .map(|(count, words)| format!("{count} × {words}"));
    (!said.is_empty()).then(|| told.collect::<Vec<_>>().join("; "))
}

/// A request, from before it is sent until its answer turns out useful or useless.
pub struct Trial<'a> {
    futility: &'a Futility,
    number: u64,
    stage: &'static str,
    /// Whether [`StageCounts::asked`] counts it. Changed only with the state locked.
    is_asked: AtomicBool,
}

impl Trial<'_> {
    /// Waits until one more request may be sent: while so many others are in flight that it would
    /// be one too many if all of them were in vain.
    ///
    /// # Errors
    ///
    /// If they were in vain.
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
                    state.end(self.stage);
                    self.futility.changed.notify_waiters();
                    return Err(BackendError::Withdrawn);
                }
                stage.waiting += 1;
                WaitGuard(self)
            };
            changed.await;
        }
    }

    /// Counts a request that followed another one without waiting.
    pub fn count(&self) {
        self.with(|stage| stage.sent += 1);
    }

    /// Takes the last request out of the count.
    pub fn refund(&self) {
        self.with(|stage| {
            stage.sent = stage.sent.saturating_sub(1);
            self.leave_asked(stage);
        });
        self.futility.changed.notify_waiters();
    }

    /// Settles the request: the answer is useful.
    pub fn is_useful(self) {
        self.with(|stage| {
            stage.useful += 1;
            self.leave_asked(stage);
            stage.sent = stage.asked;
        });
    }

    /// Settles the request: there is no answer, or a useless one, with this complaint.
    pub fn is_useless(self, words: &str) {
        self.fails(ComplaintKind::of_words(words), words);
    }

    /// Settles the request: the answer was parsed and all of it rejected, most often for `reason`,
    /// such as this text.
    pub fn is_rejected(self, reason: Reason, text: &str) {
        let text = one_line(text, SHOWN);
        let words = format!("the whole answer was rejected, most often for {reason}: '{text}'");
        self.fails(ComplaintKind::Rejected(reason), &words);
    }

    fn fails(&self, kind: ComplaintKind, words: &str) {
        self.with(|stage| stage.useless += 1);
        self.futility.state().complain(kind, words);
    }

    /// Notes what a request brought that is followed by another: an answer or an error.
    pub fn note(&self, brought: Result<&Completion, &str>) {
        let words = brought.map_or_else(str::to_string, complaint);
        self.futility.state().noted.insert(self.number, words);
    }

    /// Settles the request by whether the answer is useful.
    pub fn settle(self, is_useful: bool, completion: &Completion) {
        match is_useful {
            true => self.is_useful(),
            false => self.is_useless(&complaint(completion)),
        }
    }

    /// Takes the request out of those in flight, if it is one of them.
    fn leave_asked(&self, stage: &mut StageCounts) {
        stage.asked -= u64::from(self.is_asked.swap(false, Ordering::Relaxed));
    }

    fn with(&self, change: impl FnOnce(&mut StageCounts)) {
        change(self.futility.state().stages.entry(self.stage).or_default());
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        self.with(|stage| {
            stage.under_way -= 1;
            self.leave_asked(stage);
        });
        self.futility.state().noted.remove(&self.number);
        self.futility.changed.notify_waiters();
    }
}

/// Counts a request as waiting until it is dropped.
struct WaitGuard<'a>(&'a Trial<'a>);

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.0.with(|stage| stage.waiting -= 1);
    }
}

/// The complaint about a useless answer.
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

    /// Where each answer is followed by another request, and none of these may be sent.
    #[tokio::test]
    async fn what_was_noted_is_told_if_no_request_follows() {
        let futility = Futility::new(Some(2));
        let trials = [futility.trial("a"), futility.trial("a")];
        for trial in &trials {
            trial.request().await.unwrap();
        }
        trials[0].note(Err("HTTP 500: out of order"));
        trials[1].note(Err("HTTP 500: out of order"));
        let both = join_all(trials.iter().map(Trial::request)).await;
        assert!(both.iter().all(Result::is_err));
        let told = futility.over().unwrap();
        assert!(told.contains("2 × HTTP 500: out of order"), "{told}");
        // A request that is settled has its own complaint, or none.
        let other = Futility::new(Some(2));
        let trial = other.trial("a");
        trial.request().await.unwrap();
        trial.note(Err("HTTP 500"));
        trial.is_useful();
        assert!(other.said().is_empty() && other.state().noted.is_empty());
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
        // After two useful answers, two more at once; but no more than before in a row.
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
        // Every stage has its own count.
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
        let (short, list) = (Reason::TooShort, Reason::ListItem);
        for (reason, text) in [(short, "a"), (list, "**b**\nc"), (list, "**d**")] {
            futility.trial("a").is_rejected(reason, text);
        }
        let said = futility.message("a");
        let told = "2 × the whole answer was rejected, most often for list_item: '**b** c'; \
                    1 × the whole answer was rejected, most often for too_short: 'a'";
        assert!(said.contains(told), "{said}");
        assert!(
            said.contains("from rejection") && said.contains("--give-up-after"),
            "{said}"
        );
    }
}
