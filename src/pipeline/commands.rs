//! The commands that ask a model, from an open dataset to their batch file: `ewe generate` grows
//! the dataset and has the new instances judged, `ewe judge` only judges.

use super::batch::{self, BatchSummary};
use super::budget::Budget;
use super::judge::{JudgeConfig, JudgeProgress};
use super::{Ending, GenerateConfig, GenerateProgress};
use crate::backend::Backend;
use crate::choice::JudgedBy;
use crate::client::batch_backend::BatchBackend;
use crate::store::Store;
use crate::store::curation::judgment::JudgeSelection;
use crate::task::Origin;
use anyhow::Result;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// What `ewe generate` shall do.
pub struct GenerateRequest<'a> {
    /// Settings of the rounds.
    pub config: &'a GenerateConfig,
    /// The model that writes tasks.
    pub backend: &'a dyn Backend,
    /// The same backend, if it is for batch files.
    pub batch: Option<&'a BatchBackend>,
    /// The model that scores the instances once the dataset has grown; `None` to leave them
    /// unscored.
    pub judge: Option<&'a dyn Backend>,
}

/// An event of `ewe generate` to show.
pub enum GenerateEvent<'a> {
    /// The command begins, with so many machine-made tasks in the dataset.
    Begins(&'a GenerateProgress),
    /// Rounds were admitted.
    Grows(&'a GenerateProgress),
    /// Instances are judged.
    Judges(&'a JudgeProgress),
}

/// The result of `ewe generate`.
pub struct Generated {
    /// Why it ended.
    pub ending: Ending,
    /// Where it ended.
    pub progress: GenerateProgress,
    /// Machine-made tasks that the dataset had before.
    pub had: u64,
    /// The time that growing took.
    pub time: Duration,
    /// The result of batch files, if they are used.
    pub batch: Option<BatchSummary>,
    /// The result of judging, if there was any.
    pub judged: Option<JudgeProgress>,
}

/// Grows the dataset. If that succeeds, has the instances of machine-made tasks judged. At the end,
/// writes the batch file, if there is one.
pub async fn generate(
    store: &Store,
    request: &GenerateRequest<'_>,
    interrupted: &AtomicBool,
    show: &mut dyn FnMut(GenerateEvent<'_>),
) -> Result<Generated> {
    let config = request.config;
    let start = Instant::now();
    let had = store.accepted_machine_tasks().await?;
    show(GenerateEvent::Begins(&GenerateProgress {
        accepted: had,
        target: config.target,
        ..GenerateProgress::default()
    }));
    let mut show_growth = |progress: &GenerateProgress| show(GenerateEvent::Grows(progress));
    let (ending, progress) =
        super::grow(store, config, request.backend, interrupted, &mut show_growth).await?;
    let mut generated = Generated {
        ending,
        progress,
        had,
        time: start.elapsed(),
        batch: None,
        judged: None,
    };
    let is_grown = matches!(ending, Ending::Target | Ending::Saturated);
    if let (Some(judge), true) = (request.judge, is_grown) {
        let mut show_judging = |progress: &JudgeProgress| show(GenerateEvent::Judges(progress));
        let config = config_for_judge(&config.budget, &generated);
        let (ending, judged) =
            super::judge::judge(store, &config, judge, interrupted, &mut show_judging).await?;
        if ending != Ending::Target {
            generated.ending = ending;
        }
        generated.progress.waiting.clone_from(&judged.waiting);
        generated.judged = Some(judged);
    }
    let Generated { ending, progress, .. } = &mut generated;
    let batch = finish_batch(store, request.batch, ending, &progress.waiting, &config.budget).await?;
    if let Some(batch) = &batch {
        progress.requests = batch.written.requests;
    }
    generated.batch = batch;
    Ok(generated)
}

/// The settings for judging what was generated, with the rest of the budget.
fn config_for_judge(budget: &Budget, generated: &Generated) -> JudgeConfig {
    let spent = &generated.progress;
    JudgeConfig {
        choice: JudgeSelection {
            origin: Some(Origin::Machine),
            review: None,
        },
        limit: None,
        by: JudgedBy::Text,
        rubric: None,
        budget: budget.less(spent.requests, spent.tokens(), spent.cost, generated.time),
    }
}

/// What `ewe judge` shall do.
pub struct JudgeRequest<'a> {
    /// Settings of judging.
    pub config: &'a JudgeConfig,
    /// The model that judges.
    pub backend: &'a dyn Backend,
    /// The same backend, if it is for batch files.
    pub batch: Option<&'a BatchBackend>,
}

/// The result of `ewe judge`.
pub struct Judged {
    /// Why it ended.
    pub ending: Ending,
    /// Where it ended.
    pub progress: JudgeProgress,
    /// The result of batch files, if they are used.
    pub batch: Option<BatchSummary>,
}

/// Judges instances. At the end, writes the batch file, if there is one.
pub async fn judge(
    store: &Store,
    request: &JudgeRequest<'_>,
    interrupted: &AtomicBool,
    show: &mut dyn FnMut(&JudgeProgress),
) -> Result<Judged> {
    let JudgeRequest {
        config,
        backend,
        batch,
    } = *request;
    let (mut ending, mut progress) = super::judge::judge(store, config, backend, interrupted, show).await?;
    let batch = finish_batch(store, batch, &mut ending, &progress.waiting, &config.budget).await?;
    if let Some(batch) = &batch {
        progress.requests = batch.written.requests;
    }
    Ok(Judged {
        ending,
        progress,
        batch,
    })
}

/// Writes the batch file, unless there is none or the command was interrupted.
async fn finish_batch(
    store: &Store,
    batch: Option<&BatchBackend>,
    ending: &mut Ending,
    waiting: &[String],
    budget: &Budget,
) -> Result<Option<BatchSummary>> {
    match batch {
        Some(batch) if *ending != Ending::Interrupted => {
            Ok(Some(batch::finish(store, batch, ending, waiting, budget).await?))
        }
        _ => Ok(None),
    }
}
