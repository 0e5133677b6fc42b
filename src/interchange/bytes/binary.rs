//! Binary files without rows: archives, documents, model weights, pickles.

use super::kind::{CONVERT, FileKind};

const WEIGHTS: &str = "these are weights of a model, not rows";
const UNPACK: &str = "unpack it, and give a file in it";

/// Recognizes a binary file without rows by its first bytes.
pub fn binary(head: &[u8]) -> Option<FileKind> {
    let begins = |magic: &[u8]| head.starts_with(magic);
    let at = |place: usize, magic: &[u8]| head.get(place..).is_some_and(|rest| rest.starts_with(magic));
    let (what, hint) = match () {
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
            "if it is a dataset of ewe's, `ewe export` writes its rows to a file, and `ewe merge-db` merges it with another",
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
    };
    Some(FileKind { what, hint })
}

/// Whether the bytes are a pickle. Protocols 2 to 5 begin with their number; protocols 0 (text) and
/// 1 (binary) are recognized by a list, a dictionary or a class at the start.
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

/// Returns the text after the first line, if that line is not empty and all its bytes are `is_of`.
fn behind_line(text: &[u8], is_of: fn(&u8) -> bool) -> Option<&[u8]> {
    let end = memchr::memchr(b'\n', text)?;
    let is_whole = end > 0 && text[..end].iter().all(is_of);
    is_whole.then_some(&text[end + 1..])
}

/// Names a zip archive by the files in it.
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

/// Whether the bytes are a length in eight bytes, then the start of a JSON object.
fn is_safetensors(head: &[u8]) -> bool {
    let length = head
        .get(..8)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_le_bytes);
    length.is_some_and(|length| (2..1 << 28).contains(&length)) && head.get(8) == Some(&b'{')
}
