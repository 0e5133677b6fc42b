//! The format of a file, by its name and its first bytes.

use std::path::Path;

use super::roff;

/// Formats of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Plain text.
    Text,
    /// Markdown.
    Markdown,
    /// HTML and XHTML.
    Html,
    /// PDF.
    Pdf,
    /// Word's format (Office Open XML).
    Docx,
    /// E-books.
    Epub,
    /// Rows of comma-separated or tab-separated values.
    Csv,
    /// JSON objects, one a line, or a list of them.
    Json,
    /// Source code.
    Code,
    /// The source of a manual page.
    Manual,
}

/// Endings of names, without the dot, in lower case.
const ENDINGS: &[(Kind, &[&str])] = &[
    (
        Kind::Text,
        &["txt", "text", "rst", "adoc", "org", "tex", "log", "srt", "vtt"],
    ),
    (Kind::Markdown, &["md", "markdown", "mdown", "mkd"]),
    (Kind::Html, &["html", "htm", "xhtml", "shtml"]),
    (Kind::Pdf, &["pdf"]),
    (Kind::Docx, &["docx", "docm", "dotx"]),
    (Kind::Epub, &["epub"]),
    (Kind::Csv, &["csv", "tsv"]),
    (Kind::Json, &["jsonl", "ndjson", "json"]),
    (
        Kind::Code,
        &[
            "rs", "py", "js", "mjs", "ts", "tsx", "jsx", "c", "h", "cc", "cpp", "hpp", "cxx", "java", "kt",
            "go", "rb", "php", "pl", "pm", "sh", "bash", "zsh", "fish", "sql", "swift", "scala", "hs", "ml",
            "lua", "r", "jl", "cs", "css", "toml", "yaml", "yml", "ini", "cfg", "xml", "vue", "zig", "ex",
            "exs", "erl", "clj", "lisp", "el", "vim", "mk", "cmake", "proto", "tf",
        ],
    ),
];

/// Names without an ending that are source code.
const CODE_NAMES: [&str; 5] = ["makefile", "dockerfile", "rakefile", "gemfile", "jenkinsfile"];

impl Kind {
    /// The word in the store and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Markdown => "markdown",
            Kind::Html => "html",
            Kind::Pdf => "pdf",
            Kind::Docx => "docx",
            Kind::Epub => "epub",
            Kind::Csv => "csv",
            Kind::Json => "json",
            Kind::Code => "code",
            Kind::Manual => "manual",
        }
    }

    /// The kind that a name says, after an ending of compression; `None` if it says nothing.
    pub fn of_name(path: &Path) -> Option<Kind> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        let name = [".gz", ".zst"]
            .iter()
            .find_map(|ending| name.strip_suffix(ending))
            .unwrap_or(&name);
        if CODE_NAMES.contains(&name) {
            return Some(Kind::Code);
        }
        let (_, ending) = name.rsplit_once('.')?;
        let found = ENDINGS.iter().find(|(_, endings)| endings.contains(&ending));
        found.map(|(kind, _)| *kind)
    }

    /// The kind of a file: what its bytes are sure of, else what its name says, else text if it is
    /// text. `None` for other bytes.
    pub fn of(path: &Path, bytes: &[u8]) -> Option<Kind> {
        let named = Kind::of_name(path);
        // Some PDFs have a few bytes before their header.
        let head = &bytes[..bytes.len().min(1024)];
        if memchr::memmem::find(head, b"%PDF-").is_some()
            && !matches!(named, Some(Kind::Text | Kind::Markdown | Kind::Code))
        {
            return Some(Kind::Pdf);
        }
        if bytes.starts_with(b"PK\x03\x04") {
            return match named {
                Some(Kind::Docx | Kind::Epub) => named,
                // The first entry of an e-book is its type, not compressed.
                _ if memchr::memmem::find(head, b"application/epub+zip").is_some() => Some(Kind::Epub),
                _ => None,
            };
        }
        match named {
            Some(_) => named,
            None if is_binary(bytes) => None,
            None if is_page(head) => Some(Kind::Html),
            None if roff::is_manual(&bytes[..bytes.len().min(1 << 16)]) => Some(Kind::Manual),
            None => Some(Kind::Text),
        }
    }
}

/// Whether text begins as a page of HTML.
fn is_page(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head)
        .trim_start_matches('\u{feff}')
        .trim_start()
        .to_lowercase();
    head.starts_with("<!doctype html") || head.starts_with("<html")
}

/// Whether bytes are not text in any encoding: NUL among them, except in UTF-16 and UTF-32 with
/// their marks.
pub fn is_binary(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(8192)];
    // The mark of UTF-32LE begins with that of UTF-16LE.
    let marks: [&[u8]; 3] = [b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"];
    let is_wide = marks.iter().any(|mark| head.starts_with(mark));
    let control = head
        .iter()
        .filter(|&&byte| byte < 9 || (14..32).contains(&byte) && byte != 27)
        .count();
    !is_wide && (head.contains(&0) || control * 10 > head.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, bytes: &[u8]) -> Option<Kind> {
        Kind::of(Path::new(name), bytes)
    }

    #[test]
    fn names_and_bytes_say_what_a_file_is() {
        assert_eq!(kind("a/Handbook.MD", b"# x"), Some(Kind::Markdown));
        assert_eq!(kind("changelog.Debian.gz", b"ewe (1)"), Some(Kind::Text));
        assert_eq!(kind("notes.txt.zst", b"x"), Some(Kind::Text));
        assert_eq!(kind("page", b"\n<!DOCTYPE html><p>x"), Some(Kind::Html));
        assert_eq!(kind("report.bin", b"\n%PDF-1.7\n"), Some(Kind::Pdf));
        assert_eq!(kind("Makefile", b"all:"), Some(Kind::Code));
        assert_eq!(
            kind("book", b"PK\x03\x04....mimetypeapplication/epub+zip"),
            Some(Kind::Epub)
        );
        assert_eq!(kind("ewe.1.gz", b".TH EWE 1\n"), Some(Kind::Manual));
        assert_eq!(kind("x.zip", b"PK\x03\x04...."), None);
        assert_eq!(kind("a.out", b"\x7fELF\0\0"), None);
        assert_eq!(kind("README", b"\xff\xfeh\0i\0"), Some(Kind::Text));
        assert_eq!(kind("README", b"\0\0\xfe\xff\0\0\0h"), Some(Kind::Text));
    }
}
