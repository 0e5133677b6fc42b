//! `ewe list`

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::PathBuf,
};

use serde::Serialize;

use super::for_programs;
use crate::cli::args::order::{OrderParser, SortOrder};
use crate::cli::args::select::{Best, Select};
use crate::cli::terminal::{columns, counted, fitted, mean, wide};
use crate::store::fields::Values;
use crate::store::{Field, Filter, ListRow, Position, Store};
use crate::streams::pager;
use crate::task::{FieldType, Review};
use crate::text::shell_word;

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

    /// The order of the tasks; also by a field of your own, as field.NAME or field.NAME:desc
    #[arg(long, value_parser = OrderParser, default_value = "id", help_heading = "How they are shown")]
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

/// How many tasks are counted; with more, the rest is not worth the wait.
const COUNTED: i64 = 100_000;

/// Prints tasks.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    let filter = args.best.of(args.select.filter());
    store.check_choices(&filter).await?;
    let from = args.after.map_or(Position::Start, Position::After);
    let mut rows = store
        .list(
            &filter,
            args.sort.sort(&store).await?,
            from,
            args.limit.saturating_add(1),
        )
        .await?;
    // One row more than requested shows that there are more, without counting them.
    let more = rows.len() as i64 > args.limit;
    rows.truncate(args.limit as usize);
    let is_table = !args.json && !args.csv;
    let note = match is_table && !quiet {
        true => amount_shown(&store, &filter, &rows, more).await?,
        false => None,
    };
    let labels = Labels::load(&store, &rows).await?;
    let ended = store.finish().await;
    if is_table {
        let mut out = Vec::new();
        if !rows.is_empty() {
            write_table(&mut out, &rows, &labels.cells(&rows))?;
        }
        pager::show(&out, true)?;
    } else {
        labels.print(&rows, args.csv)?;
    }
    ended?;
    if let Some(note) = note {
        eprintln!("{note}");
    }
    Ok(())
}

/// The values of fields in the rows of a list.
struct Labels {
    fields: Vec<Field>,
    values: BTreeMap<i64, Vec<(Field, Values)>>,
}

/// A row with its values of fields.
#[derive(Serialize)]
struct Labelled<'a> {
    #[serde(flatten)]
    row: &'a ListRow,
    fields: serde_json::Map<String, serde_json::Value>,
}

/// A column of the table for a field: its head, its cells, and whether they are numbers.
struct FieldCells {
    head: String,
    cells: Vec<String>,
    is_number: bool,
}

impl Labels {
    async fn load(store: &Store, rows: &[ListRow]) -> anyhow::Result<Labels> {
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        Ok(Labels {
            fields: store.fields().await?,
            values: store.values_of(&ids).await?,
        })
    }

    /// The value of a field in a row, for people.
    fn shown(&self, row: &ListRow, field: &Field) -> String {
        let values = self.values.get(&row.id).map_or(&[][..], Vec::as_slice);
        let own = values.iter().find(|(other, _)| other.id == field.id);
        own.map_or(String::new(), |(field, values)| field.shown(values))
    }

    /// The columns of the first fields that any of the rows has a value of.
    fn cells(&self, rows: &[ListRow]) -> Vec<FieldCells> {
        /// How many fields there is room for.
        const MOST: usize = 4;
        /// The widest cell.
        const WIDEST: usize = 14;
        let each = self.fields.iter().map(|field| FieldCells {
            head: fitted(&field.name, WIDEST),
            cells: rows
                .iter()
                .map(|row| fitted(&self.shown(row, field), WIDEST))
                .collect(),
            is_number: field.kind == FieldType::Number,
        });
        each.filter(|field| field.cells.iter().any(|cell| !cell.is_empty()))
            .take(MOST)
            .collect()
    }

