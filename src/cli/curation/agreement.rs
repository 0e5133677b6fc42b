//! `ewe agreement`

use std::{io::Write, path::PathBuf};

use crate::cli::args::select::Select;
use crate::next::NextCommands;
use crate::report::reviewers::TeamFigures;
use crate::store::Store;
use crate::streams::pager;
use crate::text::shell_word;

/// Arguments of `ewe agreement`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Which tasks
    #[command(flatten)]
    pub select: Select,

    /// Print JSON
    #[arg(long, help_heading = "How it is shown")]
    pub json: bool,
}

/// Prints how far reviewers agree.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    let filter = args.select.filter();
    store.check_choices(&filter).await?;
    let figures = TeamFigures::load(&store, &filter).await?;
    let ended = store.finish().await;
    if args.json {
        let mut out = crate::streams::stdout();
        writeln!(out, "{}", crate::streams::json::pretty(&figures)?)?;
        out.flush()?;
        return Ok(ended?);
    }
    let mut out = Vec::new();
    figures.write(&mut out)?;
    if figures.agreement.pairs.is_empty() {
        writeln!(out, "\nno two reviewers have spoken of the same task")?;
    }
    // Sections begin with an empty line.
    pager::show(out.trim_ascii_start(), false)?;
    ended?;
    let db = shell_word(&args.db);
    let next = NextCommands::default();
    let next = match (figures.counts.disagreements, figures.counts.assigned) {
        (1.., _) => next.with(
            format!("ewe review --db {db} --disagreement"),
            "decide where reviewers do not agree",
        ),
        (_, 0) => next.with(
            format!("ewe assign --db {db} --to NAME,NAME --each 2"),
            "give tasks to two reviewers each",
        ),
        _ => next,
    };
    next.say(quiet);
    Ok(())
}
