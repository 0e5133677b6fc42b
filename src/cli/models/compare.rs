//! `ewe compare`

use std::io::Write;
use std::path::PathBuf;

use crate::atomic_file::{self, AtomicFile, Lines};
use crate::backend::Backend;
use crate::choice::JudgedBy;
use crate::cli::args::reading::ReadingArgs;
use crate::cli::args::{endpoints, local, number};
use crate::cli::interrupt;
use crate::cli::terminal::{clean, counted, one_line};
use crate::compare::exam::ExamFigures;
use crate::compare::figures::Wins;
use crate::interchange::Need;
use crate::job::compare::{CompareJob, ComparedPrompts, ModelChoice};
use crate::job::rows::RowsFile;
use crate::pipeline::compare::{self, CompareRequest, Comparison, Models, Role, prompts};
use crate::pipeline::{Ending, answers};
use crate::progress::ProgressMeter;
use crate::prompt::template::TemplateChoice;
use crate::store::Store;
use crate::suite::interval::Interval;
use crate::text::chosen;
use anyhow::{Context, Result, bail};
use futures::FutureExt;
use futures::future::{BoxFuture, LocalBoxFuture};

/// Arguments of `ewe compare`.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(after_help = "\
A model is a directory (or an id on the Hugging Face hub), a directory with an
adapter, MODEL+ADAPTER, or an OpenAI-compatible address, with the model's name
behind # where it has several; @FILE stands for the addresses in a file, one a
line, that share the work. Only one is loaded at a time.

The judge is examined first, on pairs whose better half is known. If it is right
in less than 65 %, no winner is named.")]
pub struct Args {
    /// Model a, such as the base model
    #[arg(long, value_name = "MODEL", value_parser = ModelChoice::parse)]
    pub a: ModelChoice,

    /// Model b, such as the tuned one; win rates are its
    #[arg(long, value_name = "MODEL", value_parser = ModelChoice::parse)]
    pub b: ModelChoice,

    /// The model that judges the answers; it sees every pair in both orders
    #[arg(long, value_name = "MODEL", required_unless_present = "no_judge", value_parser = ModelChoice::parse)]
    pub judge: Option<ModelChoice>,

    /// Have nobody judge but people, on the page of `ewe curate`
    #[arg(long, conflicts_with = "judge")]
    pub no_judge: bool,

    /// Prompts, as rows in any format that `ewe import` reads; the judge is examined on those that
    /// have answers
    #[arg(long, value_name = "FILE", required_unless_present = "db")]
    pub data: Option<PathBuf>,

    /// How the file is read
    #[command(flatten)]
    pub reading: ReadingArgs,

    /// The dataset: its held-out tasks are the prompts, unless there is --data; keeps answers and
    /// votes [default: a file beside --out]
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,

    /// Take at most this many prompts, from the first on
    #[arg(long, value_name = "N", value_parser = number::some)]
    pub limit: Option<u64>,

    /// Receives the result as JSON; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Receives the pairs of answers, with what the judge said; `-` is standard output
    #[arg(long, value_name = "FILE.jsonl")]
    pub answers: Option<PathBuf>,

    /// The most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = number::some)]
    pub max_tokens: u64,

    /// The most tokens of a judge's reply; one that reasons first needs hundreds
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = number::some)]
    pub judge_tokens: u64,

    /// What a verdict is: the letter that the judge writes, or how likely it finds each, which
    /// needs a server with logprobs
    #[arg(long, help_heading = "Judge", value_enum, default_value = "text")]
    pub by: JudgedBy,

    /// By likelihood, a pair is a tie if the probability that b wins is this close to one half
    #[arg(long, help_heading = "Judge", value_name = "P", default_value = "0.1", value_parser = number::margin)]
    pub tie_margin: f64,

    /// The most pairs of each of three kinds on which the judge is examined
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = number::some)]
    pub exam: u64,

    /// Decides which pairs the exam has, and the resamples behind intervals
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// How messages become prompts of local models that answer: alpaca, dolly, chat, completion, or
    /// a Jinja file, as in `ewe chat` [default: for each the chat template that came with adapter
    /// or model, else alpaca]
    #[arg(long, value_name = "NAME|FILE")]
    pub template: Option<TemplateChoice>,

    /// Where local models run
    #[command(flatten)]
    pub place: local::DeviceArgs,

    /// How much a local model may do at once
    #[command(flatten)]
    pub engine: local::EngineArgs,

    /// How endpoints are asked
    #[command(flatten)]
    pub at: endpoints::Args,
}

