//! `ewe init`

use std::{io::Write, path::PathBuf};

use crate::cli::args::reading::ReadingArgs;
use crate::cli::terminal::{counted, one_line};
use crate::{
    filter::{
        Score, Threshold,
        rules::RuleSet,
        screen::{Candidate, Place, Screen},
    },
    generate::recipe::SelfInstruct,
    interchange::{
        left_out::LeftOut,
        notes::Notes,
        read::{Incoming, Need},
        seeds,
    },
};

/// Arguments of `ewe init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset to make
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Begin with the tasks of this file, in any format that `ewe import` reads, instead of those that come with ewe
    #[arg(long, value_name = "FILE")]
    pub seeds: Option<PathBuf>,

    /// How it is read
    #[command(flatten)]
    pub reading: ReadingArgs,
}

/// So many seeds that break a rule are named; how many more there are is said.
const NAMED: usize = 5;

/// Makes a dataset.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let file = args.seeds.as_deref();
    let mut left_out = LeftOut::begin(&args.reading.policy(), quiet)?;
    let mut notes = Notes::default();
    let reading = args.reading.reading(Need::Task)?;
    let seeds = seeds::read(file, &reading, &mut left_out, &mut notes)?;
    left_out.check()?;
    // Those that come with ewe are tested when it is built.
    let warnings = match file {
        Some(_) if !quiet => warnings(&seeds)?,
        _ => Vec::new(),
    };
    let (store, tasks) = seeds::init(&args.db, seeds, file).await?;
    store.close().await;
    left_out.end()?;
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
    Ok(())
}

/// What to say of seeds that make a worse dataset than they could, in lines. Nothing is refused, not even
/// seeds that all break a rule: `ewe generate` can be told other rules, and a dataset need not grow.
fn warnings(seeds: &[Incoming]) -> anyhow::Result<Vec<String>> {
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
            true => {
                "what a model writes is turned away by the same ones, unless `ewe generate` is told others"
            }
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

/// What the filter has against seeds: which, by its row in the file; the rule, what was found, the instruction.
fn objections(seeds: &[Incoming]) -> anyhow::Result<Vec<String>> {
    let candidates: Vec<Candidate<'_>> = (0..)
        .zip(seeds)
        .map(|(row, seed)| Candidate {
            place: Place { source: 0, row },
            task: &seed.task,
            certain: false,
        })
        .collect();
    let mut judge = Screen::new(RuleSet::read("default")?, Threshold::SELF_INSTRUCT, false);
    let verdicts = judge.judge(&candidates);
    let objections = seeds.iter().zip(verdicts).filter_map(|(seed, verdict)| {
        let nearest = verdict.nearest.map(|place| seeds[place.row as usize].place.row);
        let why = match (nearest, verdict.score.map(Score::f1)) {
            (Some(other), Some(1.0)) => format!("says the same as seed {other}"),
            (Some(other), _) => format!("{} of seed {other}", verdict.reason?),
            (None, _) if verdict.detail.is_empty() => verdict.reason?.to_owned(),
            (None, _) => format!("{}: {}", verdict.reason?, one_line(&verdict.detail, 60)),
        };
        let instruction = one_line(&seed.task.instruction, 60);
        Some(format!("seed {}: {why}: \"{instruction}\"", seed.place.row))
    });
    Ok(objections.collect())
}
