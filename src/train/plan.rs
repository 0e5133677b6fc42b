//! `ewe plan`: what a fine-tune needs, from config.json alone.
//!
//! The model's own loader says which tensors there are (see [`Weights::sketch`]), so the count is the one that loading
//! would check. Bytes are those of this trainer's formats: bf16 to compute with, fp32 for whatever is trained and for
//! AdamW's two moments. Sizes are decimal, 1 GB = 10⁹ bytes.

use crate::model::config::Fields;
use crate::model::hub::{self, Want};
use crate::model::weights::Weights;
use crate::model::{self, ModelInfo};
use anyhow::Result;
use ewe::cli::plan::Args;
use ewe::cli::train::Method;
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;

/// Memory of GPUs one can rent, in gigabytes.
const GPUS: [u64; 8] = [16, 24, 32, 40, 48, 80, 96, 141];
/// What libtorch and its libraries take before any tensor, and what lies unused between blocks of its allocator.
const WORKSPACE: u64 = 1_000_000_000;
/// The buffer of one chunk of logits, as [`super::loss`] sizes it.
const LOGITS: u64 = 128 << 20;
/// Peak of an H100 in bf16 without sparsity, and the share of it that a fine-tune of this size reaches, to give a
/// feeling for the arithmetic.
const H100: f64 = 989e12;
const H100_SHARE: f64 = 0.33;

/// A model's size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Size {
    /// `model_type`.
    pub family: String,
    /// Blocks.
    pub layers: usize,
    /// Numbers in all tensors; a tied head counts once.
    pub parameters: u64,
    /// Those of the linear layers of the blocks.
    pub linear: u64,
    /// Inputs and outputs of each of these layers.
    #[serde(skip)]
    shapes: Vec<(u64, u64)>,
    /// Numbers a token has at the norms, all blocks together: those of norms that compute in fp32, and of the others.
    #[serde(skip)]
    normed: (u64, u64),
    #[serde(skip)]
    hidden: u64,
    #[serde(skip)]
    vocab: u64,
}

/// Bytes by kind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bytes {
    /// What the model computes with, bf16.
    pub weights: u64,
    /// fp32 copies of what is trained.
    pub masters: u64,
    /// AdamW's moments, fp32.
    pub moments: u64,
    /// Gradients, in the type of what they belong to.
    pub gradients: u64,
    /// What the forward pass keeps for the backward pass.
    pub activations: u64,
    /// One chunk of them and its gradients.
    pub logits: u64,
    /// libtorch itself.
    pub workspace: u64,
}

impl Bytes {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights
            + self.masters
            + self.moments
            + self.gradients
            + self.activations
            + self.logits
            + self.workspace
    }
}

/// What one method needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Need {
    /// The method.
    pub method: Method,
    /// Numbers that are trained.
    pub trained: u64,
    /// By kind.
    pub bytes: Bytes,
    /// Their sum.
    pub total: u64,
    /// fp32 sums of gradients, needed on top when a step is cut into several pieces.
    pub when_cut: u64,
    /// The smallest GPU that holds it, in gigabytes.
    pub fits: Option<u64>,
    /// Floating-point operations for each token.
    pub flops_per_token: f64,
}

/// Reads the size of a model from its directory or its config.json.
pub fn size(path: &Path) -> Result<Size> {
    let fields = if path.is_dir() {
        Fields::read(path)?
    } else {
        Fields::read_file(path.to_path_buf())?
    };
    let mut sketch = Weights::sketch();
    let mut model = model::build(&fields, &mut sketch)?;
    let asked: HashMap<String, Vec<i64>> = sketch.into_asked().into_iter().collect();
    let count = |shape: &Vec<i64>| shape.iter().product::<i64>() as u64;
    let mut shapes = Vec::new();
    model.for_each_linear(&mut |linear| {
        let shape = &asked[&format!("{}.weight", linear.path)];
        shapes.push((shape[1] as u64, shape[0] as u64));
    });
    let ModelInfo {
        family,
        layers,
        hidden,
        vocab,
        heads,
        kv_heads,
        ..
    } = model.info();
    let mut normed = (0, 0);
    for (name, shape) in asked
        .iter()
        .filter(|(name, shape)| shape.len() == 1 && name.ends_with(".weight"))
    {
        let times = match name {
            _ if name.contains(".q_norm.") => *heads,
            _ if name.contains(".k_norm.") => *kv_heads,
            _ => 1,
        };
        // A norm with a shift is a layer norm, which libtorch does in bf16; the others are done in fp32.
        let is_layer_norm = asked.contains_key(&name.replace(".weight", ".bias"));
        *(if is_layer_norm {
            &mut normed.1
        } else {
            &mut normed.0
        }) += (times * shape[0]) as u64;
    }
    Ok(Size {
        family: (*family).to_owned(),
        layers: *layers,
        parameters: asked.values().map(count).sum(),
        linear: shapes.iter().map(|(inputs, outputs)| inputs * outputs).sum(),
        shapes,
        normed,
        hidden: *hidden as u64,
        vocab: *vocab as u64,
    })
}

