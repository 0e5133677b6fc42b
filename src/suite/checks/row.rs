//! Rows with checks: a question as in any file of rows, and a field `checks`.

use std::path::{Path, absolute};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::kind::{Check, Test};
use super::program::ProgramPolicy;
use crate::backend::Question;
use crate::interchange::{Need, ParsedRow, Reading, read};
use crate::text::counted;

/// How many checks a row may have.
const MOST_CHECKS: usize = 100;

/// A question with the checks of its answer.
#[derive(Debug, Clone)]
pub struct CheckRow {
    /// The row's own id, or its number.
    pub key: String,
    /// What the model is asked.
    pub question: Question,
    /// Answers of the row, and those of its field `references`; may be empty.
    pub references: Vec<String>,
    /// What an answer must satisfy; at least one check.
    pub checks: Vec<Check>,
}

/// Reads a file of rows, in any format that the reader knows, each with a field `checks`. Programs
/// are looked for beside the file.
///
/// # Errors
///
/// A file that cannot be read or has no rows, and the first row whose question or checks are wrong;
/// also the first with a program, if `programs` does not allow it. The error names the line.
pub fn read(path: &Path, reading: &Reading, programs: ProgramPolicy) -> Result<Vec<CheckRow>> {
    let file = path.display().to_string();
    let whole = absolute(path).with_context(|| format!("cannot find `{file}`"))?;
    let folder = whole.parent().unwrap_or(Path::new("/"));
    let reading = Reading {
        need: Need::Instruction,
        ..reading.clone()
    };
    let mut reader = read::open(path, &reading)?;
    let mut rows = Vec::new();
    while let Some(row) = reader.next_row() {
        let row = row?;
        let parser = reader
            .parser()
            .ok_or_else(|| anyhow!("cannot tell the format of `{file}`"))?;
        let parsed = parser.parse(&row)?;
        let checked = CheckRow::parse(&parsed, folder, programs);
        rows.push(checked.map_err(|what| anyhow!("{}: {what}", row.place.in_file(&file)))?);
    }
    match rows.is_empty() {
        true => bail!("`{file}` has no rows\nhint: it has a question with its `checks` on each line"),
        false => Ok(rows),
    }
}

impl CheckRow {
    /// Takes question and checks of a row. Programs are looked for in `folder`.
    ///
    /// # Errors
    ///
    /// What is wrong with the checks.
    pub fn parse(row: &ParsedRow, folder: &Path, programs: ProgramPolicy) -> Result<CheckRow, String> {
        let instances = &row.task.instances;
        if instances.len() > 1 {
            return Err(format!(
                "the row has {}, and its `checks` belong to one\nhint: give each a row of its own",
                counted(instances.len(), "instance")
            ));
        }
        let answers = instances.iter().map(|instance| instance.output.clone());
        let mut references: Vec<String> = answers.filter(|answer| !answer.trim().is_empty()).collect();
        references.extend(listed(row)?);
        let question = Question {
            system: row.system.clone().unwrap_or_default(),
            instruction: row.task.instruction.clone(),
            input: instances
                .first()
                .map_or_else(String::new, |instance| instance.input.clone()),
        };
        Ok(CheckRow {
            key: row.source_id.clone().unwrap_or_else(|| row.place.row.to_string()),
            question,
            references,
            checks: checks(row, folder, programs)?,
        })
    }
}

/// The texts of the field `references`.
fn listed(row: &ParsedRow) -> Result<Vec<String>, String> {
    match row.extra.get("references") {
        None => Ok(Vec::new()),
        Some(json) => serde_json::from_str(json).map_err(|_| "`references` is no list of texts".into()),
    }
}

