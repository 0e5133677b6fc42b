//! A buffered reader that can look a few bytes ahead, also across the end of its buffer.

use std::io::{self, BufRead, Read};

/// Reads `head`, then `rest`.
#[derive(Debug)]
pub(super) struct LookAhead<R> {
    head: Vec<u8>,
    /// How many bytes of `head` were consumed.
    taken: usize,
    rest: R,
}

impl<R: BufRead> LookAhead<R> {
    pub(super) fn new(rest: R) -> LookAhead<R> {
        LookAhead {
            head: Vec::new(),
            taken: 0,
            rest,
        }
    }

    /// Whether these bytes come next. Consumes none.
    pub(super) fn begins(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let buffer = self.fill_buf()?;
        if buffer.is_empty() || buffer.len() >= bytes.len() || !bytes.starts_with(buffer) {
            return Ok(buffer.starts_with(bytes));
        }
        // The buffer ends within these bytes.
        self.head.drain(..self.taken);
        self.taken = 0;
        let missing = bytes.len() - self.head.len();
        (&mut self.rest)
            .take(missing as u64)
            .read_to_end(&mut self.head)?;
        Ok(self.head.starts_with(bytes))
    }
}

impl<R: BufRead> Read for LookAhead<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for LookAhead<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.taken < self.head.len() {
            true => Ok(&self.head[self.taken..]),
            false => self.rest.fill_buf(),
        }
    }

    fn consume(&mut self, count: usize) {
        match self.taken < self.head.len() {
            true => self.taken += count,
            false => self.rest.consume(count),
        }
    }
}
