//! Splits a template into tokens. White space is already trimmed by `trim_blocks`, `lstrip_blocks`,
//! `-` and `+`.

use super::Whitespace;
use super::ast::Text;
use super::error::{Error, Result};
use super::text::is_space;

#[derive(Debug, Clone, PartialEq)]
pub enum TokenKind {
    Data(Text),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(Text),
    Str(Text),
    Int(i128),
    Float(f64),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

impl TokenKind {
    /// Returns the token's name in messages.
    pub fn words(&self) -> String {
        match self {
            TokenKind::Data(_) => "text".to_owned(),
            TokenKind::VariableBegin => "`{{`".to_owned(),
            TokenKind::VariableEnd => "`}}`".to_owned(),
            TokenKind::BlockBegin => "`{%`".to_owned(),
            TokenKind::BlockEnd => "`%}`".to_owned(),
            TokenKind::Name(name) => format!("`{name}`"),
            TokenKind::Str(text) => format!("the string {text:?}"),
            TokenKind::Int(number) => format!("`{number}`"),
            TokenKind::Float(number) => format!("`{number}`"),
            TokenKind::Sign(sign) => format!("`{sign}`"),
            TokenKind::End => "the end of the template".to_owned(),
        }
    }
}

/// Operators and brackets. The first that fits is taken, so longer ones stand before their
/// prefixes.
const SIGNS: [&str; 25] = [
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", ".", ",", ":", "|", "(",
    ")", "[", "]", "{", "}",
];

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    tokens: Vec<(TokenKind, usize)>,
    /// Whether the text read last ended a line, or nothing was read yet.
    at_line_start: bool,
    whitespace: Whitespace,
}

/// Returns the tokens of `source`, each with its line. The last is [`TokenKind::End`]. Fails on
/// malformed tokens and on tags without an end.
pub fn tokens(source: &str, whitespace: Whitespace) -> Result<Vec<(TokenKind, usize)>> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer {
        source,
        at: 0,
        line: 1,
        tokens: Vec::new(),
        at_line_start: true,
        whitespace,
    };
    lexer.run()?;
    let line = lexer.line;
    lexer.tokens.push((TokenKind::End, line));
    Ok(lexer.tokens)
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn advance(&mut self, bytes: usize) {
        let passed = &self.source[self.at..self.at + bytes];
        self.line += passed.matches('\n').count();
        self.at_line_start = passed.ends_with('\n') || (bytes == 0 && self.at_line_start);
        self.at += bytes;
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::syntax(message).at(self.line)
    }

    fn data(&mut self, text: &str) {
        if !text.is_empty() {
            self.tokens.push((TokenKind::Data(text.into()), self.line));
        }
    }

    fn run(&mut self) -> Result<()> {
        loop {
            let rest = self.rest();
            let next = rest
                .match_indices('{')
                .map(|(index, _)| index)
                .find(|&index| matches!(rest.as_bytes().get(index + 1), Some(b'{' | b'%' | b'#')));
            let Some(index) = next else {
                self.data(rest);
                self.advance(rest.len());
                return Ok(());
            };
            let kind = rest.as_bytes()[index + 1];
            let sign = rest.as_bytes().get(index + 2).copied();
            let mut text = &rest[..index];
            match sign {
                Some(b'-') => text = text.trim_end_matches(is_space),
                Some(b'+') => {}
                _ if kind != b'{' && self.whitespace == Whitespace::Trimmed => {
                    text = self.without_indentation(text);
                }
                _ => {}
            }
            self.data(text);
            let signed = matches!(sign, Some(b'-' | b'+'));
            self.advance(index + 2 + usize::from(signed));
            match kind {
                b'#' => self.comment()?,
                b'{' => {
                    self.tokens.push((TokenKind::VariableBegin, self.line));
                    self.code("}}", TokenKind::VariableEnd)?;
                }
                _ => match self.raw_begin() {
                    Some(length) => {
                        self.advance(length);
                        self.raw()?;
                    }
                    None => {
                        self.tokens.push((TokenKind::BlockBegin, self.line));
                        self.code("%}", TokenKind::BlockEnd)?;
                    }
                },
            }
        }
    }

