//! Text, Markdown and source code as blocks. The text stays as it is written: marks of Markdown are
//! part of it.

use super::{Block, BlockKind, Document};

/// Text: paragraphs between empty lines. A line of signs below one line of text makes a heading, as
/// in reStructuredText; so does a line in capitals by itself, as in manual pages.
pub fn text(text: &str) -> Document {
    let mut blocks = Vec::new();
    for part in parts(text) {
        let lines: Vec<&str> = part.lines().collect();
        match lines.as_slice() {
            [title, line] if is_underline(line) && !title.trim().is_empty() => {
                blocks.push(Block::new(BlockKind::Heading(1), title.trim()));
            }
            [title, line, rest @ ..]
                if is_underline(line) && !title.trim().is_empty() && !is_underline(title) =>
            {
                blocks.push(Block::new(BlockKind::Heading(1), title.trim()));
                push(&mut blocks, BlockKind::Paragraph, &rest.join("\n"));
            }
            [title] if is_shouted(title) => {
                blocks.push(Block::new(BlockKind::Heading(1), title.trim()));
            }
            [title, rest @ ..]
                if is_shouted(title) && rest.iter().all(|line| line.starts_with([' ', '\t'])) =>
            {
                blocks.push(Block::new(BlockKind::Heading(1), title.trim()));
                push(&mut blocks, BlockKind::Paragraph, &rest.join("\n"));
            }
            _ => push(&mut blocks, BlockKind::Paragraph, part),
        }
    }
    titled(blocks)
}

/// A line in capitals at the margin, of some letters and few words.
fn is_shouted(line: &str) -> bool {
    let letters = line.chars().filter(|c| c.is_alphabetic()).count();
    letters >= 3
        && line.len() <= 60
        && !line.starts_with([' ', '\t'])
        && line.chars().all(|c| !c.is_lowercase())
        && line.chars().any(char::is_uppercase)
        && !line.trim_end().ends_with(['.', ';', ','])
}

/// A line that repeats one sign at least three times.
fn is_underline(line: &str) -> bool {
    let line = line.trim_end();
    let Some(first) = line.chars().next() else {
        return false;
    };
    "=-~^*+#\"'".contains(first) && line.len() >= 3 && line.chars().all(|c| c == first)
}

/// The parts of a text between empty lines.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut end) = (None, 0);
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim().is_empty() {
            if let Some(begin) = begin.take() {
                parts.push(&text[begin..end]);
            }
        } else {
            begin.get_or_insert(at);
            end = at + line.len();
        }
        at += line.len();
    }
    if let Some(begin) = begin {
        parts.push(&text[begin..end]);
    }
    parts
}

/// Markdown: headings by `#` or by a line below, fenced code, and paragraphs between empty lines.
pub fn markdown(text: &str) -> Document {
    let text = without_front_matter(text);
    let mut blocks = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    let mut fence: Option<&str> = None;
    for line in text.lines() {
        let bare = line.trim_start();
        if let Some(mark) = fence {
            open.push(line);
            let closes = bare.trim_end();
            if closes.len() >= mark.len()
                && closes.starts_with(mark)
                && closes.chars().all(|c| mark.starts_with(c))
            {
                flush(&mut blocks, &mut open, BlockKind::Code);
                fence = None;
            }
        } else if let Some(mark) = fence_of(bare) {
            flush(&mut blocks, &mut open, BlockKind::Paragraph);
            open.push(line);
            fence = Some(mark);
        } else if let Some((level, title)) = heading(line) {
            flush(&mut blocks, &mut open, BlockKind::Paragraph);
            push(&mut blocks, BlockKind::Heading(level), title);
        } else if open.len() == 1
            && (is_made_of(bare, '=') || is_made_of(bare, '-'))
            && !open[0].starts_with([' ', '|', '-', '>'])
        {
            let level = if bare.starts_with('=') { 1 } else { 2 };
            let title = std::mem::take(&mut open);
            push(&mut blocks, BlockKind::Heading(level), title[0]);
        } else if bare.is_empty() {
            flush(&mut blocks, &mut open, BlockKind::Paragraph);
        } else {
            open.push(line);
        }
    }
    let kind = if fence.is_some() {
        BlockKind::Code
    } else {
        BlockKind::Paragraph
    };
    flush(&mut blocks, &mut open, kind);
    titled(blocks)
}

