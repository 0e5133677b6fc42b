//! Suites before and after, with intervals and by category.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use super::answers;
use super::html::{moment, write_source};
use super::scores::{Evaluation, Pair, SuitePart, figure};
use crate::report::card::table;
use crate::report::chart::dots::{self, Dots, Row, signed};
use crate::report::chart::svg::{chosen, counted, escape, short};
use crate::store::query::evaluation::FoundItem;
use crate::suite::interval::Interval;

/// Names of charts, one of each for a suite.
const MODELS: [&str; 8] = [
    "models-1", "models-2", "models-3", "models-4", "models-5", "models-6", "models-7", "models-8",
];
const CATEGORIES: [&str; 8] = [
    "categories-1",
    "categories-2",
    "categories-3",
    "categories-4",
    "categories-5",
    "categories-6",
    "categories-7",
    "categories-8",
];
/// The most categories of a chart, and of its table.
const MOST_CATEGORIES: usize = 40;

/// Figures: name in results, name for people, and whether less is better (`None`: neither).
const FIGURES: [(&str, &str, Option<bool>); 11] = [
    ("rougeL", "ROUGE-L, percent", Some(false)),
    ("exact_match", "exact match, percent", Some(false)),
    ("nll", "NLL of the reference, nats a token", Some(true)),
    ("rating", "rating by the judge, 1 to 4", Some(false)),
    ("strict_prompt", "prompts followed (strict), percent", Some(false)),
    (
        "strict_instruction",
        "instructions followed (strict), percent",
        Some(false),
    ),
    ("loose_prompt", "prompts followed (loose), percent", Some(false)),
    (
        "loose_instruction",
        "instructions followed (loose), percent",
        Some(false),
    ),
    ("passed", "answers that passed, percent", Some(false)),
    ("words", "words of an answer", None),
    ("stop_rate", "answers that the model ended, percent", None),
];

/// Appends all suites.
pub fn write(body: &mut String, parts: &[SuitePart]) {
    for (at, part) in parts.iter().enumerate().take(MODELS.len()) {
        let source = match part.source.as_str() {
            "" => String::new(),
            source => format!(": <code>{}</code>", escape(source)),
        };
        let _ = writeln!(body, "<h3>Suite {}{source}</h3>", escape(&part.suite));
        verdict(body, part);
        charts(body, part, at);
        figures(body, part);
        models(body, part);
        failures(body, part);
        contamination(body, part);
        answers::write(body, part);
        sources(body, part);
    }
}

/// The figure that a suite is about.
fn headline(part: &SuitePart) -> &'static str {
    let all_have = |name: &str| part.evaluations.iter().all(|of| of.figure(name).is_some());
    match part.suite.as_str() {
        "superni" => "rougeL",
        "ifeval" => "strict_prompt",
        "checks" => "passed",
        _ if all_have("nll") => "nll",
        _ => "rougeL",
    }
}

/// The name of a figure for people, and whether less is better.
fn known(name: &str) -> (&'static str, Option<bool>) {
    let found = FIGURES.iter().find(|figure| figure.0 == name);
    found.map_or(("", None), |figure| (figure.1, figure.2))
}

/// Says whether it became better.
fn verdict(body: &mut String, part: &SuitePart) {
    let Some(pair) = &part.pair else {
        let _ = writeln!(
            body,
            "<p>Only one model was asked, so there is nothing to compare it with: <code>ewe eval</code> with the model \
             before training adds it.</p>"
        );
        return;
    };
    let name = headline(part);
    let Some(difference) = pair.differences.get(name) else {
        body.push_str("<p>The two models have no score of the same item in common.</p>\n");
        return;
    };
    let (words, less_is_better) = known(name);
    let gain = match less_is_better {
        Some(true) => difference.times(-1.0),
        _ => *difference,
    };
    let (worst, best) = (gain.low.min(gain.high), gain.low.max(gain.high));
    let verdict = if worst > 0.0 {
        "the model became better"
    } else if best < 0.0 {
        "the model became worse"
    } else {
        "no clear difference, since the interval includes zero"
    };
    let _ = writeln!(
        body,
        "<p class=\"verdict\">{words}: <b>{}</b>, 95 % interval, of {} that both answered: {verdict}.</p>",
        minus(&signed(difference)),
        counted(pair.items as i64, "item")
    );
}

