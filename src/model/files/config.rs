//! `config.json`. No field is ignored silently: it is used, or must have the one value that is
//! implemented here, or is refused by name.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use ewe::text::{chosen, counted};
use ewe::{python_json, settings_file};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::text_config;
use crate::gguf::{self, config::MOST_LAYERS};

/// Largest size in a config. Products of two sizes cannot overflow then, and no real model has
/// more.
const LARGEST: i64 = 1 << 26;
/// Most modules of a kind in all layers together, such as experts; the largest models have some ten
/// thousand.
const MOST_MODULES: i64 = 1 << 17;

/// Fields that count layers.
const LAYERS: &[&str] = &["num_hidden_layers", "n_layer"];

/// Fields that matter in training only, where 0 turns them off.
const TRAINING_ONLY: &[&str] = &[
    "attention_dropout",
    "attn_pdrop",
    "embd_pdrop",
    "hidden_dropout",
    "resid_pdrop",
];

/// The fields of a model's `config.json`.
#[derive(Debug)]
pub struct ConfigFields {
    path: PathBuf,
    fields: Map<String, Value>,
    /// Whether there may be other settings beside the file. A GGUF file has all that there are.
    has_company: bool,
}

impl ConfigFields {
    /// Reads `dir/config.json`, or what the GGUF file `dir` says instead. Fails, naming the file,
    /// when it is missing or not a JSON object.
    pub fn read(dir: &Path) -> Result<ConfigFields> {
        if gguf::is(dir) {
            return Ok(ConfigFields {
                path: dir.to_path_buf(),
                fields: gguf::config::read(dir)?,
                has_company: false,
            });
        }
        let path = dir.join("config.json");
        if !path.exists() && dir.join("adapter_config.json").exists() {
            bail!(
                "{} has an adapter and no model\nhint: name the model that it was trained on, and this as its adapter; `ewe merge` makes one model of both",
                dir.display()
            );
        }
        if !path.exists() {
            bail!(
                "{} is missing\nhint: a model is a directory with config.json, *.safetensors and tokenizer.json, or a GGUF file",
                path.display()
            );
        }
        ConfigFields::read_file(path)
    }

