//! Options that say which tasks, the same for every command that can be told.

use super::number;
use crate::store::Filter;
use crate::store::query::amount::Amount;
use crate::store::query::expression::Expression;
use crate::store::query::filter::{FieldTest, FieldTests, LONGEST_LABEL};
use crate::store::query::top::{Measure, Top};
use crate::task::{Origin, Review, Split, Stance};

/// Which tasks. Each option narrows the choice; ranges include both ends.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which tasks")]
pub struct Select {
    /// By anything but their length
    #[command(flatten)]
    pub choice: Choice,

    /// By their length
    #[command(flatten)]
    pub length: Length,
}

/// Which tasks, for commands whose --max-length is about something else.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which tasks")]
pub struct Choice {
    /// Only tasks of this review: pending, accepted or rejected
    #[arg(long)]
    pub review: Option<Review>,

    /// Only tasks that were judged and score at least this; of several instances the worst counts
    #[arg(long, value_name = "SCORE", value_parser = number::score)]
    pub min_score: Option<f64>,

    /// Only tasks that were judged and score at most this
    #[arg(long, value_name = "SCORE", value_parser = number::score)]
    pub max_score: Option<f64>,

    /// Only tasks that were rejected for this reason, such as a rule's code (near_duplicate), or
    /// that lost an instance to it
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

    /// Only tasks at least this similar to another one: ROUGE-L with the nearest, 0 to 1
    #[arg(long, value_name = "F", value_parser = number::part)]
    pub min_similarity: Option<f64>,

    /// Only tasks at most this similar to another one
    #[arg(long, value_name = "F", value_parser = number::part)]
    pub max_similarity: Option<f64>,

    /// Only tasks with these words; "a phrase" in quotes, any ending with `*`
    #[arg(long, value_name = "WORDS")]
    pub text: Option<String>,

    /// Only tasks that may be trained on (train), or only those that `ewe split` holds out (eval)
    #[arg(long, value_name = "train|eval")]
    pub split: Option<Split>,

    /// Only tasks with this value of a field of your own, such as difficulty=hard; difficulty= for
    /// those without a value. Several times for several fields
    #[arg(long = "field", id = "field", value_name = "FIELD=VALUE")]
    pub fields: Vec<FieldTest>,

    /// Only tasks for which this holds, such as "influence > 0" or "score >= 4 and (origin =
    /// 'machine' or ifd is null)": comparisons, between, in, is null, and, or, not over id, review,
    /// origin, split, score, influence, ifd, similarity, length, instances, turns (of the user, in
    /// a conversation), continued (by a conversation), classification, run, round, name,
    /// instruction, reviewers, opinions, comments, disagreement, created_at, updated_at,
    /// rubric.NAME for a criterion, or field.NAME for a field of your own
    #[arg(long = "where", id = "where", value_name = "EXPR", value_parser = Expression::parse)]
    pub expression: Option<Expression>,

    /// What people said of them
    #[command(flatten)]
    pub team: Team,
}

/// Which tasks, by their reviewers and what these said.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which tasks, by reviewers")]
pub struct Team {
    /// Only tasks that are assigned to this reviewer
    #[arg(long, value_name = "NAME")]
    pub assigned_to: Option<String>,

    /// Only tasks that wait for the opinion of this reviewer
    #[arg(long, value_name = "NAME")]
    pub awaiting: Option<String>,

    /// Only tasks of which a reviewer has this opinion: accepted, rejected or unsure
    #[arg(long)]
    pub opinion: Option<Stance>,

    /// Only pending tasks whose reviewers have all spoken, and do not agree or are unsure
    #[arg(long)]
    pub disagreement: bool,

    /// Only tasks with comments
    #[arg(long)]
    pub commented: bool,
}

/// Which tasks, by the length of their texts.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which tasks")]
pub struct Length {
    /// Only tasks with at least so many characters in instruction, inputs and outputs
    #[arg(long, value_name = "N", value_parser = number::place)]
    pub min_length: Option<i64>,

    /// Only tasks with at most so many characters
    #[arg(long, value_name = "N", value_parser = number::place)]
    pub max_length: Option<i64>,
}

/// The best of the tasks that the other options choose.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "The best of them")]
pub struct Best {
    /// Of the tasks that the other options choose, only those with the highest influence, or what
    /// --by says: a share of those that have one, such as 20%, or a number
    #[arg(long, value_name = "SHARE|N")]
    pub top: Option<Amount>,

    /// What --top goes by: influence on the held-out loss, score of the judges, or IFD, the
    /// difficulty of the answer [default: influence]
    #[arg(long, value_enum, requires = "top")]
    pub by: Option<By>,
}

/// The figures of `--by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// How much a task lowered the held-out loss, as `ewe influence` found
    Influence,
    /// Score of the judges
    Score,
    /// How little its instruction helps to predict its answer, as `ewe score --db` found
    Ifd,
}

impl Select {
    /// The choice as the store knows it.
    pub fn filter(&self) -> Filter {
        self.length.of(self.choice.filter())
    }
}

impl Length {
    /// Narrows a filter to these lengths.
    pub fn of(&self, filter: Filter) -> Filter {
        Filter {
            min_length: self.min_length,
            max_length: self.max_length,
            ..filter
        }
    }
}

impl Choice {
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

impl Best {
    /// Narrows a filter to the best.
    pub fn of(&self, filter: Filter) -> Filter {
        let by = match self.by {
            None | Some(By::Influence) => Measure::Influence,
            Some(By::Score) => Measure::Score,
            Some(By::Ifd) => Measure::Ifd,
        };
        let top = self.top.map(|amount| Top { amount, by });
        Filter { top, ..filter }
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
            min_similarity: self.min_similarity,
            max_similarity: self.max_similarity,
            text: self.text.clone(),
            split: self.split,
            fields: FieldTests(self.fields.clone()),
            assigned_to: self.team.assigned_to.clone(),
            awaiting: self.team.awaiting.clone(),
            opinion: self.team.opinion,
            disagreement: self.team.disagreement,
            commented: self.team.commented,
            expression: self.expression.clone(),
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
