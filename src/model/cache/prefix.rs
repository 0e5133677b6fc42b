//! The first tokens of a sequence, kept for others that begin alike.

use tch::Tensor;

use super::pages::PageTable;

/// Keys and values of the first tokens of a sequence. One of pages must be given back by
/// [`KvCache::drop_prefix`](super::KvCache::drop_prefix).
#[derive(Debug)]
pub enum Prefix {
    /// A copy, as [`SlotCache::copy_of`](super::SlotCache::copy_of) makes it.
    Copied(Tensor),
    /// Pages of a pool, shared with the sequence.
    Shared(PageTable),
}

impl Prefix {
    /// Returns the pages of a shared one.
    pub fn table(&self) -> Option<&PageTable> {
        match self {
            Prefix::Shared(table) => Some(table),
            Prefix::Copied(_) => None,
        }
    }
}