impl Args {
    /// Whether a model of this machine is asked, for which the tensor half is needed.
    pub fn has_local_model(&self) -> bool {
        let all = [Some(&self.a), Some(&self.b), self.judge.as_ref()];
        all.into_iter().flatten().any(ModelChoice::is_local)
    }

    /// Returns what the command does.
    ///
    /// # Errors
    ///
    /// When columns are mapped that do not go together.
    pub fn job(&self) -> Result<CompareJob> {
        let prompts = match &self.data {
            Some(path) => ComparedPrompts::File(RowsFile {
                path: path.clone(),
                reading: self.reading.reading(Need::Instruction)?,
                left_out: self.reading.policy(),
            }),
            None => ComparedPrompts::HeldOut,
        };
        Ok(CompareJob {
            a: self.a.clone(),
            b: self.b.clone(),
            judge: self.judge.clone(),
            prompts,
            limit: self.limit,
            max_tokens: self.max_tokens as usize,
            judge_tokens: self.judge_tokens as usize,
            judged_by: self.by,
            tie_margin: self.tie_margin,
            exam: self.exam as usize,
            seed: self.seed,
            budget: self.at.budget(),
            db: self.db.clone(),
            out: self.out.clone(),
            answers: self.answers.clone(),
        })
    }

    /// Opens a model behind an endpoint.
    ///
    /// # Errors
    ///
    /// As [`endpoints::Args::client`].
    pub async fn endpoint(&self, url: &str, model: &str, role: Role) -> Result<Box<dyn Backend>> {
        let variable = match role {
            Role::A | Role::B => &self.at.api_key_env,
            Role::Judge => &self.at.judge_key_env,
        };
        Ok(Box::new(self.at.client(url, model, variable).await?))
    }
}

/// Models behind endpoints only.
struct Endpoints<'a>(&'a Args);

impl Models for Endpoints<'_> {
    fn open<'a>(&'a self, choice: &'a ModelChoice, role: Role) -> BoxFuture<'a, Result<Box<dyn Backend>>> {
        async move {
            match choice {
                ModelChoice::Endpoint { url, model } => self.0.endpoint(url, model, role).await,
                ModelChoice::Local { path, .. } => {
                    bail!(
                        "`{}` is a model of this machine, which `ewe-torch` runs",
                        path.display()
                    )
                }
            }
        }
        .boxed()
    }
}

/// Compares models behind endpoints.
pub async fn run(args: &Args, quiet: bool) -> Result<u8> {
    run_with(args, quiet, &Endpoints(args)).await
}

/// Compares the models that `models` opens. Returns the exit code.
///
/// Boxed: a bare future would be compiled again in `ewe-torch`.
pub fn run_with<'a>(args: &'a Args, quiet: bool, models: &'a dyn Models) -> LocalBoxFuture<'a, Result<u8>> {
    compare_with(args, quiet, models).boxed_local()
}

async fn compare_with(args: &Args, quiet: bool, models: &dyn Models) -> Result<u8> {
    let job = args.job()?;
    for out in [Some(&job.out), job.answers.as_ref()].into_iter().flatten() {
        atomic_file::check(out)?;
    }
    let store = match &job.db {
        Some(path) => Store::open(path).await?,
        None => answers::store_beside(&job.out).await?,
    };
    let _lock = store.lock_for_evaluation().await?;
    let result = compare_on(&store, &job, quiet, models).await;
    let kept = store.path().to_owned();
    store.close().await;
    let (ending, comparison) = result?;
    match comparison {
        Some(comparison) => {
            write(&job, &comparison)?;
            say(&job, &comparison);
            if !quiet {
                eprintln!(
                    "answers are in `{0}`; `ewe curate --db {0}` lets people compare them, at /compare",
                    clean(&kept.display().to_string())
                );
            }
        }
        None => println!("stopped: interrupted; the same command goes on"),
    }
    Ok(if ending == Ending::Interrupted { 130 } else { 0 })
}

