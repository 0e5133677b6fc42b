//! The file of `--endpoints`: the addresses of a pool of servers that changes while a run goes on.

use super::address::Address;
use crate::settings_file;
use crate::text::one_line;
use std::collections::HashMap;
use std::path::Path;

/// The most bytes of such a file; a thousand addresses have some fifty thousand.
const LONGEST: u64 = 1 << 20;
/// How much of a word an error shows.
const SHOWN: usize = 80;
/// The largest weight, and the largest limit.
const MOST: u32 = 4096;

/// An endpoint of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEndpoint {
    /// The number of its line, from 1 on.
    pub line: usize,
    /// Its address.
    pub url: String,
    /// How many requests it gets for each one of an endpoint with weight 1, while both have room.
    pub weight: u32,
    /// The most requests in flight there; `None` if that holds which holds for all.
    pub limit: Option<usize>,
}

impl ListedEndpoint {
    /// Returns the address without a trailing slash, by which it is known again.
    pub fn key(&self) -> &str {
        key(&self.url)
    }
}

/// Returns an address without a trailing slash.
pub fn key(url: &str) -> &str {
    url.trim_end_matches('/')
}

/// Reads the file.
///
/// # Errors
///
/// If it cannot be read, or as [`parse`]. The message names the file.
pub fn read(path: &Path) -> Result<Vec<ListedEndpoint>, String> {
    let name = path.display().to_string();
    let cannot = |error: &str| format!("cannot read `{name}`: {error}");
    // A pipe could be read only once, and might never end.
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(cannot("it is no file, which could be read again and again")),
        Err(error) => return Err(cannot(&error.to_string())),
    }
    let text = settings_file::read_text(path, LONGEST).map_err(|error| cannot(&error.to_string()))?;
    parse(&name, &text)
}

/// Reads `text`, an address a line, such as `http://10.0.0.7:8000/v1 weight=2 limit=64`. Empty
/// lines are passed over, and what follows a `#` after a space or at the beginning.
///
/// # Errors
///
/// Names the file `name` and the line, if a line is no address or has an unknown word, an address
/// occurs twice, or there is none.
pub fn parse(name: &str, text: &str) -> Result<Vec<ListedEndpoint>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut all: Vec<ListedEndpoint> = Vec::new();
    let mut lines: HashMap<String, usize> = HashMap::new();
    for (line, content) in (1..).zip(text.lines()) {
        let words = content.split_whitespace();
        let mut words = words.take_while(|word| !word.starts_with('#'));
        let Some(url) = words.next() else {
            continue;
        };
        let wrong = |error: String| format!("{name}:{line}: {error}");
        let mut endpoint = ListedEndpoint {
            line,
            url: url.to_owned(),
            weight: 1,
            limit: None,
        };
        Address::new(url).map_err(|error| wrong(error.to_string()))?;
        for word in words {
            setting(word, &mut endpoint).map_err(wrong)?;
        }
        if let Some(first) = lines.insert(endpoint.key().to_owned(), line) {
            return Err(wrong(format!(
                "endpoint '{url}' is on line {first} already\nhint: leave it there once, with a weight"
            )));
        }
        all.push(endpoint);
    }
    match all.is_empty() {
        true => Err(format!(
            "`{name}` has no address\nhint: one a line, such as http://127.0.0.1:8000/v1"
        )),
        false => Ok(all),
    }
}

/// Reads `weight=N` or `limit=N` behind an address.
fn setting(word: &str, endpoint: &mut ListedEndpoint) -> Result<(), String> {
    let number = |value: &str| {
        let number = value.parse::<u32>().ok();
        number
            .filter(|number| (1..=MOST).contains(number))
            .ok_or_else(|| {
                format!(
                    "`{}`: want a whole number from 1 to {MOST}",
                    one_line(word, SHOWN)
                )
            })
    };
    match word.split_once('=') {
        Some(("weight", value)) => endpoint.weight = number(value)?,
        Some(("limit", value)) => endpoint.limit = Some(number(value)? as usize),
        _ => {
            return Err(format!(
                "`{}` behind an address\nhint: weight=N and limit=N may stand there, and a comment after #",
                one_line(word, SHOWN)
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_a_line_with_weight_and_limit() {
        let text = "\u{feff}# the pool\r\n\r\nhttp://a:8000/v1\n  http://b/v1/ limit=64 weight=3 # new #\n";
        let plain = ListedEndpoint {
            line: 3,
            url: "http://a:8000/v1".to_owned(),
            weight: 1,
            limit: None,
        };
        let weighed = ListedEndpoint {
            line: 4,
            url: "http://b/v1/".to_owned(),
            weight: 3,
            limit: Some(64),
        };
        assert_eq!(weighed.key(), "http://b/v1");
        assert_eq!(parse("p", text), Ok(vec![plain, weighed]));
    }

    #[test]
    fn an_error_names_file_and_line() {
        for (text, wanted) in [
            ("", "`p` has no address"),
            ("# none\n\n", "`p` has no address"),
            ("http://a/v1\nhttp:/", "p:2: "),
            ("\n10.0.0.7:8000", "p:2: "),
            ("http://a/v1 2", "p:1: `2` behind an address"),
            ("http://a/v1 weight=0", "p:1: `weight=0`: want a whole number"),
            ("http://a/v1 limit=9999999999999", "p:1: `limit=9999999999999`"),
            (
                "http://a/v1\nhttp://a/v1/",
                "p:2: endpoint 'http://a/v1/' is on line 1",
            ),
            ("http://user:secret@a/v1", "p:1: "),
        ] {
            let error = parse("p", text).unwrap_err();
            assert!(error.starts_with(wanted), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
