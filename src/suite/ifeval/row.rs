//! Rows of the published file: a prompt with the instructions that it gives.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value};

use super::arguments::Arguments;
use super::checker::{Check, Checker};
use super::punkt::PunktParameters;
use super::registry;
use crate::backend::Question;
use crate::interchange::{Format, Reading, Row, read};

/// One instruction of a prompt.
#[derive(Clone)]
pub struct Instruction {
    /// Its id, `family:name`.
    pub id: &'static str,
    pub(super) check: Check,
}

impl fmt::Debug for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instruction").field("id", &self.id).finish()
    }
}

/// A prompt with its instructions.
#[derive(Debug, Clone)]
pub struct IfevalRow {
    /// The row's own key, or its number.
    pub key: String,
    /// What the model is asked.
    pub prompt: String,
    /// What its answer must follow; at least one.
    pub instructions: Vec<Instruction>,
    /// By which its answer is split into sentences.
    pub punkt: Arc<PunktParameters>,
}

/// Reads a file of rows, in any of the file types of [`read::open`]. Their answers will be split
/// into sentences by `punkt`.
///
/// # Errors
///
/// A file that cannot be read or has no rows, and the first row that is none; the error names file,
/// line and, where it is about an instruction, its id.
pub fn read(path: &Path, punkt: &Arc<PunktParameters>) -> Result<Vec<IfevalRow>> {
    let file = path.display().to_string();
    // The format is not looked for: the columns are those of no task.
    let reading = Reading {
        format: Some(Format::Completion),
        ..Reading::default()
    };
    let mut reader = read::open(path, &reading)?;
    let mut rows = Vec::new();
    while let Some(row) = reader.next_row() {
        let row: Row = row?;
        let parsed = serde_json::from_slice(&row.text)
            .map_err(|error| error.to_string())
            .and_then(|value| IfevalRow::parse(&value, row.number, punkt));
        rows.push(parsed.map_err(|what| anyhow!("{}: {what}", row.place.in_file(&file)))?);
    }
    match rows.is_empty() {
        true => bail!("`{file}` has no rows\nhint: it has a prompt with its instructions on each line"),
        false => Ok(rows),
    }
}

impl IfevalRow {
    /// Returns what the model is asked.
    pub fn question(&self) -> Question {
        Question::new(self.prompt.as_str())
    }

    /// Parses a row. `number`, from 1, is its key if it has none. Its answer will be split into
    /// sentences by `punkt`.
    ///
    /// # Errors
    ///
    /// What is wrong, with the id of the instruction.
    pub fn parse(row: &Value, number: u64, punkt: &Arc<PunktParameters>) -> Result<IfevalRow, String> {
        let fields = row.as_object().ok_or("the row is no object")?;
        let key = match fields.get("key") {
            None | Some(Value::Null) => number.to_string(),
            Some(Value::String(key)) => key.clone(),
            Some(key) => key.to_string(),
        };
        let prompt = fields.get("prompt").and_then(Value::as_str).unwrap_or_default();
        if prompt.trim().is_empty() {
            return Err("`prompt` is no text, or empty".into());
        }
        let ids = list(fields, "instruction_id_list")?;
        let arguments = list(fields, "kwargs")?;
        if ids.is_empty() {
            return Err("`instruction_id_list` is empty: nothing can be verified".into());
        }
        if ids.len() != arguments.len() {
            return Err(format!(
                "`instruction_id_list` has a length of {}, and `kwargs` of {}",
                ids.len(),
                arguments.len()
            ));
        }
        let instructions = ids
            .iter()
            .zip(arguments)
            .map(|(id, arguments)| instruction(id, arguments));
        Ok(IfevalRow {
            key,
            prompt: prompt.to_string(),
            instructions: instructions.collect::<Result<_, _>>()?,
            punkt: Arc::clone(punkt),
        })
    }
}

fn list<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a Vec<Value>, String> {
    let value = fields.get(name).and_then(Value::as_array);
    value.ok_or_else(|| format!("`{name}` is missing, or no list"))
}

