//! A suite as it is named on the command line, and its items.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::checks::CheckRow;
use super::ifeval::IfevalRow;
use crate::backend::Question;

/// The kinds of suites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SuiteKind {
    /// SuperNaturalInstructions in its repository's layout.
    Superni,
    /// Rows with references.
    Instructions,
    /// Instructions that a program verifies (Zhou et al. 2023).
    Ifeval,
    /// The held-out tasks of the dataset.
    HeldOut,
    /// Rows with checks of their own.
    Checks,
}

impl SuiteKind {
    /// All kinds.
    pub const ALL: [SuiteKind; 5] = [
        SuiteKind::Superni,
        SuiteKind::Instructions,
        SuiteKind::Ifeval,
        SuiteKind::HeldOut,
        SuiteKind::Checks,
    ];

    /// The word on the command line, in results and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            SuiteKind::Superni => "superni",
            SuiteKind::Instructions => "instructions",
            SuiteKind::Ifeval => "ifeval",
            SuiteKind::HeldOut => "held-out",
            SuiteKind::Checks => "checks",
        }
    }

    /// The most tokens of an answer where nobody says otherwise: of SuperNI 128, as Tk-Instruct, of
    /// IFEval 1,280, as lm-evaluation-harness.
    pub fn max_tokens(self) -> usize {
        match self {
            SuiteKind::Superni => 128,
            SuiteKind::Ifeval => 1280,
            SuiteKind::Instructions | SuiteKind::HeldOut | SuiteKind::Checks => 512,
        }
    }
}

/// A suite to run: `superni=DIR`, `instructions=FILE`, `ifeval=FILE`, `checks=FILE` or `held-out`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuiteSpec {
    /// Its kind.
    pub kind: SuiteKind,
    /// Its file or directory; empty for held-out tasks.
    pub source: PathBuf,
}

impl FromStr for SuiteSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<SuiteSpec, String> {
        let (name, source) = text.split_once('=').unwrap_or((text, ""));
        let known = "superni=DIR, instructions=FILE, ifeval=FILE, checks=FILE, held-out";
        let Some(kind) = SuiteKind::ALL.into_iter().find(|kind| kind.as_str() == name) else {
            return Err(format!("no suite is called `{name}`\nhint: one of {known}"));
        };
        match (kind, source) {
            (SuiteKind::HeldOut, "") => {}
            (SuiteKind::HeldOut, _) => {
                return Err("held-out tasks are those of --db, and have no file".to_owned());
            }
            (_, "") => return Err(format!("`{name}` needs a file or directory: one of {known}")),
            _ => {}
        }
        Ok(SuiteSpec {
            kind,
            source: source.into(),
        })
    }
}

impl fmt::Display for SuiteSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            SuiteKind::HeldOut => f.write_str(self.kind.as_str()),
            kind => write!(f, "{}={}", kind.as_str(), self.source.display()),
        }
    }
}

/// How an answer is scored.
#[derive(Debug, Clone)]
pub enum Test {
    /// By the references.
    References,
    /// By the checkers of IFEval.
    Ifeval(Box<IfevalRow>),
    /// By the row's own checks.
    Checks(Box<CheckRow>),
}

/// A question of a suite.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its name, unique within the suite.
    pub key: String,
    /// Items of one group, such as the instances of a task, are resampled together.
    pub group: String,
    /// The category.
    pub category: Option<String>,
    /// The held-out task.
    pub task_id: Option<i64>,
    /// What is asked.
    pub question: Question,
    /// The instruction alone, where the question has other texts around it; it is what training
    /// rows are searched for.
    pub instruction: String,
    /// The input alone.
    pub input: String,
    /// Right answers; none for a row without.
    pub references: Vec<String>,
    /// How an answer is scored.
    pub test: Test,
    /// Whether the input was shortened.
    pub is_cut: bool,
}

impl Item {
    /// Makes an item of a row with instruction and input, scored by references. Empty references
    /// are none.
    pub fn of_row(key: String, group: String, question: Question, references: Vec<String>) -> Item {
        Item {
            key,
            group,
            category: None,
            task_id: None,
            instruction: question.instruction.clone(),
            input: question.input.clone(),
            question,
            references: references
                .into_iter()
                .filter(|reference| !reference.trim().is_empty())
                .collect(),
            test: Test::References,
            is_cut: false,
        }
    }
}

/// A suite that was read.
#[derive(Debug, Clone)]
pub struct Suite {
    /// Which one.
    pub spec: SuiteSpec,
    /// Its name in results: the kind, with the source if there are several of the kind.
    pub name: String,
    /// Its items, at least one.
    pub items: Vec<Item>,
    /// Rows and instances that could not be asked, with the reason.
    pub left_out: Vec<(usize, &'static str)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_named_with_their_files() {
        for text in [
            "superni=a/b",
            "instructions=x=y.jsonl",
            "ifeval=i",
            "checks=c",
            "held-out",
        ] {
            assert_eq!(text.parse::<SuiteSpec>().unwrap().to_string(), text);
        }
        let fault = |text: &str| text.parse::<SuiteSpec>().unwrap_err();
        assert!(fault("mmlu=x").contains("no suite is called `mmlu`"));
        assert!(fault("superni").contains("needs a file or directory"));
        assert!(fault("held-out=x").contains("have no file"));
    }
}
