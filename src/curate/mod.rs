//! Review and editing of the dataset by people.
//!
//! - [`ids`]: ids on a command line.
//! - [`view`]: one task with all its details.
//! - [`editor`]: a task as a text for an editor.
//! - [`word_diff`]: the words in which two texts differ.
//! - [`review`]: `ewe review`, in a terminal.
//! - [`server`], [`access`], [`assets`]: the web page, who may see it, and its files.
//! - [`api`], [`export`], [`error`], [`state`], [`tickets`]: the page's API.
//! - [`label`]: values of fields; [`team`]: reviewers.
//! - [`candidates`]: what the rules threw away, and its rescue.
//! - [`compare`]: answers of two models, side by side.

pub mod access;
pub mod api;
pub mod assets;
pub mod candidates;
pub mod compare;
pub mod editor;
pub mod error;
pub mod export;
pub mod ids;
pub mod label;
pub mod queue;
pub mod review;
pub mod server;
pub mod state;
pub mod team;
pub mod tickets;
pub mod view;
pub mod word_diff;

/// Returns the user's name for the history: `$EWE_USER`, or the name that the environment or the
/// system's list of users knows, which a container's environment may lack.
pub fn who() -> String {
    ["EWE_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|variable| std::env::var(variable).ok().filter(|name| !name.is_empty()))
        .or_else(account)
        .unwrap_or_else(|| "somebody".to_owned())
}

/// Returns the name of the user who runs this process, by `/etc/passwd`.
fn account() -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let own = rustix::process::getuid().as_raw().to_string();
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)? == own).then(|| name.to_owned())
    })
}
