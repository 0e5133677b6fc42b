//! The pieces architectures are built from. Shapes: `b` rows of a batch, `t` time, `d` features;
//! `x_btd` and, where leading dimensions do not matter, `x_d` with any number of them before the features.

use tch::{Device, Kind, Tensor};

use super::lora::Lora;
use super::matmul;
use super::nf4::Nf4;
use crate::shim::{self, Norm, PackedLinear};

/// `y = W x + b`, with an optional LoRA adapter.
#[derive(Debug)]
pub struct Linear {
    /// Path in the checkpoint, without `.weight`: `model.layers.0.self_attn.q_proj`.
    pub path: String,
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Option<Tensor>,
    /// The adapter, when one is attached.
    pub lora: Option<Lora>,
    /// The weight as inference on the CPU multiplies by it, instead of `weight`, which is empty then.
    pub packed: Option<PackedLinear>,
    /// The weight in 4 bits, instead of `weight`, which is empty then: of a frozen base.
    pub quantised: Option<Nf4>,
}

impl Linear {
    /// With this weight, `[out, in]`, and bias, `[out]`.
    pub fn of(path: &str, weight: Tensor, bias: Option<Tensor>) -> Linear {
        Linear {
            path: path.to_string(),
            weight,
            bias,
            lora: None,
            packed: None,
            quantised: None,
        }
    }

    /// Maps `[…, in]` to `[…, out]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let mut shape = x.size();
        // Two dimensions go straight to one gemm; more of them pass through matmul's folding logic first.
        let x_nd = x.reshape([-1, shape[shape.len() - 1]]);
        let product = |x_nd: &Tensor, bias: Option<&Tensor>| match (&self.packed, &self.quantised) {
            (Some(packed), _) => packed.forward(x_nd, bias),
            (_, Some(quantised)) => quantised.linear(x_nd, bias),
            (None, None) => matmul::linear(x_nd, &self.weight, bias),
        };
        let y_nd = match &self.lora {
            Some(lora) => lora.apply(&x_nd, || self.values(), self.bias.as_ref(), product),
            None => product(&x_nd, self.bias.as_ref()),
        };
        *shape.last_mut().expect("a tensor of features") = y_nd.size()[1];
        y_nd.view(shape.as_slice())
    }

    /// Makes ready for inference: a bf16 weight on the CPU is replaced by its packed form, by which a product takes two
    /// thirds of the time. Everything else stays as it is.
    pub fn pack(&mut self) {
        let weight = &self.weight;
        let worth = weight.kind() == Kind::BFloat16 && weight.device() == Device::Cpu && weight.dim() == 2;
        // A processor without bf16 has no packed form; its products go on as before.
        if let Some(packed) = worth.then(|| PackedLinear::pack(weight).ok()).flatten() {
            self.weight = Tensor::empty([0], (self.weight.kind(), self.weight.device()));
            self.packed = Some(packed);
        }
    }

    /// Keeps the weight in 4 bits from now on.
    pub fn quantise(&mut self) {
        if let Some(quantised) = Nf4::of(&self.weight) {
            self.weight = Tensor::empty([0], (self.weight.kind(), self.weight.device()));
            self.quantised = Some(quantised);
        }
    }

    /// `[out, in]`.
    pub fn size(&self) -> (i64, i64) {
        match &self.quantised {
            Some(quantised) => quantised.size,
            None => self.weight.size2().expect("a linear weight is a matrix"),
        }
    }

    /// The weight, or what it stands for.
    pub fn values(&self) -> Tensor {
        match &self.quantised {
            Some(quantised) => quantised.values(self.weight.kind()),
            None => self.weight.shallow_clone(),
        }
    }

    /// Adds weight and bias to `found`, under their names.
    pub fn list(&self, found: &mut Vec<(String, Tensor)>) {
        found.push((format!("{}.weight", self.path), self.weight.shallow_clone()));
        if let Some(bias) = &self.bias {
            found.push((format!("{}.bias", self.path), bias.shallow_clone()));
        }
    }

    /// Adds the adapter into the weight for good and removes it. Rounds once, to the weight's type.
    pub fn merge(&mut self) {
        if let Some(lora) = self.lora.take() {
            let _guard = tch::no_grad_guard();
            self.weight.copy_(&lora.merged(&self.weight));
        }
    }
}

