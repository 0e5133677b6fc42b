//! Objects of the field's formats to tasks. Nothing here reads a file, so rows can be parsed on all cores.

use std::sync::Arc;

use super::{
    Format,
    conversation::{self, Exchange},
    extra::{DEEPEST, Extra},
    fields::{Fields, Json},
    mapping::{Mapping, Role},
    names::{Columns, find, has, present, value},
    object::object,
    parts,
    read::ReadError,
    rows::Row,
};
use crate::fold::is_blank;
use crate::task::{Instance, Task};

/// An instruction of more bytes is an error of its row: comparing it with others would take longer than all the rest.
pub const LONGEST_INSTRUCTION: usize = 1 << 20;

/// The field by which rows of one task find each other again: an export gives each row of a task with several instances the same.
pub const GROUP: &str = "ewe_group";

/// What a command wants of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Need {
    /// A task with an answer.
    #[default]
    Task,
    /// An instruction; what else there is is looked at, too.
    Instruction,
    /// A prompt and what follows it. Of a finished text either may be empty.
    Pair,
    /// Something to answer.
    Prompt,
}

impl Need {
    /// Whether there must be an answer.
    pub(super) fn answer(self) -> bool {
        matches!(self, Need::Task | Need::Pair)
    }

    /// Whether instructions are compared with each other.
    fn compared(self) -> bool {
        matches!(self, Need::Task | Need::Instruction)
    }
}

/// How the rows of a file are read, as far as somebody said so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The format; told by looking where there is none.
    pub format: Option<Format>,
    /// Which columns are what.
    pub mapping: Mapping,
    /// What is wanted of a row.
    pub need: Need,
}

/// Where a row stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileRow {
    /// The file, as it was named; `-` is standard input.
    pub file: Arc<str>,
    /// The row, counted from 1; rows that cannot be read count.
    pub row: u64,
}

/// What a row of a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Incoming {
    /// The task. Without an answer, where none is needed, it has no instances.
    pub task: Task,
    /// The system message that stands before it.
    pub system: Option<String>,
    /// Its id in the file.
    pub source_id: Option<String>,
    /// Rows of one file with the same group and the same instruction are instances of one task.
    pub group: Option<String>,
    /// All that the row says besides.
    pub extra: Extra,
    /// Where it stands.
    pub place: FileRow,
    /// Whether the prompt and the completion are finished texts, which no template is laid over.
    pub is_finished: bool,
    /// Whether an answer is wanted, and the one that is there says nothing.
    pub answer_is_empty: bool,
}

impl Incoming {
    /// The instruction, and before it the system message, for those who have one text for both.
    pub fn instruction_under_system(&self) -> String {
        match &self.system {
            Some(system) => format!("{system}\n\n{}", self.task.instruction),
            None => self.task.instruction.clone(),
        }
    }

    /// What somebody would ask in one text: the system message, the instruction and the input of an instance, with empty
    /// lines between them.
    pub fn question(&self, instance: usize) -> String {
        let instruction = self.instruction_under_system();
        match self.task.instances.get(instance) {
            Some(instance) if !instance.input.is_empty() => format!("{instruction}\n\n{}", instance.input),
            _ => instruction,
        }
    }
}

/// Parses the rows of one file.
#[derive(Debug, Clone)]
pub struct Parser {
    file: Arc<str>,
    format: Format,
    need: Need,
    columns: Arc<Columns>,
    own: Own,
}

/// Whether ewe wrote the file, as columns that say more than a format does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    No,
    /// Rows of a format, with what they say besides.
    Rows,
    /// The dataset as a table.
    Table,
}

impl Parser {
    /// For rows of a file of this format, which messages call `file`.
    pub fn new(file: &str, format: Format, reading: &Reading) -> Parser {
        let mapped = |role| reading.mapping.column(role);
        let format = match () {
            () if mapped(Role::Messages).is_some() => Format::Chat,
            () if mapped(Role::Prompt).or(mapped(Role::Completion)).is_some() => Format::Completion,
            () => format,
        };
        Parser {
            file: file.into(),
            format,
            need: reading.need,
            columns: Arc::new(Columns::new(format, &reading.mapping)),
            own: Own::No,
        }
    }

    /// The same for columns that ewe wrote: the dataset as a table, or the rows of a format.
    pub(super) fn of_own_table(self, is_dataset: bool) -> Parser {
        let own = if is_dataset { Own::Table } else { Own::Rows };
        Parser { own, ..self }
    }

    /// What the rows are.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether a row is a finished text. A prompt that is a list of messages is none.
    fn is_finished(&self, fields: &Fields<'_>) -> bool {
        match self.format {
            Format::Completion => !has_messages(fields),
            Format::Instructions => self.need == Need::Prompt,
            _ => false,
        }
    }

