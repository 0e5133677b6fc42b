//! The data half of `ewe`: everything that needs no tensor. In reading order:
//!
//! - [`task`]: the values that stages exchange.
//! - [`backend`]: what is asked of a language model, and the trait of those who answer.
//! - [`reasoning`]: what a model thinks aloud, apart from what it answers.
//! - [`prompt`]: every text that a model is shown.
//! - [`jinja`]: templates that come with models.
//! - [`client`]: models behind an OpenAI-compatible endpoint.
//! - [`generate`]: what to ask for, and what answers say.
//! - [`filter`]: which candidates stay.
//! - [`store`]: the dataset, one SQLite file.
//! - [`pipeline`]: the arrows between the three.
//! - [`interchange`]: files of tasks, in and out.
//! - [`http_server`]: what our servers take from a client.
//! - [`curate`]: people at work on the dataset, from the terminal and from a page.
//! - [`report`]: figures and charts.
//! - [`settings_file`]: files of settings, read with a limit; [`python_json`]: those that Python wrote.
//! - [`atomic_file`]: files that are never half-written.
//! - [`leave`]: ending at once.
//! - [`lock`]: work that one process does at a time.
//! - [`signals`]: what must not stay behind when one ends the process.
//! - [`streams`]: standard output and standard error that may be gone.
//! - [`text`]: words for people.
//! - [`fold`]: one form for texts that look the same.
//! - [`progress`]: what long work shows.
//! - [`cli`]: the command line, for both binaries.

// First, since its macros take the place of the standard library's in all that follows.
#[macro_use]
pub mod streams;

pub mod atomic_file;
pub mod backend;
pub mod cli;
pub mod client;
pub mod curate;
pub mod filter;
pub mod fold;
pub mod generate;
pub mod http_server;
pub mod interchange;
pub mod jinja;
pub mod leave;
pub mod lock;
pub mod pipeline;
pub mod progress;
pub mod prompt;
pub mod python_json;
pub mod reasoning;
pub mod report;
pub mod settings_file;
pub mod signals;
pub mod store;
pub mod task;
pub mod text;
