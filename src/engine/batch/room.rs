//! Room in the KV cache, for requests that join and for the next token of those that run.
//!
//! A slot is as long as the longest request may become, so requests join when all of them fit in
//! full. Pages are taken when tokens need them, so more requests join than would fit in full; if
//! the pages do not suffice in the end, the newest one goes back into the queue
//! (`batch/preemption.rs`).

use super::request::{QueuedRequest, RunningRequest};
use super::{Engine, prefix_cache};
use crate::model::cache::growth::{self, Shape};
use crate::model::cache::{KvCache, pages_of};
use crate::shim::paged::PAGE;

impl Engine {
    /// Prepares for the queue. Slots are reserved for all requests that are about to join: one by
    /// one, the cache would be copied again and again. Pages are provided where nobody runs.
    pub(super) fn reserve_for_queue(&mut self) {
        match &self.cache {
            KvCache::Slots(_) => self.reserve_slots_for_queue(),
            // No more than the budget allows: whoever needs more has to fail alone.
            KvCache::Pages(_) if self.running.is_empty() && !self.waiting.is_empty() => {
                self.provide_pages(0);
            }
            KvCache::Pages(_) => {}
        }
    }

    /// Reserves room for the requests with their answers if the budget allows, else without.
    fn reserve_slots_for_queue(&mut self) {
        let free = self.config.max_batch.saturating_sub(self.running.len());
        let expected: Vec<&QueuedRequest> = self.waiting.iter().take(free).collect();
        let slots = (self.running.len() + expected.len()) as i64;
        let longest = |of: &dyn Fn(&QueuedRequest) -> i64| {
            let most = expected.iter().map(|waiting| of(waiting)).max();
            most.unwrap_or(0).max(self.shape().1)
        };
        let tokens = [
            longest(&|waiting| waiting.most),
            longest(&|waiting| waiting.length() as i64 + 1),
        ];
        if let Some(tokens) = tokens.into_iter().find(|&tokens| self.fits((slots, tokens))) {
            self.reserve(slots, tokens);
        }
    }

    /// Whether one more request fits beside the running ones. One that would run alone always may.
    pub(super) fn has_room(&self, queued: &QueuedRequest) -> bool {
        if self.running.is_empty() {
            return true;
        }
        let KvCache::Pages(cache) = &self.cache else {
            let longest = self.longest().max(queued.most);
            return self.fits((self.running.len() as i64 + 1, longest));
        };
        // One page is left for everybody who may need another one: who joins should get further
        // than to the next page.
        let now = queued.length() as i64 + 1;
        let running = self.running.iter().map(|r| (r.cached + 1, r.most));
        let growing = running.chain([(now, queued.most)]);
        let growing = growing.filter(|&(now, most)| pages_of(most) > pages_of(now));
        let request = &queued.request;
        let known = self.prefixes.known(request.adapted());
        let known = known.filter(|_| !request.options.prompt_logprobs);
        let known = known.and_then(|(prefix, length)| Some((prefix.table()?, length as i64)));
        pages_of(queued.most) <= cache.total() as i64
            && cache.left_beside(now, known) >= growing.count() as i64
    }

    /// Gives the request that joined last its slot, with room for its `length` tokens and the next
    /// one, and the known prefix of its prompt. Returns the tokens of that.
    pub(super) fn take_slot(&mut self, slot: i64, length: i64) -> usize {
        match &self.cache {
            KvCache::Slots(_) => {
                self.make_room((slot + 1, self.longest()));
                self.reserve(slot + 1, length + 1);
            }
            KvCache::Pages(_) if self.running.len() == 1 => self.provide_pages(self.longest()),
            KvCache::Pages(_) => {}
        }
        let request = &self.running[slot as usize].request;
        // The logprobs of a prompt need the hidden features of all of it.
        let reused = match request.options.prompt_logprobs {
            true => 0,
            false => self.prefixes.fill(request.adapted(), &mut self.cache, slot),
        };
        self.take_pages(slot, reused as i64, length + 1);
        reused
    }

    /// Takes the pages of a request that joins, from prefixes if the pool has too few. The one that
    /// it shares is the last to go.
    fn take_pages(&mut self, slot: i64, start: i64, end: i64) {
        while let KvCache::Pages(cache) = &mut self.cache
            && !cache.prepare(slot, start, end)
        {
            let prefixes = &mut self.prefixes;
            let is_evicted = prefixes.free_pages(&mut self.cache) || prefixes.evict(&mut self.cache);
            assert!(is_evicted, "as many pages as were counted before it joined");
        }
    }

    /// Takes a page for each running request whose next token needs one. If the pool has too few,
    /// prefixes that nobody needs leave first, then the newest request goes back into the queue.
    pub(super) fn grow_pages(&mut self) {
        let mut row = 0;
        while let Some(lacking) = self.first_without_page(row) {
            // Another request may be in its slot now.
            row = lacking.min(self.requeue_newest());
        }
    }

    /// Takes a page for each running request from slot `row` on whose next token needs one, from
    /// prefixes that nobody needs if the pool has too few. Returns the first slot that gets none.
    pub(super) fn first_without_page(&mut self, mut row: usize) -> Option<usize> {
        while row < self.running.len() {
            let KvCache::Pages(cache) = &mut self.cache else {
                return None;
            };
            let cached = self.running[row].cached;
            if cache.prepare(row as i64, cached, cached + 1) {
                row += 1;
            } else if !self.prefixes.free_pages(&mut self.cache) {
                return Some(row);
            }
        }
        None
    }

