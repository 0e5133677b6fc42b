//! Rounds that make tasks from documents: what a passage answers (`grounded`), and what a passage
//! is the answer to (`backtranslation`). Answers are compared with their passage before the rules.

use super::super::outcome::{RoundOutcome, faulty};
use super::super::pool::Pool;
use super::super::{GenerateRun, NoAnswer};
use crate::documents::clean;
use crate::filter::elimination;
use crate::filter::grounding::{self, Limits, Source, orders};
use crate::generate::documents::{self, Choice, DraftTask, Passage, Passages};
use crate::generate::recipe::documents::{FromDocuments, Wanted};
use crate::prompt::documents::{self as prompt, Kind, NOT_THERE, Shown};
use crate::store::Store;
use crate::store::documents::grounding::NewGrounding;
use crate::task::{Candidate, Instance, InstanceCandidate, Reason, Verdict};
use crate::text::counted;
use anyhow::{Result, bail};

/// The only stage of a round of either recipe, as `request.stage` names it.
const GROUNDED: &str = "grounded";
const BACKTRANSLATION: &str = "backtranslation";

/// The most words in a row that an instruction may have from the answer that it is made for.
const MOST_OF_ANSWER: usize = 10;

/// A recipe with the passages of the dataset.
pub struct DocumentMethod<'a> {
    recipe: &'a FromDocuments,
    passages: Passages,
    /// Whether passages are answers.
    is_backwards: bool,
}

impl<'a> DocumentMethod<'a> {
    /// Loads the passages.
    ///
    /// # Errors
    ///
    /// If there are none to ask about.
    pub async fn load(
        store: &Store,
        recipe: &'a FromDocuments,
        is_backwards: bool,
        seed: u64,
    ) -> Result<DocumentMethod<'a>> {
        let passages = load_passages(store, recipe.fewest_words, seed).await?;
        Ok(DocumentMethod {
            recipe,
            passages,
            is_backwards,
        })
    }
}

/// Loads the passages of a dataset that have enough words, in the order of this seed.
///
/// # Errors
///
/// If there are none to ask about.
pub async fn load_passages(store: &Store, fewest_words: usize, seed: u64) -> Result<Passages> {
    let stored = store.passages().await?;
    let count = stored.len();
    let all = stored.into_iter().map(|passage| Passage {
        about: match (passage.title, passage.heading) {
            (Some(title), heading) if heading.starts_with(&title) => heading,
            (Some(title), heading) if heading.is_empty() => title,
            (Some(title), heading) => format!("{title} › {heading}"),
            (None, heading) => heading,
        },
        id: passage.id,
        document: passage.document_id,
        text: passage.text,
        language: passage.language,
    });
    let passages = Passages::new(all.collect(), fewest_words, seed);
    if passages.is_empty() {
        let path = store.path().display();
        match count {
            0 => bail!(
                "{path}: there is no passage of a document\nhint: `ewe add-documents --db {path} PATH` adds some"
            ),
            _ => bail!(
                "{path}: no passage has as many words as `fewest_words`, {}\nhint: `ewe add-documents` can cut larger passages",
                fewest_words
            ),
        }
    }
    Ok(passages)
}

