//! Fields that the text of an error names: by their exact names, in another spelling such as camel
//! case, or in plain words.

use super::super::error_text::plain;
use regex::Regex;
use serde_json::{Map, Value};
use std::ops::Range;
use std::sync::LazyLock;

/// Other names of the fields, on other servers.
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
        &[
            "stop_sequences",
            "stopSequences",
            "stop_words",
            "stop_strings",
            "stop_tokens",
        ],
    ),
    ("seed", &["random_seed", "sampling_seed", "randomSeed"]),
    (
        "repetition_penalty",
        &["repeat_penalty", "repeatPenalty", "rep_pen"],
    ),
    ("top_p", &["topP", "nucleus_sampling"]),
    ("top_k", &["topK"]),
    ("presence_penalty", &["presencePenalty"]),
    ("frequency_penalty", &["frequencyPenalty"]),
];

/// Fields whose names are common words. They count only where they are used as names.
const PLAIN_WORDS: [&str; 4] = ["stop", "model", "prompt", "messages"];

/// Words that a name follows.
const LABELS: [&str; 10] = [
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
];

/// The longest phrase that may be a name, in words.
const LONGEST: usize = 4;

static NAME: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("[A-Za-z_][A-Za-z0-9_]*").expect("a fixed pattern"));

/// A place where a text names a field that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The name under which it was sent.
    pub field: String,
    /// The bytes of the text that name it.
    pub place: Range<usize>,
    /// Whether it is in quotes or similar marks.
    pub is_quoted: bool,
    /// Whether it is used as a name, and not as a word of the sentence.
    pub is_name: bool,
}

/// Returns all mentions of fields that were sent, in order.
pub fn mentions(words: &str, sent: &Map<String, Value>) -> Vec<Mention> {
    let tokens: Vec<Range<usize>> = NAME.find_iter(words).map(|found| found.range()).collect();
    let mut mentions = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let found = (1..=LONGEST).rev().find_map(|length| {
            let run = tokens.get(at..at + length)?;
            let mut gaps = run.windows(2).map(|pair| &words[pair[0].end..pair[1].start]);
            if !gaps.all(|gap| matches!(gap, " " | "-")) {
                return None;
            }
            let place = run[0].start..run[length - 1].end;
            let text = &words[place.clone()];
            let field = match length {
                1 => sent_as(text, sent),
                _ => called(text, sent),
            };
            field.map(|field| (length, mention(words, place, field)))
        });
        let (length, mention) = found.map_or((1, None), |(length, mention)| (length, Some(mention)));
        mentions.extend(mention);
        at += length;
    }
    mentions
}

/// Describes a mention by the text around it.
fn mention(words: &str, place: Range<usize>, field: String) -> Mention {
    let (before, after) = (&words[..place.start], &words[place.end..]);
    let is_sign = |c: char| "`'\"‘’“”„«»「」[](){}:.<>,=;&".contains(c);
    let is_quoted =
        before.chars().next_back().is_some_and(is_sign) && after.chars().next().is_some_and(is_sign);
    let text = &words[place.clone()];
    let is_word = PLAIN_WORDS.contains(&field.as_str()) && !text.contains([' ', '-']);
    let is_labelled = || {
        let mut words = before.rsplit(|c: char| !c.is_alphanumeric());
        words.find(|word| !word.is_empty()).is_some_and(|word| {
            let word = word.to_lowercase();
            LABELS.contains(&word.trim_end_matches('s'))
        })
    };
    // A sentence begins with a capital letter. Many sentences about other things begin with "Model"
    // and the like.
    let leads = || {
        let before = before.trim_end();
        field == "stop" && text == field && (before.is_empty() || before.ends_with(['.', ':', ';', '|']))
    };
    let is_name = !is_word || is_quoted || is_labelled() || leads();
    Mention {
        field,
        place,
        is_quoted,
        is_name,
    }
}

/// Returns the field that was sent under this name, which the server may spell in another way.
pub fn sent_as(name: &str, sent: &Map<String, Value>) -> Option<String> {
    if sent.contains_key(name) {
        return Some(name.to_string());
    }
    let name = plain(name);
    sent.keys().find(|field| plain(field) == name).cloned()
}

/// Returns the field that plain words mean.
fn called(phrase: &str, sent: &Map<String, Value>) -> Option<String> {
    // Singular or plural.
    let words = |name: &str| split(name).join(" ").trim_end_matches('s').to_string();
    let phrase = words(phrase);
    let is_it = |name: &str| words(name) == phrase;
    let of_it = |field: &String| is_it(field) || synonyms(field).iter().any(|name| is_it(name));
    sent.keys().find(|field| of_it(field)).cloned()
}

/// Splits a name into words, in lower case.
pub fn split(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = None;
    for c in name.chars() {
        let begins = c.is_uppercase() && before.is_some_and(|before: char| before.is_lowercase());
        if begins || !c.is_alphanumeric() {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        before = Some(c);
    }
    words.retain(|word| !word.is_empty());
    words
}

fn synonyms(field: &str) -> &'static [&'static str] {
    let found = SYNONYMS.iter().find(|(name, _)| *name == field);
    found.map_or(&[], |(_, synonyms)| synonyms)
}

