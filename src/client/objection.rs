//! What a server has against a field of a request. Servers say so in many words; what is looked for is one of the fields
//! that were sent, named in an error about fields.

use super::lenient::{repaired, unmarked};
use super::wire::error_message;
use regex::Regex;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// A field that a server refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// Its name, as it was sent.
    pub field: String,
    /// The name that the server would have it by.
    pub instead: Option<String>,
    /// Whether it is the value that is refused, where another one may be taken.
    pub is_about_value: bool,
}

/// Other names for what we send, by which servers know it.
const SYNONYMS: [(&str, &[&str]); 8] = [
    (
        "max_tokens",
        &[
            "max_completion_tokens",
            "max_output_tokens",
            "max_new_tokens",
            "max_gen_len",
            "maxTokens",
            "max_tokens_to_sample",
            "n_predict",
            "num_predict",
        ],
    ),
    (
        "stop",
        &["stop_sequences", "stopSequences", "stop_words", "stop_strings"],
    ),
    ("seed", &["random_seed", "sampling_seed", "randomSeed"]),
    (
        "repetition_penalty",
        &["repeat_penalty", "repeatPenalty", "rep_pen"],
    ),
    ("top_p", &["topP"]),
    ("top_k", &["topK"]),
    ("presence_penalty", &["presencePenalty"]),
    ("frequency_penalty", &["frequencyPenalty"]),
];

/// Fields whose names are words of any sentence. They count where they stand as names do.
const PLAIN_WORDS: [&str; 6] = ["stop", "seed", "temperature", "model", "prompt", "messages"];

/// The field is not known there, or not wanted.
static ABOUT_NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)unsupported\ (?:param|arg|field|key|option|propert|request)|not\ support|n't\ support|\bsupported\ (?:by|for|with|on)\b|is\ unsupported|unknown|unrecogni[sz]ed|unexpected|\bextra\b|extraneous
        |not\ (?:permitted|allowed|accepted|available|implemented|recogni[sz]ed|a\ valid\ (?:param|arg|field|key|option|propert))|deprecated|additional\ propert|cannot\ find\ field|no\ longer
        |cannot\ (?:both|be\ (?:used|set|specified|combined))|can't\ be\ (?:used|set|specified)|only\ one\ of|invalid\ (?:param|arg|field|key|option|propert)|no\ such\ (?:param|arg|field|key|option|propert)|does\ not\ exist|\binstead\b|disabled|forbidden|been\ removed|extra_forbidden",
    )
    .expect("a fixed pattern")
});

/// Its value is not wanted.
static ABOUT_VALUE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)unsupported\ value|invalid|must\ (?:not\ )?be|should\ (?:not\ )?be|ha(?:s|ve)\ to\ be|needs?\ to\ be|only\ the\ default|out\ of\ range|greater\ than|less\ than|larger\ than|smaller\ than|at\ (?:least|most)|between|positive|non-?zero
        |\bbelow\b|\babove\b|\bminimum\b|\bmaximum\b|not\ (?:a\ )?valid|\ballowed\b|\brange\b|does\ not\ match|expected",
    )
    .expect("a fixed pattern")
});

/// The question is too long for the model: that is about this question, whatever fields are named.
static ABOUT_LENGTH: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)context[ _](?:length|window|size)|maximum context|too long|prompt is|prompt contains")
        .expect("a fixed pattern")
});

/// What follows names fields that are known, not the one that is not.
static KNOWN_FIELDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)expected one of|(?:supported|valid|allowed|accepted|known|permitted|possible) (?:fields|parameters|params|keys|arguments|options|properties)(?: are| include)?:?|one of:").expect("a fixed pattern")
});

/// The name that the server knows.
static INSTEAD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?i)(?:\buse|\btry|replaced (?:by|with)|renamed to|did you mean|in favou?r of|superseded by)\s+(?:the\s+)?(?:parameter\s+|field\s+)?[`'"‘“]?([a-z]\w*)[`'"’”]?"#,
    )
    .expect("a fixed pattern")
});

static NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[A-Za-z_]\w*").expect("a fixed pattern"));

/// What the body of a refusal says against fields among those `sent`; nothing where it is not about fields.
pub fn objections(body: &str, sent: &Map<String, Value>) -> Vec<Objection> {
    let words = error_message(body);
    let value: Value = serde_json::from_slice(&repaired(unmarked(body.as_bytes()))).unwrap_or_default();
    let about_name = ABOUT_NAME.is_match(&words) || body.contains("extra_forbidden");
    let about_value = ABOUT_VALUE.is_match(&words);
    let is_unsupported = ["unsupported_parameter", "unsupported_value", "unknown_parameter"]
        .iter()
        .any(|code| value["error"]["code"] == *code);
    if !is_unsupported && (ABOUT_LENGTH.is_match(&words) || !(about_name || about_value)) {
        return Vec::new();
    }
    let mut fields = Vec::new();
    pointed_at(&value, sent, &mut fields);
    if fields.is_empty() {
        fields.extend(named(&words, sent));
    }
    let is_about_value = about_value
        && !Regex::new(r"(?i)only the default|unsupported parameter|unknown|unrecogni|extra|unexpected")
            .expect("a fixed pattern")
            .is_match(&words);
    fields.dedup();
    fields
        .into_iter()
        .map(|field| Objection {
            instead: instead(&field, &words, sent),
            field,
            is_about_value,
        })
        .collect()
}

/// Fields that an error points at apart from its words: OpenAI's `param`, FastAPI's `loc`.
fn pointed_at(value: &Value, sent: &Map<String, Value>, fields: &mut Vec<String>) {
    match value {
        Value::Object(parts) => {
            for (name, part) in parts {
                match (name.as_str(), part) {
                    ("param" | "parameter" | "field" | "property", Value::String(place)) => {
                        fields.extend(at_place(place.split(['.', '[', ']', '/', '$']), sent));
                    }
                    ("loc" | "path", Value::Array(place)) => {
                        fields.extend(at_place(place.iter().filter_map(Value::as_str), sent));
                    }
                    // The request may be in it again, with every field of it.
                    ("input" | "ctx" | "body" | "request", _) => {}
                    _ => pointed_at(part, sent, fields),
                }
            }
        }
        Value::Array(parts) => parts.iter().for_each(|part| pointed_at(part, sent, fields)),
        _ => {}
    }
}

/// The field that a place is in: its first step, since what lies deeper is within that.
fn at_place<'a>(mut steps: impl Iterator<Item = &'a str>, sent: &Map<String, Value>) -> Option<String> {
    let first = steps.find(|step| !matches!(*step, "" | "body"))?;
    sent_as(first, sent)
}

/// The field that words are about: the first that they name, but of those that exclude one another the one that changes
/// least.
fn named(words: &str, sent: &Map<String, Value>) -> Option<String> {
    let end = KNOWN_FIELDS
        .find(words)
        .map_or(words.len(), |found| found.start());
    let end = INSTEAD.captures(words).map_or(end, |found| {
        // Where nothing is named before, it is named behind.
        match found.get(1) {
            Some(name)
                if NAME
                    .find_iter(&words[..name.start()])
                    .any(|word| is_named(words, word.start(), word.as_str(), sent)) =>
            {
                end.min(name.start())
            }
            _ => end,
        }
    });
    let mut found: Vec<String> = Vec::new();
    for word in NAME.find_iter(&words[..end]) {
        if is_named(words, word.start(), word.as_str(), sent)
            && let Some(field) = sent_as(word.as_str(), sent)
            && !found.contains(&field)
        {
            found.push(field);
        }
    }
    let exclude = Regex::new(r"(?i)cannot both|not both|only one of|together|cannot be combined|mutually")
        .expect("a fixed pattern");
    if found.len() > 1 && exclude.is_match(words) {
        let changes_nothing = |field: &&String| match field.as_str() {
            "top_p" | "temperature" | "repetition_penalty" => sent[field.as_str()] == 1.0,
            _ => false,
        };
        let least = found
            .iter()
            .find(changes_nothing)
            .or(found.iter().find(|field| *field == "top_p"));
        return least.or(found.last()).cloned();
    }
    found.into_iter().next()
}

