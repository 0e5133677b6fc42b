//! Reads rule sets from TOML files. docs/rules.md describes the keys.

use super::{Rule, RuleSet, Settings, Together, all, language};
use crate::settings_file;
use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use std::fmt;
use std::path::Path;
use toml::Spanned;

/// The keys of a file. All of them are optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RuleFile {
    /// The set to start from; `default` if missing.
    base: Option<Spanned<String>>,
    /// Names of rules to leave out.
    disable: Vec<Spanned<String>>,
    /// Names of rules to add.
    enable: Vec<Spanned<String>>,
    /// ISO 639-1 or 639-3 codes of the languages allowed for instructions; empty for any.
    languages: Vec<Spanned<String>>,
    /// How the instances of a task are compared with each other.
    instances: Option<Together>,
    /// Whether rows are compared with evaluation files by n-grams, and of how many words.
    decontaminate: Option<Spanned<Decontaminate>>,
    length: Length,
    repetition: Repetition,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Length {
    min_words: Option<Spanned<usize>>,
    max_words: Option<Spanned<usize>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Repetition {
    distinct_trigrams: Option<Spanned<f64>>,
}

/// The length of n-grams in words, written as `true` (13), `false` (none) or `{ngram = 13}`.
#[derive(Debug, Clone, Copy)]
struct Decontaminate(Option<usize>);

impl<'de> Deserialize<'de> for Decontaminate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Decontaminate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or {ngram = WORDS}")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Decontaminate, E> {
                Ok(Decontaminate(Settings::default().decontaminate.filter(|_| on)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Decontaminate, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct NgramTable {
                    ngram: usize,
                }
                let table = NgramTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Decontaminate(Some(table.ngram)))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl RuleSet {
    /// Reads the set that the argument of `--rules` names: one of [`RuleSet::NAMES`], else the path
    /// of a TOML file.
    ///
    /// # Errors
    ///
    /// Names the file, the line and the key.
    pub fn read(argument: &str) -> Result<RuleSet> {
        if let Some(set) = RuleSet::named(argument) {
            return Ok(set);
        }
        let text = settings_file::read_text(Path::new(argument), settings_file::LONGEST_TOML).with_context(|| {
            format!(
                "cannot read the rules `{argument}`\nhint: --rules takes one of {}, or the path of a TOML file (docs/rules.md)",
                RuleSet::NAMES.join(", ")
            )
        })?;
        parse(argument, &text)
    }
}

/// Parses the text of a TOML file.
pub(super) fn parse(path: &str, text: &str) -> Result<RuleSet> {
    let source = RuleText { path, text };
    let hint = "docs/rules.md has the layout of the file";
    let file: RuleFile =
        toml::from_str(text).map_err(|error| settings_file::toml_error(path, text, &error, hint))?;
    let base = base_set(&file, &source)?;
    let rules = chosen_rules(&file, &base, &source)?;
    let settings = changed_settings(&file, base.settings().clone(), &source)?;
    Ok(RuleSet::new(path, rules, settings))
}

/// The text of a file and its name, for errors.
struct RuleText<'a> {
    path: &'a str,
    text: &'a str,
}

impl RuleText<'_> {
    /// `PATH:LINE` of a byte of the text. Lines count from 1.
    fn line(&self, at: usize) -> String {
        let before = &self.text[..self.text.floor_char_boundary(at)];
        format!("{}:{}", self.path, before.matches('\n').count() + 1)
    }

    /// `PATH:LINE` where a value begins.
    fn line_of<T>(&self, value: &Spanned<T>) -> String {
        self.line(value.span().start)
    }
}

/// The set that the file starts from.
fn base_set(file: &RuleFile, source: &RuleText<'_>) -> Result<RuleSet> {
    let name = file.base.as_ref().map_or("default", |base| base.get_ref());
    RuleSet::named(name).ok_or_else(|| {
        let at = file.base.as_ref().map_or(0, |base| base.span().start);
        anyhow!(
            "{}: `base` is unknown: `{name}`\nhint: one of {}",
            source.line(at),
            RuleSet::NAMES.join(", ")
        )
    })
}

/// The rules of `base` with those of `enable` and without those of `disable`.
fn chosen_rules(file: &RuleFile, base: &RuleSet, source: &RuleText<'_>) -> Result<Vec<&'static Rule>> {
    let disabled = known_rules("disable", &file.disable, source)?;
    let enabled = known_rules("enable", &file.enable, source)?;
    let has = |rules: &[&Rule], rule: &Rule| rules.iter().any(|other| other.name == rule.name);
    if let Some((n, rule)) = enabled.iter().enumerate().find(|(_, rule)| has(&disabled, rule)) {
        bail!(
            "{}: the rule `{}` is in `enable` and in `disable`\nhint: keep one of the two",
            source.line_of(&file.enable[n]),
            rule.name
        );
    }
    Ok(all()
        .filter(|rule| (has(base.rules(), rule) || has(&enabled, rule)) && !has(&disabled, rule))
        .collect())
}

/// The rules with these names, which are the value of `key`.
fn known_rules(key: &str, names: &[Spanned<String>], source: &RuleText<'_>) -> Result<Vec<&'static Rule>> {
    names
        .iter()
        .map(|name| {
            all().find(|rule| rule.name == name.get_ref()).ok_or_else(|| {
                let names: Vec<_> = all().map(|rule| rule.name).collect();
                anyhow!(
                    "{}: `{key}` names an unknown rule: `{}`\nhint: one of {}",
                    source.line_of(name),
                    name.get_ref(),
                    names.join(", ")
                )
            })
        })
        .collect()
}

/// The settings of the base set with the changes of the file.
fn changed_settings(file: &RuleFile, mut settings: Settings, source: &RuleText<'_>) -> Result<Settings> {
    for language in &file.languages {
        let code = language::code(language.get_ref()).with_context(|| {
            format!(
                "{}: `languages` has an unknown code: `{}`\nhint: an ISO 639-1 code, or one of {}",
                source.line_of(language),
                language.get_ref(),
                language::codes()
            )
        })?;
        settings.languages.push(code.to_string());
    }
    settings.instances = file.instances.unwrap_or(settings.instances);
    if let Some(decontaminate) = &file.decontaminate {
        settings.decontaminate = decontaminate.get_ref().0;
        if settings.decontaminate == Some(0) {
            bail!(
                "{}: `ngram` is 0\nhint: a number of words, such as 13",
                source.line_of(decontaminate)
            );
        }
    }
    change_length(&file.length, &mut settings, source)?;
    if let Some(share) = &file.repetition.distinct_trigrams {
        settings.distinct_trigrams = *share.get_ref();
        if !(0.0..=1.0).contains(&settings.distinct_trigrams) {
            bail!(
                "{}: `distinct_trigrams` is {}\nhint: a share between 0 and 1",
                source.line_of(share),
                settings.distinct_trigrams
            );
        }
    }
    Ok(settings)
}

/// Sets the limits of `[length]`. The smaller one must not be above the larger one.
fn change_length(length: &Length, settings: &mut Settings, source: &RuleText<'_>) -> Result<()> {
    let Length { min_words, max_words } = length;
    if let Some(words) = min_words {
        settings.min_words = *words.get_ref();
    }
    if let Some(words) = max_words {
        settings.max_words = *words.get_ref();
    }
    if settings.min_words > settings.max_words {
        let set = min_words.as_ref().or(max_words.as_ref());
        bail!(
            "{}: `min_words` is {} and `max_words` {}\nhint: no instruction can have so many words",
            source.line(set.map_or(0, |words| words.span().start)),
            settings.min_words,
            settings.max_words
        );
    }
    Ok(())
}
