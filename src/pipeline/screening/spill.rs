//! Rows and verdicts on disk while a filter works through its parts: records of a few numbers and a
//! text, compressed by zstd with a checksum. Only the program that wrote them reads them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::atomic_file::{AtomicFile, cannot_write};
use crate::filter::partition::{Match, OpenRow};
use crate::filter::rouge::RougeL;
use crate::task::{Nearest, Reason, TaskRef, Verdict};

/// zstd's level: these files are read once, soon after.
const LEVEL: i32 = 1;
/// The code of a verdict that accepts.
const ACCEPTED: u16 = u16::MAX;

/// A value that is stored as a record.
pub(super) trait Record: Sized {
    /// Appends the record to `bytes`.
    fn put(&self, bytes: &mut Vec<u8>);

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// If the bytes are none.
    fn get(from: &mut impl Read) -> io::Result<Self>;
}

/// A file of records that is being written. It appears whole or not at all.
pub(super) struct RecordFile {
    out: zstd::Encoder<'static, BufWriter<AtomicFile>>,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl RecordFile {
    /// Starts the file at `path`.
    ///
    /// # Errors
    ///
    /// If nothing can be written there; the message names the path.
    pub(super) fn begin(path: &Path) -> anyhow::Result<RecordFile> {
        let file = BufWriter::with_capacity(1 << 18, AtomicFile::begin(path)?);
        let begun = zstd::Encoder::new(file, LEVEL).and_then(|mut out| {
            out.include_checksum(true)?;
            Ok(out)
        });
        Ok(RecordFile {
            out: begun.with_context(|| cannot_write(path))?,
            path: path.into(),
            bytes: Vec::new(),
        })
    }

    /// Appends a record.
    ///
    /// # Errors
    ///
    /// If the disk refuses; the message names the path.
    pub(super) fn add(&mut self, record: &impl Record) -> anyhow::Result<()> {
        self.bytes.clear();
        record.put(&mut self.bytes);
        self.out
            .write_all(&self.bytes)
            .with_context(|| cannot_write(&self.path))
    }

    /// Moves the file to its place.
    ///
    /// # Errors
    ///
    /// If the disk refuses; the message names the path.
    pub(super) fn commit(self) -> anyhow::Result<()> {
        let context = || cannot_write(&self.path);
        let out = self.out.finish().with_context(context)?;
        let file = out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .with_context(context)?;
        file.commit()
    }
}

/// The records of a file, in order.
pub(super) struct Records {
    from: BufReader<zstd::Decoder<'static, BufReader<File>>>,
    path: PathBuf,
}

impl Records {
    /// Opens the file at `path`.
    ///
    /// # Errors
    ///
    /// If it cannot be read; the message names the path.
    pub(super) fn open(path: &Path) -> anyhow::Result<Records> {
        let opened = File::open(path).and_then(zstd::Decoder::new);
        Ok(Records {
            from: BufReader::with_capacity(1 << 18, opened.map_err(|error| unreadable(path, &error))?),
            path: path.into(),
        })
    }

    /// Returns the next record; `None` at the end.
    ///
    /// # Errors
    ///
    /// If the file is damaged; the message names the path.
    pub(super) fn next<R: Record>(&mut self) -> anyhow::Result<Option<R>> {
        let record = match self.from.fill_buf() {
            Ok([]) => return Ok(None),
            Ok(_) => R::get(&mut self.from),
            Err(error) => Err(error),
        };
        record.map(Some).map_err(|error| unreadable(&self.path, &error))
    }
}

/// The error of a file that was written whole, and is not any more.
pub(super) fn unreadable(path: &Path, what: &dyn std::fmt::Display) -> anyhow::Error {
    let folder = crate::atomic_file::parent(path);
    anyhow!(
        "cannot read `{}`: {what}\nhint: remove `{}`; the command then begins again",
        path.display(),
        folder.display()
    )
}

/// A verdict on a row of the filtered files.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RowVerdict {
    /// The number of the row.
    pub(super) row: u32,
    /// The verdict.
    pub(super) verdict: Verdict,
}

impl Record for RowVerdict {
    fn put(&self, bytes: &mut Vec<u8>) {
        let Verdict {
            reason,
            detail,
            nearest,
        } = &self.verdict;
        put_u32(bytes, self.row);
        let code = reason.and_then(|reason| Reason::ALL.iter().position(|&other| other == reason));
        bytes.extend(code.map_or(ACCEPTED, |code| code as u16).to_le_bytes());
        let rouge_l = nearest.and_then(|nearest| nearest.rouge_l);
        bytes.push(u8::from(nearest.is_some()) + u8::from(rouge_l.is_some()));
        if let Some(nearest) = nearest {
            put_task(bytes, nearest.task);
        }
        if let Some(rouge_l) = rouge_l {
            bytes.extend(rouge_l.to_le_bytes());
        }
        put_text(bytes, detail);
    }

    fn get(from: &mut impl Read) -> io::Result<RowVerdict> {
        let row = get_u32(from)?;
        let reason = match u16::from_le_bytes(array(from)?) {
            ACCEPTED => None,
            code => Some(*Reason::ALL.get(usize::from(code)).ok_or_else(invalid)?),
        };
        let [known] = array(from)?;
        let nearest = match known {
            0 => None,
            _ => Some(Nearest {
                task: get_task(from)?,
                rouge_l: match known {
                    1 => None,
                    _ => Some(f64::from_le_bytes(array(from)?)),
                },
            }),
        };
        let detail = get_text(from)?;
        Ok(RowVerdict {
            row,
            verdict: Verdict {
                reason,
                detail,
                nearest,
            },
        })
    }
}

