//! The data half of `ewe`: everything that needs no tensor. In reading order:
//!
//! - [`task`]: plain values that stages exchange.
//! - [`backend`]: requests to a language model, and the trait of models.
//! - [`choice`]: how likely each of the words was that an answer may name.
//! - [`reasoning`]: a model's reasoning, apart from its answer.
//! - [`prompt`]: every text that a model is shown.
//! - [`jinja`]: chat templates that come with models.
//! - [`client`]: models behind an OpenAI-compatible endpoint.
//! - [`generate`]: recipes, example sampling and response parsing.
//! - [`documents`]: files that people wrote, as passages.
//! - [`filter`]: rules and near-duplicate search.
//! - [`suite`]: evaluation suites: what to ask, and how answers are scored.
//! - [`compare`]: two models on the same prompts: verdicts, the judge's exam, rates.
//! - [`store`]: the dataset, one SQLite file.
//! - [`pipeline`]: the stages connected: rounds, admission, judging, screening.
//! - [`push`]: a model, an adapter or a dataset to the Hugging Face hub, with its card.
//! - [`gain`]: one command from a dataset to what it did for a model, step by step.
//! - [`interchange`]: files of tasks, in and out.
//! - [`http_server`]: connections of both servers, and access to them.
//! - [`curate`]: review and editing, at a terminal and in a web page.
//! - [`report`]: figures and charts.
//! - [`settings_file`]: settings files, read with a limit; [`python_json`]: JSON as Python writes
//!   it; [`lenient_json`]: JSON as servers write it.
//! - [`atomic_file`]: output files that are never half-written.
//! - [`leave`]: ending the process at once.
//! - [`limited`]: programs of others, with limits; [`validator`]: those that accept rows.
//! - [`lock`]: file locks.
//! - [`signals`]: signals that ask a command to end.
//! - [`streams`]: standard output and standard error, which may be gone.
//! - [`text`]: text for people.
//! - [`fold`]: normal form of text.
//! - [`progress`]: progress bars.
//! - [`next`]: the commands that go on from a result.
//! - [`steps`]: commands that one command runs one after another.
//! - [`ranks`]: processes that compute one command together.
//! - [`program`]: the program itself: its build, its other half, its machine, its manual.
//! - [`settings`]: options in a file or in the environment.
//! - [`job`]: what the commands of the tensor half do, as plain values.
//! - [`cli`]: the command line of both binaries.

#[cfg(not(unix))]
compile_error!("ewe runs on Linux and macOS; on Windows, build it within WSL");

// First, since its macros replace the standard library's in all modules that follow.
#[macro_use]
pub mod streams;

pub mod atomic_file;
pub mod backend;
pub mod choice;
pub mod cli;
pub mod client;
pub mod compare;
pub mod curate;
pub mod documents;
pub mod filter;
pub mod finetune;
pub mod fold;
pub mod gain;
pub mod generate;
pub mod http_server;
pub mod interchange;
pub mod jinja;
pub mod job;
pub mod leave;
pub mod lenient_json;
pub mod limited;
pub mod lock;
pub mod next;
pub mod pipeline;
pub mod program;
pub mod progress;
pub mod prompt;
pub mod push;
pub mod python_json;
pub mod ranks;
pub mod reasoning;
pub mod report;
pub mod settings;
pub mod settings_file;
pub mod signals;
pub mod steps;
pub mod store;
pub mod suite;
pub mod task;
pub mod text;
pub mod validator;
