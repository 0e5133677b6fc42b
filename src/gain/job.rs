//! What `ewe gain` is asked for, as plain values.

use std::path::{Path, PathBuf};

use crate::finetune::{Method, OptimizerKind};
use crate::prompt::template::TemplateChoice;
use crate::store::Filter;
use crate::store::query::amount::Amount;

/// A gain to be measured.
#[derive(Debug, Clone)]
pub struct GainJob {
    /// The dataset.
    pub db: PathBuf,
    /// Directory of the base model, or its id on the Hugging Face hub.
    pub model: PathBuf,
    /// Directory of the tuned model.
    pub out: PathBuf,
    /// How many tasks to hold out if none is.
    pub eval: Amount,
    /// The template of all steps: a difference between two would count as one of the data.
    pub template: TemplateChoice,
    /// The most tokens of an answer; none for the default of `ewe eval`.
    pub max_tokens: Option<u64>,
    /// Seed of all steps.
    pub seed: u64,
    /// Device of all steps.
    pub device: String,
    /// The most rows that are named as those that made it worse.
    pub rows: u32,
    /// Whether to train once more without these rows.
    pub check_worst: bool,
    /// Receives the result as JSON.
    pub result: Option<PathBuf>,
    /// How it is trained.
    pub training: Training,
    /// Whether to print only the conclusion.
    pub quiet: bool,
    /// How much more to print: the number of `-v`.
    pub verbose: u8,
}

/// How a model is trained.
#[derive(Debug, Clone)]
pub struct Training {
    /// Options of `ewe train` as they were typed, without a condition on the tasks.
    pub options: Vec<String>,
    /// The condition, which other rows may be left out of.
    pub condition: Option<String>,
    /// The tasks that these options choose.
    pub filter: Filter,
    /// Whether every weight is trained, or an adapter.
    pub method: Method,
    /// The optimizer.
    pub optimizer: OptimizerKind,
}

impl GainJob {
    /// Returns the name of the model for people: that of its directory, or on the hub.
    pub fn model_name(&self) -> String {
        let full = self.model.canonicalize().unwrap_or_else(|_| self.model.clone());
        // An id on the hub is a path of two parts.
        let name = full.file_name().unwrap_or(full.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// Returns the directory of the model that is trained without the worst rows.
    pub fn out_without_worst(&self) -> PathBuf {
        beside(&self.out, "-without-worst")
    }

    /// Whether the result is an adapter.
    pub fn makes_adapter(&self) -> bool {
        self.training.method == Method::Lora
    }
}

/// Returns the path beside `path` whose name ends with `ending` as well.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::prompt::template::Template;

    /// A job with default options.
    pub fn job() -> GainJob {
        GainJob {
            db: "my.db".into(),
            model: "models/base".into(),
            out: "tuned".into(),
            eval: Amount::Percent(20.0),
            template: TemplateChoice::Known(Template::Alpaca),
            max_tokens: None,
            seed: 0,
            device: "auto".into(),
            rows: 20,
            check_worst: false,
            result: None,
            training: Training {
                options: Vec::new(),
                condition: None,
                filter: Filter::default(),
                method: Method::Lora,
                optimizer: OptimizerKind::Adamw,
            },
            quiet: false,
            verbose: 0,
        }
    }

    #[test]
    fn names_are_those_of_directories() {
        assert_eq!(job().model_name(), "base");
        assert_eq!(job().out_without_worst(), Path::new("tuned-without-worst"));
        let nested = GainJob {
            out: "a/b/".into(),
            model: "google/gemma-3-270m".into(),
            ..job()
        };
        assert_eq!(nested.out_without_worst(), Path::new("a/b-without-worst"));
        assert_eq!(nested.model_name(), "gemma-3-270m");
    }
}
