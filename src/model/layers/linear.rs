//! Linear layers, and the forms in which their weights are kept.

use tch::{Device, Kind, Tensor};

use super::adapters;
use super::lora::Lora;
use super::matmul;
use super::nf4::Nf4;
use crate::shim::PackedLinear;

/// A linear layer `y = W x + b`, with an optional LoRA adapter.
#[derive(Debug)]
pub struct Linear {
    /// Path in the checkpoint, without `.weight`: `model.layers.0.self_attn.q_proj`.
    pub path: String,
    /// `[out, in]`, or `[in, out]` if `transposed`.
    pub weight: Tensor,
    /// Whether the weight is kept transposed, as GPT-2's checkpoints have it.
    pub transposed: bool,
    /// `[out]`.
    pub bias: Option<Tensor>,
    /// The adapter, when one is attached.
    pub lora: Option<Lora>,
    /// Adapters of which each row of the input has one or none, see [`adapters`]; none in the list
    /// for those that leave this layer alone.
    pub adapters: Vec<Option<Lora>>,
    /// The weight packed for inference on the CPU; `weight` is empty then.
    pub packed: Option<PackedLinear>,
    /// The weight in 4 bits, of a frozen base model; `weight` is empty then.
    pub quantized: Option<Nf4>,
}

impl Linear {
    /// Makes a layer of a weight `[out, in]` and a bias `[out]`.
    pub fn of(path: &str, weight: Tensor, bias: Option<Tensor>) -> Linear {
        Linear {
            path: path.to_string(),
            weight,
            transposed: false,
            bias,
            lora: None,
            adapters: Vec::new(),
            packed: None,
            quantized: None,
        }
    }

    /// Maps `[…, in]` to `[…, out]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let mut shape = x.size();
        // A matrix goes straight to one gemm; more dimensions pass through matmul's folding logic
        // first.
        let x_nd = x.reshape([-1, shape[shape.len() - 1]]);
        let product = |x_nd: &Tensor, bias: Option<&Tensor>| match (&self.packed, &self.quantized) {
            (Some(packed), _) => packed.forward(x_nd, bias),
            (_, Some(quantized)) => quantized.linear(x_nd, bias),
            (None, None) if self.transposed => matmul::linear(x_nd, &self.weight.tr(), bias),
            (None, None) => matmul::linear(x_nd, &self.weight, bias),
        };
        let y_nd = match &self.lora {
            Some(lora) => lora.apply(&x_nd, || self.values(), self.bias.as_ref(), product),
            None if self.adapters.is_empty() => product(&x_nd, self.bias.as_ref()),
            None => adapters::forward(
                &self.adapters,
                &x_nd,
                || self.values(),
                self.bias.as_ref(),
                product,
            ),
        };
        *shape.last_mut().expect("a tensor of features") = y_nd.size()[1];
        y_nd.view(shape.as_slice())
    }

    /// Packs the weight for inference: a bf16 weight on the CPU is replaced by its packed form,
    /// with which a product takes two thirds of the time. Any other weight stays as it is.
    pub fn pack(&mut self) {
        let weight = self.values();
        let worth = weight.kind() == Kind::BFloat16 && weight.device() == Device::Cpu && weight.dim() == 2;
        // A processor without bf16 has no packed form; the weight stays as it is.
        let packed = worth.then(|| PackedLinear::pack(&weight.contiguous()).ok());
        if let Some(packed) = packed.flatten() {
            self.weight = Tensor::empty([0], (self.weight.kind(), self.weight.device()));
            self.packed = Some(packed);
        }
    }

    /// Quantizes the weight to 4 bits, unless NF4 cannot hold its shape.
    pub fn quantize(&mut self) {
        if let Some(quantized) = Nf4::of(&self.values()) {
            self.weight = Tensor::empty([0], (self.weight.kind(), self.weight.device()));
            self.quantized = Some(quantized);
        }
    }

    /// As [`Linear::quantize`], of a weight without memory, into codes without memory.
    pub fn quantize_hollow(&mut self) {
        if let Some(quantized) = Nf4::hollow(self.size(), self.weight.device()) {
            self.weight = Tensor::empty([0], (self.weight.kind(), self.weight.device()));
            self.quantized = Some(quantized);
        }
    }

    /// Returns the size of the weight, `[out, in]`.
    pub fn size(&self) -> (i64, i64) {
        match &self.quantized {
            Some(quantized) => quantized.size,
            // Without a look at its memory, which may be away (`train/shards`).
            None => match self.weight.size2().expect("a linear weight is a matrix") {
                (inputs, outputs) if self.transposed => (outputs, inputs),
                size => size,
            },
        }
    }

    /// Returns the weight `[out, in]`, dequantized if it is in 4 bits; else it shares the layer's
    /// memory.
    pub fn values(&self) -> Tensor {
        match &self.quantized {
            Some(quantized) => quantized.values(self.weight.kind()),
            // In a sketch there is no matrix.
            None if self.transposed && self.weight.dim() == 2 => self.weight.tr(),
            None => self.weight.shallow_clone(),
        }
    }

    /// Adds weight and bias with their names to `found`.
    pub fn list(&self, found: &mut Vec<(String, Tensor)>) {
        found.push((format!("{}.weight", self.path), self.weight.shallow_clone()));
        if let Some(bias) = &self.bias {
            found.push((format!("{}.bias", self.path), bias.shallow_clone()));
        }
    }

    /// Merges the adapter into the weight and removes it. Rounds once, to the weight's type.
    pub fn merge(&mut self) {
        if let Some(lora) = self.lora.take() {
            let _guard = tch::no_grad_guard();
            let mut weight_oi = self.values();
            weight_oi.copy_(&lora.merged(&weight_oi));
        }
    }
}
