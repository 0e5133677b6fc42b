//! HTML as blocks. The tokens are those of the standard (html5gum); no tree is built, so nesting
//! costs nothing however deep it is.

use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};

use super::plain::{push, titled};
use super::{Block, BlockKind, Document};

/// Elements whose text is not shown, or is not the page's own.
const HIDDEN: [&str; 11] = [
    "script", "style", "template", "noscript", "svg", "math", "select", "iframe", "object", "canvas", "head",
];

/// Elements before and after which a line ends.
const BLOCKS: [&str; 35] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "center",
    "dd",
    "details",
    "dialog",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "header",
    "hr",
    "html",
    "legend",
    "li",
    "main",
    "menu",
    "nav",
    "ol",
    "p",
    "section",
    "summary",
    "table",
    "tbody",
    "thead",
    "tr",
    "ul",
    "caption",
];

/// Elements that have no end.
const VOID: [&str; 6] = ["br", "hr", "img", "input", "link", "meta"];

/// What the tokens so far have opened.
#[derive(Default)]
struct Page {
    blocks: Vec<Block>,
    title: String,
    text: String,
    /// How deep in an element that is not shown, and its name.
    hidden: Option<(String, usize)>,
    in_title: bool,
    pre: usize,
    heading: Option<u8>,
}

/// Reads a page.
pub fn read(text: &str) -> Document {
    let mut page = Page::default();
    let mut emitter = DefaultEmitter::<()>::default();
    // So that a script with `<b>` in it has no elements.
    emitter.naively_switch_states(true);
    let tokens = Tokenizer::new_with_emitter(text, emitter);
    for token in tokens {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => page.start(&tag),
            Token::EndTag(tag) => page.end(&String::from_utf8_lossy(&tag.name)),
            Token::String(text) => page.characters(&String::from_utf8_lossy(&text)),
            _ => {}
        }
    }
    page.flush();
    let mut document = titled(page.blocks);
    let title = one_line(&page.title);
    if !title.is_empty() {
        document.title = Some(title);
    }
    document
}

/// The encoding that a page says it has.
pub fn declared_encoding(bytes: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).to_lowercase();
    // A page of XHTML says it in its first line.
    let after = ["charset=", "encoding="].iter().find_map(|key| {
        let at = head.find(key)?;
        Some(&head[at + key.len()..])
    })?;
    let label: String = after
        .trim_start_matches(['"', '\'', ' '])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "-_.:".contains(*c))
        .collect();
    (!label.is_empty()).then_some(label)
}

impl Page {
    fn start(&mut self, tag: &StartTag<()>) {
        let name = String::from_utf8_lossy(&tag.name).into_owned();
        let name = name.as_str();
        if let Some((hidden, depth)) = &mut self.hidden {
            if hidden == name && !tag.self_closing {
                *depth += 1;
            }
            // The title is within the head, and the body may begin without an end of it.
            match name {
                "title" if hidden == "head" => self.in_title = true,
                "body" | "p" | "h1" | "div" | "main" if hidden == "head" => self.hidden = None,
                _ => return,
            }
        }
        if name == "title" {
            self.in_title = self.title.is_empty();
            return;
        }
        if HIDDEN.contains(&name) || tag.attributes.contains_key(b"hidden".as_slice()) {
            if !tag.self_closing && !VOID.contains(&name) {
                self.hidden = Some((name.to_string(), 1));
            }
            return;
        }
        match name {
            "br" => self.text.push('\n'),
            "td" | "th" => self.cell(),
            "pre" | "listing" | "textarea" => {
                self.flush();
                self.pre += 1;
            }
            "img" => {
                if let Some(text) = tag.attributes.get(b"alt".as_slice()) {
                    self.text.push_str(&String::from_utf8_lossy(text));
                }
            }
            _ => self.boundary(name, true),
        }
    }

    fn end(&mut self, name: &str) {
        if self.in_title && name == "title" {
            self.in_title = false;
            return;
        }
        if let Some((hidden, depth)) = &mut self.hidden {
            if hidden == name {
                *depth -= 1;
                if *depth == 0 {
                    self.hidden = None;
                }
            }
            return;
        }
        match name {
            "pre" | "listing" | "textarea" => {
                self.flush();
                self.pre = self.pre.saturating_sub(1);
            }
            _ => self.boundary(name, false),
        }
    }

