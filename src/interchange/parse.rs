//! Rows to tasks. Nothing here reads a file, so rows can be parsed on all cores.

mod columns;

use std::sync::Arc;

use super::{
    Format, Need, ParsedRow, ReadError, Reading, Row, SourceRow,
    conversation::{self, Exchange, oasst, parts},
    extra::{DEEPEST, Extra},
    format::{GROUP, HISTORY, LATER, TREE_ID, TREE_ROWS, is_tree},
    json::{Fields, Json},
    mapping::Role,
    rows::object::object,
};
use crate::fold::is_blank;
use crate::task::{Instance, Task, Turn};
use columns::{ColumnNames, has, present};

/// The longest instruction that is compared with others, in bytes. Comparing a longer one would
/// take longer than all the other rows together.
pub const LONGEST_INSTRUCTION: usize = 1 << 20;

/// The field of a later question that says which of its text is the input.
pub(super) const INPUT_OF_TURN: &str = "ewe_input";

/// Parses the rows of one file.
#[derive(Debug, Clone)]
pub struct RowParser {
    file: Arc<str>,
    format: Format,
    need: Need,
    columns: Arc<ColumnNames>,
    own_table: OwnTable,
}

/// Whether the file is a table that ewe wrote, with columns beyond those of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnTable {
    /// No, or it is no table.
    No,
    /// Rows of a format, with a column for their other fields.
    Format,
    /// The whole dataset.
    Dataset,
}

impl RowParser {
    /// Parses rows of this format. Errors call the file `file`.
    pub fn new(file: &str, format: Format, reading: &Reading) -> RowParser {
        let mapped = |role| reading.mapping.column(role);
        let format = match () {
            () if mapped(Role::Messages).is_some() => Format::Chat,
            () if mapped(Role::Prompt).or(mapped(Role::Completion)).is_some() => Format::Completion,
            () => format,
        };
        RowParser {
            file: file.into(),
            format,
            need: reading.need,
            columns: Arc::new(ColumnNames::new(format, &reading.mapping)),
            own_table: OwnTable::No,
        }
    }

    /// Parses a table that ewe wrote: the whole dataset, or rows of a format.
    pub(super) fn of_own_table(self, is_dataset: bool) -> RowParser {
        let own_table = match is_dataset {
            true => OwnTable::Dataset,
            false => OwnTable::Format,
        };
        RowParser { own_table, ..self }
    }

    /// Returns the format of the rows.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether a row is used as it is, without a chat template. A prompt that is a list of messages
    /// is not.
    fn is_finished(&self, fields: &Fields<'_>) -> bool {
        match self.format {
            Format::Completion => !has_messages(fields),
            Format::Instructions => self.need == Need::Prompt,
            _ => false,
        }
    }

