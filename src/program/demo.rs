//! `ewe demo`: all steps on a real model. A dataset from the seed tasks, new tasks, a look at them,
//! a fine-tune, answers before and after.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::atomic_file::{self, AtomicFile};
use crate::steps::{Step, Steps};
use crate::text::{counted, shell_word};

/// The model of the demo, which `make setup` fetches.
pub const MODEL: &str = "models/gemma-3-270m";

/// Instructions that the model is given before and after.
const QUESTIONS: &str = "Give three tips for staying focused while studying.\n\
                         Name the season that comes after winter.\n\
                         Write a one-sentence apology for arriving late to a meeting.\n";

/// What the folder of a demo has in it, apart from the adapter. The questions are first, since they
/// tell the folder of a demo from others.
const FILES: [&str; 9] = [
    "questions.txt",
    "before.txt",
    "after.txt",
    "demo.db",
    "demo.db-wal",
    "demo.db-shm",
    "demo.db.lock",
    "demo.db.judge.lock",
    "demo.db.import.lock",
];

/// What the demo does.
#[derive(Debug, Clone)]
pub struct DemoJob {
    /// Folder of all output.
    pub dir: PathBuf,
    /// The model; that of [`MODEL`] if it is not named.
    pub model: Option<PathBuf>,
    /// How many tasks the model writes. With 0 it is trained on the seeds alone.
    pub target: u64,
}

/// Runs the demo. Returns the exit code of the first step that fails.
///
/// # Errors
///
/// If there is no model, the folder is not one of a demo, or a step cannot be started.
pub async fn run(job: &DemoJob, quiet: bool) -> Result<u8> {
    let model = model(job.model.as_deref(), Path::new(MODEL))?;
    prepare(&job.dir)?;
    if model.to_string_lossy().to_lowercase().contains("gemma") {
        eprintln!(
            "The demo runs {}. Gemma is provided under and subject to the Gemma Terms of Use: \
             https://ai.google.dev/gemma/terms",
            model.display()
        );
    }
    let mut steps = Steps::begin(quiet)?;
    for (title, step) in walk(job, &model) {
        steps.announce(&title);
        let code = steps.run(&step).await?;
        if code != 0 {
            return Ok(code);
        }
    }
    if !quiet {
        steps.announce("Done");
        print!("{}", what_next(&job.dir, &model));
    }
    Ok(0)
}

/// The model that the user named, else the one that is there.
fn model(named: Option<&Path>, usual: &Path) -> Result<PathBuf> {
    if let Some(model) = named {
        return Ok(model.to_owned());
    }
    if !usual.join("config.json").is_file() {
        bail!(
            "`ewe demo` needs a model, and there is no `{}` here\nhint: --model with the directory of a base model, or \
             with its id on the Hugging Face hub, such as HuggingFaceTB/SmolLM2-135M",
            usual.display()
        );
    }
    Ok(usual.to_owned())
}

/// Makes the folder with its questions, and removes what an earlier demo left in it.
fn prepare(dir: &Path) -> Result<()> {
    let questions = dir.join(FILES[0]);
    atomic_file::make_folder(dir)?;
    let is_empty = || Some(dir.read_dir().ok()?.next().is_none());
    let is_of_demo = fs::read_to_string(&questions).is_ok_and(|text| text == QUESTIONS);
    if !is_of_demo && is_empty() != Some(true) {
        bail!(
            "`{}` has files that are not of a demo, which would be replaced\nhint: --dir with the name of another folder",
            dir.display()
        );
    }
    let remove = |name: &str, path: &Path| match name {
        "adapter" => fs::remove_dir_all(path),
        _ => fs::remove_file(path),
    };
    for name in FILES.into_iter().skip(1).chain(["adapter"]) {
        let path = dir.join(name);
        match remove(name, &path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove `{}`", path.display()));
            }
            _ => {}
        }
    }
    let mut file = AtomicFile::begin(&questions)?;
    file.write_all(QUESTIONS.as_bytes())
        .with_context(|| atomic_file::cannot_write(&questions))?;
    file.commit()
}

