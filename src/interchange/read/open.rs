//! Opens a file: decompresses it, and recognizes the type of its content by the first bytes.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read, Seek},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::interchange::{
    ReadError, Reading,
    bytes::{
        decode::{ByteCount, CountingReader, Utf16, decompressed},
        encoding::beginning,
        kind::ContentType,
        sniff::{self, HEAD},
    },
    parts,
    rows::{
        columnar::ColumnarReader,
        csv::{CsvReader, TableLayout},
        json::{JsonReader, is_indented},
        row::RowError,
    },
};
use crate::settings_file;

/// How many times a file may be compressed.
const LAYERS: usize = 4;

/// The rows of a file, by its type.
pub(super) enum AnyReader {
    Json(JsonReader<Box<dyn BufRead + Send>>),
    Csv(Box<CsvReader<Box<dyn BufRead + Send>>>),
    Columnar(Box<ColumnarReader>),
}

/// A file that was opened.
pub(super) struct Opened {
    pub(super) source: AnyReader,
    /// The size of the file on disk, in bytes.
    pub(super) size: Option<u64>,
    /// How many of those bytes were read.
    pub(super) count: ByteCount,
    /// The beginning of the text, if it is text.
    pub(super) head: Vec<u8>,
}

/// Bytes that can be read once, and the first of them.
struct Input {
    head: Vec<u8>,
    rest: Box<dyn Read + Send>,
    /// Whether `head` has all the bytes.
    is_whole: bool,
}

impl Input {
    fn new(mut rest: Box<dyn Read + Send>) -> io::Result<Input> {
        let mut head = Vec::new();
        rest.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
        Ok(Input {
            is_whole: head.len() < HEAD,
            head,
            rest,
        })
    }

    /// Reads all the bytes.
    fn whole(self) -> impl Read + Send + 'static {
        Cursor::new(self.head).chain(self.rest)
    }
}

/// Opens the file at `path`; `-` is standard input.
pub(super) fn open(path: &Path, file: &str, reading: &Reading) -> Result<Opened, ReadError> {
    let failed = |error: io::Error| ReadError::Io {
        file: file.to_owned(),
        error,
    };
    let count = ByteCount::default();
    let counting = count.clone();
    let counted = move |input: File| CountingReader {
        input,
        count: counting.clone(),
    };
    let (input, size, on_disk): (Box<dyn Read + Send>, _, _) = if path == Path::new("-") {
        let input = CountingReader {
            input: io::stdin(),
            count: count.clone(),
        };
        (Box::new(input), None, None)
    } else {
        let metadata = path.metadata().map_err(failed)?;
        if metadata.is_dir() {
            let (columns, size) = folder(path, file, counted)?;
            return Ok(Opened {
                source: AnyReader::Columnar(Box::new(columns)),
                size: Some(size),
                count,
                head: Vec::new(),
            });
        }
        let opened = File::open(path).map_err(failed)?;
        let on_disk = match metadata.is_file() {
            true => Some(opened.try_clone().map_err(failed)?),
            false => None,
        };
        (
            Box::new(counted(opened)),
            metadata.is_file().then_some(metadata.len()),
            on_disk,
        )
    };
    let (source, head) = content(input, on_disk, path, file, reading)?;
    Ok(Opened {
        source,
        size,
        count,
        head,
    })
}

/// Decompresses a file as often as it was compressed, and reads its rows. `on_disk` is the file
/// itself.
fn content(
    input: Box<dyn Read + Send>,
    mut on_disk: Option<File>,
    path: &Path,
    file: &str,
    reading: &Reading,
) -> Result<(AnyReader, Vec<u8>), ReadError> {
    let failed = |error: io::Error| ReadError::Io {
        file: file.to_owned(),
        error,
    };
    let mut input = Input::new(input).map_err(failed)?;
    let mut packed_in = Vec::new();
    loop {
        let damaged = |kind: &'static str| {
            move |error: RowError| match error {
                RowError::Io(error) => failed(error),
                other => ReadError::Damaged {
                    file: file.to_owned(),
                    kind,
                    what: other.to_string(),
                },
            }
        };
        let found = sniff::look(&input.head);
        let layer: Box<dyn Read + Send> = match found {
            ContentType::Compressed(compression) if packed_in.len() < LAYERS => {
                packed_in.push(compression.as_str());
                decompressed(compression, input.whole()).map_err(failed)?
            }
            ContentType::Compressed(_) => {
                return Err(ReadError::NoRowsInIt {
                    file: file.to_owned(),
                    what: format!("compressed {LAYERS} times"),
                    hint: "unpack it".into(),
                });
            }
            ContentType::Utf16 { big_endian, mark } => {
                let mut text = input.whole();
                io::copy(&mut text.by_ref().take(mark as u64), &mut io::sink()).map_err(failed)?;
                let text = Utf16::new(text, big_endian);
                return self::text(Input::new(Box::new(text)).map_err(failed)?, path, file, reading);
            }
            ContentType::Text => return self::text(input, path, file, reading),
            ContentType::Parquet => {
                let file = on_disk_or_copied(on_disk, input).map_err(failed)?;
                let columns = ColumnarReader::parquet(file).map_err(damaged("Parquet"))?;
                return Ok((AnyReader::Columnar(Box::new(columns)), Vec::new()));
            }
            ContentType::ArrowFile => {
                let file = on_disk_or_copied(on_disk, input).map_err(failed)?;
                let columns = ColumnarReader::arrow_file(file).map_err(damaged("Arrow"))?;
                return Ok((AnyReader::Columnar(Box::new(columns)), Vec::new()));
            }
            ContentType::ArrowStream => {
                let columns = ColumnarReader::arrow_stream(input.whole()).map_err(damaged("Arrow"))?;
                return Ok((AnyReader::Columnar(Box::new(columns)), Vec::new()));
            }
            ContentType::NoRows(kind) => {
                let packed: String = packed_in
                    .iter()
                    .map(|name| format!(", packed with {name}"))
                    .collect();
                return Err(ReadError::NoRowsInIt {
                    file: file.to_owned(),
                    what: format!("{}{packed}", kind.what),
                    hint: kind.hint.into(),
                });
            }
        };
        on_disk = None;
        input = Input::new(layer).map_err(failed)?;
    }
}

