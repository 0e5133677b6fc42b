//! A template's text as tokens, with the white space of `trim_blocks`, `lstrip_blocks`, `-` and `+` already applied.

use super::Blanks;
use super::ast::Text;
use super::error::{Error, Kind};

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
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

impl Token {
    /// As messages call it.
    pub fn words(&self) -> String {
        match self {
            Token::Data(_) => "text".to_owned(),
            Token::VariableBegin => "`{{`".to_owned(),
            Token::VariableEnd => "`}}`".to_owned(),
            Token::BlockBegin => "`{%`".to_owned(),
            Token::BlockEnd => "`%}`".to_owned(),
            Token::Name(name) => format!("`{name}`"),
            Token::Str(text) => format!("the string {text:?}"),
            Token::Int(number) => format!("`{number}`"),
            Token::Float(number) => format!("`{number}`"),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end of the template".to_owned(),
        }
    }
}

/// Longer ones first.
const SIGNS: [&str; 25] = [
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", ".", ",", ":", "|", "(",
    ")", "[", "]", "{", "}",
];

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    tokens: Vec<(Token, usize)>,
    /// Whether what was read last ended a line, or nothing was read yet.
    at_line_start: bool,
    blanks: Blanks,
}

/// The tokens of `source`, each with its line; the last is [`Token::End`].
pub fn tokens(source: &str, blanks: Blanks) -> Result<Vec<(Token, usize)>, Error> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer {
        source,
        at: 0,
        line: 1,
        tokens: Vec::new(),
        at_line_start: true,
        blanks,
    };
    lexer.run()?;
    let line = lexer.line;
    lexer.tokens.push((Token::End, line));
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
        Error::new(Kind::Syntax, message).at(self.line)
    }

    fn data(&mut self, text: &str) {
        if !text.is_empty() {
            self.tokens.push((Token::Data(text.into()), self.line));
        }
    }

    fn run(&mut self) -> Result<(), Error> {
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
                Some(b'-') => text = text.trim_end_matches(super::text::is_space),
                Some(b'+') => {}
                _ if kind != b'{' && self.blanks == Blanks::Trimmed => {
                    // Blanks between the beginning of a line and a tag.
                    let begins = text.rfind('\n').map_or(0, |newline| newline + 1);
                    let starts = begins > 0 || self.at_line_start;
                    if starts && text[begins..].chars().all(super::text::is_space) {
                        text = &text[..begins];
                    }
                }
                _ => {}
            }
            self.data(text);
            let signed = matches!(sign, Some(b'-' | b'+'));
            self.advance(index + 2 + usize::from(signed));
            match kind {
                b'#' => self.comment()?,
                b'{' => {
                    self.tokens.push((Token::VariableBegin, self.line));
                    self.code("}}", Token::VariableEnd)?;
                }
                _ => match self.raw_begin() {
                    Some(length) => {
                        self.advance(length);
                        self.raw()?;
                    }
                    None => {
                        self.tokens.push((Token::BlockBegin, self.line));
                        self.code("%}", Token::BlockEnd)?;
                    }
                },
            }
        }
    }

    /// Bytes of the end of a tag here, with the white space it takes along.
    fn tag_end(&self, end: &str, trims: bool) -> Option<usize> {
        let rest = self.rest();
        if let Some(behind) = rest.strip_prefix('-').and_then(|rest| rest.strip_prefix(end)) {
            let blank = behind.len() - behind.trim_start_matches(super::text::is_space).len();
            return Some(1 + end.len() + blank);
        }
        if trims && rest.strip_prefix('+').is_some_and(|rest| rest.starts_with(end)) {
            return Some(1 + end.len());
        }
        let behind = rest.strip_prefix(end)?;
        let newline = trims && self.blanks == Blanks::Trimmed && behind.starts_with('\n');
        Some(end.len() + usize::from(newline))
    }

    fn comment(&mut self) -> Result<(), Error> {
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

    /// Bytes of ` raw %}` here.
    fn raw_begin(&self) -> Option<usize> {
        let rest = self.rest();
        let word = rest.trim_start_matches(super::text::is_space);
        let behind = word.strip_prefix("raw")?;
        let end = behind.trim_start_matches(super::text::is_space);
        let blank = |text: &str| text.len() - text.trim_start_matches(super::text::is_space).len();
        if let Some(after) = end.strip_prefix("-%}") {
            return Some(rest.len() - after.len() + blank(after));
        }
        Some(rest.len() - end.strip_prefix("%}")?.len())
    }

    fn raw(&mut self) -> Result<(), Error> {
        let rest = self.rest();
        for (index, _) in rest.match_indices("{%") {
            let inner = &rest[index + 2..];
            let (sign, inner) = match inner.as_bytes().first() {
                Some(b'-') => (Some('-'), &inner[1..]),
                Some(b'+') => (Some('+'), &inner[1..]),
                _ => (None, inner),
            };
            let word = inner.trim_start_matches(super::text::is_space);
            let Some(end) = word.strip_prefix("endraw") else {
                continue;
            };
            let end = end.trim_start_matches(super::text::is_space);
            let whole = rest.len() - end.len();
            let mut text = &rest[..index];
            if sign == Some('-') {
                text = text.trim_end_matches(super::text::is_space);
            } else if sign.is_none() && self.blanks == Blanks::Trimmed {
                let begins = text.rfind('\n').map_or(0, |newline| newline + 1);
                let starts = begins > 0 || self.at_line_start;
                if starts && text[begins..].chars().all(super::text::is_space) {
                    text = &text[..begins];
                }
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

    /// Tokens up to `end`, which only counts outside of brackets.
    fn code(&mut self, end: &str, token: Token) -> Result<(), Error> {
        let mut open: Vec<&str> = Vec::new();
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches(super::text::is_space).len();
            let trims = end == "%}";
            // `-}}` counts only where it stands; blanks before it were skipped.
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
                    // In `pairs.1.0` there are two whole numbers.
                    let after_dot = self.source[..self.at].ends_with('.');
                    number(rest, after_dot).map_err(|message| self.error(message))?
                }
                c if c == '_' || c.is_alphabetic() => {
                    let length = rest
                        .find(|c: char| c != '_' && !c.is_alphanumeric())
                        .unwrap_or(rest.len());
                    (Token::Name(rest[..length].into()), length)
                }
                c => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                    Some(sign) => (Token::Sign(sign), sign.len()),
                    None => return Err(self.error(format!("unexpected `{c}`"))),
                },
            };
            if let Token::Sign(sign) = read {
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

    fn string(&self, quote: char) -> Result<(Token, usize), Error> {
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
        Ok((Token::Str(text.into()), end + 1))
    }
}

/// What a string literal of Python means.
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

fn hex(chars: &mut impl Iterator<Item = char>, digits: usize) -> Result<char, String> {
    let mut value: u32 = 0;
    for _ in 0..digits {
        let digit = chars.next().and_then(|c| c.to_digit(16));
        value = value.wrapping_mul(16) + digit.ok_or("an escape of a string is cut off")?;
    }
    char::from_u32(value).ok_or_else(|| format!("\\u{value:04x} in a string is half a character"))
}

/// The number that `rest` begins with, in `whole_only` without a fraction, and its bytes.
fn number(rest: &str, whole_only: bool) -> Result<(Token, usize), String> {
    let bytes = rest.as_bytes();
    // `_` stands between digits only.
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
        Ok::<_, String>(Token::Int(value))
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
        return Ok((Token::Float(value), end));
    }
    // `007` is three numbers to the reference, which then complains.
    if text.len() > 1 && text.starts_with('0') && text.bytes().any(|b| b != b'0') {
        return Err(format!("`{text}` is no number"));
    }
    Ok((whole_number(&text, 10)?, end))
}
