//! Types of files.

/// The type of a file, by its first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentType {
    /// Compressed.
    Compressed(Compression),
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC file, with its batches listed at the end.
    ArrowFile,
    /// An Arrow IPC stream, as `datasets` saves.
    ArrowStream,
    /// UTF-16, after a byte order mark of `mark` bytes.
    Utf16 { big_endian: bool, mark: usize },
    /// Text, as far as these bytes tell.
    Text,
    /// A type that has no rows.
    NoRows(FileKind),
}

/// A compression that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Zlib,
    Zstd,
    Xz,
    /// The predecessor of xz.
    Lzma,
    Bzip2,
}

impl Compression {
    /// The name in messages.
    pub fn as_str(self) -> &'static str {
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

/// A type of file that has no rows, as an error names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileKind {
    /// With an article: `an HTML page`.
    pub what: &'static str,
    /// What to do.
    pub hint: &'static str,
}

/// The hint for rows in a file type that is not read.
pub const CONVERT: &str = "write it as JSON lines, CSV or Parquet";

/// Neither text nor any known type.
pub const UNKNOWN: FileKind = FileKind {
    what: "not text, and no format that ewe knows",
    hint: CONVERT,
};
