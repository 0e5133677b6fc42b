//! `ewe init`

use std::{io::Write, path::PathBuf};

use super::reading::ReadingArgs;
use super::terminal::one_line;
use crate::{
    filter::{
        Threshold,
        judge::{Candidate, Judge, Place},
        rules::RuleSet,
    },
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

/// So many seeds that break a rule are named; that there are more is said.
const NAMED: usize = 10;

/// Makes a dataset.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let file = args.seeds.as_deref();
    if file.is_none() {
        args.reading.goes_with("--seeds")?;
    }
    let mut left_out = LeftOut::begin(&args.reading.policy(), quiet)?;
    let mut notes = Notes::default();
    let reading = args.reading.reading(Need::Task)?;
    let seeds = seeds::read(file, &reading, &mut left_out, &mut notes)?;
    left_out.end()?;
    // Those that come with ewe are tested when it is built.
    let objections = match file {
        Some(_) if !quiet => objections(&seeds)?,
        _ => Vec::new(),
    };
    let count = seeds.len();
    let (store, tasks) = seeds::init(&args.db, seeds, file).await?;
    store.close().await;
    if !quiet {
        notes.lines(true).iter().for_each(|line| eprintln!("{line}"));
    }
    if !objections.is_empty() {
        let (broken, verb) = match objections.len() {
            1 => (1, "breaks"),
            more => (more, "break"),
        };
        eprintln!("{broken} of {count} seeds {verb} a rule, and models imitate seeds:");
        for objection in objections.iter().take(NAMED) {
            eprintln!("  {objection}");
        }
        if objections.len() > NAMED {
            eprintln!("  … and {} more", objections.len() - NAMED);
        }
        eprintln!(
            "hint: docs/rules.md has the rules; `ewe edit` and `ewe reject` change what is in the dataset"
        );
    }
    writeln!(
        crate::streams::stdout(),
        "{}: a dataset with {tasks} seed tasks",
        args.db.display()
    )?;
    Ok(())
}

/// What the filter has against seeds, in its words.
fn objections(seeds: &[Incoming]) -> anyhow::Result<Vec<String>> {
    let candidates: Vec<Candidate<'_>> = (1..)
        .zip(seeds)
        .map(|(row, seed)| Candidate {
            place: Place { source: 0, row },
            task: &seed.task,
            certain: false,
        })
        .collect();
    let mut judge = Judge::new(RuleSet::read("default")?, Threshold::SELF_INSTRUCT, false);
    let verdicts = judge.judge(&candidates);
    let objections = (1..).zip(verdicts).filter_map(|(row, verdict): (usize, _)| {
        let mut said = format!("seed {row}: {}", verdict.reason?);
        if let Some(nearest) = verdict.nearest {
            said += &format!(" of seed {}", nearest.row);
        }
        if !verdict.detail.is_empty() {
            said += &format!(": {}", one_line(&verdict.detail, 80));
        }
        Some(said)
    });
    Ok(objections.collect())
}
