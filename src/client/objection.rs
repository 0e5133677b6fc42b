//! Finds the field of a request that a server refuses. Errors have many forms. [`objections`] finds
//! fields that were sent in an error about fields; [`suspects`] finds them in any other error,
//! where they may be the cause.
//!
//! - [`names`]: fields named in the text; [`pointers`]: fields that a part of the error points at.

mod names;
mod pointers;
#[cfg(test)]
mod tests;

use super::error_text::{error_message, read};
use super::min_tokens;
use super::wire::REQUIRED_FIELDS;
use names::{Mention, instead, mentions, wanted};
use pointers::{has_code, pointed_at};
use regex::Regex;
use serde_json::{Map, Value};
use std::ops::Range;
use std::sync::LazyLock;

/// A field that a server refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldObjection {
    /// The name under which it was sent.
    pub field: String,
    /// The name that the server wants instead.
    pub instead: Option<String>,
    /// Whether only the value is refused, and another one may be accepted.
    pub is_about_value: bool,
    /// The least number of tokens that the server takes, if fewer were sent.
    pub least: Option<u64>,
}

/// The field is unknown, or not wanted.
static ABOUT_NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)unsupported\ (?:param|arg|field|key|option|propert|request)|not\ support|n't\ support|\bsupported\ (?:by|for|with|on)\b|is\ unsupported|unknown|unrecogni[sz]ed|unexpected|\bextra\b|extraneous|disallowed|unpermitted|non-supported
        |not\ (?:permitted|allowed|accept|available|implemented|recogni[sz]ed|used\b|a\ valid\ (?:param|arg|field|key|option|propert))|deprecated|additional\ propert|cannot\ find\ field|no\ longer|rather\ than
        |cannot\ (?:both|be\ (?:used|set|specified|combined))|can't\ be\ (?:used|set|specified)|only\ one\ of|invalid\ (?:param|arg|field|key|option|propert)|no\ such\ (?:param|arg|field|key|option|propert)|does\ not\ exist|\binstead\b|disabled|forbidden|been\ removed|extra_forbidden|cannot\ unmarshal|not\ be\ converted|wrong\ type",
    )
    .expect("a fixed pattern")
});

/// The value is not wanted.
static ABOUT_VALUE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)unsupported\ value|invalid|must\ (?:not\ )?be|should\ (?:not\ )?be|ha(?:s|ve)\ to\ be|needs?\ to\ be|only\ the\ default|out\ of\ range|greater\ than|less\ than|larger\ than|smaller\ than|at\ (?:least|most)|between|positive|non-?zero
        |\bbelow\b|\babove\b|\bminimum\b|\bmaximum\b|not\ (?:a\ )?valid|\ballowed\b|\brange\b|does\ not\ match|expected|too\ (?:large|small|high|low)",
    )
    .expect("a fixed pattern")
});

/// The field itself is refused, whatever else the text says about its value.
static ABOUT_THE_WHOLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)only the default|unsupported (?:param|arg|field|key|option|propert)|unknown|unrecogni|extra|unexpected|disallowed|unpermitted|not used|cannot unmarshal|not be converted|wrong type")
        .expect("a fixed pattern")
});

/// Like [`ABOUT_THE_WHOLE`], unless the text is about a value.
static IS_REFUSED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)not (?:allowed|permitted|supported|accepted)|unsupported|forbidden|disabled")
        .expect("a fixed pattern")
});

/// The text is about a value.
static OF_A_VALUE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:must|should|between|range|than|least|most|below|above|minimum|maximum|positive|expected|values?|integer|default|array|length)\b|\b(?:of|to|is|[=:]) ?-?[0-9]")
        .expect("a fixed pattern")
});

/// The text says beyond doubt that a field is unknown or not wanted.
static ABOUT_A_FIELD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)(?:unsupported|unknown|unrecogni[sz]ed|unexpected|extra|extraneous|disallowed|unpermitted)\s+(?:request\s+|keyword\s+|body\s+)?(?:param|arg|field|key|option|propert|input)")
        .expect("a fixed pattern")
});

/// The prompt is too long for the model. This is about this request, whatever fields the text
/// names.
static ABOUT_LENGTH: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)context[ _](?:length|window|size)|maximum context|prompt is|prompt contains|too many (?:input |prompt )?tokens|^\W*too long|\b(?:prompt|input|text|messages?|request|conversation|sequence|it|that|this)\b[^.]{0,40}\btoo long|too long[^.]{0,20}\b(?:prompt|input|text|messages?|request|context)")
        .expect("a fixed pattern")
});

