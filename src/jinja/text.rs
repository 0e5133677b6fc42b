//! Python's strings: character classes, case, `repr`, and numbers read and written as text.

use std::borrow::Cow;
use std::sync::OnceLock;

use regex::Regex;

/// `str.isspace` of one character; the same as `\s` in Python's patterns.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Returns whether a text is not empty and all its characters match.
fn all(pattern: &'static str, cell: &'static OnceLock<Regex>, text: &str) -> bool {
    let pattern = cell.get_or_init(|| Regex::new(&format!("^(?:{pattern})+$")).expect("a fixed pattern"));
    pattern.is_match(text)
}

macro_rules! class {
    ($(#[$doc:meta])* $name:ident, $pattern:expr) => {
        $(#[$doc])*
        pub fn $name(text: &str) -> bool {
            static PATTERN: OnceLock<Regex> = OnceLock::new();
            all($pattern, &PATTERN, text)
        }
    };
}

class!(
    /// `str.isalpha`.
    is_alpha,
    r"\p{L}"
);
class!(
    /// `str.isdecimal`.
    is_decimal,
    r"\p{Nd}"
);
class!(
    /// `str.isdigit`.
    is_digit,
    r"[\p{Nd}²³¹፩-፱᧚⁰⁴-⁹₀-₉①-⑨⑴-⑼⒈-⒐⓪⓵-⓽⓿❶-❾➀-➈➊-➒\x{10A40}-\x{10A43}\x{10E60}-\x{10E68}\x{11052}-\x{1105A}\x{1F100}-\x{1F10A}]"
);
class!(
    /// `str.isnumeric`, but with only the commonest of the ideographs.
    is_numeric,
    r"[\p{N}〇一二三四五六七八九十百千万億兆零]"
);
class!(
    /// `str.isalnum`.
    is_alnum,
    r"[\p{L}\p{N}]"
);

/// `str.isprintable` of one character.
pub fn is_printable(c: char) -> bool {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    let pattern = PATTERN.get_or_init(|| Regex::new(r"^[\p{C}\p{Z}]$").expect("a fixed pattern"));
    matches!(c, ' '..='~') || (c >= '\u{a0}' && !pattern.is_match(c.encode_utf8(&mut [0; 4])))
}

/// Returns whether a character has a case.
pub fn is_cased(c: char) -> bool {
    c.is_uppercase() || c.is_lowercase() || matches!(c, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ')
}

/// `repr` of a string.
pub fn write_repr(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => match u32::from(c) {
                code @ ..=0xff => out.push_str(&format!("\\x{code:02x}")),
                code @ ..=0xffff => out.push_str(&format!("\\u{code:04x}")),
                code => out.push_str(&format!("\\U{code:08x}")),
            },
        }
    }
    out.push(quote);
}

/// `repr` of a float: the shortest digits that parse to the same float.
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').expect("an exponent");
    let exponent: i32 = exponent.parse().expect("a number");
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') {
        plain
    } else {
        format!("{plain}.0")
    }
}

/// `str.title`.
pub fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut within = false;
    for c in text.chars() {
        match within {
            true => out.extend(c.to_lowercase()),
            false => out.push_str(&upper_first(c)),
        }
        within = is_cased(c);
    }
    out
}

/// Returns a letter in title case: ß becomes Ss.
fn upper_first(c: char) -> String {
    let upper: Vec<char> = c.to_uppercase().collect();
    match upper.as_slice() {
        [_] => upper[0].to_string(),
        [first, rest @ ..] => {
            let rest = rest.iter().flat_map(|c| c.to_lowercase());
            std::iter::once(*first).chain(rest).collect()
        }
        [] => String::new(),
    }
}

/// `str.capitalize`.
pub fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => upper_first(first) + &chars.as_str().to_lowercase(),
        None => String::new(),
    }
}

/// `str.swapcase`.
pub fn swap_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_uppercase() {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
    }
    out
}

