//! A file, opened: what it is packed in is taken off, and what is left is told by its first bytes.

use std::{
    fs::File,
    io::{self, BufReader, Cursor, Read, Seek},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    columns::Columns,
    decode::{Count, Counted, Utf16, unpacked},
    delimited::{Delimited, Layout},
    parse::Reading,
    read::{ReadError, Source},
    rows::{RowError, Rows},
    sniff::{self, Content, HEAD},
};
use crate::settings_file;

/// So many layers of compression are taken off.
const LAYERS: usize = 4;

/// What was found in a file.
pub(super) struct Opened {
    pub(super) source: Source,
    /// Of the file as it lies on the disk.
    pub(super) size: Option<u64>,
    /// How much of that was read.
    pub(super) count: Count,
    /// The beginning of the text, if it is text.
    pub(super) head: Vec<u8>,
}

/// Something that is read once, and its beginning.
struct Input {
    head: Vec<u8>,
    rest: Box<dyn Read + Send>,
    /// Whether the beginning is all of it.
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

    /// All of it.
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
    let count = Count::default();
    let counting = count.clone();
    let counted = move |input: File| Counted {
        input,
        count: counting.clone(),
    };
    let (input, size, on_disk): (Box<dyn Read + Send>, _, _) = if path == Path::new("-") {
        let input = Counted {
            input: io::stdin(),
            count: count.clone(),
        };
        (Box::new(input), None, None)
    } else {
        let metadata = path.metadata().map_err(failed)?;
        if metadata.is_dir() {
            let (columns, size) = folder(path, file, counted)?;
            return Ok(Opened {
                source: Source::Columns(Box::new(columns)),
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
    let (source, head) = unwrapped(input, on_disk, path, file, reading)?;
    Ok(Opened {
        source,
        size,
        count,
        head,
    })
}

/// Takes off what the rows are packed in. `on_disk` is the file itself, as long as nothing was taken off.
fn unwrapped(
    input: Box<dyn Read + Send>,
    mut on_disk: Option<File>,
    path: &Path,
    file: &str,
    reading: &Reading,
) -> Result<(Source, Vec<u8>), ReadError> {
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
            Content::Compressed(compression) if packed_in.len() < LAYERS => {
                packed_in.push(compression.as_str());
                unpacked(compression, input.whole()).map_err(failed)?
            }
            Content::Compressed(_) => {
                return Err(ReadError::NoRowsInIt {
                    file: file.to_owned(),
                    what: format!("compressed {LAYERS} times"),
                    hint: "unpack it".into(),
                });
            }
            Content::Utf16 { big_endian, mark } => {
                let mut text = input.whole();
                io::copy(&mut text.by_ref().take(mark as u64), &mut io::sink()).map_err(failed)?;
                let text = Utf16::new(text, big_endian);
                return self::text(Input::new(Box::new(text)).map_err(failed)?, path, file, reading);
            }
            Content::Text => return self::text(input, path, file, reading),
            Content::Parquet => {
                let file = on_disk_or_copied(on_disk, input).map_err(failed)?;
                let columns = Columns::parquet(file).map_err(damaged("Parquet"))?;
                return Ok((Source::Columns(Box::new(columns)), Vec::new()));
            }
            Content::ArrowFile => {
                let file = on_disk_or_copied(on_disk, input).map_err(failed)?;
                let columns = Columns::arrow_file(file).map_err(damaged("Arrow"))?;
                return Ok((Source::Columns(Box::new(columns)), Vec::new()));
            }
            Content::ArrowStream => {
                let columns = Columns::arrow_stream(input.whole()).map_err(damaged("Arrow"))?;
                return Ok((Source::Columns(Box::new(columns)), Vec::new()));
            }
            Content::Other(kind) => {
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

/// What a Parquet file holds is said at its end, so it must be a file.
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

/// Text in rows: cells, or JSON.
fn text(input: Input, path: &Path, file: &str, reading: &Reading) -> Result<(Source, Vec<u8>), ReadError> {
    let head = input.head.clone();
    let start = sniff::beginning(&head);
    let layout = match start.first() {
        None | Some(b'{' | b'[') => None,
        Some(_) => Layout::of(&head, input.is_whole, is_named_as_table(path), reading),
    };
    let text: Box<dyn io::BufRead + Send> = Box::new(BufReader::with_capacity(1 << 17, input.whole()));
    let source = match layout {
        Some(layout) => {
            let rows = Delimited::new(text, layout).map_err(|error| match error {
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
            Source::Delimited(Box::new(rows))
        }
        None if sniff::is_indented(&head) => Source::Text(Rows::of_indented(text)),
        None => Source::Text(Rows::new(text)),
    };
    Ok((source, head))
}

/// Whether a name says that it is a table, packed or not.
fn is_named_as_table(path: &Path) -> bool {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    let mut endings = name.split('.').skip(1);
    endings.any(|ending| matches!(ending, "csv" | "tsv" | "tab"))
}

/// A folder that `datasets` saved: the streams that it lists, one after another.
fn folder<R: Read + Send + 'static>(
    path: &Path,
    file: &str,
    counted: impl Fn(File) -> R + Send + 'static,
) -> Result<(Columns, u64), ReadError> {
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
            None => "give a file".into(),
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
    let columns = Columns::arrow_streams(paths, counted).map_err(|error| ReadError::Damaged {
        file: file.to_owned(),
        kind: "Arrow",
        what: error.to_string(),
    })?;
    Ok((columns, size))
}

/// A file of the folder that may have rows.
fn likely_file(folder: &Path) -> Option<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files.into_iter().find(|path| {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().to_ascii_lowercase());
        let known = |ending: &&str| name.as_ref().is_some_and(|name| name.contains(*ending));
        path.is_file() && [".jsonl", ".parquet", ".arrow", ".csv", ".tsv"].iter().any(known)
    })
}
