//! Which pages of a pool belong to which sequence or prefix (Kwon et al. 2023,
//! <https://arxiv.org/abs/2309.06180>): plain numbers; the memory is the cache's.
//!
//! A page is free, or belongs to as many tables as refer to it. At most one of these writes to it:
//! the one that took it from the pool. Others got it by [`PagePool::share`], read only the tokens
//! that were there then, and get a page of their own before they write behind them. So whoever
//! took a page goes on writing behind the tokens that others share, and nothing is copied for it.

/// Pages that tokens lie in, in order. It must be given back by [`PagePool::release`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PageTable {
    pages: Vec<i32>,
    /// How many of the first pages are another's, which this table does not write to.
    borrowed: usize,
}

/// Consecutive tokens of a sequence whose places in the pool are consecutive too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Place of the first: its page's number times the tokens of a page, plus its place in there.
    pub place: i64,
    /// Number of tokens.
    pub length: i64,
}

/// The first tokens of a page, to be copied to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageCopy {
    /// The page that has them.
    pub from: i32,
    /// The page that needs them.
    pub to: i32,
    /// How many.
    pub tokens: i64,
}

/// The pool has fewer free pages than are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFewPages;

/// Pages by number, with how many tables refer to each.
#[derive(Debug)]
pub struct PagePool {
    /// Tokens of a page.
    page: i64,
    references: Vec<u32>,
    /// Free pages; the next to be taken is the last.
    free: Vec<i32>,
}

impl PageTable {
    /// Returns the pages in order.
    pub fn pages(&self) -> &[i32] {
        &self.pages
    }

    /// Returns where tokens `start..start + length` lie, in pages of `page` tokens.
    ///
    /// # Panics
    ///
    /// If the table has too few pages.
    pub fn runs(&self, page: i64, start: i64, length: i64) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let (mut at, end) = (start, start + length);
        while at < end {
            let within = at % page;
            let count = (page - within).min(end - at);
            let place = i64::from(self.pages[(at / page) as usize]) * page + within;
            match runs.last_mut() {
                Some(last) if last.place + last.length == place => last.length += count,
                _ => runs.push(Run { place, length: count }),
            }
            at += count;
        }
        runs
    }
}

impl PagePool {
    /// Returns a pool of `pages` free pages of `page` tokens. Those of lower numbers are taken
    /// first.
    pub fn new(page: i64, pages: usize) -> PagePool {
        PagePool {
            page,
            references: vec![0; pages],
            free: (0..pages).rev().map(|page| page as i32).collect(),
        }
    }

    /// Returns how many pages there are.
    pub fn total(&self) -> usize {
        self.references.len()
    }

    /// Returns how many pages are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Returns how many pages `tokens` tokens take.
    fn pages_of(&self, tokens: i64) -> usize {
        usize::try_from((tokens + self.page - 1) / self.page).unwrap_or(0)
    }

    /// Returns whether only one table has this page.
    pub fn is_alone(&self, page: i32) -> bool {
        self.references[page as usize] == 1
    }

    /// Returns how many pages would be free without this table.
    pub fn freed_by(&self, table: &PageTable) -> usize {
        table.pages.iter().filter(|&&page| self.is_alone(page)).count()
    }

    /// Prepares a table whose first `start` tokens stay for writing `start..end`. Pages are added
    /// to it, and pages of others that lie at `start` or behind are replaced. Returns the tokens
    /// before `start` that must be copied to their new page, if there are some: never more than one
    /// page of them.
    ///
    /// # Errors
    ///
    /// If there are too few free pages. Nothing has changed then.
    pub fn prepare(
        &mut self,
        table: &mut PageTable,
        start: i64,
        end: i64,
    ) -> Result<Option<PageCopy>, TooFewPages> {
        let first = usize::try_from(start / self.page).unwrap_or(0);
        // A page that nobody else has any more is as good as a new one.
        let others: Vec<usize> = (first..table.borrowed)
            .filter(|&index| !self.is_alone(table.pages[index]))
            .collect();
        let added = self.pages_of(end).saturating_sub(table.pages.len());
        if others.len() + added > self.free.len() {
            return Err(TooFewPages);
        }
        let mut copy = None;
        for index in others {
            let (from, to) = (table.pages[index], self.take());
            self.references[from as usize] -= 1;
            table.pages[index] = to;
            let tokens = start % self.page;
            if index == first && tokens > 0 {
                copy = Some(PageCopy { from, to, tokens });
            }
        }
        table.borrowed = table.borrowed.min(first);
        for _ in 0..added {
            table.pages.push(self.take());
        }
        Ok(copy)
    }