/// Matches advice to use another name. Only after the words of `surely` does a name always follow.
static INSTEAD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?i)(?:(?<surely>\buse|\btry|replaced (?:by|with)|renamed to|did you mean|in favou?r of|superseded by)|\brequires?|\bexpects?|\bset|\bspecify|\bsend|\bpass)\s+(?:the\s+)?(?:parameter\s+|field\s+)?[`'"‘“]?(?<name>[a-z]\w*)[`'"’”]?"#,
    )
    .expect("a fixed pattern")
});

/// Returns the place of the name that the text says to use.
pub fn wanted(words: &str) -> Option<Range<usize>> {
    let found = INSTEAD
        .captures_iter(words)
        .find(|found| found.name("surely").is_some())?;
    found.name("name").map(|name| name.range())
}

/// Returns the name that the server wants for a field. If it is not the only field (`alone`), a
/// name must be similar to it.
pub fn instead(field: &str, words: &str, sent: &Map<String, Value>, alone: bool) -> Option<String> {
    let is_new = |name: &str| name != field && !sent.contains_key(name);
    let synonyms = synonyms(field);
    let is_like = |name: &str| {
        let of_field = split(field);
        synonyms.contains(&name) || split(name).iter().any(|word| of_field.contains(word))
    };
    let advised = INSTEAD.captures_iter(words).find_map(|found| {
        let name = &found["name"];
        let may_be = name.contains('_') && alone && found.name("surely").is_some()
            || synonyms.contains(&name)
            || name.contains('_') && is_like(name);
        (is_new(name) && may_be && sent_as(name, sent).is_none()).then(|| name.to_string())
    });
    advised.or_else(|| {
        let names = || NAME.find_iter(words).map(|word| word.as_str());
        // If the text does not have the exact name, another spelling in it is the refused name.
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
        let fields = json!({"model": "m", "prompt": "p", "max_tokens": 9, "top_p": 1.0, "seed": 3, "stop": ["\n"],
            "temperature": 0.7, "repetition_penalty": 1.05});
        fields.as_object().unwrap().clone()
    }

    #[test]
    fn fields_are_known_in_many_spellings() {
        let cases: [(&str, &[&str]); 13] = [
            ("top_p", &["top_p"]),
            ("topP and TOP-P", &["top_p", "top_p"]),
            ("the top p of it", &["top_p"]),
            ("Nucleus sampling", &["top_p"]),
            (
                "repetition penalty, repetitionPenalty",
                &["repetition_penalty"; 2],
            ),
            ("a repeat penalty", &["repetition_penalty"]),
            ("参数seed不支持", &["seed"]),
            ("Seed? X.seed! :seed", &["seed"; 3]),
            ("a random seed", &["seed"]),
            ("random_seed seeds seeded reseed", &[]),
            ("max_tokens_to_sample max_completion_tokens", &[]),
            ("maxTokens, max tokens", &["max_tokens"; 2]),
            ("st op, to p p", &[]),
        ];
        for (words, fields) in cases {
            let found = mentions(words, &sent());
            let found: Vec<&str> = found.iter().map(|mention| mention.field.as_str()).collect();
            assert_eq!(found, fields, "{words}");
        }
    }

    #[test]
    fn words_of_a_sentence_are_no_names() {
        for (words, is_name) in [
            ("stop is not known", true),
            ("not known: stop", true),
            ("the parameter stop", true),
            ("`stop` is wrong", true),
            ("['stop']", true),
            ("&#39;stop&#39;", true),
            ("Stop sequences are wrong", true),
            ("stop words are wrong", true),
            ("Please stop.", false),
            ("Stop asking", false),
            ("Model m is away", false),
            ("this model does not know that", false),
            ("model: m", false),
            ("'model' is missing", true),
            ("your prompt was flagged", false),
        ] {
            let found = mentions(words, &sent());
            assert!(!found.is_empty(), "{words}");
            assert_eq!(found[0].is_name, is_name, "{words}");
        }
    }

    #[test]
    fn a_new_name_is_told_from_other_advice() {
        let max = Some("max_completion_tokens");
        for (field, words, wanted) in [
            ("max_tokens", "use max_completion_tokens instead", max),
            (
                "max_tokens",
                "it requires max_completion_tokens and does not accept max_tokens",
                max,
            ),
            (
                "max_tokens",
                "Please set max_completion_tokens rather than max_tokens",
                max,
            ),
            ("max_tokens", "it expects `max_len`", Some("max_len")),
            ("seed", "use the_number instead of seed", Some("the_number")),
            ("seed", "seed: set `drop_params` to leave it out", None),
            ("seed", "seed is refused; it requires n_best", None),
            ("seed", "Unknown name \"seed\"", None),
            ("top_p", "topP is unknown", None),
        ] {
            assert_eq!(instead(field, words, &sent(), true).as_deref(), wanted, "{words}");
        }
        let words = "seed and stop are unknown, use random_seed";
        assert_eq!(
            instead("seed", words, &sent(), false).as_deref(),
            Some("random_seed")
        );
        assert_eq!(instead("stop", words, &sent(), false), None);
    }
}
