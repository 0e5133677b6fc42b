//! What the folder of a training run says of it: `run.json`, which the run writes when it begins,
//! and `metrics.jsonl` with its losses. A folder of another origin has neither.

use std::path::Path;

use serde_json::Value;

use super::repo;
use crate::report::evaluation::metrics;
use crate::settings_file;

/// The file in which a run records itself.
const RECORD: &str = "run.json";
/// The file with the losses.
const METRICS: &str = "metrics.jsonl";

/// What is known of a training run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunFacts {
    /// The id on the hub of the model that was trained; none if it was a folder.
    pub base: Option<String>,
    /// The base as it was named, should it be a folder.
    pub base_path: Option<String>,
    /// The record of the run; null without one.
    pub record: Value,
    /// The held-out loss before and after, in nats a token.
    pub held_out: Option<(f64, f64)>,
    /// The training loss at the end, in nats a token: of the last step, or of long runs the mean of
    /// the last steps.
    pub loss: Option<f64>,
    /// The steps that were done.
    pub steps: Option<u64>,
}

impl RunFacts {
    /// Reads what is there. Files that are none are passed over: the card is for readers, and says
    /// what is known.
    pub fn read(folder: &Path) -> RunFacts {
        let record = settings_file::read(&folder.join(RECORD), settings_file::LONGEST)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
            .unwrap_or_default();
        // The options have full paths, so that a path of two parts is no id.
        let base = [&record["options"]["model"], &record["model"]]
            .into_iter()
            .find_map(Value::as_str);
        let losses = metrics::read(&folder.join(METRICS)).ok();
        let best = record["settings"]["keep_best"] == true;
        let held_out = losses.as_ref().and_then(|losses| {
            let (before, last) = losses.change()?;
            let after = losses.best.filter(|(step, _)| best && *step > 0);
            Some((before, after.map_or(last, |(_, loss)| loss)))
        });
        RunFacts {
            base: base.and_then(repo::id_of),
            base_path: base.map(str::to_owned),
            held_out,
            loss: losses.as_ref().and_then(|losses| Some(losses.train.last()?.1)),
            steps: losses.map(|losses| losses.steps),
            record,
        }
    }

    /// Returns whether there is a record of a run.
    pub fn is_known(&self) -> bool {
        self.record.is_object()
    }

    /// Returns a setting of the run; null if it is unknown.
    pub fn setting(&self, name: &str) -> &Value {
        &self.record["settings"][name]
    }

    /// Returns a number of the record.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.record[name].as_u64()
    }

    /// Returns `lora`, `dora` or `full`; none if it is unknown.
    pub fn method(&self) -> Option<&'static str> {
        match self.setting("method").as_str()? {
            "lora" if self.setting("lora")["dora"] == true => Some("dora"),
            "lora" => Some("lora"),
            "full" => Some("full"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(record: &str, losses: &str) -> RunFacts {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(RECORD), record).unwrap();
        std::fs::write(dir.path().join(METRICS), losses).unwrap();
        RunFacts::read(dir.path())
    }

    const LOSSES: &str = "{\"step\":1,\"loss\":4.0,\"eval_loss_before\":3.5}\n\
                          {\"step\":2,\"loss\":3.0,\"eval_loss\":2.5}\n\
                          {\"step\":3,\"loss\":3.0,\"eval_loss\":2.75}\n";

    #[test]
    fn a_run_is_known_by_its_files() {
        let facts = read(
            r#"{"model": "models/x", "options": {"model": "/home/ann/models/x"}, "examples": 314,
                "settings": {"method": "lora", "lora": {"dora": true}, "keep_best": false}}"#,
            LOSSES,
        );
        assert_eq!(
            (facts.base.as_deref(), facts.base_path.as_deref()),
            (None, Some("/home/ann/models/x"))
        );
        assert_eq!(facts.held_out, Some((3.5, 2.75)));
        assert_eq!((facts.steps, facts.count("examples")), (Some(3), Some(314)));
        assert_eq!(facts.loss, Some(3.0));
        assert_eq!(facts.method(), Some("dora"));
        let best = read(
            r#"{"model": "ann/x", "settings": {"method": "full", "keep_best": true}}"#,
            LOSSES,
        );
        assert_eq!(best.held_out, Some((3.5, 2.5)));
        assert_eq!(
            (best.base.as_deref(), best.method()),
            (Some("ann/x"), Some("full"))
        );
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let facts = RunFacts::read(dir.path());
        assert!(!facts.is_known() && facts.held_out.is_none() && facts.base.is_none());
        let broken = read("{", "nonsense\n");
        assert!(!broken.is_known() && broken.method().is_none());
    }
}
