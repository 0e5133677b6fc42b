//! `ewe add-documents`

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::terminal::{clean, counted};
use crate::documents::apart::{self, Outcome};
use crate::documents::passage::Cut;
use crate::documents::read::{self, Reading};
use crate::documents::source;
use crate::next::NextCommands;
use crate::pipeline::documents::add::{self, Added, Adding};
use crate::store::Store;
use crate::text::{chosen, shell_word};

/// Arguments of `ewe add-documents`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE", required_unless_present = "text")]
    pub db: Option<PathBuf>,

    /// Files and folders: text, Markdown, HTML, PDF, DOCX, EPUB, CSV, JSONL, source code, also as
    /// .gz and .zst. Of a folder, all files below it that are not hidden and that no .gitignore
    /// names
    #[arg(required = true, value_name = "FILE")]
    pub paths: Vec<PathBuf>,

    /// The column of CSV or JSONL that has the text; several are joined [default: text, content,
    /// body or the like, or the only one]
    #[arg(long, value_name = "NAME")]
    pub column: Vec<String>,

    /// The most tokens of a passage, estimated: a token is four letters of English
    #[arg(long, value_name = "N", default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(20..=8192))]
    pub passage_tokens: u32,

    /// Tokens of the end of a passage that the next one of the same section begins with, at most,
    /// in whole sentences
    #[arg(long, value_name = "N", default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(0..=4096))]
    pub overlap: u32,

    /// The most megabytes of a file, and of what it unpacks to
    #[arg(long, value_name = "MB", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub largest: u32,

    /// Print the text of one file instead of adding it, as it would be read
    #[arg(long, conflicts_with = "db")]
    pub text: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

impl Args {
    fn reading(&self, apart: bool) -> Reading {
        Reading {
            largest: u64::from(self.largest) << 20,
            columns: self.column.clone(),
            apart,
        }
    }
}

/// How many files are named in a list.
const NAMED: usize = 20;

/// Adds documents, or prints the text of one. The exit code is 1 if a file cannot be read.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<u8> {
    if args.text {
        return print_text(args);
    }
    let db = args.db.as_ref().context("--db is missing")?;
    if args.overlap >= args.passage_tokens {
        anyhow::bail!(
            "--overlap {} leaves no room in passages of {}\nhint: at most half of --passage-tokens",
            args.overlap,
            counted(args.passage_tokens, "token")
        );
    }
    let store = Store::open(db).await?;
    let adding = Adding {
        paths: &args.paths,
        reading: args.reading(true),
        cut: Cut {
            tokens: args.passage_tokens,
            overlap: args.overlap,
        },
    };
    let mut show = |done: u64, all: u64, path: &Path| tracing::info!("{done} of {all}: {}", path.display());
    let added = add::add(&store, &adding, &mut show).await;
    store.close().await;
    let added = added?;
    let mut out = crate::streams::stdout();
    match args.json {
        true => writeln!(out, "{}", crate::streams::json::line(&added)?)?,
        false => print(&mut out, db, &added)?,
    }
    out.flush()?;
    if !args.json {
        warn(&added, quiet);
        if added.passages.added > 0 {
            let db = shell_word(db);
            NextCommands::default()
                .with(
                    format!("ewe generate --db {db} --recipe grounded --target 100 --endpoint URL"),
                    "tasks that their passages answer",
                )
                .with(
                    format!("ewe generate --db {db} --recipe backtranslation --target 100 --endpoint URL"),
                    "instructions that passages answer",
                )
                .say(quiet);
        }
    }
    Ok(u8::from(!added.faults.is_empty()))
}

/// Prints the result.
fn print(out: &mut impl Write, db: &Path, added: &Added) -> std::io::Result<()> {
    writeln!(
        out,
        "{}: {} new, {} changed, {} unchanged, {} gone; {} new, {} as before, {} retired, {} dropped",
        db.display(),
        counted(added.new, "document"),
        added.changed,
        added.unchanged,
        added.removed.len(),
        counted(added.passages.added, "passage"),
        added.passages.kept,
        added.passages.retired,
        added.passages.dropped,
    )?;
    if !added.languages.is_empty() {
        let mut languages: Vec<_> = added.languages.iter().collect();
        languages.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let shown: Vec<String> = languages
            .iter()
            .take(10)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        writeln!(out, "languages of passages: {}", shown.join(", "))?;
    }
    let passed: Vec<String> = [
        (added.hidden, "hidden"),
        (added.ignored, "named by .gitignore"),
        (added.no_documents, "without text"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    if !passed.is_empty() {
        writeln!(out, "passed over: {}", passed.join(", "))?;
    }
    for path in added.removed.iter().take(NAMED) {
        writeln!(out, "gone: `{}`", clean(path))?;
    }
    Ok(())
}

/// Says what is wrong with files.
fn warn(added: &Added, quiet: bool) {
    if !quiet {
        for note in added.notes.iter().take(NAMED) {
            eprintln!("note: `{}`: {}", clean(&note.path), clean(&note.text));
        }
    }
    for remark in added.faults.iter().take(NAMED) {
        eprintln!("`{}`: {}", clean(&remark.path), clean(&remark.text));
    }
    let count = added.faults.len() as i64;
    if count == 0 {
        return;
    }
    let more = match added.faults.len() > NAMED {
        true => "; --json names all",
        false => "",
    };
    eprintln!(
        "{} not be read, and nothing of the others is lost{more}",
        chosen(count, "file could", "files could")
    );
    let mut kinds: Vec<_> = added.faults.iter().filter_map(|remark| remark.fault).collect();
    kinds.sort();
    kinds.dedup();
    for hint in kinds.into_iter().filter_map(|kind| kind.hint()) {
        eprintln!("hint: {hint}");
    }
}

/// Prints the text of a file. Of a PDF, a process of its own prints it to this one.
fn print_text(args: &Args) -> anyhow::Result<u8> {
    let [path] = args.paths.as_slice() else {
        anyhow::bail!("--text is for one file\nhint: name one");
    };
    let is_reader = apart::is_reader();
    if is_reader {
        apart::limit_this_process();
    }
    let reading = args.reading(!is_reader);
    let read = source::bytes(path, reading.largest).and_then(|bytes| read::read(path, &bytes, &reading));
    let mut out = crate::streams::stdout();
    let code = match read {
        Ok((_, document)) if args.json => {
            writeln!(
                out,
                "{}",
                crate::streams::json::line(&Outcome::Document(document))?
            )?;
            0
        }
        Ok((_, document)) => {
            writeln!(out, "{}", document.text())?;
            0
        }
        Err(fault) if args.json => {
            writeln!(out, "{}", crate::streams::json::line(&Outcome::Fault(fault))?)?;
            1
        }
        Err(fault) => {
            let hint = fault
                .kind
                .hint()
                .map(|hint| format!("\nhint: {hint}"))
                .unwrap_or_default();
            anyhow::bail!("`{}`: {fault}{hint}", path.display());
        }
    };
    out.flush()?;
    Ok(code)
}
