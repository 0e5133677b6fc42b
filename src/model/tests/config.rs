//! Configs: the sizes that published ones ask for, and values that are refused.

use tch::Device;

use super::golden;
use crate::model::files::config::ConfigFields;
use crate::model::files::weights::Weights;
use crate::model::{build, load};

/// Published models have the parameter counts that their pages give.
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
    let olmo2 = serde_json::json!({ "tie_word_embeddings": false, "attention_bias": false, "rope_theta": 500000,
        "rope_scaling": null, "rms_norm_eps": 1e-6 });
    let smollm3 = serde_json::json!({ "no_rope_layer_interval": 4, "rope_theta": 5e6, "sliding_window": null,
        "layer_types": vec!["full_attention"; 36], "attention_bias": false, "mlp_bias": false });
    // A factor for each pair of rotated features: three quarters of 128.
    let phi4_mini = serde_json::json!({ "tie_word_embeddings": true, "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": 4096, "max_position_embeddings": 131072, "sliding_window": 262144,
        "rope_scaling": {"type": "longrope", "short_factor": vec![1.0; 48], "long_factor": vec![2.0; 48]} });
    let gemma2 = serde_json::json!({ "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 4096,
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "query_pre_attn_scalar": 256 });
    // Its text half has 3.88 of 4.3 billion; the config leaves most sizes to `transformers`.
    let gemma3 = serde_json::json!({ "model_type": "gemma3", "eos_token_id": [1, 106], "vision_config": {},
        "text_config": {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
            "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}});
    let granite = serde_json::json!({ "tie_word_embeddings": true, "embedding_multiplier": 12.0, "logits_scaling": 8.0,
        "residual_multiplier": 0.22, "attention_multiplier": 0.015625, "rope_theta": 1e7 });
    let stablelm =
        serde_json::json!({ "use_qkv_bias": true, "partial_rotary_factor": 0.25, "layer_norm_eps": 1e-5 });
    let falcon3 = serde_json::json!({ "head_dim": 256, "rope_theta": 1000042, "rms_norm_eps": 1e-6 });
    let moe = serde_json::json!({ "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": true,
        "moe_intermediate_size": 768, "decoder_sparse_step": 1, "mlp_only_layers": [], "use_sliding_window": false });
    let gpt2 = serde_json::json!({ "model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_ctx": 1024,
        "n_embd": 768, "n_layer": 12, "n_head": 12, "activation_function": "gelu_new", "attn_pdrop": 0.1 });
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
        (
            gated("olmo2", [100352, 2048, 8192, 16, 16, 16], olmo2),
            1_484_916_736,
        ),
        (dolly, 6_856_056_832),
        (
            gated("smollm3", [128256, 2048, 11008, 36, 16, 4], smollm3),
            3_075_098_624,
        ),
        (
            gated("phi3", [200064, 3072, 8192, 32, 24, 8], phi4_mini),
            3_836_021_760,
        ),
        (
            gated("gemma2", [256000, 2304, 9216, 26, 8, 4], gemma2),
            2_614_341_888,
        ),
        (gemma3, 3_880_263_168),
        (
            gated("granite", [49159, 2048, 8192, 40, 32, 8], granite),
            2_533_539_840,
        ),
        (
            gated("stablelm", [100352, 2048, 5632, 24, 32, 32], stablelm),
            1_644_515_328,
        ),
        (
            gated("llama", [131072, 2048, 8192, 18, 8, 4], falcon3),
            1_669_408_768,
        ),
        (
            gated("qwen3_moe", [151936, 2048, 6144, 48, 32, 4], moe),
            30_532_122_624,
        ),
        (gpt2, 124_439_808),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (config, parameters) in cases {
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let mut sketch = Weights::sketch();
        build(&ConfigFields::read(dir.path()).unwrap(), &mut sketch).unwrap();
        let asked = sketch.into_asked();
        let count: i64 = asked.iter().map(|(_, shape)| shape.iter().product::<i64>()).sum();
        assert_eq!(count, parameters, "{config}");
    }
}

/// Values that are not implemented are refused by name.
#[test]
fn what_is_not_implemented_is_refused_by_name() {
    let refused = |name: &str, field: &str, value: serde_json::Value, words: &str| {
        let text = std::fs::read_to_string(golden(name).join("config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config[field] = value;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let fields = ConfigFields::read(dir.path()).unwrap();
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
    refused("olmo2", "attention_bias", json!(true), "`attention_bias` = true");
    refused("olmo2", "clip_qkv", json!(8.0), "`clip_qkv` = 8.0");
    refused("olmo2", "sliding_window", json!(6), "`sliding_window` = 6");
    refused("neox", "rotary_pct", json!(0.1), "`rotary_pct` 0.1");
    refused("smollm3", "no_rope_layers", json!([1]), "1 number");
    let slides = json!(["sliding_attention", "full_attention"]);
    refused(
        "smollm3",
        "layer_types",
        slides,
        "`use_sliding_window` is not true",
    );
    refused(
        "ministral",
        "sliding_window",
        json!(null),
        "`sliding_window` is null",
    );
    refused("granite", "logits_scaling", json!(0.0), "`logits_scaling` is 0");
    let mut long = json!({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0, 4.0],
        "partial_rotary_factor": 0.5});
    refused("phi3", "rope_parameters", long.clone(), "2 positive numbers");
    long["rope_type"] = json!("linear");
    refused("phi3", "rope_parameters", long, "only default and longrope");
    refused(
        "stablelm",
        "num_key_value_heads",
        json!(3),
        "`num_key_value_heads` 3",
    );
    refused(
        "gemma2",
        "attn_logit_softcapping",
        json!(0.0),
        "`attn_logit_softcapping` is 0",
    );
    refused(
        "gemma3",
        "attn_logit_softcapping",
        json!(50.0),
        "`attn_logit_softcapping` = 50.0",
    );
    refused(
        "gpt2",
        "scale_attn_weights",
        json!(false),
        "`scale_attn_weights` = false",
    );
    refused(
        "gpt2",
        "reorder_and_upcast_attn",
        json!(true),
        "`reorder_and_upcast_attn` = true",
    );
    refused(
        "qwen3_moe",
        "mlp_only_layers",
        json!([0]),
        "`mlp_only_layers` = [0]",
    );
    refused(
        "qwen3_moe",
        "num_experts_per_tok",
        json!(5),
        "more than the 4 experts",
    );
    refused(
        "qwen3_moe",
        "num_experts",
        json!(1 << 20),
        "`num_experts` is 1048576 in each of 2 layers, more than any model has",
    );
    refused("qwen3", "model_type", json!("qwen3_5_text"), "linear attention");
    refused("llama", "model_type", json!("falcon"), "only Falcon 3 and later");
    refused(
        "neox",
        "num_attention_heads",
        json!(5),
        "not a multiple of `num_attention_heads` 5",
    );
}

/// Sizes beyond all memory, of the wrong type or sign: refused before anything is allocated.
#[test]
fn absurd_numbers_are_refused_by_name() {
    use serde_json::json;
    for (name, field, value) in [
        ("llama", "hidden_size", json!(1i64 << 62)),
        ("llama", "hidden_size", json!(-32)),
        ("llama", "hidden_size", json!(32.5)),
        ("llama", "hidden_size", json!("32")),
        ("llama", "hidden_size", json!([32])),
        ("llama", "head_dim", json!(0)),
        ("llama", "head_dim", json!(7)),
        ("gemma3", "head_dim", json!(0)),
        ("gemma3", "head_dim", json!(-16)),
        ("gemma3", "query_pre_attn_scalar", json!(0)),
        ("gemma3", "sliding_window", json!(-1)),
        ("llama", "num_hidden_layers", json!(1i64 << 40)),
        ("llama", "num_hidden_layers", json!(0)),
        ("llama", "num_attention_heads", json!(u64::MAX)),
        ("llama", "num_key_value_heads", json!(3)),
        ("llama", "vocab_size", json!(i64::MAX)),
        ("llama", "max_position_embeddings", json!(1i64 << 62)),
        ("llama", "rms_norm_eps", json!(-1.0)),
        ("llama", "rms_norm_eps", json!("small")),
        ("gptj", "n_inner", json!(-1)),
        ("gptj", "rotary_dim", json!(1i64 << 61)),
        ("gptj", "n_positions", json!(1e300)),
        ("neox", "rotary_pct", json!(-0.5)),
        ("neox", "rotary_emb_base", json!(0)),
        ("neox", "layer_norm_eps", json!(0.0)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(golden(name)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        let path = dir.path().join("config.json");
        let mut config: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        config[field] = value.clone();
        std::fs::write(&path, config.to_string()).unwrap();
        let loaded = load(dir.path(), Device::Cpu, "auto");
        let message = format!("{:#}", loaded.err().expect(field));
        assert!(
            (message.contains(field) || message.contains("theta")) && message.contains("config.json"),
            "{field} = {value}: {message}"
        );
    }
}
