//! Files as bytes, before they are split into rows.
//!
//! - [`kind`]: types of files; [`sniff`]: the type by the first bytes.
//! - [`binary`], [`prose`]: binary files and text without rows, each with the hint of its error.
//! - [`encoding`]: UTF-8, its byte order mark, and guesses at other encodings.
//! - [`decode`]: decompression, UTF-16, and counting of the bytes read.

pub mod binary;
pub mod decode;
pub mod encoding;
pub mod kind;
pub mod prose;
pub mod sniff;
