//! Tables `tally`, `task_block` and `candidate_block`: counts kept for blocks of rows, so that
//! figures about a million tasks need not read all of them each time.
//!
//! Triggers count the changes of each block, whoever makes them. A tally is valid as long as its
//! block has no more changes than when it was counted. All others are counted again, in the
//! transaction that reads the valid ones, and saved afterwards. If they cannot be saved, because
//! others are writing or the disk is full, the next call counts again.

mod count;
pub mod opinions;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqlx::{Connection, SqliteConnection};

use tokio::task::{JoinHandle, spawn_blocking};

use self::count::TaskRows;
use self::opinions::OpinionTally;
use crate::store::{Result, Store};

/// Grows with each change to what is counted, or how, apart from roots.
const VERSION: i64 = 2;

/// The most blocks that are read and not yet counted.
const MOST_WAITING: usize = 4;

/// How long saving waits for other writers.
const PATIENCE: Duration = Duration::from_millis(100);

/// The verb that an instruction begins with, and the noun that is its direct object.
pub type Root = (String, Option<String>);

/// How the root of an instruction is found, supplied by the room that draws them.
#[derive(Debug, Clone, Copy)]
pub struct Roots {
    /// Grows when the function's results change.
    pub version: i64,
    /// Returns the root of an instruction.
    pub of: fn(&str) -> Option<Root>,
}

/// How often each word, number or name occurs.
pub type Counts<K = String> = BTreeMap<K, i64>;

/// Counts of tasks. Except in `tasks`, rejected tasks are not counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskTally {
    /// Tasks by origin and review.
    pub tasks: BTreeMap<String, Counts>,
    /// Classification tasks with an instance.
    pub classification: i64,
    /// Other tasks that have an instance.
    pub other: i64,
    /// Instances by the review of their task.
    pub examples: Counts,
    /// Instances with an input.
    pub with_input: i64,
    /// Instances without an input.
    pub without_input: i64,
    /// Instructions by length in characters, in steps of 25.
    pub instruction_lengths: Counts<i64>,
    /// Inputs that are not empty by length, in steps of 100.
    pub input_lengths: Counts<i64>,
    /// Outputs by length, in steps of 100.
    pub output_lengths: Counts<i64>,
    /// Tasks by ROUGE-L with their nearest neighbor in hundredths, in steps of 5.
    pub similarities: Counts<i64>,
    /// Outputs of classification tasks, in lower case; long ones are counted in `long_labels`.
    pub labels: Counts,
    /// Outputs of classification tasks with more than
    /// [`LONGEST_LABEL`](super::filter::LONGEST_LABEL) characters.
    pub long_labels: i64,
    /// Instances by judge and score; the score is empty if it was unreadable.
    pub scores: BTreeMap<String, Counts>,
    /// What judges and people said of the same instances, also of rejected tasks.
    pub opinions: OpinionTally,
    /// Tasks by root verb and object; the object is empty if there is none.
    pub roots: BTreeMap<String, Counts>,
    /// Tasks without a root verb.
    pub rootless: i64,
}

/// Counts of candidates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CandidateTally {
    /// By kind and verdict, then by reason, which is empty for accepted ones.
    pub verdicts: BTreeMap<String, BTreeMap<String, Counts>>,
    /// Instructions by round without its last `bits` bits, then by reason, which is empty for
    /// tasks.
    pub rounds: BTreeMap<i64, Counts>,
    /// See `rounds`.
    pub bits: u32,
}

pub(super) fn add<K: Ord>(into: &mut BTreeMap<K, i64>, from: BTreeMap<K, i64>) {
    for (key, count) in from {
        *into.entry(key).or_default() += count;
    }
}

pub(super) fn add_nested<K: Ord>(into: &mut BTreeMap<K, Counts>, from: BTreeMap<K, Counts>) {
    for (key, counts) in from {
        add(into.entry(key).or_default(), counts);
    }
}

/// A sum of blocks.
trait Tally: Default + Serialize + DeserializeOwned {
    fn merge(&mut self, other: Self);
}

impl Tally for TaskTally {
    fn merge(&mut self, other: TaskTally) {
        add_nested(&mut self.tasks, other.tasks);
        self.classification += other.classification;
        self.other += other.other;
        add(&mut self.examples, other.examples);
        self.with_input += other.with_input;
        self.without_input += other.without_input;
        add(&mut self.instruction_lengths, other.instruction_lengths);
        add(&mut self.input_lengths, other.input_lengths);
        add(&mut self.output_lengths, other.output_lengths);
        add(&mut self.similarities, other.similarities);
        add(&mut self.labels, other.labels);
        self.long_labels += other.long_labels;
        add_nested(&mut self.scores, other.scores);
        self.opinions.merge(other.opinions);
        add_nested(&mut self.roots, other.roots);
        self.rootless += other.rootless;
    }
}

impl CandidateTally {
    /// Merges rounds into spans of 2^`bits`.
    pub fn widen(&mut self, bits: u32) {
        if bits > self.bits {
            let finer = std::mem::take(&mut self.rounds);
            for (span, counts) in finer {
                add(self.rounds.entry(span >> (bits - self.bits)).or_default(), counts);
            }
            self.bits = bits;
        }
    }

