//! What an engine may use, and what to do where that is too little.

/// What an engine may use.
#[derive(Debug, Clone)]
pub struct Config {
    /// The most requests that run at once.
    pub max_batch: usize,
    /// The most bytes for keys and values of running requests. A request that needs more for itself alone is refused
    /// before it comes here ([`super::super::handle`]).
    pub kv_bytes: usize,
    /// The most bytes for keys and values of prompts seen before, of
    /// [`PREFIX_TOKENS`](super::PREFIX_TOKENS) at most; 0 switches their reuse off.
    pub prefix_bytes: usize,
    /// The most prompt tokens computed between two steps of those already running.
    pub prefill_tokens: usize,
    /// What to do about too little memory.
    pub advice: Advice,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_batch: 32,
            kv_bytes: 4 << 30,
            prefix_bytes: 512 << 20,
            prefill_tokens: 4096,
            advice: Advice::default(),
        }
    }
}

/// What whoever asked can do about too little memory, which differs by the options that the command has.
#[derive(Debug, Clone, Copy)]
pub struct Advice {
    /// Where a request is too large for the budget.
    pub room: &'static str,
    /// Where the machine has no more.
    pub memory: &'static str,
}

impl Default for Advice {
    /// For commands without such options.
    fn default() -> Advice {
        Advice {
            room: "a shorter prompt, or a smaller limit of tokens",
            memory: "shorter prompts",
        }
    }
}
