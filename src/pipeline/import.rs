//! Imports: reads a file, finds the rows that the dataset does not have yet, and writes those in
//! transactions of bounded size.

pub mod fields;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Seek, Write},
    path::Path,
};

use anyhow::Context;

use crate::{
    interchange::{ParsedRow, ReadError, Reading, Row, extra::Extra, left_out::LeftOut, notes::Notes, read},
    store::{
        Actor, Change, Field, RunStatus, Store,
        asked::{
            identity::{Duplicate, Identity, Known},
            imports::{Import, ImportedInstance, ImportedTask},
        },
        fields::Values,
    },
    task::Turn,
    text::chosen,
};

use fields::{Cells, FieldColumns, FieldsOfFile, Wanted};

/// How many tasks one transaction writes at most. Other writers wait meanwhile, so it must take
/// less than half a second. A file that fits into one transaction is imported whole or not at all.
const BATCH_TASKS: usize = 2048;

/// About how many bytes of text one transaction writes at most; see [`BATCH_TASKS`].
const BATCH_BYTES: usize = 1 << 20;

/// The result of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// The number of rows in the file.
    pub rows: usize,
    /// The number of tasks added, with those brought back.
    pub tasks: i64,
    /// How many of these tasks are from an earlier import that was undone.
    pub brought_back: usize,
    /// The number of rows that brought tasks back.
    pub rows_brought_back: usize,
    /// The number of rows skipped because the dataset has all their examples.
    pub already_here: usize,
    /// The number of rows skipped because an earlier row of the file is the same.
    pub repeated: usize,
    /// The number of examples skipped in rows that had new examples, too.
    pub examples_already_here: usize,
    /// The action in the history; `None` if nothing was added.
    pub change: Option<Change>,
    /// The format, given or recognized.
    pub format: Option<&'static str>,
    /// The other fields of the rows, which are kept.
    pub extra_fields: Vec<String>,
    /// Fields that were made of columns.
    pub new_fields: Vec<Field>,
    /// Columns that were to become fields if possible, and whose values cannot be those of one.
    pub skipped_columns: Vec<String>,
    /// Tasks that were there already and got values of fields; an action of its own.
    pub labelled: Option<Change>,
}

/// What becomes of a file beside its texts.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions<'a> {
    /// Who imports it.
    pub who: &'a str,
    /// Which columns become fields.
    pub fields: Wanted,
}

/// Imports the file at `path` (`-` is standard input) as one action. Examples that the
/// dataset has already are skipped. Nothing is written before the last row was read. Rows that
/// cannot be read go to `left_out`; other fields of the rows are counted in `notes`.
///
/// # Errors
///
/// [`ReadError`](crate::interchange::ReadError) for the file; then nothing was imported.
/// [`store::Error`](crate::store::Error) for the dataset. Then it may have a part of a file of more
/// than [`BATCH_TASKS`] tasks, and the same command imports the rest.
pub async fn import(
    store: &Store,
    path: &Path,
    reading: &Reading,
    left_out: &mut LeftOut,
    notes: &mut Notes,
    options: &ImportOptions<'_>,
) -> anyhow::Result<Imported> {
    let who = options.who;
    let file = path.display().to_string();
    let mut reader = read::open(path, reading)?;
    // An unreadable file is reported before the dataset is locked.
    let mut next = left_out.next_row(&mut reader)?;
    let format = reader.parser().map(|parser| parser.format().as_str());
    let _lock = store.lock_for_import().await?;
    let mut sieve = Sieve::new(store.known_examples().await?)?;
    let mut columns = FieldColumns::begin(store, &options.fields, format, reader.is_csv()).await?;
    while let Some((text, row)) = next {
        match columns.take(&row) {
            Ok(cells) => {
                notes.add(&row);
                sieve.rows += 1;
                sieve.take(row, cells)?;
            }
            Err(what) => leave(left_out, &file, &text, what)?,
        }
        next = left_out.next_row(&mut reader)?;
    }
    left_out.check()?;
    let fields = columns.make(store).await?;
    let Sieve {
        known: _,
        here,
        spool,
        brought_back,
        mut imported,
        rows,
        labels,
        ..
    } = sieve;
    imported.rows = rows;
    imported.format = format;
    imported.extra_fields = notes.fields().keys().cloned().collect();
    imported.brought_back = brought_back.len();
    let config = serde_json::json!({ "file": file, "format": format });
    let mut import = store.begin_import(&config, who, &file);
    import.go_on(&here).await?;
    let ended = write(&mut import, spool, &brought_back, &fields).await;
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
    let actor = Actor {
        who,
        note: Some(&file),
    };
    imported.labelled = store.label_missing(&of_known(&labels, &fields)?, actor).await?;
    imported.skipped_columns = fields.skipped;
    imported.new_fields = fields.new;
    left_out.end()?;
    Ok(imported)
}