impl GenerateRun<'_> {
    /// Runs a round up to its admission.
    pub(in crate::pipeline) async fn round_from_documents(
        &self,
        method: &DocumentMethod<'_>,
        round: u64,
    ) -> Result<RoundOutcome, NoAnswer> {
        let (shown, within) = self.sample_examples(round);
        let place = self.config.part.place(round);
        let Some(choice) = method.passages.choose(method.recipe, self.config.seed, place) else {
            return Ok(RoundOutcome::default());
        };
        match method.is_backwards {
            true => {
                self.backtranslate(method.recipe, round, &choice, &shown, within)
                    .await
            }
            false => self.ground(method.recipe, round, &choice, &shown, within).await,
        }
    }

    /// Asks for tasks that a passage answers.
    async fn ground(
        &self,
        recipe: &FromDocuments,
        round: u64,
        choice: &Choice<'_>,
        shown: &[usize],
        within: usize,
    ) -> Result<RoundOutcome, NoAnswer> {
        let passages: Vec<&Passage> = std::iter::once(choice.passage).chain(choice.other).collect();
        let texts: Vec<Shown<'_>> = passages.iter().map(|passage| of(passage)).collect();
        let prompt = match recipe.structured {
            true => prompt::structured(count(recipe, choice.kind), choice.kind, &texts),
            false => {
                let pool = self.pool.read().expect("no admission panicked");
                prompt::few_shot(&seeds(&pool, shown), recipe.examples, choice.kind, &texts)
            }
        };
        let asked = self
            .ask(round, GROUNDED, 0, prompt, recipe.sampling(Wanted::Tasks))
            .await;
        let mut response = match asked {
            Ok(response) => response,
            Err(NoAnswer::Failed(error)) => return Ok(RoundOutcome::failed(error)),
            Err(other) => return Err(other),
        };
        let grounding = Some(of_round(&passages, choice.kind));
        if response.completion.emptiness().is_some() {
            return Ok(RoundOutcome {
                grounding,
                ..RoundOutcome::empty(response)
            });
        }
        let id = response.id;
        let completion = response.completion.clone();
        let drafts = match recipe.structured {
            true => documents::tasks(&completion.text, completion.finish_reason),
            false => vec![documents::task(&completion.text, completion.finish_reason)],
        };
        let offered: Vec<_> = drafts
            .iter()
            .map(|draft| {
                (
                    draft.instruction.as_str(),
                    fault(draft).or_else(|| leak(recipe, choice.kind, draft)),
                )
            })
            .collect();
        let verdicts = self.check_instructions(&offered, within);
        let source = Source::new(&sources(&passages));
        let candidates: Vec<Candidate> = drafts
            .iter()
            .zip(verdicts)
            .map(|(draft, verdict)| {
                let mut candidate = Candidate::new(id, draft.instruction.clone(), verdict);
                if draft.fault.is_none() && candidate.verdict.is_accepted() {
                    let instance = instance(choice, draft);
                    let own = own_verdict(recipe, choice, &source, &passages, draft);
                    self.add_instance(&mut candidate, instance, own);
                }
                candidate
            })
            .collect();
        let offers = candidates.iter();
        response.settle_by(offers.map(|candidate| (candidate.instruction.as_str(), candidate.cause())));
        Ok(RoundOutcome {
            candidates,
            grounding,
            ..RoundOutcome::default()
        })
    }

    /// Asks for the instruction that a passage is the answer to.
    async fn backtranslate(
        &self,
        recipe: &FromDocuments,
        round: u64,
        choice: &Choice<'_>,
        shown: &[usize],
        within: usize,
    ) -> Result<RoundOutcome, NoAnswer> {
        let answer = clean::answer(&choice.passage.text, recipe.most_words, choice.form);
        let text = Shown {
            about: &choice.passage.about,
            text: &answer,
        };
        let prompt = match recipe.structured {
            true => prompt::structured_backtranslation(text),
            false => {
                let pool = self.pool.read().expect("no admission panicked");
                prompt::backtranslation(&seeds(&pool, shown), recipe.examples, text)
            }
        };
        let sampling = recipe.sampling(Wanted::Instruction);
        let asked = self.ask(round, BACKTRANSLATION, 0, prompt, sampling).await;
        let mut response = match asked {
            Ok(response) => response,
            Err(NoAnswer::Failed(error)) => return Ok(RoundOutcome::failed(error)),
            Err(other) => return Err(other),
        };
        let grounding = Some(of_round(&[choice.passage], Kind::Backtranslation));
        if response.completion.emptiness().is_some() {
            return Ok(RoundOutcome {
                grounding,
                ..RoundOutcome::empty(response)
            });
        }
        let completion = &response.completion;
        let draft = documents::instruction(&completion.text, completion.finish_reason, recipe.structured);
        let own = fault(&draft).or_else(|| backwards_verdict(choice.passage, &answer, &draft.instruction));
        let mut verdicts = self.check_instructions(&[(&draft.instruction, own)], within);
        let verdict = verdicts.pop().expect("a verdict for each text");
        let mut candidate = Candidate::new(response.id, draft.instruction, verdict);
        if candidate.verdict.is_accepted() {
            let instance = Instance {
                input: String::new(),
                output: answer,
            };
            self.add_instance(&mut candidate, instance, Verdict::accepted());
        }
        response.settle_by([(candidate.instruction.as_str(), candidate.cause())]);
        Ok(RoundOutcome {
            candidates: vec![candidate],
            grounding,
            ..RoundOutcome::default()
        })
    }

    /// Adds the only instance of a candidate, with its own verdict or else that of the rules.
    fn add_instance(&self, candidate: &mut Candidate, instance: Instance, own: Verdict) {
        let verdict = own.or_else(|| {
            let instances = std::slice::from_ref(&instance);
            let verdicts = self
                .config
                .rules
                .check_instances(&candidate.instruction, instances);
            verdicts.into_iter().next().unwrap_or_default()
        });
        if verdict.is_rejected() {
            candidate.verdict = Verdict::rejected(Reason::NoValidInstance, "");
        }
        candidate.instances.push(InstanceCandidate {
            request_id: candidate.request_id,
            instance,
            verdict,
        });
    }
}

