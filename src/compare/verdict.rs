//! What one reply of a judge, and what the replies to both orders say of a pair.

use serde::Serialize;

/// What a judge replied about the two answers that it was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The answer shown first is better.
    First,
    /// The answer shown second is better.
    Second,
    /// Neither is better.
    Tie,
    /// Nothing that can be read, or no reply at all.
    Error,
}

/// Which model's answer is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// That of model a.
    A,
    /// That of model b.
    B,
    /// Neither.
    Tie,
    /// Nobody knows: the judge did not say so clearly.
    Error,
}

impl Choice {
    /// The word in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Choice::A => "a",
            Choice::B => "b",
            Choice::Tie => "tie",
            Choice::Error => "error",
        }
    }

    /// Reads the word of the database.
    pub fn of_str(word: &str) -> Option<Choice> {
        [Choice::A, Choice::B, Choice::Tie, Choice::Error]
            .into_iter()
            .find(|choice| choice.as_str() == word)
    }

    /// The choice of a judge that finds b's answer better with this probability: a tie within
    /// `margin` of one half.
    pub fn of_odds(b: f64, margin: f64) -> Choice {
        match b - 0.5 {
            lead if lead > margin => Choice::B,
            lead if lead < -margin => Choice::A,
            _ => Choice::Tie,
        }
    }

    /// What model b gains by it: 1, ½ or 0; nothing where there is no verdict.
    pub fn gain(self) -> Option<f64> {
        match self {
            Choice::A => Some(0.0),
            Choice::Tie => Some(0.5),
            Choice::B => Some(1.0),
            Choice::Error => None,
        }
    }
}

impl Reply {
    /// Which model was chosen, where model a's answer was shown first or second.
    pub fn choice(self, a_is_first: bool) -> Choice {
        match (self, a_is_first) {
            (Reply::First, true) | (Reply::Second, false) => Choice::A,
            (Reply::First, false) | (Reply::Second, true) => Choice::B,
            (Reply::Tie, _) => Choice::Tie,
            (Reply::Error, _) => Choice::Error,
        }
    }
}

/// What a judge replied to one order, with how likely it was to choose the answer shown second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Its choice.
    pub reply: Reply,
    /// By likelihood, the probability of the second answer, with half of that of a tie.
    pub second: Option<f64>,
}

impl Judged {
    /// A reply that is read by text.
    pub fn by_text(reply: Reply) -> Judged {
        Judged { reply, second: None }
    }

    /// A reply by likelihood: a tie within `margin` of one half.
    pub fn by_likelihood(second: f64, margin: f64) -> Judged {
        let reply = match Choice::of_odds(second, margin) {
            Choice::A => Reply::First,
            Choice::B => Reply::Second,
            Choice::Tie | Choice::Error => Reply::Tie,
        };
        Judged {
            reply,
            second: Some(second),
        }
    }

    /// What a judge thinks of a pair, from its replies with a's answer first, and with b's.
    pub fn both(a_first: Judged, b_first: Judged, margin: f64) -> Judging {
        match (a_first.second, b_first.second) {
            (Some(b), Some(a)) => Judging::Likely {
                a_first: b,
                b_first: 1.0 - a,
                margin,
            },
            _ => Judging::Orders(a_first.reply.choice(true), b_first.reply.choice(false)),
        }
    }
}

/// What a judge thinks of a pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Judging {
    /// Both answers are the same text, which is a tie; nobody was asked.
    Same,
    /// A model gave no answer to the prompt, so there is nothing to compare.
    Unanswered,
    /// What it chose with a's answer shown first, and with b's.
    Orders(Choice, Choice),
    /// By likelihood.
    Likely {
        /// The probability that b's answer is better, with a's shown first.
        a_first: f64,
        /// The same with b's shown first.
        b_first: f64,
        /// How far from one half a tie ends.
        margin: f64,
    },
}

impl Judging {
    /// The verdict of both orders: what they agree on. If they disagree, the order decided and not
    /// the answers, which is a tie. An order without a readable reply leaves no verdict.
    pub fn verdict(self) -> Choice {
        match self {
            Judging::Same => Choice::Tie,
            Judging::Unanswered | Judging::Orders(Choice::Error, _) | Judging::Orders(_, Choice::Error) => {
                Choice::Error
            }
            Judging::Likely { margin, .. } => self
                .b_wins()
                .map_or(Choice::Error, |p| Choice::of_odds(p, margin)),
            Judging::Orders(one, other) if one == other => one,
            Judging::Orders(..) => Choice::Tie,
        }
    }

    /// By likelihood, the probability that b's answer is better: the mean of both orders, so that
    /// what the judge likes of a place cancels out.
    pub fn b_wins(self) -> Option<f64> {
        match self {
            Judging::Likely { a_first, b_first, .. } => Some(f64::midpoint(a_first, b_first)),
            _ => None,
        }
    }

    /// What was chosen with a's answer first, and with b's; none where nobody was asked.
    pub fn orders(self) -> Option<(Choice, Choice)> {
        match self {
            Judging::Orders(a_first, b_first) => Some((a_first, b_first)),
            Judging::Likely {
                a_first,
                b_first,
                margin,
            } => Some((Choice::of_odds(a_first, margin), Choice::of_odds(b_first, margin))),
            Judging::Same | Judging::Unanswered => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disagreement_between_the_orders_is_a_tie() {
        use Choice::{A, B, Error, Tie};
        for (a_first, b_first, verdict) in [
            (A, A, A),
            (B, B, B),
            (A, B, Tie),
            (B, A, Tie),
            (Tie, A, Tie),
            (Tie, Tie, Tie),
            (A, Error, Error),
            (Error, Error, Error),
        ] {
            assert_eq!(Judging::Orders(a_first, b_first).verdict(), verdict);
        }
        assert_eq!(Judging::Same.verdict(), Tie);
        assert_eq!(Judging::Unanswered.verdict(), Error);
    }

    #[test]
    fn likelihoods_of_both_orders_are_averaged() {
        let judged = |first: f64, second: f64| {
            Judged::both(
                Judged::by_likelihood(first, 0.1),
                Judged::by_likelihood(second, 0.1),
                0.1,
            )
        };
        // It says the first one is better in both orders, and is surer of b's.
        let judging = judged(0.4, 0.05);
        assert_eq!(judging.orders(), Some((Choice::Tie, Choice::B)));
        assert!((judging.b_wins().unwrap() - 0.675).abs() < 1e-12);
        assert_eq!(judging.verdict(), Choice::B);
        assert_eq!(judged(0.1, 0.1).verdict(), Choice::Tie);
        assert_eq!(judged(0.05, 0.6).verdict(), Choice::A);
        assert_eq!(judged(0.55, 0.45).verdict(), Choice::Tie);
        let broken = Judged::both(
            Judged::by_text(Reply::Error),
            Judged::by_likelihood(0.1, 0.1),
            0.1,
        );
        assert_eq!((broken.verdict(), broken.b_wins()), (Choice::Error, None));
        assert_eq!(Choice::of_odds(f64::NAN, 0.1), Choice::Tie);
    }

    #[test]
    fn a_reply_is_about_places_and_a_choice_about_models() {
        assert_eq!(Reply::First.choice(true), Choice::A);
        assert_eq!(Reply::First.choice(false), Choice::B);
        assert_eq!(Reply::Second.choice(false), Choice::A);
        // One who always says the first one prefers neither model.
        let orders = Judging::Orders(Reply::First.choice(true), Reply::First.choice(false));
        assert_eq!(orders.verdict(), Choice::Tie);
    }
}
