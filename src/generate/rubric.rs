//! Rubrics: the user's file, and a judge's answer by it.

use crate::backend::FinishReason;
use crate::generate::bounds::within;
use crate::prompt::rubric::{Criterion, Example, Rubric};
use crate::settings_file;
use anyhow::{Context, Result, anyhow};
use regex::Regex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;
use toml::Spanned;

/// Criteria of a rubric, at most.
const MOST_CRITERIA: usize = 20;
/// Characters of a reason that are kept.
const LONGEST_REASON: usize = 1000;
/// What an error about the form points to.
const HINT: &str = "docs/judge.md describes the file";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RubricForm {
    name: Option<String>,
    #[serde(default)]
    about: String,
    scale: Option<Spanned<[i64; 2]>>,
    criterion: Vec<Spanned<CriterionForm>>,
    #[serde(default)]
    example: Vec<Spanned<ExampleForm>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CriterionForm {
    name: String,
    description: String,
    weight: Option<f64>,
    scale: Option<[i64; 2]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExampleForm {
    instruction: String,
    #[serde(default)]
    input: String,
    output: String,
    scores: BTreeMap<String, i64>,
    #[serde(default)]
    reasons: BTreeMap<String, String>,
}

/// Reads a rubric.
///
/// # Errors
///
/// Names the file, the line and the key.
pub fn read(path: &Path) -> Result<Rubric> {
    let file = path.display().to_string();
    let text = settings_file::read_text(path, settings_file::LONGEST_TOML)
        .with_context(|| format!("cannot read the rubric `{file}`"))?;
    let form: RubricForm =
        toml::from_str(&text).map_err(|error| settings_file::toml_error(&file, &text, &error, HINT))?;
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    rubric(form, stem, &text).map_err(|(at, what)| {
        let line = text[..text.floor_char_boundary(at)].matches('\n').count() + 1;
        anyhow!("{file}:{line}: {what}\nhint: {HINT}")
    })
}

fn rubric(form: RubricForm, stem: String, text: &str) -> Result<Rubric, (usize, String)> {
    let standard = form.scale.as_ref().map_or([1, 5], |scale| *scale.get_ref());
    if !(1..=MOST_CRITERIA).contains(&form.criterion.len()) {
        return Err((
            0,
            format!("{} criteria: want 1 to {MOST_CRITERIA}", form.criterion.len()),
        ));
    }
    let mut criteria: Vec<Criterion> = Vec::new();
    for spanned in form.criterion {
        let at = spanned.span().start;
        let form = spanned.into_inner();
        let wrong = |what: String| (at, format!("criterion `{}`: {what}", form.name));
        let is_name = form.name.len() <= 40
            && form.name.starts_with(|c: char| c.is_ascii_lowercase())
            && form
                .name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !is_name {
            return Err(wrong(
                "want small letters, digits and `_`, such as `accuracy`".into(),
            ));
        }
        if criteria.iter().any(|known| known.name == form.name) {
            return Err(wrong("there is another of this name".into()));
        }
        if form.description.trim().is_empty() {
            return Err(wrong(
                "`description` is empty, and a judge has nothing else to go by".into(),
            ));
        }
        let weight = form.weight.unwrap_or(1.0);
        within("weight", weight, 0.0..=1000.0).map_err(wrong)?;
        let [lowest, highest] = form.scale.unwrap_or(standard);
        if !(lowest < highest && (0..=100).contains(&lowest) && highest <= 100) {
            return Err(wrong(format!(
                "the scale [{lowest}, {highest}] is none: want two numbers from 0 to 100, the lower first"
            )));
        }
        criteria.push(Criterion {
            description: form.description.clone(),
            weight,
            scale: (lowest, highest),
            name: form.name,
        });
    }
    if criteria.iter().all(|criterion| criterion.weight == 0.0) {
        return Err((0, "all weights are 0".into()));
    }
    let examples = form
        .example
        .into_iter()
        .map(|spanned| {
            let at = spanned.span().start;
            example(spanned.into_inner(), &criteria).map_err(|what| (at, format!("example: {what}")))
        })
        .collect::<Result<_, _>>()?;
    Ok(Rubric {
        name: form.name.unwrap_or(stem),
        sha256: crate::text::hex(&Sha256::digest(text)),
        text: text.to_string(),
        about: form.about,
        criteria,
        examples,
    })
}

fn example(form: ExampleForm, criteria: &[Criterion]) -> Result<Example, String> {
    let mut names = form.scores.keys().chain(form.reasons.keys());
    if let Some(name) = names.find(|name| criteria.iter().all(|criterion| criterion.name != **name)) {
        return Err(format!("there is no criterion `{name}`"));
    }
    let scores = criteria.iter().map(|Criterion { name, scale, .. }| {
        let score = *form
            .scores
            .get(name)
            .ok_or_else(|| format!("`scores` has none for `{name}`"))?;
        if !(scale.0..=scale.1).contains(&score) {
            return Err(format!("`{name}` is {score}: want {} to {}", scale.0, scale.1));
        }
        Ok((score, form.reasons.get(name).cloned().unwrap_or_default()))
    });
    Ok(Example {
        scores: scores.collect::<Result<_, String>>()?,
        instruction: form.instruction,
        input: form.input,
        output: form.output,
    })
}

/// What a judge says of a criterion; the store keeps it as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CriterionScore {
    /// The criterion.
    pub criterion: String,
    /// The score.
    pub score: i64,
    /// The lowest score there is.
    pub lowest: i64,
    /// The highest score there is.
    pub highest: i64,
    /// How much the criterion counts.
    pub weight: f64,
    /// The reason on one line; may be empty.
    pub reason: String,
}

/// A number at the beginning of a line's rest, with its scale, as models write it.
static SCORE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[\s*_`\[(]*([0-9]+)(?:[ *_]*(?i:/|out of)[ *_]*([0-9]+))?[\s*_`\])]*(?:$|[-–—:;,.(][^0-9]|[-–—:;,.]$)")
        .expect("a fixed pattern")
});

