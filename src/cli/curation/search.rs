//! `ewe search`

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

use crate::cli::args::select::Select;
use crate::cli::terminal::one_line;
use crate::store::Store;
use crate::streams::json;

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
}

/// Prints the tasks that match.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    let also = args.select.choice.traits.text.iter();
    let words: Vec<&str> = args.words.iter().chain(also).map(String::as_str).collect();
    let mut hits = store
        .search(&words.join(" "), &args.select.filter(), args.limit)
        .await?;
    let terminal = crate::streams::stdout().is_terminal();
    let mut out = BufWriter::new(crate::streams::styled());
    if args.json {
        for hit in &mut hits {
            hit.snippet = marked(&hit.snippet, "[", "]");
        }
        json::write_array(&mut out, &hits)?;
    } else {
        let (begin, end) = if terminal {
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
                one_line(&hit.instruction, 80)
            )?;
            // Cleaning turns the two marks into symbols that the text itself hardly has.
            let snippet = one_line(&hit.snippet, 200).replace('␂', begin).replace('␃', end);
            writeln!(out, "{:>18}{snippet}", "")?;
        }
    }
    out.flush()?;
    store.finish().await?;
    if hits.is_empty() {
        eprintln!("no such task has all of these words");
    }
    Ok(())
}

fn marked(snippet: &str, begin: &str, end: &str) -> String {
    snippet.replace('\u{2}', begin).replace('\u{3}', end)
}
