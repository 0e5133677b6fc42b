//! Counts of seen tokens on a GPU: a row of int32 for each request that has penalties.
//!
//! Shapes: `n` rows, `v` vocabulary.

use std::sync::{Arc, Mutex, PoisonError};

use tch::{Device, Kind, Tensor};

/// Rows of the first table. It doubles when more are needed.
const FIRST_ROWS: i64 = 8;

/// Numbers of rows that no request has.
type FreeRows = Arc<Mutex<Vec<i64>>>;

/// The table, `[n, v]`, on one device.
pub(super) struct SeenTable {
    counts_nv: Tensor,
    free: FreeRows,
}

/// A request's row of a [`SeenTable`]. Its drop frees the row.
#[derive(Debug)]
pub(super) struct SeenTableRow {
    index: i64,
    free: FreeRows,
    /// Tokens whose counts changed since they were last written to the table.
    changed: Vec<i64>,
    /// Whether the table counts the next token, which the host has not read.
    is_ahead: bool,
}

impl SeenTable {
    /// Returns a table without rows.
    pub(super) fn new(vocab: i64, device: Device) -> SeenTable {
        SeenTable {
            counts_nv: Tensor::zeros([0, vocab], (Kind::Int, device)),
            free: FreeRows::default(),
        }
    }

    /// Returns the numbers of all rows.
    pub(super) fn counts(&self) -> &Tensor {
        &self.counts_nv
    }

    /// Returns the size of the vocabulary.
    pub(super) fn vocab(&self) -> i64 {
        self.counts_nv.size()[1]
    }

    /// Whether a row is of this table.
    pub(super) fn has(&self, row: &SeenTableRow) -> bool {
        Arc::ptr_eq(&self.free, &row.free)
    }

    /// Returns a row of zeros, into which the counts of `changed` tokens are still to be written.
    pub(super) fn take(&mut self, changed: Vec<i64>) -> SeenTableRow {
        let index = self.next_free().unwrap_or_else(|| {
            self.grow();
            self.next_free().expect("rows were added")
        });
        let row = SeenTableRow {
            index,
            free: self.free.clone(),
            changed,
            is_ahead: false,
        };
        let _ = self.counts_nv.get(index).zero_();
        row
    }

    fn next_free(&self) -> Option<i64> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn grow(&mut self) {
        let rows = self.counts_nv.size()[0];
        let more = (2 * rows).max(FIRST_ROWS);
        let grown = Tensor::zeros([more, self.vocab()], (Kind::Int, self.counts_nv.device()));
        grown.narrow(0, 0, rows).copy_(&self.counts_nv);
        self.counts_nv = grown;
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.extend((rows..more).rev());
    }
}

impl SeenTableRow {
    /// Returns the number of the row.
    pub(super) fn index(&self) -> i64 {
        self.index
    }

    /// Remembers that the count of a token changed.
    pub(super) fn change(&mut self, id: i64) {
        self.changed.push(id);
    }

    /// Sets whether the table counts the next token already.
    pub(super) fn set_ahead(&mut self, is_ahead: bool) {
        self.is_ahead = is_ahead;
    }

    /// Counts a token, which the table may know already.
    pub(super) fn count(&mut self, id: i64) {
        if !std::mem::take(&mut self.is_ahead) {
            self.change(id);
        }
    }

    /// Returns the tokens whose counts are still to be written.
    pub(super) fn changed(&self) -> &[i64] {
        &self.changed
    }

    /// Forgets them, once they are written.
    pub(super) fn written(&mut self) {
        self.changed.clear();
    }
}

impl Drop for SeenTableRow {
    fn drop(&mut self) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(self.index);
    }
}
