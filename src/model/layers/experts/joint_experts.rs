//! All experts of a layer by a few products, whichever tokens chose which: for decode steps on a
//! GPU, where a read of their choice would have the host wait in every layer.

use tch::{Kind, Tensor};

use crate::model::layers::activation::Activation;
use crate::model::layers::gated_mlp::GatedMlp;
use crate::model::layers::joint::JointWeights;
use crate::model::layers::linear::Linear;
use crate::model::layers::matmul;

/// Most outputs, of all experts for all tokens, that are computed without a read: 128 tokens of 128
/// experts. They take no more memory than a prefill of 2,048 tokens, and fewer operations than keep
/// an H100 busy while it reads the weights.
const MOST_OUTPUTS: i64 = 1 << 14;
/// Most tokens that go through all experts, however few those are: the requests of the largest
/// batch. A product of more tokens is no longer bound by reading the weights.
const MOST_TOKENS: i64 = 256;
/// How often weights that are gathered cross memory: read, written, and read by the product.
const GATHER_PASSES: i64 = 3;

/// Returns how many numbers [`JointExperts::forward`] holds at most, of `experts` experts with
/// `inner` features: gate and up of those that it gathers, or what all make of all tokens (gate and
/// up, activation, product, output).
pub(super) fn most_numbers(experts: i64, inner: i64, hidden: i64) -> i64 {
    let gathered = experts / GATHER_PASSES * 2 * inner * hidden;
    let outputs = MOST_OUTPUTS.min(MOST_TOKENS * experts);
    gathered.max(outputs * (4 * inner + hidden))
}

/// The weights of all experts of a layer, one expert behind the other. The experts keep views of
/// them.
#[derive(Debug)]
pub(super) struct JointExperts {
    /// Gate and up of each expert, `[e, 2·inner, d]`.
    gate_up_efd: Tensor,
    /// `[e, d, inner]`.
    down_edi: Tensor,
    act: Activation,
}

impl JointExperts {
    /// Moves the weights behind each other, and has each expert compute gate and up in one product.
    /// None if they do not [fit together](JointWeights::of).
    pub(super) fn of(experts: &mut [GatedMlp]) -> Option<JointExperts> {
        let (count, act) = (experts.len() as i64, experts.first()?.act);
        let has_bias = |expert: &GatedMlp| expert.linears().iter().any(|linear| linear.bias.is_some());
        if experts.iter().any(has_bias) {
            return None;
        }
        let mut gates_and_ups: Vec<&mut Linear> = experts
            .iter_mut()
            .flat_map(|expert| [&mut expert.gate_proj, &mut expert.up_proj])
            .collect();
        let gate_up = JointWeights::of(&mut gates_and_ups)?;
        for (number, expert) in experts.iter_mut().enumerate() {
            expert.join_by(gate_up.part(2 * number, 2));
        }
        let mut downs: Vec<&mut Linear> = experts.iter_mut().map(|expert| &mut expert.down_proj).collect();
        let down = JointWeights::of(&mut downs)?;
        let by_expert = |joint: &JointWeights| joint.weight().unflatten(0, [count, -1]);
        Some(JointExperts {
            gate_up_efd: by_expert(&gate_up),
            down_edi: by_expert(&down),
            act,
        })
    }

    /// Returns what the experts `expert_nc` make of their tokens `x_nd`, `[n, c, d]`. None if the
    /// tokens are too many: then it is faster to read how they are distributed.
    pub(super) fn forward(&self, x_nd: &Tensor, expert_nc: &Tensor) -> Option<Tensor> {
        let (tokens, experts) = (x_nd.size()[0], self.down_edi.size()[0]);
        let pairs = expert_nc.numel() as i64;
        match () {
            () if tokens > MOST_TOKENS || tokens * experts > MOST_OUTPUTS => None,
            () if GATHER_PASSES * pairs <= experts => Some(self.by_chosen(x_nd, expert_nc)),
            () => Some(self.by_all(x_nd, expert_nc)),
        }
    }

    /// Gathers the weights of the chosen experts.
    fn by_chosen(&self, x_nd: &Tensor, expert_nc: &Tensor) -> Tensor {
        let (tokens, chosen) = expert_nc.size2().expect("experts of each token");
        let width = x_nd.size()[1];
        let expert_m = expert_nc.reshape([-1]);
        let gathered = |weight_eoi: &Tensor| weight_eoi.index_select(0, &expert_m).transpose(1, 2);
        let x_m1d = x_nd
            .unsqueeze(1)
            .expand([tokens, chosen, width], false)
            .reshape([-1, 1, width]);
        let gated_m1i = self.gated(&x_m1d.bmm(&gathered(&self.gate_up_efd)));
        gated_m1i
            .bmm(&gathered(&self.down_edi))
            .view([tokens, chosen, width])
    }

    /// Has every expert compute every token, and takes the outputs of those that were chosen.
    fn by_all(&self, x_nd: &Tensor, expert_nc: &Tensor) -> Tensor {
        let (tokens, chosen) = expert_nc.size2().expect("experts of each token");
        let (experts, width, _) = self.down_edi.size3().expect("weights of each expert");
        let gate_up_nf = matmul::linear(x_nd, &self.gate_up_efd.flatten(0, 1), None);
        let gated_nei = self.gated(&gate_up_nf.view([tokens, experts, -1]));
        let output_end = gated_nei.transpose(0, 1).bmm(&self.down_edi.transpose(1, 2));
        let token_n1 = Tensor::arange(tokens, (Kind::Int64, x_nd.device())).unsqueeze(1);
        let place_m = (expert_nc * tokens + token_n1).view([-1]);
        output_end
            .view([-1, width])
            .index_select(0, &place_m)
            .view([tokens, chosen, width])
    }

    /// Applies the activation to the first half of the features, and multiplies it with the second.
    fn gated(&self, gate_up_f: &Tensor) -> Tensor {
        let inner = self.down_edi.size()[2];
        let part = |start: i64| gate_up_f.narrow(-1, start, inner);
        self.act.gate(&part(0), &part(inner))
    }
}
