//! The reading order of a page: characters with their places become lines, columns and paragraphs.
//!
//! A page is cut at the gap between two columns of prose, else at its widest gap between lines, and
//! the parts are cut again (an XY cut, Nagy and Seth 1984). What cannot be cut is read line by
//! line.

use super::{Block, BlockKind};

/// A character, or several that one sign stands for. Places are in points, upwards.
#[derive(Debug, Clone, PartialEq)]
pub struct Glyph {
    /// Where it begins.
    pub x: f64,
    /// Where it ends.
    pub end: f64,
    /// Its baseline.
    pub y: f64,
    /// The height of its font.
    pub size: f64,
    /// What it says.
    pub text: String,
}

/// Characters on one baseline without a wide gap.
#[derive(Debug, Clone)]
struct Segment {
    x: f64,
    end: f64,
    y: f64,
    size: f64,
    text: String,
}

/// A line of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    x: f64,
    y: f64,
    size: f64,
    /// Its text.
    pub text: String,
    /// Whether the page was cut before it.
    is_first: bool,
}

/// Columns are not looked for on a page of more parts: it is no prose.
const MOST_SEGMENTS: usize = 8_000;

/// The lines of a page in reading order.
pub fn lines(glyphs: &[Glyph]) -> Vec<Line> {
    let segments = segments(glyphs);
    let mut lines = Vec::new();
    if segments.len() > MOST_SEGMENTS {
        read_across(segments, &mut lines);
        return lines;
    }
    // A stack instead of recursion: a page may have any number of cuts.
    let mut open = vec![segments];
    while let Some(part) = open.pop() {
        match cut(&part) {
            Some((first, second)) => open.extend([second, first]),
            None => read_across(part, &mut lines),
        }
    }
    lines
}

/// Joins characters that follow each other on a baseline.
fn segments(glyphs: &[Glyph]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for glyph in glyphs {
        let blank = glyph.text.trim().is_empty();
        if let Some(last) = segments.last_mut() {
            let size = last.size.max(glyph.size).max(0.1);
            let gap = glyph.x - last.end;
            let on_it = (glyph.y - last.y).abs() < size * 0.3 && gap < size * 1.1 && gap > -size * 0.6;
            if on_it {
                if (blank || gap > size * 0.16) && !last.text.ends_with(' ') {
                    last.text.push(' ');
                }
                if !blank {
                    last.text.push_str(&glyph.text);
                    last.size = size;
                    last.end = last.end.max(glyph.end);
                } else {
                    // A wide blank ends nothing; what follows says where it is.
                    last.end = last.end.max(glyph.x);
                }
                continue;
            }
        }
        if !blank {
            segments.push(Segment {
                x: glyph.x,
                end: glyph.end,
                y: glyph.y,
                size: glyph.size.max(0.1),
                text: glyph.text.clone(),
            });
        }
    }
    segments
}

/// Cuts a part of a page in two; `None` if it is one.
fn cut(part: &[Segment]) -> Option<(Vec<Segment>, Vec<Segment>)> {
    if part.len() < 4 {
        return None;
    }
    if let Some(x) = gutter(part) {
        return Some(part.iter().cloned().partition(|segment| segment.x < x));
    }
    let y = widest_gap(part)?;
    Some(part.iter().cloned().partition(|segment| segment.y > y))
}

/// The place of a gap from top to bottom with prose on both sides.
fn gutter(part: &[Segment]) -> Option<f64> {
    let size = median(part.iter().map(|segment| segment.size));
    let mut spans: Vec<(f64, f64)> = part.iter().map(|segment| (segment.x, segment.end)).collect();
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut reach = spans[0].1;
    let mut best: Option<(f64, f64)> = None;
    for &(x, end) in &spans[1..] {
        let gap = x - reach;
        if gap > size * 0.8
            && best.is_none_or(|(widest, _)| gap > widest)
            && is_prose(part, reach + gap / 2.0)
        {
            best = Some((gap, reach + gap / 2.0));
        }
        reach = reach.max(end);
    }
    best.map(|(_, x)| x)
}

/// Whether both sides of a place have several lines of some length, as columns of prose have and
/// columns of tables have not.
fn is_prose(part: &[Segment], x: f64) -> bool {
    let (left, right): (Vec<&Segment>, Vec<&Segment>) = part.iter().partition(|segment| segment.x < x);
    [left, right].into_iter().all(|side| {
        let mut rows: Vec<i64> = side.iter().map(|segment| segment.y.round() as i64).collect();
        rows.sort_unstable();
        rows.dedup();
        let letters: usize = side.iter().map(|segment| segment.text.chars().count()).sum();
        rows.len() >= 3 && letters >= rows.len() * 18
    })
}

