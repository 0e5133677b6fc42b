//! DOCX: the paragraphs, headings and rows of tables of Word's format, with footnotes at the end.
//! Headers, footers and deleted text are left out.

use std::collections::HashMap;

use super::fault::Fault;
use super::package::{Package, Part, attribute, each_part};
use super::plain::{push, titled};
use super::{Block, BlockKind, Document};

/// Reads a file of which at most `largest` bytes are unpacked.
///
/// # Errors
///
/// See [`Fault`].
pub fn read(bytes: &[u8], largest: u64) -> Result<Document, Fault> {
    let mut package = Package::open(bytes, largest)?;
    let styles = match package.entry("word/styles.xml")? {
        Some(xml) => heading_styles(&xml)?,
        None => HashMap::new(),
    };
    let main = package.required("word/document.xml")?;
    let mut blocks = body(&main, &styles)?;
    for notes in ["word/footnotes.xml", "word/endnotes.xml"] {
        if let Some(xml) = package.entry(notes)? {
            blocks.extend(body(&xml, &styles)?);
        }
    }
    let title = match package.entry("docProps/core.xml")? {
        Some(xml) => text_of(&xml, "title")?,
        None => None,
    };
    let document = titled(blocks);
    Ok(Document {
        title: title.or(document.title),
        ..document
    })
}

