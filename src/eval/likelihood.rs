//! The likelihood of references, for `ewe eval`: of the tokens that `ewe train` would train on, the
//! end of the answer included.

use anyhow::{Result, bail};
use ewe::job::model::ModelSpec;
use ewe::job::rows::PromptFormat;
use ewe::pipeline::evaluate::models::{LikelihoodRow, TokenLoss};

use super::nll::{batches, score_batch};
use super::rows::EvalRow;
use super::score::encode;
use crate::engine::open;
use crate::model::text::chat_template::ChatMessage;
use crate::model::text::conversation_template::ConversationTemplate;

/// Computes the likelihood of each reference under a model; none for rows that are longer than its
/// context, or that it cannot be asked at all. `show` gets the number of rows that are done.
///
/// # Errors
///
/// If the model cannot be loaded, or its scores are no finite numbers.
pub fn of(
    spec: &ModelSpec,
    format: &PromptFormat,
    rows: &[LikelihoodRow<'_>],
    show: &mut dyn FnMut(usize),
) -> Result<Vec<Option<TokenLoss>>> {
    let loaded = open::load(spec)?;
    let template = match format {
        PromptFormat::Chat(choice) => Some(ConversationTemplate::for_inference(
            choice.as_ref(),
            &loaded.tokenizer,
        )?),
        PromptFormat::Text => None,
    };
    let context = loaded.model.info().context;
    let rows = rows.iter().enumerate().map(|(at, row)| eval_row(at, row));
    let rows: Vec<EvalRow> = rows.collect();
    let mut encoded: Vec<_> = rows
        .iter()
        // What the template refuses, such as a system message, has failed as a question, too.
        .filter_map(|row| encode(row, template.as_ref(), &loaded.tokenizer).ok())
        .filter(|row| row.ids.len() <= context && row.positions().next().is_some_and(|at| at > 0))
        .collect();
    let mut losses = vec![None; rows.len()];
    let mut done = rows.len() - encoded.len();
    show(done);
    for batch in batches(&mut encoded) {
        for score in score_batch(&loaded, batch) {
            if !score.nll.is_finite() {
                bail!(
                    "the nll of a reference is {}: the model's scores are no finite numbers\nhint: --dtype fp32 has more room; or \
                     the weights of the model, or of its adapter, are damaged",
                    score.nll
                );
            }
            losses[score.row] = Some(TokenLoss {
                tokens: score.tokens,
                nll: score.nll,
            });
        }
        done += batch.len();
        show(done);
    }
    Ok(losses)
}

/// A row as `ewe score` takes it. As a text, the reference begins on a line of its own.
fn eval_row(row: usize, of: &LikelihoodRow<'_>) -> EvalRow {
    let question = of.question;
    let mut prompt = question.text();
    if !prompt.ends_with(char::is_whitespace) {
        prompt.push('\n');
    }
    EvalRow {
        row,
        prompt,
        messages: ChatMessage::of_row(&question.system, &question.instruction, &question.input),
        answer: ChatMessage::new("assistant", of.reference),
    }
}
