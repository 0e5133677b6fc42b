//! `ewe plan --serve`: how many sequences of which length the engine holds on a GPU, or on the CPU,
//! from config.json alone.

use anyhow::{Result, bail};
use ewe::finetune::Precision;
use ewe::job::plan::{GpuChoice, PlanServeJob};
use serde::Serialize;
use serde_json::{Value, json};
use tch::Kind;

use super::batch::BatchConfig;
use super::budget::{EngineBudget, PassSizes};
use crate::model::cache::KvCache;
use crate::model::files::hub::{self, Fetch};
use crate::model::{self, ModelInfo};
use crate::train::plan::bytes::WORKSPACE;
use crate::train::plan::gpus::GPUS;
use crate::train::plan::report::{gigabytes, grouped};
use crate::train::plan::size::{self, Size};

/// Sizes of GPUs that are shown if none is named, in gigabytes.
const SHOWN: [u64; 4] = [24, 48, 80, 141];
/// Compute capability of the oldest GPUs that plans are for, Ampere: all that are known by name.
const CAPABILITY: (u32, u32) = (8, 0);
/// The shortest sequences of the table, in tokens. Each row has twice as many as the one before.
const SHORTEST: u64 = 512;
/// Requests at once of `ewe serve` on the CPU.
const CPU_BATCH: u64 = 32;

/// What an engine holds on one device.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ServingPlan {
    device: String,
    /// Bytes of the device's memory; none for the CPU.
    memory: Option<u64>,
    /// Whether weights and one sequence as long as the context fit.
    fits: bool,
    workspace: u64,
    kv_bytes: u64,
    kv_tokens: u64,
    /// Tokens of a page of the KV cache; none of slots.
    page_tokens: Option<u64>,
    /// Bytes beside the KV cache; 0 where its pages hold the prefixes.
    prefix_bytes: u64,
    max_batch: u64,
    sequences: Vec<SequenceCount>,
}

/// How many sequences of a length the KV cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct SequenceCount {
    tokens: u64,
    count: u64,
}

/// A model as it is planned for.
struct PlannedModel {
    size: Size,
    info: ModelInfo,
    sizes: PassSizes,
    /// Whether a GPU has its keys and values in pages.
    is_paged: bool,
    /// Bytes of its weights.
    weights: u64,
}

/// Runs `ewe plan --serve`. Returns the exit code, 1 if the model fits nowhere.
pub fn run(job: &PlanServeJob) -> Result<u8> {
    let path = hub::resolve(&job.model, Fetch::Config)?;
    let fields = size::fields(&path)?;
    let (size, info) = (Size::of(&fields)?, model::info(&fields)?);
    let (width, kind) = match job.precision {
        Precision::Bf16 => (2, Kind::BFloat16),
        Precision::Fp32 => (4, Kind::Float),
    };
    let widest = size.linears.iter().map(|(.., outputs)| *outputs).max();
    let model = PlannedModel {
        sizes: PassSizes::new(&info, widest.unwrap_or(0), width).with_experts(size.mixture),
        is_paged: KvCache::has_pages_at(&info, kind, Some(CAPABILITY)),
        weights: width * size.parameters,
        size,
        info,
    };
    let mut plans = Vec::new();
    for (name, memory) in gpus(job)? {
        plans.push(model.on_gpu(name, memory, job.kv_bytes));
    }
    if job.gpu.is_none() {
        plans.push(model.on_cpu(job.kv_bytes));
    }
    if job.json {
        println!("{}", ewe::streams::json::pretty(&model.json(&plans))?);
    } else {
        print!("{}", model.text(&plans));
    }
    Ok(u8::from(!plans.iter().any(|plan| plan.fits)))
}

