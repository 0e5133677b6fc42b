//! Who gives way when memory or pages run out, and what the engine does after a step that failed
//! midway.

use super::config::OutOfMemoryPolicy;
use super::request::RunningRequest;
use super::{Engine, prefix_cache};
use crate::model::out_of_memory::Stage;

/// The prefill limit is not lowered below this many tokens.
const LEAST_PREFILL: usize = 256;

impl Engine {
    /// Drops every running request, the logprobs of prompts, the KV cache and the prefix cache,
    /// after a step that failed midway. The queue stays.
    pub fn reset(&mut self) {
        self.stats.finished += self.running.len();
        self.running.clear();
        self.scores.clear();
        self.drop_computed();
    }

    /// Goes on after a step in which memory ran out, for the error `reason`: the newest running
    /// request gives way as [`OutOfMemoryPolicy`] says. Until no request is left, the KV cache may
    /// take no more bytes than the others need, and after a failed prefill the next one is half as
    /// large. Returns false if nobody can give way; then nothing has changed.
    ///
    /// The step may have left the KV cache in any state, so it is dropped with the prefix cache,
    /// and the other requests go to the front of the queue. They are prefilled again with what they
    /// have generated, as vLLM recomputes preempted requests.
    pub fn preempt(&mut self, reason: &str) -> bool {
        let policy = self.config.out_of_memory;
        if policy == OutOfMemoryPolicy::FailAll || self.is_delivering {
            return false;
        }
        match self.running.len() {
            // There was not even memory to reserve for the queue.
            0 if !self.waiting.is_empty() && self.kv_limit > 0 => self.kv_limit /= 2,
            0 | 1 => return false,
            _ => self.requeue(policy, reason),
        }
        if self.stage == Stage::Prefill {
            self.prefill_limit = (self.prefill_limit / 2).max(LEAST_PREFILL.min(self.prefill_limit));
        }
        self.drop_computed();
        true
    }

    /// Puts the running requests back into the queue, in order of arrival: all, or all but the
    /// newest.
    fn requeue(&mut self, policy: OutOfMemoryPolicy, reason: &str) {
        self.running.sort_by_key(|running| running.arrival);
        let needed = self.bytes_of(&self.running[..self.running.len() - 1]);
        self.kv_limit = self.kv_limit.min(needed);
        if policy == OutOfMemoryPolicy::ShedNewest
            && let Some(mut newest) = self.running.pop()
        {
            newest.request.listener.shed(format!(
                "memory ran out, and the newest request gave way to the others: {reason}\nhint: try again later"
            ));
            self.stats.finished += 1;
        }
        for running in std::mem::take(&mut self.running).into_iter().rev() {
            self.waiting.push_front(RunningRequest::preempted(running));
        }
    }

    /// Puts the newest running request back at the front of the queue, since the pool has no page
    /// for the next token of one of them. Its pages are free then. Returns the slot that it had.
    pub(super) fn requeue_newest(&mut self) -> usize {
        // Or it would come back for ever. Nobody joins who could need more pages than there are.
        assert!(
            self.running.len() > 1,
            "a request that runs alone has all pages that it can need"
        );
        let rows = 0..self.running.len();
        let newest = rows.max_by_key(|&row| self.running[row].arrival);
        let newest = newest.expect("several requests run");
        let running = self.take_out(newest);
        self.waiting.push_front(RunningRequest::preempted(running));
        newest
    }

    /// Drops all requests, running and waiting, and leaks everything else: after an error that
    /// broke the CUDA context, no tensor can be freed in an orderly way.
    pub fn abandon(mut self) {
        self.running.clear();
        self.waiting.clear();
        self.scores
            .drain(..)
            .for_each(|scores| drop(scores.for_another(true)));
        std::mem::forget(self);
    }

    /// Drops the KV cache, the prefix cache, and what a step left undelivered.
    fn drop_computed(&mut self) {
        self.enqueued = None;
        self.chosen.clear();
        self.logprobs.clear();
        self.is_delivering = false;
        self.cache = self.cache.emptied();
        self.prefixes = prefix_cache(&self.config, self.bytes_per_token);
    }
}
