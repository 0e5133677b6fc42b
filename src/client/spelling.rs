//! The ways in which servers write what they were sent: as it is, with the escapes of JSON, addresses and HTML, and packed as Base64
//! or hexadecimal digits. As regular expressions.

use std::fmt::Write;

/// Everything that reads as `secret`.
pub fn patterns(secret: &str) -> Vec<String> {
    vec![escaped(secret), base64(secret.as_bytes()), hex(secret.as_bytes())]
}

/// The text, each of its characters as it is or escaped.
pub fn escaped(secret: &str) -> String {
    secret.chars().map(character).collect()
}

fn character(c: char) -> String {
    let mut bytes = [0; 4];
    let bytes = c.encode_utf8(&mut bytes);
    let literal = regex::escape(bytes);
    // Before a letter a backslash makes another character of it.
    let slash = if c.is_ascii_alphanumeric() { "" } else { r"\\*" };
    // A sign of percent may have been escaped in turn.
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

/// Names that HTML has for signs of keys.
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

/// At least so many hexadecimal digits, in either case.
fn digits(number: u32, least: usize) -> String {
    let digits = format!("{number:0least$x}");
    let either = digits.chars().map(|digit| match digit {
        '0'..='9' => digit.to_string(),
        letter => format!("[{letter}{}]", letter.to_ascii_uppercase()),
    });
    either.collect()
}

/// The bytes as pairs of digits, one after another, or with marks between them: `73:6b`, `0x73, 0x6b`, `\x73\x6b`.
fn hex(bytes: &[u8]) -> String {
    let pairs = bytes
        .iter()
        .map(|byte| format!(r"(?:\\+x|0x)?{}", digits((*byte).into(), 2)));
    pairs.collect::<Vec<_>>().join("[ :,-]*")
}

/// The bytes in Base64, by themselves or amid others: three bytes are four characters, so they may begin in three ways.
fn base64(bytes: &[u8]) -> String {
    const ANY: &str = "[A-Za-z0-9+/_-]?";
    const PADDING: &str = "(?:=|%3[dD]){0,2}";
    let ways = (0..3).map(|before| {
        let stream = [vec![0; before], bytes.to_vec()].concat();
        let bit = |at: usize| (stream[at / 8] >> (7 - at % 8)) & 1;
        let (begin, end) = (8 * before, 8 * stream.len());
        // Characters that have bits of others too are known in part, and go as well.
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

/// The character of six bits, in the usual alphabet and in that of addresses.
fn six(bits: u8) -> String {
    match bits {
        0..=25 => char::from(b'A' + bits).to_string(),
        26..=51 => char::from(b'a' + bits - 26).to_string(),
        52..=61 => char::from(b'0' + bits - 52).to_string(),
        62 => "(?:[+-]|%2[bB])".to_owned(),
        _ => r"(?:\\?/|_|%2[fF])".to_owned(),
    }
}