impl Record for OpenRow {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_u32(bytes, self.row);
        bytes.push(u8::from(self.best.is_some()));
        if let Some(best) = self.best {
            put_task(bytes, best.task);
            put_u32(bytes, best.score.lcs);
            put_u32(bytes, best.score.total);
        }
        put_u32(bytes, self.inputs.len() as u32);
        for input in &self.inputs {
            bytes.extend(input.to_le_bytes());
        }
        put_text(bytes, &self.text);
    }

    fn get(from: &mut impl Read) -> io::Result<OpenRow> {
        let row = get_u32(from)?;
        let best = match array(from)? {
            [0] => None,
            _ => Some(Match {
                task: get_task(from)?,
                score: RougeL {
                    lcs: get_u32(from)?,
                    total: get_u32(from)?,
                },
            }),
        };
        let inputs = (0..get_u32(from)?)
            .map(|_| Ok(u64::from_le_bytes(array(from)?)))
            .collect::<io::Result<_>>()?;
        let text = get_text(from)?;
        Ok(OpenRow {
            row,
            text,
            inputs,
            best,
        })
    }
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is damaged")
}

fn put_u32(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend(number.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_u32(bytes, text.len() as u32);
    bytes.extend(text.as_bytes());
}

/// Rows of files are all that a file is compared with.
fn put_task(bytes: &mut Vec<u8>, task: TaskRef) {
    let TaskRef::Row { file, row } = task else {
        unreachable!("a file is compared with rows of files");
    };
    put_u32(bytes, file);
    put_u32(bytes, row);
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn get_u32(from: &mut impl Read) -> io::Result<u32> {
    Ok(u32::from_le_bytes(array(from)?))
}

fn get_task(from: &mut impl Read) -> io::Result<TaskRef> {
    Ok(TaskRef::Row {
        file: get_u32(from)?,
        row: get_u32(from)?,
    })
}

fn get_text(from: &mut impl Read) -> io::Result<String> {
    let length = u64::from(get_u32(from)?);
    // Not more room than usual is made for a length that a damaged file only claims.
    let mut bytes = Vec::with_capacity(length.min(1 << 12) as usize);
    if from.by_ref().take(length).read_to_end(&mut bytes)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    String::from_utf8(bytes).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn task() -> impl Strategy<Value = TaskRef> {
        (any::<u32>(), any::<u32>()).prop_map(|(file, row)| TaskRef::Row { file, row })
    }

    fn open_row() -> impl Strategy<Value = OpenRow> {
        let best = (task(), 0u32..9, 1u32..99).prop_map(|(task, lcs, total)| Match {
            task,
            score: RougeL { lcs, total },
        });
        (
            any::<u32>(),
            "\\PC{0,40}",
            prop::collection::vec(any::<u64>(), 0..4),
            prop::option::of(best),
        )
            .prop_map(|(row, text, inputs, best)| OpenRow {
                row,
                text,
                inputs,
                best,
            })
    }

    fn verdict() -> impl Strategy<Value = RowVerdict> {
        let nearest =
            (task(), prop::option::of(0.0f64..1.0)).prop_map(|(task, rouge_l)| Nearest { task, rouge_l });
        let reason = prop::option::of(prop::sample::select(Reason::ALL));
        (any::<u32>(), reason, "\\PC{0,40}", prop::option::of(nearest)).prop_map(
            |(row, reason, detail, nearest)| RowVerdict {
                row,
                verdict: Verdict {
                    reason,
                    detail,
                    nearest,
                },
            },
        )
    }

    fn read_all<R: Record>(path: &Path) -> Vec<R> {
        let mut records = Records::open(path).unwrap();
        std::iter::from_fn(|| records.next().unwrap()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn records_are_read_as_they_were_written(
            rows in prop::collection::vec(open_row(), 0..20),
            verdicts in prop::collection::vec(verdict(), 0..20),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x");
            let mut file = RecordFile::begin(&path).unwrap();
            rows.iter().for_each(|row| file.add(row).unwrap());
            file.commit().unwrap();
            prop_assert_eq!(read_all::<OpenRow>(&path), rows);
            let mut file = RecordFile::begin(&path).unwrap();
            verdicts.iter().for_each(|verdict| file.add(verdict).unwrap());
            file.commit().unwrap();
            prop_assert_eq!(read_all::<RowVerdict>(&path), verdicts);
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut file = RecordFile::begin(&path).unwrap();
        let row = |row| OpenRow {
            row,
            text: format!("name the capital of country {row}"),
            inputs: vec![1, 2],
            best: None,
        };
        (0..2000).for_each(|number| file.add(&row(number)).unwrap());
        file.commit().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for bytes in [&whole[..whole.len() / 2], &flipped[..]] {
            std::fs::write(&path, bytes).unwrap();
            let mut records = Records::open(&path).unwrap();
            let error = loop {
                match records.next::<OpenRow>() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("it looks whole"),
                    Err(error) => break error.to_string(),
                }
            };
            assert!(
                error.contains("cannot read `") && error.contains("hint: remove `"),
                "{error}"
            );
        }
    }
}
