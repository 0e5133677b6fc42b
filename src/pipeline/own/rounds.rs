//! Rounds of a recipe that the user wrote: stage by stage, each asked once for every item of the
//! one before. Once its instruction is known, an item is a candidate, which the rules see before
//! anything more is asked about it; later stages bring its instances.

use super::super::ask::Response;
use super::super::documents::load_passages;
use super::super::outcome::{RoundOutcome, faulty};
use super::super::{GenerateConfig, GenerateRun, NoAnswer};
use crate::backend::{Question, Sampling};
use crate::documents::clean;
use crate::filter::grounding::{self, Limits, Source, orders};
use crate::generate::documents::{Choice, Passage, Passages};
use crate::generate::own::item::Item;
use crate::generate::own::{MOST_ITEMS, OwnRecipe, RenderedPrompt, Stage, Variables};
use crate::generate::parse::is_no_input;
use crate::generate::recipe::{FromDocuments, Recipe};
use crate::generate::round::request_seed;
use crate::store::Store;
use crate::store::documents::grounding::NewGrounding;
use crate::task::{Candidate, Instance, InstanceCandidate, Reason, Verdict};
use anyhow::{Result, anyhow, bail};
use futures::future::join_all;
use serde_json::{Value, json};

/// The fewest words of a passage.
const FEWEST_WORDS: usize = 15;
/// The most words of a passage as an answer.
const ANSWER_WORDS: usize = 250;
/// The kind of the groundings of such rounds.
const KIND: &str = "own";

/// A recipe of the user's, with the passages that it asks about.
pub struct OwnMethod<'a> {
    recipe: &'a OwnRecipe,
    passages: Option<Passages>,
}

impl<'a> OwnMethod<'a> {
    /// Loads the passages, if the recipe has any.
    ///
    /// # Errors
    ///
    /// If there are none to ask about.
    pub async fn load(store: &Store, recipe: &'a OwnRecipe, seed: u64) -> Result<OwnMethod<'a>> {
        let passages = match recipe.passages {
            true => Some(load_passages(store, FEWEST_WORDS, seed).await?),
            false => None,
        };
        Ok(OwnMethod { recipe, passages })
    }

    /// The passage of a round.
    pub fn choose(&self, seed: u64, place: u64) -> Option<Choice<'_>> {
        let plain = FromDocuments::default();
        self.passages.as_ref()?.choose(&plain, seed, place)
    }
}

/// Refuses a recipe that is not what it was when this dataset last asked with it.
///
/// # Errors
///
/// Names the recipe, the run, and the way out.
pub(in crate::pipeline) async fn refuse_changed(store: &Store, config: &GenerateConfig) -> Result<()> {
    let Recipe::File(recipe) = &config.recipe else {
        return Ok(());
    };
    for (run, settings, _) in store.runs_of("generate").await? {
        let of = &settings["recipe"];
        if of["name"] != "file" || of["recipe"] != recipe.name.as_str() || !store.has_asked(run).await? {
            continue;
        }
        if of["sha256"] == recipe.sha256.as_str() {
            return Ok(());
        }
        bail!(
            "the recipe `{}` is not what it was in run {run} of this dataset\nhint: give its `name` another value in the file \
             to begin with it anew; `select config ->> '$.recipe.text' from run where id = {run}` is what it was",
            recipe.name
        );
    }
    Ok(())
}

/// What templates know of a passage.
pub(in crate::pipeline) fn passage_variable(choice: &Choice<'_>) -> Value {
    let Passage {
        about,
        text,
        language,
        ..
    } = choice.passage;
    let runs = text.split(|c| c != '"').map(str::len);
    json!({
        "about": about,
        "text": text,
        "language": language,
        "answer": clean::answer(text, ANSWER_WORDS, choice.form),
        "fence": "\"".repeat(runs.max().unwrap_or(0).max(2) + 1),
    })
}

/// What templates know of a task that is shown.
pub(in crate::pipeline) fn example_variable(instruction: &str, instance: &Instance) -> Value {
    json!({"instruction": instruction, "input": instance.input, "output": instance.output})
}

/// An item of a stage, with the fields of all stages up to it.
#[derive(Clone)]
struct Branch {
    variables: Variables,
    /// The response that its last fields are from; 0 before any.
    request_id: i64,
    /// The text of its last part.
    text: String,
}