    /// Removes white space at the end of a text if it begins a line (`lstrip_blocks`).
    fn without_indentation<'t>(&self, text: &'t str) -> &'t str {
        let begins = text.rfind('\n').map_or(0, |newline| newline + 1);
        let starts = begins > 0 || self.at_line_start;
        match starts && text[begins..].chars().all(is_space) {
            true => &text[..begins],
            false => text,
        }
    }

    /// Returns the bytes of the end of a tag here and of the white space that it trims. None if
    /// there is no end.
    fn tag_end(&self, end: &str, trims: bool) -> Option<usize> {
        let rest = self.rest();
        if let Some(behind) = rest.strip_prefix('-').and_then(|rest| rest.strip_prefix(end)) {
            let blank = behind.len() - behind.trim_start_matches(is_space).len();
            return Some(1 + end.len() + blank);
        }
        if trims && rest.strip_prefix('+').is_some_and(|rest| rest.starts_with(end)) {
            return Some(1 + end.len());
        }
        let behind = rest.strip_prefix(end)?;
        let newline = trims && self.whitespace == Whitespace::Trimmed && behind.starts_with('\n');
        Some(end.len() + usize::from(newline))
    }

    fn comment(&mut self) -> Result<()> {
        let rest = self.rest();
        let end = rest
            .find("#}")
            .ok_or_else(|| self.error("a comment has no end"))?;
        let signed = end > 0 && matches!(rest.as_bytes()[end - 1], b'-' | b'+');
        self.advance(end - usize::from(signed));
        let length = self.tag_end("#}", true).expect("it was found");
        self.advance(length);
        Ok(())
    }

    /// Returns the bytes of ` raw %}` here.
    fn raw_begin(&self) -> Option<usize> {
        let rest = self.rest();
        let word = rest.trim_start_matches(is_space);
        let behind = word.strip_prefix("raw")?;
        let end = behind.trim_start_matches(is_space);
        let blank = |text: &str| text.len() - text.trim_start_matches(is_space).len();
        if let Some(after) = end.strip_prefix("-%}") {
            return Some(rest.len() - after.len() + blank(after));
        }
        Some(rest.len() - end.strip_prefix("%}")?.len())
    }

    fn raw(&mut self) -> Result<()> {
        let rest = self.rest();
        for (index, _) in rest.match_indices("{%") {
            let inner = &rest[index + 2..];
            let (sign, inner) = match inner.as_bytes().first() {
                Some(b'-') => (Some('-'), &inner[1..]),
                Some(b'+') => (Some('+'), &inner[1..]),
                _ => (None, inner),
            };
            let word = inner.trim_start_matches(is_space);
            let Some(end) = word.strip_prefix("endraw") else {
                continue;
            };
            let end = end.trim_start_matches(is_space);
            let whole = rest.len() - end.len();
            let mut text = &rest[..index];
            if sign == Some('-') {
                text = text.trim_end_matches(is_space);
            } else if sign.is_none() && self.whitespace == Whitespace::Trimmed {
                text = self.without_indentation(text);
            }
            let here = (self.at, self.line);
            self.data(text);
            self.advance(whole);
            match self.tag_end("%}", true) {
                Some(length) => {
                    self.advance(length);
                    return Ok(());
                }
                None => {
                    self.tokens.pop();
                    (self.at, self.line) = here;
                }
            }
        }
        Err(self.error("`raw` has no `endraw`"))
    }

    /// Reads tokens up to `end`, which counts only outside of brackets.
    fn code(&mut self, end: &str, token: TokenKind) -> Result<()> {
        let mut open: Vec<&str> = Vec::new();
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches(is_space).len();
            let trims = end == "%}";
            // White space in front of the end is skipped below, so the end is looked for only here.
            if blank == 0
                && open.is_empty()
                && let Some(length) = self.tag_end(end, trims)
            {
                self.tokens.push((token, self.line));
                self.advance(length);
                return Ok(());
            }
            if blank > 0 {
                self.advance(blank);
                continue;
            }
            let Some(first) = rest.chars().next() else {
                return Err(self.error(format!("a tag has no `{end}`")));
            };
            let line = self.line;
            let (read, length) = match first {
                '\'' | '"' => self.string(first)?,
                '0'..='9' => {
                    // `pairs.1.0` contains two integers and no float.
                    let after_dot = self.source[..self.at].ends_with('.');
                    number(rest, after_dot).map_err(|message| self.error(message))?
                }
                c if c == '_' || c.is_alphabetic() => {
                    let length = rest
                        .find(|c: char| c != '_' && !c.is_alphanumeric())
                        .unwrap_or(rest.len());
                    (TokenKind::Name(rest[..length].into()), length)
                }
                c => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                    Some(sign) => (TokenKind::Sign(sign), sign.len()),
                    None => return Err(self.error(format!("unexpected `{c}`"))),
                },
            };
            if let TokenKind::Sign(sign) = read {
                match sign {
                    "(" => open.push(")"),
                    "[" => open.push("]"),
                    "{" => open.push("}"),
                    ")" | "]" | "}" if open.pop() != Some(sign) => {
                        return Err(self.error(format!("unexpected `{sign}`")));
                    }
                    _ => {}
                }
            }
            self.tokens.push((read, line));
            self.advance(length);
        }
    }

    fn string(&self, quote: char) -> Result<(TokenKind, usize)> {
        let rest = self.rest();
        let mut escaped = false;
        let mut end = None;
        for (index, c) in rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => {
                    end = Some(index);
                    break;
                }
                _ => {}
            }
        }
        let end = end.ok_or_else(|| self.error("a string has no end"))?;
        let text = unescaped(&rest[1..end]).map_err(|message| self.error(message))?;
        Ok((TokenKind::Str(text.into()), end + 1))
    }
}

