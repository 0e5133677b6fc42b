//! What people read at the end: the figures, one sentence, the rows that made it worse, and what to
//! do next.

use super::job::GainJob;
use super::paired::{Comparison, Figure, Measure, Verdict};
use super::steps;
use super::walk::{Found, FoundInfluence, FoundWithout};
use crate::suite::interval::Interval;
use crate::text::{chosen, counted, one_line, shell_word};

/// With fewer held-out tasks, one odd answer decides.
const FEW: usize = 10;
/// Widths of a row's first words, and of those of the task that it hurts.
const WIDTH: usize = 56;
const HURT_WIDTH: usize = 40;
/// Tasks that are listed by their ids.
const LISTED: usize = 10;

/// Returns the lines of the conclusion.
pub fn lines(job: &GainJob, found: &Found) -> Vec<String> {
    let comparison = &found.comparison;
    let mut lines = vec![format!(
        "{} on {} of {}, before and after training:",
        job.model_name(),
        counted(comparison.tasks, "held-out task"),
        job.db.display()
    )];
    lines.extend(comparison.figures.iter().map(figure));
    lines.push(String::new());
    lines.push(sentence(job, comparison));
    lines.extend(remarks(job, found));
    match &found.influence {
        Some(influence) => lines.extend(rows(influence, job.check_worst)),
        None => lines.extend([
            String::new(),
            "which rows made it worse is not known: every weight was trained, and influence is computed for adapters, which \
             `ewe train --method lora` makes"
                .to_owned(),
        ]),
    }
    lines.extend(found.without_worst.iter().flat_map(without));
    lines.extend([String::new(), "next:".to_owned()]);
    let worst = found.influence.iter().flat_map(|of| &of.worst).next();
    let next = steps::next(job, worst.map(|row| row.task_id));
    lines.extend(next.iter().map(|step| format!("  {}", step.line())));
    lines
}

/// A figure before and after, with its difference.
fn figure(figure: &Figure) -> String {
    let Interval { mean, low, high } = figure.difference;
    let (name, digits, unit, better) = match figure.measure {
        Measure::Nll => ("NLL", 3, "nats a token", "; lower is better"),
        Measure::RougeL => ("ROUGE-L", 1, "points", "; higher is better"),
        Measure::StopRate => ("stop rate", 0, "points", ""),
    };
    let interval = match figure.tasks {
        0 | 1 => String::new(),
        _ => format!(" ({low:+.digits$} to {high:+.digits$})"),
    };
    format!(
        "  {name:<9}  {:.digits$} → {:.digits$}, a difference of {mean:+.digits$}{interval} {unit}{better}",
        figure.before, figure.after
    )
}

/// Says in one sentence whether the data made the model better.
pub fn sentence(job: &GainJob, comparison: &Comparison) -> String {
    let model = job.model_name();
    let Some(figure) = comparison.headline() else {
        return format!("nothing can be said of {model}: it has no figure before and after training");
    };
    let (amount, on) = (amount(figure), counted(figure.tasks, "held-out task"));
    match figure.verdict() {
        Verdict::Better => format!("your data made {model} better: {amount} on {on}"),
        Verdict::Worse => format!("your data made {model} worse: {amount} on {on}"),
        Verdict::Undecided => format!(
            "your data made {model} no different, as far as {on} can show: {amount} {}{}",
            direction(figure),
            more_tasks(figure)
        ),
        Verdict::OneTask => format!(
            "one held-out task cannot show whether your data made {model} better: {amount} {} on it",
            direction(figure)
        ),
        Verdict::Nothing => format!("nothing can be said of {model}: its figures are no numbers"),
    }
}

/// The size of a difference, with half of its interval: `0.31 ± 0.09 nats a token`.
fn amount(figure: &Figure) -> String {
    let unit = match figure.measure {
        Measure::Nll => "nats a token",
        Measure::RougeL => "points of ROUGE-L",
        Measure::StopRate => "points of the stop rate",
    };
    let (size, half) = (figure.difference.mean.abs(), figure.half());
    // As many digits as half of the interval has two of.
    let digits = match half.max(size / 100.0) {
        0.095.. => 2,
        0.0095.. => 3,
        _ => 4,
    };
    match figure.tasks {
        0 | 1 => format!("{size:.digits$} {unit}"),
        _ => format!("{size:.digits$} ± {half:.digits$} {unit}"),
    }
}

fn direction(figure: &Figure) -> &'static str {
    match figure.gain().mean >= 0.0 {
        true => "better",
        false => "worse",
    }
}

