//! Answers before and after, side by side: those that became better most, and worse.

use std::fmt::Write;

use super::html::write_text;
use super::scores::SuitePart;
use crate::report::chart::svg::{escape, short};
use crate::store::query::evaluation::{ChangedAnswer, ComparedScore};

/// Appends the answers of a suite.
pub fn write(body: &mut String, part: &SuitePart) {
    let Some(pair) = &part.pair else {
        return;
    };
    let by = match pair.score {
        Some(ComparedScore::RougeL) => "ROUGE-L",
        Some(ComparedScore::Nll) => "the NLL of the reference",
        Some(ComparedScore::Passed) => "checks",
        None => return,
    };
    for (changed, how) in [(&pair.better, "better"), (&pair.worse, "worse")] {
        if changed.is_empty() {
            let _ = writeln!(body, "<p>No answer became {how} by {by}.</p>");
            continue;
        }
        let count = changed.len();
        let answers = if count == 1 { "answer that" } else { "answers that" };
        let _ = writeln!(
            body,
            "<details class=\"answers\"><summary>{count} {answers} became {how}, most of all by {by}</summary>"
        );
        changed.iter().for_each(|answer| one(body, answer));
        body.push_str("</details>\n");
    }
}

/// Appends one item with both answers.
fn one(body: &mut String, of: &ChangedAnswer) {
    let category = of.category.as_deref().map_or(String::new(), |category| {
        format!(", {}", escape(&short(category, 80)))
    });
    let [before, after] = of.scores.map(|score| format!("{score:.2}").replace('-', "−"));
    let _ = writeln!(
        body,
        "<article>\n<h4>{}{category}: {before} → {after}</h4>",
        escape(&short(&of.item, 120))
    );
    write_text(body, "question", &of.prompt);
    if !of.reference.text.is_empty() {
        write_text(body, "reference", &of.reference);
    }
    body.push_str("<div class=\"sides\">\n");
    write_text(body, "before", &of.before);
    write_text(body, "after", &of.after);
    body.push_str("</div>\n</article>\n");
}
