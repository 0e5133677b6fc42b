//! Parameters, adapters, optimizers and the learning-rate schedule.
//!
//! - [`parameter`]: one trained tensor, its storage format and its gradient.
//! - [`lora`]: adapters in training.
//! - [`optimizer`]: updates all parameters. [`registry`] lists the optimizers, [`state`] is the
//!   trait that each implements: [`adamw`], [`adafactor`], [`lion`].
//! - [`fallback`]: the optimizers in libtorch operations, with kernels or without.
//! - [`offload`]: updates on the host while transfers go on.
//! - [`schedule`]: the learning rate of each step.

pub mod adafactor;
pub mod adamw;
pub mod fallback;
pub mod lion;
pub mod lora;
pub mod offload;
pub mod optimizer;
pub mod parameter;
pub mod registry;
pub mod schedule;
pub mod state;
#[cfg(test)]
pub(super) mod update_rules;
