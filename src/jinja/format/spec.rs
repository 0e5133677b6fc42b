//! Format specifications: `>10.2f`.

use super::super::error::{Error, Result};

/// Maximum width and precision. A template must not be able to exhaust the memory.
const WIDEST: usize = 100_000;

/// How a value is formatted.
#[derive(Debug, Default, Clone)]
pub(super) struct FormatSpec {
    pub(super) fill: Option<char>,
    /// `<`, `>`, `^` or `=`.
    pub(super) align: Option<char>,
    /// `+`, `-` or a space.
    pub(super) sign: Option<char>,
    /// The flag `#`.
    pub(super) alternate: bool,
    /// The flag `0`.
    pub(super) zero: bool,
    pub(super) width: usize,
    /// Separator of groups of digits: `,` or `_`.
    pub(super) group: Option<char>,
    pub(super) precision: Option<usize>,
    /// The letter at the end, such as `f`.
    pub(super) kind: Option<char>,
}

/// Checks a width or precision.
pub(super) fn bounded(number: i128) -> Result<usize> {
    usize::try_from(number)
        .ok()
        .filter(|width| *width <= WIDEST)
        .ok_or_else(|| Error::fault(format!("a width of {number} is not supported")))
}

impl FormatSpec {
    /// Parses the text behind the colon of a replacement field.
    pub(super) fn parse(spec: &str) -> Result<FormatSpec> {
        let invalid = || Error::fault(format!("Invalid format specifier '{spec}'"));
        let mut parsed = FormatSpec::default();
        let mut chars: Vec<char> = spec.chars().collect();
        chars.reverse();
        let is_align = |c: Option<&char>| c.is_some_and(|c| "<>=^".contains(*c));
        if chars.len() >= 2 && is_align(chars.get(chars.len() - 2)) {
            parsed.fill = chars.pop();
            parsed.align = chars.pop();
        } else if is_align(chars.last()) {
            parsed.align = chars.pop();
        }
        let mut take = |fits: &dyn Fn(char) -> bool| match chars.last() {
            Some(c) if fits(*c) => chars.pop(),
            _ => None,
        };
        parsed.sign = take(&|c| "+- ".contains(c));
        let _ = take(&|c| c == 'z');
        parsed.alternate = take(&|c| c == '#').is_some();
        parsed.zero = take(&|c| c == '0').is_some();
        if parsed.zero {
            parsed.fill = parsed.fill.or(Some('0'));
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
        parsed.width = number(&mut take)?.unwrap_or(0);
        parsed.group = take(&|c| c == ',' || c == '_');
        if take(&|c| c == '.').is_some() {
            parsed.precision = Some(number(&mut take)?.ok_or_else(invalid)?);
        }
        parsed.kind = take(&|_| true);
        match chars.is_empty() {
            true => Ok(parsed),
            false => Err(invalid()),
        }
    }
}
