//! Objects of the field's formats to tasks. Nothing here reads a file, so rows can be parsed on all cores.

use std::{collections::BTreeMap, sync::Arc};

use serde::de::IgnoredAny;

use super::{
    Format,
    conversation::{self, Exchange},
    extra::Extra,
    fields::{Fields, Json},
    format::{ANSWERS, CONVERSATIONS, INPUTS, QUESTIONS, SYSTEMS},
    mapping::{Mapping, Role},
    read::ReadError,
    rows::Row,
    sniff,
};
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

/// The names that are looked for, the likeliest first.
#[derive(Debug)]
struct Columns {
    instruction: Vec<String>,
    input: Vec<String>,
    output: Vec<String>,
    system: Vec<String>,
    messages: Vec<String>,
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
        let mut incoming = self.incoming(&mut fields).map_err(|what| ReadError::Row {
            file: self.file.to_string(),
            place: row.place,
            what,
        })?;
        incoming.extra.put_before(fields.rest());
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
        if incoming.task.instruction.trim().is_empty() && (self.need.compared() || !is_finished) {
            return Err("the instruction is empty".into());
        }
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
        let Some(found) = find(fields, name).filter(|value| value.kind() == "a string") else {
            return Ok(None);
        };
        let text = found.text()?;
        fields.take(name);
        Ok(Some(text).filter(|text| !text.trim().is_empty()))
    }

    fn conversation(&self, fields: &mut Fields<'_>) -> Result<Incoming, String> {
        let name = present(fields, &self.columns.messages, &[]).to_owned();
        let Some(found) = find(fields, &name) else {
            return Err(format!("the field `{name}` is missing"));
        };
        fields.take(&name);
        // Some tables hold conversations as JSON within a text.
        let text = match found.kind() {
            "a string" => Some(found.text()?),
            _ => None,
        };
        let found = text.as_deref().and_then(Json::of).unwrap_or(found);
        let messages = found
            .elements()
            .ok_or_else(|| format!("`{name}` is {}, not an array", found.kind()))?;
        let exchange = conversation::exchange(messages)?;
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
        let exchange = conversation::exchange(messages)?;
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

impl Columns {
    fn new(format: Format, mapping: &Mapping) -> Columns {
        let [questions, answers] = match format {
            Format::Alpaca => [&["instruction"][..], &["output"]],
            Format::Dolly => [&["instruction"][..], &["response"]],
            Format::Completion => [&["prompt"][..], &["completion"]],
            _ => [QUESTIONS, ANSWERS],
        };
        let (inputs, systems) = match format {
            Format::Completion => (&[][..], &[][..]),
            _ => (INPUTS, SYSTEMS),
        };
        let names = |roles: &[Role], names: &[&str]| match roles.iter().find_map(|role| mapping.column(*role))
        {
            Some(column) => vec![column.to_owned()],
            None => names.iter().map(|name| (*name).to_owned()).collect(),
        };
        // Texts without prompts: all of it is learnt, or scored.
        let alone = mapping.column(Role::Completion).is_some() && mapping.column(Role::Prompt).is_none();
        Columns {
            instruction: match alone {
                true => Vec::new(),
                false => names(&[Role::Instruction, Role::Prompt], questions),
            },
            input: names(&[Role::Input], inputs),
            output: names(&[Role::Output, Role::Completion], answers),
            system: names(&[Role::System], systems),
            messages: match format {
                Format::Chat => names(&[Role::Messages], &["messages"]),
                _ => names(&[Role::Messages], CONVERSATIONS),
            },
        }
    }
}

/// Whether the prompt is a list of messages.
fn has_messages(fields: &Fields<'_>) -> bool {
    fields
        .get("prompt")
        .is_some_and(|value| value.kind() == "an array")
}

/// The first of the names that the row has a value for; else the first that it has at all, or that there is.
fn present<'n>(fields: &Fields<'_>, names: &'n [String], but: &[&str]) -> &'n str {
    let mut names = names
        .iter()
        .map(String::as_str)
        .filter(|name| !but.contains(name));
    let first = names.clone().next().unwrap_or_default();
    let named = |name: &&str| find(fields, name).is_some();
    let has = |name: &&str| has(fields, name);
    names
        .clone()
        .find(has)
        .or_else(|| names.find(named))
        .unwrap_or(first)
}

fn has(fields: &Fields<'_>, name: &str) -> bool {
    find(fields, name).is_some_and(|value| !value.is_null())
}

/// The value of a column; `answers.text.0` is a value within one, unless a column has that name.
pub(super) fn find<'a>(fields: &Fields<'a>, name: &str) -> Option<Json<'a>> {
    if let Some(value) = fields.get(name) {
        return Some(value);
    }
    let mut path = name.split('.');
    let mut value = fields.get(path.next()?)?;
    for step in path {
        value = match value.kind() {
            "an array" => *value.elements()?.get(step.parse::<usize>().ok()?)?,
            _ => Fields::of(value.get())?.get(step)?,
        };
    }
    Some(value)
}

/// The text of a column. What is within another value stays there, since the rest of that value is kept.
fn value(fields: &mut Fields<'_>, name: &str) -> Result<String, String> {
    match (fields.get(name), find(fields, name)) {
        (None, Some(value)) => value.text().map_err(|what| format!("`{name}` {what}")),
        _ => fields.text(name),
    }
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

/// The fields of a row of `file`.
pub(super) fn object<'a>(file: &str, row: &'a Row) -> Result<Fields<'a>, ReadError> {
    let fault = |line, column, what: String| ReadError::Row {
        file: file.to_owned(),
        place: row.place.of_inner(line, column),
        what,
    };
    let text = std::str::from_utf8(&row.text).map_err(|error| {
        let valid = &row.text[..error.valid_up_to()];
        let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let start = memchr::memrchr(b'\n', valid).map_or(0, |end| end + 1);
        let byte = row.text[valid.len()];
        let hint = sniff::encoding_hint(&row.text);
        fault(
            line,
            valid.len() - start + 1,
            format!("not UTF-8: the byte 0x{byte:02x}; {hint}"),
        )
    })?;
    Fields::of(text).ok_or_else(|| {
        // What is wrong with it, serde says best.
        let error = match serde_json::from_str::<BTreeMap<String, IgnoredAny>>(text) {
            Err(error) => error,
            Ok(_) => return fault(1, 1, "not a JSON object".into()),
        };
        let said = error.to_string();
        // The place in the file is said already; serde's is that in the row.
        let what = said
            .rsplit_once(" at line ")
            .map_or(said.as_str(), |(what, _)| what);
        let what = match word_at(&row.text, error.line(), error.column()) {
            Some(word) => format!("`{word}` is not JSON; a value that is missing is null"),
            None => format!("not a JSON object: {what}"),
        };
        fault(error.line(), error.column(), what)
    })
}

/// The word at a place of the text, if it is one that other languages write where JSON has null.
fn word_at(text: &[u8], line: usize, column: usize) -> Option<&'static str> {
    let line = text.split(|&byte| byte == b'\n').nth(line.saturating_sub(1))?;
    let before = &line[..column.min(line.len())];
    // The parser has taken some of the word already.
    let start = before
        .iter()
        .rposition(|byte| !byte.is_ascii_alphabetic() && *byte != b'-')
        .map_or(0, |place| place + 1);
    ["NaN", "-Infinity", "Infinity", "None", "undefined"]
        .into_iter()
        .find(|word| line[start..].starts_with(word.as_bytes()))
}