    /// The task that a row says.
    ///
    /// # Errors
    ///
    /// [`ReadError::Row`] says what is wrong with the row, and where it is.
    pub fn parse(&self, row: &Row) -> Result<Incoming, ReadError> {
        let mut fields = object(&self.file, row)?;
        let fault = |what| ReadError::Row {
            file: self.file.to_string(),
            place: row.place,
            what,
            found: None,
        };
        let mut incoming = self.incoming(&mut fields).map_err(fault)?;
        incoming.extra.put_before(fields.rest());
        if self.need == Need::Task
            && let Some(name) = incoming.extra.too_deep()
        {
            return Err(fault(format!(
                "`{name}` has more than {} lists and objects one within the other, and cannot be kept",
                DEEPEST - 1
            )));
        }
        incoming.place = FileRow {
            file: Arc::clone(&self.file),
            row: row.number,
        };
        Ok(incoming)
    }

    fn incoming(&self, fields: &mut Fields<'_>) -> Result<Incoming, String> {
        let group = fields.text_or_null(GROUP)?;
        let is_finished = self.is_finished(fields);
        let mut incoming = match self.format {
            Format::SelfInstruct => Incoming {
                system: self.system(fields)?,
                ..self_instruct(fields, self.need)?
            },
            Format::Chat | Format::ShareGpt => self.conversation(fields)?,
            Format::Completion if has_messages(fields) => self.prompt_and_completion(fields)?,
            _ => self.pair(fields)?,
        };
        incoming.group = group;
        incoming.is_finished = is_finished;
        if self.own == Own::Table {
            own_columns(fields, &mut incoming)?;
        }
        if self.own != Own::No
            && let Some(extra) = fields.text_or_null("extra")?
        {
            let extra = Extra::parse(&extra).ok_or("`extra` is no JSON object")?;
            incoming.extra.put_before(extra);
        }
        let length = incoming.task.instruction.len();
        if self.need.compared() && length > LONGEST_INSTRUCTION {
            return Err(format!(
                "the instruction is {length} bytes long, at most {LONGEST_INSTRUCTION} can be judged"
            ));
        }
        if is_blank(&incoming.task.instruction) && (self.need.compared() || !is_finished) {
            return Err(match incoming.task.instruction.trim() {
                "" => "the instruction is empty".into(),
                _ => "the instruction is empty: nothing in it can be seen".into(),
            });
        }
        let is_empty = |instance: &Instance| instance.output.trim().is_empty();
        incoming.answer_is_empty =
            self.need.answer() && !is_finished && incoming.task.instances.iter().any(is_empty);
        Ok(incoming)
    }

    /// A question, what it is about, and the answer, each a column.
    fn pair(&self, fields: &mut Fields<'_>) -> Result<Incoming, String> {
        let columns = &self.columns;
        let question = present(fields, &columns.instruction, &[]);
        let answer = present(fields, &columns.output, &[question]);
        let input = present(fields, &columns.input, &[question, answer]);
        let instruction = match columns.instruction.is_empty() {
            true => String::new(),
            false => value(fields, question)?,
        };
        let output = match self.need.answer() || has(fields, answer) {
            true => Some(value(fields, answer)?),
            false => None,
        };
        let input = match has(fields, input) {
            true => value(fields, input)?,
            false => String::new(),
        };
        let mut incoming = Incoming {
            system: self.system(fields)?,
            ..Incoming::default()
        };
        if self.format == Format::Dolly {
            incoming.task.name = fields.text_or_null("category")?;
            incoming.task.is_classification = incoming.task.name.as_deref() == Some("classification");
        }
        if let Some(history) = fields
            .get("history")
            .filter(|history| history.kind() == "an array")
        {
            if history.elements().is_some_and(|turns| !turns.is_empty()) {
                return Err("`history` has earlier turns, and a task has one question and one answer".into());
            }
            fields.take("history");
        }
        incoming.task.instruction = instruction;
        incoming.task.instances = match output {
            // What is asked is the input, too.
            None if self.need == Need::Prompt && !input.is_empty() => instances(input, Some(String::new())),
            output => instances(input, output),
        };
        Ok(incoming)
    }

    /// The column of the system message, if it is one.
    fn system(&self, fields: &mut Fields<'_>) -> Result<Option<String>, String> {
        let name = present(fields, &self.columns.system, &[]);
        let text = match fields.get(name) {
            Some(_) => parts::system(fields, name)?,
            // It is within another column, which stays.
            None => find(fields, name)
                .filter(|value| value.kind() == "a string")
                .map(Json::text)
                .transpose()?,
        };
        Ok(text.filter(|text| !text.trim().is_empty()))
    }

