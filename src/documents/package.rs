//! Documents that are ZIP archives of XML files: DOCX and EPUB. What an entry unpacks to is
//! bounded, whatever the archive says of itself.

use std::io::Cursor;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;
use zip::result::ZipError;

use super::fault::{Fault, FaultKind};
use super::source;

/// An open archive, and how many more bytes may be unpacked.
pub struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    left: u64,
}

impl<'a> Package<'a> {
    /// Opens an archive of which at most `largest` bytes are unpacked.
    ///
    /// # Errors
    ///
    /// [`FaultKind::Damaged`], and [`FaultKind::Encrypted`] for the container that Office puts
    /// around a file with a password.
    pub fn open(bytes: &'a [u8], largest: u64) -> Result<Package<'a>, Fault> {
        if bytes.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
            return Err(Fault::new(
                FaultKind::Encrypted,
                "an Office file with a password, or of before 2007",
            ));
        }
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
        Ok(Package {
            archive,
            left: largest,
        })
    }

    /// Unpacks an entry; `None` if there is none of this name.
    ///
    /// # Errors
    ///
    /// [`FaultKind::TooLarge`], [`FaultKind::Encrypted`], [`FaultKind::Damaged`].
    pub fn entry(&mut self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        let entry = match self.archive.by_name(name) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(damaged(error)),
        };
        let bytes = source::limited(entry, self.left, &format!("`{name}` and what precedes it"))?;
        self.left -= bytes.len() as u64;
        Ok(Some(bytes))
    }

    /// Unpacks an entry that must be there.
    ///
    /// # Errors
    ///
    /// As [`Package::entry`], and [`FaultKind::Damaged`] if there is none.
    pub fn required(&mut self, name: &str) -> Result<Vec<u8>, Fault> {
        let entry = self.entry(name)?;
        entry.ok_or_else(|| Fault::damaged(format!("`{name}` is not in it")))
    }
}

fn damaged(error: ZipError) -> Fault {
    let text = error.to_string();
    match text.to_lowercase().contains("password") {
        true => Fault::new(FaultKind::Encrypted, "its entries have a password"),
        false => Fault::damaged(text),
    }
}

/// A part of an XML file.
pub enum Part<'a> {
    /// An element begins. One without content ends at once.
    Start(&'a str, &'a BytesStart<'a>),
    /// An element ends.
    End(&'a str),
    /// Text, with entities resolved.
    Text(&'a str),
}

/// Passes the parts of an XML file to `take`, with names without their prefix. Entities of a
/// document type are not expanded.
///
/// # Errors
///
/// [`FaultKind::Damaged`] at the first place that is not XML.
pub fn each_part(xml: &[u8], mut take: impl FnMut(Part<'_>)) -> Result<(), Fault> {
    let (text, _) = source::decoded(xml, None);
    let mut reader = Reader::from_str(&text);
    loop {
        match reader.read_event() {
            Ok(Event::Start(tag)) => take(Part::Start(tag.local_name().as_ref(), &tag)),
            Ok(Event::Empty(tag)) => {
                take(Part::Start(tag.local_name().as_ref(), &tag));
                take(Part::End(tag.local_name().as_ref()));
            }
            Ok(Event::End(tag)) => take(Part::End(tag.local_name().as_ref())),
            Ok(Event::Text(text)) => take(Part::Text(&text.xml10_content())),
            Ok(Event::CData(text)) => take(Part::Text(&text.xml10_content())),
            Ok(Event::GeneralRef(name)) => {
                if let Some(text) = resolved(&name) {
                    take(Part::Text(&text));
                }
            }
            Ok(Event::Eof) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                let place = reader.buffer_position();
                return Err(Fault::damaged(format!("XML, byte {place}: {error}")));
            }
        }
    }
}

/// The text of `&amp;`, `&#233;` and the like.
fn resolved(name: &quick_xml::events::BytesRef<'_>) -> Option<String> {
    if let Ok(Some(c)) = name.resolve_char_ref() {
        return Some(c.to_string());
    }
    let text = match &**name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        "nbsp" => " ",
        _ => return None,
    };
    Some(text.to_string())
}

/// The value of an attribute, by its name without a prefix.
pub fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = tag.attributes();
    let mut found = attributes.with_checks(false).flatten();
    let found = found.find(|attribute| attribute.key.local_name().as_ref() == name)?;
    quick_xml::escape::unescape(&found.value)
        .ok()
        .map(|text| text.into_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{Cursor, Write};

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    /// Packs entries.
    pub fn packed(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
            zip.start_file(*name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }
}
