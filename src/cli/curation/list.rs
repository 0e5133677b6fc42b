//! `ewe list`

use std::{
    io::{self, Write},
    path::PathBuf,
};

use super::for_programs;
use crate::cli::args::select::{Best, Select};
use crate::cli::pager;
use crate::cli::terminal::{columns, counted, fitted, mean};
use crate::store::{Filter, ListRow, Position, Sort, Store};
use crate::task::Review;

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

    /// Print a table in CSV
    #[arg(long, conflicts_with = "json", help_heading = "How they are shown")]
    pub csv: bool,
}

/// The columns of `--csv`: the fields of a row, as in JSON.
const COLUMNS: [&str; 16] = [
    "id",
    "review",
    "origin",
    "is_classification",
    "run_id",
    "name",
    "instruction",
    "input",
    "output",
    "instances",
    "length",
    "nearest_rouge_l",
    "score",
    "influence",
    "ifd",
    "is_held_out",
];

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
    /// Most similar to another task first
    Similar,
    /// Lowest score of a judge first
    Score,
    /// What raised the held-out loss most first
    Influence,
    /// What lowered the held-out loss most first
    Helped,
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
            SortOrder::Helped => Sort::Helped,
            SortOrder::Ifd => Sort::Ifd,
        }
    }
}

/// How many tasks are counted; with more, the rest is not worth the wait.
const COUNTED: i64 = 100_000;

/// Prints tasks.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    let filter = args.best.of(args.select.filter());
    store.check_choices(&filter).await?;
    let from = args.after.map_or(Position::Start, Position::After);
    let mut rows = store
        .list(&filter, args.sort.into(), from, args.limit.saturating_add(1))
        .await?;
    // One row more than requested shows that there are more, without counting them.
    let more = rows.len() as i64 > args.limit;
    rows.truncate(args.limit as usize);
    let is_table = !args.json && !args.csv;
    let note = match is_table && !quiet {
        true => amount_shown(&store, &filter, &rows, more).await?,
        false => None,
    };
    let ended = store.finish().await;
    if is_table {
        let mut out = Vec::new();
        if !rows.is_empty() {
            write_table(&mut out, &rows)?;
        }
        pager::show(&out, true)?;
    } else {
        for_programs::print(&rows, &COLUMNS, args.csv)?;
    }
    ended?;
    if let Some(note) = note {
        eprintln!("{note}");
    }
    Ok(())
}

/// Says how many tasks there are beside those that are shown; none if these are all.
async fn amount_shown(
    store: &Store,
    filter: &Filter,
    rows: &[ListRow],
    more: bool,
) -> anyhow::Result<Option<String>> {
    let Some(last) = rows.last() else {
        let tasks = counted(store.count(&Filter::default(), None).await?, "task");
        return Ok(Some(match more {
            true => format!("0 shown of {tasks}"),
            false => format!("no task to show: the dataset has {tasks}"),
        }));
    };
    if !more {
        return Ok(None);
    }
    let of = match store.count(filter, Some(COUNTED + 1)).await? {
        all if all > COUNTED => format!("more than {COUNTED} tasks"),
        all => counted(all, "task"),
    };
    Ok(Some(format!("{} of {of}; more: --after {}", rows.len(), last.id)))
}

/// Formats an influence, which may be far below one.
fn influence(value: f64) -> String {
    match value == 0.0 || value.abs() >= 0.001 {
        true => format!("{value:+.4}"),
        false => format!("{value:+.1e}"),
    }
}

/// A column before the instruction: its head, its width, whether it is aligned to the right, and
/// its cell, which few datasets may have values for.
struct Column {
    head: &'static str,
    width: usize,
    is_number: bool,
    cell: fn(&ListRow) -> String,
}

const fn column(head: &'static str, width: usize, is_number: bool, cell: fn(&ListRow) -> String) -> Column {
    Column {
        head,
        width,
        is_number,
        cell,
    }
}

fn in_hundredths(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.2}"))
}

const TABLE: [Column; 8] = [
    column("id", 6, true, |row| row.id.to_string()),
    column("review", 8, false, |row| row.review.to_string()),
    column("origin", 7, false, |row| row.origin.as_str().to_owned()),
    column("similar", 7, true, |row| in_hundredths(row.nearest_rouge_l)),
    column("score", 5, true, |row| row.score.map_or(String::new(), mean)),
    column("influence", 9, true, |row| {
        row.influence.map_or(String::new(), influence)
    }),
    column("ifd", 5, true, |row| in_hundredths(row.ifd)),
    column("split", 5, false, |row| {
        if row.is_held_out { "eval" } else { "train" }.to_owned()
    }),
];

/// Characters of an instruction where no terminal says how many fit.
const INSTRUCTION: usize = 80;

/// The least room for an instruction, however narrow the terminal.
const LEAST: usize = 14;

/// Writes a line for each task, which fits the terminal. Columns are left out where no task of the
/// list has a value.
fn write_table(out: &mut impl Write, rows: &[ListRow]) -> io::Result<()> {
    let is_split = rows.iter().any(|row| row.is_held_out);
    let shown: Vec<&Column> = TABLE
        .iter()
        .filter(|column| match column.head {
            "split" => is_split,
            _ => rows.iter().any(|row| !(column.cell)(row).is_empty()),
        })
        .collect();
    let before: usize = shown.iter().map(|column| column.width + 2).sum();
    let room = columns().map_or(INSTRUCTION, |columns| columns.saturating_sub(before).max(LEAST));
    let colored = crate::streams::stdout().is_colored();
    let (bold, end) = if colored { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let padded = |column: &Column, cell: &str| match column.is_number {
        true => format!("{cell:>width$}  ", width = column.width),
        false => format!("{cell:<width$}  ", width = column.width),
    };
    let heads: String = shown.iter().map(|column| padded(column, column.head)).collect();
    writeln!(out, "{bold}{heads}instruction{end}")?;
    for row in rows {
        for column in &shown {
            let cell = padded(column, &(column.cell)(row));
            let color = match (column.head, row.review) {
                ("review", Review::Accepted) if colored => "\x1b[32m",
                ("review", Review::Rejected) if colored => "\x1b[31m",
                _ => "",
            };
            let end = if color.is_empty() { "" } else { end };
            write!(out, "{color}{cell}{end}")?;
        }
        writeln!(out, "{}", fitted(&row.instruction, room))?;
    }
    Ok(())
}