    /// Reads a config file of any name, as Python reads JSON. Fails, naming the file, when it is
    /// missing, longer than a config needs to be, or not a JSON object.
    pub fn read_file(path: PathBuf) -> Result<ConfigFields> {
        let text = settings_file::read(&path, settings_file::LONGEST)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let value = python_json::parse(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        match value {
            Value::Object(fields) => Ok(ConfigFields {
                path,
                fields: text_config::flattened(fields),
                has_company: true,
            }),
            _ => bail!("{} is not a JSON object", path.display()),
        }
    }

    /// Returns the path of the file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a field, or none when it is absent or null. Fails when it has another type.
    pub fn optional<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone()).map(Some).map_err(|_| {
                anyhow!(
                    "{}: field `{name}` has the unusable value {}\nhint: compare it with the source's",
                    self.path.display(),
                    shown(value)
                )
            }),
        }
    }

    /// Reads a field. Fails when it is absent.
    pub fn required<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        self.optional(name)?
            .ok_or_else(|| anyhow!("{}: field `{name}` is missing", self.path.display()))
    }

    /// Reads a size, which must be present and positive.
    pub fn size(&self, name: &str) -> Result<i64> {
        let value: i64 = self.required(name)?;
        let most = if LAYERS.contains(&name) {
            MOST_LAYERS
        } else {
            LARGEST
        };
        if !(1..=most).contains(&value) {
            bail!(
                "{}: field `{name}` is {value}, want 1 to {most}\nhint: compare it with the source's",
                self.path.display()
            );
        }
        Ok(value)
    }

    /// Fails if each of `layers` layers has more modules than any model has, which field `name`
    /// counts: they are made before their weights are found missing.
    pub fn check_modules(&self, name: &str, count: i64, layers: i64) -> Result<()> {
        if count.saturating_mul(layers) > MOST_MODULES {
            bail!(
                "{}: field `{name}` is {count} in each of {}, more than any model has\nhint: compare it with the source's",
                self.path.display(),
                counted(layers, "layer")
            );
        }
        Ok(())
    }

    /// Reads a number, which must be positive and finite, or returns `default` when it is absent.
    pub fn positive(&self, name: &str, default: f64) -> Result<f64> {
        let value = self.optional(name)?.unwrap_or(default);
        self.check_positive(name, value)
    }

    /// Returns `value`, the value of field `name`. Fails unless it is positive and finite.
    pub fn check_positive(&self, name: &str, value: f64) -> Result<f64> {
        if !(value > 0.0 && value.is_finite()) {
            bail!(
                "{}: field `{name}` is {value}, want a positive number\nhint: compare it with the source's",
                self.path.display()
            );
        }
        Ok(value)
    }

    /// Refuses dropout and similar fields, which `transformers` applies in training and ewe does
    /// not.
    pub fn refuse_in_training(&self) -> Result<()> {
        for name in TRAINING_ONLY {
            self.refuse_unless(name, &[0.into()]).map_err(|error| {
                anyhow!("{error}, and training here has no dropout of the model's own\nhint: set it to 0.0 in a copy of the model's folder")
            })?;
        }
        // The loss that keeps a mixture's experts equally busy.
        self.refuse_unless("output_router_logits", &[false.into()])
            .map_err(|error| {
                anyhow!("{error}, and training here has no loss of the router's own\nhint: set it to false in a copy of the model's folder")
            })?;
        Ok(())
    }

    /// Reads a size, which must be positive, or none when it is absent.
    pub fn optional_size(&self, name: &str) -> Result<Option<i64>> {
        match self.optional::<Value>(name)? {
            None => Ok(None),
            Some(_) => self.size(name).map(Some),
        }
    }

    /// Iterates over all fields that are not null, in the order of the file.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Value)> {
        let all = self.fields.iter().map(|(name, value)| (name.as_str(), value));
        all.filter(|(_, value)| !value.is_null())
    }

    /// Returns whether the field is present, even if it is null.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Reads `layer_types`: whether each of `layers` layers has a sliding window; none when absent.
    /// Fails on other types and on another number of layers.
    pub fn slides(&self, layers: usize) -> Result<Option<Vec<bool>>> {
        let Some(types) = self.optional::<Vec<String>>("layer_types")? else {
            return Ok(None);
        };
        let path = self.path.display();
        if types.len() != layers {
            bail!(
                "{path}: `layer_types` has {} for {}",
                chosen(types.len(), "entry", "entries"),
                counted(layers, "layer")
            );
        }
        let slides = types.iter().map(|name| match name.as_str() {
            "sliding_attention" => Ok(true),
            "full_attention" => Ok(false),
            other => bail!("{path}: layer type `{other}` is not supported"),
        });
        slides.collect::<Result<_>>().map(Some)
    }

    /// Refuses a field unless it is absent, null or one of `neutral`: it asks for a computation
    /// that is not implemented.
    pub fn refuse_unless(&self, name: &str, neutral: &[Value]) -> Result<()> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(()),
            // In a config, 0 and 0.0 are the same value.
            Some(value)
                if neutral
                    .iter()
                    .any(|n| n == value || (n.is_number() && n.as_f64() == value.as_f64())) =>
            {
                Ok(())
            }
            Some(value) => {
                let known: Vec<String> = neutral.iter().map(Value::to_string).collect();
                bail!(
                    "{}: `{name}` = {} is not supported (only {})",
                    self.path.display(),
                    shown(value),
                    if known.is_empty() {
                        "null".to_string()
                    } else {
                        known.join(", ")
                    }
                )
            }
        }
    }

    /// Returns `eos_token_id`, one or a list, together with those of `generation_config.json` in
    /// the same directory, sorted. Ids beyond `vocab`, for which the model has no row, are left
    /// out.
    pub fn end_tokens(&self, vocab: i64) -> Result<Vec<i64>> {
        let mut ids = self.ids("eos_token_id")?;
        let beside = self.path.with_file_name("generation_config.json");
        if self.has_company
            && let Ok(beside) = ConfigFields::read_file(beside)
        {
            ids.extend(beside.ids("eos_token_id")?);
        }
        ids.retain(|id| (0..vocab).contains(id));
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Returns `bos_token_id`, if the model has a row for it.
    pub fn begin_token(&self, vocab: i64) -> Result<Option<i64>> {
        let ids = self.ids("bos_token_id")?;
        Ok(ids.first().copied().filter(|id| (0..vocab).contains(id)))
    }

    fn ids(&self, name: &str) -> Result<Vec<i64>> {
        match self.fields.get(name) {
            Some(Value::Array(_)) => self.required(name),
            _ => Ok(self.optional::<i64>(name)?.into_iter().collect()),
        }
    }
}

/// Formats a value for a message, shortened if it is long.
pub fn shown(value: &Value) -> String {
    ewe::text::one_line(&value.to_string(), 60)
}
