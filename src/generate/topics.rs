//! Topics or personas for the tasks of a round, so that the model covers what the seeds do not.

use crate::settings_file;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Bytes of a file of topics, at most. Published collections of personas have some ten million.
const LONGEST: u64 = 256 << 20;

/// Topics in the order of the file. Without any, no round has a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Topics(Vec<String>);

impl Topics {
    /// Reads a file with one topic or persona per line. Empty lines are skipped.
    ///
    /// # Errors
    ///
    /// Names the file, and a line that is not UTF-8. A file without topics is an error.
    pub fn read(path: &Path) -> Result<Topics> {
        let name = path.display();
        let bytes =
            settings_file::read(path, LONGEST).with_context(|| format!("cannot read the topics `{name}`"))?;
        let mut topics = Vec::new();
        for (i, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let Ok(line) = std::str::from_utf8(line) else {
                bail!(
                    "{name}:{}: the line is not UTF-8\nhint: convert the file, say with iconv",
                    i + 1
                );
            };
            // A byte order mark is not part of the first topic.
            let topic = line.trim_start_matches('\u{feff}').trim();
            if !topic.is_empty() {
                topics.push(topic.to_string());
            }
        }
        if topics.is_empty() {
            bail!("{name}:1: there is no topic in the file\nhint: write one topic or persona a line");
        }
        Ok(Topics(topics))
    }

    /// The topic of a round. Topics take turns, so that all occur equally often.
    pub fn of(&self, round: u64) -> Option<&str> {
        let count = self.0.len() as u64;
        (count > 0).then(|| self.0[(round % count) as usize].as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_take_turns() {
        let topics = Topics(vec!["bees".into(), "a nurse on night shift".into()]);
        assert_eq!(
            (0..3).map(|round| topics.of(round).unwrap()).collect::<Vec<_>>(),
            ["bees", "a nurse on night shift", "bees"]
        );
        assert_eq!(Topics::default().of(5), None);
    }
}
