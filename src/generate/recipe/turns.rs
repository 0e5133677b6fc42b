//! The constants of rounds that continue a task as a conversation. docs/recipes.md has them in a
//! table.

use crate::backend::Sampling;
use crate::generate::bounds::{at_least, within};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fmt;
use std::str::FromStr;

/// The most turns of a user in a conversation. Each request has the whole conversation in its
/// prompt, and few contexts have room for more.
const MOST: usize = 32;

/// How many turns of the user a conversation has, the first one included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnRange {
    /// The fewest.
    pub fewest: usize,
    /// The most.
    pub most: usize,
}

impl FromStr for TurnRange {
    type Err = String;

    /// Reads `3` or `2-4`.
    fn from_str(text: &str) -> Result<TurnRange, String> {
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let (fewest, most) = text.split_once('-').unwrap_or((text, text));
        match (number(fewest), number(most)) {
            (Some(0 | 1), Some(_)) => Err(format!(
                "a task has one turn as it is; want a number of turns or a range, like 3 or 2-4: from 2 to {MOST}"
            )),
            (Some(fewest), Some(most)) if fewest > most => Err(format!(
                "the range ends before it begins; did you mean {most}-{fewest}?"
            )),
            (Some(fewest), Some(most)) if most <= MOST => Ok(TurnRange { fewest, most }),
            _ => Err(format!(
                "want a number of turns or a range, like 3 or 2-4: from 2 to {MOST}"
            )),
        }
    }
}

impl fmt::Display for TurnRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fewest == self.most {
            true => write!(f, "{}", self.fewest),
            false => write!(f, "{}-{}", self.fewest, self.most),
        }
    }
}

impl Serialize for TurnRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The stages of a round, as in `request.stage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnStage {
    /// The next message of the user.
    FollowUp,
    /// The assistant's answer to it.
    Reply,
}

impl TurnStage {
    /// The word in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            TurnStage::FollowUp => "follow_up",
            TurnStage::Reply => "reply",
        }
    }
}

/// Settings of rounds that continue tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Turns {
    /// How many turns of the user a conversation has.
    #[serde(skip_deserializing)]
    pub turns: TurnRange,
    /// Instructions of the dataset that show how users write.
    pub examples: usize,
    /// Rounds that may try to continue one task.
    pub tries: u32,
    /// ROUGE-L F1 above which a message of the user repeats an earlier one.
    pub question_similarity: f64,
    /// ROUGE-L F1 above which an answer repeats an earlier one. It is higher, since an answer in
    /// which one thing was to be changed resembles the one before.
    pub answer_similarity: f64,
    /// Temperature of the user's messages.
    pub temperature: f64,
    /// Nucleus of the user's messages.
    pub top_p: f64,
    /// Repetition penalty of the user's messages.
    pub repetition_penalty: f64,
    /// Token limit of a message of the user.
    pub tokens: usize,
    /// Temperature of the answers.
    pub answer_temperature: f64,
    /// Nucleus of the answers.
    pub answer_top_p: f64,
    /// Repetition penalty of the answers.
    pub answer_repetition_penalty: f64,
    /// Token limit of an answer.
    pub answer_tokens: usize,
    /// Stop strings of both. With `--structured` there are none: the schema ends the response.
    pub stops: Vec<String>,
    /// Whether a JSON Schema constrains the responses.
    #[serde(skip_deserializing)]
    pub structured: bool,
}

impl Default for Turns {
    fn default() -> Self {
        Turns {
            turns: TurnRange { fewest: 2, most: 2 },
            examples: 4,
            tries: 3,
            question_similarity: 0.7,
            answer_similarity: 0.9,
            temperature: 0.7,
            top_p: 0.9,
            repetition_penalty: 1.0,
            tokens: 128,
            answer_temperature: 0.7,
            answer_top_p: 0.9,
            answer_repetition_penalty: 1.0,
            answer_tokens: 400,
            stops: vec!["\nUser:".into(), "\nAssistant:".into(), "\n###".into()],
            structured: false,
        }
    }
}

impl Turns {
    /// The sampling parameters of a stage. The seed is set for each request.
    pub fn sampling(&self, stage: TurnStage) -> Sampling {
        let (stop, schema) = match self.structured {
            true => (Vec::new(), Some(schema())),
            false => (self.stops.clone(), None),
        };
        let (max_tokens, temperature, top_p, repetition_penalty) = match stage {
            TurnStage::FollowUp => (self.tokens, self.temperature, self.top_p, self.repetition_penalty),
            TurnStage::Reply => (
                self.answer_tokens,
                self.answer_temperature,
                self.answer_top_p,
                self.answer_repetition_penalty,
            ),
        };
        Sampling {
            max_tokens,
            temperature,
            top_p,
            repetition_penalty,
            stop,
            schema,
            ..Sampling::default()
        }
    }

    /// # Errors
    ///
    /// Names the first constant that no request could be made with.
    pub fn check(&self) -> Result<(), String> {
        at_least("tries", self.tries as usize, 1)?;
        at_least("tokens", self.tokens, 1)?;
        at_least("answer_tokens", self.answer_tokens, 1)?;
        within("question_similarity", self.question_similarity, 0.0..=1.0)?;
        within("answer_similarity", self.answer_similarity, 0.0..=1.0)?;
        within("temperature", self.temperature, 0.0..=2.0)?;
        within("answer_temperature", self.answer_temperature, 0.0..=2.0)?;
        within("top_p", self.top_p, 0.001..=1.0)?;
        within("answer_top_p", self.answer_top_p, 0.001..=1.0)?;
        within("repetition_penalty", self.repetition_penalty, 0.01..=10.0)?;
        within(
            "answer_repetition_penalty",
            self.answer_repetition_penalty,
            0.01..=10.0,
        )
    }
}

/// The JSON Schema of a message, in an object in which nothing is optional, as OpenAI's strict mode
/// requires.
fn schema() -> serde_json::Value {
    json!({
        "type": "object",
        "properties": {"message": {"type": "string"}},
        "required": ["message"],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_a_number_or_a_range() {
        for (text, fewest, most) in [("2", 2, 2), ("2-4", 2, 4), ("3-3", 3, 3), (" 2 - 32 ", 2, 32)] {
            assert_eq!(text.parse(), Ok(TurnRange { fewest, most }), "{text}");
        }
        for (text, what) in [
            ("1", "one turn as it is"),
            ("0", "one turn as it is"),
            ("1-3", "one turn as it is"),
            ("5-2", "did you mean 2-5?"),
            ("100", "from 2 to 32"),
            ("2-100", "from 2 to 32"),
            ("", "like 3 or 2-4"),
            ("two", "like 3 or 2-4"),
            ("2-", "like 3 or 2-4"),
            ("-2", "like 3 or 2-4"),
            ("2-3-4", "like 3 or 2-4"),
        ] {
            let error = text.parse::<TurnRange>().unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
        assert_eq!(TurnRange { fewest: 2, most: 4 }.to_string(), "2-4");
        assert_eq!(TurnRange { fewest: 3, most: 3 }.to_string(), "3");
    }
}