/// Whether a word is the name of a field that was sent, and not only a word of the sentence.
fn is_named(words: &str, start: usize, word: &str, sent: &Map<String, Value>) -> bool {
    let Some(field) = sent_as(word, sent) else {
        return false;
    };
    if !PLAIN_WORDS.contains(&field.as_str()) {
        return true;
    }
    let before = words[..start].trim_end();
    let after = &words[start + word.len()..];
    let is_sign = |c: char| "`'\"‘’“”[](){}:.<>,=".contains(c);
    let quoted =
        words[..start].chars().next_back().is_some_and(is_sign) && after.chars().next().is_some_and(is_sign);
    let labelled = before
        .rsplit(|c: char| !c.is_alphanumeric())
        .find(|word| !word.is_empty())
        .is_some_and(|word| {
            let word = word.to_lowercase();
            [
                "parameter",
                "param",
                "argument",
                "field",
                "property",
                "key",
                "name",
                "option",
                "supplied",
                "input",
            ]
            .contains(&word.trim_end_matches('s'))
        });
    let leads = before.is_empty() || before.ends_with(['.', ':', ';', '|']);
    // "seed" and "temperature" are said of nothing else here.
    quoted || labelled || leads || matches!(field.as_str(), "seed" | "temperature")
}

/// The field that was sent and that a server means by this name, which it may write in its own language's way.
fn sent_as(name: &str, sent: &Map<String, Value>) -> Option<String> {
    if sent.contains_key(name) {
        return Some(name.to_string());
    }
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    (snake != name && sent.contains_key(&snake)).then_some(snake)
}

