//! Numbers on the command line: within what a person can mean, so that nothing behind them has to
//! reckon with NaN, infinity or 2⁶⁴.

use std::ops::RangeInclusive;

/// The most of anything that is counted: tasks, rows, requests, steps.
pub const MOST: u64 = 1_000_000_000_000;

fn number(text: &str, range: RangeInclusive<f64>) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("want a number from {} to {}", range.start(), range.end())),
    }
}

fn above_zero(text: &str, most: f64) -> Result<f64, String> {
    match number(text, 0.0..=most) {
        Ok(number) if number > 0.0 => Ok(number),
        _ => Err(format!("want a number above 0, {most} at most")),
    }
}

/// A part of a whole: 0 to 1.
pub fn part(text: &str) -> Result<f64, String> {
    number(text, 0.0..=1.0)
}

/// How far from one half a tie ends: 0 to below 0.5.
pub fn margin(text: &str) -> Result<f64, String> {
    match number(text, 0.0..=0.5) {
        Ok(margin) if margin < 0.5 => Ok(margin),
        _ => Err("want a number of at least 0 and below 0.5".to_owned()),
    }
}

/// A part that leaves something over: 0 to below 1.
pub fn less_than_all(text: &str) -> Result<f64, String> {
    match part(text) {
        Ok(part) if part < 1.0 => Ok(part),
        _ => Err("want a number of at least 0 and below 1".to_owned()),
    }
}

/// A time, in seconds: up to a day.
pub fn seconds(text: &str) -> Result<f64, String> {
    above_zero(text, 86_400.0)
}

/// A temperature; 0 takes the likeliest token.
pub fn temperature(text: &str) -> Result<f64, String> {
    number(text, 0.0..=100.0)
}

/// What is subtracted from a token's score.
pub fn penalty(text: &str) -> Result<f64, String> {
    number(text, -100.0..=100.0)
}

/// What a token's score is divided by.
pub fn divisor(text: &str) -> Result<f64, String> {
    number(text, 0.01..=100.0)
}

/// Money, in any currency.
pub fn money(text: &str) -> Result<f64, String> {
    number(text, 0.0..=1e12)
}

/// Minutes, some twenty years of them at the most.
pub fn minutes(text: &str) -> Result<f64, String> {
    number(text, 0.0..=10_000_000.0)
}

/// Seconds to wait.
pub fn pause(text: &str) -> Result<f64, String> {
    number(text, 0.0..=60.0)
}

/// A percentage that something can be divided by.
pub fn percent(text: &str) -> Result<f64, String> {
    number(text, 0.01..=100.0)
}

/// A learning rate.
pub fn rate(text: &str) -> Result<f64, String> {
    above_zero(text, 1000.0)
}

/// A factor above 0.
pub fn factor(text: &str) -> Result<f64, String> {
    above_zero(text, 1e6)
}

/// A bound that 0 lifts.
pub fn bound(text: &str) -> Result<f64, String> {
    number(text, 0.0..=1e12)
}

/// A score that a judge gives, or a mean of several.
pub fn score(text: &str) -> Result<f64, String> {
    number(text, 1.0..=5.0)
}

/// A count, from 0.
pub fn count(text: &str) -> Result<u64, String> {
    whole(text, 0)
}

/// A count, from 1.
pub fn some(text: &str) -> Result<u64, String> {
    whole(text, 1)
}

fn whole(text: &str, least: u64) -> Result<u64, String> {
    match text.trim().parse::<u64>() {
        Ok(count) if (least..=MOST).contains(&count) => Ok(count),
        _ => Err(format!("want a whole number from {least} to {MOST}")),
    }
}

/// The number of something that the dataset has: a task, a run, an action.
pub fn id(text: &str) -> Result<i64, String> {
    match text.trim().parse::<i64>() {
        Ok(id) if id >= 1 => Ok(id),
        _ => Err("want a number above 0".to_owned()),
    }
}

/// A place among others, from 0.
pub fn place(text: &str) -> Result<i64, String> {
    match text.trim().parse::<u32>() {
        Ok(place) => Ok(i64::from(place)),
        _ => Err("want a whole number from 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    #[test]
    fn nothing_absurd_is_a_number() {
        for absurd in [
            "nan", "inf", "-inf", "1e400", "-1e400", "", " ", "0x10", "1,5", "1_000",
        ] {
            for parse in [
                part,
                less_than_all,
                temperature,
                penalty,
                divisor,
                money,
                minutes,
                pause,
                percent,
                rate,
                factor,
                bound,
                score,
            ] {
                assert!(parse(absurd).is_err(), "{absurd:?}");
            }
            assert!(count(absurd).is_err() && id(absurd).is_err() && place(absurd).is_err());
        }
        for absurd in ["-1", "1.5", "18446744073709551615", "18446744073709551616"] {
            assert!(count(absurd).is_err() && place(absurd).is_err(), "{absurd:?}");
        }
        assert_eq!((part("0"), part("1")), (Ok(0.0), Ok(1.0)));
        assert!(less_than_all("1").is_err() && rate("0").is_err() && percent("0").is_err());
        assert_eq!((count("0"), some("1")), (Ok(0), Ok(1)));
        assert!(some("0").is_err() && id("0").is_err());
    }

    /// Every option of every command that wants a number.
    #[test]
    fn no_command_takes_an_absurd_one() {
        let cli = crate::cli::Cli::command();
        let mut numeric = 0;
        for command in cli.get_subcommands() {
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long().filter(|_| arg.get_action().takes_values()) else {
                    continue;
                };
                // What is missing beside it is found out later than what is wrong with it.
                let refusal = |text: &str| {
                    let line = ["ewe", command.get_name(), &format!("--{long}={text}")].map(str::to_owned);
                    let error = cli.clone().try_get_matches_from(line).err()?;
                    matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue)
                        .then(|| error.to_string())
                };
                let is_number =
                    refusal("x").is_some() && ["1", "0.5", "1GB"].iter().any(|text| refusal(text).is_none());
                if !is_number {
                    continue;
                }
                numeric += 1;
                let name = format!("{} --{long}", command.get_name());
                let mut absurd = vec!["nan", "inf", "-inf", "1e400", "1e300", "-9223372036854775809"];
                // A seed is 64 bits that mean nothing, an id may be any.
                if !["seed", "after", "before", "run", "of-run"].contains(&long) {
                    absurd.push("9223372036854775807");
                }
                if long != "seed" {
                    absurd.extend(["9223372036854775808", "18446744073709551615"]);
                }
                absurd.push("18446744073709551616");
                for text in absurd {
                    let said = refusal(text).unwrap_or_else(|| panic!("{name} takes {text}"));
                    assert!(said.contains(&format!("--{long}")), "{name}: {said}");
                }
            }
        }
        assert!(numeric > 60, "{numeric}");
    }
}
