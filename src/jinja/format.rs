//! Numbers and texts laid out: `'%5.1f' % x`, `'{:>5}'.format(x)`.

use super::error::Error;
use super::text;
use super::value::Value;

type Result<T, E = Error> = std::result::Result<T, E>;

/// No layout is wider: what is asked for in a template must not take the memory of others.
const WIDEST: usize = 100_000;

/// How a value is laid out.
#[derive(Debug, Default, Clone)]
struct Layout {
    fill: Option<char>,
    /// `<`, `>`, `^` or `=`.
    align: Option<char>,
    /// `+`, `-` or a blank.
    sign: Option<char>,
    alternate: bool,
    zero: bool,
    width: usize,
    /// `,` or `_`.
    group: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

fn bounded(number: i128) -> Result<usize> {
    usize::try_from(number)
        .ok()
        .filter(|width| *width <= WIDEST)
        .ok_or_else(|| Error::fault(format!("a width of {number} is not supported")))
}

/// `text % arguments`.
pub fn percent(format: &str, arguments: &Value) -> Result<String> {
    let items = match arguments {
        Value::Tuple(seq) => seq.items.clone(),
        other => vec![other.clone()],
    };
    let mut next = items.iter();
    let mut mapped = false;
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let few = || Error::fault("not enough arguments for format string");
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut key = None;
        if chars.peek() == Some(&'(') {
            chars.next();
            let (mut name, mut depth) = (String::new(), 1);
            loop {
                let c = chars
                    .next()
                    .ok_or_else(|| Error::fault("incomplete format key"))?;
                match c {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                name.push(c);
            }
            key = Some(name);
        }
        let mut layout = Layout::default();
        let mut left = false;
        while let Some(flag) = chars.next_if(|c| "#0- +".contains(*c)) {
            match flag {
                '#' => layout.alternate = true,
                '0' => layout.zero = true,
                '-' => left = true,
                '+' => layout.sign = Some('+'),
                _ => layout.sign = layout.sign.or(Some(' ')),
            }
        }
        let mut number = |chars: &mut std::iter::Peekable<std::str::Chars>| -> Result<Option<i128>> {
            if chars.next_if_eq(&'*').is_some() {
                let value = next.next().ok_or_else(few)?;
                return value
                    .as_int()
                    .map(Some)
                    .ok_or_else(|| Error::fault("* wants int"));
            }
            let mut value = None;
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                let digit = i128::from(digit.to_digit(10).unwrap_or(0));
                value = Some((value.unwrap_or(0) * 10 + digit).min(1 << 40));
            }
            Ok(value)
        };
        if let Some(width) = number(&mut chars)? {
            left |= width < 0;
            layout.width = bounded(width.abs())?;
        }
        if chars.next_if_eq(&'.').is_some() {
            layout.precision = Some(bounded(number(&mut chars)?.unwrap_or(0).max(0))?);
        }
        while chars.next_if(|c| "hlL".contains(*c)).is_some() {}
        let kind = chars.next().ok_or_else(|| Error::fault("incomplete format"))?;
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match &key {
            Some(key) => {
                mapped = true;
                let Value::Dict(dict) = arguments else {
                    return Err(Error::fault("format requires a mapping"));
                };
                let found = dict.get_text(&key.as_str().into());
                found.ok_or_else(|| Error::fault(format!("KeyError: '{key}'")))?
            }
            None => next.next().ok_or_else(few)?,
        };
        layout.align = Some(if left { '<' } else { '>' });
        if layout.zero && !left && !"srac".contains(kind) {
            (layout.fill, layout.align) = (Some('0'), Some('='));
        }
        let wanted = |what: &str| {
            Error::fault(format!(
                "%{kind} format: {what} is required, not {}",
                value.kind()
            ))
        };
        match kind {
            's' | 'r' | 'a' => {
                let text = match kind {
                    's' => value.to_text().to_string(),
                    'r' => value.repr(),
                    _ => ascii(&value.repr()),
                };
                pad(&mut out, &shortened(&text, layout.precision), &layout);
            }
            'c' => {
                let text = match (value.as_text(), value.as_int()) {
                    (Some(text), _) if text.chars().count() == 1 => text.to_string(),
                    (_, Some(code)) => character(code)?.to_string(),
                    _ => return Err(Error::fault("%c requires int or char")),
                };
                pad(&mut out, &text, &layout);
            }
            'd' | 'i' | 'u' => {
                let value = match value {
                    Value::Float(number) if number.is_finite() => *number as i128,
                    value => value.as_int().ok_or_else(|| wanted("a real number"))?,
                };
                integer(&mut out, value, 'd', &layout)?;
            }
            'o' | 'x' | 'X' => {
                let value = value.as_int().ok_or_else(|| wanted("an integer"))?;
                integer(&mut out, value, kind, &layout)?;
            }
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                let value = value
                    .as_float()
                    .ok_or_else(|| Error::fault("must be real number"))?;
                real(&mut out, value, kind, &layout);
            }
            _ => return Err(Error::fault(format!("unsupported format character '{kind}'"))),
        }
    }
    let unused = next.next().is_some();
    if unused && !mapped && !matches!(arguments, Value::Dict(_) | Value::List(_)) {
        return Err(Error::fault(
            "not all arguments converted during string formatting",
        ));
    }
    Ok(out)
}

