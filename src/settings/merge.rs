//! Which settings hold for a command line. What is typed goes before variables, these before the
//! table of the command, and that before the top of the file.

use std::collections::BTreeSet;
use std::ffi::OsString;

use anyhow::{Result, anyhow, bail};
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::company::Company;
use super::options::Options;
use super::{Level, Setting, collect};

/// Settings beside a command line.
#[derive(Debug, Default)]
pub struct Merged {
    /// What is added to the command line.
    pub arguments: Vec<OsString>,
    /// The settings that hold.
    pub held: Vec<Setting>,
    /// The settings that do not, each with the reason.
    pub dropped: Vec<(Setting, String)>,
    /// The ids of what is typed.
    pub given: BTreeSet<String>,
}

/// Returns which of the settings hold beside the typed arguments of a command.
///
/// # Errors
///
/// When settings of the same level contradict each other, and when a value is none that the option
/// takes. What is typed is not looked at.
pub fn merge(
    options: &Options,
    typed: &[OsString],
    settings: Vec<Setting>,
    company: &dyn Company,
) -> Result<Merged> {
    let mut merging = Merging {
        options,
        typed,
        company,
        merged: Merged {
            given: options.given(typed),
            ..Merged::default()
        },
    };
    // Most commands have none, and are not to wait for what is found out about them below.
    if settings.is_empty() {
        return Ok(merging.merged);
    }
    merging.take_strongest(settings);
    merging.drop_excluded()?;
    merging.check_values()?;
    while merging.drop_idle()? || merging.drop_wanting() {}
    let Merging { mut merged, .. } = merging;
    merged.arguments = arguments(&merged.held);
    Ok(merged)
}

/// The arguments that stand for settings.
fn arguments(settings: &[Setting]) -> Vec<OsString> {
    settings
        .iter()
        .flat_map(|setting| setting.value.arguments(&setting.key))
        .collect()
}

struct Merging<'a> {
    options: &'a Options,
    typed: &'a [OsString],
    company: &'a dyn Company,
    merged: Merged,
}

