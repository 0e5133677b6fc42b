//! `config.json`, read so that nothing is passed over in silence: a field is used, or it must have the one value
//! that this program's computation stands for, or it is refused by name.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The fields of a model's `config.json`.
#[derive(Debug)]
pub struct Fields {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl Fields {
    /// Reads `dir/config.json`. Fails, naming the file, when it is missing or not a JSON object.
    pub fn read(dir: &Path) -> Result<Fields> {
        Fields::read_file(dir.join("config.json"))
    }

    /// Reads a config alone, whatever its file is called.
    pub fn read_file(path: PathBuf) -> Result<Fields> {
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}\nhint: a model is a directory with config.json, *.safetensors and tokenizer.json", path.display())
        })?;
        let value: Value =
            serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        match value {
            Value::Object(fields) => Ok(Fields { path, fields }),
            _ => bail!("{} is not a JSON object", path.display()),
        }
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A field, or none when it is absent or null. Fails when it has another type.
    pub fn optional<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone()).map(Some).map_err(|_| {
                anyhow!(
                    "{}: field `{name}` has the unusable value {value}",
                    self.path.display()
                )
            }),
        }
    }

    /// A field that must be there.
    pub fn required<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        self.optional(name)?
            .ok_or_else(|| anyhow!("{}: field `{name}` is missing", self.path.display()))
    }

    /// A size that must be there and positive.
    pub fn size(&self, name: &str) -> Result<i64> {
        let value: i64 = self.required(name)?;
        if value < 1 {
            bail!(
                "{}: field `{name}` is {value}, want at least 1",
                self.path.display()
            );
        }
        Ok(value)
    }

    /// A size that may be left out, but must be positive.
    pub fn optional_size(&self, name: &str) -> Result<Option<i64>> {
        match self.optional::<Value>(name)? {
            None => Ok(None),
            Some(_) => self.size(name).map(Some),
        }
    }

    /// Whether the field is there, be it null.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Which of `layers` layers have a sliding window, as `layer_types` says, if it is there. Fails on other types and
    /// another number of layers.
    pub fn slides(&self, layers: usize) -> Result<Option<Vec<bool>>> {
        let Some(types) = self.optional::<Vec<String>>("layer_types")? else {
            return Ok(None);
        };
        let path = self.path.display();
        if types.len() != layers {
            bail!(
                "{path}: `layer_types` has {} entries for {layers} layers",
                types.len()
            );
        }
        let slides = types.iter().map(|name| match name.as_str() {
            "sliding_attention" => Ok(true),
            "full_attention" => Ok(false),
            other => bail!("{path}: layer type `{other}` is not supported"),
        });
        slides.collect::<Result<_>>().map(Some)
    }

    /// Refuses a field whose value is neither absent, null nor one of `neutral`: it asks for a computation that is
    /// not implemented.
    pub fn refuse_unless(&self, name: &str, neutral: &[Value]) -> Result<()> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(()),
            // 0 and 0.0 are the same value to a config.
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
                    "{}: `{name}` = {value} is not supported (only {})",
                    self.path.display(),
                    if known.is_empty() {
                        "null".to_string()
                    } else {
                        known.join(", ")
                    }
                )
            }
        }
    }

    /// `eos_token_id`, one or a list, together with those of `generation_config.json` beside it.
    pub fn end_tokens(&self) -> Result<Vec<i64>> {
        let mut ids = self.ids("eos_token_id")?;
        let beside = self.path.with_file_name("generation_config.json");
        if let Ok(text) = std::fs::read_to_string(&beside)
            && let Ok(Value::Object(fields)) = serde_json::from_str(&text)
        {
            ids.extend(Fields { path: beside, fields }.ids("eos_token_id")?);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    fn ids(&self, name: &str) -> Result<Vec<i64>> {
        match self.fields.get(name) {
            Some(Value::Array(_)) => self.required(name),
            _ => Ok(self.optional::<i64>(name)?.into_iter().collect()),
        }
    }
}
