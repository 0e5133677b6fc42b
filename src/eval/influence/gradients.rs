//! The gradient of each example's loss by the adapter's parameters, for all examples of a packed
//! row in one forward and backward pass.
//!
//! With `z = W x + scale · B A x` and `g` the gradient of `z`, the gradients of A and B are sums
//! over the tokens of an example: `scale · Σ (Bᵀ g) xᵀ` and `scale · Σ g (A x)ᵀ`. So the pass only
//! computes gradients of activations, and those of the parameters follow from each example's own
//! rows of `x` and `g`. Embedding, head and base weights are frozen and have none.
//!
//! Shapes: `t` tokens of a row, `n` targets, `e` examples, `i` features in, `o` out, `r` rank, `p`
//! numbers of a parameter, `d` hidden.

use super::adapted::{AdaptedModel, Slot};
use super::packed::{PackedExamples, PackedTensors};
use crate::model::layers::attention::ForwardPass;
use crate::model::layers::lora::{AdapterPass, recorded};
use crate::shim::recorded::Training;
use crate::train::loss::{self, Head, LossGradients};
use std::collections::HashMap;
use std::ops::Range;
use tch::{Kind, Tensor};

/// Receives the gradients of one parameter, fp32 `[e, p]`, with the parameter's number.
pub type TakeGradients<'a> = &'a mut dyn FnMut(usize, Tensor);

/// A block between the passes.
struct BlockPass {
    /// Input of the block, a leaf.
    x_1td: Tensor,
    /// Its output with the record of its adapters; none if it is to be computed again.
    made: Option<(Tensor, Vec<AdapterPass>)>,
}

/// Detaches `x` and makes it a leaf that receives a gradient.
fn as_leaf(x: &Tensor) -> Tensor {
    x.detach().set_requires_grad(true)
}

/// Returns the gradients of `inputs` where `y` has this gradient.
fn backward(y: &Tensor, gradient: &Tensor, inputs: &[&Tensor]) -> Vec<Tensor> {
    let root = (y * gradient).sum(Kind::Float);
    Tensor::run_backward(&[root], inputs, false, false)
}

impl AdaptedModel {
    /// Hands the gradients of each example's mean loss to `take`, a parameter after the other, the
    /// last block's first.
    pub fn gradients(&self, row: &PackedExamples, take: TakeGradients) {
        let _training = Training::hold();
        let tensors = row.on(self.device);
        let layers = self.model.info().layers;
        let mut pass = ForwardPass::packed(&row.nodes, self.device);
        let (mut kept, mut x_1td) = (Vec::with_capacity(layers), self.model.embed(&tensors.token_1t));
        for layer in 0..layers {
            let leaf = as_leaf(&x_1td);
            let made = match self.recompute {
                true => {
                    let _guard = tch::no_grad_guard();
                    x_1td = self.model.block(layer, &leaf, &mut pass);
                    None
                }
                false => {
                    let made = recorded(|| self.model.block(layer, &leaf, &mut pass));
                    x_1td = made.0.detach();
                    Some(made)
                }
            };
            kept.push(BlockPass { x_1td: leaf, made });
        }
        let mut gradient_1td = self.head_gradient(&x_1td, &tensors);
        for layer in (0..layers).rev() {
            let BlockPass { x_1td, made } = kept.pop().expect("one for each block");
            let (y_1td, records) =
                made.unwrap_or_else(|| recorded(|| self.model.block(layer, &x_1td, &mut pass)));
            let inputs: Vec<&Tensor> = [&x_1td]
                .into_iter()
                .chain(records.iter().map(|record| &record.y_no))
                .collect();
            let mut gradients = backward(&y_1td, &gradient_1td, &inputs).into_iter();
            gradient_1td = gradients.next().expect("of the block's input");
            drop(y_1td);
            let mut inputs = WidenedInputs::new();
            for (record, gradient_to) in records.iter().zip(gradients) {
                let slot = self.slot(record.a);
                let x_ti = widened(&mut inputs, &record.x_ni);
                self.take_layer(
                    slot,
                    (record, &x_ti),
                    &gradient_to,
                    (row, &tensors.share_t1),
                    take,
                );
            }
        }
    }