fn checks(row: &ParsedRow, folder: &Path, programs: ProgramPolicy) -> Result<Vec<Check>, String> {
    let json = row
        .extra
        .get("checks")
        .ok_or("the field `checks` is missing\nhint: a row says what its answer must satisfy, such as {\"checks\": [{\"max_words\": 50}]}")?;
    let value: Value =
        serde_json::from_str(json).map_err(|error| format!("`checks` cannot be read: {error}"))?;
    let list = match value {
        Value::Array(list) => list,
        one @ Value::Object(_) => vec![one],
        _ => return Err("`checks` is no list".into()),
    };
    if list.is_empty() || list.len() > MOST_CHECKS {
        return Err(format!(
            "`checks` has {}, not 1 to {MOST_CHECKS}",
            counted(list.len(), "element")
        ));
    }
    let mut checks = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let name = |what: String| format!("check {}: {what}", index + 1);
        let check = Check::parse(value, folder).map_err(name)?;
        if let Test::Program(program) = &check.test {
            program.usable(programs).map_err(name)?;
        }
        checks.push(check);
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, programs: ProgramPolicy) -> Result<Vec<CheckRow>> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checks.jsonl");
        std::fs::write(&path, text).expect("a file");
        read(&path, &Reading::default(), programs)
    }

    #[test]
    fn rows_of_any_format_are_read() {
        let rows = read_text(
            r#"{"prompt": "Add.", "checks": [{"exact": "2"}, {"max_words": 1}]}
               {"prompt": "Write.", "checks": {"regex": "a"}, "references": ["a", "b"]}"#,
            ProgramPolicy::default(),
        )
        .unwrap();
        assert_eq!((rows[0].key.as_str(), rows[0].checks.len()), ("1", 2));
        assert_eq!(rows[0].question, Question::new("Add."));
        assert_eq!(rows[1].references, ["a", "b"]);
        let rows = read_text(
            r#"{"instruction": "Add.", "input": "1 1", "output": "2", "checks": [{"exact": "2"}]}"#,
            ProgramPolicy::default(),
        )
        .unwrap();
        assert_eq!(
            (rows[0].question.input.as_str(), &rows[0].references[..]),
            ("1 1", &["2".to_string()][..])
        );
    }

    #[test]
    fn bad_rows_are_named() {
        let good = r#"{"prompt": "a", "checks": [{"exact": "2"}]}"#;
        let cases = [
            (r#"{"prompt": "a"}"#, "`checks` is missing"),
            (r#"{"prompt": "a", "checks": []}"#, "`checks` has 0 elements"),
            (r#"{"prompt": "a", "checks": 1}"#, "`checks` is no list"),
            (
                r#"{"prompt": "a", "checks": [{"exact": "2"}, {"regexx": "2"}]}"#,
                "check 2: there is no check `regexx`",
            ),
            (
                r#"{"prompt": "a", "references": "b", "checks": [{"exact": "2"}]}"#,
                "`references` is no list",
            ),
            (
                r#"{"prompt": "", "checks": [{"exact": "2"}]}"#,
                "the instruction is empty",
            ),
            (
                r#"{"prompt": "a", "checks": [{"program": ["true"]}]}"#,
                "--allow-programs",
            ),
        ];
        for (row, wanted) in cases {
            let error =
                read_text(&format!("{good}\n{row}\n"), ProgramPolicy::default()).expect_err("a fault");
            let error = format!("{error:#}");
            assert!(
                error.contains("checks.jsonl:2:1: ") && error.contains(wanted),
                "{row}: {error}"
            );
        }
        assert!(read_text("", ProgramPolicy::default()).is_err());
    }

    #[test]
    fn a_program_must_exist() {
        let allowed = ProgramPolicy {
            allowed: true,
            ..ProgramPolicy::default()
        };
        let row = |name: &str| format!(r#"{{"prompt": "a", "checks": [{{"program": ["{name}"]}}]}}"#);
        assert!(read_text(&row("sh"), allowed).is_ok());
        for name in ["no-such-program-here", "./check.sh"] {
            let error = format!("{:#}", read_text(&row(name), allowed).expect_err("a fault"));
            assert!(error.contains(name) && error.contains("is not found"), "{error}");
        }
    }
}
