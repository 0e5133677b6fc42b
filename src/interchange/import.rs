//! Whole files into the store: which of their rows are tasks that are not there yet, then those, a piece at a time.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Seek, Write},
    path::Path,
};

use anyhow::Context;

use super::{
    left_out::LeftOut,
    notes::Notes,
    read::{self, Incoming, Reading},
};
use crate::store::asked::identity::{Identity, Known, Place};
use crate::store::asked::imports::{Import, ImportedInstance, ImportedTask};
use crate::store::{Change, RunStatus, Store};
use crate::text::chosen;

/// A piece has at most so many tasks, and about so many bytes of text. Others wait for a piece, so it is to take less than
/// half a second; what fits into one comes in whole or not at all.
const PIECE: usize = 2048;

/// See [`PIECE`].
const PIECE_BYTES: usize = 1 << 20;

/// What an import brought in.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// How many rows the file has.
    pub rows: usize,
    /// How many tasks came in, those included that were brought back.
    pub tasks: i64,
    /// Of these, how many were there from an import that was taken back.
    pub brought_back: usize,
    /// The rows that brought them back.
    pub rows_brought_back: usize,
    /// Rows whose examples were all there already, and were skipped.
    pub already_here: usize,
    /// Rows that say what an earlier row of the file says, and were skipped.
    pub repeated: usize,
    /// Examples that were skipped in rows that have others.
    pub examples_already_here: usize,
    /// The action in the history; none where nothing came in.
    pub change: Option<Change>,
    /// The format, as it was given or told by looking.
    pub format: Option<&'static str>,
    /// Fields of the file that are no part of a task; they are kept with it.
    pub extra_fields: Vec<String>,
}

/// Reads the file at `path` (`-` is standard input) into the store, as one action of `who`. What the dataset has already is
/// skipped. Nothing is written before the last row was read. Rows that cannot be read are left out, if that was asked for; what
/// the others say besides is counted in `notes`.
///
/// # Errors
///
/// [`read::ReadError`] for the file; then nothing was imported. [`crate::store::Error`] for the store: of a file of more
/// than [`PIECE`] rows a part may be there then, and the same command brings the rest.
pub async fn import(
    store: &Store,
    path: &Path,
    reading: &Reading,
    left_out: &mut LeftOut,
    notes: &mut Notes,
    who: &str,
) -> anyhow::Result<Imported> {
    let file = path.display().to_string();
    let mut reader = read::open(path, reading)?;
    // A file that cannot be read is said before the dataset is.
    let mut next = left_out.next_row(&mut reader)?;
    let format = reader.parser().map(|parser| parser.format().as_str());
    let _lock = store.lock_for_import().await?;
    let mut sieve = Sieve::new(store.known_examples().await?)?;
    while let Some((_, incoming)) = next {
        notes.add(&incoming);
        sieve.rows += 1;
        sieve.take(incoming)?;
        next = left_out.next_row(&mut reader)?;
    }
    left_out.check()?;
    let Sieve {
        known: _,
        here,
        spool,
        brought_back,
        mut imported,
        rows,
        ..
    } = sieve;
    imported.rows = rows;
    imported.format = format;
    imported.extra_fields = notes.fields().keys().cloned().collect();
    imported.brought_back = brought_back.len();
    let config = serde_json::json!({ "file": file, "format": format });
    let mut import = store.begin_import(&config, who, &file);
    import.go_on(&here).await?;
    let ended = write(&mut import, spool, &brought_back).await;
    let tasks = import.tasks();
    let status = match &ended {
        Ok(()) => RunStatus::Done,
        Err(_) => RunStatus::Failed,
    };
    let finished = import.finish(status).await;
    if tasks > 0 {
        ended.with_context(|| {
            format!(
                "only the first {} there; the same command brings the rest, `ewe undo` takes back what is",
                chosen(tasks, "task is", "tasks are")
            )
        })?;
    } else {
        ended?;
    }
    imported.change = finished?;
    imported.tasks = tasks;
    left_out.end()?;
    Ok(imported)
}

/// Brings everything in, a piece at a time.
async fn write(import: &mut Import<'_>, spool: Spool, brought_back: &BTreeSet<i64>) -> anyhow::Result<()> {
    let brought_back: Vec<i64> = brought_back.iter().copied().collect();
    for ids in brought_back.chunks(PIECE) {
        import.bring_back(ids).await?;
    }
    let (mut piece, mut bytes) = (Vec::new(), 0);
    for task in spool.tasks()? {
        let task = task?;
        let texts = task
            .instances
            .iter()
            .map(|instance| instance.input.len() + instance.output.len());
        bytes += task.instruction.len() + texts.sum::<usize>();
        piece.push(task);
        if piece.len() == PIECE || bytes > PIECE_BYTES {
            import.add(&piece).await?;
            (piece, bytes) = (Vec::new(), 0);
        }
    }
    import.add(&piece).await?;
    Ok(())
}

