//! A layout, and numbers and texts written in it: fill, sign, width, groups of digits, precision.

use super::super::error::Error;
use super::super::text;
use super::Result;

/// No layout is wider: what is asked for in a template must not take the memory of others.
const WIDEST: usize = 100_000;

/// How a value is laid out.
#[derive(Debug, Default, Clone)]
pub(super) struct Layout {
    pub(super) fill: Option<char>,
    /// `<`, `>`, `^` or `=`.
    pub(super) align: Option<char>,
    /// `+`, `-` or a blank.
    pub(super) sign: Option<char>,
    pub(super) alternate: bool,
    pub(super) zero: bool,
    pub(super) width: usize,
    /// `,` or `_`.
    pub(super) group: Option<char>,
    pub(super) precision: Option<usize>,
    pub(super) kind: Option<char>,
}

pub(super) fn bounded(number: i128) -> Result<usize> {
    usize::try_from(number)
        .ok()
        .filter(|width| *width <= WIDEST)
        .ok_or_else(|| Error::fault(format!("a width of {number} is not supported")))
}

pub(super) fn shortened(text: &str, precision: Option<usize>) -> String {
    match precision {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_owned(),
    }
}

pub(super) fn character(code: i128) -> Result<char> {
    let c = u32::try_from(code).ok().and_then(char::from_u32);
    c.ok_or_else(|| Error::fault(format!("{code} is no character")))
}

/// With escapes in place of what ASCII lacks.
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

pub(super) fn pad(out: &mut String, text: &str, layout: &Layout) {
    let missing = layout.width.saturating_sub(text.chars().count());
    let fill = layout.fill.unwrap_or(' ');
    let before = match layout.align {
        Some('>' | '=') => missing,
        Some('^') => missing / 2,
        _ => 0,
    };
    out.extend(std::iter::repeat_n(fill, before));
    out.push_str(text);
    out.extend(std::iter::repeat_n(fill, missing - before));
}

/// A number of `prefix` (sign and `0x`) and digits, with zeros between them where those fill up.
fn number(out: &mut String, prefix: &str, digits: &str, layout: &Layout) {
    // What groups: up to the point or the exponent.
    let whole = digits.find(|c: char| {
        !c.is_ascii_hexdigit() || (layout.kind != Some('x') && layout.kind != Some('X') && c == 'e')
    });
    let (whole, rest) = digits.split_at(whole.unwrap_or(digits.len()));
    let size = match (layout.group, layout.kind) {
        (Some('_'), Some('x' | 'X' | 'o' | 'b')) => 4,
        _ => 3,
    };
    let grouped = |whole: &str| match layout.group {
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
    if layout.align == Some('=') && layout.fill == Some('0') {
        let mut whole = whole.to_owned();
        while prefix.len() + grouped(&whole).len() + rest.len() < layout.width {
            whole.insert(0, '0');
        }
        out.push_str(prefix);
        out.push_str(&grouped(&whole));
        out.push_str(rest);
        return;
    }
    let text = grouped(whole) + rest;
    if layout.align == Some('=') {
        let missing = layout.width.saturating_sub(prefix.len() + text.len());
        out.push_str(prefix);
        out.extend(std::iter::repeat_n(layout.fill.unwrap_or(' '), missing));
        return out.push_str(&text);
    }
    pad(out, &(prefix.to_owned() + &text), layout);
}

fn sign(negative: bool, layout: &Layout) -> &'static str {
    match (negative, layout.sign) {
        (true, _) => "-",
        (_, Some('+')) => "+",
        (_, Some(' ')) => " ",
        _ => "",
    }
}

pub(super) fn integer(out: &mut String, value: i128, kind: char, layout: &Layout) -> Result<()> {
    let magnitude = value.unsigned_abs();
    let mut digits = match kind {
        'b' => format!("{magnitude:b}"),
        'o' => format!("{magnitude:o}"),
        'x' => format!("{magnitude:x}"),
        'X' => format!("{magnitude:X}"),
        _ => magnitude.to_string(),
    };
    // Only `%` has a least number of digits.
    while digits.len() < layout.precision.unwrap_or(0) {
        digits.insert(0, '0');
    }
    let mut prefix = sign(value < 0, layout).to_owned();
    if layout.alternate && "boxX".contains(kind) {
        prefix.push('0');
        prefix.push(kind);
    }
    let layout = Layout {
        kind: Some(kind),
        ..layout.clone()
    };
    number(out, &prefix, &digits, &layout);
    Ok(())
}

pub(super) fn real(out: &mut String, value: f64, kind: char, layout: &Layout) {
    let prefix = sign(value.is_sign_negative() && !value.is_nan(), layout);
    let magnitude = value.abs();
    let large = kind.is_ascii_uppercase();
    let mut digits = if !value.is_finite() {
        if value.is_nan() {
            "nan".to_owned()
        } else {
            "inf".to_owned()
        }
    } else {
        let precision = layout.precision;
        match kind.to_ascii_lowercase() {
            'f' => format!("{magnitude:.*}", precision.unwrap_or(6)),
            'e' => scientific(magnitude, precision.unwrap_or(6)),
            '%' => format!("{:.*}", precision.unwrap_or(6), magnitude * 100.0),
            // Without a letter it is `repr`, with a precision `g` that keeps a point.
            'r' if precision.is_none() => text::float(magnitude),
            _ => general(
                magnitude,
                precision.unwrap_or(6).max(1),
                layout.alternate,
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
    let layout = match value.is_finite() {
        true => layout.clone(),
        // Zeros before `inf` would be digits.
        false => Layout {
            group: None,
            ..layout.clone()
        },
    };
    number(out, prefix, &digits, &layout);
}

/// `1.50e+07`.
fn scientific(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (digits, exponent) = text.split_once('e').expect("an exponent");
    let exponent: i32 = exponent.parse().expect("a number");
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// `g`: as many significant digits, without zeros at the end.
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
