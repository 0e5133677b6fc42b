//! `ewe edit`

use std::{io::Write, path::PathBuf};

use crate::streams::json;
use crate::{
    curate::{self, editor},
    store::{Actor, Edit, InstanceEdit, Store, TurnEdit},
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

    /// Which instance --input, --output and --turn are for: 0, 1, 2 …
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = crate::cli::args::number::place)]
    pub instance: i64,

    /// The reason, for the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
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
    let of_instance = args.input.is_some() || args.output.is_some() || !args.turn.is_empty();
    let edit = if args.instruction.is_none() && !of_instance {
        editor::edit(&store, args.id).await?
    } else {
        let mut edit = Edit {
            instruction: args.instruction.clone(),
            ..Edit::default()
        };
        if of_instance {
            let (input, output) = (args.input.clone(), args.output.clone());
            edit.instances.push(InstanceEdit {
                ordinal: args.instance,
                input,
                output,
                turns: args.turn.clone(),
            });
        }
        edit
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