    /// The beginning or end of an element that stands by itself.
    fn boundary(&mut self, name: &str, begins: bool) {
        let level = match name.as_bytes() {
            [b'h', digit @ b'1'..=b'6'] => Some(digit - b'0'),
            _ => None,
        };
        if level.is_some() {
            self.flush();
            self.heading = level.filter(|_| begins);
        } else if BLOCKS.contains(&name) && self.heading.is_none() {
            self.flush();
        }
    }

    /// Between the cells of a row.
    fn cell(&mut self) {
        if !self.text.trim().is_empty() {
            self.text.push_str(" | ");
        }
    }

    fn characters(&mut self, text: &str) {
        if self.in_title {
            self.title.push_str(text);
        } else if self.hidden.is_none() {
            match self.pre {
                0 => push_folded(&mut self.text, text),
                _ => self.text.push_str(text),
            }
        }
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        let kind = match (self.heading, self.pre) {
            (Some(level), _) => BlockKind::Heading(level),
            (None, 0) => BlockKind::Paragraph,
            (None, _) => BlockKind::Code,
        };
        match kind {
            BlockKind::Code => push(&mut self.blocks, kind, &text),
            BlockKind::Heading(_) => push(&mut self.blocks, kind, &one_line(&text)),
            _ => {
                let lines: Vec<&str> = text
                    .lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty())
                    .collect();
                push(&mut self.blocks, kind, &lines.join("\n"));
            }
        }
    }
}

/// Adds text with each run of white space as one blank, also across two texts.
fn push_folded(to: &mut String, text: &str) {
    for c in text.chars() {
        // A no-break space is a space to readers, and to those who count words.
        match c.is_whitespace() {
            false => to.push(c),
            true if to.ends_with([' ', '\n']) => {}
            true => to.push(' '),
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(BlockKind, String)> {
        let blocks = read(text).blocks.into_iter();
        blocks.map(|block| (block.kind, block.text)).collect()
    }

    #[test]
    fn pages_become_blocks() {
        let page = "<!doctype html><html><head><title>The\n Farm</title><style>p { a: <b> }</style></head><body>\
            <h1>Sheep <em>&amp; ewes</em></h1><p>One<br>two&nbsp;three <script>if (a<b) c()</script>four</p>\
            <ul><li>first<li>second</ul><table><tr><td>a</td><td>1</td></tr></table><pre>  x\n  y</pre></body></html>";
        assert_eq!(read(page).title.as_deref(), Some("The Farm"));
        let expected = [
            (BlockKind::Heading(1), "Sheep & ewes"),
            (BlockKind::Paragraph, "One\ntwo three four"),
            (BlockKind::Paragraph, "first"),
            (BlockKind::Paragraph, "second"),
            (BlockKind::Paragraph, "a | 1"),
            (BlockKind::Code, "  x\n  y"),
        ];
        assert_eq!(shown(page), expected.map(|(kind, text)| (kind, text.to_string())));
    }

    #[test]
    fn broken_and_deep_pages_end() {
        let deep = format!("{}deep{}", "<div><b>".repeat(20_000), "</b></div>".repeat(20_000));
        assert_eq!(shown(&deep), [(BlockKind::Paragraph, "deep".to_string())]);
        assert_eq!(
            shown("<p>open <b>and <i>never closed"),
            [(BlockKind::Paragraph, "open and never closed".into())]
        );
        assert_eq!(shown("</p></div>x<p hidden>no</p>y").len(), 1);
        // A head without an end does not hide the page.
        assert_eq!(
            shown("<head><title>t</title><p>text"),
            [(BlockKind::Paragraph, "text".into())]
        );
        assert!(shown("<!-- only").is_empty());
    }

    #[test]
    fn encodings_are_declared() {
        let declared = |text: &str| declared_encoding(text.as_bytes());
        assert_eq!(
            declared("<meta charset=\"ISO-8859-2\">").as_deref(),
            Some("iso-8859-2")
        );
        assert_eq!(
            declared("<meta content='text/html; charset=koi8-r'>").as_deref(),
            Some("koi8-r")
        );
        assert_eq!(
            declared("<?xml version=\"1.0\" encoding=\"utf-16\"?>").as_deref(),
            Some("utf-16")
        );
        assert_eq!(declared("<p>"), None);
    }
}
