//! Readers of embedding and output head.

use tch::Tensor;

use super::Weights;
use crate::model::layers::{Embedding, Linear};

impl Weights {
    /// Reads the embedding and the output head at these paths, both `[rows, width]` without a bias,
    /// and returns whether they are tied: only if `ties`, see [`Weights::tied`].
    pub fn embedding_and_head(
        &mut self,
        [embedding, head]: [&str; 2],
        [rows, width]: [i64; 2],
        ties: bool,
    ) -> (Embedding, Linear, bool) {
        if ties {
            return self.tied(embedding, head, rows, width);
        }
        let embedding = self.embedding(embedding, rows, width);
        (embedding, self.linear(head, width, rows, false), false)
    }

    /// Reads embedding and output head of a model whose config ties them, and returns whether they
    /// are tied. As in `transformers`, a different head in the file counts, and one of the two
    /// stands for both if the other is missing.
    fn tied(&mut self, embedding: &str, head: &str, rows: i64, width: i64) -> (Embedding, Linear, bool) {
        let names = [embedding, head].map(|path| format!("{path}.weight"));
        let has_head = self.has(&names[1]);
        let only_head = has_head && !self.has(&names[0]);
        let embedding = Embedding {
            path: embedding.to_string(),
            weight: self.tensor(&names[usize::from(only_head)], &[rows, width]),
        };
        if has_head && !only_head {
            let weight = self.tensor(&names[1], &[rows, width]);
            if weight.size() == embedding.weight.size() && !self.same(&names, &[&embedding.weight, &weight]) {
                return (embedding, Linear::of(head, weight, None), false);
            }
        }
        let head = embedding.as_head();
        (embedding, head, true)
    }

    /// Returns whether two tensors of these names are equal, which are read if they were not.
    fn same(&mut self, names: &[String; 2], tensors: &[&Tensor; 2]) -> bool {
        if !self.hollow {
            return tensors[0].equal(tensors[1]);
        }
        self.keep_hollow(false);
        let size = tensors[0].size();
        let [first, second] = names.each_ref().map(|name| self.tensor(name, &size));
        self.keep_hollow(true);
        first.size() == second.size() && first.equal(&second)
    }
}