/// Says how many tasks would show a difference of this size.
fn more_tasks(figure: &Figure) -> String {
    let Some(needed) = figure.tasks_needed() else {
        return String::new();
    };
    // Two digits: it is a rough estimate.
    let unit = 10u64.pow(needed.ilog10().saturating_sub(1));
    let rough = needed.div_ceil(unit) * unit;
    format!(
        "; if it is truly so much, about {} would show it",
        counted(rough, "such task")
    )
}

/// What restricts the sentence.
fn remarks(job: &GainJob, found: &Found) -> Vec<String> {
    let comparison = &found.comparison;
    let mut lines = Vec::new();
    if !comparison.left_out.is_empty() {
        lines.push(format!(
            "left out: {} of {}, not answered before or not after: {}",
            comparison.left_out.len(),
            counted(found.held_out, "held-out task"),
            ids(&comparison.left_out)
        ));
    }
    match (comparison.contaminated.len(), comparison.clean_headline()) {
        (0, _) => lines.push("contamination: no held-out task was found in the rows to train on".to_owned()),
        (count, clean) => {
            let tasks: Vec<i64> = comparison.contaminated.keys().copied().collect();
            let found = chosen(count, "held-out task was", "held-out tasks were");
            let without = match clean {
                Some(figure) => format!(
                    "; without {}: {} {}",
                    if count == 1 { "it" } else { "them" },
                    amount(figure),
                    direction(figure)
                ),
                None => String::new(),
            };
            lines.push(format!(
                "contamination: {found} found in the rows to train on: {}{without}",
                ids(&tasks)
            ));
        }
    }
    if comparison.tasks < FEW {
        lines.push(format!(
            "warning: {} few: one odd answer can decide\nhint: `ewe split --db {} --eval 50` holds out more, for another run of \
             `ewe gain`",
            chosen(comparison.tasks, "held-out task is", "held-out tasks are"),
            shell_word(&job.db)
        ));
    }
    lines
}

/// Some ids: `3, 5, 8 and 12 more`.
fn ids(all: &[i64]) -> String {
    let shown: Vec<String> = all.iter().take(LISTED).map(i64::to_string).collect();
    let more = match all.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}

/// The rows that made it worse, and how many of them may not have. `are_checked` says whether the
/// model was trained without them.
fn rows(influence: &FoundInfluence, are_checked: bool) -> Vec<String> {
    let mut lines = vec![String::new()];
    let worst = &influence.worst;
    lines.push(match worst.len() {
        0 => "no row made it worse".to_owned(),
        1 => "this row made it worse:".to_owned(),
        count => format!("these {} made it worse:", counted(count, "row")),
    });
    for row in worst {
        let hurts = match &row.speaks_to {
            Some((task, text)) => format!("; hurts task {task}: {}", one_line(&text.text, HURT_WIDTH)),
            None => String::new(),
        };
        lines.push(format!(
            "  {:+.4}  task {}  {}{hurts}",
            row.value,
            row.task_id,
            one_line(&row.instruction.text, WIDTH)
        ));
    }
    let values: Vec<f64> = worst.iter().map(|row| row.value).collect();
    if let Some(remark) = influence.noise.and_then(|noise| noise.remark(&values)) {
        let check = match are_checked {
            true => "",
            false => ", and --check-worst says whether leaving them out helps",
        };
        lines.push(format!(
            "{remark}: `ewe influence` with more --dimensions can{check}"
        ));
    }
    lines
}

/// Whether it helped to leave them out.
fn without(without: &FoundWithout) -> Vec<String> {
    match without {
        FoundWithout::NoRows => vec!["leaving them out: there is none to leave out".to_owned()],
        FoundWithout::OtherChoice => vec![
            String::new(),
            "leaving them out was not tried: the condition on tasks chooses other rows now that influence is known, so there \
             would be two changes at once"
                .to_owned(),
        ],
        FoundWithout::Compared { comparison, out, .. } => vec![
            String::new(),
            left_out_sentence(comparison),
            format!(
                "  (they were chosen by these held-out tasks, which favors it; the model is in {})",
                out.display()
            ),
        ],
    }
}

/// Says in one sentence whether it helped to leave rows out.
pub fn left_out_sentence(comparison: &Comparison) -> String {
    let Some(figure) = comparison.headline() else {
        return "leaving them out: there is no figure with them and without".to_owned();
    };
    let (amount, on) = (amount(figure), counted(figure.tasks, "held-out task"));
    let direction = direction(figure);
    match figure.verdict() {
        Verdict::Better | Verdict::Worse => format!("leaving them out: {amount} {direction} on {on}"),
        Verdict::Undecided | Verdict::OneTask => {
            format!("leaving them out: {amount} {direction}: no difference that can be told from {on}")
        }
        Verdict::Nothing => "leaving them out: the figures are no numbers".to_owned(),
    }
}

#[cfg(test)]
mod tests;