fn instruction(id: &Value, arguments: &Value) -> Result<Instruction, String> {
    let name = id.as_str().unwrap_or_default();
    let Some(Checker {
        id,
        arguments: known,
        make,
    }) = registry::checker(name)
    else {
        return Err(format!(
            "{id} is no instruction of IFEval\nhint: did you mean `{}`?",
            registry::nearest(name)
        ));
    };
    let none = Map::new();
    let object = match arguments {
        Value::Null => &none,
        _ => arguments
            .as_object()
            .ok_or_else(|| format!("the arguments of `{id}` are no object"))?,
    };
    let arguments = Arguments(object);
    let check = arguments.only(known).and_then(|()| make(&arguments));
    Ok(Instruction {
        id,
        check: check.map_err(|what| format!("`{id}` {what}"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn english() -> Arc<PunktParameters> {
        Arc::new(PunktParameters::english())
    }

    fn fault(row: Value) -> String {
        IfevalRow::parse(&row, 7, &english()).expect_err("a fault")
    }

    #[test]
    fn a_published_row_is_read() {
        let row = json!({"key": 1000, "prompt": "Write.", "instruction_id_list": ["punctuation:no_comma",
            "length_constraints:number_words"], "kwargs": [{}, {"relation": "at least", "num_words": 300}]});
        let row = IfevalRow::parse(&row, 1, &english()).unwrap();
        assert_eq!((row.key.as_str(), row.prompt.as_str()), ("1000", "Write."));
        let ids: Vec<_> = row
            .instructions
            .iter()
            .map(|instruction| instruction.id)
            .collect();
        assert_eq!(ids, ["punctuation:no_comma", "length_constraints:number_words"]);
    }

    #[test]
    fn a_table_with_all_columns_is_read() {
        let row = json!({"prompt": "Write.", "instruction_id_list": ["keywords:frequency"],
            "kwargs": [{"keyword": "a", "frequency": 2.0, "relation": "less than", "language": null,
                "num_words": null, "keywords": null}]});
        assert_eq!(IfevalRow::parse(&row, 7, &english()).unwrap().key, "7");
    }

    #[test]
    fn faults_name_instruction_and_argument() {
        let row = |id: &str, arguments: Value| json!({"prompt": "p", "instruction_id_list": [id], "kwargs": [arguments]});
        let cases = [
            (json!([]), "no object"),
            (json!({"instruction_id_list": ["a"], "kwargs": [{}]}), "`prompt`"),
            (
                json!({"prompt": "p", "kwargs": [{}]}),
                "`instruction_id_list` is missing",
            ),
            (
                json!({"prompt": "p", "instruction_id_list": [], "kwargs": []}),
                "is empty",
            ),
            (
                json!({"prompt": "p", "instruction_id_list": ["punctuation:no_comma"], "kwargs": []}),
                "a length of 1, and `kwargs` of 0",
            ),
            (
                row("punctuation:no_commas", json!({})),
                "did you mean `punctuation:no_comma`?",
            ),
            (
                row("length_constraints:number_words", json!({"num_words": 3})),
                "`length_constraints:number_words` needs the argument `relation`",
            ),
            (
                row(
                    "length_constraints:number_words",
                    json!({"num_words": -3, "relation": "at least"}),
                ),
                "needs a whole number as `num_words`, not -3",
            ),
            (
                row("keywords:existence", json!({"keywords": []})),
                "needs a list of texts as `keywords`",
            ),
            (
                row("keywords:existence", json!({"keywords": ["("]})),
                "is no pattern",
            ),
            (
                row("language:response_language", json!({"language": "xx"})),
                "not `xx`",
            ),
            (
                row(
                    "length_constraints:nth_paragraph_first_word",
                    json!({"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"}),
                ),
                "not 3",
            ),
            (
                row("punctuation:no_comma", json!({"num_words": 3})),
                "has no arguments, but `num_words`",
            ),
            (
                row(
                    "keywords:letter_frequency",
                    json!({"letter": "ab", "let_frequency": 1, "let_relation": "at least"}),
                ),
                "one letter",
            ),
        ];
        for (row, wanted) in cases {
            let found = fault(row.clone());
            assert!(found.contains(wanted), "{row}: {found}");
        }
    }

    #[test]
    fn a_file_is_read_and_its_faults_have_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        let good = r#"{"key": 1, "prompt": "p", "instruction_id_list": ["detectable_format:title"], "kwargs": [{}]}"#;
        std::fs::write(&path, format!("{good}\n\n{good}\n")).unwrap();
        assert_eq!(read(&path, &english()).unwrap().len(), 2);
        std::fs::write(&path, format!("{good}\n{}\n", good.replace("title", "titel"))).unwrap();
        let error = format!("{:#}", read(&path, &english()).unwrap_err());
        assert!(
            error.contains("rows.jsonl:2:1: \"detectable_format:titel\""),
            "{error}"
        );
        std::fs::write(&path, "").unwrap();
        assert!(read(&path, &english()).is_err());
    }
}
