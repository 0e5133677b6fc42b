//! SuperNaturalInstructions (Wang et al. 2022) in the layout of its repository: `tasks/*.json` and
//! `splits/default/test_tasks.txt`.
//!
//! The prompt is that of Tk-Instruct's `ni_collator.py`. Tk-Instruct cuts a prompt at 1,024 tokens
//! from the right, which loses `Output:`. Here a prompt has at most [`MOST_CHARACTERS`]: positive
//! examples are left out from the last one on, then the end of the input is, and `Output:` stays.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::item::Item;
use crate::backend::Question;
use crate::settings_file;
use crate::text::counted;

/// The most characters of a prompt: 1,024 tokens of four characters.
pub const MOST_CHARACTERS: usize = 4096;
/// The authors put label-balanced instances first, and evaluate on these.
const BALANCED: usize = 100;
/// The list of tasks, below the directory.
const TEST_TASKS: &str = "splits/default/test_tasks.txt";
/// The most bytes of a file.
const LONGEST: u64 = 512 << 20;
/// A task that the repository renamed.
const RENAMED: [&str; 2] = [
    "task121_atomic_question_rewriting",
    "task121_zest_question_rewriting",
];

/// What is asked of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuperniSettings {
    /// Positive examples in a prompt.
    pub examples: usize,
    /// Instances of a task: the first 100, or of these as many as wanted at random.
    pub instances: usize,
    /// Decides which.
    pub seed: u64,
}

/// A task file.
#[derive(Deserialize)]
struct TaskFile {
    #[serde(rename = "Definition")]
    definition: Texts,
    #[serde(rename = "Categories", default)]
    categories: Vec<String>,
    #[serde(rename = "Positive Examples", default)]
    examples: Vec<TaskExample>,
    #[serde(rename = "Instances", default)]
    instances: Vec<TaskInstance>,
}

#[derive(Deserialize)]
struct TaskExample {
    input: String,
    output: Texts,
}

#[derive(Deserialize)]
struct TaskInstance {
    input: String,
    #[serde(default)]
    output: Option<Texts>,
}

/// One text or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Several(Vec<String>),
}

impl Texts {
    fn first(&self) -> &str {
        match self {
            Texts::One(text) => text,
            Texts::Several(texts) => texts.first().map_or("", String::as_str),
        }
    }

    fn all(self) -> Vec<String> {
        match self {
            Texts::One(text) => vec![text],
            Texts::Several(texts) => texts,
        }
    }
}

