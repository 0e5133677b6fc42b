//! The result of a comparison: its pairs as they are stored, what to note, and the whole as JSON.

use super::{Answered, Comparison, JudgeResult};
use crate::compare::figures::{Figures, Pair};
use crate::compare::item::Item;
use crate::compare::verdict::Judging;
use crate::job::compare::CompareJob;
use crate::store::asked::comparison::NewPair;
use crate::suite::interval::RESAMPLES;
use crate::text::{chosen, counted};
use serde_json::{Value, json};

/// A pair as it is stored.
pub(super) fn row<'a>(item: &'a Item, pair: &Pair<'a>) -> NewPair<'a> {
    let orders = pair.judging.and_then(Judging::orders);
    NewPair {
        item: &item.key,
        category: item.category.as_deref(),
        prompt: item.question.text(),
        reference: item.reference.as_deref(),
        answer_a: pair.answer_a,
        answer_b: pair.answer_b,
        a_first: orders.map(|(a_first, _)| a_first.as_str()),
        b_first: orders.map(|(_, b_first)| b_first.as_str()),
        verdict: pair.judging.map(|judging| judging.verdict().as_str()),
        b_wins: pair.judging.and_then(Judging::b_wins),
    }
}

/// What whoever reads the figures should know.
pub(super) fn remarks(
    a: &Answered,
    b: &Answered,
    judge: Option<&JudgeResult>,
    figures: &Figures,
) -> Vec<String> {
    let mut remarks = Vec::new();
    for (name, model) in [("a", a), ("b", b)] {
        if let Some(why) = model.failures.first() {
            let failed = counted(model.failures.len(), "prompt");
            remarks.push(format!("model {name} did not answer {failed}: {why}"));
        }
    }
    if a.cut + b.cut > 0 {
        let (of_a, of_b) = (counted(a.cut, "answer"), counted(b.cut, "answer"));
        remarks.push(format!(
            "cut off at --max-tokens before they ended: {of_a} of a, {of_b} of b"
        ));
    }
    let empty = figures.empty_answers;
    if empty.a + empty.b > 0 {
        let (of_a, of_b) = (counted(empty.a, "answer"), counted(empty.b, "answer"));
        remarks.push(format!("without any text: {of_a} of a, {of_b} of b"));
    }
    if let Some(judge) = judge {
        if [&a.name, &b.name].contains(&&judge.name) {
            remarks.push(
                "the judge is one of the two models, and models favor their own answers (Panickssery et al. 2024)"
                    .to_owned(),
            );
        }
        if let Some((count, why)) = judge.problems.first() {
            let replies = chosen(*count, "reply", "replies");
            remarks.push(format!("{replies} of the judge could not be used: {why}"));
        }
    }
    if let Some(controlled) = figures
        .length_controlled
        .filter(|controlled| controlled.far_from_raw)
    {
        let longer = match controlled.length_coefficient > 0.0 {
            true => "longer",
            false => "shorter",
        };
        remarks.push(format!(
            "much of the win rate is due to lengths: the judge prefers the {longer} answer"
        ));
    }
    remarks
}

/// The result as JSON.
pub(super) fn result(
    comparison: &Comparison,
    job: &CompareJob,
    (id, run_id): (i64, i64),
    source: &str,
) -> Value {
    let mut figures = json!(comparison.figures);
    let conduct = figures
        .as_object_mut()
        .and_then(|figures| figures.remove("conduct"))
        .unwrap_or_default();
    let judge = comparison.judge.as_ref().map(|judge| {
        let problems = judge.problems.iter();
        let problems: Vec<Value> = problems
            .map(|(count, words)| json!({"count": count, "words": words}))
            .collect();
        json!({"name": judge.name, "exam": judge.exam, "conduct": conduct, "problems": problems})
    });
    let mut result = json!({
        "model_a": comparison.model_a,
        "model_b": comparison.model_b,
        "judge": judge,
        "win_rate_of": "b",
    });
    let all = result.as_object_mut().expect("an object");
    if let Value::Object(figures) = figures {
        all.extend(figures);
    }
    all.insert("people".to_owned(), json!(comparison.people));
    all.insert("remarks".to_owned(), json!(comparison.remarks));
    let computed_from = json!({
        "source": source, "comparison_id": id, "run_id": run_id, "max_tokens": job.max_tokens,
        "judge_tokens": job.judge_tokens, "exam_per_kind": job.exam, "seed": job.seed,
        "judged_by": job.judged_by,
        "resamples": RESAMPLES,
    });
    all.insert("computed_from".to_owned(), computed_from);
    result
}
