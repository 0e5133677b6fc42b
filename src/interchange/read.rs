//! Files of tasks, opened and split into rows. Which format a file has is told by its rows; how it is written, by how it begins.

use std::{
    collections::VecDeque,
    io::{self, BufRead},
    path::Path,
};

use super::{
    Format,
    columns::{Columns, OWN},
    decode::Count,
    delimited::Delimited,
    fields::Fields,
    format::ANSWERS,
    mapping::{Mapping, Role},
    object::object,
    open::{self, Opened},
    prose,
    rows::{RowError, Rows},
    unknown::Seen,
};
pub use super::{
    parse::{FileRow, Incoming, Need, Parser, Reading},
    rows::{Found, Place, Row},
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
    /// A file of columns or cells cannot be read, or not to its end.
    #[error("cannot read `{file}` as {kind}: {what}")]
    Damaged {
        /// The file.
        file: String,
        /// What it is.
        kind: &'static str,
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
        /// What stands there, where it could not even be split into a row.
        found: Option<Found>,
    },
    /// There is nothing in it.
    #[error("`{file}` has no tasks in it")]
    NoRows {
        /// The file.
        file: String,
    },
    /// The file is something else.
    #[error("`{file}` is {what}\nhint: {hint}")]
    NoRowsInIt {
        /// The file.
        file: String,
        /// What it is, with an article.
        what: String,
        /// The way out.
        hint: String,
    },
    /// No format has these fields.
    #[error("cannot tell the format of `{file}`: its first row has the fields {fields}\nhint: {hint}")]
    UnknownFormat {
        /// The file.
        file: String,
        /// The fields of the first row that is an object, quoted.
        fields: String,
        /// The way out.
        hint: String,
    },
    /// `--map` names what is not there.
    #[error("no row of `{file}` has the column {missing}\nhint: its first row has the fields {fields}")]
    NoColumn {
        /// The file.
        file: String,
        /// The columns that were named, quoted.
        missing: String,
        /// The fields of the first row that is an object, quoted.
        fields: String,
    },
}

impl ReadError {
    /// Whether only a row cannot be read, and there may be others.
    pub fn is_of_a_row(&self) -> bool {
        matches!(self, ReadError::Row { .. })
    }

    /// Where the row stands, of an error of a row.
    pub fn place(&self) -> Option<Place> {
        match self {
            ReadError::Row { place, .. } => Some(*place),
            _ => None,
        }
    }
}

/// The rows of a file, in its order.
pub struct RowReader {
    file: String,
    source: Source,
    size: Option<u64>,
    count: Count,
    /// The beginning, if it is text.
    head: Vec<u8>,
    reading: Reading,
    parser: Option<Parser>,
    /// Rows that were split so far, and what could not be.
    rows: u64,
    /// Rows that were read to tell the format.
    ahead: VecDeque<Result<Row, ReadError>>,
}

pub(super) enum Source {
    Text(Rows<Box<dyn BufRead + Send>>),
    Delimited(Box<Delimited<Box<dyn BufRead + Send>>>),
    Columns(Box<Columns>),
}

/// Opens a file of tasks: JSON lines, one JSON array, objects of JSON one after another, CSV, TSV, Parquet, a file or a stream of
/// Arrow's, or a folder that `datasets` saved; packed with gzip, zstd, xz or bzip2, or not; `-` is standard input. Without a format,
/// the first row that has the fields of one tells it.
///
/// # Errors
///
/// [`ReadError`] when the file cannot be read, or no row tells the format. Errors of a row come from
/// [`RowReader::next_row`] and [`Parser::parse`], unless nothing in the file is a row.
pub fn open(path: &Path, reading: &Reading) -> Result<RowReader, ReadError> {
    let file = path.display().to_string();
    let opened = open::open(path, &file, reading)?;
    RowReader::begin(opened, file, reading)
}

/// The same of a file beside the one that `reading` was said of: its columns are looked for under those names only when they
/// have none of ours.
///
/// # Errors
///
/// Like [`open`].
pub fn open_beside(path: &Path, reading: &Reading) -> Result<RowReader, ReadError> {
    let looked_at = Reading {
        need: reading.need,
        ..Reading::default()
    };
    match open(path, &looked_at) {
        Err(ReadError::UnknownFormat { .. }) if !reading.mapping.is_empty() && path != Path::new("-") => {
            let mapped = Reading {
                format: None,
                ..reading.clone()
            };
            open(path, &mapped)
        }
        other => other,
    }
}

impl RowReader {
    /// Rows of `input`, which is JSON, and which messages call `file`.
    ///
    /// # Errors
    ///
    /// Like [`open`].
    pub fn new(
        input: impl BufRead + Send + 'static,
        file: &str,
        reading: &Reading,
    ) -> Result<RowReader, ReadError> {
        let opened = Opened {
            source: Source::Text(Rows::new(Box::new(input))),
            size: None,
            count: Count::default(),
            head: Vec::new(),
        };
        RowReader::begin(opened, file.to_owned(), reading)
    }

    fn begin(opened: Opened, file: String, reading: &Reading) -> Result<RowReader, ReadError> {
        let Opened {
            source,
            size,
            count,
            head,
        } = opened;
        let mut reader = RowReader {
            file,
            source,
            size,
            count,
            head,
            reading: reading.clone(),
            parser: None,
            rows: 0,
            ahead: VecDeque::new(),
        };
        match reading.format {
            Some(format) => reader.parser = Some(reader.parser_of(format)),
            None => reader.look_ahead()?,
        }
        Ok(reader)
    }

