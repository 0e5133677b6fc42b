//! The body of a response as UTF-8: decompressed, since servers and proxies compress without being
//! asked, and decoded, since some use other encodings.

use super::failure::{FailureKind, TransientFailure};
use encoding_rs::{Encoding, ISO_2022_JP, UTF_16BE, UTF_16LE};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use std::io::Read;

/// The longest body that is read, in bytes, both compressed and decompressed. A response of a few
/// thousand tokens is far below it.
pub const LONGEST: usize = 16 << 20;

/// The error for a longer body.
pub fn too_long() -> TransientFailure {
    let error = format!("the server's answer is longer than {} MiB", LONGEST >> 20);
    TransientFailure::new(FailureKind::Unreadable, error)
}

/// Decodes a body by its headers, or by its first bytes. A body that cannot be decoded stays as it
/// is.
///
/// # Errors
///
/// If it is too long.
pub fn decoded(mut body: Vec<u8>, headers: &HeaderMap) -> Result<Vec<u8>, TransientFailure> {
    let values = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let named: Vec<String> = values
        .flat_map(|value| value.split(','))
        .filter_map(|name| {
            Some(name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty() && name != "identity")
        })
        .collect();
    for name in named.iter().rev() {
        body = decompressed(name, body)?;
    }
    if named.is_empty() {
        match body[..] {
            [0x1f, 0x8b, ..] => body = decompressed("gzip", body)?,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => body = decompressed("zstd", body)?,
            _ => {}
        }
    }
    Ok(in_utf8(body, headers))
}

/// Decompresses a body by the name of the encoding.
fn decompressed(name: &str, body: Vec<u8>) -> Result<Vec<u8>, TransientFailure> {
    let read = match name {
        "gzip" | "x-gzip" => read(flate2::read::MultiGzDecoder::new(&body[..])),
        // With the zlib header of the standard, or without it, as some servers send it.
        "deflate" | "x-deflate" => match read(flate2::read::ZlibDecoder::new(&body[..])) {
            (bytes, false) if bytes.is_empty() => read(flate2::read::DeflateDecoder::new(&body[..])),
            read => read,
        },
        "br" => read(brotli::Decompressor::new(&body[..], 4096)),
        "zstd" => match zstd::Decoder::new(&body[..]) {
            Ok(decoder) => read(decoder),
            Err(_) => return Ok(body),
        },
        _ => return Ok(body),
    };
    match read {
        (bytes, _) if bytes.len() > LONGEST => Err(too_long()),
        (bytes, true) => Ok(bytes),
        // The header is wrong: the body is JSON.
        _ if body.trim_ascii_start().starts_with(b"{") => Ok(body),
        // Whether this is the whole body is checked when it is parsed.
        (bytes, false) if !bytes.is_empty() => Ok(bytes),
        _ => Ok(body),
    }
}

/// Reads a decoder to its end, up to one byte more than [`LONGEST`]. The second value says whether
/// the end was reached.
fn read(decoder: impl Read) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let is_whole = decoder.take(LONGEST as u64 + 1).read_to_end(&mut bytes).is_ok();
    (bytes, is_whole)
}

/// Converts a body to UTF-8. JSON is UTF-8 whatever a header says, so a charset of single bytes
/// counts only if the body is not valid UTF-8.
fn in_utf8(body: Vec<u8>, headers: &HeaderMap) -> Vec<u8> {
    let utf_16 = match body[..] {
        [0xff, 0xfe, ..] => Some(UTF_16LE),
        [0xfe, 0xff, ..] => Some(UTF_16BE),
        [b'{' | b'[' | b' ' | b'\r' | b'\n', 0, ..] => Some(UTF_16LE),
        [0, b'{' | b'[' | b' ' | b'\r' | b'\n', ..] => Some(UTF_16BE),
        _ => None,
    };
    let named =
        || charset(headers).filter(|encoding| *encoding == ISO_2022_JP || str::from_utf8(&body).is_err());
    match utf_16.or_else(named) {
        Some(encoding) => encoding.decode(&body).0.into_owned().into_bytes(),
        None => body,
    }
}

/// Returns the charset of the `Content-Type`.
fn charset(headers: &HeaderMap) -> Option<&'static Encoding> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let mut parameters = kind.split(';').filter_map(|parameter| parameter.split_once('='));
    let (_, label) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Encoding::for_label(label.trim().trim_matches(['"', '\'']).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use reqwest::header::HeaderValue;
    use std::io::Write;

    const TEXT: &str = "{\"choices\":[{\"text\":\"Zürich\"}]}";

    fn headers(encoding: &str, kind: &str) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        HeaderMap::from_iter([(CONTENT_ENCODING, value(encoding)), (CONTENT_TYPE, value(kind))])
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn brotli(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        brotli::CompressorReader::new(bytes, 4096, 5, 22)
            .read_to_end(&mut packed)
            .unwrap();
        packed
    }

    #[test]
    fn what_was_compressed_is_decompressed() {
        let text = TEXT.as_bytes();
        let zstd = zstd::encode_all(text, 0).unwrap();
        let bare = zlib(text)[2..].to_vec();
        for (encoding, body) in [
            ("gzip", gzip(text)),
            ("X-GZip", gzip(text)),
            ("deflate", zlib(text)),
            ("deflate", bare),
            ("br", brotli(text)),
            ("zstd", zstd.clone()),
            ("br, gzip", gzip(&brotli(text))),
            ("identity", text.to_vec()),
            ("", gzip(text)),
            ("", zstd),
            // The header is wrong.
            ("gzip", text.to_vec()),
            ("br", text.to_vec()),
            ("deflate", text.to_vec()),
            ("zstd", text.to_vec()),
            ("of-our-own", text.to_vec()),
            // Only the checksum at the end is missing.
            ("gzip", gzip(text)[..gzip(text).len() - 8].to_vec()),
        ] {
            let read = decoded(body, &headers(encoding, "application/json")).unwrap();
            assert_eq!(String::from_utf8_lossy(&read), TEXT, "{encoding}");
        }
        let bomb = gzip(&vec![b' '; LONGEST + 1]);
        assert!(decoded(bomb, &headers("gzip", "application/json")).is_err());
    }

    #[test]
    fn other_charsets_are_read() {
        let utf_16 = |to: fn(u16) -> [u8; 2], mark: &str| {
            let text = format!("{mark}{TEXT}");
            text.encode_utf16().flat_map(to).collect::<Vec<u8>>()
        };
        let latin: Vec<u8> = TEXT.chars().map(|c| u8::try_from(c).unwrap()).collect();
        for (kind, body) in [
            ("application/json; charset=utf-8", TEXT.as_bytes().to_vec()),
            ("application/json; charset=iso-8859-1", TEXT.as_bytes().to_vec()),
            ("application/json; charset=iso-8859-1", latin.clone()),
            ("application/json;CHARSET=\"Latin1\"", latin),
            (
                "application/json; charset=utf-16",
                utf_16(u16::to_le_bytes, "\u{feff}"),
            ),
            ("application/json", utf_16(u16::to_be_bytes, "\u{feff}")),
            ("application/json; charset=utf-16be", utf_16(u16::to_be_bytes, "")),
            ("application/json", utf_16(u16::to_le_bytes, "")),
        ] {
            let read = decoded(body, &headers("identity", kind)).unwrap();
            assert_eq!(String::from_utf8_lossy(&read), TEXT, "{kind}");
        }
    }
}
