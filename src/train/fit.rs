//! Whether a run fits into memory: its heaviest step, what that needs, and what is free.

use super::data::dataset::Example;
use super::plan::config::PlanConfig;
use super::plan::estimate::MemoryEstimate;
use super::plan::heaviest::{Demand, Largest, Steps};
use super::plan::planner::Planner;
use super::settings::Settings;
use crate::model::files::config::ConfigFields;
use crate::shim::memory;
use anyhow::{Result, bail};
use ewe::text::format_size;
use tch::Device;

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
        (device, ranks): (Device, usize),
        dry_run: bool,
    ) -> Result<Option<Heaviest>> {
        Heaviest::find_by(
            &mut Planner::new(fields)?,
            settings,
            examples,
            (device, ranks),
            dry_run,
        )
    }

    fn find_by(
        planner: &mut Planner,
        settings: &Settings,
        examples: &[Example],
        (device, ranks): (Device, usize),
        dry_run: bool,
    ) -> Result<Option<Heaviest>> {
        let Largest { demands, cut } = Largest::of(&Steps::of(settings), examples);
        let cut = cut || ranks > 1;
        let most = |estimate: &mut dyn FnMut(&PlanConfig) -> Result<MemoryEstimate>| {
            let mut most: Option<(&Demand, MemoryEstimate)> = None;
            for demand in &demands {
                let of = estimate(&PlanConfig::of(settings, demand, cut, device))?;
                if most.as_ref().is_none_or(|(_, most)| of.total > most.total) {
                    most = Some((demand, of));
                }
            }
            anyhow::Ok(most)
        };
        let Some((demand, bound)) = most(&mut |config| Ok(planner.lower_bound(config)))? else {
            return Ok(None);
        };
        let scarce = |device, bytes: u64| free(device).is_some_and(|free| 2 * bytes > free);
        let tight = scarce(device, bound.total) || scarce(Device::Cpu, bound.host);
        // If nothing counts memory, nothing can be measured; training goes on without an estimate.
        let counts = memory::allocated(Device::Cpu).is_some();
        let measured = match counts && (dry_run || tight) {
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
    device: Device,
) -> Result<usize> {
    let with = |tokens| Settings {
        micro_tokens: tokens,
        ..settings.clone()
    };
    let [most, .., least] = GPU_MICRO_TOKENS;
    let Largest { demands, cut } = Largest::of(&Steps::of(&with(most)), examples);
    let is_small = |of: &Demand| of.micro_batch.id_t.len() <= least;
    if !cut && demands.iter().all(is_small) {
        // Every step is one micro-batch anyway, so no block need be measured.
        return Ok(least);
    }
    let mut planner = Planner::new(fields)?;
    first_that_fits(free(device), |tokens| {
        let tried = with(tokens);
        let heaviest = Heaviest::find_by(&mut planner, &tried, examples, (device, 1), true)?;
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

/// Fails if the run needs more memory than is free, of which `ranks` processes take as much each if
/// it is not a GPU's.
pub fn refuse_what_cannot_fit(need: &MemoryEstimate, device: Device, ranks: usize) -> Result<()> {
    let Some(free_here) = free(device) else {
        return Ok(());
    };
    let free_here = match device {
        Device::Cpu => free_here / ranks as u64,
        _ => free_here,
    };
    if need.host > 0
        && let Some(free) = free(Device::Cpu)
        && need.host > free
    {
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
}
