//! What both models are asked: the rows of a file, or the held-out tasks.

use crate::backend::Question;
use crate::compare::item::Item;
use crate::interchange::left_out::LeftOut;
use crate::interchange::notes::Notes;
use crate::interchange::{Format, ParsedRow, read};
use crate::job::compare::{CompareJob, ComparedPrompts};
use crate::job::rows::RowsFile;
use crate::store::Store;
use crate::store::asked::comparison::HeldOutQuestion;
use anyhow::{Result, bail};

/// Returns the prompts of a job.
///
/// # Errors
///
/// If the file cannot be read, or there is no prompt.
pub async fn items(store: &Store, job: &CompareJob, quiet: bool) -> Result<Vec<Item>> {
    let mut items = match &job.prompts {
        ComparedPrompts::File(file) => of_file(file, quiet)?,
        ComparedPrompts::HeldOut => held_out(store).await?,
    };
    items.truncate(job.limit.unwrap_or(u64::MAX).min(usize::MAX as u64) as usize);
    Ok(items)
}

/// Reads the rows of a file; each instance is a prompt.
fn of_file(file: &RowsFile, quiet: bool) -> Result<Vec<Item>> {
    let mut reader = read::open(&file.path, &file.reading)?;
    let mut left_out = LeftOut::begin(&file.left_out, quiet)?;
    let (mut items, mut notes) = (Vec::new(), Notes::default());
    while let Some((row, parsed)) = left_out.next_row(&mut reader)? {
        notes.add(&parsed);
        let is_dolly = reader
            .parser()
            .is_some_and(|parser| parser.format() == Format::Dolly);
        let category = category(&parsed, is_dolly);
        let instances = &parsed.task.instances;
        for number in 0..instances.len().max(1) {
            let (input, output) = instances.get(number).map_or(("", ""), |instance| {
                (instance.input.as_str(), instance.output.as_str())
            });
            let key = match instances.len() {
                0 | 1 => format!("row {}", row.number),
                _ => format!("row {}, instance {}", row.number, number + 1),
            };
            items.push(Item {
                key,
                category: category.clone(),
                question: Question {
                    system: parsed.system.clone().unwrap_or_default(),
                    input: input.to_owned(),
                    ..Question::new(parsed.task.instruction.as_str())
                },
                reference: (!output.trim().is_empty()).then(|| output.trim().to_owned()),
            });
        }
    }
    left_out.end()?;
    if !quiet {
        notes.lines(false).iter().for_each(|line| eprintln!("{line}"));
    }
    if items.is_empty() {
        bail!("{}: no row to compare models on", file.path.display());
    }
    Ok(items)
}

/// The field `category` of a row, which is the name of a task in Dolly's format.
fn category(parsed: &ParsedRow, is_dolly: bool) -> Option<String> {
    let of_field = || serde_json::from_str::<String>(parsed.extra.get("category")?).ok();
    let name = parsed.task.name.as_ref().filter(|_| is_dolly);
    name.cloned()
        .or_else(of_field)
        .filter(|category| !category.trim().is_empty())
}

/// The first instance of each held-out task.
async fn held_out(store: &Store) -> Result<Vec<Item>> {
    let questions = store.held_out_questions().await?;
    if questions.is_empty() {
        bail!(
            "{}: no task is held out\nhint: `ewe split --db {0} --eval 10%` holds some out; or give prompts by --data",
            store.path().display()
        );
    }
    let item = |asked: HeldOutQuestion| Item {
        key: format!("task {}", asked.task_id),
        category: Some(
            if asked.is_classification {
                "classification"
            } else {
                "other"
            }
            .to_owned(),
        ),
        question: Question {
            system: asked.system.unwrap_or_default(),
            instruction: asked.instruction,
            input: asked.input,
        },
        reference: (!asked.output.trim().is_empty()).then(|| asked.output.trim().to_owned()),
    };
    Ok(questions.into_iter().map(item).collect())
}

/// Where the prompts are from, in words.
pub(super) fn source(job: &CompareJob) -> String {
    match &job.prompts {
        ComparedPrompts::File(file) => file.path.display().to_string(),
        ComparedPrompts::HeldOut => "held-out tasks".to_owned(),
    }
}
