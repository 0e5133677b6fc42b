//! Names of parameters without an effect: those that never change an answer, and those that would
//! but are not supported. Collected from OpenAI, vLLM, llama.cpp's server, Text Generation
//! Inference and text-generation-webui. A parameter in neither list is unknown.

use serde_json::Value;

/// Ignored with any value, with the reason.
pub const HARMLESS: &[(&str, &str)] = &[
    ("user", "names the user"),
    ("safety_identifier", "names the user"),
    ("chat_id", "names the chat, of Open WebUI"),
    ("message_id", "names the message, of Open WebUI"),
    ("metadata", "notes of the caller"),
    ("store", "nothing is stored here"),
    ("service_tier", "there is one"),
    ("session_id", "says which requests belong together"),
    ("priority", "an order of serving"),
    ("prompt_cache_key", "shared prefixes are cached anyway"),
    ("prompt_cache_retention", "how long they are cached"),
    ("prompt_cache_options", "how they are cached"),
    ("cache_prompt", "the prompt cache of llama.cpp"),
    ("n_cache_reuse", "the prompt cache of llama.cpp"),
    ("keep_alive", "the model stays loaded"),
    ("id_slot", "which place in the batch"),
    ("slot_id", "which place in the batch"),
    ("backend_sampling", "where the same is computed"),
    ("parallel_tool_calls", "read beside `tools`"),
    ("truncation_side", "nothing is cut"),
    ("n_keep", "nothing is cut"),
    ("n_discard", "nothing is cut"),
    ("spaces_between_special_tokens", "special tokens are not shown"),
    ("stream_interval", "how long the chunks of a stream are"),
    (
        "sse_ping_interval",
        "how often a stream without chunks sends something",
    ),
    ("mirostat_tau", "of a sampler that is off"),
    ("mirostat_eta", "of a sampler that is off"),
    ("dry_base", "of a sampler that is off"),
    ("dry_allowed_length", "of a sampler that is off"),
    ("dry_penalty_last_n", "of a sampler that is off"),
    ("dry_sequence_breakers", "of a sampler that is off"),
    ("xtc_threshold", "of a sampler that is off"),
    ("dynatemp_exponent", "of a sampler that is off"),
    ("adaptive_decay", "of a sampler that is off"),
];

/// Ignored within a message.
pub const HARMLESS_IN_MESSAGES: &[(&str, &str)] = &[
    ("id", "names the message"),
    ("created_at", "when it was written"),
    ("refusal", "part of our answers"),
    ("annotations", "part of our answers"),
    ("provider_specific_fields", "added by LiteLLM"),
    ("timestamp", "when it was written"),
];

/// Ignored within a part of a message's content.
pub const HARMLESS_IN_PARTS: &[(&str, &str)] = &[("cache_control", "which prefixes are cached")];

/// A value that leaves the answer as it is.
#[derive(Debug, Clone, Copy)]
pub enum NeutralValue {
    /// False.
    False,
    /// True.
    True,
    /// This number.
    Number(f64),
    /// A number below zero.
    Negative,
    /// An empty text, list or object.
    Empty,
    /// One of these words.
    Words(&'static [&'static str]),
}

/// A parameter that is not supported, and would change the answer unless its value is neutral.
#[derive(Debug)]
pub struct UnsupportedParameter {
    /// Its name.
    pub name: &'static str,
    neutral: &'static [NeutralValue],
    /// What to use instead; empty if there is nothing.
    pub instead: &'static str,
}

impl UnsupportedParameter {
    /// Returns a parameter with its neutral values, and what to use instead.
    pub const fn new(
        name: &'static str,
        neutral: &'static [NeutralValue],
        instead: &'static str,
    ) -> UnsupportedParameter {
        UnsupportedParameter {
            name,
            neutral,
            instead,
        }
    }

