//! What an MLP does to a feature.
//!
//! Two forms of GELU are composed of eight operations where the models that have them were published, and so they are in `transformers`.
//! In fp32 that is the fused operation. In 16 bits each of the eight rounds its result, and 1 % of a tiny GPT-J's likeliest tokens are others
//! than with the fused one. So inference in bf16 takes them step by step: of a number of 16 bits there are 65,536 results, which are
//! computed once, by the very operations, and then looked up. Training takes the fused one, whose backward pass keeps one tensor in place of eight.

use std::sync::LazyLock;

use anyhow::{Result, bail};
use tch::{Device, Kind, Tensor};

use super::config::Fields;
use crate::shim::{self, Gate};

/// `√(2/π)`.
const ROOT: f64 = 0.797_884_560_802_865_4;
/// The coefficient of x³.
const CUBIC: f64 = 0.044_715;

/// A function of one feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · Φ(x)`, exact.
    Gelu,
    /// The same with Φ by way of tanh: `½x · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
    GeluTanh,
    /// That, step by step.
    GeluNew,
    /// That, step by step in another order.
    GeluFast,
    /// `x · sigmoid(x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// Reads field `name`, in the spellings of `transformers`. Fails on any other function.
    pub fn read(fields: &Fields, name: &str, default: &str) -> Result<Activation> {
        let value: String = fields.optional(name)?.unwrap_or_else(|| default.to_string());
        Ok(match value.as_str() {
            "gelu" | "gelu_python" => Activation::Gelu,
            "gelu_new" | "gelu_python_tanh" | "gelu_accurate" => Activation::GeluNew,
            "gelu_fast" => Activation::GeluFast,
            "gelu_pytorch_tanh" => Activation::GeluTanh,
            "silu" | "swish" => Activation::Silu,
            "relu" => Activation::Relu,
            other => bail!(
                "{}: `{name}` = \"{other}\" is not supported\nhint: known are gelu, gelu_new, gelu_fast, \
                 gelu_pytorch_tanh, silu and relu",
                fields.path().display()
            ),
        })
    }

    /// Same shape and type as `x`.
    pub fn forward(self, x: &Tensor) -> Tensor {
        match self {
            Activation::Gelu => x.gelu("none"),
            Activation::GeluNew if looked_up(x) => shim::look_up(&GELU_NEW, x),
            Activation::GeluFast if looked_up(x) => shim::look_up(&GELU_FAST, x),
            Activation::GeluTanh | Activation::GeluNew | Activation::GeluFast => x.gelu("tanh"),
            Activation::Silu => x.silu(),
            Activation::Relu => x.relu(),
        }
    }

    /// `activation(gate) · up`, of one shape and type.
    pub fn gate(self, gate: &Tensor, up: &Tensor) -> Tensor {
        let fused = match self {
            Activation::GeluTanh => Some(Gate::GeluTanh),
            Activation::Silu => Some(Gate::Silu),
            _ => None,
        };
        match fused {
            Some(fused) if shim::usable(&[gate, up]) => shim::gated(fused, gate, up),
            _ => self.forward(gate) * up,
        }
    }
}

fn looked_up(x: &Tensor) -> bool {
    x.kind() == Kind::BFloat16 && shim::usable(&[x])
}

static GELU_NEW: LazyLock<Vec<u16>> = LazyLock::new(|| table(gelu_new));
static GELU_FAST: LazyLock<Vec<u16>> = LazyLock::new(|| table(gelu_fast));

/// Hendrycks and Gimpel 2016, <https://arxiv.org/abs/1606.08415>, in the steps of OpenAI's GPT-2.
fn gelu_new(x: &Tensor) -> Tensor {
    let inner = (x + x.pow_tensor_scalar(3.0) * CUBIC) * ROOT;
    (x * 0.5) * (inner.tanh() + 1.0)
}

/// In the steps of Megatron's fused kernel.
fn gelu_fast(x: &Tensor) -> Tensor {
    let inner = (x * ROOT) * ((x * CUBIC) * x + 1.0);
    (x * 0.5) * (inner.tanh() + 1.0)
}

/// The bits of `f` of every bf16, in the order of its bits.
fn table(f: impl Fn(&Tensor) -> Tensor) -> Vec<u16> {
    let _guard = tch::no_grad_guard();
    let y = f(&every_bf16());
    // Of 16 bits, `tch` copies signed ones only.
    let bits = Vec::<i16>::try_from(y.view_dtype(Kind::Int16)).expect("a row of numbers");
    bits.into_iter().map(i16::cast_unsigned).collect()
}

fn every_bf16() -> Tensor {
    let bits: Vec<i16> = (0..=u16::MAX).map(u16::cast_signed).collect();
    Tensor::from_slice(&bits)
        .view_dtype(Kind::BFloat16)
        .to_device(Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::Inference;

    /// All of them, NaNs as bits.
    fn bits(x: &Tensor) -> Vec<i16> {
        Vec::try_from(x.view_dtype(Kind::Int16)).unwrap()
    }

    #[test]
    fn inference_in_bf16_rounds_after_each_step() {
        let x = every_bf16();
        let fused = bits(&x.gelu("tanh"));
        for (activation, composed) in [
            (Activation::GeluNew, gelu_new as fn(&Tensor) -> Tensor),
            (Activation::GeluFast, gelu_fast),
        ] {
            assert_eq!(
                bits(&activation.forward(&x)),
                fused,
                "training takes the fused one"
            );
            let held = Inference::hold();
            let got = bits(&activation.forward(&x));
            drop(held);
            assert_eq!(got, bits(&composed(&x)), "{activation:?}");
            let others = got.iter().zip(&fused).filter(|(a, b)| a != b).count();
            assert!(others > 1000, "{activation:?}: only {others} differ");
        }
        let wide = Tensor::linspace(-9.0, 9.0, 1001, (Kind::Float, Device::Cpu));
        for composed in [gelu_new, gelu_fast] {
            let apart = (composed(&wide) - wide.gelu("tanh"))
                .abs()
                .max()
                .double_value(&[]);
            assert!(apart < 1e-6, "{apart}");
        }
    }
}
