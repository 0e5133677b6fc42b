//! A model that fails when it is told to.

use tch::Tensor;

use crate::model::layers::Linear;
use crate::model::layers::attention::ForwardPass;
use crate::model::{CausalLm, EmbeddingAndHead, ModelInfo};

/// A model that shows the tokens of each pass to a function first, which may panic.
pub(crate) struct Watched {
    model: Box<dyn CausalLm>,
    look: Box<dyn Fn(&Tensor) + Send>,
}

impl Watched {
    /// Watches `model` by `look`, which gets the `tokens_bt` of each pass.
    pub(crate) fn new(model: Box<dyn CausalLm>, look: impl Fn(&Tensor) + Send + 'static) -> Box<Watched> {
        let look = Box::new(look);
        Box::new(Watched { model, look })
    }
}

impl CausalLm for Watched {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }
    fn embed(&self, tokens_bt: &Tensor) -> Tensor {
        (self.look)(tokens_bt);
        self.model.embed(tokens_bt)
    }
    fn block(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        self.model.block(layer, x_btd, pass)
    }
    fn finish(&self, x_btd: &Tensor) -> Tensor {
        self.model.finish(x_btd)
    }
    fn logits(&self, hidden: &Tensor) -> Tensor {
        self.model.logits(hidden)
    }
    fn pack_head(&mut self) {}

    fn embedding_and_head(&mut self) -> EmbeddingAndHead<'_> {
        self.model.embedding_and_head()
    }

    fn head(&self) -> (Tensor, Option<Tensor>) {
        self.model.head()
    }
    fn for_each_linear(&mut self, f: &mut dyn FnMut(&mut Linear)) {
        self.model.for_each_linear(f)
    }
    fn parameters(&self) -> Vec<(String, Tensor)> {
        self.model.parameters()
    }

    fn block_parameters(&self, layer: usize) -> Vec<(String, Tensor)> {
        self.model.block_parameters(layer)
    }
}
