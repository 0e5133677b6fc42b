//! The address of an endpoint: up to `/v1`, or with the whole path, as some services give it.

use super::wire::Dialect;
use crate::backend::BackendError;
use reqwest::Url;

/// An address, parsed.
#[derive(Debug, Clone)]
pub struct Address {
    /// The address without the path of an API. Its query is sent with every request.
    base: Url,
    /// The API that the path names, and the whole address as it was given.
    whole: Option<(Dialect, Url)>,
}

/// The hint for a malformed address.
const EXAMPLE: &str = "give an address like http://127.0.0.1:8000/v1";

/// Names of query parameters that hold a secret, in lower case and without punctuation.
const SECRET_NAMES: [&str; 9] = [
    "key",
    "token",
    "secret",
    "sig",
    "signature",
    "password",
    "passwd",
    "auth",
    "credential",
];

/// A value with this many letters and digits in a row is a secret, and not a version.
const LONGEST_VALUE: usize = 24;

impl Address {
    /// Parses an address.
    ///
    /// # Errors
    ///
    /// If it is not an HTTP address, or contains a secret: addresses are stored and shown.
    pub fn new(text: &str) -> Result<Address, BackendError> {
        let wrong = |shown: &str, error: &str, hint: &str| {
            BackendError::Fatal(format!("endpoint '{shown}': {error}\nhint: {hint}"))
        };
        let mut base = Url::parse(text).map_err(|error| wrong(text, &error.to_string(), EXAMPLE))?;
        let host = base.host_str().unwrap_or_default().to_string();
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong(
                &host,
                "the address holds a password, and addresses are stored with the dataset",
                "put it into an environment variable and name that with --header-env Authorization=VARIABLE",
            ));
        }
        if let Some((name, _)) = base.query_pairs().find(|(name, value)| is_secret(name, value)) {
            return Err(wrong(
                &host,
                &format!(
                    "the parameter '{name}' of the address looks like a key, and addresses are stored with the dataset"
                ),
                "put it into an environment variable and name that with --api-key-env or --header-env",
            ));
        }
        if !matches!(base.scheme(), "http" | "https") || base.fragment().is_some() {
            return Err(wrong(text, "this is no address of an endpoint", EXAMPLE));
        }
        let whole = base.clone();
        let path = whole.path().trim_end_matches('/');
        let lower = path.to_ascii_lowercase();
        let dialect = [Dialect::Chat, Dialect::Completions]
            .into_iter()
            .find(|dialect| lower.ends_with(dialect.path()));
        let end = dialect.map_or(0, |dialect| dialect.path().len());
        base.set_path(&path[..path.len() - end]);
        let whole = dialect.map(|dialect| (dialect, whole));
        Ok(Address { base, whole })
    }

    /// Returns the API that the path names, if it names one.
    pub fn dialect(&self) -> Option<Dialect> {
        self.whole.as_ref().map(|(dialect, _)| *dialect)
    }

    /// Returns the URL of an API. A path that names it is used as it is.
    pub fn of(&self, dialect: Dialect) -> Url {
        match &self.whole {
            Some((named, whole)) if *named == dialect => whole.clone(),
            _ => self.with(dialect.path()),
        }
    }

    /// Returns the URL of the list of models.
    pub fn models(&self) -> Url {
        self.with("/models")
    }

    fn with(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }
}

/// Whether a query parameter looks like a secret.
fn is_secret(name: &str, value: &str) -> bool {
    let name: String = name
        .to_lowercase()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let long = value
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|part| part.len() >= LONGEST_VALUE && part.contains(|c: char| c.is_ascii_digit()));
    long || SECRET_NAMES.iter().any(|secret| name.ends_with(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str, dialect: Dialect) -> String {
        Address::new(text).unwrap().of(dialect).to_string()
    }

    #[test]
    fn paths_are_added_or_taken_as_they_are() {
        use Dialect::{Chat, Completions};
        for (text, dialect, wanted) in [
            ("http://h/v1", Completions, "http://h/v1/completions"),
            ("http://h/v1/", Chat, "http://h/v1/chat/completions"),
            ("http://h", Chat, "http://h/chat/completions"),
            (
                "http://h/v1/chat/completions",
                Chat,
                "http://h/v1/chat/completions",
            ),
            (
                "https://h/openai/deployments/m/chat/completions?api-version=2024-10-21",
                Chat,
                "https://h/openai/deployments/m/chat/completions?api-version=2024-10-21",
            ),
            (
                "https://h/v1?api-version=1&x=%2F",
                Completions,
                "https://h/v1/completions?api-version=1&x=%2F",
            ),
            ("https://h/completions/", Completions, "https://h/completions/"),
            (
                "https://h/v1/chat/completions/?x=1",
                Chat,
                "https://h/v1/chat/completions/?x=1",
            ),
            (
                "https://h/v1/Chat/Completions",
                Chat,
                "https://h/v1/Chat/Completions",
            ),
        ] {
            assert_eq!(asked(text, dialect), wanted);
        }
        let azure = Address::new("https://h/deployments/m/chat/completions?api-version=1").unwrap();
        assert_eq!(azure.dialect(), Some(Dialect::Chat));
        assert_eq!(
            azure.models().as_str(),
            "https://h/deployments/m/models?api-version=1"
        );
        let slash = Address::new("https://h/v1/chat/completions/").unwrap();
        assert_eq!(slash.models().as_str(), "https://h/v1/models");
        assert_eq!(Address::new("http://h/v1").unwrap().dialect(), None);
    }

    #[test]
    fn secrets_are_refused_and_not_shown() {
        for text in [
            "http://ann:hidden@h/v1",
            "http://hidden@h/v1",
            "http://h/v1?key=hidden",
            "http://h/v1?api_key=hidden",
            "http://h/v1?x=1&subscription-key=hidden",
            "http://h/v1?access_token=hidden",
            "http://h/v1?X-Amz-Signature=hidden",
            "http://h/v1?code=hidden0123456789abcdefghij",
        ] {
            let error = Address::new(text).unwrap_err().to_string();
            assert!(!error.contains("hidden") && error.contains("hint:"), "{error}");
        }
        for text in [
            "http://h/v1?api-version=2025-04-01-preview",
            "http://h/v1?region=eu&beta=true",
        ] {
            assert!(Address::new(text).is_ok(), "{text}");
        }
    }
}
