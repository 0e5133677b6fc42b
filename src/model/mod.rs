//! Causal language models over libtorch. In reading order:
//!
//! - [`gptj`], [`neox`], [`llama`], [`gemma3`]: an architecture a file.
//! - [`layers`], [`lora`], [`activation`], [`rope`], [`attention`], [`prefix_tree`], [`matmul`], [`nf4`], [`cache`] (and its [`room`]): what they share.
//! - [`config`], [`weights`], [`tokenizer`] (and its [guard](tokenizer_guard)), [`token_bytes`], [`chat_template`], [`adapter`]: what is read from a model's directory.
//! - [`conversation_template`]: in which form a model is asked, by its own template, one of ewe's, or the user's ([`block_template`]).
//! - [`torch_file`], [`pickle`]: weights in PyTorch's own format, read without running it.
//! - [`hub`]: models named by their id on the Hugging Face hub.
//! - [`device`]: where it computes, and in which type; [`fault`]: what libtorch could not do.
//!
//! Shapes: `b` rows of a batch, `t` time, `d` hidden features; `tokens_bt` is int64, `x_btd` the model's type.

pub mod activation;
pub mod adapter;
pub mod attention;
pub mod block_template;
pub mod cache;
pub mod chat_template;
pub mod config;
pub mod conversation_template;
pub mod device;
pub mod fault;
pub mod fingerprint;
pub mod gemma3;
pub mod gptj;
pub mod hub;
pub mod layers;
pub mod llama;
pub mod lora;
pub mod matmul;
pub mod neox;
pub mod nf4;
mod pickle;
pub mod prefix_tree;
pub mod room;
pub mod rope;
#[cfg(test)]
pub(crate) mod tests;
pub mod token_bytes;
pub mod tokenizer;
mod tokenizer_guard;
mod torch_file;
pub mod weights;

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use tch::{Device, Kind, Tensor};

use attention::ForwardPass;
use config::Fields;
use layers::{Embedding, Linear};
use tokenizer::Tokenizer;
use weights::{Form, Weights};

/// What the rest of the program needs to know of an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// `model_type` of config.json.
    pub family: &'static str,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: i64,
    /// Key/value heads.
    pub kv_heads: i64,
    /// Features of a head.
    pub head_dim: i64,
    /// Features between blocks.
    pub hidden: i64,
    /// Rows of the embedding; never fewer than the tokenizer's tokens.
    pub vocab: i64,
    /// The most tokens a sequence may have.
    pub context: usize,
    /// Any of these ends a text.
    pub end_tokens: Vec<i64>,
    /// Begins a text, in models that have such a token.
    pub begin_token: Option<i64>,
    /// Whether the output head is the embedding.
    pub tied: bool,
}

/// A causal language model. [`CausalLm::forward`] is embed, every block in order, finish; the parts are public so
/// that training can recompute a block at a time.
pub trait CausalLm: Send {
    /// Sizes and special tokens.
    fn info(&self) -> &ModelInfo;

    /// `tokens_bt` to the first block's `x_btd`.
    fn embed(&self, tokens_bt: &Tensor) -> Tensor;

