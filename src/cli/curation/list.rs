//! `ewe list`

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use crate::cli::args::select::{Best, Select};
use crate::cli::terminal::{mean, one_line};
use crate::store::{ListRow, Position, Sort, Store};
use crate::streams::json;

/// Arguments of `ewe list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Which tasks
    #[command(flatten)]
    pub select: Select,

    /// The best of them
    #[command(flatten)]
    pub best: Best,

    /// The order of the tasks
    #[arg(long, value_enum, default_value = "id", help_heading = "How they are shown")]
    pub sort: SortOrder,

    /// How many tasks
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(0..=1_000_000_000), help_heading = "How they are shown")]
    pub limit: i64,

    /// Begin after this task, which need not be in the list itself
    #[arg(long, value_name = "ID", value_parser = crate::cli::args::number::id, help_heading = "How they are shown")]
    pub after: Option<i64>,

    /// Print a JSON array, one task per line
    #[arg(long, help_heading = "How they are shown")]
    pub json: bool,
}

/// The orders of `--sort`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SortOrder {
    /// As they were stored
    Id,
    /// Latest first
    Newest,
    /// Most text first
    Longest,
    /// Least text first
    Shortest,
    /// Most like another task first
    Similar,
    /// Lowest score of a judge first
    Score,
    /// What raised the held-out loss most first
    Influence,
    /// Highest IFD first: answers that their instructions help least to predict
    Ifd,
}

impl From<SortOrder> for Sort {
    fn from(order: SortOrder) -> Sort {
        match order {
            SortOrder::Id => Sort::Id,
            SortOrder::Newest => Sort::Newest,
            SortOrder::Longest => Sort::Longest,
            SortOrder::Shortest => Sort::Shortest,
            SortOrder::Similar => Sort::Similar,
            SortOrder::Score => Sort::Score,
            SortOrder::Influence => Sort::Influence,
            SortOrder::Ifd => Sort::Ifd,
        }
    }
}

/// Prints tasks.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    let filter = args.best.of(args.select.filter());
    let from = args.after.map_or(Position::Start, Position::After);
    let mut rows = store
        .list(&filter, args.sort.into(), from, args.limit.saturating_add(1))
        .await?;
    // One row more than requested shows that there are more, without counting them.
    let more = rows.len() as i64 > args.limit;
    rows.truncate(args.limit as usize);
    let mut out = BufWriter::new(crate::streams::stdout());
    if args.json {
        json::write_array(&mut out, &rows)?;
    } else {
        write_table(&mut out, &rows)?;
    }
    out.flush()?;
    store.finish().await?;
    if let (true, false, Some(last)) = (more, args.json, rows.last()) {
        eprintln!("more: --after {}", last.id);
    }
    Ok(())
}

/// Formats an influence, which may be far below one.
fn influence(value: f64) -> String {
    match value == 0.0 || value.abs() >= 0.001 {
        true => format!("{value:+.4}"),
        false => format!("{value:+.1e}"),
    }
}

/// Writes a line for each task. Columns that few datasets have values for are left out where no
/// task of the list has one.
fn write_table(out: &mut impl Write, rows: &[ListRow]) -> io::Result<()> {
    let has = |value: fn(&ListRow) -> bool| rows.iter().any(value);
    let (has_influence, has_ifd) = (has(|row| row.influence.is_some()), has(|row| row.ifd.is_some()));
    let held_out = has(|row| row.is_held_out);
    let mut line = |cells: [&str; 8], instruction: &str| {
        let [id, review, origin, alike, score, of_influence, of_ifd, split] = cells;
        write!(out, "{id:>6}  {review:<8}  {origin:<7}  {alike:>5}  {score:>5}  ")?;
        if has_influence {
            write!(out, "{of_influence:>9}  ")?;
        }
        if has_ifd {
            write!(out, "{of_ifd:>5}  ")?;
        }
        if held_out {
            write!(out, "{split:<5}  ")?;
        }
        writeln!(out, "{instruction}")
    };
    line(
        [
            "id",
            "review",
            "origin",
            "alike",
            "score",
            "influence",
            "ifd",
            "split",
        ],
        "instruction",
    )?;
    for row in rows {
        let in_hundredths = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.2}"));
        line(
            [
                &row.id.to_string(),
                row.review.as_str(),
                row.origin.as_str(),
                &in_hundredths(row.nearest_rouge_l),
                &row.score.map_or(String::new(), mean),
                &row.influence.map_or(String::new(), influence),
                &in_hundredths(row.ifd),
                if row.is_held_out { "eval" } else { "train" },
            ],
            &one_line(&row.instruction, 80),
        )?;
    }
    Ok(())
}
