//! Options of commands that run as several processes.

use std::time::Duration;

use super::number;
use crate::job::train::{RanksJob, Shard};

/// How many processes train together on this machine, and what happens when one fails.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Several processes")]
pub struct RankArgs {
    /// Train with this many processes (ranks) on this machine, each on its own GPU, or with
    /// --device cpu on its share of the cores: the same steps and the same result as with one. For
    /// several machines start `ewe train` by torchrun or srun instead
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub ranks: Option<u32>,

    /// Train on this many GPUs of this machine: --ranks N --device cuda
    #[arg(long, value_name = "N", conflicts_with = "ranks", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub gpus: Option<u32>,

    /// Divide parameters, gradients and optimizer state among this many ranks (ZeRO-3, FSDP), so
    /// that each keeps a part and gathers one block at a time; `all` for all of them. With more
    /// ranks than N, every N are one replica. For --method full
    #[arg(long, value_name = "N|all", value_parser = shard)]
    pub shard: Option<Shard>,

    /// How long ranks wait for one that computes and does not come to the end of its part of a
    /// step: 90s, 10m or 1h. One that gives no sign of life is given up after 15 seconds at most
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    pub rank_timeout: Duration,

    /// With --ranks or --gpus: when a rank fails, start all again from the last checkpoint, this
    /// many times at most
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub max_restarts: u32,
}

impl RankArgs {
    /// Returns what the command does with them.
    pub fn job(&self) -> RanksJob {
        RanksJob {
            count: self.ranks.or(self.gpus).map(|count| count as usize),
            timeout: self.rank_timeout,
            restarts: self.max_restarts,
            shard: self.shard,
        }
    }
}

/// Most ranks.
const MOST_RANKS: u64 = 100_000;

/// Parses a number of ranks, or `all`.
pub fn shard(text: &str) -> Result<Shard, String> {
    match text.trim() {
        "all" => Ok(Shard::All),
        text => match number::some(text) {
            Ok(count) if count <= MOST_RANKS => Ok(Shard::Ranks(count as usize)),
            _ => Err(format!("want a number of ranks, 1 to {MOST_RANKS}, or `all`")),
        },
    }
}

/// Longest time to wait.
const MOST_HOURS: u64 = 1000;

/// Parses a whole number of seconds, minutes or hours.
fn time(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let wrong = || format!("want a time such as 90s, 10m or 1h, {MOST_HOURS}h at most");
    let unit = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return Err(wrong()),
    };
    match number::some(&text[..text.len() - 1]) {
        Ok(count) if count.saturating_mul(unit) <= 3600 * MOST_HOURS => Ok(Duration::from_secs(count * unit)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_divided_among_some_ranks_or_all() {
        assert_eq!(shard("8"), Ok(Shard::Ranks(8)));
        assert_eq!(shard(" all"), Ok(Shard::All));
        for wrong in ["", "0", "-1", "ALL", "1.5", "100001"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(time(" 2h "), Ok(Duration::from_secs(7200)));
        for wrong in ["", "90", "0s", "1001h", "x m", "1.5m", "ſ"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
