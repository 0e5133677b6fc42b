//! The type of a file, by its first bytes. Its name is no help: half of all `.json` files hold JSON
//! lines, and an HTML page may be called `data.jsonl`. [`binary`](super::binary) and [`prose`]
//! recognize files without rows.

use std::io::Read;

use super::{
    binary::binary,
    encoding,
    kind::{Compression, ContentType, FileKind, UNKNOWN},
    prose,
};

/// How many of a file's first bytes are looked at.
pub const HEAD: usize = 1 << 16;

/// Returns the type of a file that begins with `head`.
pub fn look(head: &[u8]) -> ContentType {
    of_magic(head)
        .or_else(|| binary(head).map(ContentType::NoRows))
        .or_else(|| prose::page(head).map(ContentType::NoRows))
        .or_else(|| utf32(head).map(ContentType::NoRows))
        .or_else(|| unmarked_utf16(head))
        .or_else(|| {
            let begins_with_zero = head.first() == Some(&0);
            begins_with_zero.then_some(ContentType::NoRows(UNKNOWN))
        })
        .unwrap_or(ContentType::Text)
}

/// Recognizes types that can be read.
fn of_magic(head: &[u8]) -> Option<ContentType> {
    let begins = |magic: &[u8]| head.starts_with(magic);
    Some(match () {
        () if begins(b"\x1f\x8b") => ContentType::Compressed(Compression::Gzip),
        () if begins(b"\x28\xb5\x2f\xfd") => ContentType::Compressed(Compression::Zstd),
        // A skippable frame may come first.
        () if head.len() > 8 && (0x50..=0x5f).contains(&head[0]) && head[1..4] == *b"\x2a\x4d\x18" => {
            ContentType::Compressed(Compression::Zstd)
        }
        () if begins(b"\xfd7zXZ\0") => ContentType::Compressed(Compression::Xz),
        () if begins(b"BZh") && head.get(4..10) == Some(b"\x31\x41\x59\x26\x53\x59") => {
            ContentType::Compressed(Compression::Bzip2)
        }
        // An empty file has the end-of-stream marker in place of a block.
        () if begins(b"BZh") && head.get(4..10) == Some(b"\x17\x72\x45\x38\x50\x90") => {
            ContentType::Compressed(Compression::Bzip2)
        }
        () if is_zlib(head) => ContentType::Compressed(Compression::Zlib),
        () if is_lzma(head) => ContentType::Compressed(Compression::Lzma),
        () if begins(b"PAR1") => ContentType::Parquet,
        () if begins(b"ARROW1\0\0") => ContentType::ArrowFile,
        () if is_arrow_stream(head) => ContentType::ArrowStream,
        () => return utf16(head),
    })
}

/// Whether the first two bytes are a multiple of 31 and the bytes after them can be decompressed.
/// The first condition alone holds for some text, too.
fn is_zlib(head: &[u8]) -> bool {
    let [0x78, second, ..] = head else {
        return false;
    };
    let mut first = [0];
    u16::from_be_bytes([0x78, *second]).is_multiple_of(31)
        && !is_text(head)
        && flate2::read::ZlibDecoder::new(head)
            .read_exact(&mut first)
            .is_ok()
}

/// Whether the bytes are an LZMA header with the usual properties: dictionary size, then the
/// length, or all ones where it is unknown.
fn is_lzma(head: &[u8]) -> bool {
    let length = head
        .get(5..13)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_le_bytes);
    head.starts_with(b"\x5d\0\0")
        && head[3..].iter().take(2).any(|byte| *byte != 0)
        && length.is_some_and(|length| length == u64::MAX || length < 1 << 40)
}

/// Whether the bytes are UTF-8 without the control characters that text does not have.
fn is_text(head: &[u8]) -> bool {
    encoding::text(head).is_some_and(|text| !text.bytes().any(|byte| byte < 9))
}

