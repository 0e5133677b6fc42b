//! What a run chooses by itself: formats that fit into memory, and the tokens of a micro-batch.

use super::data::dataset::Example;
use super::fit::{Choice, OfRanks, Room, formats_that_fit, gpu_micro_tokens};
use super::plan::rungs::{Place, rungs};
use super::say;
use super::settings::Settings;
use crate::distributed::group::Ranks;
use crate::model;
use anyhow::Result;
use ewe::job::train::TrainJob;
use std::path::Path;

/// Replaces formats that nobody chose and that do not fit by the best that do, and says so. All
/// ranks take those of the one with the least memory.
pub(super) fn choose_formats(
    job: &TrainJob,
    base: &Path,
    (examples, of_ranks): (&[Example], OfRanks),
    settings: &mut Settings,
    ranks: &Ranks,
    quiet: bool,
) -> Result<()> {
    // Ranks that divide the model do not take all formats; more of them take less memory.
    if job.formats_are_given || job.ignore_plan || of_ranks.parts > 1 {
        return Ok(());
    }
    let room = Room::of(of_ranks.device, ranks.here);
    let choice = formats_that_fit(model::fields(base)?, settings, examples, of_ranks, room)?;
    let all = rungs(
        settings.formats,
        settings.method,
        Place::of(of_ranks.device, of_ranks.ranks),
    );
    let place = |choice: &Choice| all.iter().position(|rung| *rung == choice.rung);
    // The first rung is the least compact, and the formats asked for lie before it.
    let lower = choice.as_ref().and_then(place).map_or(0, |place| place + 1);
    let lower = all.len() - ranks.least("formats", all.len() - lower)?;
    let Some(rung) = lower.checked_sub(1).and_then(|place| all.get(place)) else {
        return Ok(());
    };
    settings.formats = rung.formats;
    let line = match choice.filter(|choice| choice.rung == *rung) {
        Some(choice) => choice.line(settings, room.device.unwrap_or_default()),
        None => format!("formats: {}, since another rank has less memory", rung.options),
    };
    say(quiet, &line);
    Ok(())
}

/// Sets the tokens per micro-batch on a GPU, unless they were given.
pub(super) fn choose_micro_tokens(
    job: &TrainJob,
    base: &Path,
    (examples, of_ranks): (&[Example], OfRanks),
    settings: &mut Settings,
) -> Result<()> {
    if !of_ranks.device.is_cuda() || job.micro_tokens.is_some() {
        return Ok(());
    }
    settings.micro_tokens = gpu_micro_tokens(model::fields(base)?, settings, examples, of_ranks)?;
    Ok(())
}
