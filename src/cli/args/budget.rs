//! Options that limit what a run may spend.

use super::number;
use crate::pipeline::budget::{Budget, Price};
use std::time::Duration;

/// Options for the budget of a run.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Budget")]
pub struct Args {
    /// Stop after this many requests; of a --batch-file: write no more than these at once
    #[arg(long, value_name = "N", value_parser = number::count)]
    pub max_requests: Option<u64>,

    /// Stop after this many tokens, prompts and answers together
    #[arg(long, value_name = "N", value_parser = number::count)]
    pub budget_tokens: Option<u64>,

    /// Stop when the tokens have cost this much, at --price-in and --price-out
    #[arg(long, value_name = "AMOUNT", requires = "prices", value_parser = number::money)]
    pub budget_money: Option<f64>,

    /// What a million tokens of prompts cost, in any currency
    #[arg(long, value_name = "AMOUNT", default_value_t = 0.0, group = "prices", value_parser = number::money)]
    pub price_in: f64,

    /// What a million tokens of answers cost
    #[arg(long, value_name = "AMOUNT", default_value_t = 0.0, group = "prices", value_parser = number::money)]
    pub price_out: f64,

    /// Give up when this many requests of a stage in a row brought no answer that can be used; 0
    /// never does
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = number::count)]
    pub give_up_after: u64,

    /// Stop after this many minutes
    #[arg(long, value_name = "MINUTES", value_parser = number::minutes)]
    pub max_minutes: Option<f64>,
}

impl Args {
    /// Returns the budget.
    pub fn budget(&self) -> Budget {
        Budget {
            requests: self.max_requests,
            tokens: self.budget_tokens,
            money: self.budget_money,
            time: self
                .max_minutes
                .map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
            price: Price {
                input: self.price_in,
                output: self.price_out,
            },
            futile: (self.give_up_after > 0).then_some(self.give_up_after),
        }
    }

    /// Whether there are prices, and so a cost to show.
    pub fn is_priced(&self) -> bool {
        self.price_in + self.price_out > 0.0
    }
}
