//! `ewe eval`: its options, its models, its run; [`figures`]: what it prints.

mod figures;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use crate::atomic_file::{self, AtomicFile, Lines};
use crate::backend::Backend;
use crate::cli::args::reading::ReadingArgs;
use crate::cli::args::{batch, budget, endpoint, local, number, words};
use crate::cli::interrupt;
use crate::cli::terminal::clean;
use crate::client::batch_backend::BatchBackend;
use crate::client::endpoint::EndpointConfig;
use crate::client::key::ApiKey;
use crate::client::request_shape::RequestShape;
use crate::interchange::Need;
use crate::job::compare::ModelChoice;
use crate::job::eval::{EvalJob, JudgeChoice};
use crate::job::rows::PromptFormat;
use crate::pipeline::evaluate::models::{EvalModels, EvalRole, LikelihoodRow, TokenLoss};
use crate::pipeline::evaluate::result::Evaluated;
use crate::pipeline::evaluate::{self, EvalPhase, EvalRequest, suites};
use crate::pipeline::{Ending, answers};
use crate::progress::ProgressMeter;
use crate::prompt::template::TemplateChoice;
use crate::store::Store;
use crate::suite::checks::ProgramPolicy;
use crate::suite::item::SuiteSpec;
use anyhow::{Context, Result, bail};
use futures::FutureExt;
use futures::future::{BoxFuture, LocalBoxFuture};