/// `format(value, spec)`.
pub fn spec(value: &Value, spec: &str) -> Result<String> {
    let mut out = String::new();
    if spec.is_empty() {
        return Ok(value.to_text().to_string());
    }
    let mut layout = parse_spec(spec)?;
    match value {
        Value::Str(text) | Value::Markup(text) => {
            let fits = matches!(layout.kind, None | Some('s'))
                && layout.sign.is_none()
                && layout.group.is_none()
                && layout.align != Some('=');
            if !fits {
                return Err(Error::fault(format!(
                    "format specifier '{spec}' does not suit a string"
                )));
            }
            layout.align = layout.align.or(Some('<'));
            pad(&mut out, &shortened(text, layout.precision), &layout);
        }
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
            let kind = layout.kind;
            layout.align = layout.align.or(Some(if layout.zero { '=' } else { '>' }));
            let whole = value.as_int();
            match (whole, kind) {
                (Some(number), Some('b' | 'd' | 'o' | 'x' | 'X' | 'n') | None) => {
                    if layout.precision.is_some() {
                        return Err(Error::fault("Precision not allowed in integer format specifier"));
                    }
                    integer(&mut out, number, kind.unwrap_or('d'), &layout)?;
                }
                (Some(code), Some('c')) => pad(&mut out, &character(code)?.to_string(), &layout),
                (_, Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'n' | '%') | None) => {
                    real(
                        &mut out,
                        value.as_float().unwrap_or(f64::NAN),
                        kind.unwrap_or('r'),
                        &layout,
                    );
                }
                (_, Some(kind)) => {
                    return Err(Error::fault(format!(
                        "Unknown format code '{kind}' for object of type '{}'",
                        value.kind()
                    )));
                }
            }
        }
        other => {
            return Err(Error::fault(format!(
                "unsupported format string passed to {}.__format__",
                other.kind()
            )));
        }
    }
    Ok(out)
}

fn parse_spec(spec: &str) -> Result<Layout> {
    let invalid = || Error::fault(format!("Invalid format specifier '{spec}'"));
    let mut layout = Layout::default();
    let mut chars: Vec<char> = spec.chars().collect();
    chars.reverse();
    let is_align = |c: Option<&char>| c.is_some_and(|c| "<>=^".contains(*c));
    if chars.len() >= 2 && is_align(chars.get(chars.len() - 2)) {
        layout.fill = chars.pop();
        layout.align = chars.pop();
    } else if is_align(chars.last()) {
        layout.align = chars.pop();
    }
    let mut take = |fits: &dyn Fn(char) -> bool| match chars.last() {
        Some(c) if fits(*c) => chars.pop(),
        _ => None,
    };
    layout.sign = take(&|c| "+- ".contains(c));
    let _ = take(&|c| c == 'z');
    layout.alternate = take(&|c| c == '#').is_some();
    layout.zero = take(&|c| c == '0').is_some();
    if layout.zero {
        layout.fill = layout.fill.or(Some('0'));
    }
    type Take<'a> = dyn FnMut(&dyn Fn(char) -> bool) -> Option<char> + 'a;
    let number = |take: &mut Take<'_>| -> Result<Option<usize>> {
        let mut value: Option<i128> = None;
        while let Some(digit) = take(&|c| c.is_ascii_digit()) {
            let digit = i128::from(digit.to_digit(10).unwrap_or(0));
            value = Some((value.unwrap_or(0) * 10 + digit).min(1 << 40));
        }
        value.map(bounded).transpose()
    };
    layout.width = number(&mut take)?.unwrap_or(0);
    layout.group = take(&|c| c == ',' || c == '_');
    if take(&|c| c == '.').is_some() {
        layout.precision = Some(number(&mut take)?.ok_or_else(invalid)?);
    }
    layout.kind = take(&|_| true);
    match chars.is_empty() {
        true => Ok(layout),
        false => Err(invalid()),
    }
}

