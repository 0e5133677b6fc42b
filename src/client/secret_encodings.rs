//! Regular expressions for a secret as a server may quote it: as it is, escaped as in JSON, URLs or
//! HTML, and encoded as Base64 or hexadecimal digits.

use std::fmt::Write;

/// Returns patterns for all ways to write `secret`.
pub fn patterns(secret: &str) -> Vec<String> {
    vec![escaped(secret), base64(secret.as_bytes()), hex(secret.as_bytes())]
}

/// Returns a pattern for the text, with each character as it is or escaped.
pub fn escaped(secret: &str) -> String {
    secret.chars().map(character).collect()
}

/// Returns a pattern for one character.
fn character(c: char) -> String {
    let mut bytes = [0; 4];
    let bytes = c.encode_utf8(&mut bytes);
    let literal = regex::escape(bytes);
    // A backslash before a letter would be the escape of another character.
    let slash = if c.is_ascii_alphanumeric() { "" } else { r"\\*" };
    // The percent sign itself may be escaped, too.
    let percent: String = bytes
        .bytes()
        .map(|byte| format!("%(?:25)*{}", digits(byte.into(), 2)))
        .collect();
    let (code, decimal) = (digits(c.into(), 4), u32::from(c));
    let mut ways = format!(
        r"(?:{slash}{literal}|\\+u{code}|{percent}|&#0*{decimal};?|&#[xX]0*{};?",
        digits(c.into(), 1)
    );
    for (_, name) in NAMED.iter().filter(|(named, _)| *named == c) {
        let _ = write!(ways, "|&{name};");
    }
    ways + ")"
}

/// HTML entities of punctuation in keys.
const NAMED: [(char, &str); 13] = [
    ('&', "amp"),
    ('<', "lt"),
    ('>', "gt"),
    ('"', "quot"),
    ('\'', "apos"),
    ('/', "sol"),
    ('_', "lowbar"),
    ('+', "plus"),
    ('=', "equals"),
    ('.', "period"),
    (':', "colon"),
    ('-', "hyphen"),
    ('-', "dash"),
];

/// Returns a pattern for a number as at least `least` hexadecimal digits, in either case.
fn digits(number: u32, least: usize) -> String {
    let digits = format!("{number:0least$x}");
    let either = digits.chars().map(|digit| match digit {
        '0'..='9' => digit.to_string(),
        letter => format!("[{letter}{}]", letter.to_ascii_uppercase()),
    });
    either.collect()
}

/// Returns a pattern for bytes as pairs of digits, with or without separators: `73:6b`, `0x73,
/// 0x6b`, `\x73\x6b`.
fn hex(bytes: &[u8]) -> String {
    let pairs = bytes
        .iter()
        .map(|byte| format!(r"(?:\\+x|0x)?{}", digits((*byte).into(), 2)));
    pairs.collect::<Vec<_>>().join("[ :,-]*")
}

/// Returns a pattern for bytes in Base64, alone or within other bytes. Three bytes are four
/// characters, so the bytes may begin in three ways.
fn base64(bytes: &[u8]) -> String {
    const ANY: &str = "[A-Za-z0-9+/_-]?";
    const PADDING: &str = "(?:=|%3[dD]){0,2}";
    let ways = (0..3).map(|before| {
        let stream = [vec![0; before], bytes.to_vec()].concat();
        let bit = |at: usize| (stream[at / 8] >> (7 - at % 8)) & 1;
        let (begin, end) = (8 * before, 8 * stream.len());
        // Characters that contain bits of other bytes, too, are known in part, and are included.
        let whole = begin.div_ceil(6)..end / 6;
        let known: String = whole
            .map(|at| six((6 * at..6 * at + 6).fold(0, |six, at| (six << 1) | bit(at))))
            .collect();
        let first = if begin % 6 == 0 { "" } else { ANY };
        let last = if end % 6 == 0 { "" } else { ANY };
        format!("{first}{known}{last}{PADDING}")
    });
    format!("(?:{})", ways.collect::<Vec<_>>().join("|"))
}

/// Returns a pattern for the character of six bits, in the usual and in the URL-safe alphabet.
fn six(bits: u8) -> String {
    match bits {
        0..=25 => char::from(b'A' + bits).to_string(),
        26..=51 => char::from(b'a' + bits - 26).to_string(),
        52..=61 => char::from(b'0' + bits - 52).to_string(),
        62 => "(?:[+-]|%2[bB])".to_owned(),
        _ => r"(?:\\?/|_|%2[fF])".to_owned(),
    }
}
