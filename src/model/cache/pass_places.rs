//! Where the tokens of a pass lie in a cache of pages: gathered on the host, sent to the device
//! with everything else that a step needs.

use tch::{Kind, Tensor};

use super::pages::PageTable;
use crate::shim::paged::{PAGE, PagedLengths};
use crate::shim::transfer::{Upload, UploadPart, Uploaded};

/// Positions, places and lengths of the sequences of a pass, as plain numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassPlaces {
    /// Of every new token, its position in its sequence.
    positions: Vec<i64>,
    /// Of every new token, its page's number times [`PAGE`] plus its place in there.
    places: Vec<i64>,
    query_ends: Vec<i32>,
    key_ends: Vec<i32>,
    used: Vec<i32>,
    /// Rows of `width` pages, one for each sequence.
    table: Vec<i32>,
    width: usize,
    most_queries: i64,
    most_keys: i64,
}

/// The same as tensors on a device.
#[derive(Debug)]
pub struct PlacesOnDevice {
    /// Positions, int64 `[n]`.
    pub positions_n: Tensor,
    /// Places, int64 `[n]`.
    pub places_n: Tensor,
    /// What attention is given.
    pub lengths: PagedLengths,
}

impl PassPlaces {
    /// Returns those of a pass without tokens, whose tables have up to `width` pages.
    pub fn new(width: usize) -> PassPlaces {
        PassPlaces {
            positions: Vec::new(),
            places: Vec::new(),
            query_ends: vec![0],
            key_ends: vec![0],
            used: Vec::new(),
            table: Vec::new(),
            width,
            most_queries: 0,
            most_keys: 0,
        }
    }

    /// Adds a sequence that has `start` tokens and gets `length` new ones.
    ///
    /// # Panics
    ///
    /// If its table has too few pages, or more than `width`.
    pub fn add(&mut self, table: &PageTable, start: i64, length: i64) {
        let keys = start + length;
        for run in table.runs(PAGE, start, length) {
            self.places.extend(run.place..run.place + run.length);
        }
        self.positions.extend(start..keys);
        let last = |ends: &[i32]| *ends.last().expect("begins with 0");
        let end = |before: i32, more: i64| before + i32::try_from(more).expect("tokens of a sequence");
        self.query_ends.push(end(last(&self.query_ends), length));
        self.key_ends.push(end(last(&self.key_ends), keys));
        self.used.push(end(0, keys));
        assert!(table.pages().len() <= self.width, "a row of the table");
        self.table.extend(table.pages());
        // Pages beyond a sequence's keys are not read.
        self.table.resize(self.used.len() * self.width, 0);
        self.most_queries = self.most_queries.max(length);
        self.most_keys = self.most_keys.max(keys);
    }

    /// Adds all to what is sent to a device.
    pub fn add_to(self, upload: &mut Upload) -> UploadedPlaces {
        UploadedPlaces {
            positions: upload.add(&self.positions),
            places: upload.add(&self.places),
            query_ends: upload.add(&self.query_ends),
            key_ends: upload.add(&self.key_ends),
            used: upload.add(&self.used),
            table: upload.add(&self.table),
            all: self,
        }
    }
}

/// [`PassPlaces`] that are part of an upload.
#[derive(Debug)]
pub struct UploadedPlaces {
    all: PassPlaces,
    positions: UploadPart,
    places: UploadPart,
    query_ends: UploadPart,
    key_ends: UploadPart,
    used: UploadPart,
    table: UploadPart,
}

impl UploadedPlaces {
    /// Returns them as parts of the upload on its device.
    pub fn of(&self, uploaded: &Uploaded) -> PlacesOnDevice {
        let int64 = |part: UploadPart| uploaded.view(part, Kind::Int64);
        let int32 = |part: UploadPart| uploaded.view(part, Kind::Int);
        let size = [self.all.used.len() as i64, self.all.width as i64];
        PlacesOnDevice {
            positions_n: int64(self.positions),
            places_n: int64(self.places),
            lengths: PagedLengths {
                query_ends: int32(self.query_ends),
                key_ends: int32(self.key_ends),
                used_s: int32(self.used),
                table_sw: int32(self.table).view(size),
                most_queries: self.all.most_queries,
                most_keys: self.all.most_keys,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::model::cache::pages::PagePool;

    #[test]
    fn places_and_lengths_of_a_ragged_pass_survive_the_copy() {
        let mut pool = PagePool::new(PAGE, 8);
        let (mut first, mut second) = (PageTable::default(), PageTable::default());
        assert!(pool.prepare(&mut second, 0, PAGE).is_ok());
        assert!(pool.prepare(&mut first, 0, 2 * PAGE).is_ok());
        assert!(pool.prepare(&mut second, PAGE, 2 * PAGE).is_ok());
        let mut places = PassPlaces::new(3);
        places.add(&second, 254, 4);
        places.add(&first, 0, 1);
        let mut upload = Upload::default();
        let parts = places.add_to(&mut upload);
        let on = parts.of(&upload.send(Device::Cpu).unwrap());
        let int64 = |x: &Tensor| Vec::<i64>::try_from(x).unwrap();
        let int32 = |x: &Tensor| Vec::<i32>::try_from(&x.view([-1])).unwrap();
        assert_eq!(int64(&on.positions_n), [254, 255, 256, 257, 0]);
        // The second sequence has pages 0 and 3, the first 1 and 2.
        assert_eq!(int64(&on.places_n), [254, 255, 768, 769, 256]);
        assert_eq!(int32(&on.lengths.query_ends), [0, 4, 5]);
        assert_eq!(int32(&on.lengths.key_ends), [0, 258, 259]);
        assert_eq!(int32(&on.lengths.used_s), [258, 1]);
        assert_eq!(int32(&on.lengths.table_sw), [0, 3, 0, 1, 2, 0]);
        assert_eq!(on.lengths.table_sw.size(), [2, 3]);
        assert_eq!((on.lengths.most_queries, on.lengths.most_keys), (4, 258));
    }
}
