//! `ewe init`

use std::{io::Write, path::PathBuf};

use crate::cli::args::reading::ReadingArgs;
use crate::cli::terminal::{counted, one_line};
use crate::{
    filter::{
        Threshold,
        rules::RuleSet,
        screen::{Screen, Submission},
    },
    generate::recipe::SelfInstruct,
    interchange::{Need, ParsedRow, left_out::LeftOut, notes::Notes},
    next::NextCommands,
    pipeline::seeds,
    task::TaskRef,
    text::shell_word,
};

/// Arguments of `ewe init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset to create
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Begin with the tasks of this file, in any format that `ewe import` reads, instead of those
    /// that come with ewe
    #[arg(long, value_name = "FILE")]
    pub seeds: Option<PathBuf>,

    /// How to read the file
    #[command(flatten)]
    pub reading: ReadingArgs,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// How many seeds that break a rule are named. Of the others, only the number is given.
const NAMED: usize = 5;

/// Creates a dataset.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let file = args.seeds.as_deref();
    let mut left_out = LeftOut::begin(&args.reading.policy(), quiet)?;
    let mut notes = Notes::default();
    let reading = args.reading.reading(Need::Task)?;
    let seeds = seeds::read(file, &reading, &mut left_out, &mut notes)?;
    left_out.check()?;
    // The seeds that come with ewe are tested when it is built.
    let warnings = match file {
        Some(_) if !quiet || args.json => warnings(&seeds)?,
        _ => Vec::new(),
    };
    let (store, tasks) = seeds::init(&args.db, seeds, file).await?;
    store.close().await;
    left_out.end()?;
    if args.json {
        let result =
            serde_json::json!({"db": args.db.to_string_lossy(), "tasks": tasks, "warnings": warnings});
        writeln!(
            crate::streams::stdout(),
            "{}",
            crate::streams::json::value(&result)
        )?;
        return Ok(());
    }
    if !quiet {
        let lines = notes.lines(true);
        lines.iter().chain(&warnings).for_each(|line| eprintln!("{line}"));
    }
    writeln!(
        crate::streams::stdout(),
        "{}: a dataset with {}",
        args.db.display(),
        counted(tasks, "seed task")
    )?;
    let db = shell_word(&args.db);
    NextCommands::default()
        .with(
            format!("ewe generate --db {db} --target 100 --model DIR"),
            "let a model write tasks; DIR or a hub id",
        )
        .with(format!("ewe curate --db {db}"), "look at the seeds")
        .say(quiet);
    Ok(())
}

/// Returns warnings about seeds that would make a worse dataset than necessary. No seeds are
/// refused, even if all of them break a rule: `ewe generate` may get other rules, and a dataset
/// need not grow.
fn warnings(seeds: &[ParsedRow]) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    let objections = objections(seeds)?;
    if !objections.is_empty() {
        let (broken, all) = (objections.len(), seeds.len());
        let breaks = if broken == 1 { "breaks" } else { "break" };
        lines.push(format!(
            "{broken} of {} {breaks} a rule, and models imitate seeds:",
            counted(all, "seed")
        ));
        lines.extend(objections.iter().take(NAMED).map(|said| format!("  {said}")));
        if broken > NAMED {
            lines.push(format!("  … and {} more", broken - NAMED));
        }
        let way_out = match broken == all {
            true => "what a model writes is rejected by the same rules, unless `ewe generate` is told others",
            false => "`ewe edit` and `ewe reject` change what is in the dataset",
        };
        lines.push(format!("hint: docs/rules.md has the rules; {way_out}"));
    }
    let shown = SelfInstruct::default().examples;
    if seeds.len() < shown {
        lines.push(format!(
            "{} {} few: a prompt shows {shown} tasks, and what a model writes is like them",
            counted(seeds.len(), "seed"),
            if seeds.len() == 1 { "is" } else { "are" },
        ));
        lines.push(format!(
            "hint: give {shown} at the very least; Self-Instruct began with 175, and seeds/README.md says \
             how to write good ones"
        ));
    }
    Ok(lines)
}

/// Returns what the filter rejects: the row of the seed in the file, the rule, what it found, and
/// the instruction.
fn objections(seeds: &[ParsedRow]) -> anyhow::Result<Vec<String>> {
    let submissions: Vec<Submission<'_>> = (0..)
        .zip(seeds)
        .map(|(row, seed)| Submission {
            task_ref: TaskRef::Row { file: 0, row },
            task: &seed.task,
            is_certain: false,
        })
        .collect();
    let mut screen = Screen::new(RuleSet::read("default")?, Threshold::SELF_INSTRUCT, false);
    let verdicts = screen.verdicts(&submissions);
    let objections = seeds.iter().zip(verdicts).filter_map(|(seed, verdict)| {
        let reason = verdict.reason?;
        let nearest = verdict.nearest.and_then(|nearest| match nearest.task {
            TaskRef::Row { row, .. } => Some((seeds[row as usize].place.row, nearest.rouge_l)),
            TaskRef::Stored(_) | TaskRef::Fresh(_) => None,
        });
        let why = match nearest {
            Some((other, Some(1.0))) => format!("says the same as seed {other}"),
            Some((other, _)) => format!("{reason} of seed {other}"),
            None if verdict.detail.is_empty() => reason.to_string(),
            None => format!("{reason}: {}", one_line(&verdict.detail, 60)),
        };
        let instruction = one_line(&seed.task.instruction, 60);
        Some(format!("seed {}: {why}: \"{instruction}\"", seed.place.row))
    });
    Ok(objections.collect())
}