    fn conversation(&self, fields: &mut Fields<'_>) -> Result<Incoming, String> {
        let name = present(fields, &self.columns.messages, &[]).to_owned();
        let Some(found) = find(fields, &name) else {
            return Err(format!("the field `{name}` is missing"));
        };
        fields.take(&name);
        // Some tables hold conversations as JSON within a text, or as a dialogue.
        let text = match found.kind() {
            "a string" => Some(found.text()?),
            _ => None,
        };
        if let Some(exchange) = text.as_deref().and_then(conversation::exchange_in_text) {
            return self.exchanged(fields, exchange?, &name);
        }
        let found = text.as_deref().and_then(Json::of).unwrap_or(found);
        let messages = found
            .elements()
            .ok_or_else(|| format!("`{name}` is {}, not an array", found.kind()))?;
        let exchange = conversation::exchange(&messages)?;
        self.exchanged(fields, exchange, &name)
    }

    /// A prompt and a completion that are lists of messages.
    fn prompt_and_completion(&self, fields: &mut Fields<'_>) -> Result<Incoming, String> {
        let mut messages = Vec::new();
        for name in ["prompt", "completion"] {
            let list = match fields.take(name) {
                Some(value) => value
                    .elements()
                    .ok_or_else(|| format!("`{name}` is {}, not an array", value.kind()))?,
                None => Vec::new(),
            };
            messages.extend(list);
        }
        let exchange = conversation::exchange(&messages)?;
        self.exchanged(fields, exchange, "messages")
    }

    fn exchanged(&self, fields: &mut Fields<'_>, exchange: Exchange, name: &str) -> Result<Incoming, String> {
        if exchange.assistant.is_none() && self.need.answer() {
            return Err("a conversation of user: only one user message and one assistant message after it make a task".into());
        }
        let mut incoming = Incoming {
            task: Task {
                instruction: exchange.user,
                instances: instances(String::new(), exchange.assistant),
                ..Task::default()
            },
            system: match exchange.system {
                Some(system) => Some(system),
                None => self.system(fields)?,
            },
            ..Incoming::default()
        };
        incoming.extra.push_list(name, &exchange.rest);
        Ok(incoming)
    }
}

/// Whether the prompt is a list of messages.
fn has_messages(fields: &Fields<'_>) -> bool {
    fields
        .get("prompt")
        .is_some_and(|value| value.kind() == "an array")
}

fn instances(input: String, output: Option<String>) -> Vec<Instance> {
    output
        .map(|output| Instance { input, output })
        .into_iter()
        .collect()
}

/// What a table that ewe wrote says besides the texts.
fn own_columns(fields: &mut Fields<'_>, incoming: &mut Incoming) -> Result<(), String> {
    incoming.task.name = fields.text_or_null("name")?;
    incoming.task.is_classification = truth(fields, "is_classification")?;
    // A number that means nothing in another dataset.
    fields.take("task_id");
    Ok(())
}

fn truth(fields: &mut Fields<'_>, name: &str) -> Result<bool, String> {
    match fields.take(name) {
        None => Ok(false),
        Some(value) => match value.get() {
            "null" | "false" => Ok(false),
            "true" => Ok(true),
            _ => Err(format!("`{name}` is {}, not true or false", value.kind())),
        },
    }
}

fn self_instruct(fields: &mut Fields<'_>, need: Need) -> Result<Incoming, String> {
    let source_id = match fields.take("id") {
        None => None,
        Some(value) if value.is_null() => None,
        Some(value) => Some(value.text().map_err(|what| format!("`id` {what}"))?),
    };
    let name = fields.text_or_null("name")?;
    let instruction = fields.text("instruction")?;
    let is_classification = truth(fields, "is_classification")?;
    let list = match fields.take("instances") {
        Some(value) => value
            .elements()
            .ok_or_else(|| format!("`instances` is {}, not an array", value.kind()))?,
        None => return Err("the field `instances` is missing".into()),
    };
    if list.is_empty() && need.answer() {
        return Err("`instances` is empty".into());
    }
    let (mut instances, mut rest) = (Vec::with_capacity(list.len()), Vec::with_capacity(list.len()));
    for (index, value) in list.into_iter().enumerate() {
        let mut instance = Fields::of(value.get())
            .ok_or_else(|| format!("`instances[{index}]` is {}, not an object", value.kind()))?;
        let read = |what: String| format!("`instances[{index}]`: {what}");
        instances.push(Instance {
            input: instance.text_or_null("input").map_err(read)?.unwrap_or_default(),
            output: instance.text("output").map_err(read)?,
        });
        rest.push(instance.rest());
    }
    let mut extra = Extra::default();
    extra.push_list("instances", &rest);
    Ok(Incoming {
        task: Task {
            name,
            instruction,
            instances,
            is_classification,
        },
        source_id,
        extra,
        ..Incoming::default()
    })
}
