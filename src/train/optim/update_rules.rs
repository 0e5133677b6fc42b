//! The optimizers against their formulas, kernels against fallback in all formats, and both over
//! many steps.

use super::adafactor::AdafactorState;
use super::adamw::AdamwState;
use super::fallback::OPERATIONS;
use super::optimizer::{Optimizer, OptimizerConfig, clip_factor, global_norm, norm};
use super::parameter::Parameter;
use super::state::OptimizerState;
use crate::shim::optimizers::{self as kernels, AdamwStep, FactoredStep, WeightTensors};
use ewe::finetune::{Formats, Master, OptimizerKind};
use tch::{Device, Kind, Tensor};

/// Enough elements for every thread, and no multiple of a vector or block.
const MANY: i64 = (1 << 17) + 5;

fn single(values: &[f32]) -> Parameter {
    let leaf = Tensor::from_slice(values).view([1, -1]);
    Parameter::new("w".to_owned(), leaf, None, Master::Split)
}

fn backward(of: &mut Parameter, towards: f64) {
    (&of.leaf - towards).square().sum(Kind::Float).backward();
    of.micro_batch_done(true);
}

/// Returns irrational numbers of both signs, a function of `seed`.
fn wave(count: i64, seed: f64) -> Tensor {
    let x = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.731 + seed;
    x.sin().to_kind(Kind::Float)
}

fn config(optimizer: OptimizerKind, master: Master) -> OptimizerConfig {
    OptimizerConfig {
        formats: Formats {
            optimizer,
            master,
            ..Formats::default()
        },
        ..OptimizerConfig::default()
    }
}

#[test]
fn adamw_follows_the_formula() {
    let values: Vec<f32> = (0..MANY).map(|n| (n % 7) as f32 - 3.0).collect();
    let mut of = single(&values);
    let decaying = OptimizerConfig {
        weight_decay: 0.1,
        ..OptimizerConfig::default()
    };
    let mut optimizer = Optimizer::new(decaying, std::slice::from_ref(&of));
    let (mut weight, mut first, mut second) = (-3.0f64, 0.0, 0.0);
    for step in 1..=5 {
        backward(&mut of, 1.0);
        optimizer.step(0, &of, 0.01, 0.5);
        of.clear();
        let gradient = 2.0 * (weight - 1.0) * 0.5;
        first = 0.9 * first + 0.1 * gradient;
        second = 0.999 * second + 0.001 * gradient * gradient;
        weight *= 1.0 - 0.01 * 0.1;
        let bias = |beta: f64| 1.0 - beta.powi(step);
        weight -= 0.01 * (first / bias(0.9)) / ((second / bias(0.999)).sqrt() + 1e-8);
    }
    for index in [0, 7 * ((MANY - 1) / 7)] {
        let got = of.leaf.double_value(&[0, index]);
        assert!((got - weight).abs() < 1e-6, "{index}: {got} {weight}");
    }
}

/// The momentum decides the direction before it is updated, with another share.
#[test]
fn lion_follows_the_formula() {
    let mut of = single(&[-3.0, 5.0]);
    let decaying = OptimizerConfig {
        weight_decay: 0.1,
        ..config(OptimizerKind::Lion, Master::Split)
    };
    let mut optimizer = Optimizer::new(decaying, std::slice::from_ref(&of));
    let (mut weights, mut momenta) = ([-3.0f64, 5.0], [0.0f64; 2]);
    // Towards 1, then back: the signs turn when the gradient outweighs the momentum.
    for towards in [1.0, 1.0, 1.0, -4.0, -4.0, 9.0, 9.0] {
        backward(&mut of, towards);
        optimizer.step(0, &of, 0.01, 0.5);
        of.clear();
        for (weight, momentum) in weights.iter_mut().zip(&mut momenta) {
            let gradient = 2.0 * (*weight - towards) * 0.5;
            let direction = (0.9 * *momentum + 0.1 * gradient).signum();
            *momentum = 0.99 * *momentum + 0.01 * gradient;
            *weight = *weight * (1.0 - 0.01 * 0.1) - 0.01 * direction;
        }
    }
    for (index, weight) in weights.iter().enumerate() {
        let got = of.leaf.double_value(&[0, index as i64]);
        assert!((got - weight).abs() < 1e-5, "{index}: {got} {weight}");
    }
}

