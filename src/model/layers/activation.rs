//! Activation functions of MLPs.
//!
//! Two forms of GELU were published as eight separate operations, and `transformers` computes them
//! so. In fp32 the result equals the fused operation. In 16 bits each of the eight operations
//! rounds, and 1 % of a tiny GPT-J's likeliest tokens differ from those of the fused one. So
//! inference in bf16 rounds after each step: a function of 16 bits has 65,536 results, which are
//! computed once with these very operations and then looked up. Training uses the fused operation,
//! whose backward pass keeps one tensor instead of eight.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use tch::{Device, Kind, Tensor};

use crate::model::files::config::ConfigFields;
use crate::shim::recorded::{self, recordable};
use crate::shim::{self, Gate, gpu};

/// `√(2/π)`.
const ROOT: f64 = 0.797_884_560_802_865_4;
/// The coefficient of x³.
const CUBIC: f64 = 0.044_715;

/// A function of one feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · Φ(x)`, exact.
    Gelu,
    /// GELU with Φ approximated by tanh: `½x · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, fused.
    GeluTanh,
    /// The same function in eight steps, in GPT-2's order.
    GeluNew,
    /// The same function in eight steps, in Megatron's order.
    GeluFast,
    /// `x · sigmoid(x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// Reads config field `name`, in the spellings of `transformers`. Fails on any other function.
    pub fn read(fields: &ConfigFields, name: &str, default: &str) -> Result<Activation> {
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

    /// Applies the function to each element; shape and type stay.
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

    /// Returns `activation(gate) · up`. Both have one shape and type, as has the result.
    pub fn gate(self, gate: &Tensor, up: &Tensor) -> Tensor {
        let fused = match self {
            Activation::GeluTanh => Some(Gate::GeluTanh),
            Activation::Silu => Some(Gate::Silu),
            _ => None,
        };
        match fused {
            Some(fused) if shim::usable(&[gate, up]) => shim::gated(fused, gate, up),
            Some(fused) if recordable(&[gate, up]) => recorded::gated(fused, gate, up),
            Some(fused) => by_kernel(fused, gate, up).unwrap_or_else(|| self.forward(gate) * up),
            None => self.forward(gate) * up,
        }
    }
}

/// Returns `activation(gate) · up` by one launch on a GPU, for inference. None off GPUs, in fp16,
/// with gradients, and where the kernel cannot be compiled.
fn by_kernel(activation: Gate, gate: &Tensor, up: &Tensor) -> Option<Tensor> {
    static IS_MISSING: AtomicBool = AtomicBool::new(false);
    if !gpu::takes(gate) || up.kind() != gate.kind() || IS_MISSING.load(Ordering::Relaxed) {
        return None;
    }
    gpu::gated(activation, gate, up)
        .inspect_err(|error| {
            if !IS_MISSING.swap(true, Ordering::Relaxed) {
                tracing::warn!("gated activations go without their kernel: {error:#}");
            }
        })
        .ok()
}

fn looked_up(x: &Tensor) -> bool {
    x.kind() == Kind::BFloat16 && shim::usable(&[x])
}

static GELU_NEW: LazyLock<Vec<u16>> = LazyLock::new(|| table(gelu_new));
static GELU_FAST: LazyLock<Vec<u16>> = LazyLock::new(|| table(gelu_fast));

/// GELU in the steps of OpenAI's GPT-2 (Hendrycks and Gimpel 2016,
/// <https://arxiv.org/abs/1606.08415>).
fn gelu_new(x: &Tensor) -> Tensor {
    let inner = (x + x.pow_tensor_scalar(3.0) * CUBIC) * ROOT;
    (x * 0.5) * (inner.tanh() + 1.0)
}

/// GELU in the steps of Megatron's fused kernel.
fn gelu_fast(x: &Tensor) -> Tensor {
    let inner = (x * ROOT) * ((x * CUBIC) * x + 1.0);
    (x * 0.5) * (inner.tanh() + 1.0)
}

/// Returns the bits of `f(x)` for every bf16 `x`, ordered by the bits of `x`.
fn table(f: impl Fn(&Tensor) -> Tensor) -> Vec<u16> {
    let _guard = tch::no_grad_guard();
    let y = f(&every_bf16());
    // Of the 16-bit types, `tch` copies only signed integers.
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

    /// Returns the bits of a bf16 tensor, so that NaNs compare equal.
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
