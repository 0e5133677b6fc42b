//! `adapter_config.json`. No field is ignored silently: its effect on a trained adapter is known,
//! or it is refused by name.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use regex::Regex;
use serde_json::{Map, Value};

use crate::model::files::config::{ConfigFields, shown};
use crate::model::files::hub;

/// The fields that say how an adapter is applied.
#[derive(Debug)]
pub(super) struct AdapterConfig {
    path: PathBuf,
    pub(super) r: i64,
    pub(super) lora_alpha: f64,
    pub(super) use_rslora: bool,
    pub(super) use_dora: bool,
    /// Ranks and alphas of the layers whose paths end in these patterns.
    pub(super) rank_pattern: Map<String, Value>,
    pub(super) alpha_pattern: Map<String, Value>,
    /// Modules that were trained as a whole: names, or ends of paths.
    modules_to_save: Vec<String>,
    /// Whether a change of one of two tied layers applies to the other as well.
    pub(super) ties: bool,
    /// The base model that the adapter was trained on.
    base: Option<String>,
}

/// Fields that [`AdapterConfig::read`] reads.
const READ: &[&str] = &[
    "alpha_pattern",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "init_lora_weights",
    "lora_alpha",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "use_dora",
    "use_rslora",
];

/// Fields without effect, whatever their value: they concern training, which is over; or which
/// layers have an adapter, which the tensors tell; or they need another field that is refused.
const HARMLESS: &[&str] = &[
    "auto_mapping",
    "corda_config",
    "eva_config",
    "exclude_modules",
    // Where the base keeps weights transposed; A and B are as everywhere.
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    // From peft before 0.3, whose adapters are still in use.
    "merge_weights",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
];

/// Fields that change what an adapter computes, with the value that turns them off, besides null,
/// false and empty.
const PLAIN: &[(&str, &str)] = &[("bias", "none")];

/// Values of `init_lora_weights`, besides `true` and `false`, that leave the base's weights alone.
/// The others subtract from the base what the adapter starts with (PiSSA, OLoRA, CorDA, LoRA-GA),
/// or round the base (LoftQ).
const LEAVES_THE_BASE: &[&str] = &["gaussian", "eva", "orthogonal", "mica"];

/// The hint for what is not implemented.
const MERGE: &str = "let peft merge the adapter into its model (merge_and_unload), and use that";

/// Largest rank of an adapter.
const LARGEST_RANK: i64 = 1 << 16;

impl AdapterConfig {
    /// Reads the config in `dir`. Fails on anything but LoRA and DoRA, and on every field of
    /// unknown meaning.
    pub(super) fn read(dir: &Path) -> Result<AdapterConfig> {
        let path = dir.join("adapter_config.json");
        if !path.exists() {
            bail!(
                "{} is missing\nhint: an adapter is a directory in PEFT's format",
                path.display()
            );
        }
        let fields = ConfigFields::read_file(path)?;
        refuse_other_kinds(&fields)?;
        for (name, value) in fields.all() {
            refuse_unknown(&fields, name, value)?;
        }
        let config = AdapterConfig {
            path: fields.path().to_owned(),
            r: fields.required("r")?,
            lora_alpha: fields.required("lora_alpha")?,
            use_rslora: fields.optional("use_rslora")?.unwrap_or_default(),
            use_dora: fields.optional("use_dora")?.unwrap_or_default(),
            rank_pattern: fields.optional("rank_pattern")?.unwrap_or_default(),
            alpha_pattern: fields.optional("alpha_pattern")?.unwrap_or_default(),
            modules_to_save: fields.optional("modules_to_save")?.unwrap_or_default(),
            ties: fields.optional("ensure_weight_tying")?.unwrap_or_default(),
            base: fields.optional("base_model_name_or_path")?,
        };
        config.check_numbers()?;
        Ok(config)
    }

    fn check_numbers(&self) -> Result<()> {
        let path = self.path.display();
        let ranks = self
            .rank_pattern
            .iter()
            .map(|(name, rank)| (name.as_str(), rank.as_i64()));
        for (name, rank) in ranks.chain([("r", Some(self.r))]) {
            if rank.is_none_or(|rank| !(1..=LARGEST_RANK).contains(&rank)) {
                let rank = rank.map_or_else(|| "no whole number".to_owned(), |rank| rank.to_string());
                bail!("{path}: the rank `{name}` is {rank}, want 1 to {LARGEST_RANK}");
            }
        }
        let alphas = self
            .alpha_pattern
            .iter()
            .map(|(name, alpha)| (name.as_str(), alpha.as_f64()));
        for (name, alpha) in alphas.chain([("lora_alpha", Some(self.lora_alpha))]) {
            let Some(alpha) = alpha else {
                bail!("{path}: the alpha `{name}` is no number");
            };
            // The scale is applied in fp32.
            if !(alpha as f32).is_finite() {
                bail!(
                    "{path}: the alpha `{name}` is {alpha:e}, beyond all numbers that weights have\nhint: it is some ten, mostly"
                );
            }
        }
        for name in self.rank_pattern.keys().chain(self.alpha_pattern.keys()) {
            pattern(name).with_context(|| format!("{path}: `{name}` is a pattern that is not supported"))?;
        }
        Ok(())
    }

