//! `ewe search`

use std::{io::Write, path::PathBuf};

use super::{for_programs, list};
use crate::cli::args::select::Select;
use crate::cli::terminal::{columns, fitted};
use crate::store::{Filter, Store};
use crate::streams::pager;

/// Arguments of `ewe search`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Words to look for in instruction, input and output; "a phrase" in quotes, any ending with
    /// `*`
    #[arg(required = true)]
    pub words: Vec<String>,

    /// Which tasks
    #[command(flatten)]
    pub select: Select,

    /// How many tasks, the best match first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=1_000_000_000), help_heading = "How they are shown")]
    pub limit: i64,

    /// Print a JSON array, one task per line
    #[arg(long, help_heading = "How they are shown")]
    pub json: bool,

    /// Print a table in CSV
    #[arg(long, conflicts_with = "json", help_heading = "How they are shown")]
    pub csv: bool,
}

/// Matches that are counted one by one at most.
const COUNTED: i64 = 10_000;

/// The columns of `--csv`.
const COLUMNS: [&str; 4] = ["id", "review", "instruction", "snippet"];

/// Prints the tasks that match.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    store.check_choices(&args.select.filter()).await?;
    let also = args.select.choice.traits.text.iter();
    let words: Vec<&str> = args.words.iter().chain(also).map(String::as_str).collect();
    let words = words.join(" ");
    let mut hits = store.search(&words, &args.select.filter(), args.limit).await?;
    let all = match hits.len() as i64 == args.limit && !(args.json || args.csv || quiet) {
        true => {
            let filter = Filter {
                text: Some(words.clone()),
                ..args.select.filter()
            };
            Some(store.count(&filter, Some(COUNTED + 1)).await?)
        }
        false => None,
    };
    let ended = store.finish().await;
    if args.json || args.csv {
        for hit in &mut hits {
            hit.snippet = marked(&hit.snippet, "[", "]");
        }
        for_programs::print(&hits, &COLUMNS, args.csv)?;
    } else {
        let width = columns().unwrap_or(98).max(40);
        let mut out = Vec::new();
        let (begin, end) = if crate::streams::stdout().is_colored() {
            ("\x1b[1m", "\x1b[0m")
        } else {
            ("[", "]")
        };
        for hit in &hits {
            writeln!(
                out,
                "{:>6}  {:<8}  {}",
                hit.id,
                hit.review,
                fitted(&hit.instruction, width - 18)
            )?;
            // Cleaning turns the two marks into symbols that the text itself hardly has. They take
            // a place each, as the brackets do.
            let room = crate::streams::stdout().size().map_or(200, |_| width - 18);
            let snippet = fitted(&hit.snippet, room);
            let is_cut = snippet.matches('␂').count() > snippet.matches('␃').count();
            let rest = if is_cut { end } else { "" };
            let snippet = snippet.replace('␂', begin).replace('␃', end);
            writeln!(out, "{:>18}{snippet}{rest}", "")?;
        }
        pager::show(&out, true)?;
    }
    ended?;
    if hits.is_empty() {
        eprintln!("{}", nothing(&words));
    } else if let Some(all) = all.filter(|&all| all > hits.len() as i64) {
        let of = list::up_to(COUNTED, all);
        eprintln!("{} of {of}, the best first; more: --limit N", hits.len());
    }
    Ok(())
}

/// What to try instead of words that no task has.
fn nothing(words: &str) -> String {
    let several = words.split_whitespace().count() > 1;
    let stem = words
        .split_whitespace()
        .next()
        .filter(|word| word.chars().all(char::is_alphanumeric));
    let ending = stem.map(|stem| format!("`{stem}*` for every ending"));
    let hints: Vec<String> = several
        .then(|| "fewer of them".to_owned())
        .into_iter()
        .chain(ending)
        .collect();
    let said = match several {
        true => "no such task has all of these words",
        false => "no such task has this word",
    };
    match hints.is_empty() {
        true => said.to_owned(),
        false => format!("{said}\nhint: {}", hints.join(", or ")),
    }
}

fn marked(snippet: &str, begin: &str, end: &str) -> String {
    snippet.replace('\u{2}', begin).replace('\u{3}', end)
}
