//! `ewe import`

use std::{io::Write, path::PathBuf};

use crate::cli::args::reading::ReadingArgs;
use crate::cli::terminal::{clean, counted};
use crate::{
    curate,
    interchange::{Need, left_out::LeftOut, notes::Notes},
    next::NextCommands,
    pipeline::{
        import::{self, ImportOptions, Imported, fields::Wanted},
        neighbors,
    },
    report::Figures,
    store::Store,
    text::shell_word,
};

/// Arguments of `ewe import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// The file to read: JSON, CSV, Parquet or Arrow, compressed or not (docs/formats.md); `-` is
    /// standard input
    pub file: PathBuf,

    /// The columns that become fields of your own, to filter and sort by: names with commas between
    /// them, all, or none [default: those that the dataset has fields for]
    #[arg(long, value_name = "NAME,…|all|none")]
    pub fields: Option<Wanted>,

    /// How to read the file
    #[command(flatten)]
    pub reading: ReadingArgs,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Imports a file into the dataset.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let store = Store::open(&args.db).await?;
    let who = curate::who();
    let reading = args.reading.reading(Need::Task)?;
    let mut left_out = LeftOut::begin(&args.reading.policy(), quiet)?;
    let mut notes = Notes::default();
    let options = ImportOptions {
        who: &who,
        fields: args.fields.clone().unwrap_or_default(),
    };
    let imported = import::import(&store, &args.file, &reading, &mut left_out, &mut notes, &options).await?;
    if !quiet && imported.change.is_some() {
        notes.lines(true).iter().for_each(|line| eprintln!("{line}"));
    }
    let mut out = crate::streams::stdout();
    if args.json {
        writeln!(out, "{}", crate::streams::json::line(&imported)?)?;
    } else {
        print(&mut out, args, &imported)?;
    }
    out.flush()?;
    if imported.change.is_some() {
        neighbors::complete(&store, quiet).await?;
        // Counted now, while the user waits anyway: this makes the first chart of a large dataset
        // faster.
        Figures::load(&store).await?;
    }
    store.close().await;
    if imported.change.is_some() && !args.json {
        let db = shell_word(&args.db);
        NextCommands::default()
            .with(
                format!("ewe filter --db {db} --dry-run"),
                "which of them break a rule",
            )
            .with(format!("ewe curate --db {db}"), "review them")
            .say(quiet);
    }
    Ok(())
}

/// Prints the result.
fn print(out: &mut impl Write, args: &Args, imported: &Imported) -> std::io::Result<()> {
    let (db, file) = (args.db.display(), args.file.display());
    let format = imported.format.unwrap_or("no rows");
    write!(
        out,
        "{db}: {} from `{file}` ({format})",
        counted(imported.tasks, "task")
    )?;
    match imported.change {
        Some(change) => writeln!(
            out,
            ", pending (action {}; `ewe undo` takes it back)",
            change.group
        )?,
        None => writeln!(out)?,
    }
    for field in &imported.new_fields {
        writeln!(out, "new field `{}` of type {}", clean(&field.name), field.kind)?;
    }
    if !imported.skipped_columns.is_empty() {
        let names = imported
            .skipped_columns
            .iter()
            .map(|name| format!("`{}`", clean(name)));
        let names = names.collect::<Vec<_>>().join(", ");
        writeln!(out, "no fields, but kept beside the texts: {names}")?;
    }
    if let Some(labelled) = imported.labelled {
        let tasks = counted(labelled.tasks, "task");
        let group = labelled.group;
        writeln!(
            out,
            "{tasks} already here labelled (action {group}; `ewe undo` takes it back)"
        )?;
    }
    let mut skipped = Vec::new();
    for (rows, what) in [
        (imported.already_here, "already here: skipped"),
        (imported.repeated, "as an earlier row of the file: skipped"),
        (
            imported.rows_brought_back,
            "of an import that was taken back: brought back",
        ),
    ] {
        if rows > 0 {
            skipped.push(format!("{rows} {what}"));
        }
    }
    if !skipped.is_empty() {
        let rows = counted(imported.rows as i64, "row");
        writeln!(out, "{rows}, {}", skipped.join(", "))?;
    }
    if imported.examples_already_here > 0 {
        let examples = counted(imported.examples_already_here as i64, "example");
        writeln!(out, "{examples} of other rows already here: skipped")?;
    }
    Ok(())
}
