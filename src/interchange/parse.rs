//! Objects of the field's formats to tasks. Nothing here reads a file, so rows can be parsed on all cores.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Format, read::ReadError, rows::Row};
use crate::task::{Instance, Task};

/// An instruction of more bytes is an error of its row: comparing it with others would take longer than all the rest.
pub const LONGEST_INSTRUCTION: usize = 1 << 20;

/// What a file of tasks says about one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Incoming {
    /// The task.
    pub task: Task,
    /// Its id in the file.
    pub source_id: Option<String>,
    /// Fields of the row that a task has no place for.
    pub unused: Vec<String>,
}

/// Parses the rows of one file.
#[derive(Debug, Clone)]
pub struct Parser {
    file: Arc<str>,
    format: Format,
}

impl Parser {
    /// For rows of a file of this format, which messages call `file`.
    pub fn new(file: &str, format: Format) -> Parser {
        Parser {
            file: file.into(),
            format,
        }
    }

    /// What the rows are.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The task that a row says.
    ///
    /// # Errors
    ///
    /// [`ReadError::Row`] says what is wrong with the row, and where it is.
    pub fn parse(&self, row: &Row) -> Result<Incoming, ReadError> {
        let mut fields = Fields {
            object: object(&self.file, row)?,
        };
        let mut incoming = fields.incoming(self.format).map_err(|what| ReadError::Row {
            file: self.file.to_string(),
            place: row.place,
            what,
        })?;
        incoming.unused = fields.object.into_iter().map(|(field, _)| field).collect();
        Ok(incoming)
    }
}

/// The fields of a row of `file`.
pub(super) fn object(file: &str, row: &Row) -> Result<Map<String, Value>, ReadError> {
    serde_json::from_slice(&row.text).map_err(|error| {
        let text = error.to_string();
        // The place in the file is said already; serde's is that in the row.
        let what = text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(what, _)| what);
        ReadError::Row {
            file: file.to_owned(),
            place: row.place.of_inner(error.line(), error.column()),
            what: format!("not a JSON object: {what}"),
        }
    })
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
                ..Incoming::default()
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
                    ..Incoming::default()
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
                ..Incoming::default()
            },
            Format::Chat => self.chat()?,
            Format::SelfInstruct => self.self_instruct()?,
        };
        if incoming.task.instruction.trim().is_empty() {
            return Err("the instruction is empty".into());
        }
        let length = incoming.task.instruction.len();
        if length > LONGEST_INSTRUCTION {
            return Err(format!(
                "the instruction is {length} bytes long, at most {LONGEST_INSTRUCTION} can be judged"
            ));
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
            ..Incoming::default()
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
            None | Some(Value::Null) => false,
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
            ..Incoming::default()
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
