//! Several reviewers of the same tasks.
//!
//! - [`assignment`]: who is to look at which task; [`deal`]: tasks are dealt evenly.
//! - [`opinion`]: what they say, and when that decides a task.
//! - [`comment`]: what people write beside tasks.
//! - [`rating`]: opinions as ratings, to see how far reviewers agree.
//! - [`error`]: what can be wrong.
//!
//! Rows of these tables are never changed but for `withdrawn_at`. Each that comes or goes is named
//! by a revision with `about`, so that undo withdraws it or brings it back.

pub mod assignment;
pub mod comment;
pub mod deal;
pub mod error;
pub mod opinion;
pub mod rating;
mod record;

pub use error::TeamError;
pub(super) use record::{check_unchanged, restore};

/// The longest name of a reviewer, in characters.
const LONGEST_NAME: usize = 64;

/// The longest comment or note, in characters.
pub const LONGEST_TEXT: usize = 10_000;

/// Returns a reviewer's name without space around it.
///
/// # Errors
///
/// [`TeamError::Name`] if it cannot be typed or shown.
pub fn checked_name(name: &str) -> Result<&str, TeamError> {
    let trimmed = name.trim();
    let what = if trimmed.is_empty() {
        "it is empty"
    } else if trimmed.chars().count() > LONGEST_NAME {
        "it has more than 64 characters"
    } else if crate::text::clean(trimmed) != trimmed || trimmed.contains(['\n', '\t']) {
        "it has a control character"
    } else if trimmed.contains(',') {
        "it has a comma, which separates names"
    } else {
        return Ok(trimmed);
    };
    Err(TeamError::Name {
        name: name.to_owned(),
        what,
    })
}

/// Returns a comment or a note without space around it.
///
/// # Errors
///
/// [`TeamError::Text`] if it is empty or too long.
pub fn checked_text<'a>(kind: &'static str, text: &'a str) -> Result<&'a str, TeamError> {
    let trimmed = text.trim();
    let characters = trimmed.chars().count();
    let what = if trimmed.is_empty() {
        "is empty".to_owned()
    } else if characters > LONGEST_TEXT {
        format!("has {characters} characters, more than {LONGEST_TEXT}")
    } else if trimmed.contains('\0') {
        "has a null character".to_owned()
    } else {
        return Ok(trimmed);
    };
    Err(TeamError::Text { kind, what })
}
