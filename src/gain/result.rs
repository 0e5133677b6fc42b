//! The conclusion as JSON.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::conclusion::{left_out_sentence, sentence};
use super::job::GainJob;
use super::paired::{Comparison, Figure, Verdict};
use super::walk::{Found, FoundInfluence, FoundWithout};
use crate::atomic_file::{self, AtomicFile};
use crate::store::query::evaluation::InfluentialRow;
use crate::suite::interval::RESAMPLES;

impl Verdict {
    /// The word in results.
    fn as_str(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Undecided => "undecided",
            Verdict::OneTask => "one_task",
            Verdict::Nothing => "nothing",
        }
    }
}

/// Writes what was found to `path`; `steps` are the commands that were run.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write(path: &Path, job: &GainJob, found: &Found, steps: &[String]) -> Result<()> {
    let mut file = AtomicFile::begin(path)?;
    let text = serde_json::to_string_pretty(&json(job, found, steps))? + "\n";
    file.write_all(text.as_bytes())
        .with_context(|| atomic_file::cannot_write(path))?;
    file.commit()
}

fn json(job: &GainJob, found: &Found, steps: &[String]) -> Value {
    let mut json = json!({
        "model": job.model,
        "db": job.db,
        "out": job.out,
        "method": job.training.method,
        "sentence": sentence(job, &found.comparison),
        "held_out_tasks": found.held_out,
    });
    let rest = json!({
        "worst_rows": found.influence.as_ref().map(|influence| {
            influence.worst.iter().map(row).collect::<Vec<_>>()
        }),
        "projection_noise": found.influence.as_ref().and_then(noise),
        "without_worst": found.without_worst.as_ref().map(without),
        "computed_from": {
            "ewe": env!("CARGO_PKG_VERSION"),
            "evaluations": found.evaluations,
            "influence_run": found.influence.as_ref().map(|influence| influence.run),
            "steps": steps,
            "interval": format!("95 %, {RESAMPLES} bootstrap resamples of held-out tasks, paired"),
        },
    });
    for part in [comparison(&found.comparison), rest] {
        if let (Value::Object(all), Value::Object(part)) = (&mut json, part) {
            all.extend(part);
        }
    }
    json
}

/// Two models.
fn comparison(of: &Comparison) -> Value {
    let verdict = of.headline().map_or(Verdict::Nothing, Figure::verdict);
    json!({
        "verdict": verdict.as_str(),
        "compared_tasks": of.tasks,
        "left_out": of.left_out,
        "contaminated": of.contaminated.iter().map(|(task, found_in)| {
            json!({"task": task, "found_in": found_in})
        }).collect::<Vec<_>>(),
        "figures": figures(&of.figures),
        "figures_without_contaminated": figures(&of.without_contaminated),
    })
}

fn figures(figures: &[Figure]) -> Map<String, Value> {
    let one = |figure: &Figure| {
        let value = json!({
            "before": figure.before,
            "after": figure.after,
            "difference": figure.difference,
            "verdict": figure.verdict().as_str(),
            "tasks": figure.tasks,
            "tasks_needed": figure.tasks_needed(),
        });
        (figure.measure.as_str().to_owned(), value)
    };
    figures.iter().map(one).collect()
}

/// Within which influences cannot be told from zero, and how many of the worst rows are.
fn noise(influence: &FoundInfluence) -> Option<Value> {
    let noise = influence.noise?;
    let worst = influence.worst.iter().map(|row| row.value);
    Some(json!({
        "dimensions": noise.dimensions,
        "standard_deviation": noise.deviation,
        "bound": noise.bound,
        "worst_rows_within": noise.within(worst),
    }))
}

fn row(row: &InfluentialRow) -> Value {
    json!({
        "task": row.task_id,
        "influence": row.value,
        "instruction": row.instruction.text,
        "hurts": row.speaks_to.as_ref().map(|(task, text)| {
            json!({"task": task, "instruction": text.text})
        }),
    })
}

fn without(without: &FoundWithout) -> Value {
    match without {
        FoundWithout::NoRows => json!({"verdict": "no_rows"}),
        FoundWithout::OtherChoice => json!({"verdict": "not_tried"}),
        FoundWithout::Compared {
            out,
            tasks,
            evaluation,
            comparison: of,
        } => {
            let mut json = json!({
                "out": out,
                "tasks": tasks,
                "evaluation": evaluation,
                "sentence": left_out_sentence(of),
            });
            if let (Value::Object(all), Value::Object(part)) = (&mut json, comparison(of)) {
                all.extend(part);
            }
            json
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gain::job::tests::job;
    use crate::gain::paired::compare;
    use crate::gain::paired::tests::halved;

    #[test]
    fn all_of_it_is_in_the_result() {
        let [before, after] = halved(12);
        let comparison = compare(&before, &after, &(1..=13).collect::<Vec<_>>());
        let found = Found {
            comparison: comparison.clone(),
            held_out: 13,
            evaluations: [4, 5],
            influence: None,
            without_worst: Some(FoundWithout::Compared {
                out: "o".into(),
                tasks: vec![3],
                evaluation: 6,
                comparison,
            }),
        };
        let json = json(&job(), &found, &["ewe split".into()]);
        assert_eq!(
            (&json["verdict"], &json["left_out"]),
            (&json!("better"), &json!([13]))
        );
        assert_eq!(json["method"], "lora");
        assert_eq!(json["figures"]["nll"]["after"], 1.775);
        assert!(json["figures"]["nll"]["difference"]["high"].as_f64() < Some(-1.5));
        assert_eq!(json["figures"]["stop_rate"]["verdict"], "undecided");
        assert_eq!(json["without_worst"]["tasks"], json!([3]));
        assert_eq!(
            (&json["worst_rows"], &json["projection_noise"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(json["computed_from"]["evaluations"], json!([4, 5]));
    }
}
