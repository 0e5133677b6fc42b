//! What an endpoint is told and nobody else may see: its key and other headers, read from the environment, sent, and never
//! stored, logged or shown.

use super::spelling;
use regex::{NoExpand, Regex, RegexBuilder};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use std::fmt;

/// A key, or the knowledge that there is none; both name the environment variable.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    variable: String,
    key: Option<String>,
}

impl ApiKey {
    /// What the environment variable of this name holds; a variable that is unset or empty is no key. The error says
    /// that the text cannot be sent, not what it is.
    pub fn from_env(variable: &str) -> Result<Self, String> {
        let value = std::env::var_os(variable).unwrap_or_default();
        let key = value.to_str().map(str::trim);
        if key.is_none_or(|key| HeaderValue::from_str(key).is_err()) {
            return Err(format!(
                "the environment variable '{variable}' holds no key: a key is one line of letters, digits and signs"
            ));
        }
        Ok(ApiKey::new(variable, key.unwrap_or_default()))
    }

    fn new(variable: &str, key: &str) -> Self {
        ApiKey {
            variable: variable.to_string(),
            key: (!key.is_empty()).then(|| key.to_string()),
        }
    }

    /// The value of the `Authorization` header, marked so that no log of the HTTP stack shows it.
    fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.key.as_ref()?)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// What to do when a server wants another key.
    pub(super) fn hint(&self) -> String {
        match &self.key {
            Some(_) => format!(
                "the key in the environment variable '{}' was sent; is it the right one?",
                self.variable
            ),
            None => format!(
                "no key was sent: put it into the environment variable '{}', or name another with --api-key-env",
                self.variable
            ),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key.is_some() { "set" } else { "unset" };
        write!(f, "ApiKey(${}, {key})", self.variable)
    }
}

/// A header whose value an environment variable holds.
#[derive(Clone)]
pub struct SecretHeader {
    name: HeaderName,
    value: String,
}

impl SecretHeader {
    /// Reads `NAME=VARIABLE`.
    ///
    /// # Errors
    ///
    /// What is not of this form, a name that is none, a variable that is unset or holds no header's value.
    pub fn from_env(text: &str) -> Result<Self, String> {
        let Some((name, variable)) = text.split_once('=') else {
            return Err(format!("'{text}' is no NAME=VARIABLE"));
        };
        let Ok(name) = name.trim().parse::<HeaderName>() else {
            return Err(format!("'{name}' is no name of a header"));
        };
        let value = std::env::var(variable).unwrap_or_default();
        let value = value.trim();
        if value.is_empty() || HeaderValue::from_str(value).is_err() {
            return Err(format!(
                "the environment variable '{variable}' holds nothing that can be the header '{name}'"
            ));
        }
        Ok(SecretHeader {
            name,
            value: value.to_string(),
        })
    }
}

impl fmt::Debug for SecretHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretHeader({})", self.name)
    }
}

/// The headers of a request: the key's and those besides, which go before it.
pub(super) fn headers(key: &ApiKey, more: &[SecretHeader]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(value) = key.header() {
        headers.insert(AUTHORIZATION, value);
    }
    for header in more {
        if let Ok(mut value) = HeaderValue::from_str(&header.value) {
            value.set_sensitive(true);
            headers.insert(header.name.clone(), value);
        }
    }
    headers
}

/// A secret with fewer characters is a placeholder, such as servers that need none are given; in an answer the same
/// letters are a word.
const SHORTEST: usize = 8;

/// The most memory of a pattern, in bytes: tokens of some services have thousands of characters.
const LARGEST: usize = 64 << 20;

/// Texts that documents of servers show in place of a key.
const PLACEHOLDERS: [&str; 8] = [
    "not-needed",
    "no-key-required",
    "sk-no-key-required",
    "lm-studio",
    "token-abc123",
    "placeholder",
    "undefined",
    "your-api-key",
];

/// Takes out of a server's words what it was told in confidence: it may well quote what it was sent.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    patterns: Vec<Pattern>,
}