/// Returns names and bytes of the GPUs to plan for: none with --kv-memory alone, which is about the
/// CPU.
fn gpus(job: &PlanServeJob) -> Result<Vec<(String, u64)>> {
    let sized = |gigabytes: u64| (format!("{gigabytes} GB"), gigabytes * 1_000_000_000);
    let named = match &job.gpu {
        None if job.kv_bytes.is_some() => return Ok(Vec::new()),
        None => return Ok(SHOWN.into_iter().map(sized).collect()),
        Some(GpuChoice::Memory(bytes)) => return Ok(vec![(format!("{:.0} GB", gigabytes(*bytes)), *bytes)]),
        Some(GpuChoice::Name(name)) => name,
    };
    let found: Vec<_> = GPUS
        .iter()
        .filter(|gpu| is_called(gpu.name, named))
        .map(|gpu| (gpu.name.to_owned(), gpu.memory * 1_000_000_000))
        .collect();
    if found.is_empty() {
        let known: Vec<&str> = GPUS.iter().map(|gpu| gpu.name).collect();
        bail!(
            "no GPU is known as `{named}`\nhint: its memory, like 24GB, or one of {}",
            known.join(", ")
        );
    }
    Ok(found)
}

/// Returns whether all words of `wanted` are words of a GPU's name: `h100`, `a100 80`, `RTX 4090`.
fn is_called(name: &str, wanted: &str) -> bool {
    let mut wanted = wanted.split([' ', '-', '_']).filter(|word| !word.is_empty());
    wanted.all(|word| name.split(' ').any(|known| known.eq_ignore_ascii_case(word)))
}

impl PlannedModel {
    /// Plans for a GPU of `memory` bytes, as [`super::open`] divides them once the model is loaded.
    fn on_gpu(&self, device: String, memory: u64, kv_bytes: Option<u64>) -> ServingPlan {
        let prefill_tokens = BatchConfig::default().prefill_tokens as u64;
        let free = memory.saturating_sub(WORKSPACE[0] + self.weights);
        let sizes = self.sizes.in_pages(self.is_paged);
        let budget = match kv_bytes {
            Some(given) => EngineBudget::given(given, &sizes, prefill_tokens),
            None => EngineBudget::of(free, &sizes, prefill_tokens),
        };
        let needed = budget.kv_bytes + budget.prefix_bytes;
        let mut plan = self.plan(device, budget, &sizes);
        plan.memory = Some(memory);
        plan.fits &= needed <= free;
        plan
    }

    /// Plans for the CPU, whose limits do not depend on its memory.
    fn on_cpu(&self, kv_bytes: Option<u64>) -> ServingPlan {
        let config = BatchConfig::default();
        let budget = EngineBudget {
            workspace: self.sizes.workspace(config.prefill_tokens as u64, CPU_BATCH),
            kv_bytes: kv_bytes.unwrap_or(config.kv_bytes as u64),
            prefix_bytes: (config.prefix_bytes as u64)
                .min(config.prefix_tokens as u64 * self.sizes.bytes_per_token),
            prefix_tokens: config.prefix_tokens as u64,
            max_batch: CPU_BATCH,
        };
        self.plan("CPU".to_owned(), budget, &self.sizes)
    }

    fn plan(&self, device: String, budget: EngineBudget, sizes: &PassSizes) -> ServingPlan {
        let kv_tokens = sizes.tokens_within(budget.kv_bytes);
        let sequences = self.lengths().into_iter().map(|tokens| SequenceCount {
            tokens,
            count: sizes.sequences_within(budget.kv_bytes, tokens),
        });
        ServingPlan {
            device,
            memory: None,
            fits: kv_tokens > 0,
            workspace: budget.workspace,
            kv_bytes: budget.kv_bytes,
            kv_tokens,
            page_tokens: sizes.is_paged().then_some(sizes.page),
            prefix_bytes: budget.prefix_bytes,
            max_batch: budget.max_batch,
            sequences: sequences.collect(),
        }
    }