impl Merging<'_> {
    /// Of settings of the same option, keeps the strongest, unless the option is typed.
    fn take_strongest(&mut self, mut settings: Vec<Setting>) {
        settings.sort_by_key(|setting| setting.level);
        for setting in settings {
            let stronger = self.merged.held.iter().find(|held| held.id == setting.id);
            if self.merged.given.contains(&setting.id) {
                let why = format!("--{} is on the command line", setting.key);
                self.merged.dropped.push((setting, why));
            } else if let Some(held) = stronger {
                let why = format!("{} goes before", held.place);
                self.merged.dropped.push((setting, why));
            } else {
                self.merged.held.push(setting);
            }
        }
    }

    /// Drops settings that cannot be used with something stronger.
    fn drop_excluded(&mut self) -> Result<()> {
        let mut pairs = self.options.exclusions();
        for (one, other) in self.company.exclusions(self.options.command()) {
            pairs.insert((one.to_owned(), other.to_owned()));
            pairs.insert((other.to_owned(), one.to_owned()));
        }
        let excludes = |one: &str, other: &str| pairs.contains(&(one.to_owned(), other.to_owned()));
        let mut held: Vec<Setting> = Vec::new();
        for setting in std::mem::take(&mut self.merged.held) {
            let is_present = setting.value.is_present();
            let given = self.merged.given.iter().find(|id| excludes(id, &setting.id));
            let mut others = held
                .iter()
                .filter(|other| other.value.is_present() && excludes(&other.id, &setting.id));
            match (given.filter(|_| is_present), others.next().filter(|_| is_present)) {
                (Some(id), _) => {
                    let why = format!("it cannot be used with {}, which is typed", self.name(id));
                    self.merged.dropped.push((setting, why));
                }
                (None, Some(other)) if other.level < setting.level || setting.level == Level::Default => {
                    let why = format!("it cannot be used with `{}` of {}", other.key, other.place);
                    self.merged.dropped.push((setting, why));
                }
                (None, Some(other)) => return Err(self.contradiction(&setting, other)),
                (None, None) => held.push(setting),
            }
        }
        self.merged.held = held;
        Ok(())
    }

    /// Fails if an option does not take the value that is set.
    fn check_values(&self) -> Result<()> {
        for setting in &self.merged.held {
            let Err(error) = self.options.parse(&setting.value.arguments(&setting.key)) else {
                continue;
            };
            if !is_about_a_value(error.kind()) {
                continue;
            }
            bail!(
                "{}: `{}` of `ewe {}` cannot be `{}`: {}{}",
                setting.place,
                setting.key,
                self.options.command(),
                setting.value.shown(),
                reason(&error),
                collect::hint_of(setting.level == Level::TopLevel)
            );
        }
        Ok(())
    }

    /// Drops a setting that is of no use in its company. Returns whether there was one.
    fn drop_idle(&mut self) -> Result<bool> {
        let line = self.line(None);
        let matches = self.options.look_at(&line);
        for idle in self.company.idle(self.options.command(), &matches) {
            let held = &self.merged.held;
            let Some(at) = held.iter().position(|held| held.id == idle.option) else {
                continue;
            };
            let beside = idle
                .beside
                .and_then(|id| held.iter().find(|held| held.id == id && held.value.is_present()));
            if let Some(other) = beside
                && other.level == held[at].level
                && other.level != Level::Default
            {
                return Err(self.contradiction(&held[at], other));
            }
            let setting = self.merged.held.remove(at);
            self.merged.dropped.push((setting, format!("it {}", idle.why)));
            return Ok(true);
        }
        Ok(false)
    }

    /// Drops a setting that requires an option which is not given. Returns whether there was one.
    fn drop_wanting(&mut self) -> bool {
        let missing = self.options.missing(&self.line(None));
        if missing.is_empty() {
            return false;
        }
        for at in (0..self.merged.held.len()).rev() {
            if !self.merged.held[at].value.is_present() {
                continue;
            }
            let without = self.options.missing(&self.line(Some(at)));
            if without.is_subset(&missing) && without.len() < missing.len() {
                let wanted: Vec<&str> = missing.difference(&without).map(String::as_str).collect();
                let why = format!("it is for use with {}", wanted.join(" or "));
                let setting = self.merged.held.remove(at);
                self.merged.dropped.push((setting, why));
                return true;
            }
        }
        false
    }

    /// The settings that hold, all but one, and what is typed.
    fn line(&self, without: Option<usize>) -> Vec<OsString> {
        let held = self.merged.held.iter().enumerate();
        let others = held.filter(|(at, _)| Some(*at) != without);
        others
            .flat_map(|(_, setting)| setting.value.arguments(&setting.key))
            .chain(self.typed.iter().cloned())
            .collect()
    }

    fn contradiction(&self, one: &Setting, other: &Setting) -> anyhow::Error {
        anyhow!(
            "{}: `{}` and `{}` of {} cannot be used together by `ewe {}`\nhint: leave one of them away, or put the one that is for this \
             command into its table, which goes before the top of the file",
            one.place,
            one.key,
            other.key,
            other.place,
            self.options.command()
        )
    }

    /// An argument as it is typed.
    fn name(&self, id: &str) -> String {
        let arg = self.options.find(id);
        match arg.and_then(|arg| arg.get_long()) {
            Some(long) => format!("--{long}"),
            None => format!("<{}>", id.to_uppercase()),
        }
    }
}

fn is_about_a_value(kind: ErrorKind) -> bool {
    use ErrorKind::{
        InvalidUtf8, InvalidValue, NoEquals, TooFewValues, TooManyValues, ValueValidation,
        WrongNumberOfValues,
    };
    matches!(
        kind,
        InvalidUtf8
            | InvalidValue
            | NoEquals
            | TooFewValues
            | TooManyValues
            | ValueValidation
            | WrongNumberOfValues
    )
}

/// What is wrong with a value, in the words of its parser.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = std::error::Error::source(error) {
        return source.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            format!("want one of {}", values.join(", "))
        }
        _ => "the option takes no such value".to_owned(),
    }
}
