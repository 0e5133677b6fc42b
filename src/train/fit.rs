//! Whether a run fits into memory: its heaviest step, what that needs, and what is free.

use super::data::dataset::Example;
use super::plan::config::PlanConfig;
use super::plan::estimate::MemoryEstimate;
use super::plan::heaviest::{Demand, Largest, Steps};
use super::plan::planner::Planner;
use super::plan::rungs::{Place, Rung, rungs};
use super::settings::Settings;
use crate::model::files::config::ConfigFields;
use crate::shim::memory;
use anyhow::{Result, bail};
use ewe::text::format_size;
use tch::Device;

/// What a run computes on.
#[derive(Debug, Clone, Copy)]
pub struct OfRanks {
    /// The device of each rank.
    pub device: Device,
    /// The number of ranks.
    pub ranks: usize,
    /// Among how many of them parameters are divided; 1 for none.
    pub parts: usize,
}

/// The micro-batch of a run that needs most memory.
pub struct Heaviest {
    /// The micro-batch.
    pub demand: Demand,
    /// Whether a step has several micro-batches.
    pub cut: bool,
    /// The memory estimate of the run, if it was made.
    pub estimate: Option<MemoryEstimate>,
}

impl Heaviest {
    /// Finds the heaviest micro-batch of a run; none if there is nothing to train on. Blocks are
    /// measured only if it matters, since that takes a second or more: for a dry run, and if more
    /// than half the free memory is needed without their activations. With several `ranks`,
    /// gradients are summed in fp32 even where a step is one micro-batch.
    pub fn find(
        fields: ConfigFields,
        settings: &Settings,
        examples: &[Example],
        of_ranks: OfRanks,
        dry_run: bool,
    ) -> Result<Option<Heaviest>> {
        let room = Room::of(of_ranks.device, 1);
        Heaviest::find_by(
            &mut Planner::new(fields)?,
            settings,
            examples,
            of_ranks,
            (dry_run, room),
        )
    }

    fn find_by(
        planner: &mut Planner,
        settings: &Settings,
        examples: &[Example],
        of_ranks: OfRanks,
        (measured, room): (bool, Room),
    ) -> Result<Option<Heaviest>> {
        let OfRanks { device, ranks, parts } = of_ranks;
        let Largest { demands, cut } = Largest::of(&Steps::of(settings, parts), examples);
        // What ranks add up is fp32; those that divide it need no such sum of their own.
        let cut = cut || (ranks > 1 && parts == 1);
        let most = |estimate: &mut dyn FnMut(&PlanConfig) -> Result<MemoryEstimate>| {
            let mut most: Option<(&Demand, MemoryEstimate)> = None;
            for demand in &demands {
                let of = estimate(&PlanConfig::of(settings, demand, cut, (device, parts)))?;
                if most.as_ref().is_none_or(|(_, most)| of.total > most.total) {
                    most = Some((demand, of));
                }
            }
            anyhow::Ok(most)
        };
        let Some((demand, bound)) = most(&mut |config| Ok(planner.lower_bound(config)))? else {
            return Ok(None);
        };
        let scarce = |room: Option<u64>, bytes: u64| room.is_some_and(|room| 2 * bytes > room);
        let tight = scarce(room.device, bound.total) || scarce(room.host, bound.host);
        // If nothing counts memory, nothing can be measured; training goes on without an estimate.
        let counts = memory::allocated(Device::Cpu).is_some();
        let measured = match counts && (measured || tight) {
            true => most(&mut |config| planner.estimate(config))?,
            false => None,
        };
        let (demand, estimate) = measured.map_or((demand, None), |(demand, of)| (demand, Some(of)));
        let demand = demand.clone();
        Ok(Some(Heaviest {
            demand,
            cut,
            estimate,
        }))
    }
}

/// Tokens per micro-batch to try on a GPU, the most first. Matrix products of 8192 tokens reach the
/// rate of larger ones, and each further micro-batch of a step adds all gradients in fp32 once
/// more.
pub const GPU_MICRO_TOKENS: [usize; 4] = [8192, 6144, 4096, 2048];

