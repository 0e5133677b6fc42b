//! People at work on the dataset.
//!
//! - [`ids`]: which tasks somebody means.
//! - [`view`]: one task with everything that is known of it.
//! - [`editor`]: a task as a text for an editor.
//! - [`plain`], [`words`]: texts that a terminal does not obey, and where two of them differ.
//! - [`review`]: pending tasks one after another at a terminal.
//! - [`server`], [`guard`], [`api`]: the page, who may see it, what it asks. Its HTML, script and style are in `assets`.

pub mod api;
pub mod editor;
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
