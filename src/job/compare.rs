//! What `ewe compare` does.

use std::path::PathBuf;

use super::rows::RowsFile;
use crate::choice::JudgedBy;
use crate::pipeline::budget::Budget;

/// A model that answers or judges.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelChoice {
    /// A model of this machine.
    Local {
        /// Directory of the model, or its id on the Hugging Face hub.
        path: PathBuf,
        /// Directory of a LoRA adapter in PEFT's format.
        adapter: Option<PathBuf>,
    },
    /// A model behind an OpenAI-compatible address.
    Endpoint {
        /// The address, or `@FILE` for those in a file.
        url: String,
        /// The model's name there; empty for the only one.
        model: String,
    },
}

impl ModelChoice {
    /// Reads `DIR`, `DIR+ADAPTER`, `URL#NAME` or `@FILE#NAME`. A directory whose own name has a `+`
    /// is taken as it is, if it exists.
    ///
    /// # Errors
    ///
    /// Says what is missing.
    pub fn parse(text: &str) -> Result<ModelChoice, String> {
        if text.is_empty() {
            return Err("want a directory or an address".to_owned());
        }
        if text == "@" || text.starts_with("@#") {
            return Err("want the name of a file of addresses after `@`".to_owned());
        }
        if ["http://", "https://", "@"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
        {
            let (url, model) = match text.split_once('#') {
                Some((_, "")) => return Err("want the name of a model after `#`".to_owned()),
                Some((url, model)) => (url, model),
                None => (text, ""),
            };
            return Ok(ModelChoice::Endpoint {
                url: url.to_owned(),
                model: model.to_owned(),
            });
        }
        match text.rsplit_once('+') {
            Some((path, adapter)) if !PathBuf::from(text).exists() => {
                if path.is_empty() || adapter.is_empty() {
                    return Err(
                        "want the directories of a model and of its adapter, with `+` between".to_owned(),
                    );
                }
                Ok(ModelChoice::Local {
                    path: path.into(),
                    adapter: Some(adapter.into()),
                })
            }
            _ => Ok(ModelChoice::Local {
                path: text.into(),
                adapter: None,
            }),
        }
    }

    /// Whether it runs on this machine, for which the tensor half is needed.
    pub fn is_local(&self) -> bool {
        matches!(self, ModelChoice::Local { .. })
    }
}

/// Where the prompts are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComparedPrompts {
    /// The rows of a file.
    File(RowsFile),
    /// The tasks of the dataset that are held out.
    HeldOut,
}

/// Two models to compare.
#[derive(Debug, Clone)]
pub struct CompareJob {
    /// Model a, such as the base model.
    pub a: ModelChoice,
    /// Model b, such as the tuned one. Win rates are its.
    pub b: ModelChoice,
    /// The judge; none if people alone vote.
    pub judge: Option<ModelChoice>,
    /// The prompts.
    pub prompts: ComparedPrompts,
    /// The most prompts; the first ones are taken.
    pub limit: Option<u64>,
    /// The most tokens of an answer.
    pub max_tokens: usize,
    /// The most tokens of a judge's reply.
    pub judge_tokens: usize,
    /// By what its verdict is.
    pub judged_by: JudgedBy,
    /// By likelihood, how far from one half a tie ends.
    pub tie_margin: f64,
    /// The most pairs of each kind on which the judge is examined.
    pub exam: usize,
    /// Decides on the pairs of the exam and the resamples of intervals.
    pub seed: u64,
    /// The limits of the run, of each model.
    pub budget: Budget,
    /// The dataset that keeps answers; none for one beside `out`.
    pub db: Option<PathBuf>,
    /// Receives the result as JSON.
    pub out: PathBuf,
    /// Receives the pairs as JSON lines.
    pub answers: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(path: &str, adapter: Option<&str>) -> ModelChoice {
        ModelChoice::Local {
            path: path.into(),
            adapter: adapter.map(PathBuf::from),
        }
    }

    fn endpoint(url: &str, model: &str) -> ModelChoice {
        ModelChoice::Endpoint {
            url: url.into(),
            model: model.into(),
        }
    }

    #[test]
    fn a_model_is_a_directory_with_an_adapter_or_an_address() {
        for (text, wanted) in [
            ("base", local("base", None)),
            ("google/gemma", local("google/gemma", None)),
            ("base+runs/a", local("base", Some("runs/a"))),
            ("a+b+c", local("a+b", Some("c"))),
            (
                "http://127.0.0.1:8000/v1",
                endpoint("http://127.0.0.1:8000/v1", ""),
            ),
            ("https://host/v1#a/b:c+d", endpoint("https://host/v1", "a/b:c+d")),
            ("@pool.txt", endpoint("@pool.txt", "")),
            ("@runs/pool.txt#m", endpoint("@runs/pool.txt", "m")),
            ("./@pool", local("./@pool", None)),
        ] {
            assert_eq!(ModelChoice::parse(text), Ok(wanted), "{text}");
        }
        for text in ["", "+adapter", "base+", "http://host/v1#", "@", "@#m", "@pool#"] {
            assert!(ModelChoice::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_directory_with_a_plus_in_its_name_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c++");
        std::fs::create_dir(&path).unwrap();
        let text = path.to_str().unwrap();
        assert_eq!(ModelChoice::parse(text), Ok(local(text, None)));
        assert_eq!(
            ModelChoice::parse(&format!("{text}+x")),
            Ok(local(text, Some("x")))
        );
    }
}
