//! Configs: the sizes that published ones ask for, and what is refused.

use super::golden;
use crate::model::build;
use crate::model::config::Fields;
use crate::model::weights::Weights;

/// Parameters of published models, as their pages count them, from what their configs say.
#[test]
fn published_configs_have_the_published_sizes() {
    let gated =
        |family: &str, [vocab, hidden, inner, layers, heads, kv_heads]: [i64; 6], more: serde_json::Value| {
            let mut config = serde_json::json!({
                "model_type": family, "vocab_size": vocab, "hidden_size": hidden, "intermediate_size": inner,
                "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
                "max_position_embeddings": 32768, "hidden_act": "silu", "attention_dropout": 0.0,
            });
            config
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            config
        };
    let llama3 = serde_json::json!({
        "tie_word_embeddings": true, "head_dim": 64, "rope_theta": 500000.0, "pretraining_tp": 1,
        "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    });
    let tied = serde_json::json!({ "tie_word_embeddings": true, "head_dim": null, "use_sliding_window": false,
        "sliding_window": 32768, "max_window_layers": 21, "rope_theta": 1e6 });
    let qwen3 = serde_json::json!({ "tie_word_embeddings": true, "head_dim": 128, "rope_scaling": null });
    let mistral = serde_json::json!({ "tie_word_embeddings": false, "sliding_window": 4096 });
    let dolly = serde_json::json!({
        "model_type": "gpt_neox", "vocab_size": 50280, "hidden_size": 4096, "intermediate_size": 16384,
        "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 2048, "hidden_act": "gelu",
        "rotary_pct": 0.25, "rotary_emb_base": 10000, "use_parallel_residual": true, "classifier_dropout": 0.1,
    });
    let cases = [
        (
            gated("llama", [128256, 2048, 8192, 16, 32, 8], llama3),
            1_235_814_400,
        ),
        (
            gated("mistral", [32000, 4096, 14336, 32, 32, 8], mistral),
            7_241_732_096,
        ),
        (gated("qwen2", [151936, 896, 4864, 24, 14, 2], tied), 494_032_768),
        (
            gated("qwen3", [151936, 1024, 3072, 28, 16, 8], qwen3),
            596_049_920,
        ),
        (dolly, 6_856_056_832),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (config, parameters) in cases {
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let mut sketch = Weights::sketch();
        build(&Fields::read(dir.path()).unwrap(), &mut sketch).unwrap();
        let asked = sketch.into_asked();
        let count: i64 = asked.iter().map(|(_, shape)| shape.iter().product::<i64>()).sum();
        assert_eq!(count, parameters, "{config}");
    }
}

/// What a config asks for and is not computed here is refused by name.
#[test]
fn what_is_not_implemented_is_refused_by_name() {
    let refused = |name: &str, field: &str, value: serde_json::Value, words: &str| {
        let text = std::fs::read_to_string(golden(name).join("config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config[field] = value;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let fields = Fields::read(dir.path()).unwrap();
        let built = build(&fields, &mut Weights::sketch());
        let message = format!("{:#}", built.err().expect(words));
        assert!(
            message.contains(words) && message.contains("config.json"),
            "{message:?} does not say {words:?}"
        );
    };
    use serde_json::json;
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4});
    refused("qwen2", "rope_parameters", yarn.clone(), "yarn");
    refused("neox_serial", "rope_parameters", yarn, "yarn");
    let twisted = json!({"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0,
        "original_max_position_embeddings": 8});
    refused(
        "llama",
        "rope_parameters",
        twisted,
        "`low_freq_factor` 4 is not below",
    );
    refused(
        "llama",
        "rope_parameters",
        json!({"rope_type": "linear"}),
        "positive `factor`",
    );
    refused(
        "llama",
        "rope_parameters",
        json!({"partial_rotary_factor": 0.5}),
        "`partial_rotary_factor` = 0.5",
    );
    refused(
        "llama",
        "hidden_act",
        json!("quick_gelu"),
        "`hidden_act` = \"quick_gelu\"",
    );
    refused(
        "llama",
        "num_key_value_heads",
        json!(3),
        "not a multiple of `num_key_value_heads` 3",
    );
    refused(
        "llama",
        "num_key_value_heads",
        json!(0),
        "`num_key_value_heads` is 0",
    );
    refused("llama", "head_dim", json!(7), "`head_dim` is 7");
    refused(
        "llama",
        "quantization_config",
        json!({"bits": 4}),
        "`quantization_config`",
    );
    refused(
        "mistral",
        "layer_types",
        json!(["full_attention", "full_attention"]),
        "`layer_types`",
    );
    refused("mistral", "sliding_window", json!(0), "`sliding_window` is 0");
    refused(
        "qwen2",
        "use_sliding_window",
        json!(false),
        "`use_sliding_window` is not true",
    );
    refused(
        "qwen3",
        "layer_types",
        json!(["full_attention"]),
        "1 entry for 2 layers",
    );
    refused(
        "qwen3",
        "layer_types",
        json!(["full_attention", "linear_attention"]),
        "`linear_attention`",
    );
    refused("neox", "rotary_pct", json!(0.1), "`rotary_pct` 0.1");
    refused(
        "neox",
        "num_attention_heads",
        json!(5),
        "not a multiple of `num_attention_heads` 5",
    );
}
