//! Text as bytes: UTF-8, its byte order mark, and guesses at other encodings.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};

/// The byte order mark of UTF-8. A file joined from several has one before each of them.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns `head` as text, if it is UTF-8. A character that is cut off at the end of `head` is left
/// out: it may be whole in the file.
pub fn text(head: &[u8]) -> Option<&str> {
    match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).ok(),
        Err(_) => None,
    }
}

/// Strips byte order marks from the start of a text.
pub fn without_marks(mut text: &[u8]) -> &[u8] {
    while let Some(rest) = text.strip_prefix(BYTE_ORDER_MARK) {
        text = rest;
    }
    text
}

/// Strips white space, byte order marks and record separators (RFC 7464) from the start of a text.
pub fn beginning(mut head: &[u8]) -> &[u8] {
    loop {
        head = head.trim_ascii_start();
        match head.strip_prefix(BYTE_ORDER_MARK).or(head.strip_prefix(b"\x1e")) {
            Some(rest) => head = rest,
            None => return head,
        }
    }
}

/// Guesses the encoding of text that is not UTF-8.
fn encoding_of(bytes: &[u8]) -> &'static str {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    detector.guess(None, Utf8Detection::Deny).name()
}

/// Returns a hint with the command that converts this text to UTF-8.
pub fn encoding_hint(bytes: &[u8]) -> &'static str {
    match encoding_of(bytes) {
        "GBK" | "gb18030" => "it looks like GBK: `iconv -f GB18030 -t UTF-8` converts it",
        "Big5" => "it looks like Big5: `iconv -f BIG5 -t UTF-8` converts it",
        "Shift_JIS" => "it looks like Shift_JIS: `iconv -f CP932 -t UTF-8` converts it",
        "EUC-JP" => "it looks like EUC-JP: `iconv -f EUC-JP -t UTF-8` converts it",
        "EUC-KR" => "it looks like EUC-KR: `iconv -f CP949 -t UTF-8` converts it",
        "windows-1251" => "it looks like Windows-1251: `iconv -f CP1251 -t UTF-8` converts it",
        "windows-1252" => "it looks like Latin-1 or Windows-1252: `iconv -f CP1252 -t UTF-8` converts it",
        "KOI8-U" | "KOI8-R" => "it looks like KOI8: `iconv -f KOI8-U -t UTF-8` converts it",
        _ => "`iconv -f ENCODING -t UTF-8` converts it",
    }
}
