//! `ewe candidates`

use std::{
    io::{self, Write},
    path::PathBuf,
};

use super::for_programs;
use crate::cli::terminal::{clean, columns, counted, fitted, indent, one_line};
use crate::store::{CandidateFilter, CandidateView, Filter, RejectedCandidate, Store};
use crate::streams::json;
use crate::streams::pager;
use crate::task::Reason;

/// Arguments of `ewe candidates`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Show this one with its instances; without it, the latest
    #[arg(value_parser = crate::cli::args::number::id)]
    pub id: Option<i64>,

    /// Only those rejected for this reason, such as near_duplicate; without it, all but instances
    /// that fell with their instruction (instruction_rejected)
    #[arg(
        long,
        value_name = "CODE",
        conflicts_with = "id",
        help_heading = "Which candidates"
    )]
    pub rule: Option<String>,

    /// Only those that this run asked for
    #[arg(long, value_name = "ID", value_parser = crate::cli::args::number::id, conflicts_with = "id", help_heading = "Which candidates")]
    pub run: Option<i64>,

    /// Only those with these letters in a text or in what was found
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "id",
        help_heading = "Which candidates"
    )]
    pub text: Option<String>,

    /// Only those that somebody rescued
    #[arg(long, conflicts_with = "id", help_heading = "Which candidates")]
    pub rescued: bool,

    /// How many, the latest first
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(0..=1_000_000_000), help_heading = "How they are shown")]
    pub limit: i64,

    /// Begin before this one, which need not be in the list itself
    #[arg(long, value_name = "ID", value_parser = crate::cli::args::number::id, conflicts_with = "id", help_heading = "How they are shown")]
    pub before: Option<i64>,

    /// Print a JSON array, one candidate per line; of one candidate, an object
    #[arg(long, help_heading = "How they are shown")]
    pub json: bool,

    /// Print a table in CSV
    #[arg(long, conflicts_with_all = ["json", "id"], help_heading = "How they are shown")]
    pub csv: bool,
}

/// The columns of `--csv`: the fields of a candidate, as in JSON.
const COLUMNS: [&str; 16] = [
    "id",
    "run_id",
    "round",
    "request_id",
    "kind",
    "parent_id",
    "instruction",
    "input",
    "output",
    "reason",
    "detail",
    "nearest_task_id",
    "nearest",
    "rouge_l",
    "rescued_as",
    "created_at",
];

/// How many candidates are counted.
const COUNTED: i64 = 100_000;

/// Prints rejected candidates.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    match args.id {
        Some(id) => show(store, id, args.json).await,
        None => list(store, args, quiet).await,
    }
}