/// Whether the bytes begin as an Arrow IPC stream: a continuation marker, then the length of the
/// schema, a multiple of 8.
fn is_arrow_stream(head: &[u8]) -> bool {
    let length = head
        .get(4..8)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_le_bytes);
    head.starts_with(b"\xff\xff\xff\xff") && length.is_some_and(|length| length > 0 && length % 8 == 0)
}

/// Recognizes UTF-16 by its byte order mark, or by ASCII characters with a zero beside each.
fn utf16(head: &[u8]) -> Option<ContentType> {
    let (big_endian, mark) = match head {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return None,
        [0xff, 0xfe, ..] => (false, 2),
        [0xfe, 0xff, ..] => (true, 2),
        [a, 0, b, 0, ..] if a.is_ascii() && b.is_ascii() && *a != 0 && *b != 0 => (false, 0),
        [0, a, 0, b, ..] if a.is_ascii() && b.is_ascii() && *a != 0 && *b != 0 => (true, 0),
        _ => return None,
    };
    let content = ContentType::Utf16 { big_endian, mark };
    // Letters of other scripts look like this in the wrong byte order.
    let unmarked = (mark == 0).then(|| unmarked_utf16(head)).flatten();
    Some(unmarked.unwrap_or(content))
}

/// Recognizes UTF-16 without a byte order mark that does not begin in ASCII: all code units are
/// valid characters other than control characters, and some are delimiters. The byte order is the
/// one with more delimiters.
fn unmarked_utf16(head: &[u8]) -> Option<ContentType> {
    let zeros = head.iter().filter(|byte| **byte == 0).count();
    let controls = head.iter().filter(|byte| **byte < 9).count();
    if zeros == 0 || (encoding::text(head).is_some() && controls * 4 < head.len()) {
        return None;
    }
    let between = |big_endian: bool| {
        let units = head.chunks_exact(2).map(|pair| match big_endian {
            true => u16::from_be_bytes([pair[0], pair[1]]),
            false => u16::from_le_bytes([pair[0], pair[1]]),
        });
        let characters: Vec<_> = char::decode_utf16(units).collect();
        // The last character may be cut off.
        let (_, whole) = characters.split_last()?;
        let is_read = |c: &Result<char, _>| c.as_ref().is_ok_and(|c| *c >= '\t' && *c != '\u{fffe}');
        let is_between = |c: &&Result<char, _>| c.as_ref().is_ok_and(|c| "\t\n\r ,;|:{}[]\"".contains(*c));
        let between = characters.iter().filter(is_between).count();
        (whole.iter().all(is_read) && between > 0).then_some(between)
    };
    let big_endian = match (between(false), between(true)) {
        (None, None) => return None,
        (little, big) => big > little,
    };
    Some(ContentType::Utf16 { big_endian, mark: 0 })
}

