//! `ewe generate`

use super::live::Live;
use super::recipe;
use crate::backend::Backend;
use crate::client::endpoint::{Api, EndpointConfig};
use crate::client::key::ApiKey;
use crate::client::{self, Client};
use crate::filter::Threshold;
use crate::filter::rules::RuleSet;
use crate::pipeline::budget::{Budget, Price};
use crate::pipeline::{self, Ending};
use crate::progress::clock;
use crate::store::{Store, lock::GenerateLock};
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Arguments of `ewe generate`.
#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("who").required(true), group = clap::ArgGroup::new("prices").multiple(true))]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// How many machine-made tasks the dataset shall have
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub target: u64,

    /// Ask this model here: a directory (config.json, weights, tokenizer), or an id on the Hugging Face hub
    #[arg(long, value_name = "DIR|HF_ID", group = "who")]
    pub model: Option<PathBuf>,

    /// Ask a model behind this OpenAI-compatible address, like http://127.0.0.1:8000/v1; several share the work
    #[arg(long, value_name = "URL", group = "who", requires = "endpoint_model")]
    pub endpoint: Vec<String>,

    /// The model's name at the endpoint: one for all, or one for each; the weights must be the same
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    pub endpoint_model: Vec<String>,

    /// Environment variable that holds the endpoint's key: one for all, or one for each
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY")]
    pub api_key_env: Vec<String>,

    /// How the endpoint is asked; base models want completions
    #[arg(long, value_enum, default_value = "auto")]
    pub api: Api,

    /// The most requests in flight at once at each endpoint; fewer where it cannot bear so many
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub concurrency: usize,

    /// Seconds that one answer of the endpoint may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,

    /// How often a request to the endpoint that failed in passing is tried again
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub retries: u32,

    /// Seconds before it is first tried again, at most; each further wait is up to twice as long
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = backoff)]
    pub backoff: f64,

    /// Seeds all randomness; the same seed goes on where it stopped
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Rounds that run side by side; round k is prompted from what was accepted up to round k - N
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub window: u64,

    /// ROUGE-L F1 above which two instructions count as the same
    #[arg(long, value_name = "F1", default_value = "0.7")]
    pub threshold: Threshold,

    /// Rules over instructions and instances: self-instruct, alpaca, default, none (near-duplicates only), or a TOML file
    #[arg(long, value_name = "SET|FILE", default_value = "default")]
    pub rules: String,

    /// Stop after this many requests
    #[arg(long, value_name = "N")]
    pub max_requests: Option<u64>,

    /// Stop after this many tokens, prompts and answers together
    #[arg(long, value_name = "N")]
    pub budget_tokens: Option<u64>,

    /// Stop when the tokens have cost this much, at --price-in and --price-out
    #[arg(long, value_name = "AMOUNT", requires = "prices")]
    pub budget_money: Option<f64>,

    /// What a million tokens of prompts cost, in any currency
    #[arg(long, value_name = "AMOUNT", default_value_t = 0.0, group = "prices")]
    pub price_in: f64,

    /// What a million tokens of answers cost
    #[arg(long, value_name = "AMOUNT", default_value_t = 0.0, group = "prices")]
    pub price_out: f64,

    /// Stop after this many minutes
    #[arg(long, value_name = "MINUTES")]
    pub max_minutes: Option<f64>,

    /// Stop when less than this part of the last 500 instructions that the rules let through was new; 0 never does
    #[arg(long, value_name = "PART", default_value_t = 0.02, value_parser = part)]
    pub min_novelty: f64,

    /// How to prompt.
    #[command(flatten)]
    pub recipe: recipe::Args,

    /// Where a local model runs: auto, cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,

    /// Numbers that a local model computes in: auto, bf16, fp16 or fp32
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub dtype: String,

    /// Requests that a local model answers at once
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub batch: u64,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

impl Args {
    fn config(&self) -> Result<pipeline::Config> {
        Ok(pipeline::Config {
            target: self.target,
            seed: self.seed,
            window: self.window,
            threshold: self.threshold,
            rules: RuleSet::read(&self.rules)?,
            budget: Budget {
                requests: self.max_requests,
                tokens: self.budget_tokens,
                money: self.budget_money,
                time: self
                    .max_minutes
                    .map(|minutes| Duration::from_secs_f64(minutes.max(0.0) * 60.0)),
                price: Price {
                    input: self.price_in,
                    output: self.price_out,
                },
            },
            min_novelty: self.min_novelty,
            recipe: self.recipe.recipe()?,
            topics: self.recipe.topics()?,
        })
    }

