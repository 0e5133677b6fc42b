//! Fine-tuning. In reading order:
//!
//! - [`run`], [`prepare`], [`steps`]: the command from its arguments to its result.
//! - [`settings`]: what a run does, resolved once.
//! - [`source`], [`row_template`], [`dataset`]: rows become examples.
//! - [`micro_batch`], [`heaviest`], [`schedule`]: what a step sees, how it is cut, which piece takes most memory, how fast it learns.
//! - [`trainer`]: the model in training, made of [`loss`], [`parameter`], [`lora`] and [`optimizer`].
//! - [`adamw`], [`adafactor`]: the update rules, as kernels or [`fallback`] of libtorch's operations.
//! - [`guard`], [`metrics`], [`events`], [`speed`], [`interrupt`]: what is noticed and noted on the way.
//! - [`plan`], [`selftest`]: what is needed, and what can be relied on.
//! - [`out`], [`checkpoint`], [`finished`], [`save`], [`saved_template`], [`merge`], [`files`]: what is written, and where.

pub mod data;
pub mod guard;
pub mod interrupt;
pub mod loss;
pub mod optim;
pub mod out;
pub mod plan;
pub mod prepare;
#[cfg(test)]
mod reference;
pub mod run;
pub mod selftest;
pub mod settings;
pub mod speed;
pub mod steps;
pub mod trainer;

use sha2::{Digest, Sha256};

/// A generator that is a function of the run's seed, what it is for, and a number (an epoch, a step): nothing random
/// depends on what was drawn before, so a resumed run needs no stored state.
pub fn rng(seed: u64, purpose: &str, number: u64) -> rand_chacha::ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(number.to_le_bytes());
    hash.update(purpose.as_bytes());
    rand::SeedableRng::from_seed(hash.finalize().into())
}

/// One number of such a generator, not negative.
pub fn draw(seed: u64, purpose: &str, number: u64) -> i64 {
    (rand::Rng::next_u64(&mut rng(seed, purpose, number)) >> 1) as i64
}

/// Lowercase hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