#[derive(Clone)]
struct Pattern {
    regex: Regex,
    /// Whether the secret is one, and not a word that stands in an answer for its own sake.
    is_secret: bool,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Secrets {
    /// These.
    pub fn new(key: &ApiKey, headers: &[SecretHeader]) -> Secrets {
        let mut secrets: Vec<&str> = key.key.iter().map(String::as_str).collect();
        for header in headers {
            // `Bearer` and the like are no secret; what follows is one by itself.
            let bare = header.value.rsplit(' ').next().unwrap_or_default();
            secrets.extend([header.value.as_str(), bare]);
        }
        // The longest first, so that no part of one is left when another is taken out.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let patterns = secrets.into_iter().flat_map(Pattern::all_of).collect();
        Secrets { patterns }
    }

    /// A server's words about an error, or anything else that is shown, without the secrets.
    pub fn redact(&self, text: &str) -> String {
        self.without(text, |_| true)
    }

    /// A model's answer without them. Placeholders stay: they would be found in words.
    pub fn redact_answer(&self, text: &str) -> String {
        self.without(text, |pattern| pattern.is_secret)
    }

    fn without(&self, text: &str, counts: impl Fn(&Pattern) -> bool) -> String {
        let mut text = text.to_string();
        for pattern in self.patterns.iter().filter(|pattern| counts(pattern)) {
            if let std::borrow::Cow::Owned(redacted) = pattern.regex.replace_all(&text, NoExpand("***")) {
                text = redacted;
            }
        }
        text
    }
}

impl Pattern {
    /// What finds a secret as it is and in other spellings; a placeholder where it stands by itself only.
    fn all_of(secret: &str) -> Vec<Pattern> {
        let is_secret = secret.len() >= SHORTEST && !PLACEHOLDERS.contains(&secret.to_lowercase().as_str());
        let found = match is_secret {
            _ if secret.is_empty() => Vec::new(),
            true => spelling::patterns(secret),
            false => vec![format!(
                r"\b{{start-half}}{}\b{{end-half}}",
                spelling::escaped(secret)
            )],
        };
        let compiled = found.iter().filter_map(|pattern| {
            let regex = RegexBuilder::new(pattern).size_limit(LARGEST).build();
            regex.or_else(|_| Regex::new(&regex::escape(secret))).ok()
        });
        compiled.map(|regex| Pattern { regex, is_secret }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sent_and_never_shown() {
        let key = ApiKey::new("KEY", "sk-secret");
        let header = key.header().unwrap();
        assert_eq!(header.to_str().unwrap(), "Bearer sk-secret");
        for shown in [format!("{header:?}"), format!("{key:?}"), key.hint()] {
            assert!(!shown.contains("secret"), "{shown}");
        }
        let secrets = Secrets::new(&key, &[]);
        assert_eq!(secrets.redact("bad key 'sk-secret'"), "bad key '***'");
        assert!(!format!("{secrets:?}").contains("secret"));
        let none = ApiKey::new("KEY", "");
        assert_eq!(none.header(), None);
        assert_eq!(Secrets::new(&none, &[]).redact("as it is"), "as it is");
        assert!(none.hint().contains("'KEY'"));
    }

    #[test]
    fn a_secret_is_found_however_it_is_spelt() {
        let header = SecretHeader {
            name: "x-token".parse().unwrap(),
            value: "Token a+b=c/d0123".into(),
        };
        let secrets = Secrets::new(&ApiKey::new("KEY", "sk-very/secret_1"), &[header]);
        for spelt in [
            "sk-very/secret_1",
            r"sk-very\/secret_1",
            r"sk\u002dvery\u002Fsecret\u005f1",
            "sk-very%2Fsecret_1",
            "sk-very%2fsecret%5F1",
            "a+b=c/d0123",
            "a%2Bb%3Dc%2Fd0123",
            // Every byte, in ways that servers and their pages write bytes.
            "%73%6B%2d%76%65%72%79%2F%73%65%63%72%65%74%5F%31",
            "%2573%256B%252Dvery%252Fsecret_1",
            r"\u0073\u006b-very/secret_1",
            r"\\u0073k-very\\/secret_1",
            "&#115;k&#x2D;very&#x2f;secret&#95;1",
            "sk-very&sol;secret&lowbar;1",
            "736b2d766572792f7365637265745f31",
            "73:6B:2D:76:65:72:79:2F:73:65:63:72:65:74:5F:31",
            "0x73, 0x6b, 0x2d, 0x76, 0x65, 0x72, 0x79, 0x2f, 0x73, 0x65, 0x63, 0x72, 0x65, 0x74, 0x5f, 0x31",
            r"\x73\x6b\x2d\x76\x65\x72\x79\x2f\x73\x65\x63\x72\x65\x74\x5f\x31",
            "c2stdmVyeS9zZWNyZXRfMQ==",
            "c2stdmVyeS9zZWNyZXRfMQ",
            "c2stdmVyeS9zZWNyZXRfMQ%3D%3D",
            "YStiPWMvZDAxMjM=",
        ] {
            assert_eq!(secrets.redact_answer(&format!("<{spelt}>")), "<***>", "{spelt}");
        }
        assert_eq!(secrets.redact("Token a+b=c/d0123"), "***");
        // Of `Bearer sk-very/secret_1` and `user:sk-very/secret_1`, where it begins within a group of three bytes.
        for (packed, begins) in [
            ("QmVhcmVyIHNrLXZlcnkvc2VjcmV0XzE=", "QmVhcmVyI"),
            ("dXNlcjpzay12ZXJ5L3NlY3JldF8x", "dXNlcj"),
        ] {
            assert_eq!(secrets.redact_answer(packed), format!("{begins}***"));
        }
        // What the alphabet of addresses has in place of `+` and `/`.
        let signs = Secrets::new(&ApiKey::new("KEY", "~~~???>>>"), &[]);
        for packed in [
            "fn5+Pz8/Pj4+",
            "fn5-Pz8_Pj4-",
            r"fn5+Pz8\/Pj4+",
            "fn5%2BPz8%2FPj4%2B",
        ] {
            assert_eq!(signs.redact_answer(packed), "***", "{packed}");
        }
        let text = "others: c2stb3RoZXI= 736b2d6f74686572 %73%6B sk-other";
        assert_eq!(secrets.redact_answer(text), text);
    }

    #[test]
    fn a_placeholder_is_no_secret_of_an_answer() {
        for placeholder in ["EMPTY", "x", "ollama", "token-abc123"] {
            let secrets = Secrets::new(&ApiKey::new("KEY", placeholder), &[]);
            let text = format!("an example: {placeholder}, boxes");
            assert_eq!(secrets.redact_answer(&text), text);
            assert_eq!(secrets.redact(&text), "an example: ***, boxes");
        }
    }
}
