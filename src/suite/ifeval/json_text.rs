//! Whether a text is JSON, as Python's `json.loads` decides: `NaN`, `Infinity` and half of a
//! surrogate pair are JSON. In linear time and at any depth.

/// Where the parser is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// A value.
    Value,
    /// A value, or the end of a list.
    FirstElement,
    /// A name, or the end of an object.
    FirstName,
    /// A name.
    Name,
    /// A comma, or the end of the list or object; the end of the text outside of both.
    More,
}

/// Whether the text is one JSON value, with nothing but white space around it.
pub fn is_json(text: &str) -> bool {
    let mut rest = text.as_bytes();
    let mut closers = Vec::new();
    let mut expected = Expected::Value;
    loop {
        rest = rest.trim_ascii_start_json();
        let Some((&first, after)) = rest.split_first() else {
            return expected == Expected::More && closers.is_empty();
        };
        (rest, expected) = match (expected, first) {
            (Expected::FirstElement, b']') | (Expected::FirstName, b'}') => {
                closers.pop();
                (after, Expected::More)
            }
            (Expected::Value | Expected::FirstElement, b'[') => {
                closers.push(b']');
                (after, Expected::FirstElement)
            }
            (Expected::Value | Expected::FirstElement, b'{') => {
                closers.push(b'}');
                (after, Expected::FirstName)
            }
            (Expected::Value | Expected::FirstElement, _) => match scalar(rest) {
                Some(after) => (after, Expected::More),
                None => return false,
            },
            (Expected::FirstName | Expected::Name, b'"') => {
                let colon = string(after).and_then(|after| after.trim_ascii_start_json().strip_prefix(b":"));
                match colon {
                    Some(after) => (after, Expected::Value),
                    None => return false,
                }
            }
            (Expected::More, b',') => match closers.last() {
                Some(b']') => (after, Expected::Value),
                Some(_) => (after, Expected::Name),
                None => return false,
            },
            (Expected::More, closer) if closers.last() == Some(&closer) => {
                closers.pop();
                (after, Expected::More)
            }
            _ => return false,
        };
    }
}

/// The white space of JSON.
trait TrimJson {
    fn trim_ascii_start_json(&self) -> &Self;
}

impl TrimJson for [u8] {
    fn trim_ascii_start_json(&self) -> &[u8] {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let start = self.iter().position(|byte| !is_space(byte));
        &self[start.unwrap_or(self.len())..]
    }
}

/// Skips a string, number or word at the start of the text.
fn scalar(text: &[u8]) -> Option<&[u8]> {
    const WORDS: [&[u8]; 6] = [b"null", b"true", b"false", b"NaN", b"Infinity", b"-Infinity"];
    if let Some(after) = text.strip_prefix(b"\"") {
        return string(after);
    }
    let word = WORDS.iter().find_map(|word| text.strip_prefix(*word));
    word.or_else(|| number(text))
}

/// Skips the rest of a string after its first quote.
fn string(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        let (&byte, after) = text.split_first()?;
        text = match byte {
            b'"' => return Some(after),
            b'\\' => match after.split_first()? {
                (b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', after) => after,
                (b'u', after) => {
                    let (digits, after) = after.split_at_checked(4)?;
                    digits.iter().all(u8::is_ascii_hexdigit).then_some(after)?
                }
                _ => return None,
            },
            ..=0x1f => return None,
            _ => after,
        };
    }
}

/// Skips a number. A fraction or an exponent without digits is left over.
fn number(text: &[u8]) -> Option<&[u8]> {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    rest = match digits(rest) {
        0 => return None,
        _ if rest[0] == b'0' => &rest[1..],
        count => &rest[count..],
    };
    if let Some(after) = rest.strip_prefix(b".")
        && digits(after) > 0
    {
        rest = &after[digits(after)..];
    }
    if let [b'e' | b'E', after @ ..] = rest {
        let after = match after {
            [b'+' | b'-', after @ ..] => after,
            _ => after,
        };
        if digits(after) > 0 {
            rest = &after[digits(after)..];
        }
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn json_is_what_python_reads() {
        let yes = [
            "{}",
            "[]",
            "[1, 2]",
            "{\"a\": [1, {\"b\": null}], \"c\": \"x\"}",
            "1",
            "-0",
            "1.5e-3",
            "\"a\"",
            "NaN",
            "-Infinity",
            "\"\\ud800\"",
            "\"\\u00e9\\n\"",
            " [ ] ",
            "true",
            "1E5",
            "\"é😀\"",
        ];
        let no = [
            "",
            "{",
            "]",
            "[1,]",
            "{\"a\"}",
            "{\"a\": 1,}",
            "{a: 1}",
            "'a'",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "[1] 2",
            "nul",
            "\"a",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u12",
            "[1}",
            "{\"a\": 1]",
            "-",
            "{,}",
            "[,]",
            "1 2",
            "\u{feff}{}",
            "{\"a\" 1}",
            "nan",
            "True",
            "{1: 2}",
            "[\u{a0}]",
        ];
        for text in yes {
            assert!(is_json(text), "{text}");
        }
        for text in no {
            assert!(!is_json(text), "{text}");
        }
    }

    #[test]
    fn depth_is_no_matter() {
        let deep = |closed: usize| "[".repeat(500_000) + &"]".repeat(closed);
        assert!(is_json(&deep(500_000)));
        assert!(!is_json(&deep(499_999)));
    }
}
