//! `ewe list`

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

use super::terminal::{mean, one_line};
use crate::{
    store::{Filter, Sort, Store},
    task::{Origin, Review},
};

/// Arguments of `ewe list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Only tasks of this review: pending, accepted or rejected
    #[arg(long)]
    pub review: Option<Review>,

    /// Only tasks of this origin: seed, machine or import
    #[arg(long)]
    pub origin: Option<Origin>,

    /// Only tasks that this run brought in
    #[arg(long, value_name = "ID")]
    pub run: Option<i64>,

    /// Only tasks with these words; "a phrase" in quotes, any ending with `*`
    #[arg(long, value_name = "WORDS")]
    pub text: Option<String>,

    /// Only tasks that were judged and score at least this; of several instances the worst counts
    #[arg(long, value_name = "SCORE", value_parser = score)]
    pub min_score: Option<f64>,

    /// Only tasks that were judged and score at most this
    #[arg(long, value_name = "SCORE", value_parser = score)]
    pub max_score: Option<f64>,

    /// Which task comes first
    #[arg(long, value_enum, default_value = "id")]
    pub sort: Order,

    /// How many tasks
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(0..))]
    pub limit: i64,

    /// Leave out this many before
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    pub offset: i64,

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
            Order::Similar => Sort::Similar,
            Order::Score => Sort::Score,
        }
    }
}

/// A score, or a mean of scores.
pub(super) fn score(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(score) if (1.0..=5.0).contains(&score) => Ok(score),
        _ => Err("want a number from 1 to 5".to_string()),
    }
}

/// Prints tasks.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open(&args.db).await?;
    let filter = Filter {
        review: args.review,
        origin: args.origin,
        run_id: args.run,
        text: args.text.clone(),
        min_score: args.min_score,
        max_score: args.max_score,
    };
    let rows = store
        .list(&filter, args.sort.into(), args.limit, args.offset)
        .await?;
    let mut out = BufWriter::new(std::io::stdout().lock());
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
    // The last page is short; any other may have more behind it.
    if !args.json && rows.len() as i64 == args.limit {
        let count = store.count(&filter).await?;
        let shown = args.offset + args.limit;
        if count > shown {
            eprintln!("{} more: --offset {shown}", count - shown);
        }
    }
    Ok(())
}

/// A JSON array with an element a line, good for `jq` and for `head` alike.
pub(super) fn json_lines<T: serde::Serialize>(out: &mut impl Write, rows: &[T]) -> anyhow::Result<()> {
    out.write_all(b"[")?;
    for (index, row) in rows.iter().enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        out.write_all(&serde_json::to_vec(row)?)?;
    }
    out.write_all(b"\n]\n")?;
    Ok(())
}
