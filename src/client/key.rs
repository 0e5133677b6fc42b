//! The key of an endpoint: read from the environment, sent, and never stored, logged or shown.

use reqwest::header::HeaderValue;
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
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.key.as_ref()?)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// `text` without the key: a server may well quote what it was sent.
    pub(super) fn redact(&self, text: &str) -> String {
        match &self.key {
            Some(key) => text.replace(key, "***"),
            None => text.to_string(),
        }
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
        assert_eq!(key.redact("bad key 'sk-secret'"), "bad key '***'");
        let none = ApiKey::new("KEY", "");
        assert_eq!(none.header(), None);
        assert_eq!(none.redact("as it is"), "as it is");
        assert!(none.hint().contains("'KEY'"));
    }
}
