//! Options that would be passed over beside others. What is typed is meant, so it is refused with
//! the names of both.

mod table;

use clap::ArgMatches;

use crate::cli::args::words::is_file;
use crate::settings::company::{self, Company};
use crate::settings::options::is_given;

/// Options that are of no use in some company.
#[derive(Clone, Copy)]
struct Idle {
    /// The commands that this is about.
    commands: &'static [&'static str],
    /// The options, by the names of their fields.
    options: &'static [&'static str],
    /// When.
    when: When,
    /// Why, after "`--x` …".
    why: &'static str,
    /// What to do instead.
    hint: &'static str,
}

/// A company.
#[derive(Clone, Copy)]
enum When {
    /// This option has this value, typed or by default.
    Is(&'static str, &'static str),
    /// This option names a file instead of one of its words.
    IsFile(&'static str),
    /// One of these is given.
    With(&'static [&'static str]),
    /// None of these is given.
    Without(&'static [&'static str]),
}

use When::{Is, IsFile, With, Without};
use table::ALL;

/// Looks for options of `command` that would be passed over.
///
/// # Errors
///
/// Names the first, and the company in which it is of no use.
pub fn check(command: &str, matches: &ArgMatches) -> Result<(), String> {
    for idle in ALL.iter().filter(|idle| idle.commands.contains(&command)) {
        let Some(option) = idle.options.iter().find(|option| is_given(matches, option)) else {
            continue;
        };
        let Some(company) = idle.when.company(matches) else {
            continue;
        };
        return Err(format!(
            "`{}` cannot be used {company}: it {}\nhint: {}",
            long(option),
            idle.why,
            idle.hint
        ));
    }
    Ok(())
}

impl When {
    /// Whether it is so, and in which words.
    fn company(&self, matches: &ArgMatches) -> Option<String> {
        match self {
            Is(option, value) => {
                let mut given = matches.try_get_raw(option).ok().flatten().into_iter().flatten();
                // 0 is also 0.0.
                let same = |text: &str| {
                    let text = text.trim();
                    text == *value
                        || matches!((text.parse::<f64>(), value.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
                };
                given
                    .any(|given| given.to_str().is_some_and(same))
                    .then(|| format!("with `{} {value}`", long(option)))
            }
            IsFile(option) => {
                let mut given = matches.try_get_raw(option).ok().flatten().into_iter().flatten();
                given
                    .any(|given| given.to_str().is_some_and(is_file))
                    .then(|| format!("with a file as `{}`", long(option)))
            }
            With(options) => options
                .iter()
                .find(|option| is_given(matches, option))
                .map(|option| match *option {
                    "id" => "with an id".to_owned(),
                    option => format!("with `{}`", long(option)),
                }),
            Without(options) => options
                .iter()
                .all(|option| !is_given(matches, option))
                .then(|| format!("without `{}`", long(options[0]))),
        }
    }
}

/// The table, for settings of files and the environment.
pub struct Together;

impl Company for Together {
    fn exclusions(&self, command: &str) -> Vec<(&'static str, &'static str)> {
        let mut pairs = Vec::new();
        for idle in ALL.iter().filter(|idle| idle.commands.contains(&command)) {
            let With(others) = idle.when else {
                continue;
            };
            for option in idle.options {
                pairs.extend(others.iter().map(|other| (*option, *other)));
            }
        }
        pairs
    }

    fn idle(&self, command: &str, matches: &ArgMatches) -> Vec<company::Idle> {
        let mut found = Vec::new();
        for idle in ALL.iter().filter(|idle| idle.commands.contains(&command)) {
            let Some(company) = idle.when.company(matches) else {
                continue;
            };
            let beside = match idle.when {
                Is(option, _) | IsFile(option) => Some(option).filter(|option| is_given(matches, option)),
                With(_) | Without(_) => None,
            };
            let given = idle.options.iter().filter(|option| is_given(matches, option));
            found.extend(given.map(|option| company::Idle {
                option,
                beside,
                why: format!("{}, and is of no use {company}", idle.why),
            }));
        }
        found
    }
}

fn long(option: &str) -> String {
    format!("--{}", option.replace('_', "-"))
}

#[cfg(test)]
mod tests;
