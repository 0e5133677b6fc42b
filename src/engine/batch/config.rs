//! Limits of the running batch, and advice for those who meet them.

/// The most tokens in the prefix cache on the CPU. It must soon stop growing when prompts have many
/// lengths, so a small model keeps no more tokens than a medium one.
const PREFIX_TOKENS: usize = 32_768;

/// How much an engine may do at once.
#[derive(Debug, Clone)]
pub struct BatchConfig {
    /// The most requests that run at once.
    pub max_batch: usize,
    /// The most bytes of keys and values of running requests, or of the pool of pages. A request
    /// that alone needs more is refused before it gets here ([`super::super::handle`]).
    pub kv_bytes: usize,
    /// The most bytes of the prefix cache; 0 switches it off. They are part of `kv_bytes` in a KV
    /// cache of pages.
    pub prefix_bytes: usize,
    /// The most tokens of the prefix cache.
    pub prefix_tokens: usize,
    /// The most prompt tokens to compute between two decode steps.
    pub prefill_tokens: usize,
    /// What to do about too little memory.
    pub advice: Advice,
    /// Who gives way when memory runs out during a step.
    pub out_of_memory: OutOfMemoryPolicy,
}

/// Who gives way when memory runs out during a step that several requests are part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutOfMemoryPolicy {
    /// All of them end with an error.
    #[default]
    FailAll,
    /// The newest ends with [`Listener::shed`](super::Listener::shed), the others go on: for a
    /// server, whose clients can try again.
    ShedNewest,
    /// The newest waits until others have ended, as with vLLM's preemption: for a run that needs
    /// all of its answers.
    RequeueNewest,
}

impl Default for BatchConfig {
    fn default() -> BatchConfig {
        BatchConfig {
            max_batch: 32,
            kv_bytes: 4 << 30,
            prefix_bytes: 512 << 20,
            prefix_tokens: PREFIX_TOKENS,
            prefill_tokens: 4096,
            advice: Advice::default(),
            out_of_memory: OutOfMemoryPolicy::default(),
        }
    }
}

/// Hints about too little memory. They name options, so they differ by command.
#[derive(Debug, Clone, Copy)]
pub struct Advice {
    /// For a request that is too large for the KV cache.
    pub room: &'static str,
    /// For a machine or a GPU whose memory ran out.
    pub memory: &'static str,
}

impl Default for Advice {
    /// For commands without options for it.
    fn default() -> Advice {
        Advice {
            room: "a shorter prompt, or a smaller limit of tokens",
            memory: "shorter prompts",
        }
    }
}