    /// Prints the rows with their values: of CSV, each field is a column.
    fn print(&self, rows: &[ListRow], is_csv: bool) -> anyhow::Result<()> {
        if self.fields.is_empty() {
            return for_programs::print(rows, &COLUMNS, is_csv);
        }
        if is_csv {
            let names: Vec<String> = self
                .fields
                .iter()
                .map(|field| format!("field.{}", field.name))
                .collect();
            let header: Vec<&str> = COLUMNS
                .into_iter()
                .chain(names.iter().map(String::as_str))
                .collect();
            let cells = |row| {
                self.fields
                    .iter()
                    .map(|field| self.shown(row, field))
                    .collect::<Vec<_>>()
            };
            let rows: Vec<(&ListRow, Vec<String>)> = rows.iter().map(|row| (row, cells(row))).collect();
            return for_programs::print(&rows, &header, true);
        }
        let rows: Vec<Labelled> = rows
            .iter()
            .map(|row| {
                let values = self.values.get(&row.id).map_or(&[][..], Vec::as_slice);
                let value = |(field, values): &(Field, Values)| (field.name.clone(), field.to_json(values));
                let fields = values.iter().map(value).collect();
                Labelled { row, fields }
            })
            .collect();
        for_programs::print(&rows, &[], false)
    }
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
            false => format!(
                "no task to show: the dataset has {tasks}{}",
                candidates_instead(store, filter).await?
            ),
        }));
    };
    if !more {
        return Ok(None);
    }
    let all = store.count(filter, Some(COUNTED + 1)).await?;
    let of = up_to(COUNTED, all);
    Ok(Some(format!("{} of {of}; more: --after {}", rows.len(), last.id)))
}

/// A number of tasks of which no more than `most` were counted one by one.
pub(super) fn up_to(most: i64, all: i64) -> String {
    match all > most {
        true => format!("more than {}", counted(most, "task")),
        false => counted(all, "task"),
    }
}

/// Says where to look if a rule rejected candidates only, which are no tasks.
async fn candidates_instead(store: &Store, filter: &Filter) -> anyhow::Result<String> {
    let Some(rule) = &filter.reason else {
        return Ok(String::new());
    };
    let is_of_candidates = store.reasons().await?.contains(rule);
    Ok(match is_of_candidates {
        true => format!(
            "\nhint: `{rule}` rejected candidates that became no tasks: `ewe candidates --db {} --rule {rule}`",
            shell_word(store.path())
        ),
        false => String::new(),
    })
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
fn write_table(out: &mut impl Write, rows: &[ListRow], fields: &[FieldCells]) -> io::Result<()> {
    let is_split = rows.iter().any(|row| row.is_held_out);
    let shown: Vec<&Column> = TABLE
        .iter()
        .filter(|column| match column.head {
            "split" => is_split,
            _ => rows.iter().any(|row| !(column.cell)(row).is_empty()),
        })
        .collect();
    let widths: Vec<usize> = fields.iter().map(FieldCells::width).collect();
    let before: usize = shown.iter().map(|column| column.width + 2).sum();
    let before = before + widths.iter().map(|width| width + 2).sum::<usize>();
    let room = columns().map_or(INSTRUCTION, |columns| columns.saturating_sub(before).max(LEAST));
    let colored = crate::streams::stdout().is_colored();
    let (bold, end) = if colored { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let padded = |column: &Column, cell: &str| aligned(cell, column.width, column.is_number);
    let heads: String = shown.iter().map(|column| padded(column, column.head)).collect();
    let own = fields.iter().zip(&widths);
    let own = own.map(|(field, &width)| aligned(&field.head, width, field.is_number));
    writeln!(out, "{bold}{heads}{}instruction{end}", own.collect::<String>())?;
    for (at, row) in rows.iter().enumerate() {
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
        for (field, &width) in fields.iter().zip(&widths) {
            write!(out, "{}", aligned(&field.cells[at], width, field.is_number))?;
        }
        writeln!(out, "{}", fitted(&row.instruction, room))?;
    }
    Ok(())
}

impl FieldCells {
    fn width(&self) -> usize {
        let cells = self.cells.iter().chain([&self.head]);
        cells.map(|cell| wide(cell)).max().unwrap_or(0)
    }
}

/// A cell with two spaces after it.
fn aligned(cell: &str, width: usize, is_number: bool) -> String {
    let space = " ".repeat(width.saturating_sub(wide(cell)));
    match is_number {
        true => format!("{space}{cell}  "),
        false => format!("{cell}{space}  "),
    }
}
