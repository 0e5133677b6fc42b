//! Opening CUDA: libtorch's half for it, its settings, and the choice of a GPU.

use super::signs::Signs;
use super::trouble::{Findings, Trouble};
use crate::shim::context::{self, Card};
use ewe::job::train::GpuNumerics;
use ewe::text::{counted, format_size};
use std::path::Path;
use std::sync::OnceLock;

/// Oldest compute capability: Turing. CUDA 13 has no kernels for older cards (Volta, Pascal).
const OLDEST_CAPABILITY: (u32, u32) = (7, 5);
/// Oldest compute capability that multiplies bf16 matrices: Ampere. On Turing, libtorch emulates
/// them, ten times as slow.
const BF16_CAPABILITY: (u32, u32) = (8, 0);
/// Bytes that this process's own context takes of a GPU at most. What is missing beyond them is in
/// use by others.
const CONTEXT: u64 = 1 << 30;
/// Share of a GPU's memory that others may use before they are mentioned.
const UNMENTIONED: f64 = 0.03;

/// Variables with which users set libtorch's allocator up.
const ALLOCATOR_VARIABLES: [&str; 3] = [
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
];

/// Returns the signs of a GPU on this machine.
pub fn signs() -> Signs {
    Signs::below(Path::new("/"))
}

/// Opens CUDA, once in a process. Returns the number of GPUs, at least 1.
pub fn open() -> Result<usize, Trouble> {
    static OPENED: OnceLock<Result<usize, Trouble>> = OnceLock::new();
    OPENED.get_or_init(open_once).clone()
}

fn open_once() -> Result<usize, Trouble> {
    load_library()?;
    let library = context::driver_library().map_err(failed)?;
    let findings = Findings {
        signs: signs(),
        library,
        toolkit: context::toolkit(),
        visible: std::env::var_os("CUDA_VISIBLE_DEVICES").map(|value| value.to_string_lossy().into_owned()),
    };
    if !findings.is_usable() {
        return Err(findings.trouble());
    }
    context::choose_attention().map_err(failed)?;
    if expands_segments(&findings)? {
        context::expand_segments().map_err(failed)?;
    }
    match usize::try_from(tch::Cuda::device_count()) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(findings.trouble()),
    }
}

