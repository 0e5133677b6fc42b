//! Files of batch results: in any order, in several files, with requests missing, failed or
//! repeated.

use super::batch::{self, Unanswered};
use super::key::Secrets;
use super::reply::Reply;
use crate::text::counted;
use anyhow::{Context, Result, bail};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::PathBuf;

/// The longest line that is read, in bytes: as long as the longest response of an endpoint.
const LONGEST_LINE: u64 = 16 << 20;
/// How many bytes of a longer line are skipped before it counts as a line without an end, as on a
/// device.
const ENDLESS: u64 = 1 << 30;
/// How many damaged lines an error names.
const MOST_NAMED: usize = 5;

/// The result of each request.
#[derive(Debug, Default)]
pub struct Results {
    by_id: HashMap<String, Result<Reply, Unanswered>>,
    /// The number of lines whose request had a result already. The first result is kept.
    pub repeated: u64,
    /// Lines that are no result, with file and line number.
    pub damaged: Vec<String>,
}

impl Results {
    /// Reads all files. Of several results for one request, an answer counts before an error, a
    /// permanent error before a transient one, and among equals the first. So files of errors and
    /// of answers may come in any order, and a request that expired and was sent again has its
    /// answer.
    ///
    /// # Errors
    ///
    /// If a file cannot be read; if lines are damaged, unless `keep_going`: their requests would be
    /// written again, and paid for again.
    pub fn read(paths: &[PathBuf], keep_going: bool, secrets: &Secrets) -> Result<Results> {
        let mut results = Results::default();
        for path in paths {
            let name = path.display().to_string();
            let context = || format!("cannot read `{name}`");
            let file = File::open(path).with_context(context)?;
            if file.metadata().with_context(context)?.is_dir() {
                bail!("cannot read `{name}`: it is a directory");
            }
            results
                .read_lines(&name, BufReader::new(file), secrets)
                .with_context(context)?;
        }
        if !results.damaged.is_empty() && !keep_going {
            let named = results.damaged.iter().take(MOST_NAMED).cloned();
            let mut lines: Vec<String> = named.collect();
            if let Some(more) = results.damaged.len().checked_sub(MOST_NAMED + 1) {
                lines.push(format!("and {}", counted(more + 1, "more line")));
            }
            bail!(
                "{}\nhint: fetch the results again; with --keep-going these lines count for nothing, and their requests are written anew",
                lines.join("\n")
            );
        }
        Ok(results)
    }

    fn read_lines(&mut self, name: &str, mut file: impl BufRead, secrets: &Secrets) -> std::io::Result<()> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if line.len() as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
                if file.by_ref().take(ENDLESS).skip_until(b'\n')? as u64 == ENDLESS {
                    let error = format!("line {number} has no end within {} MiB", ENDLESS >> 20);
                    return Err(std::io::Error::new(ErrorKind::FileTooLarge, error));
                }
                let error = format!("the line is longer than {} MiB", LONGEST_LINE >> 20);
                self.damaged.push(format!("{name}:{number}: {error}"));
                continue;
            }
            // Some programs begin UTF-8 with a byte order mark.
            let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line);
            if line.trim_ascii().is_empty() {
                continue;
            }
            let result = std::str::from_utf8(line)
                .map_err(|error| format!("this is no UTF-8 from byte {} on", error.valid_up_to()))
                .and_then(|line| batch::result(line.trim()));
            match result {
                Ok((custom_id, answer)) => self.take(custom_id, redacted(answer, secrets)),
                Err(error) => {
                    let error = secrets.redact(&error);
                    self.damaged.push(format!("{name}:{number}: {error}"));
                }
            }
        }
        Ok(())
    }

    /// Adds a result, if it counts before the one that the request has.
    fn take(&mut self, custom_id: String, answer: Result<Reply, Unanswered>) {
        let worth = |answer: &Result<Reply, Unanswered>| match answer {
            Ok(Reply { refusal: None, .. }) => 3,
            Ok(_) => 2,
            Err(Unanswered::Refused { .. }) => 1,
            Err(Unanswered::Transient(_)) => 0,
        };
        match self.by_id.get_mut(&custom_id) {
            None => drop(self.by_id.insert(custom_id, answer)),
            Some(kept) if worth(&answer) > worth(kept) => *kept = answer,
            Some(kept) => self.repeated += u64::from(worth(&answer) == worth(kept)),
        }
    }

    /// Returns the result of a request.
    pub fn get(&self, custom_id: &str) -> Option<&Result<Reply, Unanswered>> {
        self.by_id.get(custom_id)
    }

    /// Returns all results, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Result<Reply, Unanswered>)> {
        self.by_id.iter().map(|(id, answer)| (id.as_str(), answer))
    }
}

/// Removes secrets from a result.
fn redacted(answer: Result<Reply, Unanswered>, secrets: &Secrets) -> Result<Reply, Unanswered> {
    match answer {
        Ok(reply) => Ok(reply.redacted(secrets)),
        Err(Unanswered::Transient(error)) => Err(Unanswered::Transient(secrets.redact(&error))),
        Err(Unanswered::Refused { error, body }) => Err(Unanswered::Refused {
            error: secrets.redact(&error),
            body: secrets.redact(&body),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &[u8]) -> Results {
        let mut results = Results::default();
        results.read_lines("r.jsonl", text, &Secrets::default()).unwrap();
        results
    }

    fn answer(id: &str, text: &str) -> String {
        json!({"custom_id": id, "response": {"status_code": 200, "body": {"choices": [{"text": text}]}}})
            .to_string()
    }

    #[test]
    fn an_answer_counts_more_than_an_error_and_the_first_of_equals_counts() {
        let expired =
            json!({"custom_id": "a", "response": null, "error": {"message": "expired"}}).to_string();
        let refused = json!({"custom_id": "a", "response": {"status_code": 400}}).to_string();
        let orders = [
            [&expired, &refused, &answer("a", "one"), &answer("a", "two")],
            [&answer("a", "one"), &answer("a", "two"), &refused, &expired],
        ];
        for lines in orders {
            let results = read(lines.map(String::as_str).join("\n").as_bytes());
            assert_eq!(results.get("a").unwrap().as_ref().unwrap().text, "one");
            assert_eq!(results.repeated, 1);
        }
        let results = read(format!("{refused}\n{expired}\n").as_bytes());
        assert!(matches!(results.get("a"), Some(Err(Unanswered::Refused { .. }))));
        assert_eq!(results.repeated, 0);
    }

    #[test]
    fn damaged_lines_are_named_and_the_next_is_found() {
        let mut text = b"\xef\xbb\xbf".to_vec();
        text.extend(format!("{}\r\n\n{{\"custom_id\":\n{{}}\n", answer("a", "one")).bytes());
        text.extend(b"\xff\xfe\n");
        text.extend(vec![b' '; LONGEST_LINE as usize + 5]);
        text.extend(format!("\n{}", answer("b", "two")).bytes());
        let results = read(&text);
        assert_eq!(results.iter().count(), 2);
        let named: Vec<_> = results
            .damaged
            .iter()
            .map(|line| line.split(": ").next().unwrap())
            .collect();
        assert_eq!(named, ["r.jsonl:3", "r.jsonl:4", "r.jsonl:5", "r.jsonl:6"]);
        assert!(
            results.damaged[3].contains("longer than 16 MiB"),
            "{:?}",
            results.damaged
        );
    }
}
