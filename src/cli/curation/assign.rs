//! `ewe assign`

use std::{io::Write, path::PathBuf};

use super::decision::usage;
use crate::cli::args::select::Select;
use crate::cli::terminal::{clean, counted};
use crate::next::NextCommands;
use crate::store::teams::assignment::{Chosen, Dealt};
use crate::streams::json;
use crate::text::shell_word;
use crate::{
    curate::{self, ids::Ids},
    store::{Actor, Filter, Store},
    task::Review,
};

/// Arguments of `ewe assign`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// The tasks' ids: 7, or 7-12 for all of them; without ids and options all pending tasks
    #[arg(value_name = "ID")]
    pub ids: Vec<Ids>,

    /// The reviewers' names, with commas between them
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub to: Vec<String>,

    /// How many reviewers each task is to have [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    pub each: Option<u64>,

    /// Withdraw assignments: of those whom --to names, or of all
    #[arg(long)]
    pub withdraw: bool,

    /// The reason, for the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    /// Which tasks; pending ones where no review is given
    #[command(flatten)]
    pub select: Select,
}

/// Deals tasks to reviewers, or withdraws them, as one action.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let mut filter = args.select.filter();
    let ids: Vec<i64> = args.ids.iter().flat_map(|ids| ids.0.clone()).collect();
    if !ids.is_empty() && !filter.is_empty() {
        usage("say which tasks by ids or by options, not by both");
    }
    match (args.withdraw, args.to.is_empty()) {
        (false, true) => usage("say to whom: --to anna,ben"),
        (true, true) if ids.is_empty() && filter.is_empty() => {
            usage("say whose assignments, with --to, or of which tasks")
        }
        _ => {}
    }
    let store = Store::open(&args.db).await?;
    store.check_choices(&filter).await?;
    filter.review = filter.review.or(Some(Review::Pending));
    let chosen = match ids.is_empty() {
        true => Chosen::Filter(&filter),
        false => Chosen::Ids(&ids),
    };
    let who = curate::who();
    let actor = Actor {
        who: &who,
        note: args.reason.as_deref(),
    };
    let each = args.each.unwrap_or(1) as usize;
    let dealt = match args.withdraw {
        true => store.withdraw(chosen, &args.to, actor).await?,
        false => store.assign(chosen, &args.to, each, actor).await?,
    };
    let disagreements = match args.withdraw {
        true => store.count(&disputed(), None).await?,
        false => 0,
    };
    store.close().await;
    let mut out = crate::streams::stdout();
    if args.json {
        writeln!(out, "{}", json::value(&serde_json::json!(dealt)))?;
        return Ok(());
    }
    say(&mut out, args, &dealt)?;
    out.flush()?;
    next(args, &dealt, disagreements).say(quiet);
    Ok(())
}

/// Tasks that somebody has to decide.
fn disputed() -> Filter {
    Filter {
        disagreement: true,
        ..Filter::default()
    }
}

/// Says what each reviewer got, or lost.
fn say(out: &mut impl Write, args: &Args, dealt: &Dealt) -> std::io::Result<()> {
    let Some(change) = &dealt.change else {
        let chosen = counted(dealt.chosen, "task");
        return match (args.withdraw, dealt.chosen) {
            (false, 0) if args.ids.is_empty() && args.select.filter().is_empty() => writeln!(
                out,
                "nothing to do: no task is pending; ids, or options such as --review accepted, choose others"
            ),
            (_, 0) => writeln!(out, "nothing to do: no such task"),
            (true, _) => writeln!(out, "nothing to do: {chosen}, and nobody to withdraw"),
            (false, _) => writeln!(
                out,
                "nothing to do: {chosen}, each with {} or more",
                counted(args.each.unwrap_or(1), "reviewer")
            ),
        };
    };
    let done = if args.withdraw { "withdrawn" } else { "assigned" };
    writeln!(
        out,
        "{} {done} (action {}; `ewe undo` takes it back)",
        counted(change.tasks, "task"),
        change.group
    )?;
    for share in &dealt.reviewers {
        writeln!(out, "{:>9}  {}", share.tasks, clean(&share.reviewer))?;
    }
    let left = dealt.chosen - change.tasks;
    if left > 0 && !args.withdraw {
        writeln!(
            out,
            "{} had {} or more already",
            counted(left, "task"),
            counted(args.each.unwrap_or(1), "reviewer")
        )?;
    }
    Ok(())
}

/// What comes next: the first reviewer's queue.
fn next(args: &Args, dealt: &Dealt, disagreements: i64) -> NextCommands {
    let db = shell_word(&args.db);
    let next = NextCommands::default();
    if args.withdraw {
        return match disagreements {
            0 => next,
            _ => next.with(
                format!("ewe review --db {db} --disagreement"),
                "decide where reviewers do not agree",
            ),
        };
    }
    let Some(first) = dealt.reviewers.iter().find(|share| share.tasks > 0) else {
        return next;
    };
    let name = shell_word(first.reviewer.as_ref());
    next.with(
        format!("ewe review --db {db} --as {name}"),
        "a reviewer's queue, in a terminal",
    )
    .with(
        format!("ewe curate --db {db} --as {name}"),
        "the same on a web page",
    )
    .with(format!("ewe agreement --db {db}"), "how far they agree")
}
