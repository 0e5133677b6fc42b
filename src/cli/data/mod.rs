//! Commands that bring tasks in and take them out.

pub mod backup;
pub mod check;
pub mod export;
pub mod filter;
pub mod generate;
pub mod import;
pub mod init;
pub mod judge;