/// The middle of the widest gap between two baselines, where it is wider than those of lines.
fn widest_gap(part: &[Segment]) -> Option<f64> {
    let mut rows: Vec<f64> = part.iter().map(|segment| segment.y).collect();
    rows.sort_by(f64::total_cmp);
    let size = median(part.iter().map(|segment| segment.size));
    let gaps = rows
        .windows(2)
        .map(|pair| (pair[1] - pair[0], (pair[0] + pair[1]) / 2.0));
    let (widest, y) = gaps.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (widest > size * 1.7).then_some(y)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(1.0)
}

/// Adds the lines of a part, from left to right and from top to bottom.
fn read_across(mut part: Vec<Segment>, lines: &mut Vec<Line>) {
    part.sort_by(|a, b| b.y.total_cmp(&a.y));
    let mut is_first = true;
    let mut at = 0;
    while at < part.len() {
        let (y, size) = (part[at].y, part[at].size);
        let count = part[at..]
            .iter()
            .take_while(|segment| (y - segment.y).abs() < size.max(segment.size) * 0.4)
            .count();
        let row = &mut part[at..at + count.max(1)];
        row.sort_by(|a, b| a.x.total_cmp(&b.x));
        let mut text = String::new();
        let mut end = f64::MIN;
        for segment in row.iter() {
            if !text.is_empty() && !text.ends_with(' ') && segment.x - end > segment.size * 0.1 {
                text.push(' ');
            }
            text.push_str(&segment.text);
            end = segment.end;
        }
        let text = text.trim().to_string();
        if !text.is_empty() {
            lines.push(Line {
                x: row[0].x,
                y,
                size: row.iter().map(|segment| segment.size).fold(0.0, f64::max),
                text,
                is_first,
            });
            is_first = false;
        }
        at += count.max(1);
    }
}

/// The size of most characters of a document.
pub fn body_size<'a>(pages: impl IntoIterator<Item = &'a [Line]>) -> f64 {
    let mut counts = std::collections::BTreeMap::new();
    for line in pages.into_iter().flatten() {
        *counts.entry((line.size * 2.0).round() as i64).or_insert(0) += line.text.len();
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map_or(10.0, |(size, _)| size as f64 / 2.0)
}

/// Joins the lines of a page to paragraphs and headings. `body` is the size of most characters.
pub fn blocks(page: u32, lines: &[Line], body: f64) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Vec<&Line> = Vec::new();
    // Most gaps between lines are within paragraphs; a low quartile is one of these.
    let mut gaps: Vec<f64> = lines
        .windows(2)
        .map(|pair| pair[0].y - pair[1].y)
        .filter(|gap| *gap > body * 0.8 && *gap < body * 3.0)
        .collect();
    gaps.sort_by(f64::total_cmp);
    let leading = gaps.get(gaps.len() / 4).copied().unwrap_or(body * 1.2);
    for line in lines {
        let begins = open.last().is_some_and(|last| {
            let gap = last.y - line.y;
            let other_size = (last.size - line.size).abs() > body * 0.12;
            let is_apart = gap > leading * 1.35 || gap < 0.0 && line.is_first && ends(&last.text);
            // An indent begins a paragraph, if the line before did not have it.
            let indented = line.x - last.x > body * 0.8 && ends(&last.text) && gap > 0.0;
            other_size || is_apart || indented
        });
        if begins {
            close(page, &mut open, body, &mut blocks);
        }
        open.push(line);
    }
    close(page, &mut open, body, &mut blocks);
    blocks
}

/// Whether a text ends as a sentence does.
fn ends(text: &str) -> bool {
    text.ends_with(['.', '!', '?', ':', '。', '”', '"', ')', ';'])
}

fn close(page: u32, open: &mut Vec<&Line>, body: f64, blocks: &mut Vec<Block>) {
    let lines = std::mem::take(open);
    let Some(first) = lines.first() else { return };
    let mut text = String::new();
    for line in &lines {
        join(&mut text, &line.text);
    }
    let is_large =
        first.size > body * 1.15 && text.chars().count() <= 200 && text.chars().any(char::is_alphabetic);
    let kind = match is_large {
        true if first.size > body * 1.6 => BlockKind::Heading(1),
        true if first.size > body * 1.3 => BlockKind::Heading(2),
        true => BlockKind::Heading(3),
        false => BlockKind::Paragraph,
    };
    blocks.push(Block {
        kind,
        text,
        page: Some(page),
    });
}

