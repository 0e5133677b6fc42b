//! Objects of the field's formats to tasks, and files of them into the store.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use serde_json::{Map, Value};

use super::{
    Format,
    rows::{Place, Row, RowError, Rows},
};
use crate::{
    store::{NewTask, Store},
    task::{Instance, Origin, Task},
};

/// What a file of tasks says about one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The task.
    pub task: Task,
    /// Its id in the file.
    pub source_id: Option<String>,
}

/// Why a file cannot be read as tasks.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read at all.
    #[error("cannot read `{file}`: {error}")]
    Io {
        /// The file.
        file: String,
        /// What the system says.
        error: io::Error,
    },
    /// A row is not what it should be.
    #[error("{file}:{}:{}: {what}", place.line, place.column)]
    Row {
        /// The file.
        file: String,
        /// Where in the file.
        place: Place,
        /// What is wrong there.
        what: String,
    },
    /// There is nothing in it.
    #[error("`{file}` has no tasks in it")]
    NoRows {
        /// The file.
        file: String,
    },
    /// No format has these fields.
    #[error(
        "cannot tell the format of `{file}`: its first row has the fields {fields}\nhint: say what it is with --format alpaca, dolly, chat, completion or self-instruct"
    )]
    UnknownFormat {
        /// The file.
        file: String,
        /// The fields of the first row, quoted.
        fields: String,
    },
}

/// Reads a file of tasks; an iterator.
#[derive(Debug)]
pub struct Reader<R> {
    rows: Rows<R>,
    file: String,
    format: Option<Format>,
    unused: BTreeSet<String>,
}

impl<R: BufRead> Reader<R> {
    /// Tasks of `input`, which messages call `file`. Without a format, the first row tells it.
    pub fn new(input: R, file: &str, format: Option<Format>) -> Reader<R> {
        Reader {
            rows: Rows::new(input),
            file: file.to_owned(),
            format,
            unused: BTreeSet::new(),
        }
    }

    /// The format, once a row was read.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// Fields met so far that a task has no place for.
    pub fn unused_fields(&self) -> &BTreeSet<String> {
        &self.unused
    }

    /// The next task, and where in the file it begins.
    pub fn next_with_place(&mut self) -> Option<(Place, Result<Incoming, ReadError>)> {
        match self.rows.next()? {
            Ok(row) => Some((row.place, self.read(&row))),
            Err(RowError::Io(error)) => Some((
                Place { line: 0, column: 0 },
                Err(ReadError::Io {
                    file: self.file.clone(),
                    error,
                }),
            )),
            Err(RowError::Malformed { place, what }) => Some((place, Err(self.fault(place, what)))),
        }
    }

    fn read(&mut self, row: &Row) -> Result<Incoming, ReadError> {
        let object: Map<String, Value> = serde_json::from_slice(&row.text).map_err(|error| {
            let text = error.to_string();
            // The place in the file is said already; serde's is that in the row.
            let what = text
                .rsplit_once(" at line ")
                .map_or(text.as_str(), |(what, _)| what);
            self.fault(
                row.place.of_inner(error.line(), error.column()),
                format!("not a JSON object: {what}"),
            )
        })?;
        let format = match self.format.or_else(|| Format::of(&object)) {
            Some(format) => format,
            None => {
                let fields: Vec<_> = object.keys().map(|field| format!("`{field}`")).collect();
                return Err(ReadError::UnknownFormat {
                    file: self.file.clone(),
                    fields: fields.join(", "),
                });
            }
        };
        self.format = Some(format);
        let mut fields = Fields { object };
        let incoming = fields
            .incoming(format)
            .map_err(|what| self.fault(row.place, what))?;
        self.unused
            .extend(fields.object.into_iter().map(|(field, _)| field));
        Ok(incoming)
    }

    fn fault(&self, place: Place, what: String) -> ReadError {
        ReadError::Row {
            file: self.file.clone(),
            place,
            what,
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Incoming, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with_place().map(|(_, task)| task)
    }
}

/// The fields of an object that nobody has read yet. Errors say what is wrong with the row.
struct Fields {
    object: Map<String, Value>,
}

impl Fields {
    fn incoming(&mut self, format: Format) -> Result<Incoming, String> {
        let incoming = match format {
            Format::Alpaca => Incoming {
                task: Task {
                    instruction: self.text("instruction")?,
                    instances: vec![Instance {
                        input: self.text_or_null("input")?.unwrap_or_default(),
                        output: self.text("output")?,
                    }],
                    ..Task::default()
                },
                source_id: None,
            },
            Format::Dolly => {
                let category = self.text_or_null("category")?;
                Incoming {
                    task: Task {
                        is_classification: category.as_deref() == Some("classification"),
                        name: category,
                        instruction: self.text("instruction")?,
                        instances: vec![Instance {
                            input: self.text_or_null("context")?.unwrap_or_default(),
                            output: self.text("response")?,
                        }],
                    },
                    source_id: None,
                }
            }
            Format::Completion => Incoming {
                task: Task {
                    instruction: self.text("prompt")?,
                    instances: vec![Instance {
                        input: String::new(),
                        output: self.text("completion")?,
                    }],
                    ..Task::default()
                },
                source_id: None,
            },
            Format::Chat => self.chat()?,
            Format::SelfInstruct => self.self_instruct()?,
        };
        if incoming.task.instruction.trim().is_empty() {
            return Err("the instruction is empty".into());
        }
        Ok(incoming)
    }

