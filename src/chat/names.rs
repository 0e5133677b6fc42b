//! The names of parameters that are not computed with: those that change nothing about an answer, and those that would, as OpenAI,
//! vLLM, llama.cpp's server, Text Generation Inference and text-generation-webui have them. What is in neither list is not known.

use serde_json::Value;

/// Passed over whatever they say, with the reason.
pub const HARMLESS: &[(&str, &str)] = &[
    ("user", "names who asks"),
    ("safety_identifier", "names who asks"),
    ("metadata", "notes of the caller's"),
    ("store", "nothing is kept here, and the answer is the same"),
    ("service_tier", "there is one"),
    ("session_id", "says which requests belong together"),
    ("priority", "an order of serving"),
    (
        "prompt_cache_key",
        "what prompts begin with alike is computed once anyway",
    ),
    ("prompt_cache_retention", "how long that is kept"),
    ("prompt_cache_options", "how that is kept"),
    ("cache_prompt", "the same in llama.cpp's words"),
    ("n_cache_reuse", "the same"),
    ("keep_alive", "the model stays loaded"),
    ("id_slot", "which place in the batch"),
    ("slot_id", "which place in the batch"),
    ("backend_sampling", "where the same is computed"),
    ("parallel_tool_calls", "there are no tools to call"),
    ("truncation_side", "nothing is cut"),
    ("n_keep", "nothing is cut"),
    ("n_discard", "nothing is cut"),
    ("spaces_between_special_tokens", "special tokens are not shown"),
    ("stream_interval", "how long the pieces of a stream are"),
    ("sse_ping_interval", "what is sent between them"),
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

/// The same within a message.
pub const HARMLESS_IN_MESSAGES: &[(&str, &str)] = &[
    ("id", "names the message"),
    ("created_at", "when it was said"),
    ("refusal", "what an answer of ours has"),
    ("annotations", "what an answer of ours has"),
];

/// The same within a part of a message's content.
pub const HARMLESS_IN_PARTS: &[(&str, &str)] = &[("cache_control", "what is kept for later requests")];

/// What a value looks like that asks for nothing.
#[derive(Debug, Clone, Copy)]
pub enum Nothing {
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
    /// `{"type": "text"}`, and nothing beside it.
    TextFormat,
}

/// A parameter that would change the answer, if it said something.
#[derive(Debug)]
pub struct Unserved {
    /// Its name.
    pub name: &'static str,
    nothing: &'static [Nothing],
    /// What does something like it; empty where nothing does.
    pub instead: &'static str,
}

impl Unserved {
    /// A name, with the values that ask for nothing, and what does something like it.
    pub const fn new(name: &'static str, nothing: &'static [Nothing], instead: &'static str) -> Unserved {
        Unserved {
            name,
            nothing,
            instead,
        }
    }

    /// Whether a value asks for nothing.
    pub fn says_nothing(&self, value: &Value) -> bool {
        self.nothing.iter().any(|nothing| match (nothing, value) {
            (Nothing::False, Value::Bool(flag)) => !flag,
            (Nothing::True, Value::Bool(flag)) => *flag,
            (Nothing::Number(number), Value::Number(value)) => value.as_f64() == Some(*number),
            (Nothing::Negative, Value::Number(value)) => value.as_f64().is_some_and(|value| value < 0.0),
            (Nothing::Empty, Value::String(text)) => text.is_empty(),
            (Nothing::Empty, Value::Array(values)) => values.is_empty(),
            (Nothing::Empty, Value::Object(fields)) => fields.is_empty(),
            (Nothing::Words(words), Value::String(text)) => words.contains(&text.as_str()),
            (Nothing::TextFormat, Value::Object(fields)) => {
                fields.len() == 1 && fields.get("type").is_some_and(|kind| kind == "text")
            }
            _ => false,
        })
    }
}

use Nothing::{Empty, False, Negative, Number, TextFormat, True, Words};

const fn no(name: &'static str, nothing: &'static [Nothing]) -> Unserved {
    Unserved::new(name, nothing, "")
}

/// Not served at either endpoint.
pub const UNSERVED: &[Unserved] = &[
    // OpenAI
    no("suffix", &[Empty]),
    no("logit_bias", &[Empty]),
    no("tools", &[Empty]),
    no("tool_choice", &[Words(&["none", "auto"])]),
    no("functions", &[Empty]),
    no("function_call", &[Words(&["none", "auto"])]),
    no("response_format", &[TextFormat]),
    no("modalities", &[Words(&["text"])]),
    no("audio", &[]),
    no("prediction", &[]),
    no("web_search_options", &[]),
    no("verbosity", &[Words(&["medium"])]),
    no("reasoning", &[Empty]),
    // What holds an answer to a form
    no("structured_outputs", &[Empty]),
    no("structural_tag", &[]),
    no("guided_json", &[Empty]),
    no("guided_json_object", &[False]),
    no("guided_regex", &[Empty]),
    no("guided_choice", &[Empty]),
    no("guided_grammar", &[Empty]),
    no("guided_decoding_backend", &[]),
    no("guided_whitespace_pattern", &[]),
    no("regex", &[Empty]),
    no("ebnf", &[Empty]),
    no("choice", &[Empty]),
    no("grammar", &[Empty]),
    no("grammar_type", &[Empty]),
    no("grammar_lazy", &[False]),
    no("grammar_triggers", &[Empty]),
    no("preserved_tokens", &[Empty]),
    no("json_schema", &[]),
    no("format", &[Empty]),
    // vLLM
    Unserved::new(
        "use_beam_search",
        &[False],
        "`temperature`: 0 takes the likeliest token",
    ),
    no("length_penalty", &[Number(1.0)]),
    no("early_stopping", &[False]),
    Unserved::new("stop_token_ids", &[Empty], "`stop` with their text"),
    no("bad_words", &[Empty]),
    no("allowed_token_ids", &[]),
    Unserved::new("prompt_logprobs", &[False], "`ewe score`"),
    no("logprob_token_ids", &[]),
    no("include_stop_str_in_output", &[False]),
    no("skip_special_tokens", &[True]),
    Unserved::new("truncate_prompt_tokens", &[], "shorten the prompt"),
    no("prompt_embeds", &[]),
    no("documents", &[Empty]),
    Unserved::new("chat_template", &[], "the template is the model's"),
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
    Unserved::new("typical_p", &[Number(1.0)], "`min_p`"),
    Unserved::new("typ_p", &[Number(1.0)], "`min_p`"),
    Unserved::new("tfs_z", &[Number(1.0)], "`min_p`"),
    no("penalize_nl", &[False]),
    no("samplers", &[]),
    Unserved::new("n_probs", &[Number(0.0)], "`logprobs`"),
    no("post_sampling_probs", &[False]),
    no("n_indent", &[Number(0.0)]),
    Unserved::new("t_max_predict_ms", &[Number(0.0), Negative], "`max_tokens`"),
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
    Unserved::new("system_prompt", &[Empty], "a message whose role is system"),
    no("reasoning_format", &[Words(&["none", "auto"])]),
    no("reasoning_control", &[False]),
    no("reasoning_in_content", &[True]),
    no("reasoning_budget", &[Number(-1.0)]),
    no("reasoning_budget_tokens", &[Number(-1.0)]),
    // Others
    Unserved::new("do_sample", &[True], "`temperature`: 0 takes the likeliest token"),
    no("num_beams", &[Number(1.0)]),
    no("no_repeat_ngram_size", &[Number(0.0)]),
    no("encoder_repetition_penalty", &[Number(1.0)]),
    no("penalty_alpha", &[Number(0.0)]),
    no("epsilon_cutoff", &[Number(0.0)]),
    no("eta_cutoff", &[Number(0.0)]),
    Unserved::new("top_a", &[Number(0.0)], "`min_p`"),
    no("smoothing_factor", &[Number(0.0)]),
    Unserved::new("typical", &[Number(1.0)], "`min_p`"),
    Unserved::new("tfs", &[Number(1.0)], "`min_p`"),
    no("watermark", &[False]),
    Unserved::new("return_full_text", &[False], "`echo`"),
    no("details", &[False]),
    no("decoder_input_details", &[False]),
    Unserved::new("top_n_tokens", &[Number(0.0)], "`logprobs`"),
    Unserved::new("options", &[Empty], "its fields beside `messages`"),
    Unserved::new("num_predict", &[], "`max_tokens`"),
    Unserved::new("num_ctx", &[], "the context is the model's"),
    Unserved::new("think", &[], "`chat_template_kwargs`"),
    Unserved::new("thinking", &[], "`chat_template_kwargs`"),
    Unserved::new("thinking_budget", &[], "`max_tokens`"),
    Unserved::new("system", &[Empty], "a message whose role is system"),
];

/// Not served for a completion besides.
pub const UNSERVED_COMPLETION: &[Unserved] = &[
    Unserved::new("messages", &[Empty], "POST /v1/chat/completions answers messages"),
    Unserved::new(
        "chat_template_kwargs",
        &[Empty],
        "POST /v1/chat/completions has a template",
    ),
    Unserved::new("enable_thinking", &[], "POST /v1/chat/completions has a template"),
    Unserved::new(
        "reasoning_effort",
        &[],
        "POST /v1/chat/completions has a template",
    ),
    Unserved::new(
        "add_generation_prompt",
        &[],
        "POST /v1/chat/completions has a template",
    ),
    Unserved::new(
        "continue_final_message",
        &[False],
        "POST /v1/chat/completions has a template",
    ),
    Unserved::new("top_logprobs", &[], "`logprobs` is a number here"),
];

/// Not served for a chat besides.
pub const UNSERVED_CHAT: &[Unserved] = &[
    no("echo", &[False]),
    Unserved::new("add_special_tokens", &[False], "the template writes them"),
    Unserved::new(
        "prompt",
        &[Empty],
        "POST /v1/completions continues a prompt; a chat has `messages`",
    ),
];

/// Not served within a message.
pub const UNSERVED_IN_MESSAGES: &[Unserved] = &[
    no("tool_calls", &[Empty]),
    no("tool_call_id", &[]),
    no("function_call", &[]),
    no("audio", &[]),
    Unserved::new(
        "prefix",
        &[False],
        "`continue_final_message`: true, beside `messages`",
    ),
    no("weight", &[Number(1.0)]),
];

/// Not served within the options of a stream.
pub const UNSERVED_IN_STREAM: &[Unserved] = &[
    no("continuous_usage_stats", &[False]),
    no("include_obfuscation", &[False]),
];

/// The name that looks most like this one, if one does.
pub fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer names are nobody's slip of the finger.
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
        // Of a name of one letter nothing is left that looks like another.
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
        let unserved = [UNSERVED, UNSERVED_COMPLETION, UNSERVED_CHAT];
        names.extend(
            unserved
                .iter()
                .flat_map(|list| list.iter().map(|field| field.name)),
        );
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
