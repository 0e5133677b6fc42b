//! Rows in, JSON lines out. An output file appears whole or not at all.

use std::path::Path;

use anyhow::Result;
use ewe::atomic_file::Lines;
use ewe::interchange::left_out::LeftOut;
use ewe::interchange::notes::Notes;
use ewe::interchange::read;
use ewe::interchange::turns::first_answer;
use ewe::job::rows::RowsFile;
use serde::Serialize;

use crate::model::text::chat_template::ChatMessage;
use crate::model::text::turns;

/// A prompt of a file, with its completion.
#[derive(Debug)]
pub struct EvalRow {
    /// Number of the row, from 0.
    pub row: usize,
    /// System message, instruction and input in one text, or the prompt as it is.
    pub prompt: String,
    /// The prompt as messages, for a chat template.
    pub messages: Vec<ChatMessage>,
    /// The answer, with its reasoning; its text may be empty if only prompts are needed.
    pub answer: ChatMessage,
}

impl EvalRow {
    /// Appends the messages of a conversation from its first answer on. The last answer becomes the
    /// answer, and all messages before it the prompt.
    fn go_on(&mut self, mut said: Vec<ChatMessage>) {
        if said.is_empty() {
            return;
        }
        let answer = said.pop_if(|last| last.role == "assistant");
        self.answer = answer.unwrap_or_else(|| ChatMessage::new("assistant", ""));
        if said.is_empty() {
            return;
        }
        for message in &said {
            self.prompt.push_str("\n\n");
            self.prompt.push_str(&message.content);
        }
        self.prompt.push_str("\n\n");
        self.messages.append(&mut said);
    }
}

/// Reads the rows of a file, one for each instance. Rows that cannot be read are left out if the
/// file's policy says so; the others keep their numbers.
pub fn read(file: &RowsFile, quiet: bool) -> Result<Vec<EvalRow>> {
    let mut reader = read::open(&file.path, &file.reading)?;
    let mut left_out = LeftOut::begin(&file.left_out, quiet)?;
    let (mut rows, mut notes) = (Vec::new(), Notes::default());
    while let Some((row, incoming)) = left_out.next_row(&mut reader)? {
        notes.add(&incoming);
        let instances = &incoming.task.instances;
        for number in 0..instances.len().max(1) {
            let (input, output) = match instances.get(number) {
                Some(instance) => (instance.input.as_str(), instance.output.as_str()),
                None => ("", ""),
            };
            let system = incoming.system.as_deref().unwrap_or_default();
            let mut made = EvalRow {
                row: row.number as usize - 1,
                prompt: incoming.question(number),
                messages: ChatMessage::of_row(system, &incoming.task.instruction, input),
                answer: ChatMessage::new("assistant", output),
            };
            let extra = incoming.extra.to_column();
            let answer = first_answer(output, extra.as_deref());
            made.go_on(turns::with_reasoning(answer, incoming.turns(number)));
            rows.push(made);
        }
    }
    left_out.end()?;
    if !quiet {
        notes.lines(false).iter().for_each(|line| eprintln!("{line}"));
    }
    Ok(rows)
}

/// Writes `rows` to `path` as JSON lines.
pub fn write<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let mut out = Lines::begin(path)?;
    rows.iter().try_for_each(|row| out.row(row))?;
    out.commit()
}
