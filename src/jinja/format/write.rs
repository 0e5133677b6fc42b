//! Writes strings and numbers by a format specification.

use super::super::error::{Error, Result};
use super::super::text;
use super::spec::FormatSpec;

/// Returns the first `precision` characters.
pub(super) fn shortened(text: &str, precision: Option<usize>) -> String {
    match precision {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_owned(),
    }
}

/// Returns the character of a code point.
pub(super) fn character(code: i128) -> Result<char> {
    let c = u32::try_from(code).ok().and_then(char::from_u32);
    c.ok_or_else(|| Error::fault(format!("{code} is no character")))
}

/// Replaces characters outside of ASCII by escapes.
pub(super) fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match u32::from(c) {
            ..=0x7f => out.push(c),
            code @ ..=0xff => out.push_str(&format!("\\x{code:02x}")),
            code @ ..=0xffff => out.push_str(&format!("\\u{code:04x}")),
            code => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out
}

/// Writes a text, filled up to the width.
pub(super) fn pad(out: &mut String, text: &str, spec: &FormatSpec) {
    let missing = spec.width.saturating_sub(text.chars().count());
    let fill = spec.fill.unwrap_or(' ');
    let before = match spec.align {
        Some('>' | '=') => missing,
        Some('^') => missing / 2,
        _ => 0,
    };
    out.extend(std::iter::repeat_n(fill, before));
    out.push_str(text);
    out.extend(std::iter::repeat_n(fill, missing - before));
}

/// Writes a number of `prefix` (sign and `0x`) and digits. Zeros that fill up the width stand
/// between them.
fn number(out: &mut String, prefix: &str, digits: &str, spec: &FormatSpec) {
    // Only digits before the point or the exponent are grouped.
    let whole = digits.find(|c: char| {
        !c.is_ascii_hexdigit() || (spec.kind != Some('x') && spec.kind != Some('X') && c == 'e')
    });
    let (whole, rest) = digits.split_at(whole.unwrap_or(digits.len()));
    let size = match (spec.group, spec.kind) {
        (Some('_'), Some('x' | 'X' | 'o' | 'b')) => 4,
        _ => 3,
    };
    let grouped = |whole: &str| match spec.group {
        Some(comma) => {
            let mut out = String::new();
            for (index, digit) in whole.chars().enumerate() {
                if index > 0 && (whole.len() - index).is_multiple_of(size) {
                    out.push(comma);
                }
                out.push(digit);
            }
            out
        }
        None => whole.to_owned(),
    };
    if spec.align == Some('=') && spec.fill == Some('0') {
        let grouped_length = |count: usize| match spec.group {
            Some(_) => count + count.saturating_sub(1) / size,
            None => count,
        };
        let mut count = whole.len();
        while prefix.len() + grouped_length(count) + rest.len() < spec.width {
            count += 1;
        }
        let zeros = "0".repeat(count - whole.len());
        out.push_str(prefix);
        out.push_str(&grouped(&(zeros + whole)));
        out.push_str(rest);
        return;
    }
    let text = grouped(whole) + rest;
    if spec.align == Some('=') {
        let missing = spec.width.saturating_sub(prefix.len() + text.len());
        out.push_str(prefix);
        out.extend(std::iter::repeat_n(spec.fill.unwrap_or(' '), missing));
        return out.push_str(&text);
    }
    pad(out, &(prefix.to_owned() + &text), spec);
}

/// Returns the sign to be written.
fn sign(negative: bool, spec: &FormatSpec) -> &'static str {
    match (negative, spec.sign) {
        (true, _) => "-",
        (_, Some('+')) => "+",
        (_, Some(' ')) => " ",
        _ => "",
    }
}

/// Writes an integer by the letter `kind`.
pub(super) fn integer(out: &mut String, value: i128, kind: char, spec: &FormatSpec) {
    let magnitude = value.unsigned_abs();
    let mut digits = match kind {
        'b' => format!("{magnitude:b}"),
        'o' => format!("{magnitude:o}"),
        'x' => format!("{magnitude:x}"),
        'X' => format!("{magnitude:X}"),
        _ => magnitude.to_string(),
    };
    // Only `%` formatting has a minimum number of digits.
    let missing = spec.precision.unwrap_or(0).saturating_sub(digits.len());
    digits.insert_str(0, &"0".repeat(missing));
    let mut prefix = sign(value < 0, spec).to_owned();
    if spec.alternate && "boxX".contains(kind) {
        prefix.push('0');
        prefix.push(kind);
    }
    let spec = FormatSpec {
        kind: Some(kind),
        ..spec.clone()
    };
    number(out, &prefix, &digits, &spec);
}

/// Writes a float by the letter `kind`; `r` stands for none.
pub(super) fn real(out: &mut String, value: f64, kind: char, spec: &FormatSpec) {
    let prefix = sign(value.is_sign_negative() && !value.is_nan(), spec);
    let magnitude = value.abs();
    let large = kind.is_ascii_uppercase();
    let mut digits = if !value.is_finite() {
        if value.is_nan() {
            "nan".to_owned()
        } else {
            "inf".to_owned()
        }
    } else {
        let precision = spec.precision;
        match kind.to_ascii_lowercase() {
            'f' => format!("{magnitude:.*}", precision.unwrap_or(6)),
            'e' => scientific(magnitude, precision.unwrap_or(6)),
            '%' => format!("{:.*}", precision.unwrap_or(6), magnitude * 100.0),
            // Without a letter, `repr`; with a precision as well, `g` that keeps a point.
            'r' if precision.is_none() => text::float(magnitude),
            _ => general(
                magnitude,
                precision.unwrap_or(6).max(1),
                spec.alternate,
                kind == 'r',
            ),
        }
    };
    if large {
        digits = digits.to_uppercase();
    }
    if kind == '%' {
        digits.push('%');
    }
    let spec = match value.is_finite() {
        true => spec.clone(),
        // Zeros in front of `inf` would be grouped as digits.
        false => FormatSpec {
            group: None,
            ..spec.clone()
        },
    };
    number(out, prefix, &digits, &spec);
}

/// Formats as `1.50e+07`.
fn scientific(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (digits, exponent) = text.split_once('e').expect("an exponent");
    let exponent: i32 = exponent.parse().expect("a number");
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Formats by `g`: `precision` significant digits, and no trailing zeros unless `keep_zeros`.
/// `keep_point` adds `.0` to whole numbers.
fn general(value: f64, precision: usize, keep_zeros: bool, keep_point: bool) -> String {
    let text = format!("{value:.*e}", precision - 1);
    let exponent: i32 = text
        .split_once('e')
        .map_or(0, |(_, e)| e.parse().expect("a number"));
    let most = precision as i32 - i32::from(keep_point);
    let scientifically = value != 0.0 && (exponent < -4 || exponent >= most.max(i32::from(!keep_point)));
    let (mut digits, tail) = match scientifically {
        true => {
            let text = scientific(value, precision - 1);
            let (digits, exponent) = text.split_once('e').expect("an exponent");
            (digits.to_owned(), format!("e{exponent}"))
        }
        false => {
            let places = (precision as i32 - 1 - if value == 0.0 { 0 } else { exponent }).max(0);
            (format!("{value:.*}", places as usize), String::new())
        }
    };
    if !keep_zeros && digits.contains('.') {
        digits.truncate(digits.trim_end_matches('0').trim_end_matches('.').len());
    }
    if keep_point && !scientifically && !digits.contains('.') {
        digits.push_str(".0");
    }
    digits + &tail
}
