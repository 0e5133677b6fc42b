//! Rotary position embedding (Su et al. 2021), in both pairings of features.
//!
//! Shapes: `b` rows, `t` time, `h` heads, `d` features of a head; `x_bthd`, `cos_bt1d`.

use std::cell::RefCell;
use std::f64::consts::PI;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use ewe::text::counted;
use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};

use crate::model::files::config::ConfigFields;
use crate::shim;
use crate::shim::recorded::{self, recordable};

pub use crate::shim::RopePairing;

/// How frequencies were changed for a longer context.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    /// They were not changed.
    None,
    /// Frequencies are divided by this (Chen et al. 2023, <https://arxiv.org/abs/2306.15595>).
    Linear(f64),
    /// Llama 3.1: wavelengths that fit fewer than `low` times into `original_context` are stretched
    /// by `factor`; those that fit more than `high` times are left alone; between them it is
    /// interpolated.
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original_context: f64,
    },
    /// LongRoPE (Ding et al. 2024, <https://arxiv.org/abs/2402.13753>) within the original context:
    /// each frequency is divided by its own factor, and cosines and sines are multiplied by
    /// `magnitude`.
    Long { short: Arc<[f64]>, magnitude: f64 },
}

/// The rotary settings of one kind of layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of wavelengths.
    pub theta: f64,
    /// Number of leading features of a head that are rotated; the rest pass through. 0 in layers
    /// that do not know positions.
    pub dims: i64,
    /// How frequencies differ from those of pre-training.
    pub scaling: Scaling,
    /// Which features form a pair.
    pub pairing: RopePairing,
    /// Whether heads are rotated in fp32 and rounded afterwards, whatever the model's type.
    pub in_fp32: bool,
}

/// Cosines and signed sines at the positions of one pass, in the type that heads are rotated in:
/// `cos_bt1d`, `sin_bt1d`.
#[derive(Debug)]
pub struct Angles {
    cos_bt1d: Tensor,
    // The sign of the rotation is in the sine: a rotation costs one permutation, two products, one
    // sum.
    sin_bt1d: Tensor,
    /// The same with a row for each token.
    rows_nr: (Tensor, Tensor),
}

thread_local! {
    /// Frequencies of the rotary settings that this thread has met, on GPUs.
    static FREQUENCIES: RefCell<Vec<(Rope, Device, Tensor)>> = const { RefCell::new(Vec::new()) };
}

impl Angles {
    /// Returns cosines and signed sines with a row for each token: `cos_nr`, `sin_nr`.
    pub fn rows(&self) -> (&Tensor, &Tensor) {
        (&self.rows_nr.0, &self.rows_nr.1)
    }
}

impl Scaling {
    /// Reads a `rope_parameters` or `rope_scaling` object. Fails on kinds that are not implemented.
    pub fn read(settings: &Map<String, Value>, fields: &ConfigFields) -> Result<Scaling> {
        let kind = match settings.get("rope_type").or(settings.get("type")) {
            None | Some(Value::Null) => "default",
            Some(kind) => kind.as_str().unwrap_or_default(),
        };
        let path = fields.path().display();
        let number = |name: &str| match settings.get(name).and_then(Value::as_f64) {
            Some(number) if number > 0.0 => Ok(number),
            _ => Err(anyhow!(
                "{path}: rope scaling {} needs a positive `{name}`",
                Value::Object(settings.clone())
            )),
        };
        Ok(match kind {
            "default" => Scaling::None,
            "linear" => Scaling::Linear(number("factor")?),
            // Its base changes only beyond `max_position_embeddings`, where the context ends here.
            "dynamic" => Scaling::None,
            "llama3" => {
                let (low, high) = (number("low_freq_factor")?, number("high_freq_factor")?);
                if low >= high {
                    bail!("{path}: `low_freq_factor` {low} is not below `high_freq_factor` {high}");
                }
                Scaling::Llama3 {
                    factor: number("factor")?,
                    low,
                    high,
                    original_context: number("original_max_position_embeddings")?,
                }
            }
            _ => bail!(
                "{path}: rope scaling {} is not supported (only default, linear, dynamic and llama3)",
                Value::Object(settings.clone())
            ),
        })
    }