    fn parser_of(&self, format: Format) -> Parser {
        let parser = Parser::new(&self.file, format, &self.reading);
        match self.columns().and_then(Columns::own) {
            Some(what) => parser.of_own_table(what == OWN),
            None => parser,
        }
    }

    /// The next row. After an error reading goes on with the row that comes next, if there is one.
    pub fn next_row(&mut self) -> Option<Result<Row, ReadError>> {
        self.ahead.pop_front().or_else(|| self.split())
    }

    /// What parses the rows; none while no format is known, which is so only in a file without rows.
    pub fn parser(&self) -> Option<&Parser> {
        self.parser.as_ref()
    }

    /// How many rows were split so far, with those that cannot be read.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many bytes of the file were read so far; of a Parquet file, about.
    pub fn bytes_read(&self) -> u64 {
        let part = self.columns().and_then(Columns::part_read);
        match part {
            Some(part) => (part * self.size.unwrap_or(0) as f64) as u64,
            None => self.count.get(),
        }
    }

    /// How many bytes the file has, where that can be told.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The columns, if it is a file of columns.
    pub(super) fn columns(&self) -> Option<&Columns> {
        match &self.source {
            Source::Columns(columns) => Some(columns),
            _ => None,
        }
    }

    /// The cells, if it is a file of cells.
    pub(super) fn cells(&self) -> Option<&Delimited<Box<dyn BufRead + Send>>> {
        match &self.source {
            Source::Delimited(cells) => Some(cells),
            _ => None,
        }
    }

    fn split(&mut self) -> Option<Result<Row, ReadError>> {
        let row = match &mut self.source {
            Source::Text(rows) => rows.next(),
            Source::Delimited(rows) => rows.next(),
            Source::Columns(columns) => columns.next(),
        };
        let row = row?;
        self.rows += 1;
        Some(match row {
            Ok(row) => Ok(Row {
                number: self.rows,
                ..row
            }),
            Err(error) => Err(self.unsplit(error)),
        })
    }

    /// Reads on to the row that tells the format.
    fn look_ahead(&mut self) -> Result<(), ReadError> {
        let (mut bytes, mut seen, mut fault) = (0, None, None);
        while self.ahead.len() < LOOK_AHEAD && bytes < LOOK_AHEAD_BYTES {
            let Some(row) = self.split() else { break };
            let row = match row {
                Ok(row) => row,
                // A file that cannot be read says nothing more.
                Err(error) if !error.is_of_a_row() => return Err(error),
                Err(error) => {
                    self.ahead.push_back(Err(error));
                    continue;
                }
            };
            bytes += row.text.len();
            match object(&self.file, &row) {
                Ok(object) => {
                    let first = seen.get_or_insert_with(|| Seen::new(&object, &self.reading));
                    let format = match self.reading.mapping.is_empty() {
                        true => Format::of(&object, self.reading.need),
                        false => first.sees(&object).then_some(Format::QuestionAnswer),
                    };
                    self.parser = format.map(|format| self.parser_of(format));
                    if format.is_none()
                        && self.reading.mapping.is_empty()
                        && let Some(asked) = asked_in_context(&object)
                    {
                        self.reading.mapping = Mapping::of(Role::Instruction, &asked);
                        self.parser = Some(self.parser_of(Format::QuestionAnswer));
                    }
                }
                Err(error) => fault = fault.or(Some(error)),
            }
            self.ahead.push_back(Ok(row));
            if self.parser.is_some() {
                return Ok(());
            }
        }
        // Text with commas in it may be anything.
        let is_table = matches!(self.source, Source::Delimited(_));
        let nothing = match &seen {
            Some(_) if is_table && self.reading.mapping.is_empty() => prose::prose(&self.head),
            // Nothing is an object.
            None if !self.ahead.is_empty() => prose::unreadable(&self.head),
            _ => None,
        };
        if let Some(kind) = nothing {
            return Err(ReadError::NoRowsInIt {
                file: self.file.clone(),
                what: kind.what.into(),
                hint: kind.hint.into(),
            });
        }
        if let Some(seen) = seen {
            return Err(seen.unknown(&self.file, &self.reading));
        }
        // The first of the errors says most about what the file is.
        match self.ahead.pop_front() {
            Some(Err(error)) => Err(error),
            _ => fault.map_or(Ok(()), Err),
        }
    }

    /// What is wrong with a file that cannot be split into rows.
    fn unsplit(&self, error: RowError) -> ReadError {
        let file = self.file.clone();
        match error {
            RowError::Io(error) => ReadError::Io { file, error },
            RowError::Damaged(what) => ReadError::Damaged {
                file,
                kind: match &self.source {
                    Source::Columns(columns) => columns.kind(),
                    Source::Delimited(_) => "CSV",
                    Source::Text(_) => "JSON",
                },
                what,
            },
            RowError::Malformed { place, what, found } => ReadError::Row {
                file,
                place,
                what,
                found: Some(found),
            },
        }
    }
}

/// The column that asks where a row has a `context` and an answer and nothing else. Beside a question it is what that is about.
fn asked_in_context(object: &Fields<'_>) -> Option<String> {
    let names: Vec<&str> = object.names().collect();
    let &[one, other] = &names[..] else {
        return None;
    };
    let is_answer = |name: &str| ANSWERS.iter().any(|answer| name.eq_ignore_ascii_case(answer));
    [(one, other), (other, one)]
        .into_iter()
        .find(|(asks, answers)| asks.eq_ignore_ascii_case("context") && is_answer(answers))
        .map(|(asks, _)| asks.to_owned())
}