const MASTERS: [Master; 3] = [Master::Fp32, Master::Split, Master::Stochastic];

/// Returns a parameter in each storage format: fp32, and bf16 with each master.
fn formats(count: i64) -> Vec<Parameter> {
    let values = wave(count, 2.0);
    let of = |leaf: Tensor, master| Parameter::new("w".to_owned(), leaf, Some(values.copy()), master);
    let mut all = vec![of(values.copy(), Master::Split)];
    all.extend(MASTERS.map(|master| of(values.to_kind(Kind::BFloat16), master)));
    all
}

/// Asserts equality up to a few units in the last place of fp32, since libtorch's square root is
/// off by one at times; so one in a hundred numbers of a coarser format may be a step away.
fn same(a: &[(&'static str, Tensor)], b: &[(&'static str, Tensor)], what: &str) {
    for ((name, a), (_, b)) in a.iter().zip(b) {
        let kind = a.kind();
        let (a, b) = (a.to_kind(Kind::Double), b.to_kind(Kind::Double));
        let (share, step) = match kind {
            Kind::Float => (1.0, 1e-5),
            Kind::BFloat16 => (0.01, 1.0 / 128.0),
            // The lower half of an fp32, whose upper half is the weight: compared modulo 2^16, it
            // says nothing.
            Kind::Int16 => continue,
            _ => (0.01, 1.0),
        };
        let differing = a.not_equal_tensor(&b).to_kind(Kind::Double).mean(Kind::Double);
        let apart = (&a - &b).abs().max().double_value(&[]);
        assert!(apart <= step, "{what}: {name} apart by {apart:e}");
        let allowed = share + 1.5 / a.numel() as f64;
        assert!(
            differing.double_value(&[]) <= allowed,
            "{what}: {differing:?} of {name} differ"
        );
    }
}

fn moments(eight: bool, count: i64) -> AdamwState {
    match eight {
        true => AdamwState::eight(count, Device::Cpu),
        false => AdamwState::fp32(count, Device::Cpu),
    }
}

/// In every format of weights and moments, and both types of gradients.
#[test]
fn adamw_by_kernels_is_adamw_by_operations() {
    let _guard = tch::no_grad_guard();
    for count in [1, 255, 256, 1000, MANY] {
        for kind in [Kind::Float, Kind::BFloat16] {
            for eight in [false, true] {
                for (a, b) in formats(count).iter().zip(&formats(count)) {
                    let (ours, theirs) = (moments(eight, count), moments(eight, count));
                    for step in 1..=3u32 {
                        let mut gradient = wave(count, f64::from(step)) * 0.01;
                        // A block of zeros, and numbers far apart.
                        if count > 600 {
                            let _ = gradient.narrow(0, 256, 256).zero_();
                            let _ = gradient.narrow(0, 520, 50).g_mul_scalar_(1e-12);
                        }
                        gradient = gradient.to_kind(kind);
                        let params = AdamwStep {
                            factor: 0.7,
                            decay: 0.999,
                            rate: -0.02,
                            first_share: 0.1,
                            second_kept: 0.999,
                            second_share: 0.001,
                            second_bias: 3.0,
                            eps: 1e-8,
                            key: [step, 77],
                        };
                        kernels::adamw(&params, a.weights(), ours.as_kernels(), &gradient);
                        (OPERATIONS.adamw)(&params, b.weights(), theirs.as_kernels(), &gradient);
                    }
                    let what = format!("{count} {kind:?} eight {eight} {:?}", a.weights());
                    same(&a.tensors(), &b.tensors(), &what);
                    let kept = |of: &AdamwState| -> Vec<(&'static str, Tensor)> {
                        of.tensors()
                            .into_iter()
                            .map(|(name, x)| (name, x.shallow_clone()))
                            .collect()
                    };
                    same(&kept(&ours), &kept(&theirs), &what);
                }
            }
        }
    }
}