    /// Returns the gradient of the last block's output: that of the summed loss of all targets.
    fn head_gradient(&self, x_1td: &Tensor, tensors: &PackedTensors) -> Tensor {
        let top_1td = as_leaf(x_1td);
        let hidden_td = self.model.finish(&top_1td).flatten(0, 1);
        let hidden_nd = hidden_td.index_select(0, &tensors.position_n);
        let (weight_vd, bias_v) = self.model.head();
        let form = self.model.logit_form();
        let head = Head {
            weight_vd,
            bias_v,
            form,
        };
        let want = LossGradients::Hidden;
        let losses = loss::cross_entropy(&hidden_nd, &tensors.target_n, &head, 1.0, want);
        let gradient_nd = losses.hidden_nd.expect("asked for");
        backward(&hidden_nd, &gradient_nd, &[&top_1td]).remove(0)
    }

    /// Hands over the gradients of one adapter, whose input is given in fp32, too. Each example's
    /// are divided by its targets here, in fp32, and not at the head, where bf16 would round once
    /// more. Products with A and B are of the model's type, as in training; sums over tokens are in
    /// fp32.
    fn take_layer(
        &self,
        slot: &Slot,
        (record, x_ti): (&AdapterPass, &Tensor),
        gradient_to: &Tensor,
        (row, share_t1): (&PackedExamples, &Tensor),
        take: TakeGradients,
    ) {
        let _guard = tch::no_grad_guard();
        let leaf = |number: usize| self.parameters[number].leaf.detach();
        let (a_ri, b_or) = (leaf(slot.a), leaf(slot.b));
        let kind = gradient_to.kind();
        let scale_t1 = share_t1 * self.scale;
        let product = |x_tc: &Tensor, with_cr: &Tensor| {
            x_tc.matmul(&with_cr.to_kind(kind)).to_kind(Kind::Float) * &scale_t1
        };
        let back_tr = product(gradient_to, &b_or);
        let inner_tr = product(&record.x_ni.detach(), &a_ri.tr());
        let g_to = gradient_to.to_kind(Kind::Float);
        take(slot.a, products(&back_tr, x_ti, &row.spans));
        take(slot.b, products(&g_to, &inner_tr, &row.spans));
        if let Some(magnitude) = slot.magnitude {
            // The output is z · magnitude / norm, and g is the gradient of z.
            let along_to = g_to * record.y_no.detach().to_kind(Kind::Float) * share_t1;
            let sums: Vec<Tensor> = row.spans.iter().map(|span| part(&along_to, span)).collect();
            let sums: Vec<Tensor> = sums
                .iter()
                .map(|of| of.sum_dim_intlist(0i64, false, Kind::Float))
                .collect();
            take(magnitude, Tensor::stack(&sums, 0) / leaf(magnitude));
        }
    }
}

/// Inputs of layers in fp32, by their address: several layers of a block have the same one.
type WidenedInputs = HashMap<usize, Tensor>;

fn widened(inputs: &mut WidenedInputs, x_ti: &Tensor) -> Tensor {
    let widen = || x_ti.detach().to_kind(Kind::Float);
    let known = inputs.entry(x_ti.data_ptr() as usize).or_insert_with(widen);
    known.shallow_clone()
}

/// Returns the rows of an example.
fn part(x_tc: &Tensor, span: &Range<i64>) -> Tensor {
    x_tc.narrow(0, span.start, span.end - span.start)
}

/// Returns `Σ u vᵀ` over the rows of each example, flat: `[e, u · v]`.
fn products(u_tu: &Tensor, v_tv: &Tensor, spans: &[Range<i64>]) -> Tensor {
    let (rows, columns) = (u_tu.size()[1], v_tv.size()[1]);
    let out = Tensor::empty([spans.len() as i64, rows * columns], (Kind::Float, u_tu.device()));
    for (example, span) in spans.iter().enumerate() {
        let place = out.get(example as i64).view([rows, columns]);
        let _ = part(u_tu, span).tr().mm_out(&place, &part(v_tv, span));
    }
    out
}
