//! `ewe score`: negative log-likelihood of completions.
//!
//! Shapes: `b` rows, `t` tokens of the longest, `d` hidden features, `v` vocabulary, `n` scored tokens.

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ewe::cli::models::score::Args;
use ewe::interchange::read::Need;
use ewe::progress::Progress;
use ewe::text::counted;
use serde::Serialize;
use tch::{Kind, Tensor};

use super::rows::{self, Row};
use crate::model::attention::ForwardPass;
use crate::model::chat_template::Message;
use crate::model::conversation_template::ConversationTemplate;
use crate::model::hub::{self, Want};
use crate::model::tokenizer::Tokenizer;
use crate::model::{LoadedModel, open};

/// The most tokens, padding included, of one forward pass.
const BATCH_TOKENS: usize = 4096;
/// The most scored tokens whose scores over the whole vocabulary are held at once: 256 MiB of fp32 at 262,144.
const HEAD_TOKENS: i64 = 256;

/// A row of `--out`.
#[derive(Debug, Serialize)]
pub struct Score {
    /// Number of the row in the input, from 0.
    pub row: usize,
    /// Tokens of the completion.
    pub tokens: usize,
    /// Their negative log-likelihood, summed, in nats.
    pub nll: f64,
}

/// Runs the command.
pub fn run(args: &Args, quiet: bool) -> Result<()> {
    let rows = rows::read(&args.data, &args.reading, Need::Pair, quiet)?;
    ewe::atomic_file::check(&args.out)?;
    let model = &args.model;
    let loaded = open(
        &hub::resolve(&model.model, Want::Model)?,
        model.adapter.as_deref(),
        &model.place.device,
        &model.place.dtype,
    )?;
    let form = match args.chat {
        true => Some(ConversationTemplate::to_ask(
            args.template.as_ref(),
            &loaded.tokenizer,
        )?),
        false => None,
    };
    if let Some(form) = form.as_ref().filter(|_| !quiet) {
        eprintln!("asked by the template {}", form.name());
    }
    rows::write(
        &args.out,
        &score(&loaded, &rows, form.as_ref(), &args.data, quiet)?,
    )
}

/// A row in tokens.
struct Encoded {
    row: usize,
    ids: Vec<i64>,
    /// Those that are scored, in order.
    scored: Vec<Range<usize>>,
}

impl Encoded {
    /// A row as one text; or, by a chat template, as a conversation.
    fn of(row: &Row, form: Option<&ConversationTemplate>, tokenizer: &Tokenizer) -> Result<Encoded> {
        let (ids, scored) = match form {
            Some(form) => {
                let answer = Message::new("assistant", &row.completion);
                let exchange = form.exchange(tokenizer, &[&row.messages[..], &[answer]].concat())?;
                (exchange.ids, exchange.learnt)
            }
            None => {
                let (whole, from) = (format!("{}{}", row.prompt, row.completion), row.prompt.len());
                let encoded = tokenizer.encode_marked(&whole, true, &[from..whole.len()])?;
                (encoded.ids, encoded.marked)
            }
        };
        Ok(Encoded {
            row: row.row,
            ids,
            scored,
        })
    }

    fn positions(&self) -> impl Iterator<Item = usize> {
        self.scored.iter().cloned().flatten()
    }

    fn count(&self) -> usize {
        self.scored.iter().map(Range::len).sum()
    }
}

