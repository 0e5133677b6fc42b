//! `ewe gain`

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use clap::error::ErrorKind;

use crate::cli::args::number;
use crate::cli::{Command, Globals, command, read};
use crate::finetune::Method;
use crate::gain::job::{GainJob, Training};
use crate::gain::options;
use crate::job::train::RowSource;
use crate::prompt::template::TemplateChoice;
use crate::store::query::amount::Amount;
use crate::text::format_error;

/// Arguments of `ewe gain`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Runs `ewe split` (unless tasks are held out already), `ewe eval`, `ewe train`,
`ewe eval` and `ewe influence`, one after another, and shows each command. Then
says whether the data made the model better on held-out tasks, with an interval,
and which rows made it worse. What is behind `--` goes on to `ewe train`.

A command that was interrupted or killed goes on when it is typed again. What it
did is in OUT.gain.json.")]
pub struct Args {
    /// The dataset: what is trained on, and what is held out
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Directory of a model (config.json, weights, tokenizer), or its id on the Hugging Face hub
    #[arg(long, value_name = "DIR|HF_ID")]
    pub model: PathBuf,

    /// Directory for the tuned model; must be new, empty, or of the same command before
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// How many tasks to hold out if none is: a share, such as 20%, or a number. They are seeds if
    /// there are any, else any tasks
    #[arg(long, value_name = "SHARE|N", default_value = "20%")]
    pub eval: Amount,

    /// Template that both models are asked by, and that lays out the rows: alpaca, dolly, chat (the
    /// model's own), completion, or a Jinja file, as for `ewe train`
    #[arg(long, value_name = "NAME|FILE", default_value = "alpaca")]
    pub template: TemplateChoice,

    /// The most tokens of an answer [default: 512]
    #[arg(long, value_name = "N", value_parser = number::some)]
    pub max_tokens: Option<u64>,

    /// Seed of all steps
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Device of all steps: auto (a GPU if there is one), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,

    /// How many rows to name, at most, of those that made the model worse
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rows: u32,

    /// Train once more without these rows, into OUT-without-worst, and say whether that is better
    #[arg(long)]
    pub check_worst: bool,

    /// Receives the conclusion as JSON; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub result: Option<PathBuf>,

    /// Options of `ewe train`
    #[arg(last = true, value_name = "TRAIN_OPTION")]
    pub train: Vec<String>,

    /// What these options say. Not typed; known once the command line is parsed.
    #[arg(skip)]
    pub training: Option<Training>,
}

impl Args {
    /// Returns a command line of `ewe train` with the options behind `--`, by which they are
    /// parsed.
    fn train_line(&self) -> Vec<OsString> {
        let ours = [("db", &self.db), ("model", &self.model), ("out", &self.out)];
        let ours = ours.into_iter().map(|(name, path)| {
            let mut word = OsString::from(format!("--{name}="));
            word.push(path);
            word
        });
        let line = ["ewe", "train"].into_iter().map(OsString::from).chain(ours);
        line.chain(self.train.iter().map(OsString::from)).collect()
    }

    fn job(&self, training: Training, globals: &Globals) -> GainJob {
        GainJob {
            db: self.db.clone(),
            model: self.model.clone(),
            out: self.out.clone(),
            eval: self.eval,
            template: self.template.clone(),
            max_tokens: self.max_tokens,
            seed: self.seed,
            device: self.device.clone(),
            rows: self.rows,
            check_worst: self.check_worst,
            result: self.result.clone(),
            training,
            quiet: globals.quiet,
            verbose: globals.verbose,
        }
    }
}

/// Measures what the dataset does for a model. Returns the exit code.
pub async fn run(args: &Args, globals: &Globals) -> Result<u8> {
    let training = args.training.clone().expect("a parsed command line has it");
    crate::gain::run(&args.job(training, globals)).await
}

/// Parses the options of `ewe train` behind those of `ewe gain`.
///
/// # Errors
///
/// As if they had been given to `ewe train`; also if one of them is set for all steps.
pub fn training(args: &Args) -> Result<Training, clap::Error> {
    options::check(&args.train).map_err(refusal)?;
    let (cli, _) = read(&args.train_line())?;
    let Command::Train(train) = cli.command else {
        unreachable!("the line is one of `train`")
    };
    let job = train
        .job(&cli.options)
        .map_err(|error| refusal(format_error(&error)))?;
    let RowSource::Dataset { filter, .. } = job.rows else {
        unreachable!("the line names a dataset")
    };
    if args.check_worst && job.method == Method::Full {
        return Err(refusal(
            "`--check-worst` needs to know the worst rows, and influence is computed for adapters\nhint: leave one of them away"
                .to_owned(),
        ));
    }
    Ok(Training {
        options: options::without_condition(&args.train),
        condition: filter.expression.as_ref().map(|of| of.as_str().to_owned()),
        filter: *filter,
        method: job.method,
        optimizer: job.formats.optimizer,
    })
}

/// An error about options that do not go together.
fn refusal(what: String) -> clap::Error {
    command().error(ErrorKind::ArgumentConflict, what)
}
