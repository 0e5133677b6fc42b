//! AdamW (Loshchilov & Hutter 2017, <https://arxiv.org/abs/1711.05101>), as PyTorch computes it: decoupled decay,
//! bias-corrected moments, eps outside the root. Masters and moments are fp32.
//!
//! On the CPU a step is one pass over gradient, moments and weight (`csrc/optimizers.cpp`); elsewhere it is composed of
//! libtorch's operations.

use super::trained::Trained;
use crate::shim::optimizers::{AdamWStep, AdamWTensors};
use anyhow::{Result, bail};
use tch::{Kind, Tensor};

/// What AdamW remembers of one tensor, fp32, flat.
#[derive(Debug)]
struct Moments {
    first: Tensor,
    second: Tensor,
    /// Steps this tensor has seen; a skipped step does not count.
    steps: u64,
}

/// One step by libtorch's operations: on GPUs, and where tensors are of other types.
fn composed(step: &AdamWStep, gradient: &Tensor, of: &mut Trained, moments: &mut Moments) {
    let mut g = gradient.reshape(-1).to_kind(Kind::Float) * f64::from(step.factor);
    let mut weight = of.master.view(-1);
    let _ = moments.first.lerp_(&g, f64::from(step.first_new));
    moments.second *= f64::from(step.second_keep);
    let scaled = &g * f64::from(step.second_new);
    let _ = moments.second.addcmul_(&scaled, &g);
    g = moments.second.sqrt();
    g /= f64::from(step.bias2_root);
    g += f64::from(step.eps);
    weight *= f64::from(step.keep);
    let _ = weight.addcdiv_(&(&moments.first * f64::from(step.rate)), &g);
}

/// AdamW over a fixed list of tensors.
#[derive(Debug)]
pub struct AdamW {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    moments: Vec<Moments>,
}

impl AdamW {
    /// Betas 0.9 and 0.999, eps 1e-8, moments zero.
    pub fn new(trained: &[Trained], weight_decay: f64) -> AdamW {
        let zeros =
            |of: &Trained| Tensor::zeros([of.master.numel() as i64], (Kind::Float, of.master.device()));
        let moments = trained
            .iter()
            .map(|of| Moments {
                first: zeros(of),
                second: zeros(of),
                steps: 0,
            })
            .collect();
        AdamW {
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay,
            moments,
        }
    }

    /// One update with learning rate `rate`; every gradient is first multiplied by `factor`. Publishes the new
    /// masters to the model.
    pub fn step(&mut self, trained: &mut [Trained], rate: f64, factor: f64) {
        let _guard = tch::no_grad_guard();
        for (of, moments) in trained.iter_mut().zip(&mut self.moments) {
            let Some(gradient) = of.gradient() else { continue };
            moments.steps += 1;
            let step = AdamWStep {
                factor: factor as f32,
                first_new: (1.0 - self.betas.0) as f32,
                second_keep: self.betas.1 as f32,
                second_new: (1.0 - self.betas.1) as f32,
                eps: self.eps as f32,
                keep: (1.0 - rate * if of.decays { self.weight_decay } else { 0.0 }) as f32,
                rate: (-rate / (1.0 - self.betas.0.powf(moments.steps as f64))) as f32,
                bias2_root: (1.0 - self.betas.1.powf(moments.steps as f64)).sqrt() as f32,
            };
            let gradient = gradient.contiguous();
            let tensors = AdamWTensors {
                gradient: &gradient,
                master: &of.master,
                first: &moments.first,
                second: &moments.second,
                leaf: (of.leaf.kind() == Kind::BFloat16).then_some(&of.leaf),
            };
            if tensors.usable() {
                tensors.step(&step);
            } else {
                composed(&step, &gradient, of, moments);
                of.publish();
            }
        }
    }

    /// Everything needed to continue: `(name, tensor)` for each tensor, two moments and a step count.
    pub fn state(&self, trained: &[Trained]) -> Vec<(String, Tensor)> {
        let mut state = Vec::new();
        for (of, moments) in trained.iter().zip(&self.moments) {
            state.push((format!("first.{}", of.name), moments.first.shallow_clone()));
            state.push((format!("second.{}", of.name), moments.second.shallow_clone()));
            state.push((format!("steps.{}", of.name), Tensor::from(moments.steps as i64)));
        }
        state
    }