/// Parses a continuation of [`crate::prompt::rubric::prompt`]: a line for each criterion, in any
/// order.
///
/// # Errors
///
/// Says which criterion has no clear score.
pub fn scores(
    text: &str,
    finish: FinishReason,
    criteria: &[Criterion],
) -> Result<Vec<CriterionScore>, String> {
    let first = criteria.first().map_or("", |criterion| criterion.name.as_str());
    let is_labelled = text
        .trim_start()
        .lines()
        .next()
        .is_some_and(|line| label(line, criteria).is_some());
    // The prompt ends with the first label.
    let text = match is_labelled {
        true => text.to_string(),
        false => format!("{first}:{text}"),
    };
    let mut found: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if let Some((criterion, rest)) = label(line, criteria) {
            // The first line counts: what follows a judgment is the next one.
            found.entry(criterion.name.as_str()).or_insert((at, rest));
        }
    }
    criteria
        .iter()
        .map(|criterion| {
            let name = criterion.name.as_str();
            let Some((at, rest)) = found.get(name).copied() else {
                return Err(format!("it has no score for {name}"));
            };
            let is_cut = finish == FinishReason::Length && at + 1 == lines.len();
            score(criterion, rest, is_cut)
        })
        .collect()
}

/// The criterion that a line begins with, and what comes after its colon.
fn label<'l, 'c>(line: &'l str, criteria: &'c [Criterion]) -> Option<(&'c Criterion, &'l str)> {
    let bare = line.trim_start_matches(|c: char| c.is_whitespace() || "*_#>-`\"".contains(c));
    criteria.iter().find_map(|criterion| {
        let (name, rest) = bare.split_at_checked(criterion.name.len())?;
        let rest = rest.trim_start_matches(['*', '_', '`', '"', ' ']);
        let rest = rest.strip_prefix([':', '='])?;
        name.eq_ignore_ascii_case(&criterion.name)
            .then_some((criterion, rest))
    })
}

