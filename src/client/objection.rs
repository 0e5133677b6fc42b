//! What a server has against a field of a request. Servers say so in many words; what is looked for
//! is one of the fields that were sent, in an error about fields ([`objections`]), or in any other,
//! where it may be what is meant ([`suspects`]).
//!
//! - [`names`]: fields as words name them; [`places`]: as an error points at them.

mod names;
mod places;
#[cfg(test)]
mod tests;

use super::least;
use super::said::{error_message, read};
use super::shape::ASKED;
use names::{Mention, instead, mentions, wanted};
use places::{has_code, pointed_at};
use regex::Regex;
use serde_json::{Map, Value};
use std::ops::Range;
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
    /// The least value that is taken of a number of tokens, where that is what is refused.
    pub least: Option<u64>,
}

/// The field is not known there, or not wanted.
static ABOUT_NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)unsupported\ (?:param|arg|field|key|option|propert|request)|not\ support|n't\ support|\bsupported\ (?:by|for|with|on)\b|is\ unsupported|unknown|unrecogni[sz]ed|unexpected|\bextra\b|extraneous|disallowed|unpermitted|non-supported
        |not\ (?:permitted|allowed|accept|available|implemented|recogni[sz]ed|used\b|a\ valid\ (?:param|arg|field|key|option|propert))|deprecated|additional\ propert|cannot\ find\ field|no\ longer|rather\ than
        |cannot\ (?:both|be\ (?:used|set|specified|combined))|can't\ be\ (?:used|set|specified)|only\ one\ of|invalid\ (?:param|arg|field|key|option|propert)|no\ such\ (?:param|arg|field|key|option|propert)|does\ not\ exist|\binstead\b|disabled|forbidden|been\ removed|extra_forbidden|cannot\ unmarshal|not\ be\ converted|wrong\ type",
    )
    .expect("a fixed pattern")
});

/// Its value is not wanted.
static ABOUT_VALUE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)unsupported\ value|invalid|must\ (?:not\ )?be|should\ (?:not\ )?be|ha(?:s|ve)\ to\ be|needs?\ to\ be|only\ the\ default|out\ of\ range|greater\ than|less\ than|larger\ than|smaller\ than|at\ (?:least|most)|between|positive|non-?zero
        |\bbelow\b|\babove\b|\bminimum\b|\bmaximum\b|not\ (?:a\ )?valid|\ballowed\b|\brange\b|does\ not\ match|expected|too\ (?:large|small|high|low)",
    )
    .expect("a fixed pattern")
});

/// It is the field itself, whatever else is said about its value.
static ABOUT_THE_WHOLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)only the default|unsupported (?:param|arg|field|key|option|propert)|unknown|unrecogni|extra|unexpected|disallowed|unpermitted|not used|cannot unmarshal|not be converted|wrong type")
        .expect("a fixed pattern")
});

/// As [`ABOUT_THE_WHOLE`], unless a value is spoken of.
static IS_REFUSED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)not (?:allowed|permitted|supported|accepted)|unsupported|forbidden|disabled")
        .expect("a fixed pattern")
});

/// A value is spoken of.
static OF_A_VALUE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:must|should|between|range|than|least|most|below|above|minimum|maximum|positive|expected|values?|integer|default|array|length)\b|\b(?:of|to|is|[=:]) ?-?[0-9]")
        .expect("a fixed pattern")
});

/// A field is not known or not wanted, said so that it can be nothing else.
static ABOUT_A_FIELD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)(?:unsupported|unknown|unrecogni[sz]ed|unexpected|extra|extraneous|disallowed|unpermitted)\s+(?:request\s+|keyword\s+|body\s+)?(?:param|arg|field|key|option|propert|input)")
        .expect("a fixed pattern")
});

/// The question is too long for the model: that is about this question, whatever fields are named.
static ABOUT_LENGTH: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)context[ _](?:length|window|size)|maximum context|prompt is|prompt contains|too many (?:input |prompt )?tokens|^\W*too long|\b(?:prompt|input|text|messages?|request|conversation|sequence|it|that|this)\b[^.]{0,40}\btoo long|too long[^.]{0,20}\b(?:prompt|input|text|messages?|request|context)")
        .expect("a fixed pattern")
});

/// What follows names fields that are known, not the one that is not.
static KNOWN_FIELDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:expected one of|one of:|(?:supported|valid|allowed|accepted|known|permitted|possible|available|recogni[sz]ed|expected)\s+(?:request\s+|body\s+|input\s+)?(?:fields|parameters|params|keys|arguments|args|options|properties|names)(?:\s+(?:are|include)\b)?:?)")
        .expect("a fixed pattern")
});

/// Before such words, they say the contrary.
static NEGATED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)(?:\bnot|n't|\bnon|\bno|\bun)[\s-]*(?:an?\s+)?$").expect("a fixed pattern")
});

/// Where a list of known fields ends.
static LIST_ENDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)[.!?](?:\s|$)|\n|;\s|\b(?:got|received|found|but|however|unsupported|unknown|unrecogni[sz]ed|unexpected|invalid|given|provided|not)\b")
        .expect("a fixed pattern")
});

/// Of several fields one has to go.
static ONE_OF_THEM: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)cannot both|not both|only one of|together|cannot be combined|mutually")
        .expect("a fixed pattern")
});

/// An error, read.
struct Said {
    words: String,
    error: Value,
}

