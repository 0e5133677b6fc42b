//! Weights: their names, merged adapters, and sharded files.

use tch::{Device, Kind, Tensor};

use super::{GOLDENS, distance, expected, golden, loaded};
use crate::model::layers::Linear;
use crate::model::layers::attention::ForwardPass;
use crate::model::layers::lora::{Lora, Magnitude};
use crate::model::{LoadedModel, load};
use crate::shim::generator::with_seed;

#[test]
fn parameters_have_the_checkpoints_names() {
    for name in GOLDENS.iter() {
        let loaded = loaded(name);
        let bytes = std::fs::read(golden(name).join("model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut theirs: Vec<String> = file.names().into_iter().map(str::to_string).collect();
        theirs.retain(|name| {
            !name.ends_with(".attn.bias")
                && !name.ends_with("attention.bias")
                && !name.ends_with("masked_bias")
                && !name.starts_with("model.vision_tower.")
                && !name.starts_with("model.multi_modal_projector.")
        });
        let mut ours: Vec<String> = loaded
            .model
            .parameters()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        theirs.sort();
        ours.sort();
        assert_eq!(ours, theirs, "{name}");
    }
}

/// Names that published checkpoints of text and images have.
#[test]
fn the_text_half_is_found_under_its_older_names() {
    let _guard = tch::no_grad_guard();
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(golden("gemma3_vision").join(file), dir.path().join(file)).unwrap();
    }
    let bytes = std::fs::read(golden("gemma3_vision").join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let older = |name: &str| {
        let rest = name.strip_prefix("model.").unwrap();
        match rest.strip_prefix("language_model.") {
            Some(rest) => format!("language_model.model.{rest}"),
            None => rest.to_owned(),
        }
    };
    let views: Vec<_> = file.iter().map(|(name, view)| (older(name), view)).collect();
    let path = dir.path().join("model.safetensors");
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    let (tokens_bt, logits) = expected("gemma3_vision");
    let older = load(dir.path(), Device::Cpu, "fp32").unwrap().model;
    let mut pass = ForwardPass::whole(2, 24, Device::Cpu);
    assert!(distance(&older.logits(&older.forward(&tokens_bt, &mut pass)), &logits) <= 1e-5);
}

/// Returns small matrices, one after the other.
fn random(mut seed: i64) -> impl FnMut([i64; 2]) -> Tensor {
    move |size| {
        seed += 1;
        with_seed(seed, || Tensor::randn(size, (Kind::Float, Device::Cpu)) * 0.2)
    }
}

/// Merged into weights `[in, out]` as into others.
#[test]
fn an_adapter_of_transposed_weights_is_merged() {
    let _guard = tch::no_grad_guard();
    let (tokens_bt, logits) = expected("gpt2");
    let mut loaded = loaded("gpt2");
    let mut random = random(6);
    loaded.model.for_each_linear(&mut |linear| {
        let (out, inputs) = linear.size();
        linear.lora = Some(Lora {
            magnitude: Some(Magnitude::new(&linear.values(), None)),
            a: random([4, inputs]),
            b: random([out, 4]),
            scale: 2.0,
            dropout: 0.0,
        });
    });
    let run = |loaded: &LoadedModel| {
        let mut pass = ForwardPass::whole(2, 24, Device::Cpu);
        loaded.model.logits(&loaded.model.forward(&tokens_bt, &mut pass))
    };
    let adapted = run(&loaded);
    assert!(distance(&adapted, &logits) > 0.1);
    loaded.model.for_each_linear(&mut Linear::merge);
    assert!(distance(&run(&loaded), &adapted) < 1e-4);
}

#[test]
fn an_adapter_changes_the_output_and_merging_keeps_it() {
    let _guard = tch::no_grad_guard();
    let (tokens_bt, logits) = expected("gemma3");
    let mut loaded = loaded("gemma3");
    let mut random = random(5);
    loaded.model.for_each_linear(&mut |linear| {
        let (out, inputs) = linear.weight.size2().unwrap();
        linear.lora = Some(Lora {
            magnitude: None,
            a: random([4, inputs]),
            b: random([out, 4]),
            scale: 2.0,
            dropout: 0.0,
        });
    });
    let run = |loaded: &LoadedModel| {
        loaded.model.logits(
            &loaded
                .model
                .forward(&tokens_bt, &mut ForwardPass::whole(2, 24, Device::Cpu)),
        )
    };
    let adapted = run(&loaded);
    assert!(distance(&adapted, &logits) > 0.1);
    loaded.model.for_each_linear(&mut Linear::merge);
    assert!(distance(&run(&loaded), &adapted) < 1e-4);
}

#[test]
fn shards_load_like_one_file_and_a_missing_shard_is_named() {
    let _guard = tch::no_grad_guard();
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(golden("gptj").join(file), dir.path().join(file)).unwrap();
    }
    let bytes = std::fs::read(golden("gptj").join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut map = serde_json::Map::new();
    for (shard, wanted) in [("a.safetensors", true), ("b.safetensors", false)] {
        // The second shard's names lack the prefix, as in some published files.
        let views: Vec<_> = file
            .iter()
            .filter(|(name, _)| name.contains("h.0.") == wanted)
            .map(|(name, view)| {
                (
                    name.strip_prefix("transformer.")
                        .filter(|_| !wanted)
                        .unwrap_or(name)
                        .to_string(),
                    view,
                )
            })
            .collect();
        map.extend(views.iter().map(|(name, _)| (name.clone(), shard.into())));
        std::fs::write(
            dir.path().join(shard),
            safetensors::serialize(views, None).unwrap(),
        )
        .unwrap();
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map });
    std::fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    let (tokens_bt, logits) = expected("gptj");
    let sharded = load(dir.path(), Device::Cpu, "fp32").unwrap();
    let ours = sharded.model.logits(
        &sharded
            .model
            .forward(&tokens_bt, &mut ForwardPass::whole(2, 24, Device::Cpu)),
    );
    assert!(distance(&ours, &logits) <= 1e-5);
    std::fs::remove_file(dir.path().join("b.safetensors")).unwrap();
    let error = load(dir.path(), Device::Cpu, "fp32").err().unwrap();
    assert!(format!("{error:#}").contains("b.safetensors"));
}
