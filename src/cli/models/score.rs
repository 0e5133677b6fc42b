//! `ewe score`

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::complete::ModelArgs;
use crate::cli::args::reading::ReadingArgs;
use crate::interchange::Need;
use crate::job::rows::{PromptFormat, RowsFile};
use crate::job::score::{ScoreJob, ScoredRows};
use crate::prompt::template::{Template, TemplateChoice};

/// Arguments of `ewe score`.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("rows").required(true))]
#[command(after_help = "\
With --db, each answer of the dataset is scored twice: after its instruction,
laid out as `ewe train` does, and alone. The ratio of both is the
instruction-following difficulty (IFD, Li et al. 2023): near 0 the instruction
tells the whole answer; from 1 on it does not help at all, so that the two may
not belong together. A killed command goes on where it was when it is started
again. `ewe list --db farm.db --sort ifd` lists the tasks by it.")]
pub struct Args {
    /// The model
    #[command(flatten)]
    pub model: ModelArgs,

    /// Lay rows out as messages by the chat template, with system message and input, as `ewe train`
    /// does, and score what it would train on, including the end of the answer. With --db, rows are
    /// laid out as messages anyway: without --chat by Alpaca's template, the default of `ewe train`
    #[arg(long)]
    pub chat: bool,

    /// With --chat, how messages become a prompt: as in `ewe chat`
    #[arg(long, value_name = "NAME|FILE", requires = "chat")]
    pub template: Option<TemplateChoice>,

    /// Rows in any format that `ewe import` reads. The answer is scored, after the prompt; rows of
    /// prompt and completion are taken as they are
    #[arg(long, value_name = "FILE", group = "rows")]
    pub data: Option<PathBuf>,

    /// How the file is read
    #[command(flatten)]
    pub reading: ReadingArgs,

    /// Dataset whose answers are scored with and without their instructions, all except those of
    /// rejected tasks. The results are stored in it
    #[arg(long, value_name = "FILE", group = "rows")]
    pub db: Option<PathBuf>,

    /// Receives the rows {row, tokens, nll}; `-` is standard output. nll is in nats, summed over
    /// the tokens of the completion. With --db not needed, and the rows are {instance_id, tokens,
    /// nll, nll_alone}, both in nats a token
    #[arg(long, value_name = "FILE.jsonl", required_unless_present = "db")]
    pub out: Option<PathBuf>,
}

impl Args {
    /// Returns what the command does.
    ///
    /// # Errors
    ///
    /// When columns are mapped that do not go together.
    pub fn job(&self) -> Result<ScoreJob> {
        let rows = match (&self.db, &self.data, &self.out) {
            (Some(db), _, out) => ScoredRows::Dataset {
                db: db.clone(),
                out: out.clone(),
            },
            (None, Some(path), Some(out)) => ScoredRows::File {
                rows: RowsFile {
                    path: path.clone(),
                    reading: self.reading.reading(Need::Pair)?,
                    left_out: self.reading.policy(),
                },
                out: out.clone(),
            },
            _ => bail!("neither --db nor --data with --out was given"),
        };
        Ok(ScoreJob {
            model: self.model.spec(),
            format: match (self.chat, &rows) {
                (true, _) => PromptFormat::Chat(self.template.clone()),
                (false, ScoredRows::File { .. }) => PromptFormat::Text,
                (false, ScoredRows::Dataset { .. }) => {
                    PromptFormat::Chat(Some(TemplateChoice::Known(Template::Alpaca)))
                }
            },
            rows,
        })
    }
}
