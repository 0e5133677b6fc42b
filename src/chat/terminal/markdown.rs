//! Answers on a terminal with colors: bold, code, headings and lists of Markdown are shown as such,
//! everything else as it is. Works on a stream: what may still become a mark is held back, within
//! its line only.

use std::borrow::Cow;

use ewe::text::clean;

const BOLD: &str = "\x1b[1m";
const CODE: &str = "\x1b[36m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// The most bytes that are held back for the end of a mark.
const MOST_HELD: usize = 600;

/// Turns Markdown into text with escape sequences, piece by piece: however the text is cut, the
/// pieces join to the same text.
#[derive(Debug, Default)]
pub struct Markdown {
    /// Text of the line that is not shown yet.
    held: String,
    /// Whether something of the line was shown.
    is_begun: bool,
    /// Whether the line is a heading.
    is_heading: bool,
    /// Whether the line is within a block of code.
    is_code: bool,
}

/// How a line begins.
#[derive(Debug, PartialEq, Eq)]
enum Beginning {
    /// That is not known yet.
    Open,
    /// As a heading, behind so many bytes.
    Heading(usize),
    /// As part of a list: the white space before its mark, and the bytes of both.
    Item(usize, usize),
    /// It begins or ends a block of code.
    Fence,
    /// As text.
    Text,
}

impl Markdown {
    /// Takes more text. Returns what can be shown.
    pub fn push(&mut self, text: &str) -> String {
        self.held.push_str(&clean(text));
        let mut out = String::new();
        while let Some(end) = self.held.find('\n') {
            let rest = self.held.split_off(end + 1);
            self.held.truncate(end);
            self.line(&mut out, true);
            out.push('\n');
            (self.held, self.is_begun, self.is_heading) = (rest, false, false);
        }
        self.line(&mut out, false);
        out
    }

    /// Returns the rest, when no text follows.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        self.line(&mut out, true);
        out
    }

    /// Shows what can be shown of the line that is held; all of it if it `is_whole`.
    fn line(&mut self, out: &mut String, is_whole: bool) {
        if !self.is_begun {
            let beginning = beginning(&self.held, is_whole);
            match beginning {
                Beginning::Open => return,
                // The whole line says what it is.
                Beginning::Fence if !is_whole => return,
                Beginning::Fence => {
                    self.is_code = !self.is_code;
                    styled(out, DIM, &std::mem::take(&mut self.held), "");
                    return;
                }
                _ if self.is_code => {}
                Beginning::Heading(mark) => {
                    self.held.drain(..mark);
                    self.is_heading = true;
                }
                Beginning::Item(indent, mark) => {
                    self.held.drain(..mark);
                    out.push_str(&" ".repeat(indent));
                    out.push_str("• ");
                }
                Beginning::Text => {}
            }
            self.is_begun = true;
        }
        if self.is_code {
            styled(out, CODE, &std::mem::take(&mut self.held), "");
            return;
        }
        let base = if self.is_heading { BOLD } else { "" };
        let shown = spans(&self.held, base, is_whole, out);
        self.held.drain(..shown);
    }
}

/// Writes a text in a style, and goes back to `base`.
fn styled(out: &mut String, style: &str, text: &str, base: &str) {
    if !text.is_empty() {
        out.extend([style, text, PLAIN, base]);
    }
}

/// How a line begins.
fn beginning(line: &str, is_whole: bool) -> Beginning {
    let text = line.trim_start_matches(' ');
    let indent = line.len() - text.len();
    let open = |otherwise| if is_whole { otherwise } else { Beginning::Open };
    if text.is_empty() {
        return open(Beginning::Text);
    }
    if ["```", "~~~"].iter().any(|fence| text.starts_with(fence)) {
        return Beginning::Fence;
    }
    if ["```", "~~~"].iter().any(|fence| fence.starts_with(text)) {
        return open(Beginning::Text);
    }
    let hashes = text.len() - text.trim_start_matches('#').len();
    let behind = text.as_bytes().get(hashes.max(1));
    match (hashes, behind) {
        (1..=6, Some(b' ')) => Beginning::Heading(indent + hashes + 1),
        (1..=6, None) => open(Beginning::Text),
        (0, Some(b' ')) if text.starts_with(['-', '*', '+']) => Beginning::Item(indent, indent + 2),
        (0, None) if text.starts_with(['-', '*', '+']) => open(Beginning::Text),
        _ => Beginning::Text,
    }
}

/// Writes a line, or its beginning, with code and bold text as such. Returns how many bytes of it:
/// a mark that is not closed waits for more of the line.
fn spans(line: &str, base: &str, is_whole: bool, out: &mut String) -> usize {
    let mut at = 0;
    let mut plain = String::new();
    while let Some(next) = line[at..].find(['`', '*']) {
        plain.push_str(&line[at..at + next]);
        at += next;
        let rest = &line[at..];
        let is_last = is_whole || rest.len() >= MOST_HELD;
        match span(rest, is_last) {
            Span::Styled(style, inner, length) => {
                flush(&mut plain, base, out);
                let inner = match style {
                    BOLD => without_code_marks(inner),
                    _ => inner.into(),
                };
                styled(out, style, &inner, "");
                at += length;
            }
            Span::Plain(length) => {
                plain.push_str(&rest[..length]);
                at += length;
            }
            Span::Open => {
                flush(&mut plain, base, out);
                return at;
            }
        }
    }
    plain.push_str(&line[at..]);
    flush(&mut plain, base, out);
    line.len()
}

