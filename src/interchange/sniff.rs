//! What a file is by its first bytes. Its name says nothing: half of all `.json` files hold lines, and a page of HTML may be called
//! `data.jsonl`. What text is, [`prose`] says.

use std::io::Read;

use super::{prose, rows};

/// So many bytes of a file are looked at.
pub(super) const HEAD: usize = 1 << 16;

/// What bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Something else, compressed.
    Compressed(Compression),
    /// A Parquet file.
    Parquet,
    /// A file of Arrow's, with its batches listed at the end.
    ArrowFile,
    /// A stream of Arrow's, as `datasets` saves.
    ArrowStream,
    /// Text of 16-bit units, behind a mark of so many bytes.
    Utf16 { big_endian: bool, mark: usize },
    /// Text, as far as these bytes tell.
    Text,
    /// Nothing that has rows.
    Other(Kind),
}

/// How something is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zlib,
    Zstd,
    Xz,
    /// What came before xz.
    Lzma,
    Bzip2,
}

impl Compression {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zlib => "zlib",
            Compression::Zstd => "zstd",
            Compression::Xz => "xz",
            Compression::Lzma => "lzma",
            Compression::Bzip2 => "bzip2",
        }
    }
}

/// A kind of file that has no rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// With its article: `an HTML page`.
    pub(super) what: &'static str,
    /// The way out.
    pub(super) hint: &'static str,
}

const WEIGHTS: &str = "these are weights of a model, not rows";
const UNPACK: &str = "unpack it, and give a file in it";
pub(super) const CONVERT: &str = "write it as JSON lines, CSV or Parquet";

/// What these bytes, the first of a file, are.
pub(super) fn look(head: &[u8]) -> Content {
    let named = |(what, hint)| Content::Other(Kind { what, hint });
    of_magic(head)
        .or_else(|| binary(head).map(named))
        .or_else(|| prose::page(head).map(Content::Other))
        .or_else(|| utf32(head).map(named))
        .or_else(|| unmarked_utf16(head))
        .or_else(|| {
            let begins_with_zero = head.first() == Some(&0);
            begins_with_zero.then(|| named(("not text, and no format that ewe knows", CONVERT)))
        })
        .unwrap_or(Content::Text)
}

fn of_magic(head: &[u8]) -> Option<Content> {
    let begins = |magic: &[u8]| head.starts_with(magic);
    Some(match () {
        () if begins(b"\x1f\x8b") => Content::Compressed(Compression::Gzip),
        () if begins(b"\x28\xb5\x2f\xfd") => Content::Compressed(Compression::Zstd),
        // A frame that decoders skip may come first.
        () if head.len() > 8 && (0x50..=0x5f).contains(&head[0]) && head[1..4] == *b"\x2a\x4d\x18" => {
            Content::Compressed(Compression::Zstd)
        }
        () if begins(b"\xfd7zXZ\0") => Content::Compressed(Compression::Xz),
        () if begins(b"BZh") && head.get(4..10) == Some(b"\x31\x41\x59\x26\x53\x59") => {
            Content::Compressed(Compression::Bzip2)
        }
        // An empty one has the end of the stream in place of a block.
        () if begins(b"BZh") && head.get(4..10) == Some(b"\x17\x72\x45\x38\x50\x90") => {
            Content::Compressed(Compression::Bzip2)
        }
        () if is_zlib(head) => Content::Compressed(Compression::Zlib),
        () if is_lzma(head) => Content::Compressed(Compression::Lzma),
        () if begins(b"PAR1") => Content::Parquet,
        () if begins(b"ARROW1\0\0") => Content::ArrowFile,
        () if is_arrow_stream(head) => Content::ArrowStream,
        () => return utf16(head),
    })
}

/// Two bytes that are a multiple of 31, and something behind them that can be unpacked: text may begin so, too.
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

