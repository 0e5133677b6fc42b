//! Rotary position embedding (Su et al. 2021) in both layouts the field uses. Shapes: `b` rows, `t` time,
//! `h` heads, `d` features of a head; `x_bthd`, `cos_bt1d`.

use std::f64::consts::PI;

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};

use super::config::Fields;
use crate::shim::{self, RopePairing};

/// Which features of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Feature `i` with `i + d/2` (Llama, Gemma, GPT-NeoX).
    Halves,
    /// Feature `2i` with `2i + 1` (GPT-J).
    Pairs,
}

/// What was done to the frequencies to make a model's context longer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scaling {
    /// Nothing.
    None,
    /// All are divided by this (Chen et al. 2023, <https://arxiv.org/abs/2306.15595>).
    Linear(f64),
    /// Llama 3.1: wavelengths that `original_context` holds fewer than `low` times are stretched by `factor`, those it
    /// holds more than `high` times are left alone, in between it is interpolated.
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original_context: f64,
    },
}

/// Angles of one kind of layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of wavelengths.
    pub theta: f64,
    /// How many leading features of a head turn; the rest pass through.
    pub dims: i64,
    /// How the angles of a longer context differ from those of pre-training.
    pub scaling: Scaling,
    /// Which features turn together.
    pub layout: Layout,
}

/// Cosines and signed sines of the positions of one pass, in the model's type: `cos_bt1d`, `sin_bt1d`.
#[derive(Debug)]
pub struct Angles {
    cos_bt1d: Tensor,
    // The minus of the rotation is in the sine, so that turning costs one permutation, two products and a sum.
    sin_bt1d: Tensor,
}

impl Scaling {
    /// Reads the fields of a `rope_parameters` or `rope_scaling` object. Fails on kinds that are not
    /// implemented.
    pub fn read(settings: &Map<String, Value>, fields: &Fields) -> Result<Scaling> {
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
            // Its base grows with the length, and only beyond `max_position_embeddings`, where our context ends.
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

    fn apply(&self, frequencies_f: &Tensor) -> Tensor {
        match *self {
            Scaling::None => frequencies_f.shallow_clone(),
            Scaling::Linear(factor) => frequencies_f / factor,
            Scaling::Llama3 {
                factor,
                low,
                high,
                original_context,
            } => {
                let lengths_f = frequencies_f.reciprocal() * (2.0 * PI);
                let times_f = lengths_f.reciprocal() * original_context;
                let share_f = ((times_f - low) / (high - low)).clamp(0.0, 1.0);
                let stretched_f = frequencies_f / factor;
                (1.0 - &share_f) * stretched_f + share_f * frequencies_f
            }
        }
    }
}

impl Rope {
    /// The rotary settings of models that have one kind of layer, in both ways `transformers` has written them:
    /// `rope_parameters`, or a field for the base (`theta_name`) beside `rope_scaling`. `dims` features turn.
    pub fn read(fields: &Fields, theta_name: &str, dims: i64) -> Result<Rope> {
        let settings = Rope::settings(fields)?;
        let theta = match settings.get("rope_theta").and_then(Value::as_f64) {
            Some(theta) => fields.check_positive("rope_theta", theta)?,
            None => fields.positive(theta_name, 10_000.0)?,
        };
        Ok(Rope {
            theta,
            dims,
            scaling: Scaling::read(&settings, fields)?,
            layout: Layout::Halves,
        })
    }

    /// The object with a model's rotary settings, empty where there is none. Of both, the reference takes `rope_scaling`.
    pub fn settings(fields: &Fields) -> Result<Map<String, Value>> {
        let scaling: Option<Map<String, Value>> = fields.optional("rope_scaling")?;
        Ok(match scaling.filter(|scaling| !scaling.is_empty()) {
            Some(scaling) => scaling,
            None => fields.optional("rope_parameters")?.unwrap_or_default(),
        })
    }

    /// Angles at `positions_bt` (int64). Computed in fp32, then rounded to `kind`, as `transformers` does.
    pub fn angles(&self, positions_bt: &Tensor, kind: Kind) -> Angles {
        let device = positions_bt.device();
        let exponents = Tensor::arange_start_step(0, self.dims, 2, (Kind::Float, device)) / self.dims as f64;
        let theta = Tensor::from(self.theta as f32).to_device(device);
        let frequencies = self.scaling.apply(&theta.pow(&exponents).reciprocal());
        let angles_btf = positions_bt.unsqueeze(-1).to_kind(Kind::Float) * frequencies;
        let (cos, sin) = (angles_btf.cos(), angles_btf.sin());
        let (cos_btd, sin_btd) = match self.layout {
            Layout::Halves => (Tensor::cat(&[&cos, &cos], -1), Tensor::cat(&[&-&sin, &sin], -1)),
            Layout::Pairs => (
                Tensor::stack(&[&cos, &cos], -1).flatten(-2, -1),
                Tensor::stack(&[&-&sin, &sin], -1).flatten(-2, -1),
            ),
        };
        Angles {
            cos_bt1d: cos_btd.to_kind(kind).unsqueeze(2),
            sin_bt1d: sin_btd.to_kind(kind).unsqueeze(2),
        }
    }

    /// Turns `x_bthd`.
    pub fn apply(&self, x_bthd: &Tensor, angles: &Angles) -> Tensor {
        let width = x_bthd.size()[3];
        let (cos, sin) = (&angles.cos_bt1d, &angles.sin_bt1d);
        if shim::usable(&[x_bthd, cos, sin]) {
            let turn = match self.layout {
                Layout::Halves => RopePairing::Halves,
                Layout::Pairs => RopePairing::Pairs,
            };
            let rows = |x: &Tensor| x.view([-1, self.dims]);
            let x_nhd = x_bthd.flatten(0, 1);
            return shim::rope(turn, &x_nhd, &rows(cos), &rows(sin)).view_as(x_bthd);
        }
        if self.dims == width {
            return self.apply_rope(x_bthd, angles);
        }
        let turned = self.apply_rope(&x_bthd.narrow(3, 0, self.dims), angles);
        Tensor::cat(&[turned, x_bthd.narrow(3, self.dims, width - self.dims)], 3)
    }

    fn apply_rope(&self, x_bthd: &Tensor, angles: &Angles) -> Tensor {
        let swapped = match self.layout {
            Layout::Halves => x_bthd.roll(self.dims / 2, 3),
            Layout::Pairs => x_bthd.unflatten(3, [self.dims / 2, 2]).flip(-1).flatten(-2, -1),
        };
        x_bthd * &angles.cos_bt1d + swapped * &angles.sin_bt1d
    }
}

/// `0, 1, …, time - 1` for every row: `positions_bt` of a batch that starts at the beginning.
pub fn positions_from_zero(batch: i64, time: i64, device: Device) -> Tensor {
    Tensor::arange(time, (Kind::Int64, device))
        .unsqueeze(0)
        .expand([batch, time], false)
}