/// The text after this lists known fields, not the unknown one.
static KNOWN_FIELDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:expected one of|one of:|(?:supported|valid|allowed|accepted|known|permitted|possible|available|recogni[sz]ed|expected)\s+(?:request\s+|body\s+|input\s+)?(?:fields|parameters|params|keys|arguments|args|options|properties|names)(?:\s+(?:are|include)\b)?:?)")
        .expect("a fixed pattern")
});

/// Text before [`KNOWN_FIELDS`] that reverses its meaning.
static NEGATED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)(?:\bnot|n't|\bnon|\bno|\bun)[\s-]*(?:an?\s+)?$").expect("a fixed pattern")
});

/// The end of a list of known fields.
static LIST_ENDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)[.!?](?:\s|$)|\n|;\s|\b(?:got|received|found|but|however|unsupported|unknown|unrecogni[sz]ed|unexpected|invalid|given|provided|not)\b")
        .expect("a fixed pattern")
});

/// Only one of several fields may be sent.
static ONE_OF_THEM: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)cannot both|not both|only one of|together|cannot be combined|mutually")
        .expect("a fixed pattern")
});

/// An error, parsed.
struct ParsedError {
    /// Its text.
    words: String,
    /// All of it, or null if it is no JSON.
    error: Value,
}

impl ParsedError {
    fn new(body: &str) -> ParsedError {
        let error = read(body).unwrap_or_default();
        let words = error_message(body);
        ParsedError {
            words: if error.is_null() { unescaped(&words) } else { words },
            error,
        }
    }

    /// Returns mentions of fields, other than those in lists of known fields.
    fn mentions(&self, sent: &Map<String, Value>) -> Vec<Mention> {
        let known = known(&self.words);
        let mut mentions = mentions(&self.words, sent);
        mentions.retain(|mention| !known.iter().any(|list| list.contains(&mention.place.start)));
        mentions
    }
}

/// Returns what a refusal says against fields that were `sent`. Empty if it is not about fields.
pub fn objections(body: &str, sent: &Map<String, Value>) -> Vec<FieldObjection> {
    stated(&ParsedError::new(body), sent)
}

/// Returns what an error about fields says against them.
fn stated(parsed: &ParsedError, sent: &Map<String, Value>) -> Vec<FieldObjection> {
    let words = &parsed.words;
    let about_name = ABOUT_NAME.is_match(words);
    let about_value = ABOUT_VALUE.is_match(words);
    if !has_code(&parsed.error) && (ABOUT_LENGTH.is_match(words) || !(about_name || about_value)) {
        return Vec::new();
    }
    let mentions = parsed.mentions(sent);
    let mut fields = pointed_at(&parsed.error, sent);
    if fields.is_empty() {
        fields.extend(named(words, &mentions, sent));
    }
    let alone = fields.len() == 1;
    let is_refused = IS_REFUSED.is_match(words) && !OF_A_VALUE.is_match(words);
    let is_about_value = about_value && !is_refused && !ABOUT_THE_WHOLE.is_match(words);
    let of = |field: String| {
        let tokens = tokens(&field, sent).filter(|_| is_about_value);
        FieldObjection {
            instead: instead(&field, words, sent, alone),
            least: tokens.and_then(|tokens| min_tokens::stated(words, tokens)),
            field,
            is_about_value,
        }
    };
    fields.into_iter().map(of).collect()
}

/// Returns fields that a refusal in any language merely names: each may be the cause. Fields that
/// it points at come first, then quoted ones.
pub fn suspects(body: &str, sent: &Map<String, Value>) -> Vec<FieldObjection> {
    let parsed = ParsedError::new(body);
    if ABOUT_LENGTH.is_match(&parsed.words) {
        return Vec::new();
    }
    let understood = stated(&parsed, sent);
    let mut mentions = parsed.mentions(sent);
    mentions.extend(mentions_beside(body, sent));
    mentions.sort_by_key(|mention| !mention.is_quoted);
    let mut fields = pointed_at(&parsed.error, sent);
    fields.extend(mentions.into_iter().map(|mention| mention.field));
    let mut seen = Vec::new();
    fields.retain(|field| {
        let is_new = !seen.contains(field);
        seen.push(field.clone());
        is_new
            && !REQUIRED_FIELDS.contains(&field.as_str())
            && !understood.iter().any(|known| known.field == *field)
    });
    let guess = |field: String| guess(field, &parsed.words, sent);
    fields.into_iter().filter_map(guess).collect()
}

