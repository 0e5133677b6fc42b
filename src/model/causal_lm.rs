//! The trait of a causal language model.

use tch::Tensor;

use crate::model::ModelInfo;
use crate::model::layers::attention::ForwardPass;
use crate::model::layers::{Embedding, ExpertsConfig, Linear, LogitForm};

/// A causal language model. [`CausalLm::forward`] is embed, every block in order, finish; the parts
/// are public so that training can recompute one block at a time.
pub trait CausalLm: Send {
    /// Returns sizes and special tokens.
    fn info(&self) -> &ModelInfo;

    /// Maps `tokens_bt` to the first block's `x_btd`.
    fn embed(&self, tokens_bt: &Tensor) -> Tensor;

    /// Computes block `layer`: `x_btd` to `x_btd`. The last block returns only the positions that
    /// the pass [selects](ForwardPass::select_at).
    fn block(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor;

    /// Applies the last norm: `x_btd` to `hidden_btd`.
    fn finish(&self, x_btd: &Tensor) -> Tensor;

    /// Returns the scores of the next token: `hidden` `[…, d]` to `[…, vocab]`, in the model's
    /// type.
    fn logits(&self, hidden: &Tensor) -> Tensor;

    /// Returns what [`CausalLm::logits`] does to the product with the head.
    fn logit_form(&self) -> LogitForm {
        LogitForm::Plain
    }

    /// Returns the output head as a matrix `[vocab, d]` and a bias `[vocab]`. Both share memory
    /// with the model: training computes logits from them and [`CausalLm::logit_form`], a chunk of
    /// positions at a time.
    fn head(&self) -> (Tensor, Option<Tensor>);

    /// Maps `tokens_bt` to `hidden_btd` after the last norm, or to the positions that the pass
    /// selects.
    fn forward(&self, tokens_bt: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let mut x_btd = self.embed(tokens_bt);
        for layer in 0..self.info().layers {
            x_btd = self.block(layer, &x_btd, pass);
        }
        self.finish(&x_btd)
    }

    /// Visits every linear layer of every block, in order: the layers that LoRA can be attached to.
    /// The head is not among them.
    fn for_each_linear(&mut self, f: &mut dyn FnMut(&mut Linear));

    /// Visits every linear layer of every expert, in order, in models with a mixture of experts.
    /// They take no adapter, and are not visited with the others.
    fn for_each_expert_linear(&mut self, _f: &mut dyn FnMut(&mut Linear)) {}

    /// Returns the sizes of the mixture of experts of each block, if there is one.
    fn experts(&self) -> Option<ExpertsConfig> {
        None
    }

    /// Borrows embedding and output head, to change them.
    fn embedding_and_head(&mut self) -> EmbeddingAndHead<'_>;

    /// Gives a tied output head weights of its own.
    fn untie(&mut self) {
        let EmbeddingAndHead {
            head,
            head_name,
            tied,
            ..
        } = self.embedding_and_head();
        if std::mem::replace(tied, false) {
            *head = Linear::of(head_name, head.weight.copy(), head.bias.take());
        }
    }

    /// Packs the output head for inference, see [`Linear::pack`].
    fn pack_head(&mut self) {
        self.embedding_and_head().head.pack();
    }

    /// Packs every linear layer for inference. There is no way back: packed weights are in an order
    /// that only the matrix product knows, so [`CausalLm::parameters`] and [`CausalLm::head`] are
    /// of no use afterwards.
    fn pack(&mut self) {
        self.for_each_linear(&mut |linear| linear.pack());
        self.for_each_expert_linear(&mut |linear| linear.pack());
        self.pack_head();
    }

    /// Has queries, keys and values of each block, gate and up of its MLP, and its experts computed
    /// in one product where they are several layers, for inference on a GPU. Adapters cannot be
    /// attached to these any more.
    fn join_projections(&mut self) {}

    /// Returns every weight with its name in the checkpoint, sharing memory with the model.
    /// Adapters are not among them, and a tied head appears once, as the embedding.
    fn parameters(&self) -> Vec<(String, Tensor)>;

    /// Returns those of [`CausalLm::parameters`] that block `layer` computes with.
    fn block_parameters(&self, layer: usize) -> Vec<(String, Tensor)>;
}

/// The two layers that have one row for each token of the vocabulary.
pub struct EmbeddingAndHead<'a> {
    /// The input embedding.
    pub embedding: &'a mut Embedding,
    /// The output head; shares the embedding's weights where they are tied.
    pub head: &'a mut Linear,
    /// Path in the checkpoint of a head that is not tied.
    pub head_name: &'static str,
    /// Whether the two share their weights.
    pub tied: &'a mut bool,
}
