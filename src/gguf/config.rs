//! The config.json that a file's metadata describe, with the fields of `transformers`.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value, json};

use super::header::{Header, TensorInfo};
use super::kind::TensorKind;
use super::names::Architecture;
use super::rope_factors::Llama3;

mod families;

/// Layers of Gemma 2 from one with full attention to the next, which llama.cpp does not store.
pub const GEMMA2_PATTERN: usize = 2;
/// Layers of Gemma 3 from one with full attention to the next.
pub const GEMMA3_PATTERN: usize = 6;
/// The rotary base of Gemma 3's layers with a sliding window, which llama.cpp does not store.
pub const GEMMA3_LOCAL_BASE: f64 = 10_000.0;
/// The number of layers by which llama.cpp recognizes Gemma 3 27B, whose attention has another
/// scale.
pub const GEMMA3_27B_LAYERS: i64 = 62;
/// The same of Gemma 2 27B.
pub const GEMMA2_27B_LAYERS: i64 = 46;
/// Layers of SmolLM 3 from one without a rotation to the next, which llama.cpp does not store.
pub const SMOLLM3_INTERVAL: usize = 4;
/// The rotary base of SmolLM 3, where nothing says otherwise.
pub const SMOLLM3_BASE: f64 = 2e6;

/// The caps of Gemma 2 on attention scores and on logits, where nothing says otherwise;
/// `transformers` and llama.cpp take the same.
pub const GEMMA2_CAPS: (f64, f64) = (50.0, 30.0);

/// Most layers of a model; no real one has more.
pub const MOST_LAYERS: i64 = 10_000;

/// Reads the config of the file at `path`.
pub fn read(path: &Path) -> Result<Map<String, Value>> {
    of(&Header::read(path)?)
}

/// Returns the architecture of a file. Fails, naming it, if ewe has no model for it.
pub fn architecture(header: &Header) -> Result<&'static Architecture> {
    let named = header
        .text("general.architecture")?
        .ok_or_else(|| header.missing("general.architecture"))?;
    Architecture::called(named).ok_or_else(|| {
        let known: Vec<&str> = Architecture::all().iter().map(|known| known.name).collect();
        anyhow!(
            "{}: the architecture `{}` is not supported\nhint: known are {}",
            header.path().display(),
            ewe::text::one_line(named, 40),
            known.join(", ")
        )
    })
}

/// The keys of one architecture.
struct Keys<'a> {
    header: &'a Header,
    architecture: &'static Architecture,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture.name)
    }

    fn size(&self, name: &str) -> Result<Option<i64>> {
        self.header.uniform(&self.key(name))
    }

    fn required(&self, name: &str) -> Result<i64> {
        self.size(name)?
            .ok_or_else(|| self.header.missing(&self.key(name)))
    }

    fn number(&self, name: &str) -> Result<Option<f64>> {
        self.header.number(&self.key(name))
    }

    /// Fails if the key is there, unless its value is `neutral`: it asks for a computation that the
    /// model does not do.
    fn refuse(&self, name: &str, neutral: f64) -> Result<()> {
        match self.number(name)? {
            Some(number) if number != neutral => bail!(
                "{}: `{}` = {number} is not supported",
                self.header.path().display(),
                self.key(name)
            ),
            _ => Ok(()),
        }
    }

    fn has(&self, tensor: &str) -> bool {
        self.header.tensor(tensor).is_some()
    }
}

/// What every file says.
struct Sizes {
    layers: i64,
    hidden: i64,
    inner: i64,
    heads: i64,
    head_dim: i64,
    context: i64,
}

impl Sizes {
    fn read(keys: &Keys) -> Result<Sizes> {
        let heads = keys.required("attention.head_count")?;
        let hidden = keys.required("embedding_length")?;
        let head_dim = match keys.size("attention.key_length")? {
            Some(head_dim) => head_dim,
            None if heads > 0 => hidden / heads,
            None => 0,
        };
        if let Some(values) = keys.size("attention.value_length")?
            && values != head_dim
        {
            bail!(
                "{}: `attention.key_length` {head_dim} and `attention.value_length` {values} differ, which is not supported",
                keys.header.path().display()
            );
        }
        Ok(Sizes {
            layers: keys.required("block_count")?,
            hidden,
            inner: keys.required("feed_forward_length")?,
            heads,
            head_dim,
            context: keys.required("context_length")?,
        })
    }
}

/// Returns the config of a file.
///
/// # Errors
///
/// Name the file and the key that is missing or asks for something that is not implemented.
pub fn of(header: &Header) -> Result<Map<String, Value>> {
    let architecture = architecture(header)?;
    let keys = Keys { header, architecture };
    if architecture.name != "qwen3moe" {
        keys.refuse("expert_count", 0.0)?;
    }
    if architecture.name != "gemma2" {
        keys.refuse("final_logit_softcapping", 0.0)?;
        keys.refuse("attn_logit_softcapping", 0.0)?;
    }
    let embedding = header.tensor("token_embd.weight").with_context(|| {
        format!(
            "{}: tensor `token_embd.weight` is missing",
            header.path().display()
        )
    })?;
    let sizes = Sizes::read(&keys)?;
    let mut config = Map::new();
    let mut set = |name: &str, value: Value| config.insert(name.to_owned(), value);
    set("architectures", json!([architecture.class]));
    set("model_type", json!(architecture.model_types[0]));
    set("vocab_size", json!(embedding.shape.first()));
    set("tie_word_embeddings", json!(!keys.has("output.weight")));
    set("dtype", json!(dtype(header)));
    set("torch_dtype", json!(dtype(header)));
    for (name, ids) in special_ids(header)? {
        set(name, ids);
    }
    if architecture.name == "gpt2" {
        families::gpt2(&keys, &sizes, &mut config)?;
        return Ok(config);
    }
    set("hidden_size", json!(sizes.hidden));
    set("intermediate_size", json!(sizes.inner));
    set("num_hidden_layers", json!(sizes.layers));
    set("num_attention_heads", json!(sizes.heads));
    set("max_position_embeddings", json!(sizes.context));
    families::read(&keys, &sizes, &mut config)?;
    Ok(config)
}