    /// Takes over what [`AdamW::state`] gave; `take` finds a tensor by name. Fails when one is missing or of another
    /// size.
    pub fn restore(
        &mut self,
        trained: &[Trained],
        take: &mut dyn FnMut(&str) -> Option<Tensor>,
    ) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for (of, moments) in trained.iter().zip(&mut self.moments) {
            for (prefix, moment) in [("first", &mut moments.first), ("second", &mut moments.second)] {
                match take(&format!("{prefix}.{}", of.name)) {
                    Some(saved) if saved.size() == moment.size() => moment.copy_(&saved),
                    _ => bail!(
                        "the optimizer's {prefix} moment of {} is missing or of another size",
                        of.name
                    ),
                }
            }
            match take(&format!("steps.{}", of.name)) {
                Some(steps) => moments.steps = steps.int64_value(&[]) as u64,
                None => bail!("the optimizer's step count of {} is missing", of.name),
            }
        }
        Ok(())
    }
}

/// The norm over all gradients together. NaN or infinite when any of them is.
pub fn global_norm(trained: &[Trained]) -> f64 {
    let _guard = tch::no_grad_guard();
    let norms: Vec<Tensor> = trained
        .iter()
        .filter_map(Trained::gradient)
        .map(|gradient| gradient.norm_scalaropt_dtype(2.0, Kind::Float))
        .collect();
    if norms.is_empty() {
        return 0.0;
    }
    Tensor::stack(&norms, 0).norm().double_value(&[])
}