    /// Whether the row is a tree of OpenAssistant without any answer.
    pub fn is_unanswered_tree(&self, row: &Row) -> bool {
        let is_of_trees = matches!(self.format, Format::Oasst | Format::OasstAll);
        let prompt_is = |fields: Fields<'_>| {
            let prompt = fields.get("prompt");
            prompt.is_some_and(|prompt| is_tree(prompt) && oasst::is_unanswered(prompt))
        };
        is_of_trees && object(&self.file, row).is_ok_and(prompt_is)
    }

    /// Parses a row.
    ///
    /// # Errors
    ///
    /// [`ReadError::Row`] if the row is no task; it names the place.
    pub fn parse(&self, row: &Row) -> Result<ParsedRow, ReadError> {
        let mut fields = object(&self.file, row)?;
        let fault = |what| ReadError::Row {
            file: self.file.to_string(),
            place: row.place,
            what,
            found: None,
        };
        let mut parsed = self.parsed(&mut fields).map_err(fault)?;
        parsed.extra.put_before(Extra::rest_of(fields));
        if let Some(list) = parsed.extra.take(LATER) {
            let turns = later(&list, parsed.task.instances.first(), &parsed.task.instruction);
            parsed.turns = vec![turns.map_err(fault)?];
        }
        if self.need == Need::Task
            && let Some(name) = parsed.extra.too_deep()
        {
            return Err(fault(format!(
                "`{name}` has more than {} lists and objects one within the other, and cannot be kept",
                DEEPEST - 1
            )));
        }
        parsed.place = SourceRow {
            file: Arc::clone(&self.file),
            row: row.number,
        };
        Ok(parsed)
    }

    /// Parses the fields of a row.
    fn parsed(&self, fields: &mut Fields<'_>) -> Result<ParsedRow, String> {
        let group = fields.text_or_null(GROUP)?;
        let is_finished = self.is_finished(fields);
        let mut parsed = match self.format {
            Format::SelfInstruct => ParsedRow {
                system: self.system(fields)?,
                ..self_instruct(fields, self.need)?
            },
            Format::Chat | Format::ShareGpt => self.conversation(fields)?,
            Format::Completion if has_messages(fields) => self.prompt_and_completion(fields)?,
            Format::Oasst | Format::OasstAll => self.tree(fields)?,
            _ => self.pair(fields)?,
        };
        parsed.group = group;
        parsed.is_finished = is_finished;
        if self.own_table == OwnTable::Dataset {
            own_columns(fields, &mut parsed)?;
        }
        if self.own_table != OwnTable::No
            && let Some(extra) = fields.text_or_null("extra")?
        {
            let extra = Extra::parse(&extra).ok_or("`extra` is no JSON object")?;
            parsed.extra.put_before(extra);
        }
        let length = parsed.task.instruction.len();
        if self.need.compares_instructions() && length > LONGEST_INSTRUCTION {
            return Err(format!(
                "the instruction is {length} bytes long, at most {LONGEST_INSTRUCTION} can be judged"
            ));
        }
        if is_blank(&parsed.task.instruction) && (self.need.compares_instructions() || !is_finished) {
            return Err(match parsed.task.instruction.trim() {
                "" => "the instruction is empty".into(),
                _ => "the instruction is empty: nothing in it can be seen".into(),
            });
        }
        let is_empty = |(at, instance): (usize, &Instance)| {
            instance.output.trim().is_empty() && parsed.turns(at).is_empty()
        };
        parsed.answer_is_empty =
            self.need.answer() && !is_finished && parsed.task.instances.iter().enumerate().any(is_empty);
        Ok(parsed)
    }

    /// Parses a row whose question, input and answer are a column each.
    fn pair(&self, fields: &mut Fields<'_>) -> Result<ParsedRow, String> {
        let columns = &self.columns;
        let question = present(fields, &columns.instruction, &[]);
        let answer = present(fields, &columns.output, &[question]);
        let input = present(fields, &columns.input, &[question, answer]);
        let instruction = match columns.instruction.is_empty() {
            true => String::new(),
            false => columns::text(fields, question)?,
        };
        let output = match self.need.answer() || has(fields, answer) {
            true => Some(columns::text(fields, answer)?),
            false => None,
        };
        let input = match has(fields, input) {
            true => columns::text(fields, input)?,
            false => String::new(),
        };
        let mut parsed = ParsedRow {
            system: self.system(fields)?,
            ..ParsedRow::default()
        };
        if self.format == Format::Dolly {
            parsed.task.name = fields.text_or_null("category")?;
            parsed.task.is_classification = parsed.task.name.as_deref() == Some("classification");
        }
        if let Some(history) = fields.get(HISTORY).filter(|history| history.kind() == "an array") {
            fields.take(HISTORY);
            let history = history.elements().unwrap_or_default();
            if !history.is_empty() {
                return self.after_history(&history, parsed, [instruction, input], output);
            }
        }
        parsed.task.instruction = instruction;
        parsed.task.instances = match output {
            // A prompt needs no answer, and has its input nevertheless.
            None if self.need == Need::Prompt && !input.is_empty() => instances(input, Some(String::new())),
            output => instances(input, output),
        };
        Ok(parsed)
    }

    /// Makes a conversation of a row with earlier turns. The row's own question is the last one;
    /// its input follows it, and is kept for an export.
    fn after_history(
        &self,
        history: &[Json<'_>],
        parsed: ParsedRow,
        [instruction, input]: [String; 2],
        output: Option<String>,
    ) -> Result<ParsedRow, String> {
        let question = match input.is_empty() {
            true => instruction,
            false => format!("{instruction}\n\n{input}"),
        };
        let exchange = conversation::with_history(history, question, output)?;
        let mut conversation = self.exchanged(&mut Fields::default(), exchange, "messages")?;
        let asked = conversation
            .turns
            .iter_mut()
            .flatten()
            .rev()
            .find(|turn| !turn.is_answer());
        if let Some(asked) = asked.filter(|_| !input.is_empty()) {
            let input = serde_json::to_string(&input).expect("a text is JSON");
            asked.fields.push((INPUT_OF_TURN.into(), input));
        }
        Ok(ParsedRow {
            task: Task {
                name: parsed.task.name,
                is_classification: parsed.task.is_classification,
                ..conversation.task
            },
            turns: conversation.turns,
            ..parsed
        })
    }

    /// Parses a tree of conversations: instances of one task.
    fn tree(&self, fields: &mut Fields<'_>) -> Result<ParsedRow, String> {
        let prompt = fields.take("prompt").ok_or("the field `prompt` is missing")?;
        if !is_tree(prompt) {
            return Err("`prompt` is no tree: a message with `text`, `role` and `replies`".into());
        }
        if fields.get(TREE_ID).is_some_and(oasst::is_our_name) {
            fields.take(TREE_ID);
        }
        let all = self.format == Format::OasstAll || fields.take(TREE_ROWS).is_some();
        let system = self.system(fields)?;
        let mut tree: Option<ParsedRow> = None;
        for mut exchange in oasst::exchanges(prompt, all)? {
            if let Some(system) = &system {
                exchange.system = Some(system.clone());
                // As of a system message without other fields.
                exchange.rest.insert(0, Extra::default());
            }
            let mut path = self.exchanged(fields, exchange, "messages")?;
            path.instance_extras = vec![std::mem::take(&mut path.extra)];
            match &mut tree {
                None => tree = Some(path),
                Some(tree) => {
                    tree.task.instances.append(&mut path.task.instances);
                    tree.turns.append(&mut path.turns);
                    tree.instance_extras.append(&mut path.instance_extras);
                }
            }
        }
        let mut tree = tree.ok_or("nobody answers the prompt of the tree")?;
        // A single conversation is a row like one of other formats.
        if tree.instance_extras.len() == 1 {
            tree.extra = tree.instance_extras.remove(0);
        }
        Ok(tree)
    }

    /// Reads the system message.
    fn system(&self, fields: &mut Fields<'_>) -> Result<Option<String>, String> {
        let name = present(fields, &self.columns.system, &[]);
        let text = match fields.get(name) {
            Some(_) => parts::system(fields, name)?,
            // A value within another column stays there.
            None => fields
                .find(name)
                .filter(|value| value.kind() == "a string")
                .map(Json::text)
                .transpose()?,
        };
        Ok(text.filter(|text| !text.trim().is_empty()))
    }

    /// Parses a row that is a conversation.
    fn conversation(&self, fields: &mut Fields<'_>) -> Result<ParsedRow, String> {
        let name = present(fields, &self.columns.messages, &[]).to_owned();
        let Some(found) = fields.find(&name) else {
            return Err(format!("the field `{name}` is missing"));
        };
        fields.take(&name);
        // Some tables have conversations as JSON in a string, or as a dialogue in a string.
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
        let messages = match self.has_later_apart(fields) {
            true => conversation::first_exchange(&messages),
            false => &messages[..],
        };
        let exchange = conversation::exchange(messages)?;
        self.exchanged(fields, exchange, &name)
    }

    /// Whether a table that ewe wrote has the later messages among the other fields of the row,
    /// where they are whole.
    fn has_later_apart(&self, fields: &Fields<'_>) -> bool {
        let extra = fields.get("extra").filter(|_| self.own_table != OwnTable::No);
        let extra = extra.and_then(|extra| extra.text().ok());
        extra
            .and_then(|extra| Extra::parse(&extra))
            .is_some_and(|extra| extra.get(LATER).is_some())
    }

    /// Parses a row whose prompt and completion are lists of messages.
    fn prompt_and_completion(&self, fields: &mut Fields<'_>) -> Result<ParsedRow, String> {
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

    /// Makes a task of a conversation that was read from column `name`.
    fn exchanged(
        &self,
        fields: &mut Fields<'_>,
        exchange: Exchange,
        name: &str,
    ) -> Result<ParsedRow, String> {
        if let Some(unanswered) = exchange.unanswered.filter(|_| self.need.answer()) {
            return Err(unanswered);
        }
        let mut parsed = ParsedRow {
            task: Task {
                instruction: exchange.user,
                instances: instances(String::new(), exchange.assistant),
                ..Task::default()
            },
            system: match exchange.system {
                Some(system) => Some(system),
                None => self.system(fields)?,
            },
            turns: vec![exchange.turns],
            ..ParsedRow::default()
        };
        parsed.extra.push_list(name, &exchange.rest);
        Ok(parsed)
    }
}

/// Whether the prompt is a list of messages.
fn has_messages(fields: &Fields<'_>) -> bool {
    fields
        .get("prompt")
        .is_some_and(|value| value.kind() == "an array")
}

/// Reads the messages after a first question and its answer from the field that ewe writes them to.
fn later(list: &str, first: Option<&Instance>, instruction: &str) -> Result<Vec<Turn>, String> {
    let list = Json::of(list).ok_or("`ewe_turns` cannot be read")?;
    // In a table, the list is a text.
    let text = match list.kind() {
        "a string" => Some(list.text().map_err(|what| format!("`{LATER}` {what}"))?),
        _ => None,
    };
    let list = text.as_deref().and_then(Json::of).unwrap_or(list);
    let messages = list
        .elements()
        .ok_or_else(|| format!("`{LATER}` is {}, not an array", list.kind()))?;
    let answer = first.map_or("", |first| first.output.as_str());
    conversation::later([instruction, answer], &messages).map_err(|what| format!("`{LATER}`: {what}"))
}

fn instances(input: String, output: Option<String>) -> Vec<Instance> {
    output
        .map(|output| Instance { input, output })
        .into_iter()
        .collect()
}

/// Reads the columns that only the whole dataset as a table has.
fn own_columns(fields: &mut Fields<'_>, parsed: &mut ParsedRow) -> Result<(), String> {
    parsed.task.name = fields.text_or_null("name")?;
    parsed.task.is_classification = truth(fields, "is_classification")?;
    // The task's number in another dataset.
    fields.take("task_id");
    Ok(())
}

/// Removes a field that is true or false. Null or no field is false.
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

/// Parses a row in the format of Self-Instruct.
fn self_instruct(fields: &mut Fields<'_>, need: Need) -> Result<ParsedRow, String> {
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
    let mut turns = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        let mut instance = Fields::of(value.get())
            .ok_or_else(|| format!("`instances[{index}]` is {}, not an object", value.kind()))?;
        let read = |what: String| format!("`instances[{index}]`: {what}");
        instances.push(Instance {
            input: instance.text_or_null("input").map_err(read)?.unwrap_or_default(),
            output: instance.text("output").map_err(read)?,
        });
        let mut extra = Extra::rest_of(instance);
        turns.push(match extra.take(LATER) {
            Some(list) => later(&list, instances.last(), &instruction).map_err(read)?,
            None => Vec::new(),
        });
        rest.push(extra);
    }
    let mut extra = Extra::default();
    extra.push_list("instances", &rest);
    Ok(ParsedRow {
        task: Task {
            name,
            instruction,
            instances,
            is_classification,
            later: Vec::new(),
        },
        source_id,
        extra,
        turns,
        ..ParsedRow::default()
    })
}