/// How many of what was left out.
pub type LeftOutCounts = Vec<(usize, &'static str)>;

/// Reads the test tasks. Also returns how many tasks had no instance, and how many instances no
/// reference.
///
/// # Errors
///
/// If the layout is another one, or a task cannot be read.
pub fn read(dir: &Path, settings: SuperniSettings) -> Result<(Vec<Item>, LeftOutCounts)> {
    let list = dir.join(TEST_TASKS);
    let names = settings_file::read_text(&list, LONGEST).with_context(|| {
        format!(
            "`{}` is not in the layout of SuperNaturalInstructions: cannot read `{}`\nhint: wanted are tasks/*.json and {TEST_TASKS}, \
             as in github.com/allenai/natural-instructions",
            dir.display(),
            list.display()
        )
    })?;
    let (mut items, mut empty, mut without) = (Vec::new(), 0, 0);
    for name in names.lines().map(str::trim).filter(|name| !name.is_empty()) {
        let task = read_task(dir, name)?;
        let before = items.len();
        let instances = task.instances.len();
        add(&mut items, name, task, settings, &mut without);
        empty += usize::from(before == items.len() && instances == 0);
    }
    if items.is_empty() {
        bail!(
            "`{}`: no instance with a reference in {}",
            dir.display(),
            counted(names.lines().count(), "test task")
        );
    }
    let left_out = [
        (empty, "tasks without instances"),
        (without, "instances without a reference"),
    ];
    Ok((
        items,
        left_out.into_iter().filter(|(count, _)| *count > 0).collect(),
    ))
}

/// Reads the file of a task, under either name of the one that was renamed.
fn read_task(dir: &Path, name: &str) -> Result<TaskFile> {
    if name.contains(['/', '\\']) {
        bail!(
            "`{}`: `{name}` is no name of a task",
            dir.join(TEST_TASKS).display()
        );
    }
    let path = |name: &str| dir.join("tasks").join(format!("{name}.json"));
    let mut file = path(name);
    if RENAMED.contains(&name) && !file.exists() {
        let other = RENAMED.iter().find(|other| **other != name).expect("two names");
        file = path(other);
    }
    let bytes = settings_file::read(&file, LONGEST)
        .with_context(|| format!("cannot read `{}`, which {TEST_TASKS} names", file.display()))?;
    let task: TaskFile = serde_json::from_slice(&bytes).with_context(|| {
        format!(
            "`{}` is no task of SuperNaturalInstructions\nhint: wanted are Definition and Instances with input and output",
            file.display()
        )
    })?;
    if task.definition.first().trim().is_empty() {
        bail!("`{}`: the definition is empty", file.display());
    }
    Ok(task)
}

/// Adds the instances of a task that have references.
fn add(items: &mut Vec<Item>, name: &str, task: TaskFile, settings: SuperniSettings, without: &mut usize) {
    let TaskFile {
        definition,
        categories,
        examples,
        instances,
    } = task;
    let category = categories
        .into_iter()
        .next()
        .filter(|category| !category.is_empty());
    let chosen = chosen(name, instances.len(), settings);
    let shown = &examples[..examples.len().min(settings.examples)];
    for (at, instance) in instances
        .into_iter()
        .enumerate()
        .filter(|(at, _)| chosen.contains(at))
    {
        let (prompt, is_cut) = prompt(definition.first(), shown, &instance.input);
        let references = instance.output.map_or(Vec::new(), Texts::all);
        let item = Item::of_row(
            format!("{name}-{at}"),
            name.to_owned(),
            Question::new(prompt),
            references,
        );
        if item.references.is_empty() {
            *without += 1;
            continue;
        }
        items.push(Item {
            category: category.clone(),
            instruction: definition.first().trim().to_owned(),
            input: instance.input,
            is_cut,
            ..item
        });
    }
}

/// The places of the instances that are asked, of a task with `count`: the first ones, or fewer of
/// the label-balanced ones by a shuffle of its own for each task.
fn chosen(name: &str, count: usize, settings: SuperniSettings) -> Vec<usize> {
    let balanced = count.min(BALANCED);
    if settings.instances >= balanced {
        return (0..count.min(settings.instances)).collect();
    }
    let digest = Sha256::digest(format!("ewe superni {} {name}", settings.seed));
    let mut rng = ChaCha8Rng::from_seed(digest.into());
    let mut places: Vec<usize> = (0..balanced).collect();
    for at in 0..settings.instances {
        let other = at as u64 + ((u128::from(rng.next_u64()) * (balanced - at) as u128) >> 64) as u64;
        places.swap(at, other as usize);
    }
    places.truncate(settings.instances);
    places
}

/// Returns the prompt of an instance, and whether its input was cut.
fn prompt(definition: &str, examples: &[TaskExample], input: &str) -> (String, bool) {
    let definition = format!("{}\n\n", ended(format!("Definition: {}", definition.trim())));
    let question = |input: &str| {
        let input = ended(format!("Now complete the following example -\nInput: {input}"));
        format!("{input}\nOutput: ")
    };
    let input = input.trim();
    let room = MOST_CHARACTERS.saturating_sub(characters(&definition) + characters(&question(input)));
    let mut shown = String::new();
    for (number, example) in (1..).zip(examples) {
        let more = format!(
            "{}\n{}\n\n",
            ended(format!(
                " Positive Example {number} -\nInput: {}",
                example.input.trim()
            )),
            ended(format!(" Output: {}", example.output.first().trim()))
        );
        if characters(&shown) + characters(&more) > room {
            break;
        }
        shown.push_str(&more);
    }
    let around = characters(&definition) + characters(&question(""));
    let most = MOST_CHARACTERS.saturating_sub(around).max(1);
    match input.char_indices().nth(most) {
        Some((end, _)) => (definition + &question(input[..end].trim_end()), true),
        None => (definition + &shown + &question(input), false),
    }
}

fn characters(text: &str) -> usize {
    text.chars().count()
}

/// Ends a text with a full stop, unless it ends in ASCII punctuation.
fn ended(mut text: String) -> String {
    if !text.ends_with(|c: char| c.is_ascii_punctuation()) {
        text.push('.');
    }
    text
}

/// The categories of Tk-Instruct's table that are measured by exact match; the others are by
/// ROUGE-L.
const BY_EXACT_MATCH: [&str; 6] = [
    "Textual Entailment",
    "Cause Effect Classification",
    "Coreference Resolution",
    "Dialogue Act Recognition",
    "Answerability Classification",
    "Word Analogy",
];

/// Returns the metric that Tk-Instruct's table has for a category.
pub fn metric(category: &str) -> &'static str {
    match BY_EXACT_MATCH
        .iter()
        .any(|name| name.eq_ignore_ascii_case(category))
    {
        true => "exact_match",
        false => "rougeL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(input: &str, output: &str) -> TaskExample {
        TaskExample {
            input: input.into(),
            output: Texts::One(output.into()),
        }
    }

    #[test]
    fn prompts_are_those_of_tk_instruct() {
        let (plain, is_cut) = prompt(" Name the animal ", &[], "It bleats");
        let expected = "Definition: Name the animal.\n\nNow complete the following example -\nInput: It bleats.\nOutput: ";
        assert_eq!((plain.as_str(), is_cut), (expected, false));
        let examples = [example("It barks!", "Dog"), example("It moos", "Cow.")];
        let (shown, _) = prompt("Name the animal?", &examples, "");
        let expected = "Definition: Name the animal?\n\n Positive Example 1 -\nInput: It barks!\n Output: Dog.\n\n \
                        Positive Example 2 -\nInput: It moos.\n Output: Cow.\n\nNow complete the following example -\nInput: .\nOutput: ";
        assert_eq!(shown, expected);
    }

    #[test]
    fn long_prompts_lose_examples_then_the_end_of_the_input() {
        let examples = [example("a", "b"), example(&"long ".repeat(1000), "b")];
        let (shown, is_cut) = prompt("Do it.", &examples, "x");
        assert!(shown.contains("Example 1") && !shown.contains("Example 2") && !is_cut);
        let (cut, is_cut) = prompt("Do it.", &examples, &"é".repeat(10_000));
        assert!(is_cut && cut.ends_with(".\nOutput: ") && !cut.contains("Example"));
        assert!((MOST_CHARACTERS - 1..=MOST_CHARACTERS + 1).contains(&characters(&cut)));
    }

    #[test]
    fn instances_are_the_first_or_some_of_the_balanced_ones() {
        let settings = |instances, seed| SuperniSettings {
            examples: 0,
            instances,
            seed,
        };
        assert_eq!(chosen("t", 500, settings(100, 1)), (0..100).collect::<Vec<_>>());
        assert_eq!(chosen("t", 7, settings(100, 1)), (0..7).collect::<Vec<_>>());
        assert_eq!(chosen("t", 500, settings(150, 1)).len(), 150);
        let mut few = chosen("t", 500, settings(20, 1));
        assert_eq!(few, chosen("t", 500, settings(20, 1)));
        assert_ne!(few, chosen("t", 500, settings(20, 2)));
        few.sort_unstable();
        few.dedup();
        assert!(few.len() == 20 && few.iter().all(|&at| at < 100));
        assert_eq!(metric("word analogy"), "exact_match");
        assert_eq!(metric("Title Generation"), "rougeL");
    }
}
