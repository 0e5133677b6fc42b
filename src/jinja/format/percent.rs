//! `%`-formatting: `'%5.1f' % x`.

use std::iter::Peekable;
use std::str::Chars;

use super::super::error::{Error, Result};
use super::super::value::Value;
use super::spec::{FormatSpec, bounded};
use super::write::{ascii, character, integer, pad, real, shortened};

/// Returns `format % arguments`.
pub fn percent(format: &str, arguments: &Value) -> Result<String> {
    let positional: &[Value] = match arguments {
        Value::Tuple(seq) => &seq.items,
        other => std::slice::from_ref(other),
    };
    let mut formatter = PercentFormatter {
        chars: format.chars().peekable(),
        arguments,
        positional: positional.iter(),
        mapped: false,
    };
    let mut out = String::new();
    while let Some(c) = formatter.chars.next() {
        match c {
            '%' => formatter.conversion(&mut out)?,
            c => out.push(c),
        }
    }
    formatter.refuse_unused()?;
    Ok(out)
}

struct PercentFormatter<'a> {
    /// Rest of the format.
    chars: Peekable<Chars<'a>>,
    arguments: &'a Value,
    /// Positional arguments not used yet.
    positional: std::slice::Iter<'a, Value>,
    /// Whether a conversion has named its argument: `%(name)s`.
    mapped: bool,
}

impl<'a> PercentFormatter<'a> {
    /// Reads a conversion behind its `%`, and writes its argument.
    fn conversion(&mut self, out: &mut String) -> Result<()> {
        let key = self.key()?;
        let (mut spec, mut left) = self.flags();
        if let Some(width) = self.number()? {
            left |= width < 0;
            spec.width = bounded(width.abs())?;
        }
        if self.chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(bounded(self.number()?.unwrap_or(0).max(0))?);
        }
        while self.chars.next_if(|c| "hlL".contains(*c)).is_some() {}
        let kind = self
            .chars
            .next()
            .ok_or_else(|| Error::fault("incomplete format"))?;
        if kind == '%' {
            out.push('%');
            return Ok(());
        }
        let value = match key {
            Some(key) => self.named(&key)?,
            None => self.next_positional()?,
        };
        spec.align = Some(if left { '<' } else { '>' });
        if spec.zero && !left && !"srac".contains(kind) {
            (spec.fill, spec.align) = (Some('0'), Some('='));
        }
        write(out, value, kind, &spec)
    }

    /// Reads the name in `%(name)s`, which may contain balanced parentheses.
    fn key(&mut self) -> Result<Option<String>> {
        if self.chars.next_if_eq(&'(').is_none() {
            return Ok(None);
        }
        let (mut name, mut depth) = (String::new(), 1);
        loop {
            let c = self
                .chars
                .next()
                .ok_or_else(|| Error::fault("incomplete format key"))?;
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(Some(name));
            }
            name.push(c);
        }
    }

    /// Reads the flags. Returns also whether the value is aligned to the left.
    fn flags(&mut self) -> (FormatSpec, bool) {
        let mut spec = FormatSpec::default();
        let mut left = false;
        while let Some(flag) = self.chars.next_if(|c| "#0- +".contains(*c)) {
            match flag {
                '#' => spec.alternate = true,
                '0' => spec.zero = true,
                '-' => left = true,
                '+' => spec.sign = Some('+'),
                _ => spec.sign = spec.sign.or(Some(' ')),
            }
        }
        (spec, left)
    }

    /// Reads a width or precision. For `*`, this is the next argument.
    fn number(&mut self) -> Result<Option<i128>> {
        if self.chars.next_if_eq(&'*').is_some() {
            let value = self.next_positional()?;
            return value
                .as_int()
                .map(Some)
                .ok_or_else(|| Error::fault("* wants int"));
        }
        let mut value = None;
        while let Some(digit) = self.chars.next_if(char::is_ascii_digit) {
            let digit = i128::from(digit.to_digit(10).unwrap_or(0));
            value = Some((value.unwrap_or(0) * 10 + digit).min(1 << 40));
        }
        Ok(value)
    }

    fn next_positional(&mut self) -> Result<&'a Value> {
        self.positional
            .next()
            .ok_or_else(|| Error::fault("not enough arguments for format string"))
    }

    fn named(&mut self, key: &str) -> Result<&'a Value> {
        self.mapped = true;
        let Value::Dict(dict) = self.arguments else {
            return Err(Error::fault("format requires a mapping"));
        };
        let found = dict.get_text(&key.into());
        found.ok_or_else(|| Error::fault(format!("KeyError: '{key}'")))
    }

    /// Fails if there are more arguments than conversions.
    fn refuse_unused(mut self) -> Result<()> {
        let unused = self.positional.next().is_some();
        if unused && !self.mapped && !matches!(self.arguments, Value::Dict(_) | Value::List(_)) {
            return Err(Error::fault(
                "not all arguments converted during string formatting",
            ));
        }
        Ok(())
    }
}

/// Writes a value by the letter `kind`.
fn write(out: &mut String, value: &Value, kind: char, spec: &FormatSpec) -> Result<()> {
    let wanted = |what: &str| {
        Error::fault(format!(
            "%{kind} format: {what} is required, not {}",
            value.kind()
        ))
    };
    match kind {
        's' => pad(out, &shortened(&value.to_text(), spec.precision), spec),
        'r' => pad(out, &shortened(&value.repr(), spec.precision), spec),
        'a' => pad(out, &shortened(&ascii(&value.repr()), spec.precision), spec),
        'c' => {
            let text = match (value.as_text(), value.as_int()) {
                (Some(text), _) if text.chars().count() == 1 => text.to_string(),
                (_, Some(code)) => character(code)?.to_string(),
                _ => return Err(Error::fault("%c requires int or char")),
            };
            pad(out, &text, spec);
        }
        'd' | 'i' | 'u' => {
            let value = match value {
                Value::Float(number) if number.is_finite() => *number as i128,
                value => value.as_int().ok_or_else(|| wanted("a real number"))?,
            };
            integer(out, value, 'd', spec);
        }
        'o' | 'x' | 'X' => {
            let value = value.as_int().ok_or_else(|| wanted("an integer"))?;
            integer(out, value, kind, spec);
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let value = value
                .as_float()
                .ok_or_else(|| Error::fault("must be real number"))?;
            real(out, value, kind, spec);
        }
        _ => return Err(Error::fault(format!("unsupported format character '{kind}'"))),
    }
    Ok(())
}
