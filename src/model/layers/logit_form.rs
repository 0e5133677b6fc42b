//! What becomes of the product of hidden states and output head before it is the logits.

use tch::{Kind, Tensor};

/// A function of each logit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum LogitForm {
    /// The product itself.
    #[default]
    Plain,
    /// Divided by this (Granite).
    Divided(f64),
    /// `cap · tanh(z / cap)` (Gemma 2).
    Capped(f64),
}

impl LogitForm {
    /// Returns the logits of the product `z`, rounded after each operation as the reference does.
    pub fn apply(self, z: Tensor) -> Tensor {
        match self {
            LogitForm::Plain => z,
            LogitForm::Divided(by) => z / by,
            LogitForm::Capped(cap) => (z / cap).tanh() * cap,
        }
    }

    /// As [`LogitForm::apply`], in place.
    pub fn apply_to(self, z: &mut Tensor) {
        match self {
            LogitForm::Plain => {}
            LogitForm::Divided(by) => drop(z.g_div_scalar_(by)),
            LogitForm::Capped(cap) => {
                let _ = z.g_div_scalar_(cap).tanh_().g_mul_scalar_(cap);
            }
        }
    }

    /// Turns gradients of `logits` into those of the product, in fp32 and in place.
    pub fn backward(self, gradient: &mut Tensor, logits: &Tensor) {
        match self {
            LogitForm::Plain => {}
            LogitForm::Divided(by) => drop(gradient.g_div_scalar_(by)),
            LogitForm::Capped(cap) => {
                let slope = 1.0 - (logits.to_kind(Kind::Float) / cap).square();
                let _ = gradient.g_mul_(&slope);
            }
        }
    }
}