/// What the server would have the field called.
fn instead(field: &str, words: &str, sent: &Map<String, Value>) -> Option<String> {
    let is_new = |name: &str| name != field && !sent.contains_key(name);
    let synonyms = SYNONYMS
        .iter()
        .find(|(name, _)| *name == field)
        .map_or(&[][..], |(_, synonyms)| synonyms);
    let said = INSTEAD.captures(words).map(|found| found[1].to_string());
    let said = said.filter(|name| is_new(name) && (name.contains('_') || synonyms.contains(&name.as_str())));
    said.or_else(|| {
        let names = || NAME.find_iter(words).map(|word| word.as_str());
        // Where its own name is not among the words, another spelling of it is what they call it, and is refused.
        let is_called = |name: &str| sent_as(name, sent).as_deref() == Some(field);
        let is_itself_named = names().any(|name| name == field);
        names()
            .filter(|name| is_new(name) && (is_itself_named || !is_called(name)))
            .find(|name| synonyms.contains(name))
            .map(str::to_string)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent() -> Map<String, Value> {
        let fields = json!({"model": "m", "messages": [], "max_tokens": 9, "temperature": 0.7, "top_p": 1.0, "seed": 3,
            "stop": ["\n"], "presence_penalty": 1, "repetition_penalty": 1.05, "top_k": 5});
        fields.as_object().unwrap().clone()
    }

    /// Field and new name of each objection.
    fn found(body: &str) -> Vec<(String, Option<String>)> {
        let objections = objections(body, &sent()).into_iter();
        objections
            .map(|objection| (objection.field, objection.instead))
            .collect()
    }

    #[test]
    fn fields_are_found_in_the_words_of_many_servers() {
        let openai = |message: &str, param: Value| {
            json!({"error": {"message": message, "param": param, "code": "unsupported_parameter"}})
                .to_string()
        };
        let said = |message: &str| json!({"error": {"message": message}}).to_string();
        let max = (
            openai(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                json!("max_tokens"),
            ),
            "max_tokens",
            Some("max_completion_tokens"),
        );
        let cases = [
            max,
            (said("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."), "max_tokens", Some("max_completion_tokens")),
            (openai("Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported.", json!("temperature")), "temperature", None),
            (openai("Unsupported parameter: 'stop' is not supported with this model.", Value::Null), "stop", None),
            (said("Unrecognized request argument supplied: seed"), "seed", None),
            (said("property 'seed' is unsupported"), "seed", None),
            (said("Unknown name \"seed\": Cannot find field."), "seed", None),
            (said("Invalid JSON payload received. Unknown name \"topK\": Cannot find field."), "top_k", None),
            (said("json: unknown field \"repetition_penalty\""), "repetition_penalty", None),
            (said("unknown field `seed`, expected one of `model`, `max_tokens`, `temperature`"), "seed", None),
            (said("unknown field `seed`, expected one of `model`, `random_seed`, `temperature`"), "seed", Some("random_seed")),
            (said("Additional properties are not allowed ('top_k' was unexpected)"), "top_k", None),
            (said("Malformed input request: extraneous key [seed] is not permitted, please reformat your input and try again."), "seed", None),
            (said("Input validation error: `temperature` must be strictly positive"), "temperature", None),
            (said("`top_p` must be > 0.0 and < 1.0"), "top_p", None),
            (said("temperature: Extra inputs are not permitted"), "temperature", None),
            (said("`temperature` and `top_p` cannot both be specified for this model."), "top_p", None),
            (said("Argument not supported on this model: stop"), "stop", None),
            (said("got an unexpected keyword argument 'seed'"), "seed", None),
            (said("The parameter repetition_penalty is deprecated, please use repeat_penalty"), "repetition_penalty", Some("repeat_penalty")),
            (said("[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted'}]"), "seed", None),
            (json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 3}]}).to_string(), "seed", None),
            (json!({"detail": [{"loc": ["body", "temperature"], "msg": "ensure this value is greater than 0"}]}).to_string(), "temperature", None),
            (json!({"object": "error", "message": {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}}).to_string(), "seed", None),
            (json!({"message": "Use max_new_tokens instead of max_tokens."}).to_string(), "max_tokens", Some("max_new_tokens")),
            ("seed is not supported".to_string(), "seed", None),
        ];
        for (body, field, instead) in cases {
            assert_eq!(
                found(&body),
                [(field.to_string(), instead.map(str::to_string))],
                "{body}"
            );
        }
    }

    #[test]
    fn several_fields_at_once() {
        let body = json!({"detail": [
            {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"},
            {"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "Extra inputs are not permitted"}]});
        let fields: Vec<String> = found(&body.to_string())
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        assert_eq!(fields, ["seed", "top_k"]);
    }

    #[test]
    fn other_refusals_are_about_no_field() {
        for message in [
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (1928 in the messages, 3072 in max_tokens).",
            "Your prompt was flagged as violating our usage policy. Please stop.",
            "The server is overloaded",
            "Incorrect API key provided",
            "not this one",
            "prompt too long",
            "The model `m` does not exist",
        ] {
            let fields = found(&json!({"error": {"message": message}}).to_string());
            let of_ours = fields.iter().filter(|(field, _)| field != "model").count();
            assert_eq!(of_ours, 0, "{message}: {fields:?}");
        }
    }

    #[test]
    fn a_value_may_be_all_that_is_wrong() {
        let about_value = |message: &str| objections(message, &sent())[0].is_about_value;
        assert!(about_value("`temperature` must be strictly positive"));
        assert!(!about_value(
            "Only the default (1) value is supported for 'temperature'"
        ));
        assert!(!about_value("Unsupported parameter: 'temperature'"));
    }
}
