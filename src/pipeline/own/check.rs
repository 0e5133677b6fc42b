//! `ewe recipe check`: the prompts of a recipe with real tasks, and what its parsers read of the
//! sample answers in the file. Nothing is asked and nothing stored.

use super::super::pool::{Pool, ShownPool, first_instances};
use super::super::seeds;
use super::rounds::{OwnMethod, example_variable, passage_variable};
use crate::backend::FinishReason;
use crate::filter::Threshold;
use crate::filter::rules::RuleSet;
use crate::generate::examples::ExampleSampler;
use crate::generate::own::{MOST_ITEMS, OwnRecipe, RenderedPrompt, Variables};
use crate::interchange::{
    Reading,
    left_out::{LeftOut, Policy},
    notes::Notes,
};
use crate::prompt::alpaca::can_be_shown;
use crate::store::Store;
use crate::task::Instance;
use anyhow::{Result, anyhow};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The result of a check.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// The name of the recipe.
    pub name: String,
    /// The SHA-256 of its file.
    pub sha256: String,
    /// Its stages.
    pub stages: Vec<CheckedStage>,
    /// What comes of the sample answers.
    pub candidates: Vec<CheckedCandidate>,
}

/// A stage: what it would ask, and what it reads.
#[derive(Debug, Serialize)]
pub struct CheckedStage {
    /// Its name.
    pub name: String,
    /// The system message, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The text to continue, or the user's message.
    pub prompt: String,
    /// Whether these are messages.
    pub is_message: bool,
    /// Items of the sample answer; `None` without one.
    pub items: Option<Vec<CheckedItem>>,
}