/// What a stage said of a branch.
struct Said<'r> {
    response: Response<'r>,
    items: Vec<Item>,
}

/// The outcome of a request that was sent: what it said, or that it failed.
type Asked<'r> = Result<Said<'r>, String>;

/// What all branches of a round share.
struct Shared<'a> {
    recipe: &'a OwnRecipe,
    round: u64,
    /// How many tasks of the pool instructions are compared with.
    within: usize,
    source: Option<(Source, &'a str)>,
}

impl GenerateRun<'_> {
    /// [`GenerateRun::ask`] with messages instead of a text to continue.
    async fn ask_question(
        &self,
        round: u64,
        stage: &'static str,
        ordinal: usize,
        question: &Question,
        mut sampling: Sampling,
    ) -> Result<Response<'_>, NoAnswer> {
        sampling.seed = request_seed(self.config.seed, self.config.part.place(round), stage, ordinal);
        self.asker
            .ask_in_round(round, stage, ordinal as u64, question, sampling)
            .await
    }

    /// Runs a round up to its admission.
    pub(in crate::pipeline) async fn own_recipe(
        &self,
        method: &OwnMethod<'_>,
        round: u64,
    ) -> Result<RoundOutcome, NoAnswer> {
        let recipe = method.recipe;
        let (shown, within) = self.sample_examples(round);
        let place = self.config.part.place(round);
        let choice = method.choose(self.config.seed, place);
        let examples = {
            let pool = self.pool.read().expect("no admission panicked");
            let tasks = shown.iter().filter_map(|&i| pool.prompt_task(i));
            tasks
                .map(|task| example_variable(task.instruction, task.instance))
                .collect()
        };
        let passage = choice.as_ref().map(passage_variable);
        let topic = self.config.topic(round);
        let variables = recipe.round_variables(examples, topic, passage, (self.config.seed, place));
        let shared = Shared {
            recipe,
            round,
            within,
            source: choice.as_ref().map(|choice| {
                let texts = [choice.passage.about.as_str(), choice.passage.text.as_str()];
                (Source::new(&texts), choice.passage.text.as_str())
            }),
        };
        let first = Branch {
            variables,
            request_id: 0,
            text: String::new(),
        };
        let mut outcome = self.candidates(&shared, first).await?;
        outcome.grounding = choice.map(|choice| NewGrounding {
            passages: vec![choice.passage.id],
            kind: KIND,
        });
        Ok(outcome)
    }

    /// Asks the stages up to the one that completes the instructions, has these checked, and
    /// develops those that are accepted.
    async fn candidates(&self, shared: &Shared<'_>, first: Branch) -> Result<RoundOutcome, NoAnswer> {
        let mut outcome = RoundOutcome::default();
        let mut branches = vec![first];
        for (number, stage) in shared.recipe.stages.iter().enumerate() {
            let asked = self.ask_all(shared, stage, &branches, 0).await?;
            let mut next = Vec::new();
            let mut answers = Vec::new();
            for (branch, asked) in branches.iter().zip(asked) {
                match asked {
                    Err(error) if number == 0 => return Ok(RoundOutcome::failed(error)),
                    Err(error) => {
                        let verdict = Verdict::rejected(Reason::RequestFailed, error);
                        let candidate = Candidate::new(branch.request_id, branch.text.clone(), verdict);
                        outcome.candidates.push(candidate);
                    }
                    Ok(said) => {
                        let from = next.len();
                        grow(branch, stage, &said, &mut next, &mut outcome.candidates);
                        answers.push((said.response, from..next.len()));
                    }
                }
            }
            branches = next;
            if number == shared.recipe.candidate.known_after {
                let developed = self.develop_all(shared, branches, answers).await?;
                outcome.candidates.extend(developed);
                return Ok(outcome);
            }
            for (mut response, items) in answers {
                response.settle(!items.is_empty());
            }
        }
        Ok(outcome)
    }

    /// Checks the instructions of the branches, and develops those that are accepted.
    async fn develop_all(
        &self,
        shared: &Shared<'_>,
        branches: Vec<Branch>,
        answers: Vec<(Response<'_>, std::ops::Range<usize>)>,
    ) -> Result<Vec<Candidate>, NoAnswer> {
        let form = &shared.recipe.candidate;
        let instructions: Vec<String> = branches
            .iter()
            .map(|branch| {
                Ok(form
                    .instruction
                    .render(&branch.variables)
                    .map_err(fatal)?
                    .trim()
                    .to_string())
            })
            .collect::<Result<_, NoAnswer>>()?;
        let texts: Vec<(&str, Verdict)> = instructions
            .iter()
            .zip(&branches)
            .map(|(text, branch)| match text.is_empty() {
                true => (
                    branch.text.as_str(),
                    Verdict::rejected(Reason::Unparsed, "no instruction"),
                ),
                false => (text.as_str(), Verdict::accepted()),
            })
            .collect();
        let verdicts = self.check_instructions(&texts, shared.within);
        let last = form.known_after + 1 == shared.recipe.stages.len();
        let developing = branches.iter().zip(&texts).zip(verdicts).enumerate().map(
            |(ordinal, ((branch, (text, _)), verdict))| {
                let candidate = Candidate::new(branch.request_id, text.to_string(), verdict);
                self.develop_own(shared, ordinal, candidate, branch)
            },
        );
        let candidates = join_all(developing)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        for (mut response, range) in answers {
            let offers = candidates[range].iter();
            // Later stages have responses of their own to answer for their instances.
            response.settle_by(offers.map(|candidate| {
                let verdict = if last {
                    candidate.cause()
                } else {
                    &candidate.verdict
                };
                (candidate.instruction.as_str(), verdict)
            }));
        }
        Ok(candidates)
    }

    /// Asks the remaining stages about a candidate, unless it is rejected, and adds its instances.
    async fn develop_own(
        &self,
        shared: &Shared<'_>,
        ordinal: usize,
        mut candidate: Candidate,
        branch: &Branch,
    ) -> Result<Candidate, NoAnswer> {
        if candidate.verdict.is_rejected() {
            return Ok(candidate);
        }
        let mut branches = vec![branch.clone()];
        let stages = &shared.recipe.stages[shared.recipe.candidate.known_after + 1..];
        let mut failure = None;
        let mut answers = Vec::new();
        for stage in stages {
            let asked = self.ask_all(shared, stage, &branches, ordinal).await?;
            let mut next = Vec::new();
            for (branch, asked) in branches.iter().zip(asked) {
                let said = match asked {
                    Ok(said) => said,
                    Err(error) => {
                        failure = Some(error);
                        continue;
                    }
                };
                let mut flawed = Vec::new();
                let from = next.len();
                grow(branch, stage, &said, &mut next, &mut flawed);
                candidate
                    .instances
                    .extend(flawed.into_iter().map(|part| InstanceCandidate {
                        request_id: part.request_id,
                        instance: Instance {
                            input: String::new(),
                            output: part.instruction,
                        },
                        verdict: part.verdict,
                    }));
                answers.push((said.response, next.len() > from));
            }
            branches = next;
        }
        for branch in &branches {
            let instance = self.instance(shared, &candidate.instruction, branch)?;
            candidate.instances.push(instance);
        }
        let accepted = candidate
            .instances
            .iter()
            .any(|instance| instance.verdict.is_accepted());
        for (mut response, has_items) in answers {
            let id = response.id;
            let own = candidate
                .instances
                .iter()
                .filter(|instance| instance.request_id == id);
            let offers: Vec<_> = own
                .map(|instance| (instance.instance.output.as_str(), &instance.verdict))
                .collect();
            match offers.is_empty() {
                true => response.settle(has_items),
                false => response.settle_by(offers),
            }
        }
        candidate.verdict = match (accepted, candidate.instances.is_empty(), failure) {
            (true, ..) => Verdict::accepted(),
            (false, true, Some(error)) => Verdict::rejected(Reason::RequestFailed, error),
            _ => Verdict::rejected(Reason::NoValidInstance, ""),
        };
        Ok(candidate)
    }

    /// Makes the instance of a branch, with its verdict.
    fn instance(
        &self,
        shared: &Shared<'_>,
        instruction: &str,
        branch: &Branch,
    ) -> Result<InstanceCandidate, NoAnswer> {
        let form = &shared.recipe.candidate;
        let text = |text: &crate::generate::own::template::Text| {
            let rendered = text.render(&branch.variables).map_err(fatal)?;
            Ok::<_, NoAnswer>(rendered.trim().to_string())
        };
        let input = text(&form.input)?;
        let instance = Instance {
            input: if is_no_input(&input) { String::new() } else { input },
            output: text(&form.output)?,
        };
        let own = match (&shared.source, form.grounded) {
            _ if instance.output.is_empty() => Verdict::rejected(Reason::Unparsed, "no output"),
            (Some((source, passage)), Some(limits)) => {
                let limits = Limits {
                    support: limits.support,
                    copied: Some(limits.copied),
                    names_of_instruction: false,
                };
                orders::check(passage, instruction, &instance.output)
                    .or_else(|| grounding::check(source, instruction, &instance.output, &limits))
            }
            _ => Verdict::accepted(),
        };
        let verdict = own.or_else(|| {
            let instances = std::slice::from_ref(&instance);
            let verdicts = self.config.rules.check_instances(instruction, instances);
            verdicts.into_iter().next().unwrap_or_default()
        });
        Ok(InstanceCandidate {
            request_id: branch.request_id,
            instance,
            verdict,
        })
    }

    /// Asks a stage about several branches of the candidate with this number, at once.
    async fn ask_all(
        &self,
        shared: &Shared<'_>,
        stage: &Stage,
        branches: &[Branch],
        number: usize,
    ) -> Result<Vec<Asked<'_>>, NoAnswer> {
        let asking = branches.iter().enumerate().map(|(at, branch)| {
            let ordinal = number * MOST_ITEMS + at;
            self.ask_about(shared.round, stage, ordinal, branch)
        });
        join_all(asking).await.into_iter().collect()
    }

    /// Asks a stage about a branch.
    async fn ask_about(
        &self,
        round: u64,
        stage: &Stage,
        ordinal: usize,
        branch: &Branch,
    ) -> Result<Asked<'_>, NoAnswer> {
        let prompt = stage.prompt.render(&branch.variables).map_err(fatal)?;
        let sampling = stage.sampling.clone();
        let asked = match prompt {
            RenderedPrompt::Text(text) => self.ask(round, stage.name, ordinal, text, sampling).await,
            RenderedPrompt::Messages(question) => {
                self.ask_question(round, stage.name, ordinal, &question, sampling)
                    .await
            }
        };
        let response = match asked {
            Ok(response) => response,
            Err(NoAnswer::Failed(error)) => return Ok(Err(error)),
            Err(other) => return Err(other),
        };
        let completion = &response.completion;
        let items = match completion.emptiness() {
            Some(_) => Vec::new(),
            None => stage.parser.read(&completion.text, completion.finish_reason),
        };
        Ok(Ok(Said { response, items }))
    }
}

