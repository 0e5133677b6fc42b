//! What can go wrong with a dataset, with a hint at what to do next.

use crate::text::{clean, counted};
use std::path::{Path, PathBuf};

/// The result of a store function.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a store function failed. After any error the file is as it was before the call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no file.
    #[error("no dataset at `{}`\nhint: make one with `ewe init --db {}`", path.display(), path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is a file where a new one was to be created.
    #[error("`{}` exists already\nhint: choose another name, or move the file away", path.display())]
    Exists {
        /// What exists.
        path: PathBuf,
    },
    /// A file of that name would be taken for a part of the dataset beside it.
    #[error("`{}` would belong to the dataset beside it\nhint: choose another name", path.display())]
    BesideDataset {
        /// The file that was to be created.
        path: PathBuf,
    },
    /// The file is no database.
    #[error("`{}` is not a database\nhint: make a dataset with `ewe init --db NEW.db`, or read a file of tasks with `ewe import`", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The path leads to something that cannot hold a database.
    #[error("`{}` is not a database: it is {what}\nhint: make a dataset with `ewe init --db NEW.db`, or read a file of tasks with `ewe import`", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What is there, such as `a folder`.
        what: &'static str,
    },
    /// The file is an SQLite database of another program.
    #[error("`{}` is an SQLite database, but not one of ewe's\nhint: make a dataset with `ewe init --db NEW.db`", path.display())]
    NotEwe {
        /// The file.
        path: PathBuf,
    },
    /// The file has a schema that this program does not know.
    #[error("`{}` was made by a newer ewe: schema {found}, this one knows {known}\nhint: update ewe; the file was not touched", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema of the file.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// The file cannot be opened.
    #[error("cannot open `{}`: {reason}", path.display())]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// The system's message.
        reason: String,
    },
    /// The file cannot be created.
    #[error("cannot create `{}`: {reason}", path.display())]
    CannotCreate {
        /// The file.
        path: PathBuf,
        /// The system's message.
        reason: String,
    },
    /// Another `generate` is working on the dataset.
    #[error("another `ewe generate` is working on `{}`\nhint: wait until it has finished, or end it; nothing it did is lost", path.display())]
    Generating {
        /// The file.
        path: PathBuf,
    },
    /// Another import is working on the dataset: both could add the same rows.
    #[error("another import is at work on `{}`\nhint: wait until it has finished, or end it; the same command again brings the rest of it", path.display())]
    Importing {
        /// The file.
        path: PathBuf,
    },
    /// Another judge is working on the dataset.
    #[error("another judge is at work on `{}`\nhint: wait until it has finished, or end it; nothing it did is lost", path.display())]
    Judging {
        /// The file.
        path: PathBuf,
    },
    /// Another evaluation is keeping its answers in the dataset.
    #[error("another `ewe eval` or `ewe compare` is at work on `{}`\nhint: wait until it has finished, or end it; nothing it did is lost", path.display())]
    Evaluating {
        /// The file.
        path: PathBuf,
    },
    /// Another process kept the write lock for longer than we wait.
    #[error(
        "the dataset is locked: another program has been writing to it for 5 seconds\nhint: wait until it has finished, or end it"
    )]
    Locked,
    /// No space is left, or the file may not grow.
    #[error(
        "disk full: the dataset could not grow, and nothing was lost ({reason})\nhint: make room, then run the same command again"
    )]
    DiskFull {
        /// SQLite's message.
        reason: String,
    },
    /// The file or its directory may not be written to.
    #[error(
        "the dataset may not be written to ({reason})\nhint: check the permissions of the file and of its folder; what only reads works without them"
    )]
    ReadOnly {
        /// SQLite's message.
        reason: String,
    },
    /// The file, its folder or the file system may not be written to.
    #[error("`{}` may not be written to: {reason}\nhint: what only reads works on it; to change it, copy it to where you may write: `ewe backup --db {} --out COPY.db`", path.display(), path.display())]
    MayNotWrite {
        /// The file.
        path: PathBuf,
        /// The obstacle, in words.
        reason: String,
    },
    /// A file that is read without a lock was written to meanwhile.
    #[error("`{}` was written to while it was read; what was read may be of two moments\nhint: run the same command again", path.display())]
    ChangedWhileRead {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error("the dataset is damaged ({reason})\nhint: `sqlite3 FILE .recover` saves what can be read")]
    Damaged {
        /// SQLite's message.
        reason: String,
    },
    /// The id names no task.
    #[error("no task {id}\nhint: `ewe list` shows the ids")]
    NoTask {
        /// The id.
        id: i64,
    },
    /// The id names no candidate, or one that was accepted.
    #[error("no rejected candidate {id}\nhint: `ewe candidates` lists them")]
    NoCandidate {
        /// The id.
        id: i64,
    },
    /// The id names no run.
    #[error("no run {id}\nhint: `ewe stats` lists the runs")]
    NoRun {
        /// The id.
        id: i64,
    },
    /// No rule has this code, and nobody gave it as a reason.
    #[error("no rule or reason `{}`\nhint: {}", clean(code), match nearest {
        Some(nearest) => format!("did you mean `{}`?", clean(nearest)),
        None => "docs/rules.md has the rules; `ewe log` shows what people gave as reasons".to_owned(),
    })]
    NoReason {
        /// What was asked for.
        code: String,
        /// The most similar reason, if one is similar.
        nearest: Option<String>,
    },
    /// No judge has scored by a criterion of this name.
    #[error("no judge has scored by a criterion `{}`\nhint: there are: {}", clean(criterion), known.iter().map(|name| clean(name)).collect::<Vec<_>>().join(", "))]
    NoCriterion {
        /// What was asked for.
        criterion: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The id names no pair of a comparison.
    #[error("no pair {id}")]
    NoPair {
        /// The id.
        id: i64,
    },
    /// The id names no comparison.
    #[error("no comparison {id}")]
    NoComparison {
        /// The id.
        id: i64,
    },
    /// The task has no such instance.
    #[error("task {id} has no instance {ordinal}\nhint: `ewe show {id}` shows them")]
    NoInstance {
        /// The task.
        id: i64,
        /// The instance's place.
        ordinal: i64,
    },
    /// The conversation has no such message after its first answer.
    #[error("the conversation of task {id} has no turn {place}\nhint: `ewe show {id}` numbers them")]
    NoTurn {
        /// The task.
        id: i64,
        /// The message's place.
        place: i64,
    },
    /// A turn begins with a later question; this message is none.
    #[error(
        "message {place} of task {id} is not a question\nhint: a turn goes by the number of its question in `ewe show {id}`"
    )]
    NotAQuestion {
        /// The task.
        id: i64,
        /// The message's place.
        place: i64,
    },
    /// A turn would have no question or no answer.
    #[error("task {id}: a turn has a question and an answer, and one is empty")]
    EmptyTurn {
        /// The task.
        id: i64,
    },
    /// A review was to become pending: only `undo` does that.
    #[error("a review is to accept or to reject\nhint: `ewe undo` makes a task pending again")]
    NotAnAction,
    /// An edit was made from an older version of the task.
    #[error(
        "task {id} was changed meanwhile (version {now}, the edit was made from {seen})\nhint: look at it again, then edit"
    )]
    ChangedMeanwhile {
        /// The task.
        id: i64,
        /// The version that the edit was made from.
        seen: i64,
        /// The version now.
        now: i64,
    },
    /// A filter passes another number of tasks than somebody saw.
    #[error("it would be {} by now, not {expected}\nhint: look at them again", counted(*found, "task"))]
    AnotherCount {
        /// The number that was seen.
        expected: i64,
        /// The number now.
        found: i64,
    },
    /// No action is in force.
    #[error("nothing to undo\nhint: `ewe log` shows what was done")]
    NothingToUndo,
    /// No undo is in force, or another action came after it.
    #[error(
        "nothing to redo: there was no undo, or another action since\nhint: `ewe log` shows what was done"
    )]
    NothingToRedo,
    /// The part of an import that was stored already has been undone.
    #[error(
        "the import was taken back while it was under way (action {group})\nhint: run the same command again to bring it all in"
    )]
    TakenBackMeanwhile {
        /// The import's action.
        group: i64,
    },
    /// The number names no action.
    #[error("no action {group}\nhint: `ewe log` shows their numbers")]
    NoGroup {
        /// The number.
        group: i64,
    },
    /// The action is not in force.
    #[error("action {group} was taken back already, by {by}\nhint: `ewe undo {by}` brings it back")]
    UndoneAlready {
        /// The action.
        group: i64,
        /// The undo that took it back.
        by: i64,
    },
    /// A row differs from what the action made of it.
    #[error(
        "action {group} cannot be taken back: task {id} was changed since\nhint: `ewe log {id}` shows how; take the later change back first"
    )]
    ChangedSince {
        /// The action.
        group: i64,
        /// The first task that differs.
        id: i64,
    },
    /// Something is wrong with a field, or a value is none of it.
    #[error(transparent)]
    Field(#[from] super::fields::FieldError),
    /// Something is wrong with a reviewer, an opinion or a comment.
    #[error(transparent)]
    Team(#[from] super::teams::TeamError),
    /// Any other error of SQLite or sqlx.
    #[error("database error: {0}")]
    Sql(sqlx::Error),
    /// A migration failed.
    #[error("cannot bring the dataset's schema up to date: {0}")]
    Migration(sqlx::migrate::MigrateError),
}

/// Primary result codes of SQLite, <https://www.sqlite.org/rescode.html>: the low byte of an
/// extended code.
mod code {
    pub const BUSY: i32 = 5;
    pub const LOCKED: i32 = 6;
    pub const READONLY: i32 = 8;
    pub const CORRUPT: i32 = 11;
    pub const FULL: i32 = 13;
    pub const NOTADB: i32 = 26;
    /// Extended codes: a write, a sync or the growth of a file failed, or the index of the log
    /// could not be begun. A limit on file sizes ends here, not in `FULL`.
    pub const IOERR: [i32; 6] = [778, 1034, 1290, 1546, 4618, 4874];
}

impl Error {
    /// Makes the error of opening `path`.
    pub(super) fn opening(path: &Path, error: sqlx::Error) -> Error {
        match primary(&error) {
            Some(code::NOTADB) => Error::NotADatabase { path: path.into() },
            _ => match Error::from(error) {
                Error::Sql(error) => Error::CannotOpen {
                    path: path.into(),
                    reason: said(&error),
                },
                mapped => mapped,
            },
        }
    }

    /// Whether the message names the file.
    pub fn names_file(&self) -> bool {
        matches!(
            self,
            Error::Missing { .. }
                | Error::Exists { .. }
                | Error::BesideDataset { .. }
                | Error::NotADatabase { .. }
                | Error::NotAFile { .. }
                | Error::NotEwe { .. }
                | Error::Newer { .. }
                | Error::Generating { .. }
                | Error::Judging { .. }
                | Error::Evaluating { .. }
                | Error::Importing { .. }
                | Error::CannotOpen { .. }
                | Error::MayNotWrite { .. }
                | Error::ChangedWhileRead { .. }
                | Error::CannotCreate { .. }
        )
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Error {
        let reason = said(&error);
        match primary(&error) {
            Some(code::BUSY | code::LOCKED) => Error::Locked,
            Some(code::READONLY) => Error::ReadOnly { reason },
            Some(code::CORRUPT | code::NOTADB) => Error::Damaged { reason },
            Some(code::FULL) => Error::DiskFull { reason },
            // Other tasks of this process were writing all the time.
            _ if matches!(error, sqlx::Error::PoolTimedOut) => Error::Locked,
            _ if extended(&error).is_some_and(|code| code::IOERR.contains(&code)) => {
                Error::DiskFull { reason }
            }
            _ => Error::Sql(error),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for Error {
    fn from(error: sqlx::migrate::MigrateError) -> Error {
        match error {
            sqlx::migrate::MigrateError::Execute(error)
            | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => Error::from(error),
            other => Error::Migration(other),
        }
    }
}

/// Returns SQLite's own words, without sqlx's around them.
fn said(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(error) => error.message().to_owned(),
        None => error.to_string(),
    }
}

fn extended(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

fn primary(error: &sqlx::Error) -> Option<i32> {
    extended(error).map(|code| code & 0xff)
}
