//! People at work on the dataset.
//!
//! - [`ids`]: which tasks somebody means.
//! - [`view`]: one task with everything that is known of it.
//! - [`editor`]: a task as a text for an editor.

pub mod editor;
pub mod ids;
pub mod view;

/// The name that the history notes for whoever runs this: `$EWE_USER`, or the name that the system knows.
pub fn who() -> String {
    ["EWE_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|variable| std::env::var(variable).ok().filter(|name| !name.is_empty()))
        .unwrap_or_else(|| "somebody".to_owned())
}
