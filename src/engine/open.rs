//! Opens a model for a command: weights, tokenizer and adapter, on a device or several and in a
//! type, and an engine for each with its limits.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ewe::job::model::{EngineLimits, ModelSpec};
use ewe::text::counted;
use tch::Kind;

use super::batch::{Advice, BatchConfig, OutOfMemoryPolicy};
use super::budget::{EngineBudget, PassSizes};
use super::dispatch::MOST_ENGINES;
use super::engines::DeviceFailure;
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

/// What to do about a model that no GPU can hold.
const TOO_LARGE: &str = "vLLM divides a model that is larger than one GPU: `vllm serve MODEL --tensor-parallel-size 2`; \
     docs/gpu.md says how to ask it from here";

/// Loads a model without an engine, for callers that run forward passes themselves: on the first of
/// its devices.
pub fn load(spec: &ModelSpec) -> Result<LoadedModel> {
    let dir = hub::resolve(&spec.path, Fetch::Model)?;
    let first = spec.devices().next().unwrap_or_default().to_owned();
    let spec = ModelSpec {
        path: dir,
        device: first,
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
    start(spec, &[], |_| config.clone()).map(|(backend, _)| backend)
}

/// Opens a model, and starts its engines on threads, with the configuration that `configure`
/// returns for each. Returns the fingerprints of the adapters, too.
fn start(
    spec: &ModelSpec,
    adapters: &[&Path],
    configure: impl Fn(&mut LoadedModel) -> BatchConfig,
) -> Result<(LocalBackend, Vec<String>)> {
    let spec = ModelSpec {
        path: hub::resolve(&spec.path, Fetch::Model)?,
        ..spec.clone()
    };
    let (mut loaded, absent) = load_on_each(&spec, adapters)?;
    let Some((first, kind)) = loaded.first().map(|(device, model)| (device, model.kind)) else {
        bail!("there is no device for the model");
    };
    if let Some((other, _)) = loaded.iter().find(|(_, model)| model.kind != kind) {
        bail!(
            "`{first}` and `{other}` would compute in different types, and answers be those of two models\nhint: --dtype, \
             such as fp32"
        );
    }
    let name = fingerprint(&spec.path, spec.adapter.as_deref(), kind)?;
    let names = adapters
        .iter()
        .map(|adapter| fingerprint(&spec.path, Some(adapter), kind));
    let names = names.collect::<Result<Vec<String>>>()?;
    let configs: Vec<BatchConfig> = loaded.iter_mut().map(|(_, model)| configure(model)).collect();
    let configured = loaded.into_iter().zip(configs);
    let configured = configured.map(|((device, model), config)| (device, model, config));
    Ok((
        LocalBackend::start_all(configured.collect(), absent, name)?,
        names,
    ))
}

/// Models with the names of their devices, and the devices that cannot hold it.
type LoadedOnEach = (Vec<(String, LoadedModel)>, Vec<DeviceFailure>);

/// Loads the model in the directory `spec.path` on each of its devices. Those that fail for want of
/// memory, or by an error of the device, are left out and told.
///
/// # Errors
///
/// If all devices fail, the last one's error. If one fails for another reason, that.
fn load_on_each(spec: &ModelSpec, adapters: &[&Path]) -> Result<LoadedOnEach> {
    let names: Vec<&str> = spec.devices().collect();
    check_devices(&names)?;
    let on = |name: &str| {
        let spec = ModelSpec {
            device: name.to_owned(),
            ..spec.clone()
        };
        load_on_its_own_thread(&spec, adapters)
    };
    // The first alone: what is wrong with the model is wrong on all.
    let mut results = vec![on(names[0])];
    let is_about_model = results[0].as_ref().is_err_and(|error| !is_of_device(error));
    if !is_about_model {
        let rest = std::thread::scope(|scope| {
            let on = &on;
            let threads = names[1..].iter().map(|name| scope.spawn(move || on(name)));
            let threads: Vec<_> = threads.collect();
            let joined = threads.into_iter().map(|thread| {
                let joined = thread.join();
                joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            joined.collect::<Vec<_>>()
        });
        results.extend(rest);
    }
    let (mut loaded, mut failed) = (Vec::new(), Vec::new());
    for (name, result) in names.iter().zip(results) {
        match result {
            Ok(model) => loaded.push(((*name).to_owned(), model)),
            Err(error) if is_of_device(&error) => failed.push((*name, error)),
            Err(error) => return Err(advised(error)),
        }
    }
    if loaded.is_empty()
        && let Some((name, error)) = failed.pop()
    {
        return match names.len() {
            1 => Err(advised(error)),
            _ => Err(advised(error)).with_context(|| format!("device `{name}`")),
        };
    }
    let absent = failed.into_iter().map(|(name, error)| {
        let reason = format!("{error:#}");
        let reason = reason.lines().next().unwrap_or_default().to_owned();
        tracing::warn!("device {name} is left out: {reason}");
        DeviceFailure {
            device: name.to_owned(),
            reason,
        }
    });
    Ok((loaded, absent.collect()))
}

/// Fails on devices that cannot stand beside each other.
fn check_devices(names: &[&str]) -> Result<()> {
    if names.len() > MOST_ENGINES {
        bail!(
            "at most {MOST_ENGINES} devices share a queue, and this list has {}",
            counted(names.len() as u64, "device")
        );
    }
    for (index, name) in names.iter().enumerate() {
        let is_repeated = names[..index].iter().any(|other| gpu(other) == gpu(name));
        if is_repeated && *name != "cpu" {
            bail!("device `{name}` is named twice\nhint: each GPU once; --batch lets one do more at once");
        }
        if *name == "auto" && names.len() > 1 {
            bail!("device `auto` stands alone\nhint: cuda:0,cuda:1, or --gpus 2");
        }
    }
    Ok(())
}

/// Returns the name of a device in full: `cuda` is the first GPU.
fn gpu(name: &str) -> &str {
    if name == "cuda" { "cuda:0" } else { name }
}

/// Whether an error is one of the device, so that another one may do.
fn is_of_device(error: &anyhow::Error) -> bool {
    fault::is_out_of_memory(error) || fault::is_context_broken(error)
}

/// Adds what to do about a model that a GPU cannot hold.
fn advised(error: anyhow::Error) -> anyhow::Error {
    let text = format!("{error:#}");
    if fault::is_out_of_memory(&text) && text.contains("CUDA") && !text.contains("hint:") {
        return anyhow::anyhow!("{text}\nhint: {TOO_LARGE}");
    }
    error
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