/// Writes what was collected, in the style of the line.
fn flush(plain: &mut String, base: &str, out: &mut String) {
    match base {
        "" => out.push_str(plain),
        style => styled(out, style, plain, ""),
    }
    plain.clear();
}

/// What a text begins with.
enum Span<'a> {
    /// A style, the text in it, and the bytes of the text with both marks.
    Styled(&'static str, &'a str, usize),
    /// So many bytes that are no mark.
    Plain(usize),
    /// What more text decides.
    Open,
}

/// Reads the mark that a text begins with; nothing follows the text if it `is_last`.
fn span(text: &str, is_last: bool) -> Span<'_> {
    let run = |of: char| text.len() - text.trim_start_matches(of).len();
    let (style, mark) = match run('`') {
        0 => (BOLD, run('*')),
        ticks => (CODE, ticks),
    };
    let inner = &text[mark..];
    let open = if is_last { Span::Plain(mark) } else { Span::Open };
    // More of the same letter may follow.
    let Some(next) = inner.chars().next() else {
        return open;
    };
    if style == BOLD && (mark != 2 || next.is_whitespace()) {
        return Span::Plain(mark);
    }
    let mut from = 0;
    while let Some(found) = inner[from..].find(&text[..mark]) {
        let end = from + found;
        let behind = &inner[end + mark..];
        if style == CODE && behind.is_empty() && !is_last {
            return Span::Open;
        }
        let is_closed = match style {
            CODE => !behind.starts_with('`'),
            _ => !inner[..end].ends_with(' '),
        };
        if is_closed && end > 0 {
            return Span::Styled(style, &inner[..end], 2 * mark + end);
        }
        from = end + mark;
    }
    open
}

/// Bold text is bold as a whole.
fn without_code_marks(text: &str) -> Cow<'_, str> {
    match text.contains('`') {
        true => text.replace('`', "").into(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown<'a>(parts: impl Iterator<Item = &'a str>) -> String {
        let mut markdown = Markdown::default();
        let mut out: String = parts.map(|part| markdown.push(part)).collect();
        out += &markdown.finish();
        out
    }

    /// With names in place of escape sequences.
    fn named(text: &str) -> String {
        let names = [(BOLD, "<b>"), (CODE, "<c>"), (DIM, "<d>"), (PLAIN, "</>")];
        let shown = shown([text].into_iter());
        names
            .iter()
            .fold(shown, |text, (from, to)| text.replace(from, to))
    }

    #[test]
    fn marks_become_styles() {
        for (text, want) in [
            ("plain", "plain"),
            ("so **very** bold", "so <b>very</> bold"),
            ("**a** and **b c**\n", "<b>a</> and <b>b c</>\n"),
            ("call `f(x)`.", "call <c>f(x)</>."),
            ("``a ` b``", "<c>a ` b</>"),
            ("**call `f`**", "<b>call f</>"),
            ("# One\ntwo", "<b>One</>\ntwo"),
            ("## A `b` c", "<b>A </><c>b</><b> c</>"),
            ("- a\n  * **b**\n+ c", "• a\n  • <b>b</>\n• c"),
            ("1. a\n2. b", "1. a\n2. b"),
            (
                "```rust\nlet **x** = 1;\n- y\n```\n- z",
                "<d>```rust</>\n<c>let **x** = 1;</>\n<c>- y</>\n<d>```</>\n• z",
            ),
            ("~~~\na", "<d>~~~</>\n<c>a</>"),
        ] {
            assert_eq!(named(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_mark_stays() {
        for text in [
            "2 * 3 ** 4",
            "a ** b **",
            "**",
            "***",
            "`",
            "``",
            "it's a `tick",
            "a * b * c",
            "#hash",
            "####### x",
            "-",
            "--",
            "-5",
            "*a*",
            "**a",
            "** a**",
            "* ",
            "",
            "\n\n",
            "é*ü`ß",
        ] {
            let want = text
                .strip_prefix("* ")
                .map_or(text.to_owned(), |rest| format!("• {rest}"));
            assert_eq!(named(text), want, "{text}");
        }
        // No answer controls the terminal.
        assert!(!named("\x1b[2J**a\x1b]0;x\x07**").contains('\x1b'));
    }

    #[test]
    fn text_is_held_back_for_its_mark_only() {
        let mut markdown = Markdown::default();
        for (part, want) in [
            ("one tw", "one tw"),
            ("o *", "o "),
            ("*th", ""),
            ("ree**", "\x1b[1mthree\x1b[0m"),
            ("\n", "\n"),
            ("#", ""),
            (" four", "\x1b[1mfour\x1b[0m"),
        ] {
            assert_eq!(markdown.push(part), want, "{part}");
        }
        let long = "x".repeat(2 * MOST_HELD);
        assert_eq!(Markdown::default().push(&format!("`{long}")), format!("`{long}"));
    }

    proptest! {
        #[test]
        fn however_a_text_is_cut_it_says_the_same(
            parts in proptest::collection::vec("[a*` #\\n~-]{0,5}", 0..8),
        ) {
            let plain = |text: String| [BOLD, CODE, DIM, PLAIN].iter().fold(text, |text, style| text.replace(style, ""));
            let whole: String = parts.concat();
            let cut = plain(shown(parts.iter().map(String::as_str)));
            prop_assert_eq!(cut, plain(shown([whole.as_str()].into_iter())));
        }
    }
}