/// Leaves out a row with a value that its field does not have, or fails.
fn leave(left_out: &mut LeftOut, file: &str, row: &Row, what: String) -> anyhow::Result<()> {
    let fault = ReadError::Row {
        file: file.to_owned(),
        place: row.place,
        what,
        found: None,
    };
    left_out.leave(&fault, Some(row))?;
    left_out.lines().for_each(|line| eprintln!("{line}"));
    Ok(())
}

/// Returns the values for tasks that the dataset has already: task, field and values.
fn of_known(labels: &[(i64, Cells)], fields: &FieldsOfFile) -> anyhow::Result<Vec<(i64, i64, Values)>> {
    let mut all = Vec::new();
    for (task, cells) in labels {
        let values = fields.values(cells)?.into_iter();
        all.extend(values.map(|(field, values)| (*task, field, values)));
    }
    Ok(all)
}

/// Writes everything, a transaction at a time.
async fn write(
    import: &mut Import<'_>,
    spool: Spool,
    brought_back: &BTreeSet<i64>,
    fields: &FieldsOfFile,
) -> anyhow::Result<()> {
    let brought_back: Vec<i64> = brought_back.iter().copied().collect();
    for ids in brought_back.chunks(BATCH_TASKS) {
        import.bring_back(ids).await?;
    }
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for task in spool.tasks()? {
        let mut task = task?;
        task.fields = fields.values(&task.cells)?;
        let texts = task.instances.iter().map(|instance| {
            let turns = instance.turns.as_ref().map_or(0, String::len);
            instance.input.len() + instance.output.len() + turns
        });
        bytes += task.instruction.len() + texts.sum::<usize>();
        batch.push(task);
        if batch.len() == BATCH_TASKS || bytes > BATCH_BYTES {
            import.add(&batch).await?;
            (batch, bytes) = (Vec::new(), 0);
        }
    }
    import.add(&batch).await?;
    Ok(())
}

/// Sorts the rows of a file into new ones and those that the dataset has.
struct Sieve {
    known: Known,
    /// The examples of earlier rows of the file.
    seen: HashSet<Identity>,
    /// Tasks of the dataset that are in the file.
    here: BTreeSet<i64>,
    spool: Spool,
    /// Tasks of undone imports that are in the file.
    brought_back: BTreeSet<i64>,
    /// Columns that may become fields of tasks that the dataset has.
    labels: Vec<(i64, Cells)>,
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
            labels: Vec::new(),
            imported: Imported::default(),
            rows: 0,
        })
    }

    /// Sorts the next row.
    fn take(&mut self, row: ParsedRow, cells: Cells) -> anyhow::Result<()> {
        let ParsedRow {
            task,
            system,
            source_id,
            group,
            extra,
            turns,
            instance_extras,
            place,
            is_finished: _,
            answer_is_empty: _,
        } = row;
        let extra = extra.to_column();
        let mut turns = turns.into_iter();
        let mut extras = instance_extras.into_iter();
        let mut instances = Vec::new();
        let (mut known, mut repeated, mut back) = (0, 0, 0);
        for instance in task.instances {
            let turns = turns.next().unwrap_or_default();
            let turns = Turn::list_to_column(&turns);
            let own = extras.next().unwrap_or_default();
            let identity = Identity::of(
                system.as_deref(),
                &task.instruction,
                &instance.input,
                &instance.output,
                extra.as_deref(),
                turns.as_deref(),
            );
            match self.known.find(identity) {
                _ if !self.seen.insert(identity) => repeated += 1,
                Some(Duplicate::Task(id)) => {
                    self.here.insert(id);
                    if !cells.is_empty() && known == 0 {
                        self.labels.push((id, cells.clone()));
                    }
                    known += 1;
                }
                Some(Duplicate::Withdrawn(id)) => {
                    self.brought_back.insert(id);
                    back += 1;
                }
                None => instances.push(ImportedInstance {
                    input: instance.input,
                    output: instance.output,
                    row: place.row as i64,
                    extra: own.to_column(),
                    turns,
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
        first.extra = match (extra, first.extra.take()) {
            (Some(row), Some(own)) => joined(&row, &own),
            (row, own) => row.or(own),
        };
        self.imported.examples_already_here += known + repeated + back;
        let task = ImportedTask {
            source_id,
            name: task.name,
            system,
            instruction: task.instruction,
            is_classification: task.is_classification,
            instances,
            cells,
            fields: Vec::new(),
        };
        self.spool.put(group, task)
    }
}

/// Joins the other fields of a row with those of its first conversation.
fn joined(row: &str, own: &str) -> Option<String> {
    let mut joined = Extra::parse(own)?;
    joined.put_before(Extra::parse(row)?);
    joined.to_column()
}

/// New tasks, in a temporary file, so that a large import needs no memory. Tasks of several rows
/// stay in memory until the last row was read.
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

    /// Adds a task. Rows of the same group and instruction become one task.
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

    /// Returns all tasks, in the order of their first rows.
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
