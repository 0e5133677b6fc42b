//! EPUB: the pages of an e-book in the order of its spine.

use std::collections::HashMap;

use super::docx::text_of;
use super::fault::{Fault, FaultKind};
use super::package::{Package, Part, attribute, each_part};
use super::{Document, html, source};

/// What the package document of a book says.
#[derive(Default)]
struct Contents {
    /// Where each item is, by its id.
    items: HashMap<String, String>,
    /// The ids of items in reading order.
    spine: Vec<String>,
}

/// Reads a book of which at most `largest` bytes are unpacked.
///
/// # Errors
///
/// See [`Fault`].
pub fn read(bytes: &[u8], largest: u64) -> Result<Document, Fault> {
    let mut package = Package::open(bytes, largest)?;
    let container = package.required("META-INF/container.xml")?;
    let mut root = None;
    each_part(&container, |part| {
        if let Part::Start("rootfile", tag) = part
            && root.is_none()
        {
            root = attribute(tag, "full-path");
        }
    })?;
    let root = root.ok_or_else(|| Fault::damaged("its container names no package document"))?;
    let opf = package.required(&root)?;
    let contents = contents(&opf)?;
    let locked = match package.entry("META-INF/encryption.xml")? {
        Some(xml) => encrypted(&xml)?,
        None => Vec::new(),
    };
    let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut document = Document {
        title: text_of(&opf, "title")?,
        ..Document::default()
    };
    for id in &contents.spine {
        let Some(href) = contents.items.get(id) else {
            continue;
        };
        let name = joined(folder, href);
        if locked.contains(&name) {
            return Err(Fault::new(
                FaultKind::Encrypted,
                format!("`{name}` is copy-protected"),
            ));
        }
        match package.entry(&name)? {
            Some(page) => {
                let (text, _) = source::decoded(&page, html::declared_encoding(&page).as_deref());
                document.blocks.extend(html::read(&text).blocks);
            }
            None => document
                .notes
                .push(format!("`{name}` is in its spine, but not in the file")),
        }
    }
    Ok(document)
}

fn contents(opf: &[u8]) -> Result<Contents, Fault> {
    let mut contents = Contents::default();
    each_part(opf, |part| {
        let Part::Start(name, tag) = part else { return };
        match name {
            "item" => {
                if let (Some(id), Some(href)) = (attribute(tag, "id"), attribute(tag, "href")) {
                    contents.items.insert(id, href);
                }
            }
            "itemref" => contents.spine.extend(attribute(tag, "idref")),
            _ => {}
        }
    })?;
    Ok(contents)
}

/// The names of entries that are encrypted. Fonts often are; that does not matter here.
fn encrypted(xml: &[u8]) -> Result<Vec<String>, Fault> {
    let mut names = Vec::new();
    each_part(xml, |part| {
        if let Part::Start("CipherReference", tag) = part {
            names.extend(attribute(tag, "URI").map(|name| decoded(&name)));
        }
    })?;
    Ok(names)
}

/// The name of the entry that `href` means in `folder`.
fn joined(folder: &str, href: &str) -> String {
    let href = href.split(['#', '?']).next().unwrap_or_default();
    let mut parts: Vec<String> = folder.split('/').map(str::to_string).collect();
    for part in decoded(href).split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part.to_string()),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}

/// Resolves `%20` and the like.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::package::tests::packed;
    use super::*;

    /// A book of two chapters, the second one first in its file.
    pub fn book(more: &[(&str, &[u8])]) -> Vec<u8> {
        let opf = "<package><metadata><dc:title>On sheep</dc:title></metadata><manifest>\
            <item id=\"b\" href=\"text/two.xhtml\"/><item id=\"a\" href=\"text/chapter%20one.xhtml\"/></manifest>\
            <spine><itemref idref=\"a\"/><itemref idref=\"b\"/></spine></package>";
        let mut entries: Vec<(&str, &[u8])> = vec![
            ("mimetype", b"application/epub+zip"),
            (
                "META-INF/container.xml",
                b"<container><rootfiles><rootfile full-path=\"OPS/book.opf\"/></rootfiles></container>",
            ),
            ("OPS/book.opf", opf.as_bytes()),
            (
                "OPS/text/two.xhtml",
                b"<html><body><h1>Two</h1><p>They eat grass.</p></body></html>",
            ),
            (
                "OPS/text/chapter one.xhtml",
                b"<html><body><h1>One</h1><p>Sheep live in flocks.</p></body></html>",
            ),
        ];
        entries.extend(more);
        packed(&entries)
    }

    #[test]
    fn chapters_are_in_the_order_of_the_spine() {
        let document = read(&book(&[]), 1 << 20).unwrap();
        assert_eq!(document.title.as_deref(), Some("On sheep"));
        assert_eq!(
            document.text(),
            "One\n\nSheep live in flocks.\n\nTwo\n\nThey eat grass."
        );
    }

    #[test]
    fn copy_protection_is_named() {
        let lock = b"<encryption><EncryptedData><CipherData><CipherReference URI=\"OPS/text/two.xhtml\"/></CipherData></EncryptedData></encryption>";
        let fault = read(&book(&[("META-INF/encryption.xml", lock)]), 1 << 20).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Encrypted);
        let fault = read(&packed(&[("a", b"b")]), 1 << 20).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Damaged);
        assert_eq!(joined("OPS/x", "../a%20b.html#p"), "OPS/a b.html");
        assert_eq!(decoded("100%"), "100%");
    }
}