/// The usual settings, the size of the dictionary, and the length, which may be unknown.
fn is_lzma(head: &[u8]) -> bool {
    let length = head
        .get(5..13)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_le_bytes);
    head.starts_with(b"\x5d\0\0")
        && head[3..].iter().take(2).any(|byte| *byte != 0)
        && length.is_some_and(|length| length == u64::MAX || length < 1 << 40)
}

/// Whether the bytes are UTF-8 without the control characters that no text has.
fn is_text(head: &[u8]) -> bool {
    prose::text(head).is_some_and(|text| !text.bytes().any(|byte| byte < 9))
}

/// A stream begins with a mark and the length of the schema, a multiple of 8.
fn is_arrow_stream(head: &[u8]) -> bool {
    let length = head
        .get(4..8)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_le_bytes);
    head.starts_with(b"\xff\xff\xff\xff") && length.is_some_and(|length| length > 0 && length % 8 == 0)
}

/// UTF-16 by its mark, or by the zero in every other byte that only such text has.
fn utf16(head: &[u8]) -> Option<Content> {
    let (big_endian, mark) = match head {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return None,
        [0xff, 0xfe, ..] => (false, 2),
        [0xfe, 0xff, ..] => (true, 2),
        [a, 0, b, 0, ..] if a.is_ascii() && b.is_ascii() && *a != 0 && *b != 0 => (false, 0),
        [0, a, 0, b, ..] if a.is_ascii() && b.is_ascii() && *a != 0 && *b != 0 => (true, 0),
        _ => return None,
    };
    let content = Content::Utf16 { big_endian, mark };
    // Letters of other scripts may look so in the wrong order of bytes.
    let unmarked = (mark == 0).then(|| unmarked_utf16(head)).flatten();
    Some(unmarked.unwrap_or(content))
}

