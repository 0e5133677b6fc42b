//! `ewe list`

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

use crate::cli::args::select::Select;
use crate::cli::terminal::{mean, one_line};
use crate::store::{Position, Sort, Store};

/// Arguments of `ewe list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Which tasks
    #[command(flatten)]
    pub select: Select,

    /// Which task comes first
    #[arg(long, value_enum, default_value = "id")]
    pub sort: Order,

    /// How many tasks
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(0..=1_000_000_000))]
    pub limit: i64,

    /// Begin behind this task, which need not be in the list itself
    #[arg(long, value_name = "ID", value_parser = crate::cli::args::number::id)]
    pub after: Option<i64>,

    /// Print a JSON array, a task a line
    #[arg(long)]
    pub json: bool,
}

/// The orders of `--sort`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
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
}

impl From<Order> for Sort {
    fn from(order: Order) -> Sort {
        match order {
            Order::Id => Sort::Id,
            Order::Newest => Sort::Newest,
            Order::Longest => Sort::Longest,
            Order::Shortest => Sort::Shortest,
            Order::Similar => Sort::Similar,
            Order::Score => Sort::Score,
        }
    }
}

/// Prints tasks.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    let filter = args.select.filter();
    let from = args.after.map_or(Position::Start, Position::After);
    let mut rows = store
        .list(&filter, args.sort.into(), from, args.limit.saturating_add(1))
        .await?;
    // One row more than asked for says that there are more, without counting them.
    let more = rows.len() as i64 > args.limit;
    rows.truncate(args.limit as usize);
    let mut out = BufWriter::new(crate::streams::stdout());
    if args.json {
        json_lines(&mut out, &rows)?;
    } else {
        writeln!(
            out,
            "{:>6}  {:<8}  {:<7}  {:>5}  {:>5}  instruction",
            "id", "review", "origin", "alike", "score"
        )?;
        for row in &rows {
            let alike = row
                .nearest_rouge_l
                .map_or(String::new(), |score| format!("{score:.2}"));
            let score = row.score.map_or(String::new(), mean);
            let instruction = one_line(&row.instruction, 80);
            writeln!(
                out,
                "{:>6}  {:<8}  {:<7}  {alike:>5}  {score:>5}  {instruction}",
                row.id, row.review, row.origin
            )?;
        }
    }
    out.flush()?;
    store.finish().await?;
    if let (true, false, Some(last)) = (more, args.json, rows.last()) {
        eprintln!("more: --after {}", last.id);
    }
    Ok(())
}

/// A JSON array with an element a line, good for `jq` and for `head` alike.
pub(in crate::cli) fn json_lines<T: serde::Serialize>(
    out: &mut impl Write,
    rows: &[T],
) -> anyhow::Result<()> {
    out.write_all(b"[")?;
    for (index, row) in rows.iter().enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        out.write_all(crate::cli::args::json::line(row)?.as_bytes())?;
    }
    out.write_all(b"\n]\n")?;
    Ok(())
}
