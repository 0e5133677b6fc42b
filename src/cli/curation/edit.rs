//! `ewe edit`

use std::{io::Write, path::PathBuf};

use anyhow::bail;

use crate::streams::json;
use crate::text::counted;
use crate::{
    curate::{self, editor},
    store::{Actor, Edit, InstanceEdit, NewTurn, Store, TurnEdit},
};

/// Arguments of `ewe edit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// The task's id; without new texts, it opens in $VISUAL or $EDITOR
    #[arg(value_parser = crate::cli::args::number::id)]
    pub id: i64,

    /// The new instruction
    #[arg(long, value_name = "TEXT")]
    pub instruction: Option<String>,

    /// The new input
    #[arg(long, value_name = "TEXT")]
    pub input: Option<String>,

    /// The new output
    #[arg(long, value_name = "TEXT")]
    pub output: Option<String>,

    /// The new text of a message after the output, by its number in `ewe show`; several times for
    /// several messages
    #[arg(long = "turn", value_name = "N=TEXT", value_parser = turn)]
    pub turn: Vec<TurnEdit>,

    /// Add a turn at the end of the conversation, with --answer; several of both for several turns
    #[arg(long, value_name = "TEXT", requires = "answer")]
    pub question: Vec<String>,

    /// The answer to --question
    #[arg(long, value_name = "TEXT", requires = "question")]
    pub answer: Vec<String>,

    /// The later question that --question goes before, by its number in `ewe show`
    #[arg(long, value_name = "N", value_parser = crate::cli::args::number::place, requires = "question")]
    pub before: Option<i64>,

    /// Remove a later question with all that follows it up to the next one, by its number in `ewe
    /// show`; several times for several turns
    #[arg(long, value_name = "N", value_parser = crate::cli::args::number::place)]
    pub remove_turn: Vec<i64>,

    /// Which instance these texts and turns are of: 0, 1, 2 …
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = crate::cli::args::number::place)]
    pub instance: i64,

    /// The reason, for the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// Returns what is new in the instance, if anything is.
    fn of_instance(&self) -> anyhow::Result<Option<InstanceEdit>> {
        if self.question.len() != self.answer.len() {
            let given = counted(self.question.len() as u64, "question");
            bail!(
                "{given} and {}: each has one",
                counted(self.answer.len() as u64, "answer")
            );
        }
        let turns = self.question.iter().zip(&self.answer);
        let added = turns.map(|(question, answer)| NewTurn {
            question: question.clone(),
            answer: answer.clone(),
            before: self.before,
        });
        let edit = InstanceEdit {
            ordinal: self.instance,
            input: self.input.clone(),
            output: self.output.clone(),
            turns: self.turn.clone(),
            removed: self.remove_turn.clone(),
            added: added.collect(),
        };
        let nothing = InstanceEdit {
            ordinal: self.instance,
            ..InstanceEdit::default()
        };
        Ok((edit != nothing).then_some(edit))
    }
}

/// Reads the number of a message and its new text.
fn turn(value: &str) -> Result<TurnEdit, String> {
    let (place, content) = value
        .split_once('=')
        .ok_or("a number, `=` and a text, such as 1=Thanks.")?;
    let place = place
        .trim()
        .parse()
        .map_err(|_| format!("`{place}` is no number of a message"))?;
    let content = content.to_owned();
    Ok(TurnEdit { place, content })
}

/// Edits texts of one task.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open(&args.db).await?;
    let instance = args.of_instance()?;
    let edit = if args.instruction.is_none() && instance.is_none() {
        editor::edit(&store, args.id).await?
    } else {
        Edit {
            instruction: args.instruction.clone(),
            instances: instance.into_iter().collect(),
            ..Edit::default()
        }
    };
    let who = curate::who();
    let change = store
        .edit(
            args.id,
            &edit,
            Actor {
                who: &who,
                note: args.reason.as_deref(),
            },
        )
        .await?;
    store.close().await;
    let mut out = crate::streams::stdout();
    if args.json {
        writeln!(out, "{}", json::value(&serde_json::json!({ "change": change })))?;
        return Ok(());
    }
    match change {
        Some(change) => writeln!(
            out,
            "task {} edited (action {}; `ewe undo` takes it back)",
            args.id, change.group
        )?,
        None => writeln!(out, "nothing to do: the texts are the same")?,
    }
    Ok(())
}