    /// Makes a pool of as many pages as the budget allows, or as a request of `most` tokens needs,
    /// if there is a smaller one. Nobody may have pages but the prefix cache, which is emptied.
    fn provide_pages(&mut self, most: i64) {
        let allowed = (self.kv_limit / self.page_bytes()).min(self.most_pages());
        let wanted = allowed.max(pages_of(most) as usize);
        if let KvCache::Pages(cache) = &mut self.cache
            && cache.total() < wanted
        {
            self.prefixes = prefix_cache(&self.config, self.bytes_per_token);
            cache.provide(wanted);
        }
    }

    /// Returns how many pages requests and prefixes can have at most.
    fn most_pages(&self) -> usize {
        let context = pages_of(self.model.info().context as i64) as usize;
        let prefixes = pages_of(self.prefixes.budget_tokens() as i64) as usize;
        let requests = self.config.max_batch.saturating_mul(context);
        // A page has a number of 32 bits.
        requests.saturating_add(prefixes).min(i32::MAX as usize)
    }

    /// Returns the bytes of a page.
    fn page_bytes(&self) -> usize {
        PAGE as usize * self.bytes_per_token
    }

    /// Returns the bytes of the KV cache: of a pool, those of the pages in use.
    pub(super) fn kv_bytes(&self) -> usize {
        match &self.cache {
            KvCache::Slots(cache) => self.bytes(cache.shape()),
            KvCache::Pages(cache) => cache.used() * self.page_bytes(),
        }
    }

    /// Returns the bytes of the KV cache that these running requests need: slots for all of their
    /// tokens; the pages that they have, and one more for each.
    pub(super) fn bytes_of(&self, requests: &[RunningRequest]) -> usize {
        match &self.cache {
            KvCache::Slots(_) => {
                let longest = requests.iter().map(|running| running.most).max();
                self.bytes((requests.len() as i64, longest.unwrap_or(0)))
            }
            KvCache::Pages(_) => {
                let pages: i64 = requests.iter().map(|r| pages_of(r.cached + 1) + 1).sum();
                pages as usize * self.page_bytes()
            }
        }
    }

    /// Whether slots of this shape are within the budget.
    fn fits(&self, shape: Shape) -> bool {
        self.bytes(shape) <= self.kv_limit
    }

    /// Returns the bytes of slots of this shape.
    fn bytes(&self, (slots, tokens): Shape) -> usize {
        (slots as usize)
            .saturating_mul(tokens as usize)
            .saturating_mul(self.bytes_per_token)
    }

    /// Returns how many slots there are, and the tokens of each; none of pages.
    fn shape(&self) -> Shape {
        match &self.cache {
            KvCache::Slots(cache) => cache.shape(),
            KvCache::Pages(_) => (0, 0),
        }
    }

    /// Returns the most tokens that any running request can occupy.
    fn longest(&self) -> i64 {
        self.running.iter().map(|r| r.most).max().unwrap_or(0)
    }

    /// Shrinks the slots, which may have the shape of an earlier batch, to `slots` requests of
    /// `longest` tokens if these would not fit else.
    fn make_room(&mut self, (slots, longest): Shape) {
        let (have_slots, have_tokens) = self.shape();
        if !self.fits((have_slots.max(slots), have_tokens.max(longest))) {
            self.resize((slots, longest));
        }
    }

    /// Grows the slots to `slots` requests of `tokens` tokens each, within the budget. Pages grow
    /// by [`Engine::grow_pages`].
    pub(super) fn reserve(&mut self, slots: i64, tokens: i64) {
        let most = (self.config.max_batch as i64, self.model.info().context as i64);
        let shape = growth::grown(self.shape(), (slots, tokens), most, |shape| self.fits(shape));
        self.resize(shape);
    }

    fn resize(&mut self, (slots, tokens): Shape) {
        if let KvCache::Slots(cache) = &mut self.cache {
            cache.resize(slots, tokens);
        }
    }
}

/// Pages on the CPU, and what they hold, for tests.
#[cfg(test)]
impl Engine {
    /// Reads the cache by pages, with the twins of the GPU's kernels.
    pub fn in_pages(mut self, kind: tch::Kind) -> Engine {
        self.cache = KvCache::paged(self.model.info(), kind, 0);
        self
    }

    /// Returns how many pages there are, and how many requests and prefixes have.
    pub fn pages(&self) -> (usize, usize) {
        match &self.cache {
            KvCache::Pages(cache) => (cache.total(), cache.used()),
            KvCache::Slots(_) => (0, 0),
        }
    }

    /// Checks that requests and prefixes have all pages that are not free, and that each request
    /// has those of its tokens.
    ///
    /// # Panics
    ///
    /// If not.
    pub fn check_pages(&self) {
        let KvCache::Pages(cache) = &self.cache else {
            return;
        };
        cache.check(
            self.prefixes
                .kept()
                .filter_map(crate::model::cache::Prefix::table),
        );
        for (slot, table) in cache.tables().iter().enumerate() {
            let pages = table.pages().len() as i64;
            match self.running.get(slot) {
                Some(running) => assert!(
                    pages >= pages_of(running.cached),
                    "slot {slot} has too few: {pages}"
                ),
                None => assert_eq!(pages, 0, "slot {slot} is nobody's"),
            }
        }
    }

    /// Drops all prefixes.
    pub fn drop_prefixes(&mut self) {
        while self.prefixes.evict(&mut self.cache) {}
    }
}