    /// The client for `--endpoint`.
    pub fn client(&self) -> Result<Client> {
        let models = for_each("--endpoint-model", &self.endpoint_model, self.endpoint.len())?;
        let variables = for_each("--api-key-env", &self.api_key_env, self.endpoint.len())?;
        let endpoints = self.endpoint.iter().zip(models.iter().zip(variables));
        let endpoints = endpoints.map(|(url, (model, variable))| {
            Ok(EndpointConfig {
                url: url.clone(),
                model: model.to_string(),
                key: ApiKey::from_env(variable).map_err(anyhow::Error::msg)?,
            })
        });
        Ok(Client::new(client::Config {
            endpoints: endpoints.collect::<Result<_>>()?,
            api: self.api,
            concurrency: self.concurrency,
            timeout: Duration::from_secs(self.timeout),
            retries: self.retries,
            backoff: Duration::from_secs_f64(self.backoff),
        })?)
    }
}

/// The option's value for each of so many endpoints: one for all, or as many as there are.
fn for_each<'a>(option: &str, values: &'a [String], endpoints: usize) -> Result<Vec<&'a str>> {
    match values {
        [one] => Ok(vec![one; endpoints]),
        several if several.len() == endpoints => Ok(several.iter().map(String::as_str).collect()),
        several => bail!(
            "{option} is given {} times for {endpoints} endpoints\nhint: give it once for all, or once for each in the same order",
            several.len()
        ),
    }
}

fn part(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(part) if (0.0..=1.0).contains(&part) => Ok(part),
        _ => Err("want a number from 0 to 1".to_string()),
    }
}

fn backoff(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("want a number from 0 to 60".to_string()),
    }
}

/// A dataset that is open, with the right to grow it.
pub struct Grow {
    config: pipeline::Config,
    store: Store,
    _lock: GenerateLock,
}

/// Reads the options and opens the dataset before a model is loaded, so that what is wrong with them is said at once.
pub async fn open(args: &Args) -> Result<Grow> {
    let config = args.config()?;
    let store = Store::open(&args.db).await?;
    let lock = store.lock_for_generate()?;
    Ok(Grow {
        config,
        store,
        _lock: lock,
    })
}

impl Grow {
    /// Grows the dataset with `backend`; the exit code says whether it was stopped.
    pub async fn run(self, args: &Args, quiet: bool, backend: &dyn Backend) -> Result<u8> {
        let Grow { config, store, _lock } = self;
        let result = grow(&store, &config, args, quiet, backend).await;
        store.close().await;
        result
    }
}

async fn grow(
    store: &Store,
    config: &pipeline::Config,
    args: &Args,
    quiet: bool,
    backend: &dyn Backend,
) -> Result<u8> {
    let interrupted = Arc::new(AtomicBool::new(false));
    tokio::spawn(stop_on_signal(interrupted.clone()));

    let start = Instant::now();
    let had = store.accepted_machine_tasks().await?;
    let mut live = Live::new(
        had,
        args.target,
        args.json,
        args.price_in + args.price_out > 0.0,
        quiet,
    );
    let mut last = pipeline::Progress {
        accepted: had,
        target: args.target,
        ..Default::default()
    };
    let mut show = |now: &pipeline::Progress| {
        live.show(now);
        last = now.clone();
    };
    let ending = pipeline::grow(store, config, backend, &interrupted, &mut show).await;
    live.finish();
    let ending = ending?;
    if args.json {
        let word = match ending {
            Ending::Target => "target",
            Ending::Budget(_) => "budget",
            Ending::Saturated => "saturated",
            Ending::Interrupted => "interrupted",
        };
        let spent = match ending {
            Ending::Budget(spent) => Some(spent.as_str()),
            _ => None,
        };
        println!(
            "{}",
            serde_json::json!({"ending": word, "budget": spent, "accepted": last.accepted, "new": last.accepted - had,
                "rejected": last.rejections(), "rejected_by_reason": last.rejected, "novelty": last.novelty,
                "requests": last.requests, "tokens": last.tokens(), "prompt_tokens": last.prompt_tokens,
                "completion_tokens": last.completion_tokens, "cost": last.cost})
        );
    } else {
        println!(
            "{}: {} machine-made tasks, {} of them new; {} candidates rejected, {} requests, {} tokens, {}",
            args.db.display(),
            last.accepted,
            last.accepted - had,
            last.rejections(),
            last.requests,
            last.tokens(),
            clock(start.elapsed())
        );
        match ending {
            Ending::Target => {}
            Ending::Budget(spent) => println!(
                "stopped: the budget of {} is spent; the same command with a larger one goes on",
                spent.as_str()
            ),
            Ending::Saturated => println!(
                "stopped: {:.1} % of the last instructions were new, less than --min-novelty {}; more seeds, another model or \
                 a lower --min-novelty may bring more",
                100.0 * last.novelty.unwrap_or_default(),
                args.min_novelty
            ),
            Ending::Interrupted => println!("stopped: interrupted; the same command goes on"),
        }
    }
    Ok(if ending == Ending::Interrupted { 130 } else { 0 })
}

/// The first Ctrl-C lets what is in flight finish; the second leaves at once. Neither loses what is committed.
async fn stop_on_signal(interrupted: Arc<AtomicBool>) {
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        return;
    };
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        if interrupted.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("stopping when what is in flight is answered; once more to leave at once");
    }
}