fn score(criterion: &Criterion, rest: &str, is_cut: bool) -> Result<CriterionScore, String> {
    let (lowest, highest) = criterion.scale;
    let shown = || format!("'{}'", crate::text::one_line(rest, 60));
    let Some(found) = SCORE.captures(rest) else {
        return Err(format!("the score of {} is unclear: {}", criterion.name, shown()));
    };
    if found
        .get(2)
        .is_some_and(|scale| scale.as_str() != highest.to_string())
    {
        return Err(format!(
            "the score of {} is on another scale: {}",
            criterion.name,
            shown()
        ));
    }
    if is_cut && found.get(0).is_some_and(|all| all.end() == rest.len()) {
        return Err(format!("it ends in the score of {}: {}", criterion.name, shown()));
    }
    let score = found[1]
        .parse::<i64>()
        .ok()
        .filter(|score| (lowest..=highest).contains(score))
        .ok_or_else(|| {
            format!(
                "the score of {} is not from {lowest} to {highest}: {}",
                criterion.name,
                shown()
            )
        })?;
    let end = found.get(2).or(found.get(1)).map_or(0, |part| part.end());
    let reason = rest[end..].trim_start_matches(|c: char| c.is_whitespace() || "*_`])-–—:;,.(".contains(c));
    Ok(CriterionScore {
        criterion: criterion.name.clone(),
        score,
        lowest,
        highest,
        weight: criterion.weight,
        reason: reason.trim().chars().take(LONGEST_REASON).collect(),
    })
}

/// The mean of scores, each by its weight and as a part of its scale, from 1 to 5.
pub fn mean(scores: &[CriterionScore]) -> f64 {
    let weights: f64 = scores.iter().map(|score| score.weight).sum();
    let sum: f64 = scores
        .iter()
        .map(|of| of.weight * (of.score - of.lowest) as f64 / (of.highest - of.lowest) as f64)
        .sum();
    (1.0 + 4.0 * sum / weights).clamp(1.0, 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn criteria() -> Vec<Criterion> {
        let criterion = |name: &str, weight, scale| Criterion {
            name: name.into(),
            description: "d".into(),
            weight,
            scale,
        };
        vec![
            criterion("accuracy", 3.0, (1, 5)),
            criterion("tone", 1.0, (0, 10)),
        ]
    }

    fn read(text: &str) -> Result<Vec<(i64, String)>, String> {
        let found = scores(text, FinishReason::Stop, &criteria())?;
        Ok(found.into_iter().map(|of| (of.score, of.reason)).collect())
    }

    #[test]
    fn scores_are_read_in_the_forms_that_models_use() {
        let wanted = Ok(vec![(4, "Right.".to_string()), (10, "Kind.".to_string())]);
        for text in [
            " 4 - Right.\ntone: 10 - Kind.",
            "accuracy: 4 - Right.\ntone: 10 - Kind.\n\nInstruction",
            "**Accuracy:** 4/5 – Right.\n**Tone:** 10 out of 10. Kind.",
            "- accuracy: 4. Right.\n- tone: 10. Kind.\ntone: 3 - again",
            "tone: 10: Kind.\naccuracy: 4: Right.",
        ] {
            assert_eq!(read(text), wanted, "{text}");
        }
        assert_eq!(
            read(" 4\ntone: 0"),
            Ok(vec![(4, String::new()), (0, String::new())])
        );
    }

    #[test]
    fn what_is_no_score_is_not_guessed() {
        for text in [
            "",
            " 4 - Right.",
            " 6 - x\ntone: 1",
            " 4.5\ntone: 1",
            " 4-5\ntone: 1",
            " 4/10\ntone: 1",
            " four\ntone: 1",
            "Well.\ntone: 1",
            " 4\ntone: 11",
            " 4 or 5\ntone: 1",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(scores(" 4\ntone: 1", FinishReason::Length, &criteria()).is_err());
        assert!(scores(" 4\ntone: 1 - It", FinishReason::Length, &criteria()).is_ok());
    }

    #[test]
    fn the_mean_is_weighted_and_on_one_scale() {
        let of = |text: &str| mean(&scores(text, FinishReason::Stop, &criteria()).unwrap());
        assert_eq!(of(" 5\ntone: 10"), 5.0);
        assert_eq!(of(" 1\ntone: 0"), 1.0);
        assert_eq!(of(" 5\ntone: 0"), 4.0);
    }
}