/// Arguments of `ewe eval`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    group = clap::ArgGroup::new("who").required(true),
    group = clap::ArgGroup::new("prices").multiple(true),
    after_help = "\
Suites:
  superni=DIR         SuperNaturalInstructions: tasks/*.json and
                      splits/default/test_tasks.txt
  instructions=FILE   rows with references, in any format that `ewe import` reads
  ifeval=FILE         instructions that a program verifies
  checks=FILE         rows with checks of your own
  held-out            the held-out tasks of --db"
)]
pub struct Args {
    /// Evaluate this model: a directory with config.json, safetensors, tokenizer.json, a GGUF file,
    /// or an id on the Hugging Face hub
    #[arg(long, value_name = "DIR|HF_ID", group = "who")]
    pub model: Option<PathBuf>,

    /// Directory of a LoRA adapter in PEFT's format
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,

    /// What to ask: superni=DIR, instructions=FILE, ifeval=FILE, checks=FILE or held-out; may be
    /// given several times
    #[arg(long, value_name = "SUITE", required = true)]
    pub suite: Vec<SuiteSpec>,

    /// The dataset: keeps the answers and the result, has the held-out tasks, and its other rows
    /// are searched for the suites [default: answers are kept beside --out]
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,

    /// Search these rows for the suites in place of those of --db: what the model was trained on;
    /// may be given several times
    #[arg(long, value_name = "FILE")]
    pub training_data: Vec<PathBuf>,

    /// Receives the result as JSON; `-` is standard output
    #[arg(long, value_name = "FILE", required_unless_present = "db")]
    pub out: Option<PathBuf>,

    /// Receives the rows {suite, task, prompt, answer, references, scores}; `-` is standard output
    #[arg(long, value_name = "FILE.jsonl")]
    pub answers: Option<PathBuf>,

    /// Ask at most this many items of each suite, of as many of its tasks as possible
    #[arg(long, value_name = "N", value_parser = number::some)]
    pub limit: Option<u64>,

    /// Positive examples in each prompt of superni
    #[arg(long, help_heading = "Suites", value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=100))]
    pub superni_examples: u16,

    /// Instances of each task of superni
    #[arg(long, help_heading = "Suites", value_name = "N", default_value_t = 100, value_parser = number::some)]
    pub superni_instances: u64,

    /// Let the programs of checks run; they come with the file, and do what they want
    #[arg(long, help_heading = "Suites")]
    pub allow_programs: bool,

    /// Split answers to ifeval into sentences by NLTK's parameters, so that they are counted as
    /// published: its directory punkt_tab/english [default: a short list of abbreviations]
    #[arg(long, help_heading = "Suites", value_name = "DIR")]
    pub punkt: Option<PathBuf>,

    /// The most tokens of an answer [default: superni 128, ifeval 1280, others 512]
    #[arg(long, value_name = "N", value_parser = number::some)]
    pub max_tokens: Option<u64>,

    /// Divides the scores of tokens; 0 takes the likeliest
    #[arg(long, value_name = "T", default_value = "0", value_parser = number::temperature)]
    pub temperature: f64,

    /// Decides on samples, on instances, and on the resamples behind intervals
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// How a local model is asked: as in `ewe chat`
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = ["endpoint", "endpoints", "batch_file", "as_text"])]
    pub template: Option<TemplateChoice>,

    /// Give a local model each question as a text to continue, without a template
    #[arg(long, conflicts_with_all = ["endpoint", "endpoints", "batch_file"])]
    pub as_text: bool,

    /// Have this model grade the answers of instructions and held-out from A to D: a directory, or
    /// an address (or @FILE for those in a file), with the model's name behind # where it has
    /// several
    #[arg(long, help_heading = "Judge", value_name = "MODEL", value_parser = ModelChoice::parse)]
    pub judge: Option<ModelChoice>,

    /// Have this model of the batch service grade them, through the same files
    #[arg(long, help_heading = "Judge", value_name = "NAME", requires = "batch_file", conflicts_with = "judge", value_parser = words::some)]
    pub batch_judge: Option<String>,

    /// The most tokens of a grade; a judge that reasons first needs hundreds
    #[arg(long, help_heading = "Judge", value_name = "N", default_value_t = 64, value_parser = number::some)]
    pub judge_tokens: u64,

    /// Environment variable that holds the key of a judge behind an address
    #[arg(long, help_heading = "Judge", value_name = "NAME", default_value = "OPENAI_API_KEY", value_parser = words::some)]
    pub judge_key_env: String,

    /// How files of instructions and checks are read
    #[command(flatten)]
    pub reading: ReadingArgs,

    /// The budget.
    #[command(flatten)]
    pub budget: budget::Args,

    /// Where local models run.
    #[command(flatten)]
    pub place: local::DeviceArgs,

    /// How much a local model may do at once.
    #[command(flatten)]
    pub engine: local::EngineArgs,

    /// The endpoint of the model.
    #[command(flatten)]
    pub at: endpoint::Args,

    /// Batch files instead of an endpoint.
    #[command(flatten)]
    pub batch_files: batch::Files,
}

impl Args {
    /// Whether a model of this machine is asked, for which the tensor half is needed.
    pub fn has_local_model(&self) -> bool {
        self.model.is_some() || self.judge.as_ref().is_some_and(ModelChoice::is_local)
    }

    /// Returns how a local model is asked.
    pub fn format(&self) -> PromptFormat {
        match self.as_text {
            true => PromptFormat::Text,
            false => PromptFormat::Chat(self.template.clone()),
        }
    }

    /// Returns what the command does.
    ///
    /// # Errors
    ///
    /// When columns are mapped that do not go together.
    pub fn job(&self) -> Result<EvalJob> {
        Ok(EvalJob {
            suites: self.suite.clone(),
            reading: self.reading.reading(Need::Instruction)?,
            left_out: self.reading.policy(),
            superni_examples: usize::from(self.superni_examples),
            superni_instances: self.superni_instances as usize,
            programs: ProgramPolicy {
                allowed: self.allow_programs,
                ..ProgramPolicy::default()
            },
            punkt: self.punkt.clone(),
            limit: self.limit,
            max_tokens: self.max_tokens.map(|most| most as usize),
            temperature: self.temperature,
            seed: self.seed,
            judge: self.judge_choice(),
            judge_tokens: self.judge_tokens as usize,
            budget: self.budget.budget(),
            trained: [&self.adapter, &self.model]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            training_data: self.training_data.clone(),
            db: self.db.clone(),
            out: self.out.clone(),
            answers: self.answers.clone(),
        })
    }

    /// Returns who grades answers.
    fn judge_choice(&self) -> Option<JudgeChoice> {
        match (&self.judge, &self.batch_judge) {
            (Some(judge), _) => Some(JudgeChoice::Model(judge.clone())),
            (None, Some(name)) => Some(JudgeChoice::Batch {
                batch_judge: name.clone(),
            }),
            (None, None) => None,
        }
    }

    /// Opens a model behind an endpoint: the one that is evaluated, or the judge.
    ///
    /// # Errors
    ///
    /// If the model is not behind an endpoint; as [`endpoint::Args::client`].
    async fn endpoint(&self, role: EvalRole) -> Result<Box<dyn Backend>> {
        let client = match (role, &self.judge) {
            (EvalRole::Evaluated, _) => self.at.client().await?,
            (EvalRole::Judge, Some(ModelChoice::Endpoint { url, model })) => {
                let endpoint = EndpointConfig {
                    url: url.clone(),
                    model: model.clone(),
                    model_option: "`#NAME` behind the address",
                    key: ApiKey::from_env(&self.judge_key_env).map_err(anyhow::Error::msg)?,
                    headers: Vec::new(),
                    shape: RequestShape::default(),
                };
                self.at.client_for(endpoint).await?
            }
            (EvalRole::Judge, _) => bail!("the judge is a model of this machine, which `ewe-torch` runs"),
        };
        Ok(Box::new(client.for_questions()))
    }
}

/// Models behind endpoints, or asked through batch files.
pub struct ApiModels<'a> {
    args: &'a Args,
    /// The evaluated model, then the judge, as far as batch files stand for them.
    batch: Vec<Arc<BatchBackend>>,
}

impl ApiModels<'_> {
    /// Reads the results of batch files, if there are any.
    ///
    /// # Errors
    ///
    /// As [`batch::Files::question_backends`].
    pub fn new(args: &Args) -> Result<ApiModels<'_>> {
        let batch = match &args.batch_files.batch_file {
            None => Vec::new(),
            Some(_) => {
                let judge = args.batch_judge.as_deref();
                let models: Vec<&str> = [args.at.model()?].into_iter().chain(judge).collect();
                let keep_going = args.reading.keep_going;
                args.batch_files
                    .question_backends(&models, keep_going, &args.at)?
            }
        };
        Ok(ApiModels { args, batch })
    }

    fn in_batch(&self, role: EvalRole) -> Option<&Arc<BatchBackend>> {
        self.batch.get(match role {
            EvalRole::Evaluated => 0,
            EvalRole::Judge => 1,
        })
    }
}

impl EvalModels for ApiModels<'_> {
    fn open(&self, role: EvalRole) -> BoxFuture<'_, Result<Box<dyn Backend>>> {
        match self.in_batch(role).cloned() {
            Some(batch) => futures::future::ready(Ok(Box::new(batch) as Box<dyn Backend>)).boxed(),
            None => self.args.endpoint(role).boxed(),
        }
    }

    fn batch(&self, role: EvalRole) -> Option<&BatchBackend> {
        self.in_batch(role).map(Arc::as_ref)
    }

    fn likelihood(
        &self,
        _: &[LikelihoodRow<'_>],
        _: &mut dyn FnMut(usize),
    ) -> Option<Result<Vec<Option<TokenLoss>>>> {
        None
    }
}

/// Evaluates a model behind an endpoint, or through batch files.
pub async fn run(args: &Args, quiet: bool) -> Result<u8> {
    run_with(args, quiet, &ApiModels::new(args)?).await
}

/// Evaluates the model that `models` opens. Returns the exit code.
///
/// Boxed: a bare future would be compiled again in `ewe-torch`.
pub fn run_with<'a>(
    args: &'a Args,
    quiet: bool,
    models: &'a dyn EvalModels,
) -> LocalBoxFuture<'a, Result<u8>> {
    evaluate_with(args, quiet, models).boxed_local()
}

async fn evaluate_with(args: &Args, quiet: bool, models: &dyn EvalModels) -> Result<u8> {
    let job = args.job()?;
    job.check_outputs()?;
    let store = match (&job.db, &job.out) {
        (Some(path), _) => Store::open(path).await?,
        (None, Some(out)) => {
            let store = answers::store_beside(out).await?;
            if !quiet {
                let path = store.path().display().to_string();
                eprintln!("answers are kept in `{}`", clean(&path));
            }
            store
        }
        (None, None) => bail!("--out or --db must receive the result"),
    };
    let code = evaluate_on(&store, &job, quiet, models).await;
    store.close().await;
    code
}

/// Evaluates, and writes and prints the result.
async fn evaluate_on(store: &Store, job: &EvalJob, quiet: bool, models: &dyn EvalModels) -> Result<u8> {
    let _lock = store.lock_for_evaluation().await?;
    let suites = suites::read(job, store, quiet).await?;
    let interrupted = interrupt::on_signal()?;
    let request = EvalRequest {
        job,
        suites: &suites,
        models,
        interrupted: &interrupted,
        quiet,
    };
    let mut bar: Option<(EvalPhase, ProgressMeter)> = None;
    let mut done_last = (0, 0);
    let mut show = |phase: EvalPhase, done: usize, total: usize| {
        if bar.as_ref().is_none_or(|(of, _)| *of != phase) {
            let (what, noun) = phase.words();
            let meter = ProgressMeter::new(what, noun, 0, total as u64, quiet);
            if let Some((_, old)) = bar.replace((phase, meter)) {
                old.finish();
            }
        }
        done_last = (done, total);
        if let Some((_, meter)) = &mut bar {
            meter.set(done as u64, "");
        }
    };
    let result = evaluate::evaluate(store, &request, &mut show).await;
    if let Some((_, meter)) = bar {
        meter.finish();
    }
    let outcome = result?;
    if let (Some(batch), false) = (&outcome.batch, quiet) {
        batch.warn();
    }
    if let Some(evaluated) = &outcome.evaluated {
        write(job, evaluated)?;
        figures::say(job, evaluated);
        return Ok(0);
    }
    let ending = outcome.ending;
    if let (Ending::Waiting, Some(batch)) = (ending, &outcome.batch) {
        batch.say();
        return Ok(0);
    }
    let (done, total) = done_last;
    let why = match ending {
        Ending::Budget(spent) => format!("the budget of {} is spent", spent.as_str()),
        _ => "interrupted".to_owned(),
    };
    println!(
        "stopped: {why}, with {done} of {total} answered; the same command goes on, and then there is a result"
    );
    Ok(if ending == Ending::Interrupted { 130 } else { 0 })
}

/// Writes the result, and the answers if they are wanted.
fn write(job: &EvalJob, evaluated: &Evaluated<'_>) -> Result<()> {
    if let Some(path) = &job.answers {
        let mut lines = Lines::begin(path)?;
        evaluated.answer_rows().try_for_each(|row| lines.row(&row))?;
        lines.commit()?;
    }
    let Some(out) = &job.out else { return Ok(()) };
    let mut file = AtomicFile::begin(out)?;
    let text = serde_json::to_string_pretty(&evaluated.json)? + "\n";
    file.write_all(text.as_bytes())
        .with_context(|| atomic_file::cannot_write(out))?;
    file.commit()
}