    /// Whether a value leaves the answer as it is.
    pub fn is_neutral(&self, value: &Value) -> bool {
        self.neutral.iter().any(|neutral| match (neutral, value) {
            (NeutralValue::False, Value::Bool(flag)) => !flag,
            (NeutralValue::True, Value::Bool(flag)) => *flag,
            (NeutralValue::Number(number), Value::Number(value)) => value.as_f64() == Some(*number),
            (NeutralValue::Negative, Value::Number(value)) => value.as_f64().is_some_and(|value| value < 0.0),
            (NeutralValue::Empty, Value::String(text)) => text.is_empty(),
            (NeutralValue::Empty, Value::Array(values)) => values.is_empty(),
            (NeutralValue::Empty, Value::Object(fields)) => fields.is_empty(),
            (NeutralValue::Words(words), Value::String(text)) => words.contains(&text.as_str()),
            _ => false,
        })
    }
}

use NeutralValue::{Empty, False, Negative, Number, True, Words};

/// Returns a parameter without a substitute.
const fn no(name: &'static str, neutral: &'static [NeutralValue]) -> UnsupportedParameter {
    UnsupportedParameter::new(name, neutral, "")
}

/// Not supported at either endpoint.
pub const UNSUPPORTED: &[UnsupportedParameter] = &[
    // OpenAI
    no("suffix", &[Empty]),
    no("functions", &[Empty]),
    no("function_call", &[Words(&["none", "auto"])]),
    no("modalities", &[Words(&["text"])]),
    no("audio", &[]),
    no("prediction", &[]),
    no("web_search_options", &[]),
    no("verbosity", &[Words(&["medium"])]),
    no("reasoning", &[Empty]),
    // Structured outputs
    no("structural_tag", &[]),
    no("guided_decoding_backend", &[]),
    no("guided_whitespace_pattern", &[]),
    UnsupportedParameter::new("ebnf", &[Empty], "`guided_grammar`, in Lark"),
    no("grammar_type", &[Empty]),
    no("grammar_lazy", &[False]),
    no("grammar_triggers", &[Empty]),
    no("preserved_tokens", &[Empty]),
    UnsupportedParameter::new("format", &[Empty], "`response_format`"),
    // vLLM
    UnsupportedParameter::new(
        "use_beam_search",
        &[False],
        "`temperature`: 0 takes the likeliest token",
    ),
    no("length_penalty", &[Number(1.0)]),
    no("early_stopping", &[False]),
    UnsupportedParameter::new("bad_words", &[Empty], "`logit_bias` of -100"),
    no("allowed_token_ids", &[]),
    UnsupportedParameter::new(
        "prompt_logprobs",
        &[False],
        "`echo` with `logprobs`, at /v1/completions",
    ),
    no("logprob_token_ids", &[]),
    no("include_stop_str_in_output", &[False]),
    no("skip_special_tokens", &[True]),
    UnsupportedParameter::new("truncate_prompt_tokens", &[], "shorten the prompt"),
    no("prompt_embeds", &[]),
    no("documents", &[Empty]),
    UnsupportedParameter::new("chat_template", &[], "the template is the model's"),
    no("media_io_kwargs", &[Empty]),
    no("mm_processor_kwargs", &[Empty]),
    no("return_mm_kwargs", &[True]),
    no("return_tokens_as_token_ids", &[False]),
    no("return_token_ids", &[False]),
    no("return_token_offsets", &[False]),
    no("return_prompt_text", &[False]),
    no("routed_experts_prompt_start", &[Number(0.0)]),
    no("request_id", &[]),
    no("cache_salt", &[]),
    no("kv_transfer_params", &[Empty]),
    no("ec_transfer_params", &[Empty]),
    no("vllm_xargs", &[Empty]),
    no("repetition_detection", &[]),
    no("watermarking", &[False]),
    no("logits_processors", &[Empty]),
    no("detokenize", &[True]),
    no("include_reasoning", &[True]),
    no("thinking_token_budget", &[Number(-1.0)]),
    // llama.cpp
    no("lora", &[Empty]),
    no("min_keep", &[Number(0.0)]),
    no("mirostat", &[Number(0.0)]),
    no("dry_multiplier", &[Number(0.0)]),
    no("xtc_probability", &[Number(0.0)]),
    no("dynatemp_range", &[Number(0.0)]),
    no("top_n_sigma", &[Negative]),
    no("adaptive_target", &[Negative]),
    UnsupportedParameter::new("typical_p", &[Number(1.0)], "`min_p`"),
    UnsupportedParameter::new("typ_p", &[Number(1.0)], "`min_p`"),
    UnsupportedParameter::new("tfs_z", &[Number(1.0)], "`min_p`"),
    no("penalize_nl", &[False]),
    no("samplers", &[]),
    UnsupportedParameter::new("n_probs", &[Number(0.0)], "`logprobs`"),
    no("post_sampling_probs", &[False]),
    no("n_indent", &[Number(0.0)]),
    UnsupportedParameter::new("t_max_predict_ms", &[Number(0.0), Negative], "`max_tokens`"),
    no("t_max_prompt_ms", &[Number(0.0), Negative]),
    no("return_tokens", &[False]),
    no("return_progress", &[False]),
    no("timings_per_token", &[False]),
    no("response_fields", &[Empty]),
    no("verbose", &[False]),
    no("chat_format", &[]),
    no("generation_prompt", &[]),
    no("parse_tool_calls", &[False]),
    no("chat_parser", &[Empty]),
    no("image_data", &[Empty]),
    no("input_prefix", &[Empty]),
    no("input_suffix", &[Empty]),
    no("input_extra", &[Empty]),
    UnsupportedParameter::new("system_prompt", &[Empty], "a message whose role is system"),
    no("reasoning_format", &[Words(&["none", "auto"])]),
    no("reasoning_control", &[False]),
    no("reasoning_in_content", &[True]),
    no("reasoning_budget", &[Number(-1.0)]),
    no("reasoning_budget_tokens", &[Number(-1.0)]),
    // Others
    UnsupportedParameter::new("do_sample", &[True], "`temperature`: 0 takes the likeliest token"),
    no("num_beams", &[Number(1.0)]),
    no("no_repeat_ngram_size", &[Number(0.0)]),
    no("encoder_repetition_penalty", &[Number(1.0)]),
    no("penalty_alpha", &[Number(0.0)]),
    no("epsilon_cutoff", &[Number(0.0)]),
    no("eta_cutoff", &[Number(0.0)]),
    UnsupportedParameter::new("top_a", &[Number(0.0)], "`min_p`"),
    no("smoothing_factor", &[Number(0.0)]),
    UnsupportedParameter::new("typical", &[Number(1.0)], "`min_p`"),
    UnsupportedParameter::new("tfs", &[Number(1.0)], "`min_p`"),
    no("watermark", &[False]),
    UnsupportedParameter::new("return_full_text", &[False], "`echo`"),
    no("details", &[False]),
    no("decoder_input_details", &[False]),
    UnsupportedParameter::new("top_n_tokens", &[Number(0.0)], "`logprobs`"),
    UnsupportedParameter::new("options", &[Empty], "its fields beside `messages`"),
    UnsupportedParameter::new("num_predict", &[], "`max_tokens`"),
    UnsupportedParameter::new("num_ctx", &[], "the context is the model's"),
    UnsupportedParameter::new("think", &[], "`chat_template_kwargs`"),
    UnsupportedParameter::new("thinking", &[], "`chat_template_kwargs`"),
    UnsupportedParameter::new("thinking_budget", &[], "`max_tokens`"),
    UnsupportedParameter::new("system", &[Empty], "a message whose role is system"),
];