/// Root-mean-square norm as Gemma has it: computed in fp32, the scale stored as its distance from 1.
#[derive(Debug)]
pub struct RmsNorm {
    /// Path in the checkpoint, without `.weight`.
    pub path: String,
    /// `[d]`; the factor is `1 + weight`.
    pub weight: Tensor,
    /// Added to the mean square.
    pub eps: f64,
}

impl RmsNorm {
    /// Same shape and type as `x`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        if shim::usable(&[x, &self.weight]) {
            return shim::rms_norm(Norm::Gemma, x, &self.weight, None, self.eps);
        }
        let scale_d = self.weight.to_kind(Kind::Float) + 1.0;
        x.to_kind(Kind::Float)
            .rms_norm(self.weight.size(), Some(&scale_d), self.eps)
            .to_kind(x.kind())
    }

    /// Adds the weight to `found`, under its name.
    pub fn list(&self, found: &mut Vec<(String, Tensor)>) {
        found.push((format!("{}.weight", self.path), self.weight.shallow_clone()));
    }

    /// `residual + norm(x)`.
    pub fn add_to(&self, residual: &Tensor, x: &Tensor) -> Tensor {
        if shim::usable(&[x, &self.weight, residual]) {
            return shim::rms_norm(Norm::Gemma, x, &self.weight, Some(residual), self.eps);
        }
        residual + self.forward(x)
    }
}

/// Root-mean-square norm (Zhang and Sennrich 2019) as Llama has it: computed in fp32, rounded to the input's type, then
/// scaled in that type.
#[derive(Debug)]
pub struct PlainRmsNorm {
    /// Path in the checkpoint, without `.weight`.
    pub path: String,
    /// `[d]`, the factor itself.
    pub weight: Tensor,
    /// Added to the mean square.
    pub eps: f64,
}

impl PlainRmsNorm {
    /// Same shape and type as `x`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        if shim::usable(&[x, &self.weight]) {
            return shim::rms_norm(Norm::Llama, x, &self.weight, None, self.eps);
        }
        let width = self.weight.size();
        if x.kind() == Kind::Float {
            return x.rms_norm(width, Some(&self.weight), self.eps);
        }
        x.to_kind(Kind::Float)
            .rms_norm(width, None::<&Tensor>, self.eps)
            .to_kind(x.kind())
            * &self.weight
    }

    /// Adds the weight to `found`, under its name.
    pub fn list(&self, found: &mut Vec<(String, Tensor)>) {
        found.push((format!("{}.weight", self.path), self.weight.shallow_clone()));
    }
}

/// Layer norm (Ba et al. 2016) with scale and shift.
#[derive(Debug)]
pub struct LayerNorm {
    /// Path in the checkpoint, without `.weight`.
    pub path: String,
    /// `[d]`.
    pub weight: Tensor,
    /// `[d]`.
    pub bias: Tensor,
    /// Added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    /// Same shape and type as `x`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(
            self.weight.size(),
            Some(&self.weight),
            Some(&self.bias),
            self.eps,
            true,
        )
    }

    /// Adds weight and bias to `found`, under their names.
    pub fn list(&self, found: &mut Vec<(String, Tensor)>) {
        found.push((format!("{}.weight", self.path), self.weight.shallow_clone()));
        found.push((format!("{}.bias", self.path), self.bias.shallow_clone()));
    }
}

/// A row a token.
#[derive(Debug)]
pub struct Embedding {
    /// Path in the checkpoint, without `.weight`.
    pub path: String,
    /// `[vocab, d]`.
    pub weight: Tensor,
}

impl Embedding {
    /// `tokens_bt` (int64) to `x_btd`.
    pub fn forward(&self, tokens_bt: &Tensor) -> Tensor {
        Tensor::embedding(&self.weight, tokens_bt, -1, false, false)
    }

    /// The embedding as output head: the same tensor. When that is [packed](Linear::pack), the rows stay here, to look tokens up.
    pub fn as_head(&self) -> Linear {
        Linear::of(&self.path, self.weight.shallow_clone(), None)
    }

    /// Adds the weight to `found`, under its name.
    pub fn list(&self, found: &mut Vec<(String, Tensor)>) {
        found.push((format!("{}.weight", self.path), self.weight.shallow_clone()));
    }
}