/// Scores `rows`, in order; `path` is for messages. Fails on rows that are longer than the model's context, and on
/// a completion with nothing before it.
pub fn score(
    loaded: &LoadedModel,
    rows: &[Row],
    form: Option<&ConversationTemplate>,
    path: &Path,
    quiet: bool,
) -> Result<Vec<Score>> {
    let mut encoded = Vec::with_capacity(rows.len());
    for row in rows {
        let number = row.row;
        let row = Encoded::of(row, form, &loaded.tokenizer)
            .with_context(|| format!("{}: row {number}", path.display()))?;
        let context = loaded.model.info().context;
        if row.ids.len() > context {
            bail!(
                "{}: row {number} has {}, the model's context is {context}",
                path.display(),
                counted(row.ids.len(), "token")
            );
        }
        if row.positions().next() == Some(0) {
            bail!(
                "{}: row {number} has an empty prompt, and this model has no begin-of-text token to score from",
                path.display()
            );
        }
        encoded.push(row);
    }
    // Rows of similar length share a pass, so that little of it is padding.
    encoded.sort_by_key(|row| std::cmp::Reverse(row.ids.len()));
    let mut progress = Progress::new("score", "row", 0, rows.len() as u64, quiet);
    let started = Instant::now();
    let (mut scores, mut tokens, mut rest) = (Vec::with_capacity(rows.len()), 0, encoded.as_slice());
    while let Some(longest) = rest.first() {
        let count = (BATCH_TOKENS / longest.ids.len().max(1)).clamp(1, rest.len());
        let (batch, more) = rest.split_at(count);
        rest = more;
        scores.extend(score_batch(loaded, batch));
        if let Some(Score { row, nll, .. }) = scores.iter().find(|score| !score.nll.is_finite()) {
            bail!(
                "{}: row {row}: its nll is {nll}: the model's scores are no finite numbers\nhint: --dtype fp32 has more room; \
                 or the weights of the model, or of its adapter, are damaged",
                path.display()
            );
        }
        tokens += batch.iter().map(|row| row.ids.len()).sum::<usize>();
        progress.set(
            scores.len() as u64,
            &format!("{:.0} tok/s", tokens as f64 / started.elapsed().as_secs_f64()),
        );
    }
    scores.sort_by_key(|score| score.row);
    progress.say(&format!(
        "{}, {} in {:.1} s",
        counted(rows.len(), "row"),
        counted(tokens, "token"),
        started.elapsed().as_secs_f64()
    ));
    progress.finish();
    Ok(scores)
}

fn score_batch(loaded: &LoadedModel, batch: &[Encoded]) -> Vec<Score> {
    let _guard = tch::no_grad_guard();
    let longest = batch.iter().map(|row| row.ids.len()).max().unwrap_or(0);
    let targets: usize = batch.iter().map(Encoded::count).sum();
    let mut nll = Vec::with_capacity(targets);
    if targets > 0 {
        let mut padded = vec![0; batch.len() * longest];
        let (mut places, mut wanted) = (Vec::with_capacity(targets), Vec::with_capacity(targets));
        for (number, row) in batch.iter().enumerate() {
            padded[number * longest..][..row.ids.len()].copy_from_slice(&row.ids);
            // The token at i is predicted by the features at i - 1.
            places.extend(row.positions().map(|i| (number * longest + i - 1) as i64));
            wanted.extend(row.positions().map(|i| row.ids[i]));
        }
        let (rows, time) = (batch.len() as i64, longest as i64);
        let tokens_bt = Tensor::from_slice(&padded)
            .view([rows, time])
            .to_device(loaded.device);
        let hidden_btd = loaded
            .model
            .forward(&tokens_bt, &mut ForwardPass::whole(rows, time, loaded.device));
        let on_device = |ids: &[i64]| Tensor::from_slice(ids).to_device(loaded.device);
        let hidden_nd = hidden_btd.flatten(0, 1).index_select(0, &on_device(&places));
        for (hidden_nd, wanted_n) in hidden_nd
            .split(HEAD_TOKENS, 0)
            .iter()
            .zip(on_device(&wanted).split(HEAD_TOKENS, 0))
        {
            let logits_nv = loaded.model.logits(hidden_nd).to_kind(Kind::Float);
            let wanted_n = logits_nv.gather(1, &wanted_n.unsqueeze(1), false).squeeze_dim(1);
            let nll_n = logits_nv.logsumexp([-1].as_slice(), false) - wanted_n;
            nll.extend(Vec::<f32>::try_from(nll_n.to_device(tch::Device::Cpu)).expect("fp32 losses"));
        }
    }
    let mut nll = nll.into_iter().map(f64::from);
    batch
        .iter()
        .map(|row| {
            let tokens = row.count();
            Score {
                row: row.row,
                tokens,
                nll: nll.by_ref().take(tokens).sum(),
            }
        })
        .collect()
}
