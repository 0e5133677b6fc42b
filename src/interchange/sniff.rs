//! What a file is by its first bytes. Its name says nothing: half of all `.json` files hold lines, and a page of HTML may be called
//! `data.jsonl`.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};

use super::rows;

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
    Zstd,
    Xz,
    Bzip2,
}

impl Compression {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::Xz => "xz",
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
const CONVERT: &str = "write it as JSON lines, CSV or Parquet";

/// What these bytes, the first of a file, are.
pub(super) fn look(head: &[u8]) -> Content {
    if let Some(content) = of_magic(head) {
        return content;
    }
    match binary(head).or_else(|| page(head)) {
        Some((what, hint)) => Content::Other(Kind { what, hint }),
        None => Content::Text,
    }
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
        () if begins(b"PAR1") => Content::Parquet,
        () if begins(b"ARROW1\0\0") => Content::ArrowFile,
        () if is_arrow_stream(head) => Content::ArrowStream,
        () => return utf16(head),
    })
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
    Some(Content::Utf16 { big_endian, mark })
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
        () if head.len() > 2 && head[0] == 0x80 && (2..=5).contains(&head[1]) => (
            "a pickle of Python's",
            "ewe runs no code of files; write the rows as JSON lines",
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
        () if head.first() == Some(&0) => ("not text, and no format that ewe knows", CONVERT),
        () => return None,
    })
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

/// Text that certainly has no rows.
fn page(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = head
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(head)
        .trim_ascii_start();
    let begins = |word: &str| {
        text.get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    Some(match () {
        () if begins("version https://git-lfs.github.com/spec/")
            || begins("version https://hawser.github.com/") =>
        {
            (
                "a pointer of Git LFS, which stands for a file that was not downloaded",
                "`git lfs pull` brings the file itself",
            )
        }
        () if begins("<!doctype html") || begins("<html") || begins("<head") || begins("<body") => (
            "an HTML page",
            "a server sent a page in place of the file; on the Hugging Face hub, take the link with `resolve`, not `blob`",
        ),
        () if begins("<?xml") || begins("<rss") || begins("<svg") => ("XML", CONVERT),
        () if begins("%!PS") => ("a PostScript document", CONVERT),
        () if begins("<") && begins("<!--") => ("an HTML page", CONVERT),
        () => return None,
    })
}

/// What text is that has rows of no kind, as its beginning says.
pub(super) fn unreadable(head: &[u8]) -> Option<Kind> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // What is cut at the end of the head may be whole in the file.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) if head.iter().filter(|&&byte| byte < 9).count() > 0 => {
            return Some(Kind {
                what: "not text, and no format that ewe knows",
                hint: CONVERT,
            });
        }
        Err(_) => {
            return Some(Kind {
                what: "text that is not UTF-8",
                hint: encoding_hint(head),
            });
        }
    };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let (what, hint) = match () {
        () if text.is_empty() => return None,
        () if text.starts_with("{'") || text.starts_with("[{'") => (
            "rows as Python prints them",
            "write each with `json.dumps`, one a line",
        ),
        () if text.starts_with("---\n") || text.starts_with("- ") => ("YAML", CONVERT),
        () if text.starts_with('[') || text.starts_with('{') || text.starts_with('"') => return None,
        () if text.contains('\0') => ("not text, and no format that ewe knows", CONVERT),
        () => return None,
    };
    Some(Kind { what, hint })
}

/// How text that is no UTF-8 is probably encoded.
pub(super) fn encoding_of(bytes: &[u8]) -> &'static str {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    detector.guess(None, Utf8Detection::Deny).name()
}

/// What converts text that is no UTF-8.
pub(super) fn encoding_hint(bytes: &[u8]) -> &'static str {
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

/// Whether the text is JSON whose first object goes over several lines, as `jq` and `json.dump(indent=2)` print them.
pub(super) fn is_indented(head: &[u8]) -> bool {
    let text = head
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(head)
        .trim_ascii_start();
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
    fn encodings_are_guessed() {
        let hint = |text: &str, encoding: &'static encoding_rs::Encoding| {
            let bytes = encoding.encode(text).0;
            unreadable(&bytes).unwrap().hint
        };
        let chinese = "{\"instruction\": \"请把下面的句子翻译成英文。\", \"output\": \"今天天气很好，我们去公园散步吧。\"}";
        assert!(hint(chinese, encoding_rs::GBK).contains("GBK"));
        let french = "{\"instruction\": \"Où est la bibliothèque ?\", \"output\": \"À côté du café.\"}";
        assert!(hint(french, encoding_rs::WINDOWS_1252).contains("Latin-1"));
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