/// Returns the type that the weights were in before they were quantized, as far as the file tells.
fn dtype(header: &Header) -> &'static str {
    let bytes = |wanted: TensorKind| -> u64 {
        let of = header.tensors().iter().filter(|tensor| tensor.kind == wanted);
        of.map(|tensor| tensor.end - tensor.start).sum()
    };
    let all: u64 = header
        .tensors()
        .iter()
        .map(|tensor| tensor.end - tensor.start)
        .sum();
    if bytes(TensorKind::F32) * 2 > all {
        "float32"
    } else if bytes(TensorKind::F16) * 2 > all {
        "float16"
    } else {
        "bfloat16"
    }
}

/// Returns the ids of special tokens, under their names in config.json.
pub fn special_ids(header: &Header) -> Result<Vec<(&'static str, Value)>> {
    let id = |name: &str| header.integer(&format!("tokenizer.ggml.{name}_token_id"));
    let mut found = Vec::new();
    if let Some(id) = id("bos")? {
        found.push(("bos_token_id", json!(id)));
    }
    let mut ends: Vec<i64> = Vec::new();
    for name in ["eos", "eot", "eom"] {
        ends.extend(id(name)?.filter(|id| !ends.contains(id)));
    }
    match ends.as_slice() {
        [] => {}
        [one] => found.push(("eos_token_id", json!(one))),
        all => found.push(("eos_token_id", json!(all))),
    }
    if let Some(id) = id("padding")? {
        found.push(("pad_token_id", json!(id)));
    }
    Ok(found)
}

/// Reads base and scaling of the rotation of all `head_dim` features.
fn rotation(keys: &Keys, head_dim: i64, config: &mut Map<String, Value>) -> Result<()> {
    let path = keys.header.path().display();
    if let Some(dims) = keys.size("rope.dimension_count")?
        && dims != head_dim
    {
        bail!("{path}: a rotation of {dims} in heads of {head_dim} is not supported");
    }
    let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    config.insert("rope_theta".to_owned(), json!(theta));
    let mut scaling = linear(keys)?;
    if let Some(tensor) = keys.header.tensor("rope_freqs.weight") {
        let factors = singles(keys.header, tensor)?;
        let Some(found) = Llama3::of(&factors, theta, head_dim) else {
            bail!("{path}: tensor `rope_freqs.weight` has factors of no known scaling of frequencies");
        };
        scaling = json!({
            "rope_type": "llama3",
            "factor": found.factor,
            "low_freq_factor": found.low,
            "high_freq_factor": found.high,
            "original_max_position_embeddings": found.original as i64,
        });
    }
    config.insert("rope_scaling".to_owned(), scaling);
    Ok(())
}

/// Returns the numbers of a small tensor. Fails unless they are singles.
fn singles(header: &Header, tensor: &TensorInfo) -> Result<Vec<f32>> {
    if tensor.kind != TensorKind::F32 {
        bail!(
            "{}: tensor `{}` is {}, want F32",
            header.path().display(),
            tensor.name,
            tensor.kind.name()
        );
    }
    let bytes = header.bytes_of(tensor)?;
    let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok(bytes.chunks_exact(4).map(number).collect())
}

/// Reads the linear scaling of frequencies; null if there is none.
fn linear(keys: &Keys) -> Result<Value> {
    let kind = keys.header.text(&keys.key("rope.scaling.type"))?;
    let factor = keys.number("rope.scaling.factor")?;
    // Files of 2023 have the factor under another name.
    let factor = factor.or(keys.number("rope.scale_linear")?);
    Ok(match (kind, factor) {
        (None | Some("none"), None) | (None | Some("none" | "linear"), Some(1.0)) => Value::Null,
        (None | Some("linear"), Some(factor)) => json!({"rope_type": "linear", "factor": factor}),
        (Some("linear"), None) => return Err(keys.header.missing(&keys.key("rope.scaling.factor"))),
        (Some(kind), _) => bail!(
            "{}: `{}` = `{}` is not supported (only linear)",
            keys.header.path().display(),
            keys.key("rope.scaling.type"),
            ewe::text::one_line(kind, 40)
        ),
    })
}

/// Returns the share that `part` is of `whole`, such that their product is not less than `part`.
fn share(part: i64, whole: i64) -> f64 {
    let share = part as f64 / whole.max(1) as f64;
    if ((share * whole as f64) as i64) < part {
        share.next_up()
    } else {
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_lead_back_to_their_parts() {
        for whole in 1..200 {
            for part in 1..=whole {
                assert_eq!(
                    (whole as f64 * share(part, whole)) as i64,
                    part,
                    "{part} of {whole}"
                );
            }
        }
    }
}