/// Adds the items of an answer to the branches, and those that cannot be used to the candidates.
fn grow(
    branch: &Branch,
    stage: &Stage,
    said: &Said<'_>,
    branches: &mut Vec<Branch>,
    candidates: &mut Vec<Candidate>,
) {
    let id = said.response.id;
    if let Some(empty) = said.response.completion.emptiness() {
        let verdict = Verdict::rejected(Reason::EmptyAnswer, empty);
        candidates.push(Candidate::new(id, String::new(), verdict));
        return;
    }
    for item in &said.items {
        match &item.fields {
            Err(flaw) => {
                let verdict = faulty(flaw.fault, &flaw.found);
                candidates.push(Candidate::new(id, item.text.clone(), verdict));
            }
            Ok(_) if branches.len() >= MOST_ITEMS => {
                let verdict = Verdict::rejected(Reason::Unparsed, format!("more than {MOST_ITEMS} items"));
                candidates.push(Candidate::new(id, item.text.clone(), verdict));
            }
            Ok(fields) => {
                let mut variables = branch.variables.clone();
                variables.insert(stage.name.to_string(), Value::Object(fields.clone()));
                branches.push(Branch {
                    variables,
                    request_id: id,
                    text: item.text.clone(),
                });
            }
        }
    }
}

/// A template that cannot be rendered ends the run: no round could go on.
fn fatal(what: String) -> NoAnswer {
    NoAnswer::Fatal(anyhow!(
        "{what}\nhint: `ewe recipe check` tries the templates of a recipe"
    ))
}
