//! What all families share: an embedding, blocks one behind the other, a norm and an output head. A
//! family is a [`Block`], and a function that reads a [`Decoder`] of such blocks.

use tch::Tensor;

use super::causal_lm::{CausalLm, EmbeddingAndHead};
use super::layers::attention::ForwardPass;
use super::layers::{AnyNorm, Embedding, ExpertsConfig, Linear, LogitForm};
use super::model_info::ModelInfo;

/// One block of a family.
pub trait Block: Send {
    /// Computes the block, which is number `layer`: `x_btd` to `x_btd`. The last one returns only
    /// the positions that the pass [selects](ForwardPass::select_at).
    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor;

    /// Borrows the linear layers that LoRA can be attached to, in order.
    fn linears_mut(&mut self) -> Vec<&mut Linear>;

    /// Borrows the linear layers of experts, in order.
    fn expert_linears_mut(&mut self) -> Vec<&mut Linear> {
        Vec::new()
    }

    /// Returns the sizes of the mixture of experts, if there is one.
    fn experts(&self) -> Option<ExpertsConfig> {
        None
    }

    /// Has layers of one input computed in one product, see [`CausalLm::join_projections`].
    fn join_projections(&mut self) {}

    /// Adds every weight with its name to `found`, in the order of checkpoints that are written.
    fn list(&self, found: &mut Vec<(String, Tensor)>);
}

/// What lies before the first block and behind the last.
#[derive(Debug)]
pub struct Ends {
    /// The input embedding.
    pub embedding: Embedding,
    /// What embeddings are multiplied by; 1 in most models.
    pub embedding_scale: f64,
    /// The norm behind the last block.
    pub norm: AnyNorm,
    /// The output head; shares the embedding's weights where they are tied.
    pub head: Linear,
    /// Path in the checkpoint of a head that is not tied.
    pub head_name: &'static str,
    /// What becomes of the product with the head.
    pub logit_form: LogitForm,
}

impl Ends {
    /// Makes those of most models: a head `lm_head`, and nothing scaled.
    pub fn new(embedding: Embedding, norm: impl Into<AnyNorm>, head: Linear) -> Ends {
        Ends {
            embedding,
            embedding_scale: 1.0,
            norm: norm.into(),
            head,
            head_name: "lm_head",
            logit_form: LogitForm::Plain,
        }
    }
}

/// A causal language model of blocks of one kind.
#[derive(Debug)]
pub struct Decoder<B> {
    /// Sizes and special tokens.
    pub info: ModelInfo,
    /// Embedding, norm and head.
    pub ends: Ends,
    /// The blocks, as many as `info` says.
    pub blocks: Vec<B>,
}

impl<B: Block> CausalLm for Decoder<B> {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn embed(&self, tokens_bt: &Tensor) -> Tensor {
        let x_btd = self.ends.embedding.forward(tokens_bt);
        match self.ends.embedding_scale {
            1.0 => x_btd,
            by => x_btd * by,
        }
    }

    fn block(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        self.blocks[layer].forward(layer, x_btd, pass)
    }

    fn finish(&self, x_btd: &Tensor) -> Tensor {
        self.ends.norm.forward(x_btd)
    }

    fn logits(&self, hidden: &Tensor) -> Tensor {
        self.logit_form().apply(self.ends.head.forward(hidden))
    }

    fn logit_form(&self) -> LogitForm {
        self.ends.logit_form
    }

    fn head(&self) -> (Tensor, Option<Tensor>) {
        let Linear { weight, bias, .. } = &self.ends.head;
        (weight.shallow_clone(), bias.as_ref().map(Tensor::shallow_clone))
    }

    fn for_each_linear(&mut self, f: &mut dyn FnMut(&mut Linear)) {
        self.blocks.iter_mut().flat_map(B::linears_mut).for_each(f);
    }

    fn for_each_expert_linear(&mut self, f: &mut dyn FnMut(&mut Linear)) {
        self.blocks.iter_mut().flat_map(B::expert_linears_mut).for_each(f);
    }

    fn experts(&self) -> Option<ExpertsConfig> {
        self.blocks.first()?.experts()
    }

    fn embedding_and_head(&mut self) -> EmbeddingAndHead<'_> {
        EmbeddingAndHead {
            embedding: &mut self.ends.embedding,
            head: &mut self.ends.head,
            head_name: self.ends.head_name,
            tied: &mut self.info.tied,
        }
    }

    fn join_projections(&mut self) {
        self.blocks.iter_mut().for_each(B::join_projections);
    }

    fn parameters(&self) -> Vec<(String, Tensor)> {
        let mut found = Vec::new();
        self.ends.embedding.list(&mut found);
        self.blocks.iter().for_each(|block| block.list(&mut found));
        self.ends.norm.list(&mut found);
        if !self.info.tied {
            self.ends.head.list(&mut found);
        }
        found
    }

    fn block_parameters(&self, layer: usize) -> Vec<(String, Tensor)> {
        let mut found = Vec::new();
        self.blocks[layer].list(&mut found);
        found
    }
}