/// What `method` needs when `tokens` go through the model at once.
pub fn need(size: &Size, method: Method, rank: u64, tokens: u64) -> Need {
    let adapter: u64 = size
        .shapes
        .iter()
        .map(|(inputs, outputs)| rank * (inputs + outputs))
        .sum();
    let head = size.vocab * size.hidden;
    let (trained, gradients, masters) = match method {
        // The model's own bf16 tensors collect the gradients, and the head's is made apart from the embedding's.
        Method::Full => (size.parameters, 2 * (size.parameters + head), 4 * size.parameters),
        // An adapter is its own master.
        Method::Lora => (adapter, 4 * adapter, 4 * adapter),
    };
    let bytes = Bytes {
        weights: 2 * size.parameters,
        masters,
        moments: 8 * trained,
        gradients,
        activations: tokens * activations_per_token(size, method),
        logits: LOGITS * if method == Method::Full { 4 } else { 1 },
        workspace: WORKSPACE,
    };
    let passes = if method == Method::Full { 3.0 } else { 2.0 };
    Need {
        method,
        trained,
        bytes,
        total: bytes.total(),
        when_cut: if method == Method::Full { 4 * trained } else { 0 },
        fits: GPUS
            .into_iter()
            .find(|gigabytes| bytes.total() <= gigabytes * 1_000_000_000),
        flops_per_token: passes * 2.0 * (size.linear + head) as f64,
    }
}

/// Bytes that one token leaves behind: input and output of every linear layer in bf16; of a layer norm its input; of a
/// norm in fp32 its input and, where its own weight is trained, its result, with half a copy alive in passing. Measured
/// as growth of the resident set, Gemma 270M keeps 0.85 MB a token with LoRA and 1.14 MB in full, this says 0.9 and 1.0.
fn activations_per_token(size: &Size, method: Method) -> u64 {
    let linears: u64 = size
        .shapes
        .iter()
        .map(|(inputs, outputs)| 2 * (inputs + outputs))
        .sum();
    let in_fp32 = if method == Method::Full { 8 } else { 6 };
    linears + in_fp32 * size.normed.0 + 2 * size.normed.1
}

/// Runs `ewe plan`; gives the exit code.
pub fn run(args: &Args) -> Result<u8> {
    let size = size(&hub::resolve(&args.model, Want::Config)?)?;
    let methods = args
        .method
        .map_or(vec![Method::Full, Method::Lora], |method| vec![method]);
    let (rank, tokens) = (u64::from(args.lora_rank), u64::from(args.micro_tokens));
    let needs: Vec<Need> = methods
        .into_iter()
        .map(|method| need(&size, method, rank, tokens))
        .collect();
    if args.json {
        let fits: Vec<_> = needs
            .iter()
            .map(|need| args.memory.map(|memory| need.total <= memory))
            .collect();
        let value =
            serde_json::json!({"model": size, "micro_tokens": tokens, "methods": needs, "fits_memory": fits});
        println!("{}", serde_json::to_string_pretty(&value)?);
    } else {
        print!("{}", text(&size, &needs, rank, tokens, args.memory));
    }
    let fits = args
        .memory
        .is_none_or(|memory| needs.iter().any(|need| need.total <= memory));
    Ok(u8::from(!fits))
}

/// A row of the table, as what it takes from a need.
type Kind = fn(&Need) -> u64;

