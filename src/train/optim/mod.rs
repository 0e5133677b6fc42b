//! What changes weights: parameters, update rules and their schedule.

pub mod adafactor;
pub mod adamw;
pub mod fallback;
pub mod lora;
pub mod optimizer;
pub mod parameter;
pub mod schedule;
#[cfg(test)]
pub(super) mod update_rules;