    /// Merges rounds into at most `most` spans between the first and the last.
    pub fn widen_to(&mut self, most: i64) {
        let (Some(first), Some(last)) = (self.rounds.keys().next(), self.rounds.keys().next_back()) else {
            return;
        };
        let (first, last) = (*first, *last);
        let more = (0..63)
            .find(|bits| (last >> bits) - (first >> bits) < most)
            .unwrap_or(63);
        self.widen(self.bits + more);
    }
}

impl Tally for CandidateTally {
    fn merge(&mut self, mut other: CandidateTally) {
        let bits = self.bits.max(other.bits);
        self.widen(bits);
        other.widen(bits);
        add_nested(&mut self.rounds, other.rounds);
        for (kind, verdicts) in other.verdicts {
            add_nested(self.verdicts.entry(kind).or_default(), verdicts);
        }
    }
}

/// A block, its number of changes, and its counts if they are valid.
struct TallyBlock {
    block: i64,
    changes: i64,
    counts: Option<String>,
}

/// A new tally to save.
pub(in crate::store) struct Fresh {
    subject: &'static str,
    block: i64,
    changes: i64,
    version: i64,
    counts: String,
}

/// Counts all tasks, within the caller's transaction. Adds tallies that had to be counted to
/// `fresh`.
pub(in crate::store) async fn of_tasks(
    connection: &mut SqliteConnection,
    roots: Roots,
    fresh: &mut Vec<Fresh>,
) -> Result<TaskTally> {
    let version = (VERSION << 16) | roots.version;
    let blocks = sqlx::query_as!(
        TallyBlock,
        r#"
        SELECT task_block.block AS "block!", task_block.changes, tally.counts AS "counts?"
        FROM task_block
        LEFT JOIN tally
            ON tally.subject = 'task'
            AND tally.block = task_block.block
            AND tally.changes = task_block.changes
            AND tally.version = ?
        "#,
        version
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut sum = Sum::<TaskTally>::of("task", version, fresh);
    let mut counting = VecDeque::new();
    for block in blocks {
        if let Some(tally) = block.known() {
            sum.total.merge(tally);
            continue;
        }
        // While SQLite reads the next block, another core counts this one.
        let rows = TaskRows::read(connection, block.block).await?;
        counting.push_back((block, spawn_blocking(move || rows.count(roots))));
        if counting.len() > MOST_WAITING
            && let Some((block, tally)) = counting.pop_front()
        {
            sum.add(&block, counted(tally).await?);
        }
    }
    for (block, tally) in counting {
        sum.add(&block, counted(tally).await?);
    }
    Ok(sum.total)
}

async fn counted(tally: JoinHandle<Result<TaskTally>>) -> Result<TaskTally> {
    match tally.await {
        Ok(tally) => tally,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// Counts all candidates, within the caller's transaction. Adds tallies that had to be counted to
/// `fresh`.
pub(in crate::store) async fn of_candidates(
    connection: &mut SqliteConnection,
    fresh: &mut Vec<Fresh>,
) -> Result<CandidateTally> {
    let blocks = sqlx::query_as!(
        TallyBlock,
        r#"
        SELECT candidate_block.block AS "block!", candidate_block.changes, tally.counts AS "counts?"
        FROM candidate_block
        LEFT JOIN tally
            ON tally.subject = 'candidate'
            AND tally.block = candidate_block.block
            AND tally.changes = candidate_block.changes
            AND tally.version = ?
        "#,
        VERSION
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut sum = Sum::<CandidateTally>::of("candidate", VERSION, fresh);
    for block in blocks {
        match block.known() {
            Some(tally) => sum.total.merge(tally),
            None => sum.add(&block, count::candidates(connection, block.block).await?),
        }
    }
    Ok(sum.total)
}

impl TallyBlock {
    /// Returns its tally, if it is valid and readable.
    fn known<T: Tally>(&self) -> Option<T> {
        serde_json::from_str(self.counts.as_deref()?).ok()
    }
}

/// The sum of blocks, and the new tallies among them.
struct Sum<'f, T> {
    subject: &'static str,
    version: i64,
    total: T,
    fresh: &'f mut Vec<Fresh>,
}

impl<'f, T: Tally> Sum<'f, T> {
    fn of(subject: &'static str, version: i64, fresh: &'f mut Vec<Fresh>) -> Sum<'f, T> {
        Sum {
            subject,
            version,
            total: T::default(),
            fresh,
        }
    }

    /// Adds a block that was just counted.
    fn add(&mut self, block: &TallyBlock, tally: T) {
        if let Ok(counts) = serde_json::to_string(&tally) {
            self.fresh.push(Fresh {
                subject: self.subject,
                block: block.block,
                changes: block.changes,
                version: self.version,
                counts,
            });
        }
        self.total.merge(tally);
    }
}

impl Store {
    /// Saves new tallies. A block that changed meanwhile has more changes than its tally, which is
    /// then invalid.
    pub(in crate::store) async fn save_tallies(&self, fresh: &[Fresh]) -> Result<()> {
        if fresh.is_empty() || self.is_read_only() {
            return Ok(());
        }
        // A connection of its own that does not wait long: an import may hold the lock for long.
        let options = self.options.clone().busy_timeout(PATIENCE);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        for tally in fresh {
            sqlx::query!(
                "
                INSERT INTO tally (subject, block, changes, version, counts)
                VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (subject, block) DO UPDATE
                SET changes = excluded.changes, version = excluded.version, counts = excluded.counts
                ",
                tally.subject,
                tally.block,
                tally.changes,
                tally.version,
                tally.counts
            )
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        connection.close().await?;
        Ok(())
    }
}