/// UTF-16 without a mark whose first letters are not those of ASCII. All of it is characters, none a control character, and some
/// stand between cells or fields; in the other order of bytes there are fewer of these.
fn unmarked_utf16(head: &[u8]) -> Option<Content> {
    let zeros = head.iter().filter(|byte| **byte == 0).count();
    let controls = head.iter().filter(|byte| **byte < 9).count();
    if zeros == 0 || (prose::text(head).is_some() && controls * 4 < head.len()) {
        return None;
    }
    let between = |big_endian: bool| {
        let units = head.chunks_exact(2).map(|pair| match big_endian {
            true => u16::from_be_bytes([pair[0], pair[1]]),
            false => u16::from_le_bytes([pair[0], pair[1]]),
        });
        let characters: Vec<_> = char::decode_utf16(units).collect();
        // The last of them may be cut.
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
    Some(Content::Utf16 { big_endian, mark: 0 })
}

/// UTF-32 without a mark: units of four bytes, each of which is a character.
fn utf32(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let all = |unit: fn([u8; 4]) -> u32| {
        let mut units = head
            .chunks_exact(4)
            .map(|bytes| unit([bytes[0], bytes[1], bytes[2], bytes[3]]));
        units.all(|unit| char::from_u32(unit).is_some_and(|c| c >= '\t'))
    };
    match head.len() >= 8 {
        true if all(u32::from_le_bytes) => {
            Some(("text in UTF-32", "`iconv -f UTF-32LE -t UTF-8` converts it"))
        }
        true if all(u32::from_be_bytes) => {
            Some(("text in UTF-32", "`iconv -f UTF-32BE -t UTF-8` converts it"))
        }
        _ => None,
    }
}

fn binary(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let begins = |magic: &[u8]| head.starts_with(magic);
    let at = |place: usize, magic: &[u8]| head.get(place..).is_some_and(|rest| rest.starts_with(magic));
    Some(match () {
        () if begins(b"PK\x03\x04") || begins(b"PK\x05\x06") => zip(head),
        () if at(257, b"ustar") => ("a tar archive", UNPACK),
        () if begins(b"7z\xbc\xaf\x27\x1c") => ("a 7z archive", UNPACK),
        () if begins(b"Rar!\x1a\x07") => ("a RAR archive", UNPACK),
        () if begins(b"\x04\x22\x4d\x18") => ("compressed with lz4", "`unlz4` unpacks it"),
        () if begins(b"LZIP") => ("compressed with lzip", "`lzip -d` unpacks it"),
        () if begins(b"\x1f\x9d") => ("compressed with compress", "`uncompress` unpacks it"),
        () if begins(b"\xff\x06\x00\x00sNaPpY") => ("compressed with snappy", UNPACK),
        () if begins(b"SQLite format 3\0") => (
            "an SQLite database",
            "if it is a dataset of ewe's, `ewe export` writes its rows to a file",
        ),
        () if begins(b"%PDF-") => ("a PDF document", CONVERT),
        () if begins(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") => {
            ("a document of an old office program", "save the sheet as CSV")
        }
        () if begins(b"{\\rtf") => ("a document in RTF", CONVERT),
        () if begins(b"GGUF") => ("a GGUF model", WEIGHTS),
        () if begins(b"tjgg") || begins(b"lmgg") || begins(b"fmgg") => ("a GGML model", WEIGHTS),
        () if is_safetensors(head) => ("a safetensors file", WEIGHTS),
        () if is_pickle(head) => (
            "a pickle of Python's",
            "ewe runs no code of files; write the rows as JSON lines",
        ),
        () if begins(b"PARE") => (
            "an encrypted Parquet file",
            "decrypt it, and write it as Parquet without encryption",
        ),
        () if begins(b"\x89HDF\r\n\x1a\n") => ("an HDF5 file", CONVERT),
        () if begins(b"\x93NUMPY") => ("an array of NumPy's", CONVERT),
        () if begins(b"FEA1") => (
            "a Feather file of version 1",
            "write it as Parquet, or as Feather of version 2",
        ),
        () if begins(b"ORC") => ("an ORC file", CONVERT),
        () if begins(b"Obj\x01") => ("an Avro file", CONVERT),
        () if begins(b"\x7fELF") => ("a program", "give a file of rows"),
        () if begins(b"\x89PNG\r\n") || begins(b"\xff\xd8\xff") || begins(b"GIF8") => {
            ("a picture", "give a file of rows")
        }
        () if begins(b"\xff\xfe\0\0") || begins(b"\0\0\xfe\xff") => {
            ("text in UTF-32", "`iconv -f UTF-32 -t UTF-8` converts it")
        }
        () => return None,
    })
}

/// Protocols 2 to 5 say so. What begins one of the older, 0 in text and 1 in bytes, is a list, a dictionary or a class.
fn is_pickle(head: &[u8]) -> bool {
    let is_memo = |text: &[u8]| match text {
        [b'p', number @ ..] => behind_line(number, u8::is_ascii_digit).is_some(),
        [b'q', 0..=8, ..] => true,
        _ => false,
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    match head {
        [0x80, 2..=5, ..] => true,
        [b']' | b'}' | b')', rest @ ..] => is_memo(rest),
        [b'(', b'l' | b'd' | b't', rest @ ..] => is_memo(rest),
        [b'c', class @ ..] => {
            let rest = behind_line(class, is_name).and_then(|name| behind_line(name, is_name));
            rest.is_some_and(|rest| is_memo(rest) || rest.starts_with(b"("))
        }
        _ => false,
    }
}

/// What stands behind the first line, if that has something in it, and nothing else than such bytes.
fn behind_line(text: &[u8], is_of: fn(&u8) -> bool) -> Option<&[u8]> {
    let end = memchr::memchr(b'\n', text)?;
    let is_whole = end > 0 && text[..end].iter().all(is_of);
    is_whole.then_some(&text[end + 1..])
}

fn zip(head: &[u8]) -> (&'static str, &'static str) {
    let holds = |name: &[u8]| memchr::memmem::find(head, name).is_some();
    match () {
        () if holds(b"data.pkl") => ("a checkpoint of PyTorch's", WEIGHTS),
        () if holds(b"[Content_Types].xml") || holds(b"xl/") => {
            ("an Office document (a zip archive)", "save the sheet as CSV")
        }
        () if holds(b"mimetypeapplication/vnd.oasis") => {
            ("an OpenDocument file (a zip archive)", "save the sheet as CSV")
        }
        () if holds(b".npy") => ("arrays of NumPy's (a zip archive)", CONVERT),
        () => ("a zip archive", UNPACK),
    }
}

/// A length of eight bytes, then JSON of that length.
fn is_safetensors(head: &[u8]) -> bool {
    let length = head
        .get(..8)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_le_bytes);
    length.is_some_and(|length| (2..1 << 28).contains(&length)) && head.get(8) == Some(&b'{')
}

/// Text without the marks and the space that it begins with.
pub(super) fn beginning(mut head: &[u8]) -> &[u8] {
    loop {
        head = head.trim_ascii_start();
        match head.strip_prefix(rows::MARK).or(head.strip_prefix(b"\x1e")) {
            Some(rest) => head = rest,
            None => return head,
        }
    }
}

/// Whether the text is JSON whose first object goes over several lines, as `jq` and `json.dump(indent=2)` print them.
pub(super) fn is_indented(head: &[u8]) -> bool {
    let text = beginning(head);
    text.first() == Some(&b'{') && rows::spans_lines(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(head: &[u8]) -> &'static str {
        match look(head) {
            Content::Other(kind) => kind.what,
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
            assert_eq!(look(text.as_bytes()), Content::Text, "{text}");
        }
        assert_eq!(look("{\"ä\"".as_bytes()), Content::Text);
    }

    #[test]
    fn utf16_with_and_without_its_mark() {
        let mut text = vec![0xff, 0xfe];
        text.extend("{}".encode_utf16().flat_map(u16::to_le_bytes));
        let little = |mark| Content::Utf16 {
            big_endian: false,
            mark,
        };
        assert_eq!(look(&text), little(2));
        assert_eq!(look(&text[2..]), little(0));
        let text: Vec<u8> = "\u{feff}[{".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let big = |mark| Content::Utf16 {
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
                assert_eq!(look(&bytes), Content::Utf16 { big_endian, mark: 0 }, "{text}");
            }
            let wide =
                |bytes: fn(u32) -> [u8; 4]| text.chars().map(u32::from).flat_map(bytes).collect::<Vec<u8>>();
            assert_eq!(what(&wide(u32::to_le_bytes)), "text in UTF-32");
            assert_eq!(what(&wide(u32::to_be_bytes)), "text in UTF-32");
        }
        // A zero in text, and text that is filled up with zeros.
        for text in ["q,a\na\0b,c\n", "{\"a\": \"ä\"}\n\0\0\0\0\0\0\0\0"] {
            assert_eq!(look(text.as_bytes()), Content::Text, "{text}");
        }
    }

    #[test]
    fn compressions_without_a_magic_number_are_told_from_text() {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut zlib, b"{\"a\": 1}\n").unwrap();
        let zlib = zlib.finish().unwrap();
        assert_eq!(look(&zlib), Content::Compressed(Compression::Zlib));
        assert_eq!(look(b"x^2 + y^2,a\n"), Content::Text);
        let lzma = b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0\x3d";
        assert_eq!(look(lzma), Content::Compressed(Compression::Lzma));
        assert_eq!(look(b"]\n"), Content::Text);
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

    #[test]
    fn objects_over_several_lines_are_told_from_broken_lines() {
        for (text, indented) in [
            ("{\n  \"a\": 1\n}\n", true),
            ("{\"a\": [\n 1], \"b\": 2}", false),
            ("{\"a\": {\n \"b\": 2}}", true),
            ("{\"a\": 1}\n{\"a\": 2}", false),
            ("{\"a\": 1\n{\"a\": 2}", false),
            ("{\"a\": \"x\n{\"a\": 2}", false),
            ("{\"a\": 1", false),
        ] {
            assert_eq!(is_indented(text.as_bytes()), indented, "{text}");
        }
    }
}
