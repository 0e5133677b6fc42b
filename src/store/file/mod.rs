//! The file itself: opening it, its header, whole copies of it, whether it is in order.

pub mod backup;
pub mod check;
pub mod draft;
pub(super) mod header;
pub mod lock;
pub mod open;
pub mod watch;
