//! What an evaluation needs of models, which are opened one after another.

use anyhow::Result;
use futures::future::BoxFuture;

use crate::backend::{Backend, Question};
use crate::client::batch_backend::BatchBackend;

/// A model's part in an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvalRole {
    /// It is evaluated.
    Evaluated,
    /// It grades answers.
    Judge,
}

/// An answer whose likelihood is wanted.
#[derive(Debug, Clone, Copy)]
pub struct LikelihoodRow<'a> {
    /// What is asked.
    pub question: &'a Question,
    /// The answer.
    pub reference: &'a str,
}

/// The likelihood of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLoss {
    /// The tokens that count, the end of the answer included.
    pub tokens: usize,
    /// Their negative log-likelihood, summed, in nats.
    pub nll: f64,
}

/// Opens models. Only one is open at a time.
pub trait EvalModels {
    /// Opens a model for questions.
    fn open(&self, role: EvalRole) -> BoxFuture<'_, Result<Box<dyn Backend>>>;

    /// Returns the backend that [`EvalModels::open`] opens, if it is for batch files.
    fn batch(&self, _role: EvalRole) -> Option<&BatchBackend> {
        None
    }

    /// Returns the likelihood of answers under the evaluated model, in order; none for rows that
    /// are longer than its context. None at all if it is behind an endpoint, which does not tell.
    /// `show` gets the number of rows that are done.
    ///
    /// # Errors
    ///
    /// If the model cannot be loaded, or its scores are no finite numbers.
    fn likelihood(
        &self,
        rows: &[LikelihoodRow<'_>],
        show: &mut dyn FnMut(usize),
    ) -> Option<Result<Vec<Option<TokenLoss>>>>;
}