/// Loads libtorch_cuda, which registers its kernels. Linking it would take half a second and 400 MB
/// in every process.
#[allow(unsafe_code)]
fn load_library() -> Result<(), Trouble> {
    // SAFETY: the name is a C string; the library's initializers are those that linking it would
    // have run, and the handle is never closed.
    let handle = unsafe { libc::dlopen(c"libtorch_cuda.so".as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if handle.is_null() {
        return Err(Trouble::new(
            "libtorch_cuda.so could not be opened: this libtorch is built for the CPU only",
            "install the libtorch wheel of requirements.txt",
        ));
    }
    Ok(())
}

/// Returns whether the allocator's segments should grow, which keeps steps of different sizes from
/// fragmenting memory.
///
/// Not in WSL2, where the first allocation fails (pytorch/pytorch#192330); not where a driver maps
/// no pages, as for some virtual GPUs ("operation not supported"); not where the user has set the
/// allocator up.
fn expands_segments(findings: &Findings) -> Result<bool, Trouble> {
    if findings.signs.wsl
        || ALLOCATOR_VARIABLES
            .iter()
            .any(|name| std::env::var_os(name).is_some())
    {
        return Ok(false);
    }
    for index in 0..findings.library.count {
        if !context::card(index).map_err(failed)?.maps_pages {
            return Ok(false);
        }
    }
    Ok(true)
}

/// An error of the driver or of libtorch, as a reason.
fn failed(error: tch::TchError) -> Trouble {
    let text = error.to_string();
    Trouble::new(
        text.lines().next().unwrap_or_default(),
        "look at the output of nvidia-smi",
    )
}

/// Returns GPU number `index`.
///
/// # Errors
///
/// If its compute capability is too low, or no context can be made on it, as when its memory is
/// full.
pub fn take(index: usize) -> Result<Taken, Trouble> {
    let card = context::card(index).map_err(failed)?;
    refuse_old(&card)?;
    let free = context::free(index).map_err(failed)?;
    Ok(Taken { index, card, free })
}

/// Returns the first of `count` GPUs that can be used, or why the first of all cannot.
pub fn take_first(count: usize) -> Result<Taken, Trouble> {
    let first = take(0);
    if first.is_ok() {
        return first;
    }
    (1..count).find_map(|index| take(index).ok()).map_or(first, Ok)
}

fn refuse_old(card: &Card) -> Result<(), Trouble> {
    if card.capability >= OLDEST_CAPABILITY {
        return Ok(());
    }
    Err(Trouble::new(
        format!(
            "{} has compute capability {}, and {} (Turing) or newer is needed",
            card.name,
            dotted(card.capability),
            dotted(OLDEST_CAPABILITY)
        ),
        "",
    ))
}

/// A GPU that will be computed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub index: usize,
    card: Card,
    /// Free bytes, after this process's context was made.
    free: u64,
}

impl Taken {
    /// Says which GPU was taken: at the level of warnings if others are left unused, unless the
    /// user has named one, or if other processes use its memory.
    pub fn announce(&self, count: usize, is_named: bool) {
        let remarks = self.remarks(count, is_named);
        let line = self.line(&remarks);
        match remarks.is_empty() {
            true => tracing::info!("{line}"),
            false => tracing::warn!("{line}"),
        }
    }

    fn line(&self, remarks: &[String]) -> String {
        let mut line = format!(
            "computing on cuda:{}, {}, {} of {} free",
            self.index,
            self.card.name,
            format_size(self.free),
            format_size(self.card.total)
        );
        if self.card.name.contains(" MIG ") {
            line += ", a MIG slice";
        }
        for remark in remarks {
            line += "; ";
            line += remark;
        }
        line
    }

    fn remarks(&self, count: usize, is_named: bool) -> Vec<String> {
        let mut remarks = Vec::new();
        if count > 1 && !is_named {
            remarks.push(format!(
                "{} not used: a run computes on one (--device cuda:N chooses)",
                match count - 1 {
                    1 => "the other GPU is".to_owned(),
                    others => format!("{others} other GPUs are"),
                }
            ));
        }
        let taken = self.card.total.saturating_sub(self.free).saturating_sub(CONTEXT);
        if taken as f64 > UNMENTIONED * self.card.total as f64 {
            remarks.push(format!("other processes use {}", format_size(taken)));
        }
        remarks
    }
}

/// Returns whether GPU `index` multiplies bf16 matrices itself. True if it cannot be asked: the
/// memory of a GPU is planned on machines without one, too.
pub fn has_bf16(index: usize) -> bool {
    !context::card(index).is_ok_and(|card| card.capability < BF16_CAPABILITY)
}

/// Sets how training computes on GPUs.
pub fn set_numerics(numerics: GpuNumerics) -> Result<(), Trouble> {
    context::set_numerics(numerics.deterministic, numerics.tf32).map_err(failed)
}

/// Returns name and compute capability of a GPU, as `Tesla T4 (compute capability 7.5)`.
pub fn described(index: usize) -> String {
    match context::card(index) {
        Ok(card) => format!("{} (compute capability {})", card.name, dotted(card.capability)),
        Err(_) => "this GPU".to_owned(),
    }
}

/// Returns what is known of GPU `index` and of libtorch's settings, as names and values.
pub fn facts(index: usize) -> anyhow::Result<Vec<(String, String)>> {
    let (card, settings) = (context::card(index)?, context::settings()?);
    let library = context::driver_library()?;
    let shown = |version: Option<context::CudaVersion>| {
        version.map_or_else(|| "unknown".to_owned(), |version| version.to_string())
    };
    let driver = signs().driver.unwrap_or_else(|| "unknown".to_owned());
    let on = |is_on: bool| if is_on { "on" } else { "off" }.to_owned();
    let facts = [
        ("gpu", card.name),
        ("gpus", counted(library.count, "GPU")),
        ("compute capability", dotted(card.capability)),
        ("memory", format_size(card.total)),
        ("free memory", format_size(context::free(index)?)),
        ("driver", format!("{driver} (CUDA {})", shown(library.cuda))),
        ("libtorch's CUDA", shown(context::toolkit())),
        ("attention backends", settings.attention.join(", ")),
        ("deterministic", on(settings.deterministic)),
        ("TF32", on(settings.tf32)),
        ("expandable segments", on(settings.expandable_segments)),
    ];
    Ok(facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect())
}

fn dotted((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn card(name: &str, capability: (u32, u32), total: u64) -> Card {
        Card {
            name: name.to_owned(),
            capability,
            maps_pages: true,
            total,
        }
    }

    fn taken(name: &str, free: u64, total: u64) -> Taken {
        Taken {
            index: 0,
            card: card(name, (8, 0), total),
            free,
        }
    }

    #[test]
    fn cards_older_than_turing_are_refused_by_name() {
        for (name, capability) in [
            ("Tesla V100-SXM2-16GB", (7, 0)),
            ("Tesla P100-PCIE-16GB", (6, 0)),
            ("NVIDIA TITAN V", (7, 2)),
        ] {
            let trouble = refuse_old(&card(name, capability, 16 * GIB)).unwrap_err();
            assert_eq!(
                trouble.error("cuda:0").to_string(),
                format!(
                    "device `cuda:0` cannot be used: {name} has compute capability {}, and 7.5 (Turing) or newer is \
                     needed\nhint: --device cpu",
                    dotted(capability)
                )
            );
        }
        for capability in [(7, 5), (8, 0), (8, 9), (9, 0), (10, 0), (12, 0)] {
            refuse_old(&card("a card", capability, GIB)).unwrap();
        }
    }

    #[test]
    fn a_gpu_that_nobody_else_uses_needs_no_remark() {
        let whole = taken("NVIDIA H100 80GB HBM3", 79 * GIB, 80 * GIB);
        assert!(whole.remarks(1, false).is_empty());
        let line = whole.line(&[]);
        assert!(
            line.starts_with("computing on cuda:0, NVIDIA H100 80GB HBM3, ") && line.ends_with(" free"),
            "{line}"
        );
    }

    #[test]
    fn unused_gpus_are_mentioned_unless_one_was_named() {
        let first = taken("NVIDIA A100-SXM4-40GB", 39 * GIB, 40 * GIB);
        assert!(first.remarks(4, true).is_empty());
        assert!(first.remarks(4, false)[0].starts_with("3 other GPUs are not used"));
        assert!(first.remarks(2, false)[0].starts_with("the other GPU is not used"));
    }

    #[test]
    fn memory_that_others_use_is_mentioned() {
        let busy = taken("NVIDIA GeForce RTX 4090", 10 * GIB, 24 * GIB);
        let remarks = busy.remarks(1, true);
        assert_eq!(
            remarks,
            [format!("other processes use {}", format_size(13 * GIB))]
        );
        assert!(busy.line(&remarks).ends_with(&remarks[0]));
    }

    #[test]
    fn a_mig_slice_is_called_one() {
        let slice = taken("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4 * GIB, 5 * GIB);
        assert!(slice.line(&[]).ends_with("free, a MIG slice"));
    }

    /// `--device auto` is silent on a machine like the one that these tests mostly run on.
    #[test]
    fn a_machine_without_signs_is_not_asked_further() {
        if !signs().any() {
            assert_eq!(super::super::device("auto").unwrap(), tch::Device::Cpu);
            let settings = context::settings().unwrap();
            assert!(settings.attention.contains(&"cuDNN"), "{settings:?}");
        }
    }
}
