//! A mixture of experts (Shazeer et al. 2017, <https://arxiv.org/abs/1701.06538>) in place of an
//! MLP: a router chooses a few of many small MLPs for each token, and weighs their outputs.
//!
//! Tokens are sorted by expert, so that each chosen expert computes its tokens in one product. The
//! host reads how many they are. Few tokens go without that read in inference on a GPU: see
//! [`JointExperts`].
//!
//! Shapes: `n` tokens, `d` features, `e` experts, `c` of them chosen for a token, `m = n·c` pairs
//! of a token and an expert.

mod joint_experts;

use tch::{Device, Kind, Tensor};

use super::gated_mlp::GatedMlp;
use super::linear::Linear;
use joint_experts::JointExperts;

/// Sizes of a mixture, and how its weights are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertsConfig {
    /// Experts of a layer.
    pub count: i64,
    /// Experts that each token goes through.
    pub chosen: i64,
    /// Features within an expert.
    pub inner: i64,
    /// Whether the weights of the chosen experts are divided by their sum.
    pub normalizes: bool,
}

impl ExpertsConfig {
    /// Returns how many features a pass makes of each token at once: those within its experts, or
    /// the experts' outputs of `hidden` features, whichever are more.
    pub fn features(&self, hidden: i64) -> i64 {
        self.chosen * self.inner.max(hidden)
    }

    /// Returns how many numbers a pass of few tokens holds at once, beside its tokens, where the
    /// experts of a layer are computed together; see [`joint_experts`].
    pub fn joint_numbers(&self, hidden: i64) -> i64 {
        joint_experts::most_numbers(self.count, self.inner, hidden)
    }
}

/// The mixture of one layer.
#[derive(Debug)]
pub struct Experts {
    /// Scores the experts: `[e, d]`, without bias. It takes no adapter, and is never quantized.
    pub router: Linear,
    /// The experts.
    pub experts: Vec<GatedMlp>,
    /// Sizes.
    pub config: ExpertsConfig,
    /// The weights of all experts, if they lie one behind the other.
    joint: Option<JointExperts>,
}

impl Experts {
    /// Makes a mixture of a router and its experts.
    pub fn of(router: Linear, experts: Vec<GatedMlp>, config: ExpertsConfig) -> Experts {
        Experts {
            router,
            experts,
            config,
            joint: None,
        }
    }

    /// Moves the weights of all experts behind each other, for inference, if they
    /// [fit together](super::joint::JointWeights::of).
    pub fn join(&mut self) {
        self.joint = JointExperts::of(&mut self.experts);
    }