/// Recognizes UTF-32 without a byte order mark: every four bytes are a character.
fn utf32(head: &[u8]) -> Option<FileKind> {
    let kind = |hint| FileKind {
        what: "text in UTF-32",
        hint,
    };
    let all = |unit: fn([u8; 4]) -> u32| {
        let mut units = head
            .chunks_exact(4)
            .map(|bytes| unit([bytes[0], bytes[1], bytes[2], bytes[3]]));
        units.all(|unit| char::from_u32(unit).is_some_and(|c| c >= '\t'))
    };
    match head.len() >= 8 {
        true if all(u32::from_le_bytes) => Some(kind("`iconv -f UTF-32LE -t UTF-8` converts it")),
        true if all(u32::from_be_bytes) => Some(kind("`iconv -f UTF-32BE -t UTF-8` converts it")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(head: &[u8]) -> &'static str {
        match look(head) {
            ContentType::NoRows(kind) => kind.what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn text_is_text() {
        for text in [
            "",
            "{}",
            "[",
            "a,b\n",
            "\u{feff}{\"a\": \"<html>\"}",
            "PK",
            "BZh",
            "ORB",
            "\u{1}",
            "x",
        ] {
            assert_eq!(look(text.as_bytes()), ContentType::Text, "{text}");
        }
        assert_eq!(look("{\"ä\"".as_bytes()), ContentType::Text);
    }

    #[test]
    fn utf16_with_and_without_its_mark() {
        let mut text = vec![0xff, 0xfe];
        text.extend("{}".encode_utf16().flat_map(u16::to_le_bytes));
        let little = |mark| ContentType::Utf16 {
            big_endian: false,
            mark,
        };
        assert_eq!(look(&text), little(2));
        assert_eq!(look(&text[2..]), little(0));
        let text: Vec<u8> = "\u{feff}[{".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let big = |mark| ContentType::Utf16 {
            big_endian: true,
            mark,
        };
        assert_eq!(look(&text), big(2));
        assert_eq!(look(&text[2..]), big(0));
        assert_eq!(what(b"\xff\xfe\0\0{\0\0\0"), "text in UTF-32");
    }

    #[test]
    fn wide_text_without_a_mark_is_told_by_its_characters() {
        for text in [
            "指令,output\n写一首诗。,好\n",
            "Вопрос\tответ\nКто?\tЯ\n",
            "一,一一\n一一,一\n",
        ] {
            for (big_endian, bytes) in [
                (
                    false,
                    text.encode_utf16()
                        .flat_map(u16::to_le_bytes)
                        .collect::<Vec<u8>>(),
                ),
                (true, text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
            ] {
                assert_eq!(look(&bytes), ContentType::Utf16 { big_endian, mark: 0 }, "{text}");
            }
            let wide =
                |bytes: fn(u32) -> [u8; 4]| text.chars().map(u32::from).flat_map(bytes).collect::<Vec<u8>>();
            assert_eq!(what(&wide(u32::to_le_bytes)), "text in UTF-32");
            assert_eq!(what(&wide(u32::to_be_bytes)), "text in UTF-32");
        }
        // A zero in text, and text that is filled up with zeros.
        for text in ["q,a\na\0b,c\n", "{\"a\": \"ä\"}\n\0\0\0\0\0\0\0\0"] {
            assert_eq!(look(text.as_bytes()), ContentType::Text, "{text}");
        }
    }

    #[test]
    fn compressions_without_a_magic_number_are_told_from_text() {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut zlib, b"{\"a\": 1}\n").unwrap();
        let zlib = zlib.finish().unwrap();
        assert_eq!(look(&zlib), ContentType::Compressed(Compression::Zlib));
        assert_eq!(look(b"x^2 + y^2,a\n"), ContentType::Text);
        let lzma = b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0\x3d";
        assert_eq!(look(lzma), ContentType::Compressed(Compression::Lzma));
        assert_eq!(look(b"]\n"), ContentType::Text);
    }

    #[test]
    fn what_has_no_rows_is_named() {
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (head, name) in [
            (&b"PK\x03\x04\0\0archive/data.pkl"[..], "PyTorch"),
            (b"PK\x03\x04\0\0[Content_Types].xml", "Office"),
            (b"PK\x03\x04\0\0rows.jsonl", "a zip archive"),
            (&tar, "tar"),
            (b"\x20\0\0\0\0\0\0\0{\"__metadata__\"", "safetensors"),
            (b"\x80\x04\x95\0\0", "pickle"),
            (b"(lp0\n(dp1\nVinstruction\np2\nVa\np3\nsa.", "pickle"),
            (b"]q\0}q\x01(X\x0b\0\0\0instruction", "pickle"),
            (b"cpandas.core.frame\nDataFrame\np0\n", "pickle"),
            (b"PARE\x01\x02", "encrypted Parquet"),
            (b"\n <!DOCTYPE html><html>", "HTML"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:",
                "Git LFS",
            ),
            (b"SQLite format 3\0", "SQLite"),
            (b"{\\rtf1\\ansi", "RTF"),
            (b"GGUF\x03\0\0\0", "GGUF"),
            (b"<?xml version=\"1.0\"?>", "XML"),
        ] {
            assert!(what(head).contains(name), "{name}");
        }
    }
}
