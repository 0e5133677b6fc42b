//! The commands that `ewe gain` runs, as they are typed.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::job::GainJob;
use crate::finetune::OptimizerKind;
use crate::prompt::template::TemplateChoice;
use crate::text::shell_word;

/// Checkpoints that are kept for `ewe influence`, as many as it looks at by default.
const CHECKPOINTS: u32 = 2;

/// A command of this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its arguments, the command's name first.
    pub arguments: Vec<OsString>,
}

/// The model that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// The base model.
    Base,
    /// What training wrote to this directory.
    Tuned(&'a Path),
}

impl Step {
    fn of(command: &str) -> Step {
        Step {
            arguments: vec![command.into()],
        }
    }

    /// Adds an option with its value.
    fn set(mut self, name: &str, value: impl AsRef<OsStr>) -> Step {
        let (option, value) = (format!("--{name}"), value.as_ref());
        // A value that looks like an option is none only behind `=`.
        match value.as_encoded_bytes().first() {
            Some(b'-') => {
                let mut word = OsString::from(option + "=");
                word.push(value);
                self.arguments.push(word);
            }
            _ => self.arguments.extend([option.into(), value.to_owned()]),
        }
        self
    }

    /// Adds an option without a value.
    fn flag(mut self, name: &str) -> Step {
        self.arguments.push(format!("--{name}").into());
        self
    }

    /// Adds words as they are.
    fn words(mut self, words: impl IntoIterator<Item = String>) -> Step {
        self.arguments.extend(words.into_iter().map(OsString::from));
        self
    }

    /// Adds seed and device, where they are not the defaults.
    fn seeded(self, job: &GainJob, has_device: bool) -> Step {
        let step = match job.seed {
            0 => self,
            seed => self.set("seed", seed.to_string()),
        };
        match has_device && job.device != "auto" {
            true => step.set("device", &job.device),
            false => step,
        }
    }

    /// Returns the command as it is typed into a shell.
    pub fn line(&self) -> String {
        let words = self.arguments.iter().map(|word| shell_word(Path::new(word)));
        let words: Vec<String> = words.collect();
        format!("ewe {}", words.join(" "))
    }
}

/// Holds tasks out: of the seeds, or of all.
pub fn split(job: &GainJob, of_seeds: bool) -> Step {
    let step = Step::of("split")
        .set("db", &job.db)
        .set("eval", job.eval.to_string());
    let step = match of_seeds {
        true => step.set("origin", "seed"),
        false => step,
    };
    step.seeded(job, false)
}

/// Asks a model the held-out tasks.
pub fn evaluate(job: &GainJob, asked: Asked<'_>) -> Step {
    let step = Step::of("eval").set("db", &job.db).set("suite", "held-out");
    let step = match asked {
        Asked::Base => step.set("model", &job.model),
        Asked::Tuned(out) if job.makes_adapter() => step.set("model", &job.model).set("adapter", out),
        Asked::Tuned(out) => step.set("model", out),
    };
    let step = step.set("template", template(job));
    let step = match job.max_tokens {
        Some(most) => step.set("max-tokens", most.to_string()),
        None => step,
    };
    step.seeded(job, true)
}

/// Trains into `out` on all rows that the options choose but those of the tasks `without`.
pub fn train(job: &GainJob, out: &Path, without: &[i64], is_resumed: bool) -> Step {
    let mut step = Step::of("train")
        .set("db", &job.db)
        .set("model", &job.model)
        .set("out", out)
        .set("template", template(job));
    if job.makes_adapter() && without.is_empty() {
        step = step.set("keep-checkpoints", CHECKPOINTS.to_string());
    }
    if let Some(condition) = condition(job.training.condition.as_deref(), without) {
        step = step.set("where", condition);
    }
    step = step.seeded(job, true).words(job.training.options.iter().cloned());
    match is_resumed {
        true => step.flag("resume"),
        false => step,
    }
}

/// Finds the rows that lowered the loss, and those that raised it.
pub fn influence(job: &GainJob) -> Step {
    let step = Step::of("influence")
        .set("db", &job.db)
        .set("run-dir", &job.out)
        .set("model", &job.model);
    let step = match job.training.optimizer {
        OptimizerKind::Adamw | OptimizerKind::Adamw8bit => step,
        // They keep no second moment of each weight.
        OptimizerKind::Adafactor | OptimizerKind::Lion => step.set("direction", "sgd"),
    };
    step.seeded(job, true)
}

