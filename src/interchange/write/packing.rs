//! The name of an output file decides how its rows are laid out, and how it is compressed.

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, bail};
use flate2::{Compression, write::GzEncoder};

use crate::atomic_file::{AtomicFile, cannot_write};

/// How the rows of a file are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileShape {
    /// One JSON object a line.
    Lines,
    /// One JSON array.
    Array,
    /// Parquet.
    Parquet,
    /// CSV with this delimiter.
    Cells(u8),
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    None,
    /// `.gz`
    Gzip,
    /// `.zst`
    Zstd,
}

/// Returns the shape and the compression by the endings of a name. The shape is `None` if no ending
/// says one.
///
/// # Errors
///
/// If files are not written with this compression.
pub fn named(path: &Path) -> anyhow::Result<(Option<FileShape>, Packing)> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    let (name, packing) = match () {
        () if name.ends_with(".gz") => (&name[..name.len() - 3], Packing::Gzip),
        () if name.ends_with(".zst") => (&name[..name.len() - 4], Packing::Zstd),
        () if name.ends_with(".xz") || name.ends_with(".bz2") => bail!(
            "cannot write `{}`: rows are read from xz and bzip2, and packed with gzip or zstd only\nhint: a name that ends in .gz or .zst",
            path.display()
        ),
        () => (name.as_str(), Packing::None),
    };
    let shape = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("jsonl" | "ndjson") => Some(FileShape::Lines),
        Some("json") => Some(FileShape::Array),
        Some("parquet") => Some(FileShape::Parquet),
        Some("csv") => Some(FileShape::Cells(b',')),
        Some("tsv") => Some(FileShape::Cells(b'\t')),
        _ => None,
    };
    if shape == Some(FileShape::Parquet) && packing != Packing::None {
        bail!(
            "cannot write `{}`: Parquet packs its columns itself\nhint: a name that ends in .parquet",
            path.display()
        );
    }
    Ok((shape, packing))
}

/// Returns what the name of a file in the folder `path` ends in, so that its rows are laid out and
/// compressed as the name of the folder says: `.parquet`, or `.jsonl.zst`. It is lines if no ending
/// says anything else.
pub fn ending(path: &Path) -> String {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    let packing = [".gz", ".zst"].into_iter().find(|ending| name.ends_with(ending));
    let name = packing.map_or(name.as_str(), |packing| &name[..name.len() - packing.len()]);
    let known = ["ndjson", "json", "parquet", "csv", "tsv"];
    let shape = name
        .rsplit_once('.')
        .and_then(|(_, ending)| known.into_iter().find(|&shape| shape == ending));
    format!(".{}{}", shape.unwrap_or("jsonl"), packing.unwrap_or_default())
}

/// A writer that compresses. The same input gives the same bytes.
pub enum Packed<W: Write> {
    /// Not compressed.
    Plain(W),
    /// gzip, without a time in its header.
    Gzip(GzEncoder<W>),
    /// zstd.
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Packed<W> {
    /// Writes to `out` with this compression.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub fn new(out: W, packing: Packing) -> io::Result<Packed<W>> {
        Ok(match packing {
            Packing::None => Packed::Plain(out),
            Packing::Gzip => Packed::Gzip(GzEncoder::new(out, Compression::default())),
            Packing::Zstd => Packed::Zstd(zstd::Encoder::new(out, 0)?),
        })
    }

    /// Writes the end of the compressed data. Returns the inner writer.
    ///
    /// # Errors
    ///
    /// If `out` fails.
    pub fn end(self) -> io::Result<W> {
        match self {
            Packed::Plain(out) => Ok(out),
            Packed::Gzip(out) => out.finish(),
            Packed::Zstd(out) => out.finish(),
        }
    }
}

impl Packed<AtomicFile> {
    /// Starts a file at `path` with this compression.
    ///
    /// # Errors
    ///
    /// If nothing can be written there; the message names the path.
    pub fn begin(path: &Path, packing: Packing) -> anyhow::Result<Packed<AtomicFile>> {
        Packed::new(AtomicFile::begin(path)?, packing).with_context(|| cannot_write(path))
    }
}

impl<W: Write> Write for Packed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Packed::Plain(out) => out.write(bytes),
            Packed::Gzip(out) => out.write(bytes),
            Packed::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Packed::Plain(out) => out.flush(),
            Packed::Gzip(out) => out.flush(),
            Packed::Zstd(out) => out.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_folder_are_named_like_it() {
        for (folder, file) in [
            ("kept", ".jsonl"),
            ("x.y/kept.jsonl.zst", ".jsonl.zst"),
            ("kept.v2.Parquet", ".parquet"),
            ("kept.csv.gz", ".csv.gz"),
            ("kept.v2", ".jsonl"),
            ("kept.zst", ".jsonl.zst"),
        ] {
            assert_eq!(ending(Path::new(folder)), file, "{folder}");
            let shape = named(Path::new(folder)).unwrap();
            let of_file = named(Path::new(&format!("part-00000{file}"))).unwrap();
            assert_eq!(shape.0.unwrap_or(FileShape::Lines), of_file.0.unwrap());
            assert_eq!(shape.1, of_file.1);
        }
    }

    #[test]
    fn names_say_shape_and_packing() {
        for (name, shape, packing) in [
            ("a.jsonl", Some(FileShape::Lines), Packing::None),
            ("a.JSON.gz", Some(FileShape::Array), Packing::Gzip),
            ("x/a.b.csv.zst", Some(FileShape::Cells(b',')), Packing::Zstd),
            ("a.parquet", Some(FileShape::Parquet), Packing::None),
            ("rows", None, Packing::None),
            ("json", None, Packing::None),
            ("-", None, Packing::None),
            ("a.txt.gz", None, Packing::Gzip),
        ] {
            assert_eq!(named(Path::new(name)).unwrap(), (shape, packing), "{name}");
        }
        assert!(named(Path::new("a.parquet.gz")).is_err());
        assert!(named(Path::new("a.jsonl.xz")).is_err());
    }
}
