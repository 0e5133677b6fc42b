//! Values of the fields that people added: a chart for each field.

use super::bars::{Bar, Bars, fold};
use super::{Drawing, Figures, MOST_BARS, svg};
use crate::store::fields::counts::FieldCounts;
use crate::task::FieldType;

/// The names of the charts; so many fields have one.
const NAMES: [&str; 8] = [
    "field-1", "field-2", "field-3", "field-4", "field-5", "field-6", "field-7", "field-8",
];

/// Draws the fields that have values, in their order.
pub(super) fn fields(figures: &Figures) -> Vec<Option<Drawing>> {
    let all = figures.dataset.tasks;
    let used = figures.fields.iter().filter(|counts| counts.tasks > 0);
    NAMES
        .into_iter()
        .zip(used)
        .map(|(name, counts)| chart(name, counts, all))
        .collect()
}

fn chart(name: &'static str, counts: &FieldCounts, all: i64) -> Option<Drawing> {
    let field = &counts.field;
    let is_tags = field.kind == FieldType::Tags;
    let shown = counts.shown().into_iter();
    let mut bars: Vec<Bar> = shown.map(|(label, tasks)| Bar::new(label, vec![tasks])).collect();
    if counts.ranges.is_empty() && field.kind == FieldType::Number && bars.len() == counts.different as usize
    {
        let number = |bar: &Bar| bar.label.parse::<f64>().unwrap_or(f64::MAX);
        bars.sort_by(|one, other| number(one).total_cmp(&number(other)));
    }
    let most = counts.values.iter().max_by_key(|one| one.tasks)?;
    let says = format!(
        "{} a value; “{}” is the most frequent, with {}.",
        svg::chosen(counts.tasks, "task has", "tasks have"),
        svg::short(&most.label(), 40),
        svg::counted(most.tasks, "task")
    );
    let named: i64 = bars.iter().map(Bar::sum).sum();
    // A task has several tags, so that no rest can be told.
    let rest = if is_tags { 0 } else { counts.tasks - named };
    let single = |label: &str, tasks: i64| Bar::new(label, vec![tasks]);
    if bars.len() > MOST_BARS {
        bars = fold(bars, MOST_BARS, "other values");
        if let Some(last) = bars.last_mut() {
            last.parts[0] += rest;
        }
    } else if rest > 0 {
        bars.push(single("other values", rest));
    }
    if all > counts.tasks {
        bars.push(single("no value", all - counts.tasks));
    }
    Bars {
        name,
        title: &format!("Tasks by {}", svg::short(&field.name, 60)),
        says,
        first: &svg::short(&field.name, 60),
        parts: &["tasks"],
        bars,
    }
    .draw()
}
