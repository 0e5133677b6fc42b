//! Damaged directories: each error names what is wrong.

use std::path::Path;

use tch::Device;

use super::golden;
use crate::model::load;

/// Checks that a copy of a golden, changed by `damage`, fails to load with all of `words` in the
/// message.
fn fails(damage: impl FnOnce(&Path), words: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden("gemma3")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    damage(dir.path());
    let message = match load(dir.path(), Device::Cpu, "auto") {
        Ok(_) => panic!("loaded a damaged model; wanted an error with {words:?}"),
        Err(error) => format!("{error:#}"),
    };
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
}

fn edit_config(dir: &Path, from: &str, to: &str) {
    let path = dir.join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in the golden's config");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

/// Rewrites the weights with the tensors that `keep` accepts, flattened where `flat` says so.
fn edit_weights(dir: &Path, keep: impl Fn(&str) -> bool, flat: impl Fn(&str) -> bool) {
    let path = dir.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let views = file.iter().filter(|(name, _)| keep(name)).map(|(name, view)| {
        let shape = if flat(name) {
            vec![view.shape().iter().product()]
        } else {
            view.shape().to_vec()
        };
        (
            name.to_string(),
            safetensors::tensor::TensorView::new(view.dtype(), shape, view.data()).unwrap(),
        )
    });
    let written = safetensors::serialize(views, None).unwrap();
    std::fs::write(&path, written).unwrap();
}

#[test]
fn damage_is_named() {
    fails(
        |dir| std::fs::remove_file(dir.join("config.json")).unwrap(),
        &["config.json", "hint:"],
    );
    fails(
        |dir| edit_config(dir, "gemma3_text", "mamba"),
        &["`mamba`", "config.json", "gptj, gpt_neox, llama"],
    );
    fails(
        |dir| edit_config(dir, "gelu_pytorch_tanh", "relu"),
        &["`hidden_activation` = \"relu\"", "config.json"],
    );
    fails(
        |dir| {
            edit_config(
                dir,
                "\"attn_logit_softcapping\": null",
                "\"attn_logit_softcapping\": 50.0",
            )
        },
        &["`attn_logit_softcapping` = 50.0"],
    );
    fails(
        |dir| edit_config(dir, "\"rope_type\": \"default\"", "\"rope_type\": \"yarn\""),
        &["yarn", "full_attention"],
    );
    fails(
        |dir| edit_config(dir, "\"hidden_size\": 32", "\"hidden_size\": \"big\""),
        &["`hidden_size`", "\"big\""],
    );
    fails(
        |dir| edit_config(dir, "\"vocab_size\": 96", "\"vocab_size\": 12"),
        &["expected shape [12, 32], found [96, 32]"],
    );
    fails(
        |dir| std::fs::remove_file(dir.join("model.safetensors")).unwrap(),
        &["model.safetensors.index.json"],
    );
    fails(
        |dir| std::fs::remove_file(dir.join("tokenizer.json")).unwrap(),
        &["tokenizer.json is missing", "hint:"],
    );
    fails(
        |dir| std::fs::write(dir.join("tokenizer.json"), "{}").unwrap(),
        &["tokenizer.json is not a tokenizer"],
    );
    fails(
        |dir| {
            edit_weights(
                dir,
                |name| !name.contains("layers.1.mlp.up_proj"),
                |name| name == "model.layers.0.self_attn.k_proj.weight",
            )
        },
        &[
            "2 tensors",
            "`model.layers.1.mlp.up_proj.weight` is missing",
            "`model.layers.0.self_attn.k_proj.weight`",
            "expected shape [32, 32], found [1024]",
        ],
    );
    fails(
        |dir| {
            let path = dir.join("model.safetensors");
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        },
        &["model.safetensors is truncated", "hint:"],
    );
    fails(
        |dir| {
            let path = dir.join("model.safetensors");
            let mut bytes = std::fs::read(&path).unwrap();
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let view = file.tensor("model.layers.0.mlp.up_proj.weight").unwrap();
            // The third value of the second row, in fp32.
            let columns = view.shape()[1];
            let at = view.data().as_ptr() as usize - bytes.as_ptr() as usize + 4 * (columns + 2);
            bytes[at..at + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
            std::fs::write(&path, bytes).unwrap();
        },
        &[
            "`model.layers.0.mlp.up_proj.weight`",
            "the value at [1, 2] is inf",
        ],
    );
    let missing = load(Path::new("/nowhere/at/all"), Device::Cpu, "auto")
        .err()
        .unwrap();
    assert!(format!("{missing:#}").contains("/nowhere/at/all"));
}
