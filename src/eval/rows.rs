//! Rows in, JSON lines out. A file that is written appears whole or not at all.

use std::path::Path;

use anyhow::Result;
use ewe::atomic_file::Lines;
use ewe::cli::args::reading::ReadingArgs;
use ewe::interchange::left_out::LeftOut;
use ewe::interchange::notes::Notes;
use ewe::interchange::read::{self, Need};
use serde::Serialize;

use crate::model::chat_template::Message;

/// What a row of a file asks, and what is answered there.
#[derive(Debug)]
pub struct Row {
    /// The row, counted from 0.
    pub row: usize,
    /// System message, instruction and input in one text, or the prompt as it is.
    pub prompt: String,
    /// The same as messages, for whoever asks by a chat template.
    pub messages: Vec<Message>,
    /// The answer; empty where none is wanted.
    pub completion: String,
}

/// Reads the rows of `path`: of each instance what is asked, and what is answered. Rows that cannot be read are left out, if
/// `args` say so, and keep their numbers.
pub fn read(path: &Path, args: &ReadingArgs, need: Need, quiet: bool) -> Result<Vec<Row>> {
    let mut reader = read::open(path, &args.reading(need)?)?;
    let mut left_out = LeftOut::begin(&args.policy(), quiet)?;
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
            rows.push(Row {
                row: row.number as usize - 1,
                prompt: incoming.question(number),
                messages: Message::of_row(system, &incoming.task.instruction, input),
                completion: output.to_owned(),
            });
        }
    }
    left_out.end()?;
    if !quiet {
        notes.lines(false).iter().for_each(|line| eprintln!("{line}"));
    }
    Ok(rows)
}

/// Writes `rows` to `path`.
pub fn write<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let mut out = Lines::begin(path)?;
    rows.iter().try_for_each(|row| out.row(row))?;
    out.commit()
}
