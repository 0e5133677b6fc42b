//! Causal language models over libtorch. In reading order:
//!
//! - [`causal_lm`], [`model_info`]: the trait of a model, and its sizes; `decoder`: what all
//!   families share.
//! - [`families`]: the architectures, one file each.
//! - [`layers`]: what they are made of: linear layers, norms, rotary embedding, attention, LoRA.
//! - [`cache`]: keys and values of earlier tokens.
//! - [`files`]: config, weights, adapters, the hub.
//! - [`text`]: tokenizers and chat templates.
//! - [`device`]: where a model computes, and in which type; [`fault`],
//!   [`out_of_memory`]: errors of libtorch.
//!
//! Shapes: `b` rows of a batch, `t` time, `d` hidden features; `tokens_bt` is int64, `x_btd` the
//! model's type.

pub mod cache;
mod causal_lm;
mod decoder;
pub mod device;
mod families;
pub mod fault;
pub mod files;
pub mod layers;
mod model_info;
pub mod out_of_memory;
#[cfg(test)]
pub(crate) mod tests;
pub mod text;

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use tch::{Device, Kind};

pub use causal_lm::{CausalLm, EmbeddingAndHead};
pub use families::{head_names, prefix, selftest_configs, ties_by_default};
pub use model_info::ModelInfo;

use crate::gguf;
use crate::shim::memory;
use files::adapter;
use files::config::ConfigFields;
use files::weights::{Form, Weights};
use layers::Linear;
use text::tokenizer::Tokenizer;

/// No model has more parameters.
const MOST_PARAMETERS: u128 = 100_000_000_000_000;

/// A model ready to compute, with its tokenizer.
pub struct LoadedModel {
    /// The model with its weights, gradients off.
    pub model: Box<dyn CausalLm>,
    /// The tokenizer in the model's directory.
    pub tokenizer: Tokenizer,
    /// The type it computes in.
    pub kind: Kind,
    /// The device it computes on.
    pub device: Device,
}

/// Builds the model that `fields` describe, with tensors from `weights`.
///
/// # Errors
///
/// If `model_type` is unknown, the config asks for something that is not implemented, or the model
/// would have more parameters than any model has.
pub fn build(fields: &ConfigFields, weights: &mut Weights) -> Result<Box<dyn CausalLm>> {
    fields.refuse_unless("quantization_config", &[])?;
    let model = families::load(fields, weights)?;
    match weights.asked_numbers() {
        Some(numbers) if numbers > MOST_PARAMETERS => bail!(
            "{}: it describes a model of {numbers} parameters, more than any has\nhint: compare it with the source's",
            fields.path().display()
        ),
        _ => Ok(model),
    }
}

/// Reads the model in `dir`: config.json, `*.safetensors` or `pytorch_model*.bin`, tokenizer.json;
/// or a GGUF file, which has all of them. The same goes for every `dir` of a model.
/// `dtype` is as in [`device::dtype`].
///
/// # Errors
///
/// Name the file and everything that is wrong with it: no such directory, unknown `model_type`, a
/// config that asks for something not implemented, tensors missing or of another shape, a truncated
/// file, an unusable tokenizer.
pub fn load(dir: &Path, device: Device, dtype: &str) -> Result<LoadedModel> {
    read(dir, device, dtype, Form::Plain)
}

/// Reads config.json in `dir`, or what a GGUF file says instead. Fails if `dir` is neither, or has
/// none.
pub fn fields(dir: &Path) -> Result<ConfigFields> {
    if !dir.is_dir() && !gguf::is(dir) {
        bail!(
            "no model at {}: neither a directory nor a GGUF file\nhint: pass a local directory with config.json, or a GGUF file",
            dir.display()
        );
    }
    ConfigFields::read(dir)
}

/// Returns sizes and special tokens of the model that `fields` describe, without reading weights.
pub fn info(fields: &ConfigFields) -> Result<ModelInfo> {
    Ok(build(fields, &mut Weights::sketch())?.info().clone())
}

/// Reads the model in `dir` without its tokenizer. Returns it with the type it computes in.
pub fn load_weights(
    dir: &Path,
    device: Device,
    dtype: &str,
    form: Form,
) -> Result<(Box<dyn CausalLm>, Kind)> {
    let _guard = tch::no_grad_guard();
    let fields = fields(dir)?;
    let mut weights = Weights::open(dir, families::of(&fields)?.0.prefix)?;
    let kind = device::dtype(dtype, weights.main_kind(), device, families::of(&fields)?.1)?;
    weights.place(kind, device);
    weights.keep_as(form);
    let model = build(&fields, &mut weights)?;
    weights.finish()?;
    Ok((model, kind))
}

/// Returns the type that most of a checkpoint has, in which it is written again whatever this
/// processor computes in.
pub fn kept_dtype(dir: &Path) -> Result<&'static str> {
    let fields = fields(dir)?;
    let weights = Weights::open(dir, families::of(&fields)?.0.prefix)?;
    Ok(match weights.main_kind() {
        Kind::Float => "fp32",
        Kind::Half => "fp16",
        _ => "bf16",
    })
}

