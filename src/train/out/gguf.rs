//! A model as a GGUF file, for llama.cpp, and the Modelfile beside it, for Ollama.
//!
//! Tensors are converted and written one after another, a chunk at a time, so writing takes a chunk
//! of memory beside the model.

mod go_template;
mod metadata;
mod modelfile;

use super::files;
use crate::gguf::kind::TensorKind;
use crate::gguf::names::{Architecture, Change, Place};
use crate::gguf::quantize::quantize;
use crate::gguf::writer::{PlannedTensor, Writer};
use crate::model::files::config::ConfigFields;
use crate::model::files::weights::reordered_for_gguf;
use crate::model::text::tokenizer::Tokenizer;
use crate::model::{self, CausalLm};
use anyhow::{Context, Result, anyhow, bail};
use ewe::atomic_file::AtomicFile;
use ewe::job::merge::GgufType;
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// Numbers that are converted at once; a multiple of every block.
const CHUNK: i64 = 1 << 20;

/// What was written.
pub struct Written {
    /// Bytes of the file.
    pub bytes: u64,
    /// The type of most weights, as llama.cpp calls it.
    pub kind: &'static str,
    /// The Modelfile.
    pub modelfile: PathBuf,
    /// What llama.cpp will do differently.
    pub notes: Vec<String>,
}

/// Returns the architecture of llama.cpp for a model with these fields.
///
/// # Errors
///
/// If there is none, with the way out.
pub fn architecture(fields: &ConfigFields) -> Result<&'static Architecture> {
    let model_type: String = fields.required("model_type")?;
    Architecture::of_model_type(&model_type).ok_or_else(|| {
        let known: Vec<&str> = Architecture::all()
            .iter()
            .flat_map(|known| known.model_types.iter().copied())
            .collect();
        let why = match model_type.as_str() {
            "gptj" => "llama.cpp has no architecture for it",
            _ => "ewe writes no GGUF of it",
        };
        anyhow!(
            "{}: model_type `{model_type}`: {why}\nhint: --out DIR writes a folder that transformers and vLLM load, and for what it knows \
             llama.cpp's own converter; GGUF is written of {}",
            fields.path().display(),
            known.join(", ")
        )
    })
}

/// A tensor of the file, and what it is made of.
struct Planned {
    /// Tensors of the model, one after another: one, or those of all experts, say.
    parts: Vec<Tensor>,
    change: Change,
    plan: PlannedTensor,
}

/// Writes `model`, which has the config of the one in `base` and is prompted by `tokenizer`, to
/// `path`.
///
/// # Errors
///
/// If llama.cpp would compute something else, or split texts differently; if a weight is beyond the
/// range of the type; and if the disk refuses.
pub fn write(
    path: &Path,
    kind: Option<GgufType>,
    model: &dyn CausalLm,
    base: &Path,
    tokenizer: &Tokenizer,
) -> Result<Written> {
    let fields = model::fields(base)?;
    let architecture = architecture(&fields)?;
    let tensors = planned(model, architecture, kind)?;
    let main = kind_of(kind, &tensors);
    let mut described = metadata::of(&fields, model.info(), architecture, main)?;
    metadata::add_tokenizer(&mut described, base, tokenizer, model.info())?;
    let mut plans: Vec<PlannedTensor> = tensors.iter().map(|tensor| tensor.plan.clone()).collect();
    plans.extend(described.factors.iter().map(|(name, factors)| PlannedTensor {
        name: (*name).to_owned(),
        kind: TensorKind::F32,
        shape: vec![factors.len() as u64],
    }));
    let bytes: u64 = plans.iter().map(PlannedTensor::bytes).sum::<Result<u64>>()?;
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    files::make_sure_of_room(folder.unwrap_or(Path::new(".")), bytes).context("cannot save the model")?;
    let cannot = || format!("cannot write `{}`", path.display());
    let mut writer =
        Writer::begin(AtomicFile::begin(path)?, &described.entries, &plans).with_context(cannot)?;
    for tensor in &tensors {
        write_tensor(&mut writer, tensor).with_context(cannot)?;
    }
    for (_, factors) in &described.factors {
        let bytes: Vec<u8> = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
        writer.write(&bytes).with_context(cannot)?;
        writer.end_tensor().with_context(cannot)?;
    }
    writer.into_inner().commit()?;
    let modelfile = path.with_extension("Modelfile");
    files::write(&modelfile, modelfile::text(path, base, tokenizer)?.as_bytes())?;
    Ok(Written {
        bytes,
        kind: main.name(),
        modelfile,
        notes: described.notes,
    })
}