    /// Returns the rank of the layer at `path`.
    pub(super) fn rank(&self, path: &str) -> i64 {
        matching(&self.rank_pattern, path)
            .and_then(Value::as_i64)
            .unwrap_or(self.r)
    }

    /// Returns the factor of the adapter's output in the layer at `path`.
    pub(super) fn scale(&self, path: &str) -> f64 {
        let rank = self.rank(path) as f64;
        let alpha = matching(&self.alpha_pattern, path)
            .and_then(Value::as_f64)
            .unwrap_or(self.lora_alpha);
        alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// Returns whether the module at `path` was trained as a whole, in its own copy.
    pub(super) fn saves(&self, path: &str) -> bool {
        let ends = |name: &String| {
            path.strip_suffix(name.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        self.modules_to_save.iter().any(ends)
    }

    /// Fails, since embedding and output head were trained tied, which is not implemented.
    pub(super) fn refuse_tied(&self) -> Result<()> {
        bail!(
            "{}: `ensure_weight_tying` = true is not supported for an adapter of the embedding or the output head\nhint: {MERGE}",
            self.path.display()
        )
    }

    /// Returns the hint for an adapter that does not fit the model in `base`.
    pub(super) fn hint(&self, base: &Path) -> String {
        match &self.base {
            Some(named) => format!(
                "its adapter_config.json names the base model `{named}`; is the one in {} another?",
                base.display()
            ),
            None => "is this adapter for another base model?".to_owned(),
        }
    }

    /// Returns a warning if the adapter names another base model than the one in `base`: models of
    /// equal sizes accept each other's adapters.
    pub(super) fn warning(&self, base: &Path) -> Option<String> {
        let named = self.base.as_deref().filter(|named| !named.is_empty())?;
        let theirs = hub::id_of(Path::new(named)).unwrap_or_else(|| named.to_owned());
        let theirs = plain(last(&theirs));
        let ours = names_of(base);
        let same = |name: &String| name.contains(&theirs) || theirs.contains(name);
        if theirs.is_empty() || ours.is_empty() || ours.iter().any(same) {
            return None;
        }
        Some(format!(
            "{}: the adapter was trained on `{named}`, and is applied to {}",
            self.path.display(),
            hub::id_of(base).unwrap_or_else(|| base.display().to_string())
        ))
    }
}

fn refuse_other_kinds(fields: &ConfigFields) -> Result<()> {
    let path = fields.path().display();
    let kind: String = fields.required("peft_type")?;
    if kind != "LORA" {
        bail!("{path}: peft_type `{kind}` is not supported (only LORA)");
    }
    match fields.optional::<Value>("init_lora_weights")? {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(Value::String(way)) if LEAVES_THE_BASE.contains(&way.to_ascii_lowercase().as_str()) => Ok(()),
        Some(way) => bail!(
            "{path}: `init_lora_weights` = {} is not supported: such an adapter goes with a base whose weights were changed \
             for it\nhint: {MERGE}, or save it by peft with path_initial_model_for_weight_conversion; where --model is the \
             changed base itself, set `init_lora_weights` to true in a copy",
            shown(&way)
        ),
    }
}

/// Fails on a field that changes what an adapter computes, known or not, unless it is off.
fn refuse_unknown(fields: &ConfigFields, name: &str, value: &Value) -> Result<()> {
    let is_off = match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        // An object of settings means that the feature is on, even if it is empty.
        Value::Object(fields) => fields.is_empty() && !name.ends_with("_config"),
        _ => false,
    };
    let is_plain = || PLAIN.iter().any(|(plain, off)| *plain == name && value == off);
    if is_off || READ.contains(&name) || HARMLESS.contains(&name) || is_plain() {
        return Ok(());
    }
    bail!(
        "{}: `{name}` = {} is not supported\nhint: {MERGE}",
        fields.path().display(),
        shown(value)
    )
}

/// Compiles a name in `rank_pattern` as PEFT does: a regular expression for the end of a path.
fn pattern(name: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!(r"^(?:.*\.)?(?:{name})$"))
}

/// Returns the value of the first pattern that matches `path`.
fn matching<'a>(patterns: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let fits = |name: &str| pattern(name).is_ok_and(|pattern| pattern.is_match(path));
    patterns
        .iter()
        .find(|(name, _)| fits(name))
        .map(|(_, value)| value)
}

/// Returns the names that the model in `base` may go by: its folder, at either end of a link, on
/// the hub, and in its config.
fn names_of(base: &Path) -> Vec<String> {
    let folder = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    let said = ConfigFields::read(base).and_then(|fields| fields.optional::<String>("_name_or_path"));
    let names = [
        hub::id_of(base),
        folder(base),
        base.canonicalize().ok().and_then(|path| folder(&path)),
        said.ok().flatten(),
    ];
    let names = names.iter().flatten().map(|name| plain(last(name)));
    names.filter(|name| !name.is_empty()).collect()
}

fn last(name: &str) -> &str {
    let parts = name.split(['/', '\\']);
    parts.rev().find(|part| !part.is_empty()).unwrap_or_default()
}

/// Keeps only letters and digits, in lower case: spellings of a model's name differ in the others.
fn plain(name: &str) -> String {
    let kept = name.chars().filter(|letter| letter.is_alphanumeric());
    kept.flat_map(char::to_lowercase).collect()
}
