//! `ewe recipe`

use crate::cli::terminal::{clean, counted};
use crate::generate::own::{OwnRecipe, built_in};
use crate::pipeline::own::check::{self, Checked, CheckedStage};
use crate::store::Store;
use anyhow::{Result, anyhow, bail};
use std::path::{Path, PathBuf};

/// Arguments of `ewe recipe`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// check: read a recipe of your own, render its prompts, and try its parsers on its sample
    /// answers; show: print a built-in recipe as a file to begin with
    #[arg(value_name = "ACTION")]
    pub action: String,

    /// The recipe to check, a TOML file, or the name of a built-in one to show
    #[arg(value_name = "FILE")]
    pub of: PathBuf,

    /// Check with tasks and passages of this dataset [default: the seeds that come with ewe]
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,

    /// Print the result of a check as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// Names the file, line and key that is wrong.
pub async fn run(args: &Args) -> Result<()> {
    match args.action.as_str() {
        "show" => {
            if args.json || args.db.is_some() {
                bail!("`--db` and `--json` are for `ewe recipe check`");
            }
            let file = built_in::file(&args.of.to_string_lossy()).map_err(|error| anyhow!(error))?;
            print!("{file}");
            Ok(())
        }
        "check" => check(args, &args.of).await,
        other => {
            bail!("`ewe recipe` cannot `{other}`\nhint: `ewe recipe check FILE`, or `ewe recipe show NAME`")
        }
    }
}

async fn check(args: &Args, path: &Path) -> Result<()> {
    let recipe = OwnRecipe::read(path)?;
    let store = match &args.db {
        Some(db) => Some(Store::open_to_read(db).await?),
        None => None,
    };
    let checked = check::check(&recipe, store.as_ref()).await;
    if let Some(store) = store {
        store.finish().await?;
    }
    let checked = checked.map_err(|error| anyhow!("{}: {error:#}", path.display()))?;
    match args.json {
        true => println!(
            "{}",
            crate::streams::json::value(&serde_json::to_value(&checked)?)
        ),
        false => show(path, &checked),
    }
    Ok(())
}

fn show(path: &Path, checked: &Checked) {
    for (number, stage) in checked.stages.iter().enumerate() {
        show_stage(number + 1, stage);
    }
    for (number, candidate) in checked.candidates.iter().enumerate() {
        println!("── candidate {}", number + 1);
        println!("instruction: {}", clean(&candidate.instruction));
        if !candidate.input.is_empty() {
            println!("input: {}", clean(&candidate.input));
        }
        println!("output: {}", clean(&candidate.output));
        if let Some(rejected) = &candidate.rejected {
            println!("the rules would reject it: {}", clean(rejected));
        }
        println!();
    }
    println!(
        "{}: the recipe `{}` can be used; {} from the sample answers",
        path.display(),
        clean(&checked.name),
        counted(checked.candidates.len() as u64, "candidate")
    );
}

fn show_stage(number: usize, stage: &CheckedStage) {
    let what = if stage.is_message {
        "the message"
    } else {
        "the text to continue"
    };
    println!("── stage {number}, {}: {what}", stage.name);
    if let Some(system) = &stage.system {
        println!("system: {}\n", clean(system));
    }
    println!("{}\n", clean(&stage.prompt));
    let Some(items) = &stage.items else {
        println!("its parser was not tried: the stage has no `sample`\n");
        return;
    };
    println!("── its sample answer has {}", counted(items.len() as u64, "item"));
    for item in items {
        match (&item.fields, &item.fault) {
            (Some(fields), _) => {
                let fields = serde_json::Value::Object(fields.clone());
                println!("{}", clean(&fields.to_string()));
            }
            (None, fault) => println!("{}", clean(fault.as_deref().unwrap_or_default())),
        }
    }
    println!();
}
