//! The model families: one row of the table [`FAMILIES`] each, and one file that the row names.
//!
//! Everything that differs between families and is asked outside of their own files is a column
//! here.

mod gemma;
mod gpt2;
mod gptj;
mod llama;
mod neox;
mod olmo2;
mod phi3;
mod stablelm;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::model::CausalLm;
use crate::model::files::config::ConfigFields;
use crate::model::files::weights::Weights;

/// One row of the table.
pub struct Family {
    /// Values of `model_type` in config.json.
    model_types: &'static [&'static str],
    /// Prefix of every weight name but the head's in published checkpoints.
    pub prefix: &'static str,
    /// Names of the output head in checkpoints and adapters.
    head_names: &'static [&'static str],
    /// Whether head and embedding are tied where config.json has no `tie_word_embeddings`.
    ties_by_default: bool,
    /// Builds the model that a config describes; `model_type` is one of the row's.
    load: Load,
    /// The config.json of a tiny model, which `ewe selftest` trains; none where another row's is of
    /// the same layers.
    selftest_config: Option<fn() -> Value>,
}

type Load = fn(model_type: &'static str, &ConfigFields, &mut Weights) -> Result<Box<dyn CausalLm>>;

/// Every model family, in the order in which errors and `ewe selftest` list them.
static FAMILIES: &[Family] = &[
    Family {
        model_types: &["gpt2"],
        prefix: "transformer.",
        head_names: &["lm_head"],
        ties_by_default: true,
        load: gpt2::load,
        selftest_config: Some(gpt2::selftest_config),
    },
    Family {
        model_types: &["gptj"],
        prefix: "transformer.",
        head_names: &["lm_head"],
        ties_by_default: false,
        load: gptj::load,
        selftest_config: Some(gptj::selftest_config),
    },
    Family {
        model_types: &["gpt_neox"],
        prefix: "gpt_neox.",
        head_names: &["embed_out", "lm_head"],
        ties_by_default: false,
        load: neox::load,
        selftest_config: Some(neox::selftest_config),
    },
    Family {
        model_types: &[
            "llama",
            "mistral",
            "ministral",
            "granite",
            "qwen2",
            "qwen3",
            "qwen3_moe",
        ],
        prefix: "model.",
        head_names: &["lm_head"],
        ties_by_default: false,
        load: llama::load,
        selftest_config: Some(llama::selftest_config),
    },
    Family {
        model_types: &["smollm3"],
        prefix: "model.",
        head_names: &["lm_head"],
        ties_by_default: true,
        load: llama::load,
        selftest_config: Some(llama::smollm3_selftest_config),
    },
    Family {
        model_types: &["phi3"],
        prefix: "model.",
        head_names: &["lm_head"],
        ties_by_default: false,
        load: phi3::load,
        selftest_config: Some(phi3::selftest_config),
    },
    Family {
        model_types: &["stablelm"],
        prefix: "model.",
        head_names: &["lm_head"],
        ties_by_default: false,
        load: stablelm::load,
        selftest_config: Some(stablelm::selftest_config),
    },
    Family {
        model_types: &["olmo2"],
        prefix: "model.",
        head_names: &["lm_head"],
        ties_by_default: false,
        load: olmo2::load,
        selftest_config: Some(olmo2::selftest_config),
    },
    Family {
        model_types: &["gemma2"],
        prefix: "model.",
        head_names: &["lm_head"],
        ties_by_default: true,
        load: gemma::load,
        selftest_config: Some(gemma::gemma2_selftest_config),
    },
    Family {
        model_types: &["gemma3_text"],
        prefix: "model.",
        head_names: &["lm_head"],
        ties_by_default: true,
        load: gemma::load,
        selftest_config: Some(gemma::selftest_config),
    },
    Family {
        model_types: &["gemma3"],
        prefix: "model.language_model.",
        head_names: &["lm_head"],
        ties_by_default: true,
        load: gemma::load,
        selftest_config: None,
    },
];

/// Models that people ask for and that are not supported, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("qwen3_5", LINEAR_ATTENTION),
    ("qwen3_5_text", LINEAR_ATTENTION),
    ("qwen3_5_moe", LINEAR_ATTENTION),
    ("qwen3_next", LINEAR_ATTENTION),
    ("ministral3", "it scales queries by their position"),
    ("mistral3", "it scales queries by their position"),
    ("falcon", "only Falcon 3 and later are, whose type is llama"),
];

/// The reason against Qwen 3.5 and its like.
const LINEAR_ATTENTION: &str =
    "three of four layers have linear attention, with a state instead of keys and values";

/// Returns the family that a config's `model_type` names, and that name. Fails on an unknown one.
pub fn of(fields: &ConfigFields) -> Result<(&'static Family, &'static str)> {
    let named: String = fields.required("model_type")?;
    match find(&named) {
        Some(found) => Ok(found),
        None => bail!(
            "{}: model_type `{named}` is not supported{}\nhint: known types are {}",
            fields.path().display(),
            match REFUSED.iter().find(|(name, _)| *name == named) {
                Some((_, why)) => format!(": {why}"),
                None => String::new(),
            },
            all().map(|(_, name)| name).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Builds the model that `fields` describe, with tensors from `weights`.
pub fn load(fields: &ConfigFields, weights: &mut Weights) -> Result<Box<dyn CausalLm>> {
    let (family, model_type) = of(fields)?;
    (family.load)(model_type, fields, weights)
}

/// Returns the prefix of every weight name but the head's in published checkpoints of a model whose
/// [`family`](crate::model::ModelInfo::family) is `model_type`.
///
/// # Panics
///
/// If there is no such family.
pub fn prefix(model_type: &str) -> &'static str {
    known(model_type).prefix
}

/// Returns whether head and embedding are tied where config.json does not say, in the family
/// `model_type`.
///
/// # Panics
///
/// If there is no such family.
pub fn ties_by_default(model_type: &str) -> bool {
    known(model_type).ties_by_default
}

/// Returns every name of an output head, each once.
pub fn head_names() -> Vec<&'static str> {
    let mut names = Vec::new();
    for name in FAMILIES.iter().flat_map(|family| family.head_names) {
        if !names.contains(name) {
            names.push(*name);
        }
    }
    names
}

/// Returns the config.json of a tiny model of every family, with its `model_type`.
pub fn selftest_configs() -> impl Iterator<Item = (&'static str, Value)> {
    FAMILIES.iter().filter_map(|family| {
        let config = family.selftest_config?();
        let mut names = family.model_types.iter();
        let name = names.find(|name| config["model_type"] == **name);
        Some((*name.expect("the config is of its own row"), config))
    })
}

fn all() -> impl Iterator<Item = (&'static Family, &'static str)> {
    FAMILIES
        .iter()
        .flat_map(|family| family.model_types.iter().map(move |name| (family, *name)))
}

fn find(model_type: &str) -> Option<(&'static Family, &'static str)> {
    all().find(|(_, name)| *name == model_type)
}

fn known(model_type: &str) -> &'static Family {
    let (family, _) = find(model_type).expect("`ModelInfo::family` comes from the table");
    family
}