fn text(size: &Size, needs: &[Need], rank: u64, tokens: u64, memory: Option<u64>) -> String {
    let mut text = format!(
        "{} with {} blocks: {} parameters, {} of them in linear layers\n\n{:<12}",
        size.family,
        size.layers,
        grouped(size.parameters),
        grouped(size.linear),
        ""
    );
    for need in needs {
        let name = if need.method == Method::Full {
            "full".to_owned()
        } else {
            format!("LoRA r{rank}")
        };
        text += &format!("{name:>12}");
    }
    text += "\n";
    let rows: [(&str, Kind); 8] = [
        ("weights", |need| need.bytes.weights),
        ("masters", |need| need.bytes.masters),
        ("moments", |need| need.bytes.moments),
        ("gradients", |need| need.bytes.gradients),
        ("activations", |need| need.bytes.activations),
        ("logits", |need| need.bytes.logits),
        ("workspace", |need| need.bytes.workspace),
        ("total", |need| need.total),
    ];
    for (name, of) in rows {
        text += &format!("{name:<12}");
        text.extend(
            needs
                .iter()
                .map(|need| format!("{:>9.1} GB", of(need) as f64 / 1e9)),
        );
        text += "\n";
    }
    text += &format!("{:<12}", "fits");
    let fits = |need: &Need| {
        need.fits
            .map_or("no one GPU".to_owned(), |gigabytes| format!("{gigabytes} GB"))
    };
    text.extend(needs.iter().map(|need| format!("{:>12}", fits(need))));
    text += &format!("\n\nActivations are those of {tokens} tokens at once (--micro-tokens).\n");
    for need in needs {
        let name = if need.method == Method::Full {
            "full"
        } else {
            "LoRA"
        };
        if need.when_cut > 0 {
            text += &format!(
                "{name}: {:.1} GB more when a step is cut into several pieces, whose gradients are summed in fp32.\n",
                need.when_cut as f64 / 1e9
            );
        }
        if let Some(memory) = memory {
            let verdict = if need.total <= memory {
                "fits into"
            } else {
                "does not fit into"
            };
            text += &format!("{name}: {verdict} {:.1} GB.\n", memory as f64 / 1e9);
        }
        text += &format!(
            "{name}: {:.2} TFLOP for 1000 tokens; a million tokens take {:.1} minutes on an H100 at {:.0} % of its peak.\n",
            need.flops_per_token / 1e9,
            need.flops_per_token * 1e6 / (H100 * H100_SHARE) / 60.0,
            100.0 * H100_SHARE
        );
    }
    text
}

/// `6050882784` as `6,050,882,784`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gptj() -> Size {
        size(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gpt-j-6b/config.json")).unwrap()
    }

    #[test]
    fn gpt_j_is_counted_to_the_last_parameter() {
        let size = gptj();
        assert_eq!(grouped(size.parameters), "6,050,882,784");
        assert_eq!((size.layers, size.linear), (28, 28 * 12 * 4096 * 4096));
    }

    #[test]
    fn gpt_j_needs_what_the_formats_say() {
        let full = need(&gptj(), Method::Full, 16, 2048).bytes;
        let states = full.weights + full.masters + full.moments + 2 * gptj().parameters;
        assert_eq!(states, 16 * 6_050_882_784);
        assert_eq!(need(&gptj(), Method::Full, 16, 2048).fits, Some(141));
        let lora = need(&gptj(), Method::Lora, 16, 2048);
        assert_eq!(lora.trained, 28 * 16 * (4 * 8192 + 2 * (4096 + 16384)));
        assert_eq!(lora.fits, Some(24));
    }

    #[test]
    fn a_tied_head_counts_once() {
        let tied = size(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gemma3")).unwrap();
        let untied = size(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gemma3_untied")).unwrap();
        let in_files = |name: &str| {
            let path =
                Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}/model.safetensors"));
            let tensors = super::super::files::read_safetensors(&path).unwrap();
            tensors.values().map(|tensor| tensor.numel() as u64).sum::<u64>()
        };
        assert_eq!(tied.parameters, in_files("gemma3"));
        assert_eq!(untied.parameters, in_files("gemma3_untied"));
    }
}
