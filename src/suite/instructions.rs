//! Rows with references, in any format that the reader knows: the 252 user-oriented instructions of
//! Self-Instruct, Alpaca, Dolly, conversations, questions and answers.

use anyhow::{Result, bail};

use super::item::Item;
use crate::backend::Question;
use crate::interchange::left_out::LeftOut;
use crate::interchange::notes::Notes;
use crate::interchange::{Format, ParsedRow, read};
use crate::job::rows::RowsFile;

/// Fields of a row that name its category.
const CATEGORIES: [&str; 3] = ["category", "motivation_app", "task_type"];

/// Reads the rows of a file; each instance is an item. A row without an answer is asked, too.
///
/// # Errors
///
/// If the file cannot be read, or has no rows.
pub fn of_file(file: &RowsFile, quiet: bool) -> Result<Vec<Item>> {
    let mut reader = read::open(&file.path, &file.reading)?;
    let mut left_out = LeftOut::begin(&file.left_out, quiet)?;
    let (mut items, mut notes) = (Vec::new(), Notes::default());
    while let Some((row, parsed)) = left_out.next_row(&mut reader)? {
        notes.add(&parsed);
        let is_dolly = reader
            .parser()
            .is_some_and(|parser| parser.format() == Format::Dolly);
        items.extend(of_row(row.number, &parsed, is_dolly));
    }
    left_out.end()?;
    if items.is_empty() {
        bail!("`{}` has no rows to ask", file.path.display());
    }
    if !quiet {
        notes.lines(false).iter().for_each(|line| eprintln!("{line}"));
    }
    Ok(items)
}

/// The items of a row.
fn of_row(number: u64, parsed: &ParsedRow, is_dolly: bool) -> Vec<Item> {
    let category = category(parsed, is_dolly);
    let instances = &parsed.task.instances;
    let group = format!("row {number}");
    let places = 0..instances.len().max(1);
    let item = |place: usize| {
        let (input, output) = instances.get(place).map_or(("", ""), |instance| {
            (instance.input.as_str(), instance.output.as_str())
        });
        let key = match instances.len() {
            0 | 1 => group.clone(),
            _ => format!("{group}, instance {}", place + 1),
        };
        let question = Question {
            system: parsed.system.clone().unwrap_or_default(),
            instruction: parsed.task.instruction.clone(),
            input: input.to_owned(),
        };
        Item {
            category: category.clone(),
            ..Item::of_row(key, group.clone(), question, vec![output.trim().to_owned()])
        }
    };
    places.map(item).collect()
}

/// The category of a row, if it names one.
fn category(parsed: &ParsedRow, is_dolly: bool) -> Option<String> {
    if is_dolly && parsed.task.name.is_some() {
        return parsed.task.name.clone();
    }
    let named = CATEGORIES.iter().find_map(|name| parsed.extra.get(name))?;
    let text: String = serde_json::from_str(named).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
