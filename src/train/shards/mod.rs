//! Fine-tuning whose parameters, gradients and optimizer state are divided among ranks
//! (ZeRO-3, Rajbhandari et al. 2020, <https://arxiv.org/abs/1910.02054>; PyTorch's FSDP). In
//! reading order:
//!
//! - [`layout`]: which rank has which numbers.
//! - [`units`]: what is gathered together, a block or the ends of a model.
//! - [`load`]: how a rank reads its parts.
//! - [`gather`]: a unit is whole before it computes, and the next one on its way.
//! - [`reduce`]: gradients are added up, and each rank keeps its part.
//! - [`step`]: a step, and an evaluation.
//! - [`frozen`]: the same of a frozen model below an adapter.
//! - [`saved`]: the parts of a checkpoint, and the files of the result.

pub mod frozen;
pub mod gather;
pub mod layout;
pub mod load;
pub mod reduce;
pub mod saved;
pub mod step;
pub mod units;
