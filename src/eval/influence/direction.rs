//! The direction in which a training example would move the weights.

use crate::shim::optimizers::NextUpdate;
use crate::train::optim::adamw::{BETAS, EPS};
use tch::Tensor;

pub use ewe::job::influence::Direction;

/// What Adam kept of one parameter of `p` values at a checkpoint.
#[derive(Debug)]
pub struct Moments {
    /// First moment, fp32 `[p]`; none where the direction needs none.
    pub first_p: Option<Tensor>,
    /// Second moment, fp32 `[p]`.
    pub second_p: Tensor,
    /// Updates of the parameter so far.
    pub steps: u64,
}

impl Moments {
    /// Drops what `direction` does not need.
    pub fn for_direction(self, direction: Direction) -> Moments {
        Moments {
            first_p: self.first_p.filter(|_| direction == Direction::Less),
            ..self
        }
    }

    /// What the next step would make of a gradient, as [`Moments::update`] computes it.
    pub fn next(&self) -> NextUpdate {
        let corrected = |beta: f64| 1.0 - beta.powf(self.steps as f64 + 1.0);
        NextUpdate {
            first_kept: BETAS.0 as f32,
            first_share: (1.0 - BETAS.0) as f32,
            first_bias: (1.0 / corrected(BETAS.0)) as f32,
            second_kept: BETAS.1 as f32,
            second_share: (1.0 - BETAS.1) as f32,
            second_bias: (1.0 / corrected(BETAS.1).sqrt()) as f32,
            eps: EPS as f32,
        }
    }

    /// Turns the gradients of examples, `[e, p]`, into the updates that Adam would make next of
    /// each alone, up to the learning rate and the sign: `m̂ / (√v̂ + ε)` with the bias correction
    /// of the next step. The second moment is the one after the gradient was taken in. With the
    /// first moment the numerator is the one after it, as in LESS; without, the gradient itself:
    /// the first moment is the same for all examples and says nothing of one.
    pub fn update(&self, gradient_ep: &Tensor) -> Tensor {
        let corrected = |beta: f64| 1.0 - beta.powf(self.steps as f64 + 1.0);
        let second_ep = gradient_ep.square() * (1.0 - BETAS.1) + &self.second_p * BETAS.1;
        let below_ep = second_ep.sqrt() * (1.0 / corrected(BETAS.1).sqrt()) + EPS;
        let above_ep = match &self.first_p {
            None => gradient_ep.shallow_clone(),
            Some(first_p) => (gradient_ep * (1.0 - BETAS.0) + first_p * BETAS.0) * (1.0 / corrected(BETAS.0)),
        };
        above_ep / below_ep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two weights of one example after three steps, by hand.
    #[test]
    fn updates_are_adams() {
        let moments = |direction| {
            Moments {
                first_p: Some(Tensor::from_slice(&[0.5f32, -0.1])),
                second_p: Tensor::from_slice(&[0.04f32, 0.0]),
                steps: 3,
            }
            .for_direction(direction)
        };
        let gradient: [f64; 2] = [-0.2, 0.3];
        let of = |direction| -> Vec<f32> {
            let gradient_ep = Tensor::from_slice(&gradient.map(|x| x as f32)).view([1, 2]);
            Vec::try_from(moments(direction).update(&gradient_ep).view(-1)).unwrap()
        };
        let root = |second: f64, g: f64| {
            let second = (0.999 * second + 0.001 * g * g) / (1.0 - 0.999f64.powi(4));
            second.sqrt() + 1e-8
        };
        let below = [root(0.04, -0.2), root(0.0, 0.3)];
        let near = |got: Vec<f32>, want: [f64; 2]| {
            for (got, want) in got.iter().zip(want) {
                assert!((f64::from(*got) - want).abs() < 1e-5 * want.abs(), "{got} {want}");
            }
        };
        near(
            of(Direction::Adam),
            [gradient[0] / below[0], gradient[1] / below[1]],
        );
        let first = |m: f64, g: f64| (0.9 * m + 0.1 * g) / (1.0 - 0.9f64.powi(4));
        near(
            of(Direction::Less),
            [first(0.5, -0.2) / below[0], first(-0.1, 0.3) / below[1]],
        );
    }
}
