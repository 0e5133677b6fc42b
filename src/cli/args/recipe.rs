//! Options of `ewe generate` that say how tasks are asked for.

use super::number;
use super::words::is_file;
use crate::generate::own::OwnRecipe;
use crate::generate::recipe::file::{self, RecipeFile};
use crate::generate::recipe::turns::TurnRange;
use crate::generate::recipe::{Alpaca, Evolve, FromDocuments, Recipe, SelfInstruct, Turns};
use crate::generate::topics::Topics;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// How to prompt.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Prompts and sampling")]
pub struct Args {
    /// How to prompt: self-instruct (instructions, then their kind, then instances; Wang et al.
    /// 2023), alpaca (up to 17 complete tasks with one request; Taori et al. 2023), grounded (tasks
    /// that a passage of `ewe add-documents` answers), backtranslation (a passage is the answer:
    /// which instruction would it answer? Köksal et al. 2023), or a recipe of your own, a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "self-instruct")]
    pub recipe: Choice,

    /// Constants of recipes: a TOML file with tables [self-instruct], [alpaca],
    /// [grounded], [backtranslation], [evolve], [turns]; docs/recipes.md has them all
    #[arg(long, value_name = "FILE")]
    pub recipe_file: Option<PathBuf>,

    /// Have the endpoint hold its answers to a JSON Schema; for --recipe alpaca, grounded and
    /// backtranslation, for --turns, and models that follow instructions
    #[arg(long, conflicts_with = "model")]
    pub structured: bool,

    /// The part of the rounds that rewrite a task of the dataset, deeper or broader, instead of
    /// asking for new ones (Evol-Instruct)
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = number::part)]
    pub evolve: f64,

    /// Continue tasks of the dataset as conversations of N turns of the user, or of M to N, while
    /// there are any of a single turn; the model also writes what the user says
    #[arg(long, value_name = "N|M-N")]
    pub turns: Option<TurnRange>,

    /// Topics or personas, one a line: each round's new tasks have to do with the next one
    #[arg(long, value_name = "FILE")]
    pub topics: Option<PathBuf>,

    /// The share of grounded tasks that their text does not answer
    #[arg(long, value_name = "PART", default_value_t = 0.1, value_parser = number::part)]
    pub absent: f64,

    /// The least share of an answer's content words that its passage has; numbers and names must
    /// all be there
    #[arg(long, value_name = "PART", default_value_t = 0.6, value_parser = number::part)]
    pub min_support: f64,

    /// The most words in a row that an answer may copy from its passage
    #[arg(long, value_name = "N", default_value_t = 25,
        value_parser = clap::value_parser!(u32).range(1..=4000))]
    pub max_copied: u32,

    /// Temperature for new instructions [default: the recipe's; 1 for alpaca, 0.7 for the
    /// others]
    #[arg(long, value_name = "T", value_parser = number::temperature)]
    pub temperature: Option<f64>,

    /// Nucleus for new instructions and instances [default: the recipe's; 1 for alpaca, 0.9 for
    /// the others]
    #[arg(long, value_name = "P", value_parser = number::part)]
    pub top_p: Option<f64>,

    /// Penalty on tokens that stand in the prompt or the answer already; 1 is none [default: the
    /// recipe's; 1.05 for self-instruct, 1 for the others]
    #[arg(long, value_name = "X", value_parser = number::divisor)]
    pub repetition_penalty: Option<f64>,

    /// Penalty on tokens that stand in the answer already [default: the recipe's, 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = number::penalty)]
    pub presence_penalty: Option<f64>,
}

/// The value of `--recipe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Wang et al. 2023: instructions, then their kind, then instances.
    SelfInstruct,
    /// Taori et al. 2023: up to 17 complete tasks with one request.
    Alpaca,
    /// Tasks that a passage of `ewe add-documents` answers: questions, extraction, summaries and
    /// other work on it, comparisons, and questions that it does not answer.
    Grounded,
    /// A passage is the answer: which instruction would it answer? (Köksal et al. 2023, Li et al.
    /// 2023)
    Backtranslation,
    /// A recipe of the user's.
    File(PathBuf),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(word: &str) -> Result<Choice, String> {
        Ok(match word {
            "self-instruct" => Choice::SelfInstruct,
            "alpaca" => Choice::Alpaca,
            "grounded" => Choice::Grounded,
            "backtranslation" => Choice::Backtranslation,
            // A word that is neither a name nor looks like a file is a mistyped name.
            _ if is_file(word) => Choice::File(word.into()),
            _ => {
                return Err(
                    "expected self-instruct, alpaca, grounded, backtranslation, or a TOML file".to_string(),
                );
            }
        })
    }
}

