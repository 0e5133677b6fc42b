//! Models with random weights for `ewe selftest`.

use crate::model::files::config::ConfigFields;
use crate::model::files::weights::{Form, Weights};
use crate::model::{self, CausalLm};
use crate::shim::generator::with_seed;
use crate::train::out::files;
use anyhow::Result;
use serde_json::Value;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Standard deviation of the matrices of [`random`], as `transformers` initializes them.
const DEVIATION: f64 = 0.02;

/// Writes a model of `config` with random weights.
pub fn make(dir: &Path, config: &Value) -> Result<()> {
    files::write_json(&dir.join("config.json"), config)?;
    let mut sketch = Weights::sketch();
    model::build(&ConfigFields::read(dir)?, &mut sketch)?;
    let asked = sketch.into_asked().into_iter();
    let tensors: Vec<(String, Tensor)> = with_seed(1, || {
        asked
            .map(|(name, shape)| (name, Tensor::randn(shape, (Kind::Float, Device::Cpu)) * 0.1))
            .collect()
    });
    files::write_safetensors(&dir.join("model.safetensors"), &tensors)
}

/// Loads the model in `dir`.
pub fn load(dir: &Path, device: Device, kind: Kind) -> Result<Box<dyn CausalLm>> {
    load_as(dir, device, kind, Form::Plain)
}

/// Loads the model in `dir`, with its linear layers in `form`.
pub fn load_as(dir: &Path, device: Device, kind: Kind, form: Form) -> Result<Box<dyn CausalLm>> {
    let _guard = tch::no_grad_guard();
    let mut weights = Weights::open(dir, "")?;
    weights.place(kind, device);
    weights.keep_as(form);
    let model = model::build(&ConfigFields::read(dir)?, &mut weights)?;
    weights.finish()?;
    Ok(model)
}

/// Makes a model on `device` without any file: matrices are random, norms 1 and biases 0.
pub fn random(fields: &ConfigFields, kind: Kind, device: Device) -> Result<Box<dyn CausalLm>> {
    let _guard = tch::no_grad_guard();
    let mut weights = Weights::blank(kind);
    weights.place(kind, device);
    let model = model::build(fields, &mut weights)?;
    with_seed(1, || {
        for (name, mut x) in model.parameters() {
            let _ = match (x.dim() >= 2, name.ends_with(".bias")) {
                (true, _) => x.normal_(0.0, DEVIATION),
                (false, true) => x.zero_(),
                (false, false) => x.fill_(1.0),
            };
        }
    });
    Ok(model)
}