/// Also not supported by `/v1/completions`.
pub const UNSUPPORTED_COMPLETION: &[UnsupportedParameter] = &[
    UnsupportedParameter::new("tools", &[Empty], "POST /v1/chat/completions calls tools"),
    UnsupportedParameter::new(
        "tool_choice",
        &[Words(&["none", "auto"])],
        "POST /v1/chat/completions calls tools",
    ),
    UnsupportedParameter::new("messages", &[Empty], "POST /v1/chat/completions answers messages"),
    UnsupportedParameter::new(
        "chat_template_kwargs",
        &[Empty],
        "POST /v1/chat/completions has a template",
    ),
    UnsupportedParameter::new("enable_thinking", &[], "POST /v1/chat/completions has a template"),
    UnsupportedParameter::new(
        "reasoning_effort",
        &[],
        "POST /v1/chat/completions has a template",
    ),
    UnsupportedParameter::new(
        "add_generation_prompt",
        &[],
        "POST /v1/chat/completions has a template",
    ),
    UnsupportedParameter::new(
        "continue_final_message",
        &[False],
        "POST /v1/chat/completions has a template",
    ),
    UnsupportedParameter::new("top_logprobs", &[], "`logprobs` is a number here"),
];

/// Also not supported by `/v1/chat/completions`.
pub const UNSUPPORTED_CHAT: &[UnsupportedParameter] = &[
    no("echo", &[False]),
    UnsupportedParameter::new("add_special_tokens", &[False], "the template writes them"),
    UnsupportedParameter::new(
        "prompt",
        &[Empty],
        "POST /v1/completions continues a prompt; a chat has `messages`",
    ),
];