    /// Borrows the layers of all experts, in the order in which training visits them.
    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        self.experts.iter_mut().flat_map(GatedMlp::linears_mut).collect()
    }

    /// Adds the weights with their names to `found`.
    pub fn list(&self, found: &mut Vec<(String, Tensor)>) {
        self.router.list(found);
        self.experts.iter().for_each(|expert| expert.list(found));
    }

    /// Maps `x_btd` to `x_btd`. Rounds as the reference: weights to the model's type, the weighted
    /// outputs, and the sum over the experts of a token, which is fp32.
    pub fn forward(&self, x_btd: &Tensor) -> Tensor {
        let width = *x_btd.size().last().expect("a tensor of features");
        let x_nd = x_btd.reshape([-1, width]);
        let (weight_nc, expert_nc) = self.route(&x_nd);
        let joint = self.joint.as_ref();
        let weighted_ncd = match joint.and_then(|joint| joint.forward(&x_nd, &expert_nc)) {
            Some(output_ncd) => output_ncd * weight_nc.unsqueeze(-1),
            None => self.sorted(&x_nd, &weight_nc, &expert_nc),
        };
        weighted_ncd
            .sum_dim_intlist(1i64, false, x_btd.kind())
            .view_as(x_btd)
    }

    /// Returns the weighted outputs of each token's experts, `[n, c, d]`.
    fn sorted(&self, x_nd: &Tensor, weight_nc: &Tensor, expert_nc: &Tensor) -> Tensor {
        let width = x_nd.size()[1];
        let expert_m = expert_nc.flatten(0, 1);
        let (sorted_m, order_m) = expert_m.sort_stable(true, 0, false);
        let token_m = order_m.divide_scalar_mode(self.config.chosen, "floor");
        let sorted_md = x_nd.index_select(0, &token_m);
        let mut start = 0;
        let outputs: Vec<Tensor> = self
            .counts(&sorted_m)
            .into_iter()
            .zip(&self.experts)
            .filter(|(count, _)| *count > 0)
            .map(|(count, expert)| {
                start += count;
                expert.forward(&sorted_md.narrow(0, start - count, count))
            })
            .collect();
        let weight_m1 = weight_nc.flatten(0, 1).index_select(0, &order_m).unsqueeze(1);
        let weighted_md = Tensor::cat(&outputs, 0) * weight_m1;
        let place_m = order_m.argsort(0, false);
        weighted_md
            .index_select(0, &place_m)
            .view([-1, self.config.chosen, width])
    }

    /// Returns for each token the weights of its experts, in the type of `x_nd`, and their numbers.
    fn route(&self, x_nd: &Tensor) -> (Tensor, Tensor) {
        let probability_ne = self.router.forward(x_nd).softmax(-1, Kind::Float);
        let (weight_nc, expert_nc) = probability_ne.topk(self.config.chosen, -1, true, true);
        let weight_nc = match self.config.normalizes {
            true => &weight_nc / weight_nc.sum_dim_intlist(-1i64, true, Kind::Float),
            false => weight_nc,
        };
        (weight_nc.to_kind(x_nd.kind()), expert_nc)
    }

    /// Returns how many tokens go through each expert, given the experts of all pairs in order. On
    /// a GPU, the host waits for them, once.
    fn counts(&self, sorted_m: &Tensor) -> Vec<i64> {
        let expert_e = Tensor::arange(self.config.count, (Kind::Int64, sorted_m.device()));
        let end_e = expert_e.searchsorted(sorted_m, false, true, "right", None::<Tensor>);
        let end_e: Vec<i64> = Vec::try_from(end_e.to_device(Device::Cpu)).expect("a row of places");
        let start_e = std::iter::once(0).chain(end_e.iter().copied());
        end_e
            .iter()
            .zip(start_e)
            .map(|(end, start)| end - start)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layers::activation::Activation;
    use crate::model::tests::distance;
    use crate::shim::tests::numbers;
    use crate::shim::trace::Trace;

    fn experts(count: i64, normalizes: bool) -> Experts {
        let linear = |outputs: i64, inputs: i64, seed: i64| {
            Linear::of("x", numbers(&[outputs, inputs], Kind::Float, seed), None)
        };
        let expert = |n: i64| {
            let layers = [linear(6, 8, 20 + n), linear(6, 8, 40 + n), linear(8, 6, 60 + n)];
            GatedMlp::of(layers, Activation::Silu)
        };
        let config = ExpertsConfig {
            count,
            chosen: 2,
            inner: 6,
            normalizes,
        };
        Experts::of(linear(count, 8, 1), (0..count).map(expert).collect(), config)
    }

    /// Every expert computes every token, and weights of 0 leave out those that were not chosen.
    #[test]
    fn sorted_tokens_give_what_all_experts_give_by_their_weights() {
        for normalizes in [false, true] {
            let experts = experts(5, normalizes);
            let x = numbers(&[1, 9, 8], Kind::Float, 3).set_requires_grad(true);
            let seed = numbers(&[1, 9, 8], Kind::Float, 4);
            let run = |y: Tensor| {
                (&y * &seed).sum(Kind::Float).backward();
                let gradient = x.grad().copy();
                crate::shim::forget_gradient(&x);
                (y.detach(), gradient)
            };
            let (ours, gradient) = run(experts.forward(&x));
            let (weight, chosen) = experts.route(&x.view([9, 8]));
            let none = Tensor::zeros([9, 5], (Kind::Float, tch::Device::Cpu));
            let weight = none.scatter(1, &chosen, &weight);
            let outputs: Vec<Tensor> = experts
                .experts
                .iter()
                .map(|expert| expert.forward(&x.view([9, 8])))
                .collect();
            let all = Tensor::stack(&outputs, 1) * weight.unsqueeze(-1);
            let (want, want_gradient) = run(all.sum_dim_intlist(1i64, false, Kind::Float).view([1, 9, 8]));
            for (ours, want) in [(ours, want), (gradient, want_gradient)] {
                let apart = distance(&ours, &want);
                assert!(apart < 1e-5, "{normalizes}: {apart:e}");
            }
        }
    }

    /// Few tokens gather the weights of their experts, more go through all of them, and many are
    /// sorted.
    #[test]
    fn joint_experts_give_what_sorted_tokens_give_and_read_for_many_tokens_only() {
        let (apart_experts, mut joined) = (experts(12, true), experts(12, true));
        joined.join();
        assert!(joined.joint.is_some());
        for (tokens, reads) in [(1, 0), (2, 0), (3, 0), (40, 0), (256, 0), (257, 1)] {
            let x = numbers(&[1, tokens, 8], Kind::Float, 3);
            let trace = Trace::begin().unwrap();
            let ours = joined.forward(&x);
            let counts = trace.end();
            let want = apart_experts.forward(&x);
            // Products of different forms add in different orders.
            let apart = distance(&ours, &want);
            assert!(apart < 1e-5, "{tokens} tokens: {apart:e}");
            assert_eq!(counts.reads, reads, "{tokens} tokens");
        }
        let listed = |experts: &Experts| {
            let mut found = Vec::new();
            experts.list(&mut found);
            found
        };
        assert_eq!(listed(&joined), listed(&apart_experts), "each keeps its weights");
    }

    #[test]
    fn pairs_are_counted_for_each_expert_of_which_some_have_none() {
        let sorted_m = Tensor::from_slice(&[1i64, 1, 1, 3, 4, 4]);
        assert_eq!(experts(6, true).counts(&sorted_m), [0, 3, 0, 1, 2, 0]);
    }

    #[test]
    fn an_expert_that_no_token_chose_has_no_gradient() {
        let experts = experts(5, true);
        for expert in &experts.experts {
            let _ = expert.down_proj.weight.set_requires_grad(true);
        }
        let x = numbers(&[1, 1, 8], Kind::Float, 3);
        experts.forward(&x).sum(Kind::Float).backward();
        let with = experts
            .experts
            .iter()
            .filter(|expert| expert.down_proj.weight.grad().defined());
        assert_eq!(with.count(), 2);
    }
}
