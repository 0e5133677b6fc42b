//! The bytes of a file: at most so many, decompressed where the name or the bytes say so.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8};

use super::fault::{Fault, FaultKind};

/// Reads a file that must be a regular one, whole, and decompresses it.
///
/// # Errors
///
/// [`FaultKind::Unreadable`], [`FaultKind::TooLarge`] before anything larger is kept,
/// [`FaultKind::Damaged`] for a broken compression.
pub fn bytes(path: &Path, largest: u64) -> Result<Vec<u8>, Fault> {
    let unreadable = |error: std::io::Error| Fault::new(FaultKind::Unreadable, error.to_string());
    let facts = std::fs::metadata(path).map_err(unreadable)?;
    if !facts.is_file() {
        return Err(Fault::new(FaultKind::Unreadable, "not a regular file"));
    }
    if facts.len() > largest {
        return Err(too_large(facts.len(), largest));
    }
    let mut raw = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(largest.saturating_add(1))
        .read_to_end(&mut raw)
        .map_err(unreadable)?;
    if raw.len() as u64 > largest {
        return Err(too_large(raw.len() as u64, largest));
    }
    decompressed(raw, largest)
}

/// Decompresses gzip and zstd, which are known by their first bytes.
fn decompressed(raw: Vec<u8>, largest: u64) -> Result<Vec<u8>, Fault> {
    let reader: Box<dyn Read> = if raw.starts_with(b"\x1f\x8b") {
        Box::new(flate2::read::MultiGzDecoder::new(raw.as_slice()))
    } else if raw.starts_with(b"\x28\xb5\x2f\xfd") {
        let decoder = zstd::Decoder::new(raw.as_slice());
        Box::new(decoder.map_err(|error| Fault::damaged(format!("zstd: {error}")))?)
    } else {
        return Ok(raw);
    };
    limited(reader, largest, "what it unpacks to")
}

/// Reads all of `reader`, but no more than `largest` bytes. `what` is named if there are more.
pub fn limited(reader: impl Read, largest: u64, what: &str) -> Result<Vec<u8>, Fault> {
    let mut text = Vec::new();
    let read = reader.take(largest.saturating_add(1)).read_to_end(&mut text);
    read.map_err(|error| Fault::damaged(error.to_string()))?;
    match text.len() as u64 > largest {
        true => Err(Fault::new(
            FaultKind::TooLarge,
            format!("{what} has more than {}", crate::text::format_size(largest)),
        )),
        false => Ok(text),
    }
}

fn too_large(size: u64, largest: u64) -> Fault {
    let [size, largest] = [size, largest].map(crate::text::format_size);
    Fault::new(FaultKind::TooLarge, format!("{size}, more than {largest}"))
}

/// Decodes text, and says in which encoding it was if that had to be guessed. A byte order mark
/// decides, then `declared`, then UTF-8 if it is valid, then what the bytes look like.
pub fn decoded(bytes: &[u8], declared: Option<&str>) -> (String, Option<&'static str>) {
    if let Some(text) = utf32(bytes) {
        return (text, None);
    }
    if let Some((encoding, length)) = Encoding::for_bom(bytes) {
        let text = encoding.decode_without_bom_handling(&bytes[length..]).0;
        return (text.trim_start_matches('\u{feff}').to_string(), None);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return (text.to_string(), None);
    }
    let declared = declared.and_then(|label| Encoding::for_label(label.as_bytes()));
    let guessed = || {
        let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
        detector.feed(bytes, true);
        detector.guess(None, Utf8Detection::Allow)
    };
    // What says that it is UTF-8 and is not was mostly never converted.
    match declared.filter(|encoding| *encoding != UTF_8) {
        Some(encoding) => (encoding.decode_without_bom_handling(bytes).0.into_owned(), None),
        None => {
            let encoding = guessed();
            let text = encoding.decode_without_bom_handling(bytes).0.into_owned();
            (text, Some(encoding.name()))
        }
    }
}

/// Decodes UTF-32, known by its byte order mark. That of UTF-32LE begins with that of UTF-16LE.
fn utf32(bytes: &[u8]) -> Option<String> {
    let number: fn([u8; 4]) -> u32 = match bytes {
        [0xff, 0xfe, 0, 0, ..] => u32::from_le_bytes,
        [0, 0, 0xfe, 0xff, ..] => u32::from_be_bytes,
        _ => return None,
    };
    let letter = |unit: &[u8]| {
        let unit = <[u8; 4]>::try_from(unit).ok();
        unit.and_then(|unit| char::from_u32(number(unit)))
            .unwrap_or(char::REPLACEMENT_CHARACTER)
    };
    Some(bytes[4..].chunks(4).map(letter).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn encodings_are_marked_declared_or_guessed() {
        assert_eq!(decoded("naïve".as_bytes(), None), ("naïve".into(), None));
        assert_eq!(decoded(b"\xff\xfeh\0i\0", None), ("hi".into(), None));
        for bytes in [u32::to_le_bytes, u32::to_be_bytes] {
            let wide: Vec<u8> = "\u{feff}naïve 羊 🐑"
                .chars()
                .map(u32::from)
                .flat_map(bytes)
                .collect();
            assert_eq!(decoded(&wide, Some("utf-16")), ("naïve 羊 🐑".into(), None));
            assert!(decoded(&wide[..wide.len() - 1], None).0.ends_with("羊 \u{fffd}"));
        }
        assert_eq!(decoded(b"caf\xe9", Some("iso-8859-1")), ("café".into(), None));
        let (text, guess) = decoded(b"Das Gr\xfcn der B\xe4ume im Fr\xfchling", None);
        assert_eq!(
            (text.as_str(), guess),
            ("Das Grün der Bäume im Frühling", Some("windows-1252"))
        );
        let (russian, _, _) = encoding_rs::WINDOWS_1251.encode("Она открыла дверь и вышла на улицу.");
        assert_eq!(decoded(&russian, None).0, "Она открыла дверь и вышла на улицу.");
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused_early() {
        let mut pack = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let zeros = vec![b' '; 1 << 20];
        for _ in 0..64 {
            pack.write_all(&zeros).unwrap();
        }
        let packed = pack.finish().unwrap();
        assert!(packed.len() < 1 << 17);
        let fault = decompressed(packed.clone(), 1 << 22).unwrap_err();
        assert_eq!(fault.kind, FaultKind::TooLarge);
        assert_eq!(
            decompressed(packed[..100].to_vec(), 1 << 30).unwrap_err().kind,
            FaultKind::Damaged
        );
        assert_eq!(decompressed(b"plain".to_vec(), 10).unwrap(), b"plain");
    }
}