    /// Block `layer`: `x_btd` to `x_btd`, or in the last to what the pass [wants](ForwardPass::wanted_at).
    fn block(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor;

    /// The last norm: `x_btd` to `hidden_btd`.
    fn finish(&self, x_btd: &Tensor) -> Tensor;

    /// Scores of the next token: `hidden` `[…, d]` to `[…, vocab]`, in the model's type.
    fn logits(&self, hidden: &Tensor) -> Tensor;

    /// The output head as a matrix `[vocab, d]` and a bias `[vocab]`, sharing memory with the model: training works
    /// on them a chunk of positions at a time.
    fn head(&self) -> (Tensor, Option<Tensor>);

    /// `tokens_bt` to `hidden_btd`, after the last norm, or to what the pass wants of it.
    fn forward(&self, tokens_bt: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let mut x_btd = self.embed(tokens_bt);
        for layer in 0..self.info().layers {
            x_btd = self.block(layer, &x_btd, pass);
        }
        self.finish(&x_btd)
    }

    /// Visits every linear layer of every block, in order: those an adapter can be attached to. The head is not
    /// among them.
    fn for_each_linear(&mut self, f: &mut dyn FnMut(&mut Linear));

    /// Embedding and output head, to be changed.
    fn ends(&mut self) -> Ends<'_>;

    /// Gives the output head weights of its own, where they are the embedding's.
    fn untie(&mut self) {
        let Ends {
            head,
            head_name,
            tied,
            ..
        } = self.ends();
        if std::mem::replace(tied, false) {
            *head = Linear::of(head_name, head.weight.copy(), head.bias.take());
        }
    }

    /// Makes the output head ready for inference, see [`Linear::pack`].
    fn pack_head(&mut self) {
        self.ends().head.pack();
    }

    /// Makes every product of matrices ready for inference. There is no way back: weights move into an order that only
    /// products know, so [`CausalLm::parameters`] and [`CausalLm::head`] are of no use afterwards.
    fn pack(&mut self) {
        self.for_each_linear(&mut |linear| linear.pack());
        self.pack_head();
    }

    /// Every weight under its name in the checkpoint, sharing memory with the model; adapters are not among them,
    /// and a tied head appears once, as the embedding.
    fn parameters(&self) -> Vec<(String, Tensor)>;
}

/// Where tokens go in and scores come out.
pub struct Ends<'a> {
    /// A row a token.
    pub embedding: &'a mut Embedding,
    /// The embedding again, where they are tied.
    pub head: &'a mut Linear,
    /// Path of a head of its own.
    pub head_name: &'static str,
    /// Whether the two share their weights.
    pub tied: &'a mut bool,
}

/// A model ready to compute, with its tokenizer.
pub struct LoadedModel {
    /// The architecture with its weights, gradients off.
    pub model: Box<dyn CausalLm>,
    /// The tokenizer beside it.
    pub tokenizer: Tokenizer,
    /// What it computes in.
    pub kind: Kind,
    /// Where it computes.
    pub device: Device,
}

/// What published checkpoints of a family put before every name but the head's.
pub fn prefix(family: &str) -> &'static str {
    match family {
        "gptj" => gptj::GptJ::PREFIX,
        "gpt_neox" => neox::GptNeoX::PREFIX,
        "llama" | "mistral" | "qwen2" | "qwen3" => llama::Llama::PREFIX,
        _ => gemma3::Gemma3::PREFIX,
    }
}

/// Values of `model_type` that [`load`] knows.
pub const FAMILIES: &[&str] = &[
    "gptj",
    "gpt_neox",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma3_text",
];

/// Which of [`FAMILIES`] a config describes; fails on any other.
fn family(fields: &Fields) -> Result<&'static str> {
    let named: String = fields.required("model_type")?;
    match FAMILIES.iter().find(|family| **family == named) {
        Some(family) => Ok(family),
        None => bail!(
            "{}: model_type `{named}` is not supported\nhint: known types are {}",
            fields.path().display(),
            FAMILIES.join(", ")
        ),
    }
}

/// The model that `fields` describe, with its tensors taken from `weights`.
pub fn build(fields: &Fields, weights: &mut Weights) -> Result<Box<dyn CausalLm>> {
    fields.refuse_unless("quantization_config", &[])?;
    let model: Box<dyn CausalLm> = match family(fields)? {
        "gptj" => Box::new(gptj::GptJ::load(fields, weights)?),
        "gpt_neox" => Box::new(neox::GptNeoX::load(fields, weights)?),
        family @ ("llama" | "mistral" | "qwen2" | "qwen3") => {
            Box::new(llama::Llama::load(family, fields, weights)?)
        }
        _ => Box::new(gemma3::Gemma3::load(fields, weights)?),
    };
    match weights.asked_numbers() {
        Some(numbers) if numbers > LARGEST => bail!(
            "{}: it describes a model of {numbers} parameters, more than any has\nhint: compare it with the source's",
            fields.path().display()
        ),
        _ => Ok(model),
    }
}

/// No model has more parameters.
const LARGEST: u128 = 100_000_000_000_000;

