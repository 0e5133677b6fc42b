//! One file as a document, whatever its format.

use std::path::Path;

use super::fault::{Fault, FaultKind};
use super::{Document, Kind, apart, columns, docx, epub, html, kind, pdf, plain, roff, source};

/// How files are read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The most bytes of a file, and of what it unpacks to.
    pub largest: u64,
    /// Columns of CSV and JSONL that have text; none takes the usual one.
    pub columns: Vec<String>,
    /// Whether PDFs are read in a process of their own.
    pub apart: bool,
}

/// Reads a file of which the bytes are known.
///
/// # Errors
///
/// See [`FaultKind`].
pub fn read(path: &Path, bytes: &[u8], reading: &Reading) -> Result<(Kind, Document), Fault> {
    let found = Kind::of(path, bytes).ok_or_else(|| {
        let what = if bytes.starts_with(b"PK") {
            "an archive"
        } else {
            "not text"
        };
        Fault::new(FaultKind::Unknown, what)
    })?;
    let document = match found {
        Kind::Pdf => match reading.apart {
            true => apart::read(path, reading.largest)?,
            false => pdf::read(bytes)?,
        },
        Kind::Docx => docx::read(bytes, reading.largest)?,
        Kind::Epub => epub::read(bytes, reading.largest)?,
        _ => text(found, bytes, reading)?,
    };
    if document.blocks.is_empty() {
        return Err(Fault::new(FaultKind::Empty, "there is no text in it"));
    }
    Ok((found, document))
}

/// Reads a file that is text.
fn text(found: Kind, bytes: &[u8], reading: &Reading) -> Result<Document, Fault> {
    if kind::is_binary(bytes) {
        return Err(Fault::damaged("it is named as text, but is not"));
    }
    let declared = match found {
        Kind::Html => html::declared_encoding(bytes),
        _ => None,
    };
    let (text, guessed) = source::decoded(bytes, declared.as_deref());
    let mut document = match found {
        Kind::Markdown => plain::markdown(&text),
        Kind::Html => html::read(&text),
        Kind::Code => plain::code(&text),
        Kind::Manual => roff::read(&text, reading.largest)?,
        Kind::Csv => columns::csv(&text, &reading.columns)?,
        Kind::Json => columns::json(&text, &reading.columns)?,
        _ => plain::text(&text),
    };
    if let Some(encoding) = guessed {
        document
            .notes
            .push(format!("read as {encoding}, as it looks; it is not UTF-8"));
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> Reading {
        Reading {
            largest: 1 << 20,
            columns: Vec::new(),
            apart: false,
        }
    }

    #[test]
    fn every_format_gives_its_text() {
        let docx = docx::tests::file("<w:p><w:r><w:t>In Word.</w:t></w:r></w:p>");
        let epub = epub::tests::book(&[]);
        let pdf = pdf::tests::file(&[&["In PDF."]]);
        let files: [(&str, &[u8], &str); 9] = [
            ("a.txt", b"In text.", "In text."),
            ("a.md", b"# A\n\nIn *Markdown*.", "In *Markdown*."),
            ("a.html", b"<p>In HTML.", "In HTML."),
            ("a.pdf", &pdf, "In PDF."),
            ("a.docx", &docx, "In Word."),
            ("a.epub", &epub, "They eat grass."),
            ("a.csv", b"text\nIn CSV.\n", "In CSV."),
            ("a.jsonl", b"{\"text\": \"In JSON.\"}", "In JSON."),
            ("a.py", b"x = 1\n", "x = 1"),
        ];
        for (name, bytes, expected) in files {
            let (_, document) = read(Path::new(name), bytes, &reading()).unwrap();
            assert!(document.text().contains(expected), "{name}: {document:?}");
        }
    }

    #[test]
    fn ten_scripts_are_kept() {
        let text = "English. Русский текст. Ελληνικά. العربية. עברית. हिन्दी। ไทย 日本語の文。 한국어. 中文句子。 ქართული.";
        let (_, document) = read(Path::new("a.txt"), text.as_bytes(), &reading()).unwrap();
        assert_eq!(document.text(), text);
        let wide: Vec<u8> = std::iter::once(0xfeff)
            .chain(text.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(
            read(Path::new("a.txt"), &wide, &reading()).unwrap().1.text(),
            text
        );
    }

    #[test]
    fn faults_are_named() {
        let kind = |name: &str, bytes: &[u8]| read(Path::new(name), bytes, &reading()).unwrap_err().kind;
        assert_eq!(kind("a.bin", b"\0\x01\x02"), FaultKind::Unknown);
        assert_eq!(kind("a.txt", b"a\0\x01\x02"), FaultKind::Damaged);
        assert_eq!(kind("a.txt", b" \n\n"), FaultKind::Empty);
        assert_eq!(kind("a.zip", b"PK\x03\x04"), FaultKind::Unknown);
    }
}
