//! `adapter_config.json`, read so that nothing is passed over in silence: of every field it is known what it does to a finished adapter,
//! or it is refused by name.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use regex::Regex;
use serde_json::{Map, Value};

use crate::model::config::{Fields, shown};
use crate::model::hub;

/// The fields that say how an adapter is applied.
#[derive(Debug)]
pub(super) struct Config {
    path: PathBuf,
    pub(super) r: i64,
    pub(super) lora_alpha: f64,
    pub(super) use_rslora: bool,
    pub(super) use_dora: bool,
    /// Inner widths and alphas of the layers whose paths end in these patterns.
    pub(super) rank_pattern: Map<String, Value>,
    pub(super) alpha_pattern: Map<String, Value>,
    /// Modules that were trained whole: names, or ends of paths.
    modules_to_save: Vec<String>,
    /// Whether what is done to one of two that are tied is done to the other.
    pub(super) ties: bool,
    /// What it was trained on.
    base: Option<String>,
}

/// What [`Config::read`] reads.
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

/// What changes nothing, whatever it says: it is about training, which has ended, about which layers an adapter is for, which its
/// tensors tell, or means something together with another field only, that is refused.
const HARMLESS: &[&str] = &[
    "auto_mapping",
    "corda_config",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    // Of peft before 0.3, whose adapters are still about.
    "merge_weights",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
];

/// What changes what an adapter means, with the value beside null, false and none that leaves it the LoRA implemented here.
const PLAIN: &[(&str, &str)] = &[("bias", "none")];

/// Ways in which an adapter begins that leave the weights of its base alone: `true` and `false`, and these. The others take from the
/// base what they give to the adapter (PiSSA, OLoRA, CorDA, LoRA-GA), or round it (LoftQ).
const LEAVES_THE_BASE: &[&str] = &["gaussian", "eva", "orthogonal", "mica"];

/// The way out of what is not computed here.
const MERGE: &str = "let peft merge the adapter into its model (merge_and_unload), and use that";

/// No adapter is wider.
const LARGEST_RANK: i64 = 1 << 16;

impl Config {
    /// Reads the one in `dir`. Fails on what is neither LoRA nor DoRA, and on every field whose meaning is not known.
    pub(super) fn read(dir: &Path) -> Result<Config> {
        let path = dir.join("adapter_config.json");
        if !path.exists() {
            bail!(
                "{} is missing\nhint: an adapter is a directory in PEFT's format",
                path.display()
            );
        }
        let fields = Fields::read_file(path)?;
        refuse_other_kinds(&fields)?;
        for (name, value) in fields.all() {
            refuse_unknown(&fields, name, value)?;
        }
        let config = Config {
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
            // What it multiplies is computed in fp32.
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

    /// Inner width of the layer at `path`.
    pub(super) fn rank(&self, path: &str) -> i64 {
        matching(&self.rank_pattern, path)
            .and_then(Value::as_i64)
            .unwrap_or(self.r)
    }

    /// What the output of the layer at `path` is multiplied with.
    pub(super) fn scale(&self, path: &str) -> f64 {
        let rank = self.rank(path) as f64;
        let alpha = matching(&self.alpha_pattern, path)
            .and_then(Value::as_f64)
            .unwrap_or(self.lora_alpha);
        alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// Whether the module at `path` was trained whole, in a copy of its own.
    pub(super) fn saves(&self, path: &str) -> bool {
        let ends = |name: &String| {
            path.strip_suffix(name.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        self.modules_to_save.iter().any(ends)
    }

    /// Fails, since embedding and output head were trained as one, which is not done here.
    pub(super) fn refuse_tied(&self) -> Result<()> {
        bail!(
            "{}: `ensure_weight_tying` = true is not supported for an adapter of the embedding or the output head\nhint: {MERGE}",
            self.path.display()
        )
    }

    /// What to do where the adapter does not fit the model in `base`.
    pub(super) fn hint(&self, base: &Path) -> String {
        match &self.base {
            Some(named) => format!(
                "its adapter_config.json names the base model `{named}`; is the one in {} another?",
                base.display()
            ),
            None => "is this adapter for another base model?".to_owned(),
        }
    }

    /// What to say where the adapter names another model than that in `base`; models of the same sizes take each other's adapters.
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

fn refuse_other_kinds(fields: &Fields) -> Result<()> {
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

/// Fails on a field that changes what an adapter means, known or not, unless it is off.
fn refuse_unknown(fields: &Fields, name: &str, value: &Value) -> Result<()> {
    let is_off = match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        // A config of its own is on with its defaults then.
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

/// PEFT's reading of a name in `rank_pattern`: the end of a path, as a regular expression.
fn pattern(name: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!(r"^(?:.*\.)?(?:{name})$"))
}

/// What the first pattern that fits `path` stands for.
fn matching<'a>(patterns: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let fits = |name: &str| pattern(name).is_ok_and(|pattern| pattern.is_match(path));
    patterns
        .iter()
        .find(|(name, _)| fits(name))
        .map(|(_, value)| value)
}

/// What the model in `base` may be called: as its folder, at either end of a link, as on the hub, as its config says.
fn names_of(base: &Path) -> Vec<String> {
    let folder = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    let said = Fields::read(base).and_then(|fields| fields.optional::<String>("_name_or_path"));
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

/// Letters and digits alone: models are called the same in several ways.
fn plain(name: &str) -> String {
    let kept = name.chars().filter(|letter| letter.is_alphanumeric());
    kept.flat_map(char::to_lowercase).collect()
}
