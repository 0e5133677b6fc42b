//! Fine-tuning. In reading order:
//!
//! - [`dataset`]: rows become examples.
//! - [`batch`]: which examples a step sees, and how it is cut.
//! - [`schedule`]: the learning rate of each step.
//! - [`loss`]: cross-entropy in chunks, backward included.
//! - [`trained`]: what is trained: leaf, master, gradient.
//! - [`optimizer`]: AdamW, clipping.
//! - [`lora`]: low-rank adapters.
//! - [`learner`]: the model in training.
//! - [`files`]: files that are whole or not there.

pub mod batch;
pub mod dataset;
pub mod files;
pub mod learner;
pub mod lora;
pub mod loss;
pub mod optimizer;
pub mod schedule;
pub mod trained;

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

/// Lowercase hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
