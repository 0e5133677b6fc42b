//! Fine-tuning, `ewe plan` and `ewe selftest`. In reading order:
//!
//! - [`run`], [`prepare`], `load`, [`steps`]: `ewe train` from its job to its result.
//! - [`conclusion`]: what a run says at its end.
//! - [`settings`]: the settings of a run, resolved once.
//! - [`data`]: rows become examples, and examples the micro-batches of a step.
//! - [`trainer`], `by_blocks`, [`backward`], [`inputs`], [`loss`], [`neftune`]: forward and
//!   backward passes of a model in training.
//! - [`add_up`]: gradients of several processes that train together. [`shards`]: parameters that
//!   they divide.
//! - [`optim`]: parameters, adapters, optimizers and the learning rate.
//! - [`guard`], [`speed`], [`interrupt`]: loss spikes, throughput and signals.
//! - [`plan`], [`fit`], [`chosen`]: the memory estimate, whether a run fits, what it then takes.
//! - [`out`]: checkpoints, metrics and the saved model; `ewe merge`.
//! - [`selftest`]: exactness checks on this machine.

pub mod add_up;
pub mod backward;
#[cfg(test)]
mod budgets;
mod by_blocks;
pub mod chosen;
pub mod conclusion;
pub mod data;
pub mod fit;
pub mod guard;
pub mod inputs;
pub mod interrupt;
mod load;
pub mod loss;
pub mod neftune;
pub mod optim;
pub mod out;
pub mod plan;
pub mod prepare;
#[cfg(test)]
mod reference;
pub mod run;
pub mod selftest;
pub mod settings;
pub mod shards;
pub mod speed;
mod step_log;
pub mod steps;
pub mod trainer;

use sha2::{Digest, Sha256};

/// Returns a generator that is a function of the run's seed, a purpose, and a number such as an
/// epoch or a step. Nothing random depends on earlier draws, so a resumed run needs no stored
/// state.
pub fn rng(seed: u64, purpose: &str, number: u64) -> rand_chacha::ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(number.to_le_bytes());
    hash.update(purpose.as_bytes());
    rand::SeedableRng::from_seed(hash.finalize().into())
}

/// Returns one number of [`rng`], not negative.
pub fn draw(seed: u64, purpose: &str, number: u64) -> i64 {
    (rand::Rng::next_u64(&mut rng(seed, purpose, number)) >> 1) as i64
}

/// Prints a line of text to standard error, unless `quiet`.
pub fn say(quiet: bool, text: &str) {
    if !quiet {
        eprintln!("{text}");
    }
}
