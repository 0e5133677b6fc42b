//! What a training run says at its end: whether it helped on rows that it was not trained on, and
//! what can be done with its result.

use super::out::metrics::StepMetrics;
use ewe::atomic_file::AtomicFile;
use ewe::finetune::Method;
use ewe::job::train::{RowSource, TrainJob};
use ewe::next::NextCommands;
use ewe::push::facts::RunFacts;
use ewe::report::evaluation::loss_svg;
use ewe::text::shell_word;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A rise of the held-out loss above its lowest value that counts, as a share of it. Less may be
/// due to the order of the rows.
const RISE: f64 = 0.005;

/// The held-out losses of a run, all of the same rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeldOutCurve {
    /// Before the first step; none if it is not known.
    before: Option<f64>,
    /// Steps done, and the loss after them.
    after: Vec<(u64, f64)>,
}

impl HeldOutCurve {
    /// Returns the curve of these steps.
    pub fn of(past: &[StepMetrics]) -> HeldOutCurve {
        let mut curve = HeldOutCurve::default();
        past.iter().for_each(|line| curve.add(line));
        curve
    }

    /// Adds what the metrics of a step say.
    pub fn add(&mut self, line: &StepMetrics) {
        self.before = self.before.or(line.eval_loss_before);
        self.after.extend(line.eval_loss.map(|loss| (line.step, loss)));
    }

    /// Says what became of the held-out loss, and warns if it would have been better to stop
    /// earlier or not to begin. `taken` is the step whose weights are the result, if they are not
    /// those of the last one. `kept` finds the checkpoint after a step.
    pub fn conclusion(&self, taken: Option<u64>, kept: impl Fn(u64) -> Option<PathBuf>) -> Vec<String> {
        let Some(&(last, last_loss)) = self.after.last() else {
            return Vec::new();
        };
        let of_step = |step| self.after.iter().rev().find(|(of, _)| *of == step);
        let (step, loss) = taken.and_then(of_step).copied().unwrap_or((last, last_loss));
        let mut lines = Vec::new();
        if let Some(before) = self.before {
            lines.push(format!(
                "held out {before:.2} → {loss:.2}{}",
                change(before, loss)
            ));
        }
        let lowest = self
            .after
            .iter()
            .copied()
            .reduce(|a, b| if b.1 < a.1 { b } else { a });
        let (best, best_loss) = lowest.unwrap_or((last, last_loss));
        let is_above = |bound: f64| loss > bound * (1.0 + RISE);
        match self.before {
            Some(before) if is_above(before) && best_loss >= before => lines.push(
                "warning: the result is worse on held-out rows than the model before training, and so was every step that was \
                 evaluated\nhint: a lower --lr, or rows that are more like the held-out ones"
                    .to_owned(),
            ),
            _ if step != best && is_above(best_loss) => lines.push(format!(
                "warning: overfitting: held out was lowest after step {best}, {best_loss:.2}, and rose to {loss:.2}; {}\n\
                 hint: --keep-best makes the best step the result, --early-stop 3 ends the run where nothing gets better",
                match kept(best) {
                    Some(place) => format!("its checkpoint is {}", place.display()),
                    None => "its checkpoint was not kept".to_owned(),
                }
            )),
            _ => {}
        }
        lines
    }
}

/// Returns the result of a finished run for programs, by what is recorded in its folder.
pub fn result(out: &Path) -> Value {
    let facts = RunFacts::read(out);
    json!({
        "out": out.to_string_lossy(),
        "method": facts.method(),
        "examples": facts.count("examples"),
        "steps": facts.steps,
        "loss": facts.loss,
        "held_out": facts.held_out.map(|(before, after)| json!({ "before": before, "after": after })),
    })
}

/// Draws the losses of the run in `out` beside its result. Returns the file; none if there is
/// nothing to draw, or it cannot be written: the result is complete without it.
pub fn draw_losses(out: &Path) -> Option<PathBuf> {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let title = format!("Loss of {name}, in nats a token");
    let picture = loss_svg(&out.join("metrics.jsonl"), &title)?;
    let path = out.join("loss.svg");
    let mut file = AtomicFile::begin(&path).ok()?;
    file.write_all(picture.as_bytes()).ok()?;
    file.commit().ok()?;
    Some(path)
}

