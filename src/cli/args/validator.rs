//! Options of the user's validator.

use super::{number, size};
use crate::validator::ValidatorConfig;
use std::time::Duration;

/// The limits of a validator.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Validator")]
pub struct Limits {
    /// Seconds that the validator may take for a row
    #[arg(long, value_name = "SECONDS", default_value = "10", requires = "validator", value_parser = number::seconds)]
    pub validator_timeout: f64,

    /// Memory that each validator may use: 1GB, 512MiB; Linux only
    #[arg(long, value_name = "SIZE", default_value = "1GB", requires = "validator", value_parser = size::parse)]
    pub validator_memory: u64,

    /// How many validators run side by side [default: as many as there are processor cores]
    #[arg(long, value_name = "N", requires = "validator", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub validator_jobs: Option<u16>,

    /// Start the validator for every row, which it reads to the end of its input: it may then also
    /// accept by ending with exit code 0, and reject by another one
    #[arg(long, requires = "validator")]
    pub validator_per_row: bool,
}

impl Limits {
    /// The validator of this command line.
    pub fn of(&self, command: &str) -> ValidatorConfig {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        ValidatorConfig {
            command: command.to_string(),
            per_row: self.validator_per_row,
            timeout: Duration::from_secs_f64(self.validator_timeout),
            memory: self.validator_memory,
            jobs: self.validator_jobs.map_or(cores, usize::from),
        }
    }
}

/// Validating what a model wrote.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Validator")]
pub struct Args {
    /// A program that accepts or rejects each row that the rules accept: it gets rows as lines of
    /// JSON and answers each with a line, {"accept": false, "reason": "…"}
    #[arg(long, value_name = "COMMAND")]
    pub validator: Option<String>,

    /// Its limits.
    #[command(flatten)]
    pub limits: Limits,
}

impl Args {
    /// The validator, if there is one.
    pub fn config(&self) -> Option<ValidatorConfig> {
        self.validator.as_deref().map(|command| self.limits.of(command))
    }
}