/// The steps with their titles.
fn walk(job: &DemoJob, model: &Path) -> Vec<(String, Step)> {
    let db = job.dir.join("demo.db");
    let adapter = job.dir.join("adapter");
    let with_db = |command: &str| Step::new([command, "--db"]).with([&db]);
    let with_model = |step: Step| step.with(["--model"]).with([model]);
    let asked = |step: Step, answers: &str| {
        step.with(["--temperature", "0", "--max-tokens", "60"])
            .reading(&job.dir.join(FILES[0]))
            .keeping(&job.dir.join(answers))
    };
    let chat = || with_model(Step::new(["chat"]));
    let mut steps = vec![("A dataset from the seed tasks".to_owned(), with_db("init"))];
    if job.target > 0 {
        let target = job.target.to_string();
        steps.push((
            format!("The base model writes {}", counted(job.target, "new task")),
            with_model(with_db("generate")).with(["--target", target.as_str()]),
        ));
    }
    steps.push(("What is in the file now".to_owned(), with_db("stats")));
    steps.push((
        "Three instructions, before".to_owned(),
        asked(chat(), "before.txt"),
    ));
    steps.push((
        "A LoRA fine-tune on seeds and new tasks, one epoch".to_owned(),
        with_model(with_db("train"))
            .with(["--out"])
            .with([&adapter])
            .with(["--method", "lora", "--epochs", "1"]),
    ));
    steps.push((
        "The same three, after".to_owned(),
        asked(chat().with(["--adapter"]).with([&adapter]), "after.txt"),
    ));
    steps
}

/// What there is now, and what to do with it.
fn what_next(dir: &Path, model: &Path) -> String {
    let file = |name: &str| shell_word(&dir.join(name));
    format!(
        "  {db}  the dataset, with every prompt, answer and verdict\n  \
           {adapter}  the LoRA adapter, in PEFT's format, with metrics.jsonl\n  \
           {before}, {after}\n\n\
         Try next:\n  \
           sqlite3 {db} \"select reason, count(*) from rejection group by 1 order by 2 desc\"\n  \
           ewe curate --db {db}\n  \
           ewe chat --model {model} --adapter {adapter}\n",
        db = file("demo.db"),
        adapter = file("adapter"),
        before = file("before.txt"),
        after = file("after.txt"),
        model = shell_word(model),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_folder_of_a_demo_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("demo");
        prepare(&dir).unwrap();
        fs::create_dir(dir.join("adapter")).unwrap();
        fs::write(dir.join("adapter/metrics.jsonl"), "x").unwrap();
        fs::write(dir.join("demo.db"), "x").unwrap();
        fs::write(dir.join("notes.txt"), "mine").unwrap();
        prepare(&dir).unwrap();
        let mut left: Vec<_> = dir
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["notes.txt", "questions.txt"]);
        fs::write(dir.join("questions.txt"), "others").unwrap();
        let said = prepare(&dir).unwrap_err().to_string();
        assert!(
            said.contains("not of a demo") && said.contains("hint: --dir"),
            "{said}"
        );
        assert_eq!(fs::read_to_string(dir.join("notes.txt")).unwrap(), "mine");
    }

    #[test]
    fn the_model_is_the_named_one_else_the_one_that_is_there() {
        let root = tempfile::tempdir().unwrap();
        let usual = root.path().join("gemma");
        let said = model(None, &usual).unwrap_err().to_string();
        assert!(said.contains("hint: --model"), "{said}");
        assert_eq!(model(Some(Path::new("mine")), &usual).unwrap(), Path::new("mine"));
        fs::create_dir(&usual).unwrap();
        fs::write(usual.join("config.json"), "{}").unwrap();
        assert_eq!(model(None, &usual).unwrap(), usual);
    }

    #[test]
    fn every_step_can_be_typed() {
        let job = DemoJob {
            dir: "demo".into(),
            model: None,
            target: 1,
        };
        let lines = |job: &DemoJob| -> Vec<String> {
            let walk = walk(job, Path::new(MODEL));
            walk.iter().map(|(_, step)| step.line()).collect()
        };
        assert_eq!(
            lines(&job),
            [
                "ewe init --db demo/demo.db",
                "ewe generate --db demo/demo.db --model models/gemma-3-270m --target 1",
                "ewe stats --db demo/demo.db",
                "ewe chat --model models/gemma-3-270m --temperature 0 --max-tokens 60 < demo/questions.txt | tee demo/before.txt",
                "ewe train --db demo/demo.db --model models/gemma-3-270m --out demo/adapter --method lora --epochs 1",
                "ewe chat --model models/gemma-3-270m --adapter demo/adapter --temperature 0 --max-tokens 60 \
                 < demo/questions.txt | tee demo/after.txt",
            ]
        );
        assert_eq!(
            walk(&job, Path::new(MODEL))[1].0,
            "The base model writes 1 new task"
        );
        let alone = DemoJob { target: 0, ..job };
        assert!(lines(&alone).iter().all(|line| !line.contains("generate")));
    }
}
