//! Files of tasks, opened and split into rows. Which format a file has is told by its rows; whether it is text or
//! Parquet by how it begins.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read, Seek},
    path::Path,
};

use super::{
    Format,
    columns::{Columns, MAGIC},
    parse,
    rows::{RowError, Rows},
};
pub use super::{
    parse::{Incoming, Parser},
    rows::{Place, Row},
};

/// Where no format is given, at most so many rows are looked at for one …
const LOOK_AHEAD: usize = 1000;

/// … and about so many bytes.
const LOOK_AHEAD_BYTES: usize = 64 << 20;

/// Why a file cannot be read as tasks.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read at all.
    #[error("cannot read `{file}`: {error}")]
    Io {
        /// The file.
        file: String,
        /// What the system says.
        error: io::Error,
    },
    /// A Parquet file cannot be read, or not to its end.
    #[error("cannot read `{file}` as Parquet: {what}")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// A row is not what it should be.
    #[error("{}: {what}", place.in_file(file))]
    Row {
        /// The file.
        file: String,
        /// Where in the file.
        place: Place,
        /// What is wrong there.
        what: String,
    },
    /// There is nothing in it.
    #[error("`{file}` has no tasks in it")]
    NoRows {
        /// The file.
        file: String,
    },
    /// No format has these fields.
    #[error(
        "cannot tell the format of `{file}`: its first row has the fields {fields}\nhint: say what it is with --format alpaca, dolly, chat, completion or self-instruct"
    )]
    UnknownFormat {
        /// The file.
        file: String,
        /// The fields of the first row that is an object, quoted.
        fields: String,
    },
}

/// The rows of a file, in its order.
pub struct RowReader {
    file: String,
    source: Source,
    size: Option<u64>,
    parser: Option<Parser>,
    /// Rows that were read to tell the format.
    ahead: VecDeque<Result<Row, ReadError>>,
}

enum Source {
    Text(Rows<Box<dyn BufRead + Send>>),
    Columns(Box<Columns>),
}

/// Opens a file of tasks: JSON lines, one JSON array, or Parquet; `-` is standard input. Without a format, the first
/// row that has the fields of one tells it.
///
/// # Errors
///
/// [`ReadError`] when the file cannot be read, or no row tells the format. Errors of a row come from
/// [`RowReader::next_row`] and [`Parser::parse`], unless nothing in the file is a row.
pub fn open(path: &Path, format: Option<Format>) -> Result<RowReader, ReadError> {
    let file = path.display().to_string();
    match source(path) {
        Ok((source, size)) => RowReader::begin(source, size, file, format),
        Err(error) => Err(unsplit(&file, error)),
    }
}

fn source(path: &Path) -> Result<(Source, Option<u64>), RowError> {
    let mut head = Vec::new();
    if path == Path::new("-") {
        io::stdin().take(MAGIC.len() as u64).read_to_end(&mut head)?;
        return Ok((stream(head, io::stdin())?, None));
    }
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    (&file).take(MAGIC.len() as u64).read_to_end(&mut head)?;
    if !metadata.is_file() {
        return Ok((stream(head, file)?, None));
    }
    let source = if head == MAGIC {
        Source::Columns(Box::new(Columns::open(file)?))
    } else {
        file.rewind()?;
        text(file)
    };
    Ok((source, Some(metadata.len())))
}

/// Something that can be read only once, and began with `head`.
fn stream(head: Vec<u8>, rest: impl Read + Send + 'static) -> Result<Source, RowError> {
    let is_columns = head == MAGIC;
    let mut whole = Cursor::new(head).chain(rest);
    if !is_columns {
        return Ok(text(whole));
    }
    // What a Parquet file holds is said at its end.
    let mut file = tempfile::tempfile()?;
    io::copy(&mut whole, &mut file)?;
    Ok(Source::Columns(Box::new(Columns::open(file)?)))
}

fn text(input: impl Read + Send + 'static) -> Source {
    Source::Text(Rows::new(Box::new(BufReader::with_capacity(1 << 17, input))))
}