fn shortened(text: &str, precision: Option<usize>) -> String {
    match precision {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_owned(),
    }
}

fn character(code: i128) -> Result<char> {
    let c = u32::try_from(code).ok().and_then(char::from_u32);
    c.ok_or_else(|| Error::fault(format!("{code} is no character")))
}

/// With escapes in place of what ASCII lacks.
fn ascii(text: &str) -> String {
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

fn pad(out: &mut String, text: &str, layout: &Layout) {
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

fn integer(out: &mut String, value: i128, kind: char, layout: &Layout) -> Result<()> {
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

fn real(out: &mut String, value: f64, kind: char, layout: &Layout) {
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

/// A piece of a text for `str.format`: letters, or a field of name, conversion and layout.
#[derive(Debug, PartialEq)]
pub enum Piece<'a> {
    Letters(String),
    Field(&'a str, Option<char>, &'a str),
}

/// The pieces of a text for `str.format`.
pub fn pieces(format: &str) -> Result<Vec<Piece<'_>>> {
    let mut found = Vec::new();
    let mut letters = String::new();
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        match c {
            '{' | '}' if rest[1..].starts_with(c) => {
                letters.push(c);
                rest = &rest[2..];
            }
            '}' => return Err(Error::fault("Single '}' encountered in format string")),
            '{' => {
                let mut depth = 0;
                let end = rest.char_indices().find(|(_, c)| {
                    depth += match c {
                        '{' => 1,
                        '}' => -1,
                        _ => 0,
                    };
                    depth == 0
                });
                let Some((end, _)) = end else {
                    return Err(Error::fault("expected '}' before end of string"));
                };
                let field = &rest[1..end];
                rest = &rest[end + 1..];
                // A colon within an index is none.
                let mut inside = false;
                let colon = field.char_indices().find(|(_, c)| {
                    match c {
                        '[' => inside = true,
                        ']' => inside = false,
                        _ => {}
                    }
                    matches!(c, ':' | '!') && !inside
                });
                let name = colon.map_or(field, |(at, _)| &field[..at]);
                let mut behind = colon.map_or("", |(at, _)| &field[at..]);
                let mut conversion = None;
                if let Some(marked) = behind.strip_prefix('!') {
                    conversion = marked.chars().next();
                    behind = marked.get(1..).unwrap_or_default();
                    if !matches!(conversion, Some('s' | 'r' | 'a'))
                        || !(behind.is_empty() || behind.starts_with(':'))
                    {
                        return Err(Error::fault("Unknown conversion specifier in a format string"));
                    }
                }
                if !letters.is_empty() {
                    found.push(Piece::Letters(std::mem::take(&mut letters)));
                }
                found.push(Piece::Field(
                    name,
                    conversion,
                    behind.strip_prefix(':').unwrap_or(behind),
                ));
            }
            c => {
                letters.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    if !letters.is_empty() {
        found.push(Piece::Letters(letters));
    }
    Ok(found)
}

/// A value as `!s`, `!r` or `!a` writes it.
pub fn converted(value: &Value, conversion: char) -> Value {
    match conversion {
        'r' => Value::text(&value.repr()),
        'a' => Value::text(&ascii(&value.repr())),
        _ => Value::Str(value.to_text()),
    }
}
