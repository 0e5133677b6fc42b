//! The hub and the token, from where `huggingface_hub` has them: `HF_ENDPOINT`, `HF_TOKEN`, and the
//! file that `hf auth login` writes.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::client::key::Secrets;
use crate::settings_file;

/// The hub, unless `HF_ENDPOINT` names another one.
pub const HUB: &str = "https://huggingface.co";

/// The most bytes of a file with a token.
const LONGEST: u64 = 64 << 10;

/// Which hub, and as whom.
#[derive(Debug, Clone)]
pub struct Account {
    /// The address of the hub, without a slash at the end.
    pub endpoint: String,
    /// The token; none if there is none.
    pub token: Option<Token>,
    /// Whether `HF_HUB_OFFLINE` forbids requests.
    pub is_offline: bool,
}

/// A token. It is sent to the hub, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Makes one of a text; none if it has no visible character.
    pub fn new(text: &str) -> Option<Token> {
        // As a file may have it, with a line break at the end.
        let text = text.trim();
        (!text.is_empty()).then(|| Token(text.to_owned()))
    }

    /// Returns the token, to be sent.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Returns a text without the token, should a server have quoted it, as it is or encoded.
    pub fn redact(&self, text: &str) -> String {
        Secrets::of(vec![&self.0]).redact(text)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Account {
    /// Reads the environment, and the file with the token if the environment has none.
    pub fn from_env() -> Account {
        Account::of(&|name| std::env::var(name).ok())
    }

    fn of(variable: &dyn Fn(&str) -> Option<String>) -> Account {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let is_on = |value: String| ["1", "true", "yes", "on"].contains(&value.to_lowercase().as_str());
        let token = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]
            .into_iter()
            .find_map(variable)
            .or_else(|| {
                let text = settings_file::read_text(&token_file(&variable)?, LONGEST);
                text.ok()
            });
        Account {
            endpoint: variable("HF_ENDPOINT")
                .unwrap_or_else(|| HUB.to_owned())
                .trim()
                .trim_end_matches('/')
                .to_owned(),
            token: token.as_deref().and_then(Token::new),
            is_offline: variable("HF_HUB_OFFLINE").is_some_and(is_on),
        }
    }
}

/// Where `hf auth login` puts the token.
fn token_file(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    if let Some(path) = variable("HF_TOKEN_PATH") {
        return Some(at_home(&path, variable));
    }
    let home = match (variable("HF_HOME"), variable("XDG_CACHE_HOME")) {
        (Some(home), _) => at_home(&home, variable),
        (None, Some(cache)) => Path::new(&cache).join("huggingface"),
        (None, None) => Path::new(&variable("HOME")?).join(".cache/huggingface"),
    };
    Some(home.join("token"))
}

/// A path whose `~` is the home folder.
fn at_home(path: &str, variable: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    match (path.strip_prefix("~/"), variable("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(variables: &[(&str, &str)]) -> Account {
        Account::of(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn token(variables: &[(&str, &str)]) -> Option<String> {
        account(variables).token.map(|token| token.0)
    }

    #[test]
    fn the_token_is_where_hugging_face_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        let cache = dir.path().join(".cache/huggingface");
        std::fs::create_dir_all(&cache).unwrap();
        assert_eq!(token(&[("HOME", home)]), None);
        std::fs::write(cache.join("token"), "hf_of_home\n").unwrap();
        std::fs::write(dir.path().join("token"), "hf_of_hf_home").unwrap();
        std::fs::write(dir.path().join("other"), " \n").unwrap();
        let all = [
            ("HF_TOKEN", "hf_new "),
            ("HUGGING_FACE_HUB_TOKEN", "hf_old"),
            ("HF_TOKEN_PATH", "~/other"),
            ("HF_HOME", home),
            ("HOME", home),
        ];
        assert_eq!(token(&all).as_deref(), Some("hf_new"));
        assert_eq!(token(&all[1..]).as_deref(), Some("hf_old"));
        assert_eq!(token(&all[2..]), None, "the file that is named is empty");
        assert_eq!(token(&all[3..]).as_deref(), Some("hf_of_hf_home"));
        assert_eq!(token(&all[4..]).as_deref(), Some("hf_of_home"));
        // An empty variable counts as none.
        let empty = [("HF_TOKEN", ""), ("HOME", home)];
        assert_eq!(token(&empty).as_deref(), Some("hf_of_home"));
    }

    #[test]
    fn the_hub_is_the_one_that_is_named() {
        let of = |variables: &[(&str, &str)]| account(variables).endpoint;
        assert_eq!(of(&[]), HUB);
        assert_eq!(
            of(&[("HF_ENDPOINT", "http://127.0.0.1:9/ ")]),
            "http://127.0.0.1:9"
        );
        assert!(account(&[("HF_HUB_OFFLINE", "1")]).is_offline);
        assert!(!account(&[("HF_HUB_OFFLINE", "0")]).is_offline);
    }

    #[test]
    fn a_token_is_never_shown() {
        let account = account(&[("HF_TOKEN", "hf_secret")]);
        assert!(!format!("{account:?}").contains("hf_secret"));
        let token = account.token.unwrap();
        for quoted in ["hf_secret", "hf%5Fsecret", "hf\\u005fsecret", "aGZfc2VjcmV0"] {
            let said = token.redact(&format!("bad token {quoted}!"));
            assert_eq!(said, "bad token ***!", "{quoted}");
        }
    }
}