impl RowReader {
    /// Rows of `input`, which is text, and which messages call `file`.
    ///
    /// # Errors
    ///
    /// Like [`open`].
    pub fn new(
        input: impl BufRead + Send + 'static,
        file: &str,
        format: Option<Format>,
    ) -> Result<RowReader, ReadError> {
        let source = Source::Text(Rows::new(Box::new(input)));
        RowReader::begin(source, None, file.to_owned(), format)
    }

    fn begin(
        source: Source,
        size: Option<u64>,
        file: String,
        format: Option<Format>,
    ) -> Result<RowReader, ReadError> {
        let mut reader = RowReader {
            parser: format.map(|format| Parser::new(&file, format)),
            file,
            source,
            size,
            ahead: VecDeque::new(),
        };
        if format.is_none() {
            reader.look_ahead()?;
        }
        Ok(reader)
    }

    /// The next row. After an error reading goes on with the row that comes next, if there is one.
    pub fn next_row(&mut self) -> Option<Result<Row, ReadError>> {
        self.ahead.pop_front().or_else(|| self.split())
    }

    /// What parses the rows; none while no format is known, which is so only in a file without rows.
    pub fn parser(&self) -> Option<&Parser> {
        self.parser.as_ref()
    }

    /// How many bytes of the file were read so far; of a Parquet file, about.
    pub fn bytes_read(&self) -> u64 {
        match &self.source {
            Source::Text(rows) => rows.bytes_read(),
            Source::Columns(columns) => (columns.part_read() * self.size.unwrap_or(0) as f64) as u64,
        }
    }

    /// How many bytes the file has, where that can be told.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The columns, if it is a Parquet file.
    pub(super) fn columns(&self) -> Option<&Columns> {
        match &self.source {
            Source::Text(_) => None,
            Source::Columns(columns) => Some(columns),
        }
    }

    fn split(&mut self) -> Option<Result<Row, ReadError>> {
        let row = match &mut self.source {
            Source::Text(rows) => rows.next(),
            Source::Columns(columns) => columns.next(),
        };
        Some(row?.map_err(|error| unsplit(&self.file, error)))
    }

    /// Reads on to the row that tells the format.
    fn look_ahead(&mut self) -> Result<(), ReadError> {
        let (mut bytes, mut fields, mut fault) = (0, None, None);
        while self.ahead.len() < LOOK_AHEAD && bytes < LOOK_AHEAD_BYTES {
            let Some(row) = self.split() else { break };
            let row = match row {
                Ok(row) => row,
                // A file that cannot be read says nothing more.
                Err(error @ (ReadError::Io { .. } | ReadError::Damaged { .. })) => return Err(error),
                Err(error) => {
                    self.ahead.push_back(Err(error));
                    continue;
                }
            };
            bytes += row.text.len();
            match parse::object(&self.file, &row) {
                Ok(object) => match Format::of(&object) {
                    Some(format) => self.parser = Some(Parser::new(&self.file, format)),
                    None => fields = fields.or(Some(object)),
                },
                Err(error) => fault = fault.or(Some(error)),
            }
            self.ahead.push_back(Ok(row));
            if self.parser.is_some() {
                return Ok(());
            }
        }
        if let Some(object) = fields {
            let fields: Vec<_> = object.keys().map(|field| format!("`{field}`")).collect();
            return Err(ReadError::UnknownFormat {
                file: self.file.clone(),
                fields: fields.join(", "),
            });
        }
        // Nothing is an object. The first of the errors says most about what the file is.
        match self.ahead.pop_front() {
            Some(Err(error)) => Err(error),
            _ => fault.map_or(Ok(()), Err),
        }
    }
}

/// What is wrong with a file that cannot be split into rows.
fn unsplit(file: &str, error: RowError) -> ReadError {
    let file = file.to_owned();
    match error {
        RowError::Io(error) => ReadError::Io { file, error },
        RowError::Damaged(what) => ReadError::Damaged { file, what },
        RowError::Malformed { place, what } => ReadError::Row { file, place, what },
    }
}