/// Returns the most tokens per micro-batch with which a run fits into the free memory of a GPU, of
/// [`GPU_MICRO_TOKENS`]. If none fits, or nothing counts memory, it is the least.
pub fn gpu_micro_tokens(
    fields: ConfigFields,
    settings: &Settings,
    examples: &[Example],
    of_ranks: OfRanks,
) -> Result<usize> {
    let with = |tokens| Settings {
        micro_tokens: tokens,
        ..settings.clone()
    };
    let [most, .., least] = GPU_MICRO_TOKENS;
    let Largest { demands, cut } = Largest::of(&Steps::of(&with(most), of_ranks.parts), examples);
    let is_small = |of: &Demand| of.micro_batch.id_t.len() <= least;
    if !cut && demands.iter().all(is_small) {
        // Every step is one micro-batch anyway, so no block need be measured.
        return Ok(least);
    }
    let mut planner = Planner::new(fields)?;
    let room = Room::of(of_ranks.device, 1);
    first_that_fits(room.device, |tokens| {
        let tried = with(tokens);
        let heaviest = Heaviest::find_by(&mut planner, &tried, examples, of_ranks, (true, room))?;
        Ok(heaviest.and_then(|of| of.estimate).map(|of| of.total))
    })
}

/// `need` returns the bytes that a run needs with this many tokens per micro-batch.
fn first_that_fits(free: Option<u64>, mut need: impl FnMut(usize) -> Result<Option<u64>>) -> Result<usize> {
    let [more @ .., least] = GPU_MICRO_TOKENS;
    if let Some(free) = free {
        for tokens in more {
            if need(tokens)?.is_some_and(|bytes| bytes <= free) {
                return Ok(tokens);
            }
        }
    }
    Ok(least)
}

/// Formats that a run takes in place of those that do not fit.
#[derive(Debug)]
pub struct Choice {
    /// The first formats that fit.
    pub rung: Rung,
    /// Bytes that the run would need with the formats asked for.
    pub asked: u64,
    /// What it needs with these.
    pub estimate: MemoryEstimate,
}

impl Choice {
    /// Returns what was chosen, and why, in a line.
    pub fn line(&self, settings: &Settings, free: u64) -> String {
        let bytes = &self.estimate.bytes;
        let clips = self.rung.formats.update_in_backward && settings.clip > 0.0;
        format!(
            "formats: {}, since the defaults need {}, and {} are free: {} with these (weights {}, masters {}, moments {}, gradients {}, \
             activations {}); {}{}",
            self.rung.options,
            format_size(self.asked),
            format_size(free),
            format_size(self.estimate.total),
            format_size(bytes.weights),
            format_size(bytes.masters),
            format_size(bytes.states),
            format_size(bytes.gradients),
            format_size(bytes.activations),
            self.rung.price,
            if clips {
                ", each step computed twice to clip (--clip 0: once)"
            } else {
                ""
            },
        )
    }
}

/// Returns the formats to take in place of those of `settings`, which nobody asked for by name:
/// none if these fit into `room`, or if nothing does, or nothing counts memory.
///
/// # Errors
///
/// When a block cannot be measured.
pub fn formats_that_fit(
    fields: ConfigFields,
    settings: &Settings,
    examples: &[Example],
    of_ranks: OfRanks,
    room: Room,
) -> Result<Option<Choice>> {
    let mut planner = Planner::new(fields)?;
    let mut need = |formats, measured| {
        let tried = Settings {
            formats,
            ..settings.clone()
        };
        let heaviest = Heaviest::find_by(&mut planner, &tried, examples, of_ranks, (measured, room))?;
        anyhow::Ok(heaviest.and_then(|of| of.estimate))
    };
    let tight = need(settings.formats, false)?.filter(|need| !room.holds(need));
    let Some(asked) = tight else {
        return Ok(None);
    };
    for rung in rungs(
        settings.formats,
        settings.method,
        Place::of(of_ranks.device, of_ranks.ranks),
    ) {
        if let Some(estimate) = need(rung.formats, true)?.filter(|need| room.holds(need)) {
            return Ok(Some(Choice {
                rung,
                asked: asked.total,
                estimate,
            }));
        }
    }
    Ok(None)
}

/// Bytes that a process may take; none where they are not known.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// On the device.
    pub device: Option<u64>,
    /// Of the machine's own memory, beside a GPU.
    pub host: Option<u64>,
}

impl Room {
    /// Returns the room of each of `ranks` processes of this machine, which share memory that is
    /// not a GPU's.
    pub fn of(device: Device, ranks: usize) -> Room {
        let free_here = free(device).map(|free| match device {
            Device::Cpu => free / ranks.max(1) as u64,
            _ => free,
        });
        Room {
            device: free_here,
            host: free(Device::Cpu),
        }
    }

    /// Returns whether there is as much as is needed, or nothing is known.
    pub fn holds(&self, need: &MemoryEstimate) -> bool {
        let lacks = |need: u64, room: Option<u64>| room.is_some_and(|room| need > room);
        !lacks(need.total, self.device) && (need.host == 0 || !lacks(need.host, self.host))
    }
}