async fn list(store: Store, args: &Args, quiet: bool) -> anyhow::Result<()> {
    store
        .check_choices(&Filter {
            run_id: args.run,
            reason: args.rule.clone(),
            ..Filter::default()
        })
        .await?;
    let filter = CandidateFilter {
        reason: args.rule.clone(),
        run_id: args.run,
        text: args.text.clone(),
        rescued: args.rescued.then_some(true),
        alone: !args.rescued,
    };
    let mut rows = store
        .candidates(&filter, args.before, args.limit.saturating_add(1))
        .await?;
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

/// Says how many there are beside those that are shown; none if these are all.
async fn amount_shown(
    store: &Store,
    filter: &CandidateFilter,
    rows: &[RejectedCandidate],
    more: bool,
) -> anyhow::Result<Option<String>> {
    let of = match store.count_candidates(filter, COUNTED + 1).await? {
        all if all > COUNTED => format!("more than {COUNTED} rejected candidates"),
        all => counted(all, "rejected candidate"),
    };
    Ok(match (rows.last(), more) {
        (None, true) => Some(format!("0 shown of {of}")),
        (None, false) => Some("no such candidate was rejected".to_owned()),
        (Some(last), true) => Some(format!("{} of {of}; more: --before {}", rows.len(), last.id)),
        (Some(_), false) => None,
    })
}

/// Writes a line for each candidate, which fits the terminal.
fn write_table(out: &mut impl Write, rows: &[RejectedCandidate]) -> io::Result<()> {
    let widest = rows.iter().map(|row| clean(&row.reason).chars().count()).max();
    let reasons = widest.unwrap_or_default().clamp(6, 24);
    let before = 8 + 13 + reasons + 2 + 9;
    let room = columns().map_or(80, |columns| columns.saturating_sub(before).max(14));
    let (bold, end) = match crate::streams::stdout().is_colored() {
        true => ("\x1b[1m", "\x1b[0m"),
        false => ("", ""),
    };
    writeln!(
        out,
        "{bold}{:>6}  {:<11}  {:<reasons$}  {:>7}  text{end}",
        "id", "kind", "reason", "rescued"
    )?;
    for row in rows {
        let text = match row.kind.as_str() {
            // A question of a conversation that was not answered.
            "instance" if row.output.as_deref() == Some("") => row.input.as_deref().unwrap_or_default(),
            "instance" => row.output.as_deref().unwrap_or_default(),
            _ => &row.instruction,
        };
        let rescued = row.rescued_as.map_or(String::new(), |task| task.to_string());
        writeln!(
            out,
            "{:>6}  {:<11}  {:<reasons$}  {rescued:>7}  {}",
            row.id,
            clean(&row.kind),
            fitted(&row.reason, reasons),
            fitted(text, room)
        )?;
    }
    Ok(())
}

/// Prints one candidate.
async fn show(store: Store, id: i64, is_json: bool) -> anyhow::Result<()> {
    let view = store.candidate(id).await?;
    let ended = store.finish().await;
    let mut out = Vec::new();
    if is_json {
        writeln!(out, "{}", json::pretty(&view)?)?;
        let mut stdout = crate::streams::stdout();
        stdout.write_all(&out)?;
        stdout.flush()?;
    } else {
        print(&mut out, &view)?;
        pager::show(&out, false)?;
    }
    ended?;
    Ok(())
}

fn print(out: &mut impl Write, view: &CandidateView) -> io::Result<()> {
    let row = &view.candidate;
    write!(
        out,
        "candidate {} · {} · run {}, round {} · request {}",
        row.id,
        clean(&row.kind),
        row.run_id,
        row.round,
        row.request_id
    )?;
    match row.rescued_as {
        Some(task) => writeln!(out, " · rescued: task {task}")?,
        None => writeln!(out)?,
    }
    writeln!(out, "\n{}", verdict(row))?;
    writeln!(out, "\ninstruction\n{}", indent(&row.instruction, 2))?;
    if row.kind == "instance" {
        texts(out, row)?;
    }
    for instance in &view.instances {
        let taken = if view.takes.contains(&instance.id) {
            ""
        } else {
            " · stays out"
        };
        writeln!(out, "\ninstance {} · {}{taken}", instance.id, verdict(instance))?;
        texts(out, instance)?;
    }
    if let (Some(id), Some(nearest)) = (row.nearest_task_id, &row.nearest) {
        let likeness = row.rouge_l.map_or(String::new(), |value| format!("{value:.2}  "));
        writeln!(
            out,
            "\nnearest by ROUGE-L\n  {likeness}{id:>6}  {}",
            one_line(nearest, 80)
        )?;
    }
    Ok(())
}

fn texts(out: &mut impl Write, row: &RejectedCandidate) -> io::Result<()> {
    if let Some(input) = row.input.as_deref().filter(|input| !input.is_empty()) {
        writeln!(out, "  input\n{}", indent(input, 4))?;
    }
    writeln!(
        out,
        "  output\n{}",
        indent(row.output.as_deref().unwrap_or_default(), 4)
    )
}

/// The reason in words, and what was found.
fn verdict(row: &RejectedCandidate) -> String {
    let about = Reason::of_code(&row.reason).map_or(String::new(), |reason| format!(": {}", reason.about()));
    let found = row
        .detail
        .as_deref()
        .map_or(String::new(), |detail| format!(" ({})", one_line(detail, 200)));
    format!("{}{about}{found}", clean(&row.reason))
}