    fn take(&mut self) -> i32 {
        let page = self.free.pop().expect("a free page, as counted");
        self.references[page as usize] = 1;
        page
    }

    /// Returns a table of the pages that the first `tokens` tokens of another lie in. They are
    /// shared from now on.
    ///
    /// # Panics
    ///
    /// If the other has too few pages.
    pub fn share(&mut self, table: &PageTable, tokens: i64) -> PageTable {
        let pages = table.pages[..self.pages_of(tokens)].to_vec();
        for &page in &pages {
            self.references[page as usize] += 1;
        }
        PageTable {
            borrowed: pages.len(),
            pages,
        }
    }

    /// Gives back the pages of a table that its first `tokens` tokens do not lie in.
    pub fn shorten(&mut self, table: &mut PageTable, tokens: i64) {
        let kept = self.pages_of(tokens).min(table.pages.len());
        let rest = table.pages.split_off(kept);
        table.borrowed = table.borrowed.min(kept);
        self.give_back(rest);
    }

    /// Gives a table's pages back. Those that no other table refers to are free again.
    pub fn release(&mut self, table: PageTable) {
        self.give_back(table.pages);
    }

    fn give_back(&mut self, pages: Vec<i32>) {
        for page in pages.into_iter().rev() {
            let references = &mut self.references[page as usize];
            *references -= 1;
            if *references == 0 {
                self.free.push(page);
            }
        }
    }