/// Fails if the run needs more memory than there is `room` for.
pub fn refuse_what_cannot_fit(need: &MemoryEstimate, room: Room) -> Result<()> {
    let Some(free_here) = room.device else {
        return Ok(());
    };
    if let Some(free) = room.host.filter(|free| need.host > *free) {
        bail!(
            "--offload needs {} of the machine's own memory, and {} are free\nhint: --optimizer adamw8bit keeps a quarter of the moments; \
             --ignore-plan tries nevertheless",
            format_size(need.host),
            format_size(free)
        );
    }
    if need.total > free_here {
        bail!(
            "the run needs {}, and {} of memory are free: weights {}, masters {}, moments {}, gradients {}, activations {}\n\
             hint: `ewe plan --memory {}MB` with the run's options says what to change; --ignore-plan tries nevertheless",
            format_size(need.total),
            format_size(free_here),
            format_size(need.bytes.weights),
            format_size(need.bytes.masters),
            format_size(need.bytes.states),
            format_size(need.bytes.gradients),
            format_size(need.bytes.activations),
            free_here / 1_000_000,
        );
    }
    Ok(())
}

/// Returns the bytes that the device, or the system, has free; none if unknown.
pub fn free(device: Device) -> Option<u64> {
    if device.is_cuda() {
        return memory::free(device);
    }
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(1024 * line.split_whitespace().next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::plan::size;
    use ewe::finetune::Method;
    use std::path::Path;

    #[test]
    fn a_gpu_gets_the_most_tokens_that_fit() {
        // 10 GB of weights and a megabyte a token.
        let need = |tokens: usize| Ok(Some(10_000_000_000 + 1_000_000 * tokens as u64));
        let of = |free| first_that_fits(free, need).unwrap();
        assert_eq!(of(Some(80_000_000_000)), 8192);
        assert_eq!(of(Some(17_000_000_000)), 6144);
        assert_eq!(of(Some(14_500_000_000)), 4096);
        assert_eq!(of(Some(1)), 2048, "the plan refuses it, and says why");
        assert_eq!(of(None), 2048);
        assert_eq!(first_that_fits(Some(u64::MAX), |_| Ok(None)).unwrap(), 2048);
    }

    fn examples() -> Vec<Example> {
        let example = |n: u32| {
            let ids = (0..60).map(|at| (at + n) % 90).collect();
            Example::with_targets_from(1, n.to_string(), ids)
        };
        (0..8).map(example).collect()
    }

    /// A full fine-tune of 6B parameters, by its config alone.
    #[test]
    fn what_does_not_fit_takes_the_best_formats_that_do() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gpt-j-6b/config.json");
        let mut settings = crate::train::settings::tests::settings();
        settings.lora = None;
        settings.method = Method::Full;
        let choose = |gigabytes: u64, ranks| {
            let room = Room {
                device: Some(gigabytes * 1_000_000_000),
                host: None,
            };
            let fields = size::fields(&path).unwrap();
            let of_ranks = OfRanks {
                device: Device::Cpu,
                ranks,
                parts: 1,
            };
            formats_that_fit(fields, &settings, &examples(), of_ranks, room).unwrap()
        };
        let options = |gigabytes, ranks| choose(gigabytes, ranks).map(|choice| choice.rung.options);
        // All of it takes 85 GB, without gradients 73.
        assert_eq!(options(100, 1), None, "it fits");
        assert_eq!(options(80, 1).unwrap(), "--update-in-backward");
        assert_eq!(options(60, 1).unwrap(), "--optimizer adamw8bit");
        assert_eq!(
            options(40, 1).unwrap(),
            "--optimizer adamw8bit --update-in-backward"
        );
        let least = "--optimizer adafactor --master stochastic --update-in-backward";
        assert_eq!(options(16, 1).unwrap(), least);
        assert_eq!(options(8, 1), None, "nothing does");
        // Ranks add up all gradients, in fp32.
        assert_eq!(options(80, 2).unwrap(), "--optimizer adamw8bit");

        let choice = choose(80, 1).unwrap();
        assert!(choice.estimate.total <= 80_000_000_000 && choice.asked > 80_000_000_000);
        let line = choice.line(&settings, 80_000_000_000);
        let start = "formats: --update-in-backward, since the defaults need ";
        assert!(
            line.starts_with(start)
                && line.contains(", and 80.0 GB are free: ")
                && line.contains("moments 48.9 GB")
                && line.ends_with("the same weights, each step computed twice to clip (--clip 0: once)"),
            "{line}"
        );
    }
}
