//! The figures of `ewe eval` for people.

use std::path::Path;

use crate::atomic_file;
use crate::cli::terminal::{clean, counted, one_line};
use crate::job::eval::EvalJob;
use crate::pipeline::evaluate::result::{Evaluated, SuiteFigures};
use crate::suite::figures::Figures;
use crate::suite::interval::Interval;
use crate::suite::item::Suite;

/// Prints the result for people.
pub(super) fn say(job: &EvalJob, evaluated: &Evaluated<'_>) {
    println!("{}", one_line(&evaluated.model, 120));
    for (result, figures) in evaluated.results.iter().zip(&evaluated.figures) {
        say_suite(result.suite, figures);
    }
    match &evaluated.searched {
        Some(searched) => {
            let found: usize = evaluated.figures.iter().map(|figures| figures.contaminated).sum();
            println!(
                "contamination: {} of the suites found in {}",
                counted(found, "item"),
                counted(searched.tasks, "training task")
            );
        }
        None => println!("contamination: not looked for; --training-data or --db has the training rows"),
    }
    if !evaluated.has_likelihood {
        println!("nll: an endpoint does not tell the likelihood of references");
    }
    if let Some(judge) = &evaluated.judge {
        println!("graded by {}", one_line(judge, 120));
    }
    if let Some(out) = job.out.as_deref().filter(|out| !atomic_file::is_stdout(out)) {
        println!("{}: written", shown(out));
    }
}

/// Prints the figures of a suite, and of its categories.
fn say_suite(suite: &Suite, figures: &SuiteFigures) {
    println!("{}: {}", one_line(&suite.name, 80), line(&figures.all));
    if let Some(clean) = &figures.without_contaminated {
        println!(
            "  without {} that training rows have: {}",
            counted(figures.contaminated, "item"),
            line(clean)
        );
    }
    for (name, category) in &figures.categories {
        println!("  {}: {}", one_line(name, 60), category_line(category));
    }
    for (count, why) in &figures.failures {
        println!("  {count} failed: {}", one_line(why, 200));
    }
    for (count, what) in &suite.left_out {
        println!("  left out: {what}: {count}");
    }
    for (count, what) in [
        (figures.cut_inputs, "had an input that was shortened"),
        (
            figures.cut_answers,
            "had an answer so long that a part of it was scored",
        ),
        (figures.ungraded, "could not be graded"),
    ] {
        if count > 0 {
            println!("  {} {what}", counted(count, "item"));
        }
    }
}

/// All figures on one line: `252 answers; rougeL 41.2 (38.9 to 43.5), …`.
fn line(figures: &Figures) -> String {
    let metrics = figures
        .metrics
        .iter()
        .map(|(name, interval)| metric(name, interval));
    let all: Vec<String> = metrics.collect();
    format!("{}; {}", counted(figures.n, "answer"), all.join(", "))
}

/// A figure with its interval.
fn metric(name: &str, Interval { mean, low, high }: &Interval) -> String {
    match name {
        "nll" | "rating" => format!("{name} {mean:.3} ({low:.3} to {high:.3})"),
        _ => format!("{name} {mean:.1} ({low:.1} to {high:.1})"),
    }
}

/// The figure of a category that matters most.
fn category_line(category: &serde_json::Value) -> String {
    let known = ["nll", "rougeL", "strict_prompt", "passed"];
    let named = category["metric"].as_str();
    let name = named.or_else(|| known.into_iter().find(|name| category[*name].is_number()));
    let n = category["n"].as_u64().unwrap_or(0);
    let Some(name) = name else {
        return counted(n as i64, "answer");
    };
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or(f64::NAN);
    let interval = Interval {
        mean: number(&category[name]),
        low: number(&category["interval"][name][0]),
        high: number(&category["interval"][name][1]),
    };
    format!("{}; {}", counted(n as i64, "answer"), metric(name, &interval))
}

fn shown(path: &Path) -> String {
    clean(&path.display().to_string())
}
