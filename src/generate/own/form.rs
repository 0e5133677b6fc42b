//! Reads a recipe: the keys of the file, and what each must be. An error names file, line and key.

use super::objects::Fields;
use super::parser::Parser;
use super::template::Text;
use super::{CandidateForm, Grounded, MOST_STAGES, OwnRecipe, Stage, StagePrompt};
use crate::backend::Sampling;
use crate::generate::bounds::{at_least, within};
use crate::generate::examples::ExampleSampling;
use crate::settings_file;
use anyhow::{Context, Result, anyhow};
use regex::RegexBuilder;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use toml::Spanned;

/// What an error about the form points to.
const HINT: &str = "docs/recipes.md describes the file, and `ewe recipe show alpaca` prints one";
/// Variables that are no stage's.
const TAKEN: [&str; 3] = ["examples", "topic", "passage"];
/// The most bytes that a pattern may take once it is compiled.
const LARGEST_PATTERN: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeForm {
    name: Option<Spanned<String>>,
    examples: Option<Spanned<usize>>,
    machine_examples: Option<Spanned<usize>>,
    #[serde(default = "yes")]
    favour_unused: bool,
    max_similarity: Option<Spanned<f64>>,
    #[serde(default)]
    passages: bool,
    #[serde(default)]
    vary: BTreeMap<String, Spanned<Vec<String>>>,
    stage: Vec<Spanned<StageForm>>,
    candidate: Spanned<OutcomeForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StageForm {
    name: Spanned<String>,
    prompt: Option<Spanned<String>>,
    system: Option<Spanned<String>>,
    user: Option<Spanned<String>>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<usize>,
    min_p: Option<f64>,
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    repetition_penalty: Option<f64>,
    max_tokens: Option<usize>,
    #[serde(default)]
    stop: Vec<String>,
    #[serde(default)]
    structured: bool,
    schema: Option<Spanned<toml::Table>>,
    parser: Spanned<ParserName>,
    after: Option<Spanned<usize>>,
    fields: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    optional: Vec<String>,
    pattern: Option<Spanned<String>>,
    sample: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum ParserName {
    Text,
    Lines,
    Numbered,
    Json,
    Regex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomeForm {
    instruction: Spanned<String>,
    input: Option<Spanned<String>>,
    output: Spanned<String>,
    #[serde(default)]
    grounded: bool,
    support: Option<f64>,
    copied: Option<usize>,
}

fn yes() -> bool {
    true
}

/// A fault of the file: where it is, and what it is.
struct FormError {
    at: usize,
    what: String,
}

impl FormError {
    fn new(at: usize, what: impl Into<String>) -> FormError {
        FormError {
            at,
            what: what.into(),
        }
    }
}

/// Reads a recipe.
pub fn read(path: &Path) -> Result<OwnRecipe> {
    let file = path.display().to_string();
    let text = settings_file::read_text(path, settings_file::LONGEST_TOML)
        .with_context(|| format!("cannot read the recipe `{file}`"))?;
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    of_text(&file, &stem, text)
}

/// Reads the text of a recipe that has this name unless it says another.
pub fn of_text(file: &str, stem: &str, text: String) -> Result<OwnRecipe> {
    let form: RecipeForm =
        toml::from_str(&text).map_err(|error| settings_file::toml_error(file, &text, &error, HINT))?;
    recipe(form, stem, &text).map_err(|FormError { at, what }| {
        let line = text[..text.floor_char_boundary(at)].matches('\n').count() + 1;
        let hint = match what.contains("hint:") {
            true => String::new(),
            false => format!("\nhint: {HINT}"),
        };
        anyhow!("{file}:{line}: {what}{hint}")
    })
}

fn recipe(form: RecipeForm, stem: &str, text: &str) -> Result<OwnRecipe, FormError> {
    let sampling = read_sampling(&form)?;
    let mut known: BTreeSet<String> = ["examples", "topic"].map(str::to_string).into();
    if form.passages {
        known.insert("passage".into());
    }
    let vary = form
        .vary
        .into_iter()
        .map(|(name, words)| {
            let at = words.span().start;
            let words = words.into_inner();
            take_name(&mut known, &name, at)?;
            match words.is_empty() {
                true => Err(FormError::new(at, format!("`{name}` has no word to choose from"))),
                false => Ok((name, words)),
            }
        })
        .collect::<Result<Vec<_>, FormError>>()?;
    if !(1..=MOST_STAGES).contains(&form.stage.len()) {
        let what = format!("want 1 to {MOST_STAGES} of `[[stage]]`, not {}", form.stage.len());
        return Err(FormError::new(0, what));
    }
    let mut stages = Vec::new();
    for stage in form.stage {
        let at = stage.span().start;
        let name_at = stage.get_ref().name.span().start;
        let stage = read_stage(stage.into_inner(), at, &known)?;
        take_name(&mut known, stage.name, name_at)?;
        stages.push(stage);
    }
    let at = form.candidate.span().start;
    let candidate = read_candidate(form.candidate.into_inner(), at, &known, &stages, form.passages)?;
    Ok(OwnRecipe {
        name: match form.name {
            Some(name) if name.get_ref().trim().is_empty() => {
                return Err(FormError::new(name.span().start, "`name` is empty"));
            }
            Some(name) => name.into_inner(),
            None => stem.to_string(),
        },
        sha256: crate::text::hex(&Sha256::digest(text)),
        text: text.to_string(),
        sampling,
        passages: form.passages,
        vary,
        stages,
        candidate,
    })
}

fn read_sampling(form: &RecipeForm) -> Result<ExampleSampling, FormError> {
    let sampling = ExampleSampling {
        examples: given(form.examples.as_ref(), 3),
        machine_examples: given(form.machine_examples.as_ref(), 0),
        favour_unused: form.favour_unused,
        max_similarity: given(form.max_similarity.as_ref(), 0.5),
    };
    let checked = sampling.check().and_then(|()| match sampling.examples {
        0..=100 => Ok(()),
        many => Err(format!("`examples` is {many}: want at most 100")),
    });
    checked.map(|()| sampling).map_err(|what| {
        let places = [
            ("`examples`", place(form.examples.as_ref())),
            ("`machine_examples`", place(form.machine_examples.as_ref())),
            ("`max_similarity`", place(form.max_similarity.as_ref())),
        ];
        let wrong = places.iter().find(|(key, _)| what.starts_with(*key));
        FormError::new(wrong.map_or(0, |(_, at)| *at), what)
    })
}

/// The value of a key, or the one that it has if the file does not say.
fn given<T: Copy>(value: Option<&Spanned<T>>, otherwise: T) -> T {
    value.map_or(otherwise, |value| *value.get_ref())
}

/// Where a value is in the file.
fn place<T>(value: Option<&Spanned<T>>) -> usize {
    value.map_or(0, |value| value.span().start)
}

/// Adds the name of a stage or a list to those that templates know.
fn take_name(known: &mut BTreeSet<String>, name: &str, at: usize) -> Result<(), FormError> {
    let is_name = name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !is_name {
        let what =
            format!("`{name}` cannot be a name: want small letters, digits and `_`, such as `questions`");
        return Err(FormError::new(at, what));
    }
    if TAKEN.contains(&name) || !known.insert(name.to_string()) {
        let what =
            format!("the name `{name}` is taken\nhint: templates know stages by their names; take another");
        return Err(FormError::new(at, what));
    }
    Ok(())
}

fn read_stage(form: StageForm, at: usize, known: &BTreeSet<String>) -> Result<Stage, FormError> {
    let name = form.name.get_ref().clone();
    let wrong = |at: usize, what: String| FormError::new(at, format!("stage `{name}`: {what}"));
    let template = |key: &str, source: &Spanned<String>| {
        let place = format!("`{key}` of stage `{name}`");
        Text::parse(place, source.get_ref(), known).map_err(|what| FormError::new(source.span().start, what))
    };
    let prompt = match (&form.prompt, &form.user, &form.system) {
        (Some(prompt), None, None) => StagePrompt::Text(template("prompt", prompt)?),
        (None, Some(user), system) => StagePrompt::Messages {
            system: system
                .as_ref()
                .map(|system| template("system", system))
                .transpose()?,
            user: template("user", user)?,
        },
        _ => {
            let what =
                "want either `prompt`, a text to continue, or `user` with or without `system`, messages";
            return Err(wrong(at, what.into()));
        }
    };
    let parser = read_parser(&form).map_err(|error| wrong(error.at, error.what))?;
    let schema = match (&form.schema, form.structured, &parser) {
        (None, false, _) => None,
        (Some(schema), false, Parser::Json(_)) => {
            Some(serde_json::to_value(schema.get_ref()).map_err(|error| wrong(at, error.to_string()))?)
        }
        (None, true, Parser::Json(fields)) => Some(fields.schema()),
        _ => {
            let what = "`structured = true` or a `schema`, one of them, is for `parser = \"json\"`";
            return Err(wrong(at, what.into()));
        }
    };
    let plain = Sampling::default();
    let sampling = Sampling {
        max_tokens: form.max_tokens.unwrap_or(400),
        temperature: form.temperature.unwrap_or(plain.temperature),
        top_p: form.top_p.unwrap_or(plain.top_p),
        top_k: form.top_k.unwrap_or(plain.top_k),
        min_p: form.min_p.unwrap_or(plain.min_p),
        presence_penalty: form.presence_penalty.unwrap_or(plain.presence_penalty),
        frequency_penalty: form.frequency_penalty.unwrap_or(plain.frequency_penalty),
        repetition_penalty: form.repetition_penalty.unwrap_or(plain.repetition_penalty),
        stop: form.stop,
        schema,
        ..plain
    };
    check(&sampling).map_err(|what| wrong(at, what))?;
    Ok(Stage {
        prompt,
        parser,
        sampling,
        sample: form.sample,
        name: Box::leak(name.into_boxed_str()),
    })
}

fn check(sampling: &Sampling) -> Result<(), String> {
    at_least("max_tokens", sampling.max_tokens, 1)?;
    within("temperature", sampling.temperature, 0.0..=2.0)?;
    within("top_p", sampling.top_p, 0.001..=1.0)?;
    within("min_p", sampling.min_p, 0.0..=1.0)?;
    within("presence_penalty", sampling.presence_penalty, -2.0..=2.0)?;
    within("frequency_penalty", sampling.frequency_penalty, -2.0..=2.0)?;
    within("repetition_penalty", sampling.repetition_penalty, 0.01..=10.0)
}

fn read_parser(form: &StageForm) -> Result<Parser, FormError> {
    let (name, at) = (*form.parser.get_ref(), form.parser.span().start);
    let is_of = |key: &str, given: Option<usize>, of: ParserName, parser: &str| match given {
        Some(at) if name != of => Err(FormError::new(
            at,
            format!("`{key}` is for `parser = \"{parser}\"`"),
        )),
        _ => Ok(()),
    };
    let start = |span: std::ops::Range<usize>| span.start;
    let of_fields = form.fields.as_ref().map(|fields| start(fields.span()));
    is_of(
        "after",
        form.after.as_ref().map(|after| start(after.span())),
        ParserName::Numbered,
        "numbered",
    )?;
    is_of("fields", of_fields, ParserName::Json, "json")?;
    is_of(
        "optional",
        (!form.optional.is_empty()).then_some(at),
        ParserName::Json,
        "json",
    )?;
    is_of(
        "pattern",
        form.pattern.as_ref().map(|pattern| start(pattern.span())),
        ParserName::Regex,
        "regex",
    )?;
    Ok(match name {
        ParserName::Text => Parser::Whole,
        ParserName::Lines => Parser::Lines,
        ParserName::Numbered => Parser::Numbered {
            after: form.after.as_ref().map(|after| *after.get_ref()),
        },
        ParserName::Json => {
            let required = form
                .fields
                .as_ref()
                .map(|fields| fields.get_ref().clone())
                .unwrap_or_default();
            if required.is_empty() {
                let what =
                    "`parser = \"json\"` wants `fields`, such as `fields = [\"question\", \"answer\"]`";
                return Err(FormError::new(at, what));
            }
            Parser::Json(Fields {
                required,
                optional: form.optional.clone(),
            })
        }
        ParserName::Regex => {
            let Some(source) = &form.pattern else {
                let what = "`parser = \"regex\"` wants a `pattern` with named groups, such as `'Q: (?P<question>.+)'`";
                return Err(FormError::new(at, what));
            };
            let at = source.span().start;
            let pattern = RegexBuilder::new(source.get_ref())
                .size_limit(LARGEST_PATTERN)
                .build()
                .map_err(|error| {
                    let error = error.to_string();
                    let last = error.lines().last().unwrap_or_default();
                    FormError::new(at, format!("`pattern` is no regular expression: {}", last.trim()))
                })?;
            if pattern.capture_names().flatten().next().is_none() {
                let what = "`pattern` has no named group, such as `(?P<question>.+)`";
                return Err(FormError::new(at, what));
            }
            Parser::Regex(pattern)
        }
    })
}

fn read_candidate(
    form: OutcomeForm,
    at: usize,
    known: &BTreeSet<String>,
    stages: &[Stage],
    has_passages: bool,
) -> Result<CandidateForm, FormError> {
    let template = |key: &str, source: &str, at: usize| {
        let place = format!("`{key}` of [candidate]");
        Text::parse(place, source, known).map_err(|what| FormError::new(at, what))
    };
    let of = |key: &str, source: &Spanned<String>| template(key, source.get_ref(), source.span().start);
    let instruction = of("instruction", &form.instruction)?;
    let known_after = stages.iter().rposition(|stage| instruction.uses(stage.name));
    let Some(known_after) = known_after else {
        let what = "`instruction` of [candidate] uses no stage, so all tasks would be the same\nhint: such as \
                    `instruction = \"{{ questions.text }}\"`";
        return Err(FormError::new(form.instruction.span().start, what));
    };
    if !form.grounded && (form.support.is_some() || form.copied.is_some()) {
        return Err(FormError::new(
            at,
            "`support` and `copied` are for `grounded = true`",
        ));
    }
    let grounded = Grounded {
        support: form.support.unwrap_or(0.6),
        copied: form.copied.unwrap_or(25),
    };
    within("support", grounded.support, 0.0..=1.0).map_err(|what| FormError::new(at, what))?;
    if form.grounded && !has_passages {
        return Err(FormError::new(
            at,
            "`grounded = true` compares with a passage\nhint: set `passages = true`",
        ));
    }
    Ok(CandidateForm {
        instruction,
        input: match &form.input {
            Some(input) => of("input", input)?,
            None => template("input", "", at)?,
        },
        output: of("output", &form.output)?,
        known_after,
        grounded: form.grounded.then_some(grounded),
    })
}