#[test]
fn a_factored_step_by_kernels_is_one_by_operations() {
    let _guard = tch::no_grad_guard();
    for (rows, columns) in [(1, 1), (3, 40), (300, 517), (1, MANY)] {
        for kind in [Kind::Float, Kind::BFloat16] {
            let gradient_rc = wave(rows * columns, 1.0).view([rows, columns]).to_kind(kind);
            let (rows_r, columns_c) = kernels::squares(&gradient_rc, 0.5);
            let (want_r, want_c) = (OPERATIONS.squares)(&gradient_rc, 0.5);
            let near = |a: &Tensor, b: &Tensor| {
                let apart = ((a - b).abs() / (b.abs() + 1e-12)).max().double_value(&[]);
                // A long row is summed in fp32.
                assert!(apart < 1e-4, "{rows} {columns} {kind:?} {apart:e}");
            };
            near(&rows_r, &want_r);
            near(&columns_c, &want_c);
            let (row_r, column_c) = (rows_r.rsqrt(), columns_c.rsqrt());
            near(
                &kernels::scaled_squares(&gradient_rc, 0.5, &row_r, &column_c),
                &(OPERATIONS.scaled_squares)(&gradient_rc, 0.5, &row_r, &column_c),
            );
            let step = FactoredStep {
                factor: 0.5,
                decay: 0.99,
                rate: -0.01,
                key: [5, 6],
            };
            for (a, b) in formats(rows * columns).iter().zip(&formats(rows * columns)) {
                kernels::factored(&step, a.weights(), &gradient_rc, &row_r, &column_c);
                (OPERATIONS.factored)(&step, b.weights(), &gradient_rc, &row_r, &column_c);
                same(
                    &a.tensors(),
                    &b.tensors(),
                    &format!("{rows} {columns} {kind:?} {:?}", a.weights()),
                );
            }
        }
    }
}

/// A thousand steps of noisy descent: a split master gives the same bf16 and fp32 weights as an
/// fp32 master.
#[test]
fn a_split_master_is_an_fp32_master_over_a_thousand_steps() {
    let count = 600;
    let start = wave(count, 2.0);
    let run = |master: Master| -> Parameter {
        let leaf = start.to_kind(Kind::BFloat16).view([20, 30]);
        let mut of = Parameter::new("w".to_owned(), leaf, Some(start.view([20, 30])), master);
        let mut optimizer = Optimizer::new(config(OptimizerKind::Adamw, master), std::slice::from_ref(&of));
        for step in 0..1000 {
            let noise = wave(count, f64::from(step)).view([20, 30]) * 0.3;
            (&of.leaf * (of.leaf.detach() - noise))
                .sum(Kind::Float)
                .backward();
            of.micro_batch_done(true);
            optimizer.step(0, &of, 1e-4, 1.0);
            of.clear();
        }
        of
    };
    let (fp32, split) = (run(Master::Fp32), run(Master::Split));
    assert_eq!(fp32.values(), split.values());
    assert_eq!(fp32.leaf.detach(), split.leaf.detach());
    let moved = (fp32.values().view(-1) - &start).abs().max().double_value(&[]);
    assert!(moved > 0.01, "{moved}");
}

/// Updates far below half a bf16 step: rounded to nearest nothing would move; stochastically
/// rounded all move on average.
#[test]
fn rounding_by_chance_is_right_on_average() {
    let count = 100_000;
    let leaf = Tensor::ones([count], (Kind::BFloat16, Device::Cpu));
    let mut of = Parameter::new("w".to_owned(), leaf, None, Master::Stochastic);
    let mut optimizer = Optimizer::new(
        config(OptimizerKind::Adamw, Master::Stochastic),
        std::slice::from_ref(&of),
    );
    for _ in 0..10 {
        of.leaf.sum(Kind::Float).backward();
        of.micro_batch_done(true);
        optimizer.step(0, &of, 1e-4, 1.0);
        of.clear();
    }
    let mean = of.values().mean(Kind::Double).double_value(&[]);
    // Ten updates of 1e-4. The mean of this many draws is within 4 standard deviations of 5e-6.
    assert!((mean - 0.999).abs() < 2e-5, "{mean}");
    let values = of.values();
    let (least, most) = (values.min().double_value(&[]), values.max().double_value(&[]));
    assert!(least < 0.9961 && most == 1.0, "{least} {most}");
}