/// Returns the tensors of a model with their names and types in GGUF.
fn planned(
    model: &dyn CausalLm,
    architecture: &Architecture,
    kind: Option<GgufType>,
) -> Result<Vec<Planned>> {
    let info = model.info();
    let mut found: Vec<(Place, Vec<Tensor>)> = Vec::new();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for (name, tensor) in model.parameters() {
        let place = architecture
            .place_here(&name)
            .with_context(|| format!("llama.cpp has no tensor for `{name}` in a {}", architecture.name))?;
        let number = *numbers.entry(place.name.clone()).or_insert(found.len());
        if number == found.len() {
            found.push((place.clone(), Vec::new()));
        }
        let parts = &mut found[number].1;
        if place.part.unwrap_or(0) != parts.len() {
            bail!("`{name}` is out of order");
        }
        parts.push(tensor);
    }
    if architecture.wants_head && info.tied {
        let embedding = found.iter().find(|(place, _)| place.name == "token_embd.weight");
        let (_, embedding) = embedding.context("the model has no embedding")?;
        let place = Place {
            name: "output.weight".to_owned(),
            part: None,
        };
        let embedding = embedding.iter().map(Tensor::shallow_clone).collect();
        found.push((place, embedding));
    }
    let planned = |(Place { name, part }, parts): (Place, Vec<Tensor>)| {
        let change = architecture.change(&name, info.heads, info.kv_heads);
        let mut shape: Vec<u64> = parts[0].size().iter().map(|&size| size as u64).collect();
        if change == Change::Transposed {
            shape.reverse();
        }
        if part.is_some() {
            shape.insert(0, parts.len() as u64);
        }
        Planned {
            change,
            plan: PlannedTensor {
                kind: tensor_kind(kind, parts[0].kind(), &name, &shape),
                name,
                shape,
            },
            parts,
        }
    };
    Ok(found.into_iter().map(planned).collect())
}

/// Returns the type of a tensor: vectors, norms, learned positions and routers are F32; rows that
/// are no whole number of blocks are F16, as by llama.cpp's converter.
fn tensor_kind(wanted: Option<GgufType>, kind: Kind, name: &str, shape: &[u64]) -> TensorKind {
    let is_exact = ["_norm.weight", "position_embd.weight", "ffn_gate_inp.weight"];
    if shape.len() < 2 || is_exact.iter().any(|end| name.ends_with(end)) {
        return TensorKind::F32;
    }
    match (wanted, kind) {
        (Some(GgufType::F32), _) => TensorKind::F32,
        (Some(GgufType::F16), _) | (None, Kind::Half) => TensorKind::F16,
        (Some(GgufType::Bf16), _) | (None, Kind::BFloat16) => TensorKind::Bf16,
        (None, _) => TensorKind::F32,
        (Some(GgufType::Q8_0), _) => {
            let width = shape.last().copied().unwrap_or(1);
            match width % TensorKind::Q8_0.block() as u64 {
                0 => TensorKind::Q8_0,
                _ => TensorKind::F16,
            }
        }
    }
}

/// Returns the type of most weights.
fn kind_of(wanted: Option<GgufType>, tensors: &[Planned]) -> TensorKind {
    match wanted {
        Some(GgufType::Q8_0) => TensorKind::Q8_0,
        _ => tensors
            .iter()
            .find(|tensor| tensor.plan.shape.len() > 1)
            .map_or(TensorKind::F32, |tensor| tensor.plan.kind),
    }
}

fn write_tensor(writer: &mut Writer<impl Write>, planned: &Planned) -> Result<()> {
    for part in &planned.parts {
        write_part(writer, part, planned)?;
    }
    writer.end_tensor()?;
    Ok(())
}

fn write_part(writer: &mut Writer<impl Write>, tensor: &Tensor, planned: &Planned) -> Result<()> {
    let Planned { change, plan, .. } = planned;
    let flat = reordered_for_gguf(&tensor.detach(), *change)
        .contiguous()
        .view(-1);
    let count = flat.numel() as i64;
    let mut numbers = vec![0.0_f32; count.min(CHUNK) as usize];
    for first in (0..count).step_by(CHUNK as usize) {
        let length = CHUNK.min(count - first) as usize;
        let part = &mut numbers[..length];
        let chunk = flat.narrow(0, first, length as i64);
        chunk
            .to_kind(Kind::Float)
            .to_device(tch::Device::Cpu)
            .copy_data(part, length);
        if *change == Change::PlusOne {
            part.iter_mut().for_each(|number| *number += 1.0);
        }
        let (bytes, beyond) = quantize(plan.kind, part);
        if let Some(number) = beyond {
            bail!(
                "`{}` has the weight {number}, which {} has no number for\nhint: --type bf16 has the range of fp32",
                plan.name,
                plan.kind.name()
            );
        }
        writer.write(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