    /// Returns the inverse frequencies of `powers_f`, the base to the power of each exponent.
    fn apply(&self, powers_f: &Tensor) -> Tensor {
        let frequencies_f = powers_f.reciprocal();
        match *self {
            Scaling::None => frequencies_f,
            Scaling::Linear(factor) => frequencies_f / factor,
            // The factor is applied before the reciprocal, as in the reference.
            Scaling::Long { ref short, .. } => {
                let short: Vec<f32> = short.iter().map(|&factor| factor as f32).collect();
                (Tensor::from_slice(&short) * powers_f).reciprocal()
            }
            Scaling::Llama3 {
                factor,
                low,
                high,
                original_context,
            } => {
                let lengths_f = frequencies_f.reciprocal() * (2.0 * PI);
                let times_f = lengths_f.reciprocal() * original_context;
                let share_f = ((times_f - low) / (high - low)).clamp(0.0, 1.0);
                let stretched_f = &frequencies_f / factor;
                (1.0 - &share_f) * stretched_f + share_f * frequencies_f
            }
        }
    }
}

impl Rope {
    /// Reads the rotary settings of a model with one kind of layer, in either form that
    /// `transformers` has written: `rope_parameters`, or a field for the base (`theta_name`) beside
    /// `rope_scaling`. `dims` is the number of rotated features.
    pub fn read(fields: &ConfigFields, theta_name: &str, dims: i64) -> Result<Rope> {
        let settings = Rope::settings(fields)?;
        let theta = match settings.get("rope_theta").and_then(Value::as_f64) {
            Some(theta) => fields.check_positive("rope_theta", theta)?,
            None => fields.positive(theta_name, 10_000.0)?,
        };
        Ok(Rope {
            theta,
            dims,
            scaling: Scaling::read(&settings, fields)?,
            pairing: RopePairing::Halves,
            in_fp32: false,
        })
    }

    /// Returns the object with a model's rotary settings, empty if there is none. Where both forms
    /// exist, `rope_scaling` counts, as in `transformers`.
    pub fn settings(fields: &ConfigFields) -> Result<Map<String, Value>> {
        let scaling: Option<Map<String, Value>> = fields.optional("rope_scaling")?;
        Ok(match scaling.filter(|scaling| !scaling.is_empty()) {
            Some(scaling) => scaling,
            None => fields.optional("rope_parameters")?.unwrap_or_default(),
        })
    }

    /// Returns how many features of a head are rotated: the share that the rotary settings have as
    /// `partial_rotary_factor`, or the config as `name`, or else `default`.
    ///
    /// # Errors
    ///
    /// If they cannot be rotated in pairs.
    pub fn rotated(fields: &ConfigFields, name: &str, default: f64, head_dim: i64) -> Result<i64> {
        let settings = Rope::settings(fields)?;
        let part = match settings.get("partial_rotary_factor").and_then(Value::as_f64) {
            Some(part) => part,
            None => fields.optional(name)?.unwrap_or(default),
        };
        let dims = (head_dim as f64 * part) as i64;
        if dims < 2 || dims % 2 != 0 || dims > head_dim {
            bail!(
                "{}: `{name}` {part} of heads of {head_dim} is {}, which cannot be rotated in pairs",
                fields.path().display(),
                counted(dims, "feature")
            );
        }
        Ok(dims)
    }