/// An item of a sample answer.
#[derive(Debug, Serialize)]
pub struct CheckedItem {
    /// Its fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Map<String, Value>>,
    /// Why it cannot be used, with its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// A candidate of the sample answers.
#[derive(Debug, Serialize)]
pub struct CheckedCandidate {
    /// Its instruction.
    pub instruction: String,
    /// Its input.
    pub input: String,
    /// Its output.
    pub output: String,
    /// The rule of the default set that rejects it, with what it found.
    pub rejected: Option<String>,
}

/// Checks a recipe with the tasks and passages of a dataset, or else with the seeds that come with
/// ewe and a passage made up for the purpose.
///
/// # Errors
///
/// Names the template that cannot be rendered.
pub async fn check(recipe: &OwnRecipe, store: Option<&Store>) -> Result<Checked> {
    let (examples, passage) = match store {
        Some(store) => of_store(recipe, store).await?,
        None => (embedded(recipe.sampling.examples)?, made_up(recipe.passages)),
    };
    let mut variables = recipe.round_variables(examples, None, passage, (0, 0));
    // All branches go on with what the first item has.
    let mut branches = vec![variables.clone()];
    let mut stages = Vec::new();
    for stage in &recipe.stages {
        let rendered = stage.prompt.render(&variables).map_err(|what| failed(&what))?;
        let items = stage
            .sample
            .as_ref()
            .map(|sample| stage.parser.read(sample, FinishReason::Stop));
        let found: Vec<Map<String, Value>> = match &items {
            Some(items) => items.iter().filter_map(|item| item.fields.clone().ok()).collect(),
            None => vec![placeholders(stage.name, &stage.parser.fields())],
        };
        branches = branches
            .iter()
            .flat_map(|branch| {
                found.iter().map(move |fields| {
                    let mut grown: Variables = branch.clone();
                    grown.insert(stage.name.to_string(), Value::Object(fields.clone()));
                    grown
                })
            })
            .take(MOST_ITEMS)
            .collect();
        let next = found.into_iter().next();
        let next = next.unwrap_or_else(|| placeholders(stage.name, &stage.parser.fields()));
        variables.insert(stage.name.to_string(), Value::Object(next));
        let (system, prompt, is_message) = match rendered {
            RenderedPrompt::Text(text) => (None, text, false),
            RenderedPrompt::Messages(question) => {
                let system = Some(question.system).filter(|system| !system.is_empty());
                (system, question.instruction, true)
            }
        };
        stages.push(CheckedStage {
            name: stage.name.to_string(),
            system,
            prompt,
            is_message,
            items: items.map(|items| items.into_iter().map(checked_item).collect()),
        });
    }
    if branches.is_empty() {
        // Templates of the candidate are tried all the same.
        candidate(recipe, &variables)?;
    }
    let candidates = branches.iter().map(|branch| candidate(recipe, branch));
    Ok(Checked {
        name: recipe.name.clone(),
        sha256: recipe.sha256.clone(),
        stages,
        candidates: candidates.collect::<Result<_>>()?,
    })
}

fn failed(what: &str) -> anyhow::Error {
    anyhow!("{what}\nhint: docs/recipes.md has the variables of templates")
}

fn checked_item(item: crate::generate::own::item::Item) -> CheckedItem {
    let (fields, fault) = match item.fields {
        Ok(fields) => (Some(fields), None),
        Err(flaw) => {
            let found = match flaw.found.is_empty() {
                true => String::new(),
                false => format!(" ({})", flaw.found),
            };
            (
                None,
                Some(format!("{}{found}: {}", flaw.fault.reason(), item.text)),
            )
        }
    };
    CheckedItem { fields, fault }
}

/// Texts in place of the fields of a stage without a sample.
fn placeholders(stage: &str, fields: &[String]) -> Map<String, Value> {
    let texts = fields
        .iter()
        .map(|field| (field.clone(), Value::from(format!("«{stage}.{field}»"))));
    texts.collect()
}

/// The candidate of an item.
fn candidate(recipe: &OwnRecipe, variables: &Variables) -> Result<CheckedCandidate> {
    let form = &recipe.candidate;
    let text = |text: &crate::generate::own::template::Text| {
        let rendered = text.render(variables).map_err(|what| failed(&what))?;
        Ok::<_, anyhow::Error>(rendered.trim().to_string())
    };
    let (instruction, input, output) = (text(&form.instruction)?, text(&form.input)?, text(&form.output)?);
    let rules = RuleSet::read("default")?;
    let instance = Instance { input, output };
    let verdict = rules.check_instruction(&instruction).or_else(|| {
        let verdicts = rules.check_instances(&instruction, std::slice::from_ref(&instance));
        verdicts.into_iter().next().unwrap_or_default()
    });
    let Instance { input, output } = instance;
    Ok(CheckedCandidate {
        rejected: verdict.reason.map(|reason| match verdict.detail.is_empty() {
            true => reason.to_string(),
            false => format!("{reason} ({})", verdict.detail),
        }),
        instruction,
        input,
        output,
    })
}

/// What the first round of a new run would show.
async fn of_store(recipe: &OwnRecipe, store: &Store) -> Result<(Vec<Value>, Option<Value>)> {
    let entries = store.pool().await?;
    let pool = Pool::with_instances(entries, Threshold::SELF_INSTRUCT, first_instances(store).await?);
    let shown = ShownPool {
        pool: &pool,
        window: 1,
    };
    let next = store.next_round().await?;
    let sampled = ExampleSampler::new(recipe.sampling, 0, next).sample(next, &shown);
    let tasks = sampled.iter().filter_map(|&place| pool.prompt_task(place));
    let examples = tasks
        .map(|task| example_variable(task.instruction, task.instance))
        .collect();
    let method = OwnMethod::load(store, recipe, 0).await?;
    let passage = method.choose(0, next).as_ref().map(passage_variable);
    Ok((examples, passage))
}

/// The first seeds that come with ewe and can be shown.
fn embedded(count: usize) -> Result<Vec<Value>> {
    let reading = Reading::default();
    let seeds = seeds::read(
        None,
        &reading,
        &mut LeftOut::begin(&Policy::default(), true)?,
        &mut Notes::default(),
    )?;
    let shown = seeds.iter().filter_map(|seed| {
        let instance = seed.task.instances.first()?;
        can_be_shown(&seed.task.instruction, instance)
            .then(|| example_variable(&seed.task.instruction, instance))
    });
    Ok(shown.take(count).collect())
}

/// A passage for recipes that are checked without a dataset.
fn made_up(is_wanted: bool) -> Option<Value> {
    let text = "The farm of Mara keeps thirty sheep on the hills above the river. Their wool is spun in an old mill near \
                the bridge.";
    is_wanted.then(|| {
        json!({"about": "The Farm › Wool", "text": text, "answer": text, "language": "eng", "fence": "\"\"\""})
    })
}