/// Replaces the escapes of a Python string literal.
fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.peek().copied() {
            Some('x') => {
                chars.next();
                out.push(hex(&mut chars, 2)?);
            }
            Some('u') => {
                chars.next();
                out.push(hex(&mut chars, 4)?);
            }
            Some('U') => {
                chars.next();
                out.push(hex(&mut chars, 8)?);
            }
            Some('N') => return Err("\\N{…} in a string is not supported".to_owned()),
            Some('0'..='7') => {
                let mut value = 0;
                for _ in 0..3 {
                    match chars.peek().and_then(|c| c.to_digit(8)) {
                        Some(digit) => value = value * 8 + digit,
                        None => break,
                    }
                    chars.next();
                }
                out.push(char::from_u32(value).unwrap_or('\u{FFFD}'));
            }
            Some('\n') => {
                chars.next();
            }
            Some(c) => {
                chars.next();
                match c {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    'r' => out.push('\r'),
                    'a' => out.push('\x07'),
                    'b' => out.push('\x08'),
                    'f' => out.push('\x0c'),
                    'v' => out.push('\x0b'),
                    '\\' | '\'' | '"' => out.push(c),
                    _ => {
                        out.push('\\');
                        out.push(c);
                    }
                }
            }
            None => return Err("a string ends within an escape".to_owned()),
        }
    }
    Ok(out)
}

/// Reads the digits of an escape as a code point.
fn hex(chars: &mut impl Iterator<Item = char>, digits: usize) -> Result<char, String> {
    let mut value: u32 = 0;
    for _ in 0..digits {
        let digit = chars.next().and_then(|c| c.to_digit(16));
        value = value.wrapping_mul(16) + digit.ok_or("an escape of a string is cut off")?;
    }
    char::from_u32(value).ok_or_else(|| format!("\\u{value:04x} in a string is half a character"))
}

/// Reads the number that `rest` begins with, and returns its bytes too. With `whole_only` it is an
/// integer.
fn number(rest: &str, whole_only: bool) -> Result<(TokenKind, usize), String> {
    let bytes = rest.as_bytes();
    // Returns the end of the digits. `_` may stand between them.
    let digits = |mut at: usize, fits: &dyn Fn(u8) -> bool| {
        let start = at;
        while at < bytes.len() {
            let here = bytes[at];
            let follows = bytes.get(at + 1).is_some_and(|next| fits(*next));
            if !(fits(here) || (here == b'_' && at > start && follows)) {
                break;
            }
            at += 1;
        }
        at
    };
    let radix = match bytes.get(1).map(u8::to_ascii_lowercase) {
        Some(b'x') if bytes[0] == b'0' => 16,
        Some(b'o') if bytes[0] == b'0' => 8,
        Some(b'b') if bytes[0] == b'0' => 2,
        _ => 10,
    };
    let whole_number = |text: &str, radix: u32| {
        let value =
            i128::from_str_radix(text, radix).map_err(|_| format!("`{text}` is too large a number"))?;
        Ok::<_, String>(TokenKind::Int(value))
    };
    if radix != 10 {
        let fits = |byte: u8| (byte as char).is_digit(radix);
        let first = 2 + usize::from(bytes.get(2) == Some(&b'_'));
        let end = digits(first, &fits);
        if end > first {
            return Ok((whole_number(&rest[first..end].replace('_', ""), radix)?, end));
        }
    }
    let decimal = |byte: u8| byte.is_ascii_digit();
    let whole = digits(0, &decimal);
    let mut end = whole;
    if whole_only {
        return Ok((whole_number(&rest[..end].replace('_', ""), 10)?, end));
    }
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(|b| decimal(*b)) {
        end = digits(end + 1, &decimal);
    }
    if bytes.get(end).is_some_and(|b| matches!(b, b'e' | b'E')) {
        let sign = usize::from(bytes.get(end + 1).is_some_and(|b| matches!(b, b'+' | b'-')));
        if bytes.get(end + 1 + sign).is_some_and(|b| decimal(*b)) {
            end = digits(end + 1 + sign, &decimal);
        }
    }
    let text = rest[..end].replace('_', "");
    if end > whole {
        let value = text.parse::<f64>().map_err(|error| error.to_string())?;
        return Ok((TokenKind::Float(value), end));
    }
    // Jinja2 reads `007` as three numbers and then fails.
    if text.len() > 1 && text.starts_with('0') && text.bytes().any(|b| b != b'0') {
        return Err(format!("`{text}` is no number"));
    }
    Ok((whole_number(&text, 10)?, end))
}