/// Returns a file to seek in: a Parquet file is described at its end.
fn on_disk_or_copied(on_disk: Option<File>, input: Input) -> io::Result<File> {
    let mut file = match on_disk {
        Some(file) => file,
        None => {
            let mut file = tempfile::tempfile()?;
            io::copy(&mut input.whole(), &mut file)?;
            file
        }
    };
    file.rewind()?;
    Ok(file)
}

/// Reads a text file: CSV or JSON.
fn text(input: Input, path: &Path, file: &str, reading: &Reading) -> Result<(AnyReader, Vec<u8>), ReadError> {
    let head = input.head.clone();
    let start = beginning(&head);
    let layout = match start.first() {
        None | Some(b'{' | b'[') => None,
        Some(_) => TableLayout::of(&head, input.is_whole, is_named_as_table(path), reading),
    };
    let text: Box<dyn BufRead + Send> = Box::new(BufReader::with_capacity(1 << 17, input.whole()));
    let source = match layout {
        Some(layout) => {
            let rows = CsvReader::new(text, layout).map_err(|error| match error {
                RowError::Io(error) => ReadError::Io {
                    file: file.to_owned(),
                    error,
                },
                other => ReadError::Damaged {
                    file: file.to_owned(),
                    kind: "CSV",
                    what: other.to_string(),
                },
            })?;
            AnyReader::Csv(Box::new(rows))
        }
        None if is_indented(&head) => AnyReader::Json(JsonReader::of_indented(text)),
        None => AnyReader::Json(JsonReader::new(text)),
    };
    Ok((source, head))
}

/// Whether the name of a file is that of a CSV or TSV file, compressed or not.
fn is_named_as_table(path: &Path) -> bool {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    let mut endings = name.split('.').skip(1);
    endings.any(|ending| matches!(ending, "csv" | "tsv" | "tab"))
}

/// Opens a folder that `datasets` saved: the Arrow streams that it lists, one after another.
fn folder<R: Read + Send + 'static>(
    path: &Path,
    file: &str,
    counted: impl Fn(File) -> R + Send + 'static,
) -> Result<(ColumnarReader, u64), ReadError> {
    let refused = |what: &str, hint: String| ReadError::NoRowsInIt {
        file: file.to_owned(),
        what: what.into(),
        hint,
    };
    let json = |name: &str| -> Option<Value> {
        serde_json::from_slice(&settings_file::read(&path.join(name), settings_file::LONGEST).ok()?).ok()
    };
    if let Some(splits) = json("dataset_dict.json") {
        let split = splits["splits"][0].as_str().unwrap_or("train").to_owned();
        return Err(refused(
            "a folder of several splits that `datasets` saved",
            format!("give one of them, such as `{}`", path.join(split).display()),
        ));
    }
    let Some(state) = json("state.json") else {
        let hint = match likely_file(path) {
            Some(inner) => format!("give one of its files, such as `{}`", inner.display()),
            None => {
                return Err(refused(
                    "a folder without a file of rows",
                    "give a file of rows".into(),
                ));
            }
        };
        return Err(refused("a folder", hint));
    };
    if state["_indices_data_files"]
        .as_array()
        .is_some_and(|files| !files.is_empty())
    {
        return Err(refused(
            "a folder that `datasets` saved with a choice of rows beside it",
            "save it once more after `flatten_indices()`".into(),
        ));
    }
    let names = state["_data_files"].as_array().into_iter().flatten();
    let paths: Vec<PathBuf> = names
        .filter_map(|file| Some(path.join(file["filename"].as_str()?)))
        .collect();
    let size = paths
        .iter()
        .filter_map(|path| Some(path.metadata().ok()?.len()))
        .sum();
    let columns = ColumnarReader::arrow_streams(paths, counted).map_err(|error| ReadError::Damaged {
        file: file.to_owned(),
        kind: "Arrow",
        what: error.to_string(),
    })?;
    Ok((columns, size))
}

/// Returns the first file of rows of the folder.
fn likely_file(folder: &Path) -> Option<PathBuf> {
    let files = parts::expanded(&[folder.to_owned()]).ok()?;
    files.into_iter().find(|file| file != folder)
}
