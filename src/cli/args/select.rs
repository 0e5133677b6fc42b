//! Options that say which tasks, the same for every command that can be told.

use super::number;
use crate::store::Filter;
use crate::store::query::filter::LONGEST_LABEL;
use crate::task::{Origin, Review};

/// Which tasks. Each option narrows the choice; ranges include both ends.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which tasks")]
pub struct Select {
    /// Only tasks of this review: pending, accepted or rejected
    #[arg(long)]
    pub review: Option<Review>,

    /// Only tasks that were judged and score at least this; of several instances the worst counts
    #[arg(long, value_name = "SCORE", value_parser = number::score)]
    pub min_score: Option<f64>,

    /// Only tasks that were judged and score at most this
    #[arg(long, value_name = "SCORE", value_parser = number::score)]
    pub max_score: Option<f64>,

    /// Only tasks that were rejected for this reason, such as a rule's code (near_duplicate), or that lost an instance to
    /// it
    #[arg(long, value_name = "CODE")]
    pub rule: Option<String>,

    /// What they are
    #[command(flatten)]
    pub traits: Traits,
}

/// Which tasks, by what does not change when people or models think about them.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which tasks")]
pub struct Traits {
    /// Only tasks of this origin: seed, machine or import
    #[arg(long)]
    pub origin: Option<Origin>,

    /// Only tasks that this run brought in
    #[arg(long, value_name = "ID", value_parser = number::id)]
    pub run: Option<i64>,

    /// Only classification tasks, or with `no` only the others
    #[arg(long, value_name = "YES|NO", value_parser = yes_or_no)]
    pub classification: Option<bool>,

    /// Only classification tasks that have this answer, upper and lower case alike
    #[arg(long, value_name = "TEXT", value_parser = label)]
    pub label: Option<String>,

    /// Only tasks with at least so many characters in instruction, inputs and outputs
    #[arg(long, value_name = "N", value_parser = number::place)]
    pub min_length: Option<i64>,

    /// Only tasks with at most so many characters
    #[arg(long, value_name = "N", value_parser = number::place)]
    pub max_length: Option<i64>,

    /// Only tasks at least this much like another one: ROUGE-L with the nearest, 0 to 1
    #[arg(long, value_name = "F", value_parser = number::part)]
    pub min_similarity: Option<f64>,

    /// Only tasks at most this much like another one
    #[arg(long, value_name = "F", value_parser = number::part)]
    pub max_similarity: Option<f64>,

    /// Only tasks with these words; "a phrase" in quotes, any ending with `*`
    #[arg(long, value_name = "WORDS")]
    pub text: Option<String>,
}

impl Select {
    /// The choice as the store knows it.
    pub fn filter(&self) -> Filter {
        Filter {
            review: self.review,
            min_score: self.min_score,
            max_score: self.max_score,
            reason: self.rule.clone(),
            ..self.traits.filter()
        }
    }
}

impl Traits {
    /// The choice as the store knows it.
    pub fn filter(&self) -> Filter {
        Filter {
            origin: self.origin,
            run_id: self.run,
            is_classification: self.classification,
            label: self.label.clone(),
            min_length: self.min_length,
            max_length: self.max_length,
            min_similarity: self.min_similarity,
            max_similarity: self.max_similarity,
            text: self.text.clone(),
            ..Filter::default()
        }
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("want yes or no".to_string()),
    }
}

fn label(text: &str) -> Result<String, String> {
    if text.chars().count() > LONGEST_LABEL {
        return Err(format!(
            "a label has at most {LONGEST_LABEL} characters\nhint: --text finds words in longer answers"
        ));
    }
    Ok(text.to_owned())
}
