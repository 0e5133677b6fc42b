//! The text half of a config.json of text and images, whose fields lie in `text_config`.

use serde_json::{Map, Value, json};

/// `model_type` of Gemma 3 with images, and of its text half by itself.
const WITH_IMAGES: &str = "gemma3";
const TEXT_ONLY: &str = "gemma3_text";

/// Returns the fields of a config, where those of the text half of a Gemma 3 with images stand at
/// the top, among them what published ones leave out. `model_type` stays. Other configs stay as
/// they are.
pub fn flattened(fields: Map<String, Value>) -> Map<String, Value> {
    let is_nested = fields.get("model_type").is_some_and(|name| name == WITH_IMAGES);
    let Some(Value::Object(text)) = fields.get("text_config").filter(|_| is_nested) else {
        return fields;
    };
    let mut flat = defaults();
    // The special tokens of the whole count, where it has some.
    flat.extend(text.clone());
    for (name, value) in &fields {
        let is_whole = name.ends_with("_token_id") || name == "dtype" || name == "torch_dtype";
        if is_whole && !value.is_null() {
            flat.insert(name.clone(), value.clone());
        }
    }
    flat.insert("model_type".to_owned(), json!(WITH_IMAGES));
    flat
}

/// Turns a [flattened] config, and the names of a model's weights, into those of a model of text
/// only: what is saved has no weights for images.
pub fn without_images<T>(config: &mut Map<String, Value>, weights: &mut [(String, T)]) {
    if config.get("model_type").is_none_or(|name| name != WITH_IMAGES) {
        return;
    }
    config.insert("model_type".to_owned(), json!(TEXT_ONLY));
    config.insert("architectures".to_owned(), json!(["Gemma3ForCausalLM"]));
    for (name, _) in weights {
        if let Some(rest) = name.strip_prefix("model.language_model.") {
            *name = format!("model.{rest}");
        }
    }
}

/// Values of `transformers` for fields that published configs of Gemma 3 leave out.
fn defaults() -> Map<String, Value> {
    let defaults = json!({
        "vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "max_position_embeddings": 131_072, "query_pre_attn_scalar": 256, "sliding_window": 4096,
        "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "tie_word_embeddings": true, "eos_token_id": 1, "bos_token_id": 2, "pad_token_id": 0,
    });
    match defaults {
        Value::Object(defaults) => defaults,
        _ => unreachable!("it is written as an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    /// As `google/gemma-3-4b-it` has it.
    #[test]
    fn a_published_config_has_all_fields_of_its_text_half() {
        let fields = object(json!({
            "model_type": "gemma3", "eos_token_id": [1, 106], "torch_dtype": "bfloat16",
            "text_config": {"hidden_size": 2560, "model_type": "gemma3_text", "sliding_window": 1024},
            "vision_config": {"hidden_size": 1152},
        }));
        let flat = flattened(fields);
        for (name, value) in [
            ("model_type", json!("gemma3")),
            ("eos_token_id", json!([1, 106])),
            ("torch_dtype", json!("bfloat16")),
            ("hidden_size", json!(2560)),
            ("sliding_window", json!(1024)),
            ("num_attention_heads", json!(8)),
        ] {
            assert_eq!(flat[name], value, "{name}");
        }
        assert!(!flat.contains_key("vision_config"));
        let mut saved = flat;
        let mut weights = [
            ("model.language_model.norm.weight".to_owned(), ()),
            ("lm_head.weight".to_owned(), ()),
        ];
        without_images(&mut saved, &mut weights);
        assert_eq!(saved["model_type"], "gemma3_text");
        assert_eq!(
            weights.map(|(name, ())| name),
            ["model.norm.weight", "lm_head.weight"]
        );
    }

    #[test]
    fn other_configs_stay_as_they_are() {
        let fields = object(json!({"model_type": "llama", "text_config": {"hidden_size": 1}}));
        assert_eq!(flattened(fields.clone()), fields);
        let (mut config, mut weights) = (fields.clone(), [("model.language_model.x".to_owned(), ())]);
        without_images(&mut config, &mut weights);
        assert_eq!(
            (config, weights[0].0.as_str()),
            (fields, "model.language_model.x")
        );
    }
}
