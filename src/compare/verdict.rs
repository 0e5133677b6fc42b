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

/// What a judge thinks of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judging {
    /// Both answers are the same text, which is a tie; nobody was asked.
    Same,
    /// A model gave no answer to the prompt, so there is nothing to compare.
    Unanswered,
    /// What it chose with a's answer shown first, and with b's.
    Orders(Choice, Choice),
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
            Judging::Orders(one, other) if one == other => one,
            Judging::Orders(..) => Choice::Tie,
        }
    }

    /// What was chosen with a's answer first, and with b's; none where nobody was asked.
    pub fn orders(self) -> Option<(Choice, Choice)> {
        match self {
            Judging::Orders(a_first, b_first) => Some((a_first, b_first)),
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
    fn a_reply_is_about_places_and_a_choice_about_models() {
        assert_eq!(Reply::First.choice(true), Choice::A);
        assert_eq!(Reply::First.choice(false), Choice::B);
        assert_eq!(Reply::Second.choice(false), Choice::A);
        // One who always says the first one prefers neither model.
        let orders = Judging::Orders(Reply::First.choice(true), Reply::First.choice(false));
        assert_eq!(orders.verdict(), Choice::Tie);
    }
}