/// Adds a line. A word that is divided at the end of the line before is whole again, if it goes on
/// in small letters.
fn join(text: &mut String, line: &str) {
    if text.is_empty() {
        text.push_str(line);
        return;
    }
    let divided = text.ends_with(['-', '\u{ad}', '‐'])
        && text.chars().rev().nth(1).is_some_and(char::is_lowercase)
        && line.starts_with(char::is_lowercase);
    let unspaced = |c: Option<char>| c.is_some_and(|c| ('\u{3000}'..='\u{9fff}').contains(&c));
    if divided {
        text.pop();
    } else if !(unspaced(text.chars().last()) && unspaced(line.chars().next())) {
        text.push(' ');
    }
    text.push_str(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(glyphs: &mut Vec<Glyph>, x: f64, y: f64, size: f64, text: &str) {
        let mut at = x;
        for c in text.chars() {
            glyphs.push(Glyph {
                x: at,
                end: at + size * 0.5,
                y,
                size,
                text: c.to_string(),
            });
            at += size * 0.5;
        }
    }

    fn texts(glyphs: &[Glyph]) -> Vec<String> {
        lines(glyphs).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn columns_of_prose_are_read_one_after_the_other() {
        let mut glyphs = Vec::new();
        print(
            &mut glyphs,
            50.0,
            700.0,
            18.0,
            "A title over both of the columns here",
        );
        for row in 0..6 {
            let y = 650.0 - 12.0 * f64::from(row);
            print(
                &mut glyphs,
                50.0,
                y,
                10.0,
                &format!("left line number {row} of this one"),
            );
            print(
                &mut glyphs,
                300.0,
                y,
                10.0,
                &format!("right line number {row} of this one"),
            );
        }
        let texts = texts(&glyphs);
        assert_eq!(texts[0], "A title over both of the columns here");
        assert!(
            texts[1..7].iter().all(|line| line.starts_with("left")),
            "{texts:?}"
        );
        assert!(
            texts[7..].iter().all(|line| line.starts_with("right")),
            "{texts:?}"
        );
    }

    #[test]
    fn tables_are_read_row_by_row() {
        let mut glyphs = Vec::new();
        for row in 0..6 {
            let y = 650.0 - 12.0 * f64::from(row);
            print(&mut glyphs, 50.0, y, 10.0, &format!("item {row}"));
            print(&mut glyphs, 300.0, y, 10.0, &format!("{row}.50"));
        }
        assert_eq!(texts(&glyphs)[2], "item 2 2.50");
    }

    #[test]
    fn lines_become_paragraphs_and_headings() {
        let mut glyphs = Vec::new();
        print(&mut glyphs, 50.0, 700.0, 20.0, "Wool");
        print(&mut glyphs, 50.0, 660.0, 10.0, "Sheep are shorn every sum-");
        print(&mut glyphs, 50.0, 648.0, 10.0, "mer, and the wool is spun.");
        print(&mut glyphs, 50.0, 620.0, 10.0, "A second paragraph.");
        let page = lines(&glyphs);
        let body = body_size([page.as_slice()]);
        assert_eq!(body, 10.0);
        let shown: Vec<_> = blocks(3, &page, body)
            .into_iter()
            .map(|block| (block.kind, block.text))
            .collect();
        assert_eq!(
            shown,
            [
                (BlockKind::Heading(1), "Wool".to_string()),
                (
                    BlockKind::Paragraph,
                    "Sheep are shorn every summer, and the wool is spun.".to_string()
                ),
                (BlockKind::Paragraph, "A second paragraph.".to_string()),
            ]
        );
    }

    #[test]
    fn a_page_of_many_parts_ends_soon() {
        let mut glyphs = Vec::new();
        for place in 0..20_000 {
            print(
                &mut glyphs,
                f64::from(place % 100) * 30.0,
                f64::from(place / 100) * 9.0,
                5.0,
                "x",
            );
        }
        assert_eq!(lines(&glyphs).len(), 200);
        assert!(lines(&[]).is_empty() && blocks(1, &[], 10.0).is_empty());
    }
}