/// Writes minus signs as such.
fn minus(text: &str) -> String {
    text.replace('-', "−")
}

fn charts(body: &mut String, part: &SuitePart, at: usize) {
    let name = headline(part);
    let (words, _) = known(name);
    let rows = part.evaluations.iter().map(|of| Row {
        label: of.label(),
        values: vec![of.figure(name)],
    });
    let models = Dots {
        name: MODELS[at],
        title: format!("{}: {words}", part.suite),
        says: format!(
            "{}, each with its 95 % interval.",
            counted(part.evaluations.len() as i64, "model")
        ),
        first: "model",
        series: &["value"],
        rows: rows.collect(),
        line_at: None,
    };
    let figures = [models.draw(), categories(part, at)].into_iter().flatten();
    let figures: String = figures.map(|chart| chart.figure + "\n").collect();
    if !figures.is_empty() {
        let _ = writeln!(body, "<div class=\"charts\">\n{figures}</div>");
    }
}

/// Draws the categories, the most frequent first; none if there is only one.
fn categories(part: &SuitePart, at: usize) -> Option<crate::report::chart::Chart> {
    let all = |of: &Evaluation| of.result["categories"].as_object().cloned().unwrap_or_default();
    let after = all(part.shown());
    let before = part.pair.as_ref().map(|pair| all(&part.evaluations[pair.before]));
    let count = |of: &Value| of["n"].as_i64().unwrap_or(0);
    let mut names: Vec<(&String, &Value)> = after.iter().collect();
    names.sort_by_key(|(_, of)| std::cmp::Reverse(count(of)));
    let left_out = names.len().saturating_sub(MOST_CATEGORIES);
    names.truncate(MOST_CATEGORIES);
    if names.len() < 2 {
        return None;
    }
    let name = headline(part);
    // Tk-Instruct's table has exact match for some categories.
    let of = |category: &Value| figure(category, category["metric"].as_str().unwrap_or(name));
    let rows = names.into_iter().map(|(category, value)| {
        let earlier = before.as_ref().map(|before| before.get(category).and_then(of));
        Row {
            label: format!("{category} ({})", count(value)),
            values: earlier.into_iter().chain([of(value)]).collect(),
        }
    });
    let series: &[&str] = if before.is_some() {
        &["before", "after"]
    } else {
        &["value"]
    };
    let mut says = "With 95 % intervals; behind each name its number of items.".to_owned();
    if left_out > 0 {
        let _ = write!(
            says,
            " {} not shown.",
            chosen(left_out as i64, "smaller category is", "smaller categories are")
        );
    }
    Dots {
        name: CATEGORIES[at],
        title: format!("{} by category: {}", part.suite, known(name).0),
        says,
        first: "category",
        series,
        rows: rows.collect(),
        line_at: None,
    }
    .draw()
}

/// Appends the table of all figures.
fn figures(body: &mut String, part: &SuitePart) {
    let text = |of: Option<Interval>| of.map_or(String::new(), |of| minus(&dots::text(&of)));
    let after = part.shown();
    let has = |name: &str| part.evaluations.iter().any(|of| of.figure(name).is_some());
    let shown = FIGURES.iter().filter(|(name, ..)| has(name));
    let Some(pair) = &part.pair else {
        let rows = shown.map(|(name, words, _)| vec![(*words).to_owned(), text(after.figure(name))]);
        table(body, "", &["figure", "value [95 % interval]"], rows);
        return;
    };
    let before = &part.evaluations[pair.before];
    let rows = shown.map(|(name, words, _)| {
        let difference = pair.differences.get(name);
        vec![
            (*words).to_owned(),
            text(before.figure(name)),
            text(after.figure(name)),
            difference.map_or(String::new(), |of| minus(&signed(of))),
        ]
    });
    let heads = ["figure", "before", "after", "difference, of the same items"];
    table(body, "With 95 % intervals", &heads, rows);
}