/// `str.isupper` or `str.islower`.
pub fn has_case(text: &str, upper: bool) -> bool {
    text.chars().any(is_cased)
        && text
            .chars()
            .all(|c| !is_cased(c) || (if upper { c.is_uppercase() } else { c.is_lowercase() }))
}

/// `str.istitle`.
pub fn is_title(text: &str) -> bool {
    let (mut within, mut any) = (false, false);
    for c in text.chars() {
        if c.is_uppercase() && within || c.is_lowercase() && !within {
            return false;
        }
        within = is_cased(c);
        any |= within;
    }
    any
}

/// `str.splitlines`.
pub fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let ends = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(ends) {
        let first = rest[at..].chars().next().map_or(1, char::len_utf8);
        let length = if rest[at..].starts_with("\r\n") { 2 } else { first };
        found.push(&rest[..if keep_ends { at + length } else { at }]);
        rest = &rest[at + length..];
    }
    if !rest.is_empty() {
        found.push(rest);
    }
    found
}

/// Returns the characters `start..end` of a text.
pub fn part(text: &str, start: usize, end: usize) -> &str {
    if text.is_ascii() {
        return &text[start.min(text.len())..end.clamp(start.min(text.len()), text.len())];
    }
    let place = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
    let first = place(start);
    &text[first..place(end).max(first)]
}

/// Replaces the decimal digits of every script by those of ASCII, as `int` and `float` do.
fn with_ascii_digits(text: &str) -> Cow<'_, str> {
    match text.is_ascii() {
        true => Cow::Borrowed(text),
        false => text.chars().map(|c| decimal(c).unwrap_or(c)).collect(),
    }
}

/// Returns the ASCII digit of the same value for a decimal digit of another script. Unicode has
/// these in runs of ten from zero to nine, so the position in the run is the value.
fn decimal(c: char) -> Option<char> {
    let is_digit = |c: char| is_decimal(c.encode_utf8(&mut [0; 4]));
    if c.is_ascii() || !is_digit(c) {
        return None;
    }
    let before = ('\0'..c).rev().take_while(|c| is_digit(*c)).count();
    char::from_digit((before % 10) as u32, 10)
}

/// `int(text, base)`.
pub fn parse_int(text: &str, base: u32) -> Option<i128> {
    let text = with_ascii_digits(text.trim_matches(is_space));
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, &*text),
    };
    let prefixed = |prefix: char| {
        let rest = digits.strip_prefix('0')?;
        rest.strip_prefix(prefix)
            .or(rest.strip_prefix(prefix.to_ascii_uppercase()))
    };
    let (base, digits) = match base {
        0 => [(16, 'x'), (8, 'o'), (2, 'b')]
            .into_iter()
            .find_map(|(base, prefix)| Some((base, prefixed(prefix)?)))
            .unwrap_or((10, digits)),
        16 => (16, prefixed('x').unwrap_or(digits)),
        8 => (8, prefixed('o').unwrap_or(digits)),
        2 => (2, prefixed('b').unwrap_or(digits)),
        base => (base, digits),
    };
    if !(2..=36).contains(&base) {
        return None;
    }
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from_str_radix(&joined(digits)?, base).ok()?;
    Some(if negative { -value } else { value })
}

/// `float(text)`.
pub fn parse_float(text: &str) -> Option<f64> {
    let text = joined(&with_ascii_digits(text.trim_matches(is_space)))?;
    let bare = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    if ["inf", "infinity", "nan"].contains(&bare.as_str()) {
        let value = if bare == "nan" { f64::NAN } else { f64::INFINITY };
        return Some(if text.starts_with('-') { -value } else { value });
    }
    if !bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.parse().ok()
}

/// Removes `_` between digits. Returns none if one of them is elsewhere.
fn joined(digits: &str) -> Option<String> {
    let fits =
        !digits.is_empty() && !digits.starts_with('_') && !digits.ends_with('_') && !digits.contains("__");
    fits.then(|| digits.replace('_', ""))
}