    /// Returns the angles at `positions_bt` (int64), computed in fp32 and then rounded to `kind`,
    /// as `transformers` does.
    pub fn angles(&self, positions_bt: &Tensor, kind: Kind) -> Angles {
        let frequencies = self.frequencies(positions_bt.device());
        let angles_btf = positions_bt.unsqueeze(-1).to_kind(Kind::Float) * frequencies;
        let (mut cos, mut sin) = (angles_btf.cos(), angles_btf.sin());
        if let Scaling::Long { magnitude, .. } = self.scaling {
            (cos, sin) = (cos * magnitude, sin * magnitude);
        }
        let (cos_btd, sin_btd) = match self.pairing {
            RopePairing::Halves => (Tensor::cat(&[&cos, &cos], -1), Tensor::cat(&[&-&sin, &sin], -1)),
            RopePairing::Pairs => (
                Tensor::stack(&[&cos, &cos], -1).flatten(-2, -1),
                Tensor::stack(&[&-&sin, &sin], -1).flatten(-2, -1),
            ),
        };
        let (cos_btd, sin_btd) = (cos_btd.to_kind(kind), sin_btd.to_kind(kind));
        Angles {
            cos_bt1d: cos_btd.unsqueeze(2),
            sin_bt1d: sin_btd.unsqueeze(2),
            rows_nr: (cos_btd.flatten(0, 1), sin_btd.flatten(0, 1)),
        }
    }

    /// Returns the frequency of each pair of features, in fp32. For a GPU they are computed on the
    /// CPU, as `transformers` does, and sent there once.
    fn frequencies(&self, device: Device) -> Tensor {
        let compute = || {
            let options = (Kind::Float, Device::Cpu);
            let exponents = Tensor::arange_start_step(0, self.dims, 2, options) / self.dims as f64;
            let theta = Tensor::from(self.theta as f32);
            self.scaling.apply(&theta.pow(&exponents))
        };
        if device == Device::Cpu {
            return compute();
        }
        FREQUENCIES.with_borrow_mut(|known| {
            let found = known.iter().find(|(rope, on, _)| rope == self && *on == device);
            if let Some((_, _, frequencies)) = found {
                return frequencies.shallow_clone();
            }
            let frequencies = compute().to_device(device);
            known.push((self.clone(), device, frequencies.shallow_clone()));
            frequencies
        })
    }

    /// Rotates queries or keys `x_bthd`.
    pub fn apply(&self, x_bthd: &Tensor, angles: &Angles) -> Tensor {
        let width = x_bthd.size()[3];
        let (cos, sin) = (&angles.cos_bt1d, &angles.sin_bt1d);
        if shim::usable(&[x_bthd, cos, sin]) {
            let (cos_nr, sin_nr) = angles.rows();
            let x_nhd = x_bthd.flatten(0, 1);
            return shim::rope(self.pairing, &x_nhd, cos_nr, sin_nr).view_as(x_bthd);
        }
        if recordable(&[x_bthd, cos, sin]) {
            let (cos_nr, sin_nr) = angles.rows();
            let x_nhd = x_bthd.flatten(0, 1);
            return recorded::rope(self.pairing, &x_nhd, cos_nr, sin_nr).view_as(x_bthd);
        }
        if self.dims == width {
            return self.apply_rope(x_bthd, angles);
        }
        let rotated = self.apply_rope(&x_bthd.narrow(3, 0, self.dims), angles);
        Tensor::cat(&[rotated, x_bthd.narrow(3, self.dims, width - self.dims)], 3)
    }

    fn apply_rope(&self, x_bthd: &Tensor, angles: &Angles) -> Tensor {
        let swapped = match self.pairing {
            RopePairing::Halves => x_bthd.roll(self.dims / 2, 3),
            RopePairing::Pairs => x_bthd.unflatten(3, [self.dims / 2, 2]).flip(-1).flatten(-2, -1),
        };
        x_bthd * &angles.cos_bt1d + swapped * &angles.sin_bt1d
    }
}

/// Returns `0, 1, …, time - 1` for every row: `positions_bt` of a batch of whole sequences.
pub fn positions_from_zero(batch: i64, time: i64, device: Device) -> Tensor {
    Tensor::arange(time, (Kind::Int64, device))
        .unsqueeze(0)
        .expand([batch, time], false)
}
