//! Requests leave an engine that failed, with what it has generated, for another one.

use super::Engine;
use super::request::{EngineRequest, QueuedRequest, RunningRequest};

impl Engine {
    /// Takes out the requests that run, and prompts whose logprobs are being computed, in order of
    /// arrival, after a step that failed. None of those that were being passed their tokens: some
    /// may have ended already. `leaks` where no tensor can be freed, see [`Engine::abandon`].
    pub fn take_running(&mut self, leaks: bool) -> Vec<EngineRequest> {
        if self.is_delivering {
            return Vec::new();
        }
        let mut running = std::mem::take(&mut self.running);
        self.stats.finished += running.len();
        running.sort_by_key(|running| running.arrival);
        let running = running.into_iter().map(RunningRequest::preempted);
        let mut taken: Vec<EngineRequest> = running.map(QueuedRequest::for_another).collect();
        let scores = self.scores.drain(..);
        taken.extend(scores.map(|scores| scores.for_another(leaks)));
        taken
    }

    /// Takes out the requests that wait.
    pub fn take_waiting(&mut self) -> Vec<EngineRequest> {
        self.waiting.drain(..).map(QueuedRequest::for_another).collect()
    }
}