/// The tasks of the pool that a prompt may show.
fn seeds<'p>(pool: &'p Pool, shown: &[usize]) -> Vec<crate::prompt::alpaca::PromptTask<'p>> {
    shown
        .iter()
        .filter_map(|&place| pool.prompt_task(place))
        .collect()
}

fn of(passage: &Passage) -> Shown<'_> {
    Shown {
        about: &passage.about,
        text: &passage.text,
    }
}

/// What answers are compared with: passages and their headings.
fn sources<'p>(passages: &[&'p Passage]) -> Vec<&'p str> {
    passages
        .iter()
        .flat_map(|passage| [passage.about.as_str(), passage.text.as_str()])
        .collect()
}

fn of_round(passages: &[&Passage], kind: Kind) -> NewGrounding {
    NewGrounding {
        passages: passages.iter().map(|passage| passage.id).collect(),
        kind: kind.as_str(),
    }
}

/// How many tasks of a kind a structured response is asked for: a passage has one summary.
fn count(recipe: &FromDocuments, kind: Kind) -> usize {
    match kind {
        Kind::Question | Kind::Extraction => recipe.tasks,
        _ => 1,
    }
}

fn fault(draft: &DraftTask) -> Verdict {
    draft.fault.map(|fault| faulty(fault, "")).unwrap_or_default()
}

/// Rejects a task that is an example of a few-shot prompt. A copied answer is not that of its
/// passage.
fn leak(recipe: &FromDocuments, kind: Kind, draft: &DraftTask) -> Verdict {
    if recipe.structured {
        return Verdict::accepted();
    }
    match elimination::example(&draft.instruction, prompt::shown(kind)) {
        Some(found) => Verdict::rejected(Reason::PromptLeak, found),
        None => Verdict::accepted(),
    }
}

/// The instance of a task. A question is asked without its passage; other work is on it.
fn instance(choice: &Choice<'_>, draft: &DraftTask) -> Instance {
    let input = match (choice.kind, choice.other) {
        (Kind::Question | Kind::Backtranslation, _) => String::new(),
        (_, Some(other)) => prompt::both(&choice.passage.text, &other.text),
        (_, None) => choice.passage.text.trim().to_string(),
    };
    let output = match choice.kind {
        Kind::Absent => NOT_THERE[(choice.form % NOT_THERE.len() as u64) as usize].to_string(),
        _ => draft.answer.clone(),
    };
    Instance { input, output }
}

/// Compares an answer with its passage.
fn own_verdict(
    recipe: &FromDocuments,
    choice: &Choice<'_>,
    source: &Source,
    passages: &[&Passage],
    draft: &DraftTask,
) -> Verdict {
    for passage in passages {
        let verdict = orders::check(&passage.text, &draft.instruction, &draft.answer);
        if verdict.is_rejected() {
            return verdict;
        }
    }
    let limits = Limits {
        support: match choice.kind {
            // Other words are what the task is for.
            Kind::Transformation => recipe.support / 2.0,
            _ => recipe.support,
        },
        copied: (choice.kind != Kind::Extraction).then_some(recipe.copied),
        names_of_instruction: choice.kind == Kind::Question,
    };
    match choice.kind {
        Kind::Absent if !grounding::is_about(source, &draft.instruction) => {
            Verdict::rejected(Reason::Ungrounded, "the question is about something else")
        }
        Kind::Absent if grounding::is_in_passage(source, &draft.instruction, &draft.answer) => {
            let answer = crate::text::one_line(&draft.answer, 80);
            Verdict::rejected(Reason::InThePassage, format!("'{answer}'"))
        }
        Kind::Absent => Verdict::accepted(),
        _ => grounding::check(source, &draft.instruction, &draft.answer, &limits),
    }
}

/// Compares an instruction with the passage that is to be its answer.
fn backwards_verdict(passage: &Passage, answer: &str, instruction: &str) -> Verdict {
    let source = Source::new(&[&passage.about, answer]);
    let obeys = orders::check(&passage.text, instruction, "");
    obeys.or_else(|| match grounding::longest_copy(&source, instruction) {
        run if run > MOST_OF_ANSWER => Verdict::rejected(
            Reason::CopiesPassage,
            format!("{} in a row are its own", counted(run, "word")),
        ),
        _ if !grounding::is_about(&source, instruction) => {
            Verdict::rejected(Reason::Ungrounded, "the instruction is about something else")
        }
        _ => Verdict::accepted(),
    })
}