    /// Checks that every page is free or in as many of `tables` as it has references, and none is
    /// lost.
    ///
    /// # Panics
    ///
    /// If not.
    #[cfg(test)]
    pub fn check<'t>(&self, tables: impl Iterator<Item = &'t PageTable>) {
        let mut used = vec![0; self.total()];
        for table in tables {
            assert!(table.borrowed <= table.pages.len(), "{table:?}");
            table.pages.iter().for_each(|&page| used[page as usize] += 1);
        }
        let mut free = vec![0; self.total()];
        self.free.iter().for_each(|&page| free[page as usize] += 1);
        for (page, used) in used.into_iter().enumerate() {
            assert_eq!(used, self.references[page], "references to page {page}");
            assert_eq!(
                free[page],
                u32::from(used == 0),
                "page {page} among the free ones"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: i64 = 4;

    #[test]
    fn the_tables_of_a_new_pool_are_one_behind_the_other() {
        let mut pool = PagePool::new(PAGE, 6);
        let mut tables: Vec<PageTable> = (0..3).map(|_| PageTable::default()).collect();
        for table in &mut tables {
            assert_eq!(pool.prepare(table, 0, 8), Ok(None));
        }
        let pages: Vec<&[i32]> = tables.iter().map(PageTable::pages).collect();
        assert_eq!(pages, [[0, 1], [2, 3], [4, 5]]);
        assert_eq!(pool.prepare(&mut tables[0], 8, 9), Err(TooFewPages));
        let last = tables.pop().unwrap();
        pool.release(last);
        assert_eq!(pool.prepare(&mut tables[0], 8, 9), Ok(None));
        assert_eq!(tables[0].pages(), [0, 1, 4]);
        assert_eq!((pool.free(), pool.total()), (1, 6));
        pool.check(tables.iter());
    }

    #[test]
    fn tokens_on_pages_in_a_row_are_one_run() {
        let table = PageTable {
            pages: vec![5, 6, 2, 3],
            borrowed: 0,
        };
        let run = |place, length| Run { place, length };
        assert_eq!(table.runs(PAGE, 0, 16), [run(20, 8), run(8, 8)]);
        assert_eq!(table.runs(PAGE, 3, 6), [run(23, 5), run(8, 1)]);
        assert_eq!(table.runs(PAGE, 9, 1), [run(9, 1)]);
        assert_eq!(table.runs(PAGE, 9, 0), []);
    }

    #[test]
    fn only_the_last_page_of_a_shared_prefix_is_copied() {
        let mut pool = PagePool::new(PAGE, 8);
        let mut writer = PageTable::default();
        assert_eq!(pool.prepare(&mut writer, 0, 12), Ok(None));
        // Ten tokens: two whole pages and half of the third.
        let known = pool.share(&writer, 10);
        let mut table = pool.share(&known, 10);
        assert_eq!(table.pages(), writer.pages());
        let (from, to, tokens) = (2, 3, 2);
        assert_eq!(
            pool.prepare(&mut table, 10, 12),
            Ok(Some(PageCopy { from, to, tokens }))
        );
        assert_eq!(table.pages(), [0, 1, 3]);
        assert_eq!(pool.prepare(&mut table, 11, 12), Ok(None));
        // Whoever took the page goes on in it, and keeps it.
        assert_eq!(pool.prepare(&mut writer, 10, 12), Ok(None));
        assert_eq!(writer.pages(), [0, 1, 2]);
        // Of whole pages nothing is copied.
        let mut whole = pool.share(&known, 8);
        assert_eq!(pool.prepare(&mut whole, 8, 9), Ok(None));
        assert_eq!(whole.pages(), [0, 1, 4]);
        pool.check([&writer, &known, &table, &whole].into_iter());
    }

    #[test]
    fn a_page_that_nobody_else_has_any_more_is_not_copied() {
        let mut pool = PagePool::new(PAGE, 2);
        let mut writer = PageTable::default();
        assert_eq!(pool.prepare(&mut writer, 0, 6), Ok(None));
        let known = pool.share(&writer, 6);
        pool.release(writer);
        let mut table = pool.share(&known, 6);
        assert_eq!(pool.prepare(&mut table, 6, 8), Err(TooFewPages));
        assert_eq!((pool.freed_by(&known), pool.freed_by(&table)), (0, 0));
        pool.release(known);
        assert_eq!(pool.freed_by(&table), 2);
        assert_eq!(pool.prepare(&mut table, 6, 8), Ok(None));
        assert_eq!(table.pages(), [0, 1]);
        pool.check([&table].into_iter());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Begin,
        Write(usize, i64),
        /// Keeps the first tokens of a sequence as a prefix.
        Keep(usize, i64),
        /// Begins a sequence with tokens of a prefix.
        Share(usize, i64),
        Shorten(usize, i64),
        End(usize),
        Drop(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let which = 0usize..6;
        let step = prop_oneof![
            Just(Step::Begin),
            (which.clone(), 1i64..9).prop_map(|(which, tokens)| Step::Write(which, tokens)),
            (which.clone(), 1i64..9).prop_map(|(which, tokens)| Step::Write(which, tokens)),
            (which.clone(), 0i64..40).prop_map(|(which, tokens)| Step::Keep(which, tokens)),
            (which.clone(), 0i64..40).prop_map(|(which, tokens)| Step::Share(which, tokens)),
            (which.clone(), 0i64..40).prop_map(|(which, tokens)| Step::Shorten(which, tokens)),
            which.clone().prop_map(Step::End),
            which.prop_map(Step::Drop),
        ];
        prop::collection::vec(step, 0..80)
    }

    /// A table with the numbers that were written for its tokens.
    #[derive(Default)]
    struct Tokens {
        table: PageTable,
        written: Vec<u64>,
    }

    /// Sequences and prefixes over a pool, and the memory that a cache would have.
    struct Written {
        pool: PagePool,
        memory: Vec<u64>,
        sequences: Vec<Tokens>,
        prefixes: Vec<Tokens>,
        next: u64,
    }

    impl Written {
        fn new(pages: usize) -> Written {
            Written {
                pool: PagePool::new(PAGE, pages),
                memory: vec![0; pages * PAGE as usize],
                sequences: Vec::new(),
                prefixes: Vec::new(),
                next: 0,
            }
        }

        /// Appends `count` tokens, if there is room, as a cache would.
        fn write(&mut self, which: usize, count: i64) {
            let sequence = &mut self.sequences[which];
            let start = sequence.written.len() as i64;
            let free = self.pool.free();
            match self.pool.prepare(&mut sequence.table, start, start + count) {
                Err(TooFewPages) => return assert_eq!(self.pool.free(), free),
                Ok(None) => {}
                Ok(Some(PageCopy { from, to, tokens })) => {
                    let place = |page: i32| i64::from(page) as usize * PAGE as usize;
                    let copied = place(from)..place(from) + tokens as usize;
                    self.memory.copy_within(copied, place(to));
                }
            }
            for run in sequence.table.runs(PAGE, start, count) {
                for place in run.place..run.place + run.length {
                    self.next += 1;
                    self.memory[place as usize] = self.next;
                    sequence.written.push(self.next);
                }
            }
        }

        /// Returns a table of the first `tokens` tokens of another, or of fewer.
        fn shared(pool: &mut PagePool, other: &Tokens, tokens: i64) -> Tokens {
            let tokens = tokens.min(other.written.len() as i64);
            Tokens {
                table: pool.share(&other.table, tokens),
                written: other.written[..tokens as usize].to_vec(),
            }
        }

        fn take(&mut self, step: Step) {
            let (sequences, prefixes) = (self.sequences.len(), self.prefixes.len());
            match step {
                Step::Begin => self.sequences.push(Tokens::default()),
                Step::Write(which, count) if which < sequences => self.write(which, count),
                Step::Keep(which, tokens) if which < sequences => {
                    let kept = Written::shared(&mut self.pool, &self.sequences[which], tokens);
                    self.prefixes.push(kept);
                }
                Step::Share(which, tokens) if which < prefixes => {
                    let begun = Written::shared(&mut self.pool, &self.prefixes[which], tokens);
                    self.sequences.push(begun);
                }
                Step::Shorten(which, tokens) if which < prefixes => {
                    let prefix = &mut self.prefixes[which];
                    self.pool.shorten(&mut prefix.table, tokens);
                    prefix.written.truncate(tokens as usize);
                }
                Step::End(which) if which < sequences => {
                    self.pool.release(self.sequences.swap_remove(which).table);
                }
                Step::Drop(which) if which < prefixes => {
                    self.pool.release(self.prefixes.swap_remove(which).table);
                }
                _ => {}
            }
        }

        fn check(&self) {
            let all = || self.sequences.iter().chain(&self.prefixes);
            self.pool.check(all().map(|tokens| &tokens.table));
            for Tokens { table, written } in all() {
                let runs = table.runs(PAGE, 0, written.len() as i64).into_iter();
                let read: Vec<u64> = runs
                    .flat_map(|run| &self.memory[run.place as usize..][..run.length as usize])
                    .copied()
                    .collect();
                assert_eq!(&read, written, "{table:?}");
            }
        }
    }

    proptest! {
        /// Whatever begins, goes on, is kept, shared and dropped: no page is lost or free twice,
        /// and every sequence and prefix reads what was written for it.
        #[test]
        fn sequences_keep_their_tokens_and_the_pool_its_pages(steps in steps()) {
            let mut written = Written::new(12);
            for step in steps {
                written.take(step);
                written.check();
            }
            while !written.sequences.is_empty() {
                written.take(Step::End(0));
            }
            while !written.prefixes.is_empty() {
                written.take(Step::Drop(0));
            }
            prop_assert_eq!(written.pool.free(), written.pool.total());
        }
    }
}
