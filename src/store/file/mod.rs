//! The file itself: opening, creating, locking, checking and copying it.

pub mod backup;
pub(super) mod busy;
pub mod check;
pub mod draft;
pub(super) mod header;
pub mod lock;
pub mod open;
pub mod watch;
