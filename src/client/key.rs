//! Secrets of an endpoint: API key and other headers. They are read from environment variables and
//! sent, and never stored, logged or shown.

use super::secret_encodings;
use regex::{NoExpand, Regex, RegexBuilder};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use std::fmt;

/// An API key, or the fact that there is none, with the name of the environment variable.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    variable: String,
    key: Option<String>,
}

impl ApiKey {
    /// Reads the key from an environment variable. If it is unset or empty, there is no key.
    ///
    /// # Errors
    ///
    /// If the value cannot be sent in a header. The error does not show it.
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

    /// Returns the value of the `Authorization` header, marked as sensitive so that no log of the
    /// HTTP stack shows it.
    fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.key.as_ref()?)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Returns the hint for an error about the key.
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

/// A header whose value is in an environment variable.
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
    /// If the text has another form, the name is no header name, or the variable is unset or no
    /// header value.
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

/// Returns the headers of a request: that of the key, and further ones, which override it.
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

/// A shorter secret, in bytes, is taken for a placeholder, as used with servers that need no key.
/// In an answer, the same letters are a word.
const SHORTEST: usize = 8;

/// The largest compiled pattern, in bytes: tokens of some services have thousands of characters.
const LARGEST: usize = 64 << 20;

/// Placeholders for a key in the documentation of servers.
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

/// Removes secrets from the text of a server, which may quote what it was sent.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    patterns: Vec<SecretPattern>,
}

/// Finds one secret in one way of writing it.
#[derive(Clone)]
struct SecretPattern {
    regex: Regex,
    /// Whether it is a real secret, and not a placeholder that may occur in an answer as a word.
    is_secret: bool,
}

impl fmt::Debug for SecretPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Secrets {
    /// Removes the secrets of requests to an endpoint.
    pub fn new(key: &ApiKey, headers: &[SecretHeader]) -> Secrets {
        let mut secrets: Vec<&str> = key.key.iter().map(String::as_str).collect();
        for header in headers {
            // `Bearer` and the like are no secrets. The value after it is one by itself.
            let bare = header.value.rsplit(' ').next().unwrap_or_default();
            secrets.extend([header.value.as_str(), bare]);
        }
        Secrets::of(secrets)
    }

    /// Removes these secrets.
    pub fn of(mut secrets: Vec<&str>) -> Secrets {
        // The longest first, so that no part of it is left when a shorter one is removed.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let patterns = secrets.into_iter().flat_map(SecretPattern::all_of).collect();
        Secrets { patterns }
    }

    /// Removes secrets and placeholders from an error, or from any other text that is shown.
    pub fn redact(&self, text: &str) -> String {
        self.without(text, |_| true)
    }

    /// Removes secrets from a model's answer. Placeholders stay, since they may be words.
    pub fn redact_answer(&self, text: &str) -> String {
        self.without(text, |pattern| pattern.is_secret)
    }

    fn without(&self, text: &str, counts: impl Fn(&SecretPattern) -> bool) -> String {
        let mut text = text.to_string();
        for pattern in self.patterns.iter().filter(|pattern| counts(pattern)) {
            if let std::borrow::Cow::Owned(redacted) = pattern.regex.replace_all(&text, NoExpand("***")) {
                text = redacted;
            }
        }
        text
    }
}

impl SecretPattern {
    /// Returns patterns for a secret as it is and in other encodings. A placeholder is found only
    /// as a word by itself.
    fn all_of(secret: &str) -> Vec<SecretPattern> {
        let is_secret = secret.len() >= SHORTEST && !PLACEHOLDERS.contains(&secret.to_lowercase().as_str());
        let found = match is_secret {
            _ if secret.is_empty() => Vec::new(),
            true => secret_encodings::patterns(secret),
            false => vec![format!(
                r"\b{{start-half}}{}\b{{end-half}}",
                secret_encodings::escaped(secret)
            )],
        };
        let compiled = found.iter().filter_map(|pattern| {
            let regex = RegexBuilder::new(pattern).size_limit(LARGEST).build();
            regex.or_else(|_| Regex::new(&regex::escape(secret))).ok()
        });
        compiled.map(|regex| SecretPattern { regex, is_secret }).collect()
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
            // Every byte, as servers and web pages write bytes.
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
        // Base64 of `Bearer sk-very/secret_1` and `user:sk-very/secret_1`, where the secret begins
        // within a group of three bytes.
        for (packed, begins) in [
            ("QmVhcmVyIHNrLXZlcnkvc2VjcmV0XzE=", "QmVhcmVyI"),
            ("dXNlcjpzay12ZXJ5L3NlY3JldF8x", "dXNlcj"),
        ] {
            assert_eq!(secrets.redact_answer(packed), format!("{begins}***"));
        }
        // The URL-safe alphabet has other characters in place of `+` and `/`.
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
