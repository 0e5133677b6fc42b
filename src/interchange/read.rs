//! Files opened and split into rows. The type of a file is recognized by its first bytes, its
//! format by its first rows.

mod diagnosis;
mod open;

use std::{collections::VecDeque, io::BufRead, path::Path};

use super::{
    Format, ReadError, Reading, Row,
    bytes::{decode::ByteCount, prose},
    format::{ANSWERS, DATASET_TABLE},
    json::Fields,
    mapping::{Mapping, Role},
    parse::RowParser,
    rows::{columnar::ColumnarReader, csv::CsvReader, json::JsonReader, object::object, row::RowError},
};
use diagnosis::FormatDiagnosis;
use open::{AnyReader, Opened};

/// How many rows are read at most to recognize the format …
const LOOK_AHEAD: usize = 1000;

/// … and about how many bytes.
const LOOK_AHEAD_BYTES: usize = 64 << 20;

/// Reads the rows of a file, in its order.
pub struct RowReader {
    file: String,
    source: AnyReader,
    size: Option<u64>,
    count: ByteCount,
    /// The beginning of the file, if it is text.
    head: Vec<u8>,
    reading: Reading,
    parser: Option<RowParser>,
    /// The number of rows split so far, with malformed ones.
    rows: u64,
    /// Rows that were read to recognize the format.
    ahead: VecDeque<Result<Row, ReadError>>,
}

/// Opens a file of rows: JSON lines, a JSON array, JSON objects one after another, CSV, TSV,
/// Parquet, an Arrow IPC file or stream, or a folder that `datasets` saved; compressed with gzip,
/// zstd, xz or bzip2 or not. `-` is standard input. If no format is given, the first row that has
/// the columns of one decides.
///
/// # Errors
///
/// [`ReadError`] if the file cannot be read, or its format is unknown. Errors of a row come from
/// [`RowReader::next_row`] and [`RowParser::parse`], unless nothing in the file is a row.
pub fn open(path: &Path, reading: &Reading) -> Result<RowReader, ReadError> {
    let file = path.display().to_string();
    let opened = open::open(path, &file, reading)?;
    RowReader::begin(opened, file, reading)
}

