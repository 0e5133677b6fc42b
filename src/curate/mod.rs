//! People at work on the dataset.
//!
//! - [`ids`]: which tasks somebody means.
//! - [`view`]: one task with everything that is known of it.
//! - [`editor`]: a task as a text for an editor.
//! - [`plain`], [`words`]: texts that a terminal does not obey, and where two of them differ.
//! - [`review`]: pending tasks one after another at a terminal.
//! - [`server`], [`guard`]: the page, and who may see it. [`assets`]: its HTML, scripts and style.
//! - [`api`], [`export`], [`failure`]: what it asks, what it downloads, what it is told when something is wrong.

pub mod api;
pub mod assets;
pub mod editor;
pub mod export;
pub mod failure;
pub mod guard;
pub mod ids;
pub mod plain;
pub mod review;
pub mod server;
pub mod view;
pub mod words;

/// The name that the history notes for whoever runs this: `$EWE_USER`, or the name that the system knows.
pub fn who() -> String {
    ["EWE_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|variable| std::env::var(variable).ok().filter(|name| !name.is_empty()))
        .unwrap_or_else(|| "somebody".to_owned())
}