impl Args {
    /// The recipe with its constants: what an option says goes before what the file says, that
    /// before the default.
    ///
    /// # Errors
    ///
    /// Names the file and line, or the constant, that is not what it should be.
    pub fn recipe(&self) -> Result<Recipe> {
        let recipe = match &self.recipe {
            Choice::SelfInstruct => {
                let mut recipe = self.constants("self-instruct", |file| file.self_instruct)?;
                if self.structured && self.turns.is_none() {
                    bail!("--structured is for complete tasks\nhint: choose --recipe alpaca");
                }
                let SelfInstruct {
                    temperature,
                    top_p,
                    repetition_penalty,
                    presence_penalty,
                    ..
                } = &mut recipe;
                self.override_with(temperature, top_p, repetition_penalty, presence_penalty);
                Recipe::SelfInstruct(recipe)
            }
            Choice::Alpaca => {
                let mut recipe = self.constants("alpaca", |file| file.alpaca)?;
                recipe.structured = self.structured;
                let Alpaca {
                    temperature,
                    top_p,
                    repetition_penalty,
                    presence_penalty,
                    ..
                } = &mut recipe;
                self.override_with(temperature, top_p, repetition_penalty, presence_penalty);
                Recipe::Alpaca(recipe)
            }
            Choice::Grounded => Recipe::Grounded(self.documents_recipe("grounded", |file| file.grounded)?),
            Choice::Backtranslation => Recipe::Backtranslation(
                self.documents_recipe("backtranslation", |file| file.backtranslation)?,
            ),
            Choice::File(path) => Recipe::File(self.own(path)?),
        };
        self.checked(recipe.check())?;
        Ok(recipe)
    }

    /// A recipe of the user's.
    fn own(&self, path: &Path) -> Result<Arc<OwnRecipe>> {
        if self.recipe_file.is_some() && self.evolve == 0.0 && self.turns.is_none() {
            bail!(
                "`--recipe-file` has constants of built-in recipes, and `{}` is a recipe itself\nhint: leave it away, or rewrite \
                 some tasks with --evolve",
                path.display()
            );
        }
        OwnRecipe::read(path)
    }

    /// The constants of a recipe that makes tasks from documents.
    fn documents_recipe(
        &self,
        table: &str,
        of: impl FnOnce(RecipeFile) -> Option<FromDocuments>,
    ) -> Result<FromDocuments> {
        let mut recipe = self.constants(table, of)?;
        recipe.structured = self.structured;
        recipe.absent = self.absent;
        recipe.support = self.min_support;
        recipe.copied = self.max_copied as usize;
        let FromDocuments {
            temperature,
            top_p,
            repetition_penalty,
            presence_penalty,
            ..
        } = &mut recipe;
        self.override_with(temperature, top_p, repetition_penalty, presence_penalty);
        Ok(recipe)
    }

    /// The constants of the recipe file; without one, none.
    fn file(&self) -> Result<RecipeFile> {
        let file = self.recipe_file.as_deref().map(file::read);
        file.transpose().map(Option::unwrap_or_default)
    }

    /// Rounds that rewrite a task, where there are any, with their constants. Kind and instances of
    /// such a task are asked for with the constants of Self-Instruct, whatever the recipe.
    ///
    /// # Errors
    ///
    /// As [`Args::recipe`].
    pub fn evolve(&self, recipe: &Recipe) -> Result<Option<Evolve>> {
        if self.evolve == 0.0 {
            return Ok(None);
        }
        let file = self.file()?;
        let stages = match recipe {
            Recipe::SelfInstruct(recipe) => recipe.clone(),
            _ => file.self_instruct.unwrap_or_default(),
        };
        let evolve = file.evolve.unwrap_or_default().with(self.evolve, stages);
        self.checked(evolve.check())?;
        Ok(Some(evolve))
    }

    /// How tasks are continued as conversations, if they are, with the constants.
    ///
    /// # Errors
    ///
    /// As [`Args::recipe`].
    pub fn turns(&self) -> Result<Option<Turns>> {
        let Some(range) = self.turns else {
            return Ok(None);
        };
        let file = self.file()?;
        let turns = Turns {
            turns: range,
            structured: self.structured,
            ..file.turns.unwrap_or_default()
        };
        self.checked(turns.check())?;
        Ok(Some(turns))
    }

    /// An error that names the file, where there is one.
    fn checked(&self, constants: Result<(), String>) -> Result<()> {
        match (constants, &self.recipe_file) {
            (Ok(()), _) => Ok(()),
            (Err(error), Some(file)) => bail!("{}: {error}", file.display()),
            (Err(error), None) => bail!(error),
        }
    }

    /// What the file says of a recipe; the defaults without a file.
    fn constants<T: Default>(&self, table: &str, of: impl FnOnce(RecipeFile) -> Option<T>) -> Result<T> {
        let Some(path) = &self.recipe_file else {
            return Ok(T::default());
        };
        of(file::read(path)?).with_context(|| {
            let path = path.display();
            format!("{path}: there is no table [{table}]\nhint: name it, or choose another --recipe")
        })
    }

    /// The topics of `--topics`; none without it.
    pub fn topics(&self) -> Result<Topics> {
        Ok(self
            .topics
            .as_deref()
            .map(Topics::read)
            .transpose()?
            .unwrap_or_default())
    }

    fn override_with(
        &self,
        temperature: &mut f64,
        top_p: &mut f64,
        repetition_penalty: &mut f64,
        presence_penalty: &mut f64,
    ) {
        let options = [
            (temperature, self.temperature),
            (top_p, self.top_p),
            (repetition_penalty, self.repetition_penalty),
            (presence_penalty, self.presence_penalty),
        ];
        for (constant, option) in options {
            *constant = option.unwrap_or(*constant);
        }
    }
}
