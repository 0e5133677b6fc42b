//! Opens a model for a command: weights, tokenizer and adapter, on a device and in a type, and the
//! engine with its limits.

use std::path::Path;

use anyhow::Result;
use ewe::job::model::{EngineLimits, ModelSpec};
use tch::Kind;

use super::batch::{Advice, BatchConfig, OutOfMemoryPolicy};
use super::budget::{EngineBudget, PassSizes};
use super::handle::LocalBackend;
use crate::model::cache::KvCache;
use crate::model::files::fingerprint::fingerprint;
use crate::model::files::hub::{self, Fetch};
use crate::model::out_of_memory::{Stage, explained};
use crate::model::{self, LoadedModel, fault};
use crate::shim::memory;

/// What to do about too little memory, for commands with options for it.
const ADVICE: Advice = Advice {
    room: "a larger --kv-memory, or a smaller limit of tokens",
    memory: "a smaller --batch or --kv-memory, or shorter prompts",
};

/// Loads a model without an engine, for callers that run forward passes themselves.
pub fn load(spec: &ModelSpec) -> Result<LoadedModel> {
    let dir = hub::resolve(&spec.path, Fetch::Model)?;
    let spec = ModelSpec {
        path: dir,
        ..spec.clone()
    };
    load_dir(&spec, &[])
}

/// Opens a model for one request at a time, for commands without options of the engine.
pub fn single(spec: &ModelSpec) -> Result<LocalBackend> {
    let limits = EngineLimits {
        max_batch: Some(1),
        cpu_batch: 1,
        kv_bytes: None,
    };
    let opened = within(spec, &[], limits, Advice::default(), OutOfMemoryPolicy::FailAll);
    opened.map(|(backend, _)| backend)
}

/// Opens a model for several requests at once, all of which are needed.
pub fn batched(spec: &ModelSpec, limits: EngineLimits) -> Result<LocalBackend> {
    let opened = within(spec, &[], limits, ADVICE, OutOfMemoryPolicy::RequeueNewest);
    opened.map(|(backend, _)| backend)
}

/// Opens a model for a server, whose clients can try again, with the adapters of which each request
/// has one or none. Returns their fingerprints, too.
pub fn served(
    spec: &ModelSpec,
    adapters: &[&Path],
    limits: EngineLimits,
) -> Result<(LocalBackend, Vec<String>)> {
    within(spec, adapters, limits, ADVICE, OutOfMemoryPolicy::ShedNewest)
}

/// Opens a model with these limits, and with those of its device where they are none. `on_gpu` is
/// the policy on a GPU: on the CPU the system seldom refuses memory, and ends the process instead.
fn within(
    spec: &ModelSpec,
    adapters: &[&Path],
    limits: EngineLimits,
    advice: Advice,
    on_gpu: OutOfMemoryPolicy,
) -> Result<(LocalBackend, Vec<String>)> {
    start(spec, adapters, |loaded| {
        let config = BatchConfig {
            advice,
            ..BatchConfig::default()
        };
        match memory::free(loaded.device) {
            Some(free) => BatchConfig {
                out_of_memory: on_gpu,
                ..config_of_gpu(config, limits, free, loaded)
            },
            None => BatchConfig {
                max_batch: limits.max_batch.unwrap_or(limits.cpu_batch),
                kv_bytes: limits.kv_bytes.unwrap_or(config.kv_bytes),
                ..config
            },
        }
    })
}

/// Returns the limits of a GPU with `free` bytes left beside the model. Only GPUs tell how much is
/// free, so this never runs on the CPU.
fn config_of_gpu(
    config: BatchConfig,
    limits: EngineLimits,
    free: u64,
    loaded: &mut LoadedModel,
) -> BatchConfig {
    let width = if loaded.kind == Kind::Float { 4 } else { 2 };
    let is_paged = KvCache::has_pages(loaded.model.info(), loaded.kind, loaded.device);
    let sizes = PassSizes::of(loaded.model.as_mut(), width).in_pages(is_paged);
    let prefill_tokens = config.prefill_tokens as u64;
    let budget = match limits.kv_bytes {
        Some(given) => EngineBudget::given(given as u64, &sizes, prefill_tokens),
        None => EngineBudget::of(free, &sizes, prefill_tokens),
    };
    // Prefixes may have all pages that nobody needs.
    let prefix_bytes = if is_paged {
        budget.kv_bytes
    } else {
        budget.prefix_bytes
    };
    BatchConfig {
        max_batch: limits.max_batch.unwrap_or(budget.max_batch as usize),
        kv_bytes: budget.kv_bytes as usize,
        prefix_bytes: prefix_bytes as usize,
        prefix_tokens: budget.prefix_tokens as usize,
        ..config
    }
}

/// Opens a model with this configuration, whatever the device.
#[cfg(test)]
pub fn with_config(spec: &ModelSpec, config: BatchConfig) -> Result<LocalBackend> {
    start(spec, &[], |_| config).map(|(backend, _)| backend)
}

/// Opens a model, and starts its engine on a thread, with the configuration that `configure`
/// returns for it. Returns the fingerprints of the adapters, too.
fn start(
    spec: &ModelSpec,
    adapters: &[&Path],
    configure: impl FnOnce(&mut LoadedModel) -> BatchConfig,
) -> Result<(LocalBackend, Vec<String>)> {
    let spec = ModelSpec {
        path: hub::resolve(&spec.path, Fetch::Model)?,
        ..spec.clone()
    };
    let mut loaded = load_on_its_own_thread(&spec, adapters)?;
    let name = fingerprint(&spec.path, spec.adapter.as_deref(), loaded.kind)?;
    let names = adapters
        .iter()
        .map(|adapter| fingerprint(&spec.path, Some(adapter), loaded.kind));
    let names = names.collect::<Result<Vec<String>>>()?;
    let config = configure(&mut loaded);
    Ok((LocalBackend::start(loaded, name, config)?, names))
}

/// Loads a model on a thread that ends with it. A thread that has computed in parallel keeps its
/// helper threads. With those of the engine's thread, libtorch would have more threads than there
/// are cores; they would then sleep between any two operations instead of waiting for the next, and
/// waking them takes longer than most operations.
fn load_on_its_own_thread(spec: &ModelSpec, adapters: &[&Path]) -> Result<LoadedModel> {
    std::thread::scope(|scope| scope.spawn(|| load_dir(spec, adapters)).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Loads the model in the directory `spec.path`, with adapters that share it.
fn load_dir(spec: &ModelSpec, adapters: &[&Path]) -> Result<LoadedModel> {
    let open = || match adapters {
        [] => model::open(&spec.path, spec.adapter.as_deref(), &spec.device, &spec.dtype),
        adapters => model::open_shared(&spec.path, adapters, &spec.device, &spec.dtype),
    };
    fault::caught(open).map_err(|error| explained(error, Stage::Loading, || None))
}