/// Opens a file besides the one that `reading` is for. The columns of `--map` are tried only if the
/// file has the columns of no format.
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
    /// Reads `input`, which is JSON. Errors call it `file`.
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
            source: AnyReader::Json(JsonReader::new(Box::new(input))),
            size: None,
            count: ByteCount::default(),
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

    fn parser_of(&self, format: Format) -> RowParser {
        let parser = RowParser::new(&self.file, format, &self.reading);
        match self.columns().and_then(ColumnarReader::written_as) {
            Some(what) => parser.of_own_table(what == DATASET_TABLE),
            None => parser,
        }
    }

    /// Returns the next row. After an error of a row, the row after it is next.
    pub fn next_row(&mut self) -> Option<Result<Row, ReadError>> {
        self.ahead.pop_front().or_else(|| self.split())
    }

    /// Returns the parser of the rows. Only a file without rows may have none, since its format is
    /// unknown.
    pub fn parser(&self) -> Option<&RowParser> {
        self.parser.as_ref()
    }

    /// Returns the number of rows split so far, with malformed ones.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns how many bytes of the file were read so far; for a Parquet file, an estimate.
    pub fn bytes_read(&self) -> u64 {
        let part = self.columns().and_then(ColumnarReader::part_read);
        match part {
            Some(part) => (part * self.size.unwrap_or(0) as f64) as u64,
            None => self.count.get(),
        }
    }

    /// Returns the size of the file in bytes, if it is known.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Returns the reader of a columnar file.
    pub(super) fn columns(&self) -> Option<&ColumnarReader> {
        match &self.source {
            AnyReader::Columnar(columns) => Some(columns),
            _ => None,
        }
    }

    /// Whether the rows are cells, which are all texts.
    pub fn is_csv(&self) -> bool {
        self.cells().is_some()
    }

    /// Returns the reader of a CSV file.
    pub(super) fn cells(&self) -> Option<&CsvReader<Box<dyn BufRead + Send>>> {
        match &self.source {
            AnyReader::Csv(cells) => Some(cells),
            _ => None,
        }
    }

    /// Splits off the next row.
    fn split(&mut self) -> Option<Result<Row, ReadError>> {
        let row = match &mut self.source {
            AnyReader::Json(rows) => rows.next(),
            AnyReader::Csv(rows) => rows.next(),
            AnyReader::Columnar(columns) => columns.next(),
        };
        let row = row?;
        self.rows += 1;
        Some(match row {
            Ok(row) => Ok(Row {
                number: self.rows,
                ..row
            }),
            Err(error) => Err(self.named(error)),
        })
    }

    /// Reads up to the row that decides the format.
    fn look_ahead(&mut self) -> Result<(), ReadError> {
        let (mut bytes, mut first, mut fault) = (0, None, None);
        while self.ahead.len() < LOOK_AHEAD && bytes < LOOK_AHEAD_BYTES {
            let Some(row) = self.split() else { break };
            let row = match row {
                Ok(row) => row,
                // A file that cannot be read has no more rows.
                Err(error) if !error.is_of_a_row() => return Err(error),
                Err(error) => {
                    self.ahead.push_back(Err(error));
                    continue;
                }
            };
            bytes += row.text.len();
            match object(&self.file, &row) {
                Ok(object) => {
                    let diagnosis = first.get_or_insert_with(|| FormatDiagnosis::new(&object, &self.reading));
                    self.recognize(&object, diagnosis);
                }
                Err(error) => fault = fault.or(Some(error)),
            }
            self.ahead.push_back(Ok(row));
            if self.parser.is_some() {
                return Ok(());
            }
        }
        self.unrecognized(first, fault)
    }

    /// Sets the parser if this row decides the format.
    fn recognize(&mut self, object: &Fields<'_>, diagnosis: &mut FormatDiagnosis) {
        let format = match self.reading.mapping.is_empty() {
            true => Format::of(object, self.reading.need),
            false => diagnosis.has_mapped(object).then_some(Format::QuestionAnswer),
        };
        self.parser = format.map(|format| self.parser_of(format));
        if format.is_none()
            && self.reading.mapping.is_empty()
            && let Some(question) = question_in_context(object)
        {
            self.reading.mapping = Mapping::of(Role::Instruction, &question);
            self.parser = Some(self.parser_of(Format::QuestionAnswer));
        }
    }

    /// Says why no row decided the format. `first` is about the first object, `fault` the first row
    /// that is not one. A file without rows is no error.
    fn unrecognized(
        &mut self,
        first: Option<FormatDiagnosis>,
        fault: Option<ReadError>,
    ) -> Result<(), ReadError> {
        // Text with commas in it may be anything.
        let is_table = matches!(self.source, AnyReader::Csv(_));
        let kind = match &first {
            Some(_) if is_table && self.reading.mapping.is_empty() => prose::prose(&self.head),
            // No row is an object.
            None if !self.ahead.is_empty() => prose::unreadable(&self.head),
            _ => None,
        };
        if let Some(kind) = kind {
            return Err(ReadError::NoRowsInIt {
                file: self.file.clone(),
                what: kind.what.into(),
                hint: kind.hint.into(),
            });
        }
        if let Some(diagnosis) = first {
            return Err(diagnosis.error(&self.file, &self.reading));
        }
        // The first error says most about what the file is.
        match self.ahead.pop_front() {
            Some(Err(error)) => Err(error),
            _ => fault.map_or(Ok(()), Err),
        }
    }

    /// Names the file in an error of its rows.
    fn named(&self, error: RowError) -> ReadError {
        let kind = match &self.source {
            AnyReader::Columnar(columns) => columns.kind(),
            AnyReader::Csv(_) => "CSV",
            AnyReader::Json(_) => "JSON",
        };
        ReadError::of_file(&self.file, kind, error)
    }
}

/// Returns the column `context` of a row that has only a context and an answer: then the context is
/// the question. Beside a question it is the input.
fn question_in_context(object: &Fields<'_>) -> Option<String> {
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