impl Said {
    fn new(body: &str) -> Said {
        let error = read(body).unwrap_or_default();
        let words = error_message(body);
        Said {
            words: if error.is_null() { unescaped(&words) } else { words },
            error,
        }
    }

    /// The mentions of fields that are not among those which are said to be known.
    fn mentions(&self, sent: &Map<String, Value>) -> Vec<Mention> {
        let known = known(&self.words);
        let mut mentions = mentions(&self.words, sent);
        mentions.retain(|mention| !known.iter().any(|list| list.contains(&mention.place.start)));
        mentions
    }
}

/// What the body of a refusal says against fields among those `sent`; nothing where it is not about
/// fields.
pub fn objections(body: &str, sent: &Map<String, Value>) -> Vec<Objection> {
    stated(&Said::new(body), sent)
}

fn stated(said: &Said, sent: &Map<String, Value>) -> Vec<Objection> {
    let words = &said.words;
    let about_name = ABOUT_NAME.is_match(words);
    let about_value = ABOUT_VALUE.is_match(words);
    if !has_code(&said.error) && (ABOUT_LENGTH.is_match(words) || !(about_name || about_value)) {
        return Vec::new();
    }
    let mentions = said.mentions(sent);
    let mut fields = pointed_at(&said.error, sent);
    if fields.is_empty() {
        fields.extend(named(words, &mentions, sent));
    }
    let alone = fields.len() == 1;
    let is_refused = IS_REFUSED.is_match(words) && !OF_A_VALUE.is_match(words);
    let is_about_value = about_value && !is_refused && !ABOUT_THE_WHOLE.is_match(words);
    let of = |field: String| {
        let tokens = tokens(&field, sent).filter(|_| is_about_value);
        Objection {
            instead: instead(&field, words, sent, alone),
            least: tokens.and_then(|tokens| least::said(words, tokens)),
            field,
            is_about_value,
        }
    };
    fields.into_iter().map(of).collect()
}

/// Fields that a refusal names without saying anything that is understood, in whatever language:
/// each may be what it is about. Those that it points at come first, then those between quotes.
pub fn suspects(body: &str, sent: &Map<String, Value>) -> Vec<Objection> {
    let said = Said::new(body);
    if ABOUT_LENGTH.is_match(&said.words) {
        return Vec::new();
    }
    let understood = stated(&said, sent);
    let mut mentions = said.mentions(sent);
    mentions.extend(mentions_beside(body, sent));
    mentions.sort_by_key(|mention| !mention.is_quoted);
    let mut fields = pointed_at(&said.error, sent);
    fields.extend(mentions.into_iter().map(|mention| mention.field));
    let mut seen = Vec::new();
    fields.retain(|field| {
        let is_new = !seen.contains(field);
        seen.push(field.clone());
        is_new && !ASKED.contains(&field.as_str()) && !understood.iter().any(|known| known.field == *field)
    });
    let guess = |field: String| guess(field, &said.words, sent);
    fields.into_iter().filter_map(guess).collect()
}

/// Mentions anywhere in an error, but for the names of its own parts: the request may stand in it
/// again.
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

/// What may be wrong with a field that is named. A number of tokens is not left out.
fn guess(field: String, words: &str, sent: &Map<String, Value>) -> Option<Objection> {
    let least = tokens(&field, sent).and_then(|tokens| least::guessed(words, tokens));
    let instead = instead(&field, words, sent, false).filter(|_| least.is_none());
    let can_be_told = tokens(&field, sent).is_none() || instead.is_some() || least.is_some();
    can_be_told.then_some(Objection {
        field,
        instead,
        is_about_value: least.is_some(),
        least,
    })
}

/// How many tokens a field asks for at most, if it is such a one.
fn tokens(field: &str, sent: &Map<String, Value>) -> Option<u64> {
    let is_number_of_tokens = field.to_lowercase().contains("token") || field.ends_with("_predict");
    sent.get(field)?.as_u64().filter(|_| is_number_of_tokens)
}

/// Whether an error is about a field, said so that its status, 404 or 403 or another, says no more
/// than that.
pub fn is_of_a_field(body: &str) -> bool {
    let said = Said::new(body);
    has_code(&said.error) || ABOUT_A_FIELD.is_match(&said.words)
}

/// Whether an error has a code that says so, whatever its status: that of a field, or that of a
/// wrong request.
pub fn has_such_a_code(body: &str) -> bool {
    let error = read(body).unwrap_or_default();
    let is_of_request = [400, 422].iter().any(|code| error["error"]["code"] == *code);
    is_of_request || has_code(&error)
}

/// The lists of known fields among words.
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

/// The field that words are about: the first that they name, but of those that exclude one another
/// the one that changes least.
fn named(words: &str, mentions: &[Mention], sent: &Map<String, Value>) -> Option<String> {
    let names = mentions.iter().filter(|mention| mention.is_name);
    let advice = wanted(words).map_or(words.len(), |name| name.start);
    let mut fields: Vec<&String> = Vec::new();
    for mention in names.clone().filter(|mention| mention.place.start < advice) {
        if !fields.contains(&&mention.field) {
            fields.push(&mention.field);
        }
    }
    // Where nothing is named before the name that is to be used, it is named behind.
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
    let can_go = fields.iter().find(|field| !ASKED.contains(&field.as_str()));
    can_go.or(fields.first()).map(|field| (*field).clone())
}

/// Text out of a page.
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