/// Returns mentions anywhere in the error, except as names of its own parts: it may repeat the
/// request.
fn mentions_beside(body: &str, sent: &Map<String, Value>) -> Vec<Mention> {
    let mut mentions = mentions(body, sent);
    let known = known(body);
    mentions.retain(|mention| {
        let after = body[mention.place.end..].trim_start_matches('\\');
        let is_part = after
            .strip_prefix('"')
            .is_some_and(|after| after.trim_start().starts_with(':'));
        !is_part && !known.iter().any(|list| list.contains(&mention.place.start))
    });
    mentions
}

/// Guesses what is wrong with a field. `max_tokens` is never left out.
fn guess(field: String, words: &str, sent: &Map<String, Value>) -> Option<FieldObjection> {
    let least = tokens(&field, sent).and_then(|tokens| min_tokens::guessed(words, tokens));
    let instead = instead(&field, words, sent, false).filter(|_| least.is_none());
    let can_be_told = tokens(&field, sent).is_none() || instead.is_some() || least.is_some();
    can_be_told.then_some(FieldObjection {
        field,
        instead,
        is_about_value: least.is_some(),
        least,
    })
}

/// Returns the value of a field that is a number of tokens.
fn tokens(field: &str, sent: &Map<String, Value>) -> Option<u64> {
    let is_number_of_tokens = field.to_lowercase().contains("token") || field.ends_with("_predict");
    sent.get(field)?.as_u64().filter(|_| is_number_of_tokens)
}

/// Whether an error is so clearly about a field that its status, such as 403 or 404, does not
/// matter.
pub fn is_of_a_field(body: &str) -> bool {
    let parsed = ParsedError::new(body);
    has_code(&parsed.error) || ABOUT_A_FIELD.is_match(&parsed.words)
}

/// Whether an error has the code of a wrong field or of a wrong request, whatever its status.
pub fn has_such_a_code(body: &str) -> bool {
    let error = read(body).unwrap_or_default();
    let is_of_request = [400, 422].iter().any(|code| error["error"]["code"] == *code);
    is_of_request || has_code(&error)
}

/// Returns the places of lists of known fields.
fn known(words: &str) -> Vec<Range<usize>> {
    let lists = KNOWN_FIELDS
        .find_iter(words)
        .filter(|found| !NEGATED.is_match(&words[..found.start()]));
    lists
        .map(|found| {
            let rest = &words[found.end()..];
            let end = LIST_ENDS.find(rest).map_or(rest.len(), |end| end.start());
            found.start()..found.end() + end
        })
        .collect()
}

/// Returns the field that the text is about: the first one that it names; of fields that exclude
/// one another, the one that matters least.
fn named(words: &str, mentions: &[Mention], sent: &Map<String, Value>) -> Option<String> {
    let names = mentions.iter().filter(|mention| mention.is_name);
    let advice = wanted(words).map_or(words.len(), |name| name.start);
    let mut fields: Vec<&String> = Vec::new();
    for mention in names.clone().filter(|mention| mention.place.start < advice) {
        if !fields.contains(&&mention.field) {
            fields.push(&mention.field);
        }
    }
    // If no field is named before the advice, the field is named after it.
    if fields.is_empty() {
        fields.extend(names.map(|mention| &mention.field).next());
    }
    if fields.len() > 1 && ONE_OF_THEM.is_match(words) {
        let changes_nothing = |field: &&&String| match field.as_str() {
            "top_p" | "temperature" | "repetition_penalty" => sent[field.as_str()] == 1.0,
            _ => false,
        };
        let least = fields
            .iter()
            .find(changes_nothing)
            .or(fields.iter().find(|field| **field == "top_p"));
        return least.or(fields.last()).map(|field| (*field).clone());
    }
    let can_go = fields
        .iter()
        .find(|field| !REQUIRED_FIELDS.contains(&field.as_str()));
    can_go.or(fields.first()).map(|field| (*field).clone())
}

/// Decodes HTML entities.
fn unescaped(text: &str) -> String {
    let pairs = [
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&apos;", "'"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    pairs.iter().fold(text.to_string(), |text, (escaped, plain)| {
        text.replace(escaped, plain)
    })
}