/// The text after the settings that site generators keep at the top, between lines of `---`.
fn without_front_matter(text: &str) -> &str {
    let Some(rest) = text
        .strip_prefix("---\n")
        .or_else(|| text.strip_prefix("---\r\n"))
    else {
        return text;
    };
    let mut at = 0;
    for line in rest.split_inclusive('\n').take(200) {
        at += line.len();
        if matches!(line.trim_end(), "---" | "...") {
            return &rest[at..];
        }
    }
    text
}

fn fence_of(line: &str) -> Option<&str> {
    ['`', '~'].iter().find_map(|&sign| {
        let length = line.len() - line.trim_start_matches(sign).len();
        (length >= 3 && !line[length..].contains(sign)).then(|| &line[..length])
    })
}

fn heading(line: &str) -> Option<(u8, &str)> {
    let level = line.len() - line.trim_start_matches('#').len();
    let rest = line[level..].strip_prefix([' ', '\t'])?;
    let title = rest.trim().trim_end_matches('#').trim_end();
    ((1..=6).contains(&level) && !title.is_empty()).then_some((level as u8, title))
}

fn is_made_of(line: &str, sign: char) -> bool {
    let line = line.trim_end();
    line.len() >= 2 && line.chars().all(|c| c == sign)
}

/// Source code: parts between empty lines, whose breaks and indents matter.
pub fn code(text: &str) -> Document {
    let mut blocks = Vec::new();
    for part in parts(text) {
        push(&mut blocks, BlockKind::Code, part);
    }
    Document {
        blocks,
        ..Document::default()
    }
}

fn flush(blocks: &mut Vec<Block>, lines: &mut Vec<&str>, kind: BlockKind) {
    let text = std::mem::take(lines).join("\n");
    push(blocks, kind, &text);
}

/// Adds a block, unless it is blank. The indent of a first line of code stays.
pub fn push(blocks: &mut Vec<Block>, kind: BlockKind, text: &str) {
    let text = match kind {
        BlockKind::Code => text.trim_end().trim_start_matches(['\n', '\r']),
        _ => text.trim(),
    };
    if !crate::fold::is_blank(text) {
        blocks.push(Block::new(kind, text.replace("\r\n", "\n")));
    }
}

/// A document whose title is its first heading, if it begins with one.
pub fn titled(blocks: Vec<Block>) -> Document {
    let title = blocks
        .first()
        .filter(|block| matches!(block.kind, BlockKind::Heading(1)))
        .map(|block| block.text.clone());
    Document {
        title,
        blocks,
        ..Document::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(document: &Document) -> Vec<(BlockKind, &str)> {
        let blocks = document.blocks.iter();
        blocks.map(|block| (block.kind, block.text.as_str())).collect()
    }

    #[test]
    fn markdown_has_headings_code_and_paragraphs() {
        let text = "---\ntitle: x\n---\n# Bees #\n\nThey fly.\nFar.\n\n```sh\n# no heading\n\nls\n```\nAfter\n=====\n- a\n- b\n";
        let document = markdown(text);
        assert_eq!(document.title.as_deref(), Some("Bees"));
        assert_eq!(
            shown(&document),
            [
                (BlockKind::Heading(1), "Bees"),
                (BlockKind::Paragraph, "They fly.\nFar."),
                (BlockKind::Code, "```sh\n# no heading\n\nls\n```"),
                (BlockKind::Heading(1), "After"),
                (BlockKind::Paragraph, "- a\n- b"),
            ]
        );
        assert_eq!(
            shown(&markdown("```\nopen to the end\n")),
            [(BlockKind::Code, "```\nopen to the end")]
        );
        assert!(markdown("---\nno end").blocks.len() == 1);
    }

    #[test]
    fn text_has_paragraphs_and_headings() {
        let document = text("Title\n=====\n\nOne\ntwo.\n\n \nNAME\n    ewe - sheep\n\nTHE END.\n");
        assert_eq!(
            shown(&document),
            [
                (BlockKind::Heading(1), "Title"),
                (BlockKind::Paragraph, "One\ntwo."),
                (BlockKind::Heading(1), "NAME"),
                (BlockKind::Paragraph, "ewe - sheep"),
                (BlockKind::Paragraph, "THE END."),
            ]
        );
        assert!(text(" \n\n").blocks.is_empty());
        assert_eq!(
            shown(&code("  a\n\n  b\n")),
            [(BlockKind::Code, "  a"), (BlockKind::Code, "  b")]
        );
    }
}