    /// One question and one answer. A system message goes before the question, for a task has no other place for it.
    fn chat(&mut self) -> Result<Incoming, String> {
        let messages = match self.object.shift_remove("messages") {
            Some(Value::Array(messages)) => messages,
            Some(_) => return Err("`messages` is not an array".into()),
            None => return Err("the field `messages` is missing".into()),
        };
        let mut turns = Vec::new();
        for message in messages {
            let Value::Object(object) = message else {
                return Err("a message is not an object".into());
            };
            let mut message = Fields { object };
            turns.push((message.text("role")?, message.text("content")?));
        }
        let roles: Vec<_> = turns.iter().map(|(role, _)| role.as_str()).collect();
        let (instruction, output) = match (roles.as_slice(), turns.as_slice()) {
            (["user", "assistant"], [(_, user), (_, assistant)]) => (user.clone(), assistant),
            (["system", "user", "assistant"], [(_, system), (_, user), (_, assistant)]) => {
                (format!("{system}\n\n{user}"), assistant)
            }
            _ => {
                return Err(format!(
                    "a conversation of {}: only one user message and one assistant message after it make a task",
                    roles.join(", ")
                ));
            }
        };
        let instances = vec![Instance {
            input: String::new(),
            output: output.clone(),
        }];
        Ok(Incoming {
            task: Task {
                instruction,
                instances,
                ..Task::default()
            },
            source_id: None,
        })
    }

    fn self_instruct(&mut self) -> Result<Incoming, String> {
        let source_id = match self.object.shift_remove("id") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id),
            Some(Value::Number(id)) => Some(id.to_string()),
            Some(other) => return Err(format!("`id` is {}, not a string", kind(&other))),
        };
        let name = self.text_or_null("name")?;
        let instruction = self.text("instruction")?;
        let is_classification = match self.object.shift_remove("is_classification") {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(other) => {
                return Err(format!(
                    "`is_classification` is {}, not true or false",
                    kind(&other)
                ));
            }
        };
        let list = match self.object.shift_remove("instances") {
            Some(Value::Array(list)) => list,
            Some(other) => return Err(format!("`instances` is {}, not an array", kind(&other))),
            None => return Err("the field `instances` is missing".into()),
        };
        if list.is_empty() {
            return Err("`instances` is empty".into());
        }
        let mut instances = Vec::with_capacity(list.len());
        for (index, instance) in list.into_iter().enumerate() {
            let Value::Object(object) = instance else {
                return Err(format!(
                    "`instances[{index}]` is {}, not an object",
                    kind(&instance)
                ));
            };
            let mut instance = Fields { object };
            let read = |what: String| format!("`instances[{index}]`: {what}");
            instances.push(Instance {
                input: instance.text_or_null("input").map_err(read)?.unwrap_or_default(),
                output: instance.text("output").map_err(read)?,
            });
        }
        Ok(Incoming {
            task: Task {
                name,
                instruction,
                instances,
                is_classification,
            },
            source_id,
        })
    }

    fn text(&mut self, field: &str) -> Result<String, String> {
        match self.object.shift_remove(field) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(format!("`{field}` is {}, not a string", kind(&other))),
            None => Err(format!("the field `{field}` is missing")),
        }
    }

    fn text_or_null(&mut self, field: &str) -> Result<Option<String>, String> {
        match self.object.get(field) {
            None => Ok(None),
            Some(Value::Null) => {
                self.object.shift_remove(field);
                Ok(None)
            }
            Some(_) => self.text(field).map(Some),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// What an import brought in.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// How many tasks.
    pub tasks: usize,
    /// The format, as it was given or told by looking.
    pub format: Option<&'static str>,
    /// Fields of the file that a task has no place for.
    pub unused_fields: Vec<String>,
}

/// Reads the file at `path` (`-` is standard input) into the store, all of it or, after an error, nothing.
///
/// # Errors
///
/// [`ReadError`] for the file, [`crate::store::Error`] for the store.
pub async fn import(store: &Store, path: &Path, format: Option<Format>) -> anyhow::Result<Imported> {
    let file = path.display().to_string();
    let input: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let opened = File::open(path).map_err(|error| ReadError::Io {
            file: file.clone(),
            error,
        })?;
        Box::new(BufReader::with_capacity(1 << 16, opened))
    };
    let mut reader = Reader::new(input, &file, format);
    // The first row comes before the write lock: a file that cannot be read disturbs nobody.
    let first = reader.next().transpose()?;
    let format = reader.format().map(Format::as_str);
    let config = serde_json::json!({ "file": file, "format": format });
    let mut batch = store.begin_batch("import", &config).await?;
    let mut incoming = first.map(Ok);
    while let Some(next) = incoming.take().or_else(|| reader.next()) {
        let Incoming { task, source_id } = next?;
        batch
            .add(NewTask {
                source_id,
                ..NewTask::new(task, Origin::Import)
            })
            .await?;
    }
    let tasks = batch.commit().await?;
    let unused_fields = reader.unused_fields().iter().cloned().collect();
    Ok(Imported {
        tasks,
        format,
        unused_fields,
    })
}