#[test]
fn a_bf16_leaf_moves_through_its_master() {
    for master in [Master::Fp32, Master::Split] {
        let leaf = Tensor::from_slice(&[1.0f32, 2.0]).to_kind(Kind::BFloat16);
        let mut of = Parameter::new("w".to_owned(), leaf, None, master);
        let mut optimizer = Optimizer::new(config(OptimizerKind::Adamw, master), std::slice::from_ref(&of));
        // A rate of 1e-4 is far below half a bf16 step at 1.0: only the master can store it.
        for _ in 0..100 {
            of.leaf.sum(Kind::Float).backward();
            of.micro_batch_done(true);
            optimizer.step(0, &of, 1e-4, 1.0);
            of.clear();
        }
        assert!((of.values().double_value(&[0]) - 0.99).abs() < 1e-5);
        assert_eq!(of.leaf.double_value(&[0]), 0.98828125);
        assert!(!of.decays, "vectors are norms and biases");
    }
}

#[test]
fn micro_batches_add_up_and_clear() {
    for kind in [Kind::Float, Kind::BFloat16] {
        let leaf = Tensor::from_slice(&[1.0f32]).to_kind(kind);
        let mut of = Parameter::new("w".to_owned(), leaf, None, Master::Split);
        for (factor, last) in [(1.0, false), (0.001, false), (2.0, true)] {
            (&of.leaf * factor).sum(Kind::Float).backward();
            of.add_by_hand(Tensor::from_slice(&[4.0f32]).to_kind(kind));
            of.micro_batch_done(last);
        }
        let sum = of.gradient().unwrap().double_value(&[0]);
        assert!((sum - 15.001).abs() < 1e-5, "{kind:?} {sum}");
        of.clear();
        assert!(of.gradient().is_none());
    }
}

#[test]
fn clipping_and_norm_are_pytorchs() {
    let mut of = single(&[4.0, 5.0]);
    assert!(norm(&of).is_none());
    assert_eq!(global_norm([]), 0.0);
    backward(&mut of, 1.0);
    assert!((global_norm([norm(&of).unwrap()]) - 10.0).abs() < 1e-5);
    for (count, kind) in [(1, Kind::Float), (MANY, Kind::Float), (MANY, Kind::BFloat16)] {
        let x = wave(count, 1.0).to_kind(kind);
        let want = x
            .to_kind(Kind::Double)
            .square()
            .sum(Kind::Double)
            .double_value(&[]);
        assert!(
            (kernels::sum_of_squares(&x) - want).abs() < 1e-5 * want,
            "{count} {kind:?}"
        );
    }
    assert!(!kernels::sum_of_squares(&(wave(MANY, 1.0) / 0.0)).is_finite());
    assert_eq!(clip_factor(10.0, 0.0), 1.0);
    assert_eq!(clip_factor(0.5, 1.0), 1.0);
    assert!((clip_factor(10.0, 1.0) - 0.1).abs() < 1e-6);
}

#[test]
fn state_round_trips_in_every_format() {
    for kind in [
        OptimizerKind::Adamw,
        OptimizerKind::Lion,
        OptimizerKind::Adamw8bit,
        OptimizerKind::Adafactor,
    ] {
        for master in MASTERS {
            let new = || {
                let leaf = wave(40, 0.0).view([4, 10]).to_kind(Kind::BFloat16);
                vec![Parameter::new("w".to_owned(), leaf, None, master)]
            };
            let mut trained = new();
            let mut optimizer = Optimizer::new(config(kind, master), &trained);
            let step = |trained: &mut Vec<Parameter>, optimizer: &mut Optimizer| {
                backward(&mut trained[0], 1.0);
                optimizer.step(0, &trained[0], 0.1, 1.0);
                trained[0].clear();
            };
            step(&mut trained, &mut optimizer);
            let kept = trained[0].tensors().into_iter();
            let mut saved: std::collections::HashMap<String, Tensor> =
                kept.map(|(name, x)| (format!("{name}.w"), x.copy())).collect();
            saved.extend(
                optimizer
                    .state(&trained)
                    .into_iter()
                    .map(|(name, x)| (name, x.copy())),
            );
            let mut others = new();
            let mut other = Optimizer::new(config(kind, master), &others);
            let error = other.restore(&others, &mut |_| None).unwrap_err().to_string();
            assert!(error.contains("of w is missing"), "{error}");
            others[0].restore(&mut |name| saved.remove(name)).unwrap();
            other.restore(&others, &mut |name| saved.remove(name)).unwrap();
            assert!(saved.is_empty(), "{saved:?}");
            step(&mut trained, &mut optimizer);
            step(&mut others, &mut other);
            assert_eq!(trained[0].values(), others[0].values(), "{kind:?} {master:?}");
        }
    }
}