/// As [`load_weights`], which takes no memory for weights: they have their shapes, and nothing in
/// them. Returns where to read them as well, in the type of the model and in host memory.
///
/// # Errors
///
/// As [`load`].
pub fn load_hollow(
    dir: &Path,
    device: Device,
    dtype: &str,
    form: Form,
) -> Result<(Box<dyn CausalLm>, Kind, Weights)> {
    let _guard = tch::no_grad_guard();
    let fields = fields(dir)?;
    let prefix = families::of(&fields)?.0.prefix;
    let mut weights = Weights::open(dir, prefix)?;
    let kind = device::dtype(dtype, weights.main_kind(), device, families::of(&fields)?.1)?;
    weights.place(kind, device);
    weights.keep_hollow(true);
    weights.keep_as(form);
    let model = build(&fields, &mut weights)?;
    weights.finish()?;
    let mut weights = Weights::open(dir, prefix)?;
    weights.place(kind, Device::Cpu);
    Ok((model, kind, weights))
}

/// Does `work` while another thread reads the tokenizer in `dir`: a tokenizer of 262,144 tokens
/// takes as long as half a gigabyte of weights. Returns both results.
pub fn beside_tokenizer<T>(dir: &Path, work: impl FnOnce() -> T) -> Result<(T, Result<Tokenizer>)> {
    let tokenizer_dir = dir.to_path_buf();
    let tokenizer = std::thread::spawn(move || Tokenizer::read(&tokenizer_dir));
    let done = work();
    let tokenizer = tokenizer
        .join()
        .map_err(|_| anyhow!("cannot read the tokenizer in {}", dir.display()))?;
    Ok((done, tokenizer))
}

/// Drops a tokenizer of [`beside_tokenizer`] in another thread, as it was allocated in one. The
/// allocator's count for this thread ([`crate::shim::memory::allocated`]) then remains the memory
/// that this thread uses. A tokenizer of 262,144 tokens takes 75 MB.
pub fn drop_tokenizer(tokenizer: Tokenizer) {
    let _ = std::thread::spawn(move || drop(tokenizer)).join();
}

/// Reads the model in `dir` and its tokenizer side by side; linear layers are kept in `form`.
fn read(dir: &Path, device: Device, dtype: &str, form: Form) -> Result<LoadedModel> {
    let (loaded, tokenizer) = beside_tokenizer(dir, || load_weights(dir, device, dtype, form))?;
    let (model, kind) = loaded?;
    let tokenizer = tokenizer?.belongs_to(model.info())?;
    Ok(LoadedModel {
        model,
        tokenizer,
        kind,
        device,
    })
}

/// Loads the model in `dir` ready for inference, [packed](CausalLm::pack), with the LoRA adapter in
/// `adapter` if there is one. `device` and `dtype` are values of the command line. Fails as
/// [`device::device`], [`load`] and [`adapter::attach`] do.
pub fn open(dir: &Path, adapter: Option<&Path>, device: &str, dtype: &str) -> Result<LoadedModel> {
    let device = device::device(device)?;
    // Weights that an adapter is merged into are packed after the merge.
    let form = if adapter.is_none() {
        Form::Packed
    } else {
        Form::Plain
    };
    let mut loaded = read(dir, device, dtype, form)?;
    if let Some(adapter) = adapter {
        adapter::attach(loaded.model.as_mut(), dir, adapter, device)?;
        loaded.tokenizer = loaded.tokenizer.prompted_as_in(adapter)?;
        let kind = loaded.kind;
        let mut settle = |linear: &mut Linear| {
            let weight_oi = linear.values();
            match &mut linear.lora {
                // In 16 bits the sum would be rounded to the weight's precision, which can be
                // coarser than the correction.
                Some(lora) if kind != Kind::Float => {
                    lora.fix(&weight_oi);
                    lora.a = lora.a.to_kind(kind);
                    lora.b = lora.b.to_kind(kind);
                }
                _ => linear.merge(),
            }
        };
        loaded.model.for_each_linear(&mut settle);
        settle(loaded.model.embedding_and_head().head);
    }
    ready(loaded.model.as_mut(), device);
    Ok(loaded)
}

/// As [`open`], with several adapters of which a forward pass gives each row one or none
/// ([`layers::adapters`]), by their places in `adapters`. The weights are there once.
///
/// # Errors
///
/// As [`open`]'s, and on an adapter that changes more than the linear layers of blocks: that would
/// be another model.
pub fn open_shared(dir: &Path, adapters: &[&Path], device: &str, dtype: &str) -> Result<LoadedModel> {
    let device = device::device(device)?;
    // DoRA needs the weights as they are.
    let mut loaded = read(dir, device, dtype, Form::Plain)?;
    let kind = loaded.kind;
    for path in adapters {
        let beyond = adapter::beyond_blocks(path)?;
        if let Some(name) = beyond.first() {
            bail!(
                "{} changes more than the linear layers of blocks: `{name}`, so it cannot share the model with others\nhint: serve it \
                 alone, with --adapter {}",
                path.display(),
                path.display()
            );
        }
        adapter::attach(loaded.model.as_mut(), dir, path, device)?;
        loaded.model.for_each_linear(&mut |linear| {
            let lora = linear.lora.take().map(|mut lora| {
                lora.fix(&linear.values());
                lora.a = lora.a.to_kind(kind);
                lora.b = lora.b.to_kind(kind);
                lora
            });
            linear.adapters.push(lora);
        });
    }
    ready(loaded.model.as_mut(), device);
    Ok(loaded)
}

/// Brings the weights of a model into the form in which inference on `device` reads them.
fn ready(model: &mut dyn CausalLm, device: Device) {
    model.pack();
    if device.is_cuda() {
        model.join_projections();
        // Layers leave gaps where they lay apart.
        memory::give_back(device);
    }
}