/// Formats the change of a loss in percent: ` (−12 %)`.
fn change(before: f64, after: f64) -> String {
    if before <= 0.0 {
        return String::new();
    }
    let percent = 100.0 * (after - before) / before;
    let sign = if percent < 0.0 { "−" } else { "+" };
    let size = percent.abs();
    match size {
        0.95.. => format!(" ({sign}{size:.0} %)"),
        0.05.. => format!(" ({sign}{size:.1} %)"),
        _ => " (0 %)".to_owned(),
    }
}

/// Returns the commands that go on from the result.
pub fn next_commands(job: &TrainJob, method: Method, has_held_out_tasks: bool) -> NextCommands {
    let (model, out) = (shell_word(&job.model), shell_word(&job.out));
    let tuned = match method {
        Method::Lora => format!("--model {model} --adapter {out}"),
        Method::Full => format!("--model {out}"),
    };
    let suite = match &job.eval_data {
        Some(file) => Some(format!("instructions={}", shell_word(&file.path))),
        None if has_held_out_tasks => Some("held-out".to_owned()),
        None => None,
    };
    let db = match &job.rows {
        RowSource::Dataset { path, .. } => Some(shell_word(path)),
        RowSource::Files(_) => None,
    };
    let mut next = NextCommands::default()
        .with(format!("ewe chat {tuned}"), "try it")
        .with(format!("ewe serve {tuned}"), "for a chat client or a program");
    if let Some(suite) = suite {
        let place = match &db {
            Some(db) => format!("--db {db}"),
            None => "--out eval.json".to_owned(),
        };
        next = next.with(
            format!("ewe eval {tuned} --suite {suite} {place}"),
            "what it answers",
        );
    }
    match db {
        Some(db) => next.with(
            format!("ewe report --db {db} --out report.html"),
            "figures and the curve",
        ),
        None => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(before: Option<f64>, after: &[f64]) -> HeldOutCurve {
        let lines: Vec<StepMetrics> = (1..)
            .zip(after)
            .map(|(step, &loss)| StepMetrics {
                step,
                eval_loss: Some(loss),
                eval_loss_before: before.filter(|_| step == 1),
                ..Default::default()
            })
            .collect();
        HeldOutCurve::of(&lines)
    }

    #[test]
    fn a_run_says_what_became_of_the_held_out_loss() {
        let of = |before, after: &[f64], taken| {
            let lines = curve(before, after).conclusion(taken, |step| (step == 2).then(|| "c/2".into()));
            lines.join("\n")
        };
        assert_eq!(of(Some(3.27), &[3.0, 2.87], None), "held out 3.27 → 2.87 (−12 %)");
        assert_eq!(of(Some(3.0), &[2.99], None), "held out 3.00 → 2.99 (−0.3 %)");
        assert_eq!(of(Some(3.0), &[3.0], None), "held out 3.00 → 3.00 (0 %)");
        assert_eq!(
            (of(None, &[3.0], None), of(None, &[], None)),
            (String::new(), String::new())
        );
        let worse = of(Some(2.0), &[2.5, 3.0], None);
        assert!(
            worse.starts_with("held out 2.00 → 3.00 (+50 %)\nwarning: the result is worse"),
            "{worse}"
        );
        let over = of(Some(3.0), &[2.5, 2.0, 2.2], None);
        assert!(
            over.contains(
                "(−27 %)\nwarning: overfitting: held out was lowest after step 2, 2.00, and rose to 2.20"
            ),
            "{over}"
        );
        assert!(
            over.contains("its checkpoint is c/2") && over.contains("hint: --keep-best"),
            "{over}"
        );
        let gone = of(Some(3.0), &[2.0, 2.5, 3.5], None);
        assert!(
            gone.contains("after step 1, 2.00") && gone.contains("was not kept"),
            "{gone}"
        );
        // The best step is the result, or the rise is nothing.
        assert_eq!(
            of(Some(3.0), &[2.5, 2.0, 2.2], Some(2)),
            "held out 3.00 → 2.00 (−33 %)"
        );
        assert!(!of(Some(3.0), &[2.0, 2.005], None).contains("warning"));
    }
}
