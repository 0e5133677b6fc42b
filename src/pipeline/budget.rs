//! The budget of a run, in requests, tokens, money and time, and what was spent of it.

use serde::Serialize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The limits of a run; `None` is no limit. Once a limit is reached, no more requests are sent.
/// Requests in flight are finished, so a run overshoots by no more than these.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Budget {
    /// Requests sent.
    pub requests: Option<u64>,
    /// Tokens of prompts and answers together.
    pub tokens: Option<u64>,
    /// Money, in the currency of `price`.
    pub money: Option<f64>,
    /// Time since the run began.
    #[serde(serialize_with = "as_seconds")]
    pub time: Option<Duration>,
    /// The price of tokens.
    pub price: Price,
    /// Requests in a row without a usable answer.
    pub futile: Option<u64>,
}

impl Budget {
    /// The rest of the budget after so many requests and tokens, so much money and time.
    pub fn less(&self, requests: u64, tokens: u64, money: f64, time: Duration) -> Budget {
        Budget {
            requests: self.requests.map(|most| most.saturating_sub(requests)),
            tokens: self.tokens.map(|most| most.saturating_sub(tokens)),
            money: self.money.map(|most| (most - money).max(0.0)),
            time: self.time.map(|most| most.saturating_sub(time)),
            price: self.price,
            futile: self.futile,
        }
    }
}

fn as_seconds<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}

/// The price of a million tokens, in any currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Price {
    /// For tokens of prompts.
    pub input: f64,
    /// For tokens of answers.
    pub output: f64,
}

impl Price {
    /// The price of so many tokens of prompts and answers.
    pub fn of(self, prompt: u64, completion: u64) -> f64 {
        (prompt as f64 * self.input + completion as f64 * self.output) / 1e6
    }
}

/// The limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// [`Budget::requests`]
    Requests,
    /// [`Budget::tokens`]
    Tokens,
    /// [`Budget::money`]
    Money,
    /// [`Budget::time`]
    Time,
}

impl Spent {
    /// The word in messages and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Spent::Requests => "requests",
            Spent::Tokens => "tokens",
            Spent::Money => "money",
            Spent::Time => "time",
        }
    }
}

/// Counts what a run spends. Responses from the store cost nothing.
#[derive(Debug)]
pub struct Meter {
    start: Instant,
    requests: AtomicU64,
    answers: AtomicU64,
    /// Answers by stage, in the order in which the first of each came.
    stages: Mutex<Vec<(&'static str, u64)>>,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
}

impl Meter {
    /// Starts at zero, now.
    pub fn start() -> Meter {
        Meter {
            start: Instant::now(),
            requests: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            stages: Mutex::default(),
            prompt_tokens: AtomicU64::new(0),
            completion_tokens: AtomicU64::new(0),
        }
    }

    /// Counts a request that is about to be sent.
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer of a stage, and the tokens of its request.
    pub fn count_answer(&self, stage: &'static str, prompt: usize, completion: usize) {
        let mut stages = self.stages.lock().expect("nobody panics with it");
        match stages.iter_mut().find(|(known, _)| *known == stage) {
            Some((_, count)) => *count += 1,
            None => stages.push((stage, 1)),
        }
        drop(stages);
        // The numbers are the server's, which may say anything up to 2⁶⁴.
        let add = |count: &AtomicU64, more: usize| {
            let added = |count: u64| Some(count.saturating_add(more as u64));
            let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added);
        };
        add(&self.answers, 1);
        add(&self.prompt_tokens, prompt);
        add(&self.completion_tokens, completion);
    }

    /// Requests sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests answered.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Answers by stage, in the order in which the first of each came.
    pub fn stages(&self) -> Vec<(&'static str, u64)> {
        self.stages.lock().expect("nobody panics with it").clone()
    }

    /// Tokens of the answered prompts.
    pub fn prompt_tokens(&self) -> u64 {
        self.prompt_tokens.load(Ordering::Relaxed)
    }

    /// Tokens of the answers.
    pub fn completion_tokens(&self) -> u64 {
        self.completion_tokens.load(Ordering::Relaxed)
    }

    /// The cost of the tokens.
    pub fn cost(&self, price: Price) -> f64 {
        price.of(self.prompt_tokens(), self.completion_tokens())
    }

    /// The first limit that is reached.
    pub fn spent(&self, budget: &Budget) -> Option<Spent> {
        let reached = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| used >= limit);
        if reached(budget.requests, self.requests()) {
            Some(Spent::Requests)
        } else if reached(
            budget.tokens,
            self.prompt_tokens().saturating_add(self.completion_tokens()),
        ) {
            Some(Spent::Tokens)
        } else if budget.money.is_some_and(|most| self.cost(budget.price) >= most) {
            Some(Spent::Money)
        } else {
            self.is_out_of_time(budget)
        }
    }

    /// The limit of time, if it is reached. That may happen while a request waits to be sent.
    pub fn is_out_of_time(&self, budget: &Budget) -> Option<Spent> {
        let is_over = budget.time.is_some_and(|most| self.start.elapsed() >= most);
        is_over.then_some(Spent::Time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_found() {
        let meter = Meter::start();
        meter.count_request();
        meter.count_answer("instructions", 1_000_000, 500_000);
        let price = Price {
            input: 0.5,
            output: 2.0,
        };
        assert_eq!(meter.cost(price), 1.5);
        let spent = |budget| meter.spent(&budget);
        let none = Budget {
            price,
            ..Budget::default()
        };
        assert_eq!(spent(none.clone()), None);
        let with = |change: fn(&mut Budget)| {
            let mut budget = none.clone();
            change(&mut budget);
            spent(budget)
        };
        assert_eq!(with(|budget| budget.requests = Some(1)), Some(Spent::Requests));
        assert_eq!(with(|budget| budget.requests = Some(2)), None);
        assert_eq!(
            with(|budget| budget.tokens = Some(1_500_000)),
            Some(Spent::Tokens)
        );
        assert_eq!(with(|budget| budget.tokens = Some(1_500_001)), None);
        assert_eq!(with(|budget| budget.money = Some(1.5)), Some(Spent::Money));
        assert_eq!(with(|budget| budget.money = Some(1.51)), None);
        assert_eq!(
            with(|budget| budget.time = Some(Duration::ZERO)),
            Some(Spent::Time)
        );
        assert_eq!(with(|budget| budget.time = Some(Duration::from_secs(3600))), None);
    }
}