/// What gradients are multiplied with so that their global norm is at most `clip`; 0 does not clip. The 1e-6 is
/// PyTorch's `clip_grad_norm_`.
pub fn clip_factor(norm: f64, clip: f64) -> f64 {
    if clip > 0.0 {
        (clip / (norm + 1e-6)).min(1.0)
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(values: &[f32]) -> Vec<Trained> {
        vec![Trained::new(
            "w".to_owned(),
            Tensor::from_slice(values).view([1, -1]),
            None,
        )]
    }

    fn backward(trained: &mut [Trained], towards: f64) {
        (&trained[0].leaf - towards).square().sum(Kind::Float).backward();
        trained[0].piece_done(true);
    }

    /// Enough for every thread, and no whole number of vectors.
    const MANY: i64 = (1 << 17) + 5;

    /// Against the formula in f64.
    #[test]
    fn follows_the_formula() {
        let values: Vec<f32> = (0..MANY).map(|n| (n % 7) as f32 - 3.0).collect();
        let mut trained = single(&values);
        let mut optimizer = AdamW::new(&trained, 0.1);
        let (mut weight, mut first, mut second) = (-3.0f64, 0.0, 0.0);
        for step in 1..=5 {
            backward(&mut trained, 1.0);
            optimizer.step(&mut trained, 0.01, 0.5);
            trained[0].clear();
            let gradient = 2.0 * (weight - 1.0) * 0.5;
            first = 0.9 * first + 0.1 * gradient;
            second = 0.999 * second + 0.001 * gradient * gradient;
            weight *= 1.0 - 0.01 * 0.1;
            let bias = |beta: f64| 1.0 - beta.powi(step);
            weight -= 0.01 * (first / bias(0.9)) / ((second / bias(0.999)).sqrt() + 1e-8);
        }
        for index in [0, 7 * ((MANY - 1) / 7)] {
            let got = trained[0].leaf.double_value(&[0, index]);
            assert!((got - weight).abs() < 1e-6, "{index}: {got} {weight}");
        }
    }

    #[test]
    fn one_pass_does_what_the_operations_do() {
        for kind in [Kind::Float, Kind::BFloat16] {
            let wave = |seed: f64| {
                let x = Tensor::arange(MANY, (Kind::Double, tch::Device::Cpu)) * 0.731 + seed;
                x.sin().to_kind(Kind::Float)
            };
            let step = AdamWStep {
                factor: 0.7,
                first_new: 0.1,
                second_keep: 0.999,
                second_new: 0.001,
                eps: 1e-8,
                keep: 0.999,
                rate: -0.02,
                bias2_root: 0.3,
            };
            let gradient = wave(1.0).to_kind(kind);
            let of = || Trained::new("w".to_owned(), wave(2.0).to_kind(kind), None);
            let moments = || Moments {
                first: wave(3.0),
                second: wave(4.0).square(),
                steps: 1,
            };
            let _guard = tch::no_grad_guard();
            let (mut by_operations, mut theirs) = (of(), moments());
            composed(&step, &gradient, &mut by_operations, &mut theirs);
            by_operations.publish();
            let (in_one, ours) = (of(), moments());
            let tensors = AdamWTensors {
                gradient: &gradient,
                master: &in_one.master,
                first: &ours.first,
                second: &ours.second,
                leaf: (kind == Kind::BFloat16).then_some(&in_one.leaf),
            };
            assert!(tensors.usable());
            tensors.step(&step);
            for (a, b) in [
                (&in_one.master, &by_operations.master),
                (&ours.first, &theirs.first),
                (&ours.second, &theirs.second),
            ] {
                let apart = (a - b).abs().max().double_value(&[]);
                assert!(apart <= 3e-7, "{kind:?}: {apart:e}");
            }
            let rounded = in_one.master.to_kind(kind);
            assert_eq!(rounded, in_one.leaf.detach(), "{kind:?}");
        }
    }

    #[test]
    fn a_bf16_leaf_moves_through_its_master() {
        let leaf = Tensor::from_slice(&[1.0f32, 2.0]).to_kind(Kind::BFloat16);
        let mut trained = vec![Trained::new("w".to_owned(), leaf, None)];
        let mut optimizer = AdamW::new(&trained, 0.0);
        // A rate of 1e-4 is far below half a bf16 step at 1.0: only the master can remember it.
        for _ in 0..100 {
            trained[0].leaf.sum(Kind::Float).backward();
            trained[0].piece_done(true);
            optimizer.step(&mut trained, 1e-4, 1.0);
            trained[0].clear();
        }
        assert!((trained[0].master.double_value(&[0]) - 0.99).abs() < 1e-5);
        assert_eq!(trained[0].leaf.double_value(&[0]), 0.98828125);
        assert!(!trained[0].decays, "vectors are norms and biases");
    }

    #[test]
    fn pieces_add_up_and_clear() {
        for kind in [Kind::Float, Kind::BFloat16] {
            let leaf = Tensor::from_slice(&[1.0f32]).to_kind(kind);
            let mut trained = Trained::new("w".to_owned(), leaf, None);
            for (piece, last) in [(1.0, false), (0.001, false), (2.0, true)] {
                (&trained.leaf * piece).sum(Kind::Float).backward();
                trained.add_by_hand(Tensor::from_slice(&[4.0f32]).to_kind(kind));
                trained.piece_done(last);
            }
            let sum = trained.gradient().unwrap().double_value(&[0]);
            assert!((sum - 15.001).abs() < 1e-5, "{kind:?} {sum}");
            trained.clear();
            assert!(trained.gradient().is_none());
        }
    }

    #[test]
    fn clipping_and_norm_are_pytorchs() {
        let mut trained = single(&[4.0, 5.0]);
        backward(&mut trained, 1.0);
        assert!((global_norm(&trained) - 10.0).abs() < 1e-5);
        assert_eq!(clip_factor(10.0, 0.0), 1.0);
        assert_eq!(clip_factor(0.5, 1.0), 1.0);
        assert!((clip_factor(10.0, 1.0) - 0.1).abs() < 1e-6);
        assert!(
            !global_norm(&[Trained::new(
                "w".into(),
                Tensor::zeros([1], (Kind::Float, tch::Device::Cpu)),
                None
            )])
            .is_nan()
        );
    }

    #[test]
    fn state_round_trips() {
        let mut trained = single(&[4.0, 5.0]);
        let mut optimizer = AdamW::new(&trained, 0.0);
        backward(&mut trained, 1.0);
        optimizer.step(&mut trained, 0.1, 1.0);
        let mut saved: std::collections::HashMap<_, _> = optimizer.state(&trained).into_iter().collect();
        let mut other = AdamW::new(&trained, 0.0);
        other.restore(&trained, &mut |name| saved.remove(name)).unwrap();
        assert_eq!(other.moments[0].steps, 1);
        assert_eq!(other.moments[0].first, optimizer.moments[0].first);
        assert!(
            other
                .restore(&trained, &mut |_| None)
                .unwrap_err()
                .to_string()
                .contains("first moment of w")
        );
    }
}