/// The second moment of a vector is not factored.
#[test]
fn adafactor_remembers_rows_and_columns() {
    let sizes = |size: &[i64]| -> Vec<i64> {
        let factored = AdafactorState::zeros(size, Device::Cpu);
        factored
            .tensors()
            .into_iter()
            .map(|(_, x)| x.numel() as i64)
            .collect()
    };
    assert_eq!(sizes(&[30, 50]), [30, 50]);
    assert_eq!(sizes(&[50]), [1, 50]);
    assert!(matches!(single(&[1.0]).weights(), WeightTensors::Fp32(_)));
}

/// The GPU's kernels (here their twin) over all parameters at once, and one after the other by the
/// CPU's: the same bits with AdamW, and nearly the same with Adafactor, whose sums have another
/// order. A parameter without a gradient stays.
#[test]
fn fused_steps_of_all_parameters_equal_single_steps() {
    for optimizer in [
        OptimizerKind::Adamw,
        OptimizerKind::Lion,
        OptimizerKind::Adamw8bit,
        OptimizerKind::Adafactor,
    ] {
        for master in MASTERS {
            let make = || -> Vec<Parameter> {
                [1, 300, 4096]
                    .iter()
                    .flat_map(|count| formats(*count))
                    .chain(formats(64))
                    .collect()
            };
            let (mut single, mut fused) = (make(), make());
            let mut one = Optimizer::new(config(optimizer, master), &single);
            let mut all = Optimizer::new(config(optimizer, master), &fused);
            for _ in 0..3 {
                for list in [&mut single, &mut fused] {
                    // The last has no gradient.
                    let last = list.len() - 1;
                    list[..last].iter_mut().for_each(|of| backward(of, 0.5));
                }
                let list: Vec<(usize, &Parameter)> = single.iter().enumerate().collect();
                let (apart, norms) = (one.norms(&list).each, all.norms_by(&list, true));
                assert!(apart.last().unwrap().is_none() && apart[0].is_some());
                for (norm, wanted) in norms.each.iter().zip(&apart) {
                    assert_eq!(norm.is_some(), wanted.is_some());
                    let (norm, wanted) = (norm.unwrap_or(0.0), wanted.unwrap_or(0.0));
                    assert!(
                        (norm - wanted).abs() <= 1e-6 * wanted,
                        "{optimizer:?}: {norm} for {wanted}"
                    );
                }
                for (index, of) in single.iter().enumerate() {
                    one.step(index, of, 0.01, 0.5);
                }
                let list: Vec<(usize, &Parameter)> = fused.iter().enumerate().collect();
                let norms = all.norms_by(&list, true);
                all.step_by(&list, (0.01, 0.5), Some(&norms), true);
                single.iter_mut().chain(&mut fused).for_each(Parameter::clear);
            }
            for (index, (a, b)) in single.iter().zip(&fused).enumerate() {
                let off = (a.values() - b.values()).abs().max().double_value(&[]);
                let most = if optimizer == OptimizerKind::Adafactor {
                    1e-2
                } else {
                    0.0
                };
                assert!(off <= most, "{optimizer:?} {master:?} {index}: {off}");
            }
            let steps = |optimizer: &Optimizer, list: &[Parameter]| {
                let state = optimizer.state(list);
                state
                    .into_iter()
                    .filter(|(name, _)| name.starts_with("steps."))
                    .map(|(_, count)| count.int64_value(&[]))
                    .collect::<Vec<_>>()
            };
            assert_eq!(steps(&one, &single), steps(&all, &fused));
        }
    }
}
