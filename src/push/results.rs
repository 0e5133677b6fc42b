//! Results of `ewe eval --out` and `ewe gain --result`, as lines of a card.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::markdown;
use crate::settings_file;

/// Figures of a suite, by their names in results: what they are called, and their decimals.
const METRICS: [(&str, &str, usize); 10] = [
    ("rougeL", "ROUGE-L", 1),
    ("exact_match", "exact match", 1),
    ("nll", "NLL, nats a token", 3),
    ("rating", "rating, 1 to 4", 2),
    ("strict_prompt", "strict, prompts", 1),
    ("strict_instruction", "strict, instructions", 1),
    ("loose_prompt", "loose, prompts", 1),
    ("loose_instruction", "loose, instructions", 1),
    ("passed", "passed", 1),
    ("stop_rate", "stop rate", 1),
];

/// A result, as text for a card.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvaluationText {
    /// Rows of a table: suite, items, figure, value with its interval.
    pub rows: Vec<Vec<String>>,
    /// Sentences.
    pub sentences: Vec<String>,
}

impl EvaluationText {
    /// Reads results.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or is no result.
    pub fn read(files: &[impl AsRef<Path>]) -> Result<EvaluationText> {
        let mut text = EvaluationText::default();
        for file in files {
            let file = file.as_ref();
            let bytes = settings_file::read(file, settings_file::LONGEST)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            if !text.add(&json) {
                bail!(
                    "{} is no result of an evaluation\nhint: give what `ewe eval --out` or `ewe gain --result` wrote",
                    file.display()
                );
            }
        }
        Ok(text)
    }

    /// Adds a result; returns whether it is one.
    fn add(&mut self, json: &Value) -> bool {
        if let Some(sentence) = json["sentence"].as_str() {
            self.sentences.push(markdown::text(sentence));
            return true;
        }
        let Some(suites) = json["suites"].as_object() else {
            return false;
        };
        for (name, suite) in suites {
            // The name of a suite that is there twice has a path, which is nobody's business.
            let name = name.split('=').next().unwrap_or(name);
            for (key, called, digits) in METRICS {
                let Some(value) = suite[key].as_f64() else {
                    continue;
                };
                let interval = &suite["interval"][key];
                let interval = match (interval[0].as_f64(), interval[1].as_f64()) {
                    (Some(low), Some(high)) => format!(" ({low:.digits$} to {high:.digits$})"),
                    _ => String::new(),
                };
                self.rows.push(vec![
                    markdown::text(name),
                    suite["n"].as_u64().map_or(String::new(), |n| n.to_string()),
                    called.to_owned(),
                    format!("{value:.digits$}{interval}"),
                ]);
            }
            if let Some(found) = suite["contaminated"].as_u64().filter(|found| *found > 0) {
                self.sentences.push(format!(
                    "Of {}, {} in the training rows.",
                    markdown::text(name),
                    crate::text::chosen(found, "item was found", "items were found")
                ));
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn results_become_lines() {
        let mut text = EvaluationText::default();
        assert!(text.add(&json!({"suites": {
            "held-out": {"n": 43, "rougeL": 24.52, "nll": 2.2931, "interval": {"rougeL": [20.0, 29.04]},
                "contaminated": 1},
            "instructions=/home/ann/secret.jsonl": {"n": 2, "exact_match": 50.0},
        }})));
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            text.rows,
            [
                row(["held-out", "43", "ROUGE-L", "24.5 (20.0 to 29.0)"]),
                row(["held-out", "43", "NLL, nats a token", "2.293"]),
                row(["instructions", "2", "exact match", "50.0"]),
            ]
        );
        assert!(text.add(&json!({"sentence": "your data made x better: 0.54 ± 0.14"})));
        assert_eq!(
            text.sentences,
            [
                "Of held-out, 1 item was found in the training rows.",
                "your data made x better: 0.54 ± 0.14"
            ]
        );
        assert!(!text.add(&json!({"loss": 3})) && !text.add(&Value::Null));
    }
}
