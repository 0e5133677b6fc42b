//! `ewe check`

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

use crate::cli::terminal::{clean, counted};
use crate::store::Store;
use crate::streams::json;

/// Arguments of `ewe check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Print a JSON array, one problem per line
    #[arg(long)]
    pub json: bool,
}

/// Prints what is wrong with the dataset. The exit code is 1 if anything is.
pub async fn run(args: &Args, globals: &crate::cli::Globals) -> anyhow::Result<u8> {
    let store = Store::open_to_read(&args.db).await?;
    let problems = store.check().await?;
    store.finish().await?;
    let mut out = BufWriter::new(crate::streams::stdout());
    if args.json {
        json::write_array(&mut out, &problems)?;
    } else {
        for problem in &problems {
            let place = problem.place();
            writeln!(out, "{}: {}", clean(&place), clean(&problem.problem))?;
        }
    }
    out.flush()?;
    if problems.is_empty() {
        if !globals.quiet {
            eprintln!("{}: all is in order", args.db.display());
        }
        return Ok(0);
    }
    eprintln!(
        "error: `{}` has {}\nhint: keep a copy of the file before anything is changed; `ewe undo` and `ewe edit` mend texts and reviews",
        args.db.display(),
        counted(problems.len() as i64, "problem")
    );
    Ok(1)
}