/// Reads the model in `dir`: config.json, `*.safetensors` or `pytorch_model*.bin`, tokenizer.json. `dtype` is as in [`device::dtype`].
///
/// Fails with the file and all that is wrong with it: no such directory, unknown `model_type`, a config that asks for
/// something not implemented, tensors that are missing or misshapen, a truncated file, an unusable tokenizer.
pub fn load(dir: &Path, device: Device, dtype: &str) -> Result<LoadedModel> {
    read(dir, device, dtype, Form::Plain)
}

/// config.json in `dir`. Fails when that is no directory, or has none.
pub fn fields(dir: &Path) -> Result<Fields> {
    if !dir.is_dir() {
        bail!(
            "no model at {}: not a directory\nhint: pass a local directory with config.json",
            dir.display()
        );
    }
    Fields::read(dir)
}

/// What `fields` say of the model; nothing else is read.
pub fn info(fields: &Fields) -> Result<ModelInfo> {
    Ok(build(fields, &mut Weights::sketch())?.info().clone())
}

/// The model in `dir` alone, without its tokenizer, and what it computes in.
pub fn load_weights(
    dir: &Path,
    device: Device,
    dtype: &str,
    form: Form,
) -> Result<(Box<dyn CausalLm>, Kind)> {
    let _guard = tch::no_grad_guard();
    let fields = fields(dir)?;
    let mut weights = Weights::open(dir, prefix(family(&fields)?))?;
    let kind = device::dtype(dtype, weights.main_kind(), device)?;
    weights.place(kind, device);
    weights.keep_as(form);
    let model = build(&fields, &mut weights)?;
    weights.finish()?;
    Ok((model, kind))
}

/// What `work` gives, and the tokenizer in `dir`, which is read meanwhile: one of 262,144 tokens takes as long as half a
/// gigabyte of weights.
pub fn beside_tokenizer<T>(dir: &Path, work: impl FnOnce() -> T) -> Result<(T, Result<Tokenizer>)> {
    let tokenizer_dir = dir.to_path_buf();
    let tokenizer = std::thread::spawn(move || Tokenizer::read(&tokenizer_dir));
    let done = work();
    let tokenizer = tokenizer
        .join()
        .map_err(|_| anyhow!("cannot read the tokenizer in {}", dir.display()))?;
    Ok((done, tokenizer))
}

/// Drops a tokenizer as [`beside_tokenizer`] made it, in another thread: what the allocator counts of this one then stays what is used by it
/// ([`crate::shim::memory::allocated`]). One of 262,144 tokens takes 75 MB.
pub fn let_go(tokenizer: Tokenizer) {
    let _ = std::thread::spawn(move || drop(tokenizer)).join();
}

/// As [`load`], in another form.
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

/// Loads the model in `dir` ready to answer, [packed](CausalLm::pack), with the LoRA adapter in `adapter` if there is one.
/// `device` and `dtype` are those of the command line. Fails as [`device::device`], [`load`] and [`adapter::attach`] do.
pub fn open(dir: &Path, adapter: Option<&Path>, device: &str, dtype: &str) -> Result<LoadedModel> {
    let device = device::device(device)?;
    // What an adapter is merged into is packed afterwards.
    let form = if adapter.is_none() {
        Form::Packed
    } else {
        Form::Plain
    };
    let mut loaded = read(dir, device, dtype, form)?;
    if let Some(adapter) = adapter {
        adapter::attach(loaded.model.as_mut(), dir, adapter, device)?;
        loaded.tokenizer = loaded.tokenizer.asked_as_in(adapter)?;
        let kind = loaded.kind;
        let mut settle = |linear: &mut Linear| match &mut linear.lora {
            // In 16 bits the sum would be rounded to the weight's precision, which can be coarser than the correction.
            Some(lora) if kind != Kind::Float => {
                lora.fix(&linear.weight);
                lora.a = lora.a.to_kind(kind);
                lora.b = lora.b.to_kind(kind);
            }
            _ => linear.merge(),
        };
        loaded.model.for_each_linear(&mut settle);
        settle(loaded.model.ends().head);
    }
    loaded.model.pack();
    Ok(loaded)
}