/// Not supported within a message.
pub const UNSUPPORTED_IN_MESSAGES: &[UnsupportedParameter] = &[
    no("tool_calls", &[Empty]),
    no("tool_call_id", &[]),
    no("function_call", &[]),
    no("audio", &[]),
    UnsupportedParameter::new(
        "prefix",
        &[False],
        "`continue_final_message`: true, beside `messages`",
    ),
    no("weight", &[Number(1.0)]),
];

/// Ignored within `stream_options`.
pub const HARMLESS_IN_STREAM: &[(&str, &str)] = &[("include_obfuscation", "random letters beside the text")];

/// Not supported within `stream_options`.
pub const UNSUPPORTED_IN_STREAM: &[UnsupportedParameter] = &[no("continuous_usage_stats", &[False])];

/// Returns the known name that is most similar, if one is similar enough.
pub fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer names are not typing errors.
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    // `maxTokens` and `max-tokens` are `max_tokens`.
    let plain = |name: &str| -> String {
        name.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect()
    };
    let given = plain(name);
    known
        .map(|known| (strsim::damerau_levenshtein(&given, &plain(known)), known))
        // A name of one letter is similar to none.
        .filter(|(distance, known)| *distance <= 1 + known.len() / 8 && *distance < given.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_name() {
        let known = || ["max_tokens", "temperature", "top_p", "top_k", "stop", "n"].into_iter();
        for (slip, want) in [
            ("maxTokens", Some("max_tokens")),
            ("max-tokens", Some("max_tokens")),
            ("temprature", Some("temperature")),
            ("tempreature", Some("temperature")),
            ("topp", Some("top_p")),
            ("stops", Some("stop")),
            ("rainbow", None),
            ("m", None),
            ("", None),
        ] {
            assert_eq!(near(slip, known()), want, "{slip}");
        }
        assert_eq!(near(&"x".repeat(1 << 20), known()), None);
    }

    #[test]
    fn no_name_is_in_two_lists() {
        let mut names: Vec<&str> = HARMLESS.iter().map(|(name, _)| *name).collect();
        let unsupported = [UNSUPPORTED, UNSUPPORTED_COMPLETION, UNSUPPORTED_CHAT];
        names.extend(
            unsupported
                .iter()
                .flat_map(|list| list.iter().map(|field| field.name)),
        );
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