    /// Returns the lengths of the table: powers of two, and the context.
    fn lengths(&self) -> Vec<u64> {
        let context = self.info.context.max(1) as u64;
        let doubled = std::iter::successors(Some(SHORTEST), |tokens| Some(2 * tokens));
        doubled
            .take_while(|tokens| *tokens < context)
            .chain([context])
            .collect()
    }

    fn json(&self, plans: &[ServingPlan]) -> Value {
        json!({
            "model": self.size,
            "context": self.info.context,
            "weights": self.weights,
            "bytes_per_token": self.sizes.bytes_per_token,
            "devices": plans,
        })
    }

    fn text(&self, plans: &[ServingPlan]) -> String {
        let line = |name: &str, cell: &dyn Fn(&ServingPlan) -> String| {
            let cells: String = plans
                .iter()
                .map(|plan| format!("{:>20}", if plan.fits { cell(plan) } else { "-".to_owned() }))
                .collect();
            format!("{name:<24}{cells}\n")
        };
        let sized = |bytes: u64| format!("{:.1} GB", gigabytes(bytes));
        let names = plans.iter().map(|plan| format!("{:>20}", plan.device));
        let mut text = format!(
            "{} with a context of {}: weights of {} in {}-byte numbers, {} B of keys and values for each token\n\n{:24}{}\n",
            self.size.family,
            self.info.context,
            sized(self.weights),
            self.sizes.width,
            grouped(self.sizes.bytes_per_token),
            "",
            names.collect::<String>(),
        );
        text += &line("workspace", &|plan| sized(plan.workspace));
        text += &line("KV cache", &|plan| sized(plan.kv_bytes));
        text += &line("prefix cache", &|plan| match plan.page_tokens {
            Some(_) => "in free pages".to_owned(),
            None => sized(plan.prefix_bytes),
        });
        text += &line("tokens of the KV cache", &|plan| grouped(plan.kv_tokens));
        text += &line("pages of the KV cache", &|plan| match plan.page_tokens {
            Some(page) => grouped(plan.kv_tokens / page),
            None => "-".to_owned(),
        });
        text += &line("requests at once", &|plan| plan.max_batch.to_string());
        text += "\nSequences that the KV cache holds, prompt and answer together:\n";
        for (row, tokens) in self.lengths().into_iter().enumerate() {
            text += &line(&format!("of {}", grouped(tokens)), &|plan| {
                grouped(plan.sequences[row].count)
            });
        }
        for plan in plans.iter().filter(|plan| !plan.fits) {
            text += &format!("\n{}: the model does not fit.\n", plan.device);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(gpu: Option<GpuChoice>, kv_bytes: Option<u64>) -> PlanServeJob {
        PlanServeJob {
            model: "m".into(),
            precision: Precision::Bf16,
            gpu,
            kv_bytes,
            json: false,
        }
    }

    #[test]
    fn gpus_are_named_by_their_words_or_by_their_memory() {
        let named = |name: &str| {
            let found = gpus(&job(Some(GpuChoice::Name(name.to_owned())), None));
            found.map(|found| found.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        assert_eq!(named("rtx-4090").unwrap(), ["RTX 4090 24 GB"]);
        assert_eq!(named("4090").unwrap(), ["RTX 4090 24 GB"]);
        assert_eq!(named("A100").unwrap(), ["A100 40 GB", "A100 80 GB"]);
        assert_eq!(named("a100 80").unwrap(), ["A100 80 GB"]);
        let error = named("TPU").unwrap_err().to_string();
        assert!(
            error.contains("`TPU`") && error.contains("B200 180 GB"),
            "{error}"
        );
        let sized = gpus(&job(Some(GpuChoice::Memory(20_000_000_000)), None)).unwrap();
        assert_eq!(sized, [("20 GB".to_owned(), 20_000_000_000)]);
        assert_eq!(gpus(&job(None, None)).unwrap().len(), SHOWN.len());
        assert!(gpus(&job(None, Some(1 << 30))).unwrap().is_empty());
    }
}
