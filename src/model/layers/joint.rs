//! Layers of one input whose weights lie one behind the other, so that one product computes them
//! all.

use tch::Tensor;

use super::linear::Linear;
use super::matmul;

/// The weights of several layers. The layers keep views of them, so no memory is taken twice.
#[derive(Debug)]
pub struct JointWeights {
    /// `[outputs of all layers, in]`.
    weight: Tensor,
    /// `[outputs of all layers]`, if all have a bias.
    bias: Option<Tensor>,
    /// Outputs of each layer.
    outputs: Vec<i64>,
}

impl JointWeights {
    /// Moves the weights of layers behind each other, for inference. None, and nothing has changed,
    /// if a layer has an adapter, or keeps its weight packed or in 4 bits, if only some have a
    /// bias, and if inputs or types differ.
    pub fn of(layers: &mut [&mut Linear]) -> Option<JointWeights> {
        let _guard = tch::no_grad_guard();
        let first = layers.first()?;
        // Packed and quantized weights are empty here.
        let (inputs, has_bias) = (first.weight.size2().ok()?.1, first.bias.is_some());
        let joins = layers.iter().all(|layer| {
            layer.lora.is_none()
                && layer.adapters.is_empty()
                && layer.packed.is_none()
                && layer.quantized.is_none()
                && !layer.transposed
                && layer.weight.dim() == 2
                && layer.size().1 == inputs
                && layer.bias.is_some() == has_bias
                && layer.weight.kind() == first.weight.kind()
                && layer.weight.device() == first.weight.device()
        });
        if !joins {
            return None;
        }
        let outputs: Vec<i64> = layers.iter().map(|layer| layer.size().0).collect();
        let weights: Vec<&Tensor> = layers.iter().map(|layer| &layer.weight).collect();
        let weight = Tensor::cat(&weights, 0);
        let biases: Vec<&Tensor> = layers.iter().filter_map(|layer| layer.bias.as_ref()).collect();
        let bias = has_bias.then(|| Tensor::cat(&biases, 0));
        for (layer, (begin, count)) in layers.iter_mut().zip(parts(&outputs)) {
            layer.weight = weight.narrow(0, begin, count);
            layer.bias = bias.as_ref().map(|bias| bias.narrow(0, begin, count));
        }
        Some(JointWeights {
            weight,
            bias,
            outputs,
        })
    }

    /// Returns the weights, `[outputs of all layers, in]`.
    pub(super) fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// Returns the weights of `count` layers, from layer `first` on, in the same memory.
    ///
    /// # Panics
    ///
    /// If there are fewer layers.
    pub(super) fn part(&self, first: usize, count: usize) -> JointWeights {
        let begin = self.outputs[..first].iter().sum();
        let outputs = self.outputs[first..first + count].to_vec();
        let length = outputs.iter().sum();
        JointWeights {
            weight: self.weight.narrow(0, begin, length),
            bias: self.bias.as_ref().map(|bias| bias.narrow(0, begin, length)),
            outputs,
        }
    }

    /// Maps `[…, in]` to the `[…, out]` of each layer, which are views of one tensor.
    fn forward(&self, x: &Tensor) -> Vec<Tensor> {
        let mut shape = x.size();
        let x_nd = x.reshape([-1, shape[shape.len() - 1]]);
        let y_nd = matmul::linear(&x_nd, &self.weight, self.bias.as_ref());
        *shape.last_mut().expect("a tensor of features") = y_nd.size()[1];
        let y = y_nd.view(shape.as_slice());
        parts(&self.outputs)
            .map(|(begin, count)| y.narrow(-1, begin, count))
            .collect()
    }
}

/// Iterates over begin and length of parts of these lengths, one behind the other.
fn parts(lengths: &[i64]) -> impl Iterator<Item = (i64, i64)> {
    lengths.iter().scan(0, |end, &length| {
        *end += length;
        Some((*end - length, length))
    })
}

/// Applies each layer to `x`: in one product if they were joined, else one after the other.
pub fn forward_all<const N: usize>(
    joint: Option<&JointWeights>,
    layers: [&Linear; N],
    x: &Tensor,
) -> [Tensor; N] {
    let Some(joint) = joint else {
        return layers.map(|layer| layer.forward(x));
    };
    let mut joined = joint.forward(x).into_iter();
    layers.map(|_| joined.next().expect("a part for each joined layer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::distance;
    use crate::shim::tests::{KINDS, numbers, step};
    use crate::shim::trace::Trace;
    use tch::{Device, Kind};

    fn layers(kind: Kind, has_bias: bool) -> [Linear; 3] {
        [24, 8, 8].map(|outputs| {
            let bias = has_bias.then(|| numbers(&[outputs], kind, outputs + 1));
            Linear::of("x", numbers(&[outputs, 16], kind, outputs), bias)
        })
    }

    #[test]
    fn one_product_gives_what_each_layer_gives_and_no_weight_is_there_twice() {
        for kind in KINDS {
            for has_bias in [false, true] {
                let (mut joined, apart_layers) = (layers(kind, has_bias), layers(kind, has_bias));
                let [q, k, v] = &mut joined;
                let joint = JointWeights::of(&mut [q, k, v]).unwrap();
                let x = numbers(&[2, 3, 16], kind, 5);
                let trace = Trace::begin().unwrap();
                let ours = forward_all(Some(&joint), joined.each_ref(), &x);
                let counts = trace.end();
                let mut end = joint.weight.data_ptr() as usize;
                for ((ours, layer), before) in ours.iter().zip(&joined).zip(&apart_layers) {
                    let want = before.forward(&x);
                    assert_eq!(ours.size(), want.size());
                    assert!(distance(ours, &want) <= step(kind), "{kind:?}");
                    assert_eq!(layer.weight, before.weight, "the layer keeps its weight");
                    assert!(layer.bias == before.bias);
                    assert_eq!(layer.weight.data_ptr() as usize, end);
                    end += layer.weight.numel() * kind.elt_size_in_bytes();
                }
                if kind == Kind::Float {
                    assert_eq!(counts.launches, 1, "{}", counts.launches_by_name());
                }
            }
        }
    }

    #[test]
    fn layers_that_differ_stay_apart() {
        let refused = |change: &dyn Fn(&mut Linear)| {
            let [mut q, mut k, v] = layers(Kind::Float, true);
            change(&mut k);
            let before = q.weight.data_ptr();
            assert!(JointWeights::of(&mut [&mut q, &mut k]).is_none());
            assert_eq!(q.weight.data_ptr(), before);
            let x = numbers(&[1, 16], Kind::Float, 5);
            let [ours] = forward_all(None, [&v], &x);
            assert_eq!(ours, v.forward(&x));
        };
        refused(&|k| k.bias = None);
        refused(&|k| k.weight = Tensor::zeros([8, 15], (Kind::Float, Device::Cpu)));
        refused(&|k| k.weight = k.weight.to_kind(Kind::Half));
        refused(&|k| k.weight = Tensor::zeros([0], (Kind::Float, Device::Cpu)));
        assert!(JointWeights::of(&mut []).is_none());
    }
}