/// Compares, and shows the progress.
async fn compare_on(
    store: &Store,
    job: &CompareJob,
    quiet: bool,
    models: &dyn Models,
) -> Result<(Ending, Option<Comparison>)> {
    let items = prompts::items(store, job, quiet).await?;
    let interrupted = interrupt::on_signal()?;
    let request = CompareRequest {
        job,
        items: &items,
        models,
        interrupted: &interrupted,
    };
    let mut bar: Option<(Role, ProgressMeter)> = None;
    let mut show = |role: Role, done: usize, total: usize| {
        if bar.as_ref().is_none_or(|(of, _)| *of != role) {
            let what = format!("compare {}", role.as_str());
            let meter = ProgressMeter::new(&what, "request", 0, total as u64, quiet);
            if let Some((_, old)) = bar.replace((role, meter)) {
                old.finish();
            }
        }
        if let Some((_, meter)) = &mut bar {
            meter.set(done as u64, "");
        }
    };
    let result = compare::compare(store, &request, &mut show).await;
    if let Some((_, meter)) = bar {
        meter.finish();
    }
    result
}

/// Writes the result, and the pairs if they are wanted.
fn write(job: &CompareJob, comparison: &Comparison) -> Result<()> {
    if let Some(path) = &job.answers {
        let mut lines = Lines::begin(path)?;
        comparison.pairs.iter().try_for_each(|pair| lines.row(pair))?;
        lines.commit()?;
    }
    let mut file = AtomicFile::begin(&job.out)?;
    let text = serde_json::to_string_pretty(&comparison.json)? + "\n";
    file.write_all(text.as_bytes())
        .with_context(|| atomic_file::cannot_write(&job.out))?;
    file.commit()
}

/// Prints the result for people.
fn say(job: &CompareJob, comparison: &Comparison) {
    let name = |text: &str| one_line(text, 80);
    let figures = &comparison.figures;
    println!("a: {}", name(&comparison.model_a));
    println!("b: {}", name(&comparison.model_b));
    if let Some(judge) = &comparison.judge {
        println!("judge: {}", name(&judge.name));
        if let Some(exam) = &judge.exam {
            println!("{}", exam_line(exam));
        }
        println!("{}", wins_line("all", &figures.wins));
        if let Some(odds) = &figures.win_probability {
            println!(
                "  by likelihood, b wins with a mean probability of {}",
                percent(odds)
            );
        }
        if let Some(controlled) = &figures.length_controlled {
            println!("  at equal lengths, b {}", percent(&controlled.rate));
        }
        for (category, wins) in &figures.by_category {
            println!("{}", wins_line(&name(category), wins));
        }
    } else {
        println!("{}", counted(figures.wins.n, "pair"));
    }
    for remark in &comparison.remarks {
        println!("note: {}", clean(&one_line(remark, 400)));
    }
    match (figures.winner, &figures.no_winner_because) {
        (Some("a"), _) => println!("a is better"),
        (Some(_), _) => println!("b is better"),
        (None, why) => println!("no winner is named: {}", why.as_deref().unwrap_or("nobody knows")),
    }
    if !atomic_file::is_stdout(&job.out) {
        println!("{}: written", clean(&job.out.display().to_string()));
    }
}

/// How the judge did.
fn exam_line(exam: &ExamFigures) -> String {
    let kinds: Vec<String> = exam
        .by_kind
        .iter()
        .map(|(kind, figures)| {
            format!(
                "{} {:.0} %",
                kind.replace('_', " "),
                100.0 * figures.accuracy.mean
            )
        })
        .collect();
    let first = exam.chose_first.map_or(String::new(), |share| {
        format!("; it chose the answer shown first in {:.0} %", 100.0 * share)
    });
    format!(
        "  right in {} of {}, to pairs whose better half is known ({}){first}",
        percent(&exam.accuracy),
        chosen(exam.replies, "reply", "replies"),
        kinds.join(", ")
    )
}

/// Wins of all pairs or of a category.
fn wins_line(what: &str, wins: &Wins) -> String {
    let rate = match &wins.win_rate {
        Some(rate) => format!("b wins {}", percent(rate)),
        None => "no verdict".to_owned(),
    };
    let errors = match wins.errors {
        0 => String::new(),
        errors => format!(", {errors} without a verdict"),
    };
    format!(
        "  {what}: {rate} of {} (b {}, a {}, tied {}{errors})",
        counted(wins.n - wins.errors, "pair"),
        wins.wins_b,
        wins.wins_a,
        wins.ties
    )
}

/// A share with its interval: `71.7 % (60.8 to 81.7)`.
fn percent(share: &Interval) -> String {
    let Interval { mean, low, high } = share.times(100.0);
    format!("{mean:.1} % ({low:.1} to {high:.1})")
}