/// The commands that go on from here; `worst` is the task that hurt most.
pub fn next(job: &GainJob, worst: Option<i64>) -> Vec<Step> {
    let mut next = Vec::new();
    if job.makes_adapter() {
        next.push(Step::of("list").set("db", &job.db).set("sort", "influence"));
    }
    if let Some(worst) = worst {
        let show = Step::of("show").set("db", &job.db);
        next.push(show.words([worst.to_string()]));
        let helpful = match &job.training.condition {
            Some(condition) => format!("({condition}) and influence > 0"),
            None => "influence > 0".to_owned(),
        };
        next.push(
            Step::of("train")
                .set("db", &job.db)
                .set("where", helpful)
                .set("model", &job.model)
                .set("out", super::job::beside(&job.out, "-better")),
        );
    }
    next.push(Step::of("report").set("db", &job.db).set("out", "report.html"));
    next
}

/// The condition that chooses tasks, without those of `without`.
fn condition(chosen: Option<&str>, without: &[i64]) -> Option<String> {
    if without.is_empty() {
        return chosen.map(str::to_owned);
    }
    let ids: Vec<String> = without.iter().map(i64::to_string).collect();
    let rest = format!("id not in ({})", ids.join(", "));
    Some(match chosen {
        Some(chosen) => format!("({chosen}) and {rest}"),
        None => rest,
    })
}

/// The template as it is typed.
pub fn template(job: &GainJob) -> OsString {
    match &job.template {
        TemplateChoice::Known(template) => template.to_string().into(),
        TemplateChoice::File(path) => path.clone().into_os_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finetune::Method;
    use crate::gain::job::tests::job;

    #[test]
    fn commands_are_those_that_people_type() {
        let job = job();
        assert_eq!(
            split(&job, true).line(),
            "ewe split --db my.db --eval 20% --origin seed"
        );
        assert_eq!(split(&job, false).line(), "ewe split --db my.db --eval 20%");
        assert_eq!(
            evaluate(&job, Asked::Base).line(),
            "ewe eval --db my.db --suite held-out --model models/base --template alpaca"
        );
        assert_eq!(
            evaluate(&job, Asked::Tuned(&job.out)).line(),
            "ewe eval --db my.db --suite held-out --model models/base --adapter tuned --template alpaca"
        );
        assert_eq!(
            train(&job, &job.out, &[], false).line(),
            "ewe train --db my.db --model models/base --out tuned --template alpaca --keep-checkpoints 2"
        );
        assert_eq!(
            influence(&job).line(),
            "ewe influence --db my.db --run-dir tuned --model models/base"
        );
        let next: Vec<String> = next(&job, Some(7)).iter().map(Step::line).collect();
        assert_eq!(
            next,
            [
                "ewe list --db my.db --sort influence",
                "ewe show --db my.db 7",
                "ewe train --db my.db --where 'influence > 0' --model models/base --out tuned-better",
                "ewe report --db my.db --out report.html",
            ]
        );
    }

    #[test]
    fn options_reach_the_steps_that_have_them() {
        let mut job = job();
        job.seed = 3;
        job.device = "cpu".into();
        job.max_tokens = Some(64);
        job.training.options = ["--epochs", "3"].map(str::to_owned).into();
        job.training.condition = Some("score >= 4 or score is null".into());
        job.training.method = Method::Full;
        assert_eq!(
            split(&job, false).line(),
            "ewe split --db my.db --eval 20% --seed 3"
        );
        assert_eq!(
            evaluate(&job, Asked::Tuned(&job.out)).line(),
            "ewe eval --db my.db --suite held-out --model tuned --template alpaca --max-tokens 64 --seed 3 --device cpu"
        );
        assert_eq!(
            train(&job, &job.out, &[4, 9], true).line(),
            "ewe train --db my.db --model models/base --out tuned --template alpaca \
             --where '(score >= 4 or score is null) and id not in (4, 9)' --seed 3 --device cpu --epochs 3 --resume"
        );
        job.training.optimizer = OptimizerKind::Lion;
        assert!(influence(&job).line().contains(" --direction sgd --seed 3"));
    }

    #[test]
    fn lines_are_quoted_for_a_shell() {
        let mut job = job();
        job.db = "my data.db".into();
        job.out = "-odd".into();
        job.training.condition = Some("name = 'it''s'".into());
        let line = train(&job, &job.out, &[], false).line();
        assert!(line.starts_with("ewe train --db 'my data.db' "), "{line}");
        assert!(line.contains(" --out=-odd "), "{line}");
        assert!(line.contains(r"--where 'name = '\''it'\'''\''s'\'''"), "{line}");
    }
}
