//! Rule sets from TOML files. docs/rules.md describes the layout.

use super::{Rule, RuleSet, Settings, Together, all, language};
use crate::settings_file;
use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use std::fmt;
use std::path::Path;
use toml::Spanned;

/// What a file may say. Every key may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    /// The set to start from; `default`.
    base: Option<Spanned<String>>,
    /// Names of rules that are left out.
    disable: Vec<Spanned<String>>,
    /// Names of rules that are added.
    enable: Vec<Spanned<String>>,
    /// ISO 639-1 or 639-3 codes of the languages an instruction may have; empty for any.
    languages: Vec<Spanned<String>>,
    /// How instances of a task are compared with each other.
    instances: Option<Together>,
    /// Whether rows are matched with the files they must not contain, and by n-grams of how many words.
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

/// `true`, `false` or `{ngram = 13}`.
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
                struct Table {
                    ngram: usize,
                }
                let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Decontaminate(Some(table.ngram)))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// Reads the set that the file describes.
pub(super) fn file(path: &str) -> Result<RuleSet> {
    let text = settings_file::read_text(Path::new(path), settings_file::LONGEST_TOML).with_context(|| {
        format!(
            "cannot read the rules `{path}`\nhint: --rules takes one of {}, or the path of a TOML file (docs/rules.md)",
            RuleSet::NAMES.join(", ")
        )
    })?;
    parse(path, &text)
}

/// The set that the text of the file describes.
pub(super) fn parse(path: &str, text: &str) -> Result<RuleSet> {
    // Line numbers of people begin with 1.
    let line = |at: usize| text[..text.floor_char_boundary(at)].matches('\n').count() + 1;
    let hint = "docs/rules.md has the layout of the file";
    let file: File =
        toml::from_str(text).map_err(|error| settings_file::toml_error(path, text, &error, hint))?;

    let name = file.base.as_ref().map_or("default", |base| base.get_ref());
    let Some(base) = RuleSet::named(name) else {
        let at = file.base.as_ref().map_or(0, |base| base.span().start);
        bail!(
            "{path}:{}: `base` is unknown: `{name}`\nhint: one of {}",
            line(at),
            RuleSet::NAMES.join(", ")
        );
    };
    let known = |key: &str, names: &[Spanned<String>]| -> Result<Vec<&'static Rule>> {
        names
            .iter()
            .map(|name| {
                all().find(|rule| rule.name == name.get_ref()).ok_or_else(|| {
                    let names: Vec<_> = all().map(|rule| rule.name).collect();
                    anyhow!(
                        "{path}:{}: `{key}` names an unknown rule: `{}`\nhint: one of {}",
                        line(name.span().start),
                        name.get_ref(),
                        names.join(", ")
                    )
                })
            })
            .collect()
    };
    let (disabled, enabled) = (known("disable", &file.disable)?, known("enable", &file.enable)?);
    let has = |rules: &[&Rule], rule: &Rule| rules.iter().any(|other| other.name == rule.name);
    if let Some((n, rule)) = enabled.iter().enumerate().find(|(_, rule)| has(&disabled, rule)) {
        bail!(
            "{path}:{}: the rule `{}` is in `enable` and in `disable`\nhint: keep one of the two",
            line(file.enable[n].span().start),
            rule.name
        );
    }
    let rules = all()
        .filter(|rule| (has(base.rules(), rule) || has(&enabled, rule)) && !has(&disabled, rule))
        .collect();

    let mut settings = base.settings().clone();
    for language in &file.languages {
        let code = language::code(language.get_ref()).with_context(|| {
            format!(
                "{path}:{}: `languages` has an unknown code: `{}`\nhint: an ISO 639-1 code, or one of {}",
                line(language.span().start),
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
                "{path}:{}: `ngram` is 0\nhint: a number of words, such as 13",
                line(decontaminate.span().start)
            );
        }
    }
    let Length { min_words, max_words } = file.length;
    if let Some(words) = &min_words {
        settings.min_words = *words.get_ref();
    }
    if let Some(words) = &max_words {
        settings.max_words = *words.get_ref();
    }
    if settings.min_words > settings.max_words {
        let at = min_words.or(max_words).map_or(0, |words| words.span().start);
        bail!(
            "{path}:{}: `min_words` is {} and `max_words` {}\nhint: no instruction can have so many words",
            line(at),
            settings.min_words,
            settings.max_words
        );
    }
    if let Some(share) = file.repetition.distinct_trigrams {
        settings.distinct_trigrams = *share.get_ref();
        if !(0.0..=1.0).contains(&settings.distinct_trigrams) {
            bail!(
                "{path}:{}: `distinct_trigrams` is {}\nhint: a share between 0 and 1",
                line(share.span().start),
                settings.distinct_trigrams
            );
        }
    }
    Ok(RuleSet::new(path, rules, settings))
}