/// The text of the first element of this name, if it has any.
pub fn text_of(xml: &[u8], name: &str) -> Result<Option<String>, Fault> {
    let (mut inside, mut done, mut text) = (false, false, String::new());
    each_part(xml, |part| match part {
        Part::Start(tag, _) if tag == name && !done => inside = true,
        Part::End(tag) if tag == name && inside => (inside, done) = (false, true),
        Part::Text(piece) if inside => text.push_str(piece),
        _ => {}
    })?;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// The level of each style that is one of headings. Its name is English in every language of Word.
fn heading_styles(xml: &[u8]) -> Result<HashMap<String, u8>, Fault> {
    let mut styles = HashMap::new();
    let mut current = String::new();
    each_part(xml, |part| {
        let Part::Start(name, tag) = part else { return };
        match name {
            "style" => current = attribute(tag, "styleId").unwrap_or_default(),
            "name" => {
                let level = attribute(tag, "val").and_then(|name| level_of(&name));
                if let Some(level) = level {
                    styles.insert(current.clone(), level);
                }
            }
            _ => {}
        }
    })?;
    Ok(styles)
}

/// The level of a style, by its name or id: `heading 2`, `Heading2`, `Title`.
fn level_of(name: &str) -> Option<u8> {
    let name = name.to_lowercase();
    if name == "title" {
        return Some(1);
    }
    let digit = name.strip_prefix("heading")?.trim();
    digit
        .parse()
        .ok()
        .filter(|level| (1..=9).contains(level))
        .map(|level: u8| level.min(6))
}

/// What is open while a body is read. Paragraphs can stand within others, in text boxes.
#[derive(Default)]
struct Body {
    blocks: Vec<Block>,
    open: Vec<Paragraph>,
    /// Cells of the rows that are open; rows can stand within cells.
    rows: Vec<Vec<String>>,
    in_text: bool,
    /// How deep in the second version of something that programs of before 2010 show.
    fallback: usize,
}

#[derive(Default)]
struct Paragraph {
    text: String,
    level: Option<u8>,
}

fn body(xml: &[u8], styles: &HashMap<String, u8>) -> Result<Vec<Block>, Fault> {
    let mut body = Body::default();
    each_part(xml, |part| match part {
        Part::Start("Fallback", _) => body.fallback += 1,
        Part::End("Fallback") => body.fallback = body.fallback.saturating_sub(1),
        _ if body.fallback > 0 => {}
        Part::Start(name, tag) => {
            if name == "pStyle"
                && let Some(style) = attribute(tag, "val")
                && let Some(paragraph) = body.open.last_mut()
            {
                paragraph.level = styles.get(&style).copied().or_else(|| level_of(&style));
            }
            body.start(name);
        }
        Part::End(name) => body.end(name),
        Part::Text(text) if body.in_text => {
            if let Some(paragraph) = body.open.last_mut() {
                paragraph.text.push_str(text);
            }
        }
        Part::Text(_) => {}
    })?;
    Ok(body.blocks)
}

impl Body {
    fn start(&mut self, name: &str) {
        let sign = match name {
            "p" => return self.open.push(Paragraph::default()),
            "tr" => return self.rows.push(Vec::new()),
            "tc" => {
                if let Some(row) = self.rows.last_mut() {
                    row.push(String::new());
                }
                return;
            }
            "t" => {
                self.in_text = true;
                return;
            }
            "tab" => ' ',
            "br" | "cr" => '\n',
            "noBreakHyphen" => '-',
            _ => return,
        };
        if let Some(paragraph) = self.open.last_mut()
            // The stops of tabs are elements of the same name, before any text.
            && (sign != ' ' || !paragraph.text.is_empty())
        {
            paragraph.text.push(sign);
        }
    }

    fn end(&mut self, name: &str) {
        match name {
            "t" => self.in_text = false,
            "p" => {
                let Some(paragraph) = self.open.pop() else { return };
                let cell = self.rows.last_mut().and_then(|row| row.last_mut());
                match (cell, paragraph.level) {
                    (Some(cell), _) => {
                        if !cell.is_empty() && !paragraph.text.trim().is_empty() {
                            cell.push(' ');
                        }
                        cell.push_str(paragraph.text.trim());
                    }
                    (None, Some(level)) => push(&mut self.blocks, BlockKind::Heading(level), &paragraph.text),
                    (None, None) => push(&mut self.blocks, BlockKind::Paragraph, &paragraph.text),
                }
            }
            "tr" => {
                let row = self.rows.pop().unwrap_or_default().join(" | ");
                match self.rows.last_mut().and_then(|row| row.last_mut()) {
                    Some(cell) => {
                        cell.push(' ');
                        cell.push_str(&row);
                    }
                    None => {
                        if row.chars().any(char::is_alphanumeric) {
                            push(&mut self.blocks, BlockKind::Paragraph, &row);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::package::tests::packed;
    use super::*;
    use crate::documents::fault::FaultKind;

    /// A file with this body.
    pub fn file(body: &str) -> Vec<u8> {
        let xml =
            format!("<?xml version=\"1.0\"?><w:document xmlns:w=\"x\"><w:body>{body}</w:body></w:document>");
        let styles =
            "<w:styles><w:style w:styleId=\"berschrift1\"><w:name w:val=\"heading 1\"/></w:style></w:styles>";
        packed(&[
            ("word/styles.xml", styles.as_bytes()),
            ("word/document.xml", xml.as_bytes()),
            (
                "docProps/core.xml",
                b"<cp:core><dc:title>Sheep &amp; ewes</dc:title></cp:core>",
            ),
        ])
    }

    #[test]
    fn paragraphs_headings_and_tables_are_read() {
        let document = read(
            &file(
                "<w:p><w:pPr><w:pStyle w:val=\"berschrift1\"/><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:t>Wool</w:t></w:r></w:p>\
                 <w:p><w:r><w:t xml:space=\"preserve\">Caf&#233; </w:t></w:r><w:del><w:delText>old</w:delText></w:del><w:r><w:t>&lt;new&gt;</w:t><w:br/><w:t>line</w:t></w:r></w:p>\
                 <w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>1</w:t></w:r></w:p></w:tc></w:tr></w:tbl>\
                 <mc:AlternateContent><mc:Choice><w:p><w:r><w:t>once</w:t></w:r></w:p></mc:Choice><mc:Fallback><w:p><w:r><w:t>twice</w:t></w:r></w:p></mc:Fallback></mc:AlternateContent>",
            ),
            1 << 20,
        )
        .unwrap();
        assert_eq!(document.title.as_deref(), Some("Sheep & ewes"));
        let shown: Vec<_> = document
            .blocks
            .iter()
            .map(|block| (block.kind, block.text.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                (BlockKind::Heading(1), "Wool"),
                (BlockKind::Paragraph, "Café <new>\nline"),
                (BlockKind::Paragraph, "a | 1"),
                (BlockKind::Paragraph, "once"),
            ]
        );
    }

    #[test]
    fn bombs_and_damage_are_named() {
        let bomb = file(&format!(
            "<w:p><w:r><w:t>{}</w:t></w:r></w:p>",
            "a".repeat(8 << 20)
        ));
        assert!(bomb.len() < 1 << 16, "{}", bomb.len());
        assert_eq!(read(&bomb, 1 << 20).unwrap_err().kind, FaultKind::TooLarge);
        assert_eq!(
            read(&bomb[..bomb.len() / 2], 1 << 20).unwrap_err().kind,
            FaultKind::Damaged
        );
        let without = packed(&[("a.xml", b"<a/>")]);
        assert!(
            read(&without, 1 << 20)
                .unwrap_err()
                .detail
                .contains("word/document.xml")
        );
        let broken = packed(&[("word/document.xml", b"<w:p><w:t>x</w:p>")]);
        assert_eq!(read(&broken, 1 << 20).unwrap_err().kind, FaultKind::Damaged);
        let ole = read(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", 1 << 20).unwrap_err();
        assert_eq!(ole.kind, FaultKind::Encrypted);
        // Entities of a document type are not expanded, so they cannot multiply.
        let laughs = file("<w:p><w:r><w:t>&lol;x</w:t></w:r></w:p>");
        assert_eq!(read(&laughs, 1 << 20).unwrap().blocks[0].text, "x");
        let deep = file(&format!(
            "{}<w:p><w:r><w:t>x</w:t></w:r></w:p>{}",
            "<w:sdt>".repeat(50_000),
            "</w:sdt>".repeat(50_000)
        ));
        assert_eq!(read(&deep, 1 << 24).unwrap().blocks.len(), 1);
    }
}