/// Appends all models where there are more than two.
fn models(body: &mut String, part: &SuitePart) {
    if part.evaluations.len() < 3 {
        return;
    }
    let name = headline(part);
    let rows = part.evaluations.iter().map(|of| {
        vec![
            of.label(),
            of.result["n"].to_string(),
            of.figure(name)
                .map_or(String::new(), |of| minus(&dots::text(&of))),
            moment(&of.stored.created_at),
        ]
    });
    table(
        body,
        "All models",
        &["model", "answers", known(name).0, "asked"],
        rows,
    );
}

/// Says what is in no figure.
fn failures(body: &mut String, part: &SuitePart) {
    let count = |of: &Evaluation, name: &str| of.result[name].as_i64().unwrap_or(0);
    for of in shown(part) {
        let failed = count(of, "failed");
        let ungraded = count(of, "ungraded");
        let mut notes = Vec::new();
        if failed > 0 {
            let why = of.result["failures"][0]["words"].as_str().unwrap_or_default();
            let requests = chosen(failed, "request failed and is", "requests failed and are");
            notes.push(format!("{requests} in no figure ({})", escape(&short(why, 160))));
        }
        if ungraded > 0 {
            notes.push(format!("{} without a grade", counted(ungraded, "answer")));
        }
        if !notes.is_empty() {
            let model = escape(&short(&of.label(), 120));
            let _ = writeln!(body, "<p>{model}: {}.</p>", notes.join("; "));
        }
    }
}

/// The evaluations that are compared, or the only one.
fn shown(part: &SuitePart) -> Vec<&Evaluation> {
    let before = part
        .pair
        .as_ref()
        .map(|pair: &Pair| &part.evaluations[pair.before]);
    before.into_iter().chain([part.shown()]).collect()
}

/// Says what was found in the training rows, and the figure without it.
fn contamination(body: &mut String, part: &SuitePart) {
    let name = headline(part);
    for of in shown(part) {
        let found = of.result["contaminated"].as_i64().unwrap_or(0);
        let model = escape(&short(&of.label(), 120));
        if found == 0 {
            let _ = writeln!(body, "<p>{model}: no item was found in the training rows.</p>");
            continue;
        }
        let found = chosen(found, "item was found", "items were found");
        let without = figure(&of.result["without_contaminated"], name);
        let without = without.map_or(String::new(), |without| {
            let n = of.result["without_contaminated"]["n"].as_i64().unwrap_or(0);
            let (words, answers) = (known(name).0, counted(n, "other answer"));
            format!(" {words} of the {answers}: {}.", minus(&dots::text(&without)))
        });
        let _ = writeln!(
            body,
            "<p>{model}: <b>{found}</b> in the training rows.{without}</p>"
        );
    }
    let rows = part.found.iter().map(|found: &FoundItem| {
        vec![
            found.item.clone(),
            short(&found.prompt.text, 160),
            found.task_id.to_string(),
            short(&found.instruction.text, 160),
        ]
    });
    let heads = ["item", "question", "task", "its instruction"];
    table(body, "Found in the training rows", &heads, rows);
}

/// Says what the figures were computed from.
fn sources(body: &mut String, part: &SuitePart) {
    let compared = shown(part);
    let runs: BTreeSet<i64> = compared.iter().map(|of| of.stored.run_id).collect();
    let of = |of: &&Evaluation| {
        let stored = &of.stored;
        let answers = counted(of.result["n"].as_i64().unwrap_or(0), "answer");
        format!(
            "evaluation {} of run {} ({}, {answers}, {})",
            stored.id,
            stored.run_id,
            escape(&short(&of.label(), 120)),
            escape(&moment(&stored.created_at))
        )
    };
    let evaluations: Vec<String> = compared.iter().map(of).collect();
    let from = match part.source.as_str() {
        "" => "the tasks that <code>ewe split</code> holds out".to_owned(),
        source => format!("<code>{}</code>", escape(source)),
    };
    let runs: Vec<String> = runs.iter().map(i64::to_string).collect();
    write_source(
        body,
        &format!(
            "{}; items of {from}. <code>SELECT * FROM evaluation WHERE run_id IN ({})</code> has all figures.",
            evaluations.join(", and "),
            runs.join(", ")
        ),
    );
}