/// Holds back what is known.
struct Sieve {
    known: Known,
    /// What earlier rows of the file say.
    seen: HashSet<Identity>,
    /// Tasks of the dataset that the file has.
    here: BTreeSet<i64>,
    spool: Spool,
    /// Tasks whose import was taken back, and which the file has.
    brought_back: BTreeSet<i64>,
    imported: Imported,
    rows: usize,
}

impl Sieve {
    fn new(known: Known) -> anyhow::Result<Sieve> {
        Ok(Sieve {
            known,
            seen: HashSet::new(),
            here: BTreeSet::new(),
            spool: Spool::new()?,
            brought_back: BTreeSet::new(),
            imported: Imported::default(),
            rows: 0,
        })
    }

    /// Looks at the next row.
    fn take(&mut self, incoming: Incoming) -> anyhow::Result<()> {
        let Incoming {
            task,
            system,
            source_id,
            group,
            extra,
            place,
            is_finished: _,
            answer_is_empty: _,
        } = incoming;
        let extra = extra.to_column();
        let mut instances = Vec::new();
        let (mut known, mut repeated, mut back) = (0, 0, 0);
        for instance in task.instances {
            let identity = Identity::of(
                system.as_deref(),
                &task.instruction,
                &instance.input,
                &instance.output,
                extra.as_deref(),
            );
            match self.known.place(identity) {
                _ if !self.seen.insert(identity) => repeated += 1,
                Some(Place::Task(id)) => {
                    self.here.insert(id);
                    known += 1;
                }
                Some(Place::Withdrawn(id)) => {
                    self.brought_back.insert(id);
                    back += 1;
                }
                None => instances.push(ImportedInstance {
                    input: instance.input,
                    output: instance.output,
                    row: place.row as i64,
                    extra: None,
                }),
            }
        }
        let Some(first) = instances.first_mut() else {
            match (back, known) {
                (1.., _) => self.imported.rows_brought_back += 1,
                (0, 1..) => self.imported.already_here += 1,
                (0, 0) => self.imported.repeated += 1,
            }
            return Ok(());
        };
        first.extra = extra;
        self.imported.examples_already_here += known + repeated + back;
        let task = ImportedTask {
            source_id,
            name: task.name,
            system,
            instruction: task.instruction,
            is_classification: task.is_classification,
            instances,
        };
        self.spool.put(group, task)
    }
}

/// Tasks on their way into the store, in a file that nobody else sees, so that a large file needs no memory. Tasks of more
/// than one row stay in memory until all rows were seen.
struct Spool {
    out: BufWriter<File>,
    grouped: Vec<ImportedTask>,
    places: HashMap<(String, String), usize>,
}

impl Spool {
    fn new() -> anyhow::Result<Spool> {
        let file = tempfile::tempfile().context("cannot make a temporary file")?;
        Ok(Spool {
            out: BufWriter::new(file),
            grouped: Vec::new(),
            places: HashMap::new(),
        })
    }

    /// Takes a task; rows of the same group and instruction become one.
    fn put(&mut self, group: Option<String>, task: ImportedTask) -> anyhow::Result<()> {
        let Some(group) = group else {
            return serde_json::to_writer(&mut self.out, &task)
                .map_err(io::Error::from)
                .and_then(|()| self.out.write_all(b"\n"))
                .map_err(|error| cannot_spool(&error));
        };
        match self.places.entry((group, task.instruction.clone())) {
            std::collections::hash_map::Entry::Occupied(place) => {
                self.grouped[*place.get()].instances.extend(task.instances);
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(self.grouped.len());
                self.grouped.push(task);
            }
        }
        Ok(())
    }

    /// All of them, in the order of their first rows.
    fn tasks(self) -> anyhow::Result<impl Iterator<Item = anyhow::Result<ImportedTask>>> {
        let mut file = self
            .out
            .into_inner()
            .map_err(|error| cannot_spool(error.error()))?;
        file.rewind().map_err(|error| cannot_spool(&error))?;
        let alone = BufReader::with_capacity(1 << 17, file).lines().map(|line| {
            let line = line.context("cannot read the temporary file")?;
            Ok::<_, anyhow::Error>(serde_json::from_str::<ImportedTask>(&line)?)
        });
        let row = |task: &ImportedTask| task.instances.first().map_or(0, |instance| instance.row);
        let (mut alone, mut grouped) = (alone.peekable(), self.grouped.into_iter().peekable());
        Ok(std::iter::from_fn(move || match (alone.peek(), grouped.peek()) {
            (Some(Ok(one)), Some(group)) if row(group) < row(one) => grouped.next().map(Ok),
            (None, _) => grouped.next().map(Ok),
            _ => alone.next(),
        }))
    }
}

fn cannot_spool(error: &io::Error) -> anyhow::Error {
    anyhow::anyhow!(
        "cannot write a temporary file: {error}; nothing was imported\nhint: make room in `{}`, or set TMPDIR to a folder \
         that has room",
        std::env::temp_dir().display()
    )
}
