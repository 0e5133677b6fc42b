//! `%`-formatting: `'%5.1f' % x`.

use super::super::error::Error;
use super::super::value::Value;
use super::Result;
use super::layout::{Layout, ascii, bounded, character, integer, pad, real, shortened};

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
