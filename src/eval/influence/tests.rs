//! Gradients of packed examples against autograd of each alone, on the tiny checkpoints of
//! `scripts/make_goldens.py`.

use super::adapted::AdaptedModel;
use super::packed::pack;
use crate::model;
use crate::model::layers::attention::ForwardPass;
use crate::model::tests::golden;
use crate::shim::generator::with_seed;
use crate::train::data::dataset::Example;
use ewe::finetune::LoraSettings;
use tch::{Device, Kind, Tensor};

const MODELS: [&str; 6] = ["gptj", "neox_tied", "mistral", "qwen3", "gemma3", "gemma3_untied"];

/// A model with an adapter whose B is not zero, which would hide the gradient of A.
fn adapted(name: &str, dora: bool, recompute: bool) -> AdaptedModel {
    let model = model::load(&golden(name), Device::Cpu, "fp32").unwrap().model;
    let settings = LoraSettings {
        rank: 4,
        alpha: 6.0,
        dropout: 0.5,
        dora,
        ..LoraSettings::default()
    };
    let adapted = AdaptedModel::of(model, settings, recompute, Device::Cpu);
    let _guard = tch::no_grad_guard();
    with_seed(11, || {
        for of in adapted.parameters.iter().filter(|of| of.leaf.dim() == 2) {
            let _ = of.leaf.shallow_clone().normal_(0.0, 0.2);
        }
    });
    adapted
}

/// Examples that begin alike, of different lengths and numbers of targets.
fn examples() -> Vec<Example> {
    let of = |n: usize, (length, first): (usize, usize)| {
        let ids = (0..length).map(|at| if at < 4 { 3 + at } else { 5 + (at * 7 + n * 5) % 20 });
        Example::with_targets_from(first, format!("{n}"), ids.map(|id| id as u32).collect())
    };
    let shapes = [(9, 5), (14, 3), (6, 5), (11, 1)];
    shapes
        .into_iter()
        .enumerate()
        .map(|(n, shape)| of(n, shape))
        .collect()
}

/// The gradients of one example's mean loss, by autograd.
fn alone(adapted: &AdaptedModel, example: &Example) -> Vec<Tensor> {
    let model = adapted.model.as_ref();
    let leaves: Vec<&Tensor> = adapted.parameters.iter().map(|of| &of.leaf).collect();
    leaves.iter().for_each(|leaf| drop(leaf.set_requires_grad(true)));
    let ids: Vec<i64> = example.ids.iter().map(|&id| i64::from(id)).collect();
    let positions = example.positions() as i64;
    let tokens_bt = Tensor::from_slice(&ids[..positions as usize]).unsqueeze(0);
    let hidden = model.forward(&tokens_bt, &mut ForwardPass::whole(1, positions, Device::Cpu));
    let logits = model.logits(&hidden.flatten(0, 1));
    let first = example.targets[0].start;
    let wanted = Tensor::from_slice(&ids[first..]);
    let logits = logits.narrow(0, first as i64 - 1, wanted.size()[0]);
    let loss = logits.cross_entropy_loss::<Tensor>(&wanted, None, tch::Reduction::Mean, -100, 0.0);
    let gradients = Tensor::run_backward(&[loss], &leaves, false, false);
    leaves.iter().for_each(|leaf| drop(leaf.set_requires_grad(false)));
    gradients
}

#[test]
fn gradients_of_packed_examples_are_those_of_each_alone() {
    let examples = examples();
    let rows = pack(&examples.iter().collect::<Vec<_>>(), 99);
    assert_eq!(rows.len(), 1);
    for (name, dora) in MODELS.iter().flat_map(|name| [(name, false), (name, true)]) {
        for recompute in [false, true] {
            let adapted = adapted(name, dora, recompute);
            let mut got: Vec<Option<Tensor>> = adapted.parameters.iter().map(|_| None).collect();
            adapted.gradients(&rows[0], &mut |number, gradient_ep| {
                got[number] = Some(gradient_ep)
            });
            for (place, &member) in rows[0].members.iter().enumerate() {
                let want = alone(&adapted, &examples[member]);
                for ((of, got), want) in adapted.parameters.iter().zip(&got).zip(want) {
                    let got = got
                        .as_ref()
                        .unwrap_or_else(|| panic!("{name}: {} has none", of.name));
                    let got = got.get(place as i64);
                    let want = want.flatten(0, -1);
                    let largest = want.abs().max().double_value(&[]);
                    let apart = (got - want).abs().max().double_value(&[]);
                    assert!(largest > 0.0, "{name}: {}", of.name);
                    assert!(
                        apart < 1e-5 * largest.max(1.0),
                        "{name} dora {dora} recompute {recompute} {}: {apart} of {largest}",
                        of.name
                    );
                }
            }
        }
    }
}

/// Blocks that are computed again have the same numbers, and the packing of a group is a function
/// of the group: what goes on after a kill equals what was not killed.
#[test]
fn gradients_are_the_same_each_time_to_the_last_bit() {
    let examples = examples();
    let rows = pack(&examples.iter().collect::<Vec<_>>(), 20);
    assert!(rows.len() > 1);
    let all = |recompute| {
        let adapted = adapted("gemma3", false, recompute);
        let mut all = Vec::new();
        for row in &rows {
            adapted.gradients(row, &mut |number, gradient_ep| all.push((number, gradient_ep)));
        }
        all
    };
    let (first, second, third) = (all(false), all(false), all(true));
    assert_eq!(first.len(), second.len());
    for (((number, a), (_, b)), (_, c)) in first.iter().zip(&second).zip(&third) {
        assert_eq!(a.kind(), Kind::Float);
        assert!(a == b && a == c, "{number}");
    }
}
