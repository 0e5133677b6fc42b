//! How a GPU's free memory is divided between the KV cache, the prefix cache and the tensors of a
//! forward pass. A KV cache of pages holds the prefixes as well (`open.rs`). On a CPU,
//! `BatchConfig` has fixed defaults.

use ewe::text::{counted, format_size};

use crate::model::layers::ExpertsConfig;
use crate::model::{CausalLm, ModelInfo};
use crate::shim::paged::PAGE;

/// Share of the free memory that is used, in percent. The rest is for gaps between the allocator's
/// blocks, for kernels that the driver loads when they are first launched, and for other programs.
const USED_PERCENT: u64 = 85;
/// The least share of that for keys and values and prefixes, in percent of the free memory: on a
/// small GPU, the longest prompts may then run out of memory.
const LEAST_PERCENT: u64 = 25;
/// One in this many bytes is for the prefix cache, or more.
const PREFIX_SHARE: u64 = 20;
/// Never more than one in this many.
const MOST_PREFIX_SHARE: u64 = 4;
/// The most tokens of the prefix cache: whoever asks looks at each prefix.
const PREFIX_TOKENS: u64 = 262_144;
/// No workspace is kept for prompts of more tokens than this: their passes take memory from the
/// spare part, or run out of it.
const LONGEST_PROMPT: u64 = 16_384;
/// The least and the most requests at once.
const BATCH: (u64, u64) = (128, 256);
/// Tokens of a request as they are expected, to choose between these.
const TOKENS_OF_REQUEST: u64 = 1024;

/// The sizes of a model that decide how much memory a forward pass takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassSizes {
    /// Bytes of keys and values of a token.
    pub bytes_per_token: u64,
    /// Maximum sequence length in tokens.
    pub context: u64,
    /// Features of the hidden states between blocks.
    pub hidden: u64,
    /// Features of all query heads together.
    pub queries: u64,
    /// Outputs of the widest linear layer of a block.
    pub widest: u64,
    /// Bytes that a decode step takes beside that for experts that are computed together; 0 for
    /// models without experts.
    pub joint_experts: u64,
    /// Size of the vocabulary.
    pub vocab: u64,
    /// Bytes of a number.
    pub width: u64,
    /// Tokens that are allocated together in the KV cache: those of a page, or one.
    pub page: u64,
}

impl PassSizes {
    /// Returns the sizes of a model that computes in numbers of `width` bytes, and whose widest
    /// linear layer of a block has `widest` outputs.
    pub fn new(info: &ModelInfo, widest: u64, width: u64) -> PassSizes {
        PassSizes {
            bytes_per_token: 2 * info.layers as u64 * (info.kv_heads * info.head_dim) as u64 * width,
            context: info.context as u64,
            hidden: info.hidden as u64,
            queries: (info.heads * info.head_dim) as u64,
            widest,
            joint_experts: 0,
            vocab: info.vocab as u64,
            width,
            page: 1,
        }
    }

    /// Returns them for a KV cache of pages, or of slots.
    pub fn in_pages(self, is_paged: bool) -> PassSizes {
        let page = if is_paged { PAGE as u64 } else { 1 };
        PassSizes { page, ..self }
    }

    /// Whether the KV cache is one of pages.
    pub fn is_paged(&self) -> bool {
        self.page > 1
    }

    /// Returns the tokens of a KV cache of `bytes` bytes.
    pub fn tokens_within(&self, bytes: u64) -> u64 {
        bytes / self.bytes_per_token.max(1) / self.page * self.page
    }

    /// Returns how many sequences of `tokens` tokens such a KV cache holds.
    pub fn sequences_within(&self, bytes: u64, tokens: u64) -> u64 {
        self.tokens_within(bytes) / tokens.max(1).next_multiple_of(self.page)
    }

    /// Returns the sizes of a loaded model.
    pub fn of(model: &mut dyn CausalLm, width: u64) -> PassSizes {
        let mut widest = 0;
        model.for_each_linear(&mut |linear| {
            let size = linear.weight.size();
            let outputs = size.get(usize::from(linear.transposed)).copied();
            widest = widest.max(outputs.unwrap_or(0));
        });
        PassSizes::new(model.info(), widest as u64, width).with_experts(model.experts())
    }

    /// Returns them with what experts in place of the MLPs make of a token.
    pub fn with_experts(self, experts: Option<ExpertsConfig>) -> PassSizes {
        let Some(experts) = experts else {
            return self;
        };
        let hidden = self.hidden as i64;
        PassSizes {
            widest: self.widest.max(experts.features(hidden) as u64),
            joint_experts: experts.joint_numbers(hidden) as u64 * self.width,
            ..self
        }
    }

    /// Returns the bytes of the largest prefill, which is of up to `prefill_tokens` tokens and one
    /// more prompt, and of the logits of `batch` requests.
    ///
    /// Counted for each token are the tensors that may live at once in a block: six of the hidden
    /// size and three more in fp32 (residual, norm, sums), four of the queries' size and two more
    /// in fp32 (queries, keys, values, output; rotary embedding), and four of the widest layer's
    /// (gate, up, activation, product). Of logits there are the model's, a copy in fp32, one for
    /// the sampler, and its counts of seen tokens, whose table doubles. Experts that are computed
    /// together take memory in a decode step, and never beside the largest prefill. Computed, never
    /// measured. Masks of attention without flash kernels are not in it.
    pub fn workspace(&self, prefill_tokens: u64, batch: u64) -> u64 {
        let width = self.width;
        let per_token =
            self.hidden * (6 * width + 3 * 4) + self.queries * (4 * width + 2 * 4) + self.widest * 4 * width;
        let tokens = prefill_tokens + self.context.min(LONGEST_PROMPT);
        (tokens * per_token).max(self.joint_experts) + batch * self.vocab * (width + 4 * 4)
    }
}

/// The limits of an engine on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineBudget {
    /// Bytes that a forward pass takes, at most.
    pub workspace: u64,
    /// Bytes of keys and values of running requests; in pages, also of prefixes.
    pub kv_bytes: u64,
    /// Bytes of the prefix cache beside that: 0 with pages.
    pub prefix_bytes: u64,
    /// Tokens of the prefix cache.
    pub prefix_tokens: u64,
    /// Requests that run at once.
    pub max_batch: u64,
}

impl EngineBudget {
    /// Divides `free` bytes, those left once the model is loaded, for prefills of up to
    /// `prefill_tokens` tokens.
    pub fn of(free: u64, sizes: &PassSizes, prefill_tokens: u64) -> EngineBudget {
        let workspace = sizes.workspace(prefill_tokens, BATCH.1);
        let most = free / 100 * USED_PERCENT;
        let room = most.saturating_sub(workspace).max(free / 100 * LEAST_PERCENT);
        let prefix_bytes = prefix_bytes(room, sizes, prefill_tokens);
        EngineBudget::with(workspace, room - prefix_bytes, prefix_bytes, sizes)
    }

    /// Returns the limits for `kv_bytes` bytes of keys and values, whatever is free.
    pub fn given(kv_bytes: u64, sizes: &PassSizes, prefill_tokens: u64) -> EngineBudget {
        let workspace = sizes.workspace(prefill_tokens, BATCH.1);
        let prefix_bytes = prefix_bytes(kv_bytes, sizes, prefill_tokens);
        EngineBudget::with(workspace, kv_bytes, prefix_bytes, sizes)
    }

    fn with(workspace: u64, kv_bytes: u64, prefix_bytes: u64, sizes: &PassSizes) -> EngineBudget {
        let requests = sizes.sequences_within(kv_bytes, TOKENS_OF_REQUEST);
        EngineBudget {
            workspace,
            kv_bytes,
            prefix_bytes,
            prefix_tokens: PREFIX_TOKENS,
            max_batch: requests.clamp(BATCH.0, BATCH.1),
        }
    }
}

/// Returns the bytes of the prefix cache within `room`, or beside it: enough for a prompt as long
/// as a prefill, such as a few-shot prompt, which on a small GPU is more than its share. None for a
/// KV cache of pages, where prefixes have what requests leave.
fn prefix_bytes(room: u64, sizes: &PassSizes, prefill_tokens: u64) -> u64 {
    if sizes.is_paged() {
        return 0;
    }
    let prompt = sizes.context.min(prefill_tokens) * sizes.bytes_per_token;
    (room / PREFIX_SHARE).max(prompt.min(room / MOST_PREFIX_SHARE))
}

/// Returns words about a GPU's limits, for the line that a command prints at its start.
/// `prefix_bytes` is 0 where the KV cache holds the prefixes.
pub fn gpu_limits(max_batch: usize, prefix_bytes: usize) -> String {
    let prefixes = match prefix_bytes {
        0 => "prefixes of prompts in what they leave".to_owned(),
        bytes => format!("{} more for prefixes of prompts", format_size(bytes as u64)),
    };
    format!("up to {} at once, {prefixes}", counted(max_batch, "request"))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::engine::prefix::{AdaptedPrompt, PrefixCache};
    use crate::model::cache::KvCache;

    const PREFILL: u64 = 4096;

    /// GPT-J-6B in bf16: 458,752 bytes of keys and values a token.
    fn gptj() -> PassSizes {
        PassSizes {
            bytes_per_token: 2 * 28 * 4096 * 2,
            context: 2048,
            hidden: 4096,
            queries: 4096,
            widest: 16_384,
            joint_experts: 0,
            vocab: 50_400,
            width: 2,
            page: 1,
        }
    }

    /// Gemma 3 270M in bf16: one key/value head of 256 features in each of 18 blocks.
    fn gemma_270m() -> PassSizes {
        PassSizes {
            bytes_per_token: 2 * 18 * 256 * 2,
            context: 32_768,
            hidden: 640,
            queries: 4 * 256,
            widest: 2048,
            joint_experts: 0,
            vocab: 262_144,
            width: 2,
            page: 1,
        }
    }

    #[test]
    fn a_6b_model_gets_what_its_gpu_has_left() {
        let gigabyte = 1_000_000_000;
        // Memory of the GPU, tokens of the KV cache at least and at most, requests at once.
        for (memory, least, most, batch) in [
            (24, 12_000, 15_000, 128),
            (48, 52_000, 60_000, 128),
            (80, 105_000, 118_000, 128),
            (141, 205_000, 230_000, 210),
        ] {
            // 12.1 GB of weights, and 1 GB of context and libraries.
            let free = memory * gigabyte - 13_100_000_000;
            let budget = EngineBudget::of(free, &gptj(), PREFILL);
            let tokens = budget.kv_bytes / gptj().bytes_per_token;
            assert!((least..most).contains(&tokens), "{memory} GB: {tokens} tokens");
            assert!(budget.max_batch.abs_diff(batch) < 16, "{memory} GB: {budget:?}");
            // All of it together stays within 85 %.
            let sum = budget.kv_bytes + budget.prefix_bytes + budget.workspace;
            assert!(sum <= free / 100 * 85, "{memory} GB: {budget:?}");
            // A few-shot prompt as long as the context is kept.
            let prefix = budget.prefix_bytes / gptj().bytes_per_token;
            assert!(prefix >= 2000, "{memory} GB: a prefix cache of {prefix} tokens");
            assert!(budget.prefix_bytes >= (budget.kv_bytes + budget.prefix_bytes) / 20);
        }
    }

    #[test]
    fn a_few_shot_prompt_of_gpt_j_stays_in_the_prefix_cache() {
        let info = ModelInfo {
            family: "gptj",
            // Without layers nothing is copied: this is about counts.
            layers: 0,
            heads: 16,
            kv_heads: 16,
            head_dim: 256,
            hidden: 4096,
            vocab: 50_400,
            context: 2048,
            end_tokens: Vec::new(),
            begin_token: None,
            tied: false,
            capped: false,
        };
        let mut cache = KvCache::new(&info, Kind::BFloat16, Device::Cpu);
        let prompt: Vec<i64> = (0..1900).collect();
        let mut kept = |bytes: u64, tokens: u64| {
            let tokens = (bytes / gptj().bytes_per_token).min(tokens);
            let mut prefixes = PrefixCache::new(tokens as usize);
            let prompt = AdaptedPrompt {
                tokens: &prompt,
                adapter: None,
            };
            prefixes.offer(prompt, 0, &mut cache, 0);
            prefixes.longest(prompt)
        };
        for memory in [24u64, 48, 80, 141] {
            let free = memory * 1_000_000_000 - 13_100_000_000;
            let budget = EngineBudget::of(free, &gptj(), PREFILL);
            assert_eq!(
                kept(budget.prefix_bytes, budget.prefix_tokens),
                1899,
                "{memory} GB"
            );
        }
        // The CPU's 512 MiB hold 1,170 tokens.
        assert_eq!(kept(512 << 20, 32_768), 0);
    }

    /// Short prompts may take less than the experts that a decode step gathers.
    #[test]
    fn joint_experts_have_room_where_prompts_take_less() {
        let short = PassSizes {
            context: 64,
            ..gemma_270m()
        };
        let of = |joint_experts| {
            PassSizes {
                joint_experts,
                ..short
            }
            .workspace(64, 1)
        };
        assert_eq!(of(1000), of(0));
        assert_eq!(of(2_000_000_000) - of(1_000_000_000), 1_000_000_000);
        assert_eq!(short.with_experts(None), short);
        let experts = ExpertsConfig {
            count: 128,
            chosen: 8,
            inner: 768,
            normalizes: true,
        };
        let with = short.with_experts(Some(experts));
        // All features of a token's experts, and what all experts make of 128 tokens: weights of
        // 42 experts, gathered, are less.
        assert_eq!(with.widest, 8 * 768);
        assert_eq!(with.joint_experts, 2 * 16_384 * (4 * 768 + 640));
    }

    #[test]
    fn a_small_model_gets_the_most_requests() {
        for memory in [24u64, 48, 80, 141] {
            let free = memory * 1_000_000_000 - 1_500_000_000;
            let budget = EngineBudget::of(free, &gemma_270m(), PREFILL);
            assert_eq!(budget.max_batch, 256);
            let contexts = budget.kv_bytes / gemma_270m().bytes_per_token / 32_768;
            assert!(contexts >= memory, "{memory} GB: {contexts} contexts");
            let sum = budget.kv_bytes + budget.prefix_bytes + budget.workspace;
            assert!(sum <= free / 100 * 85);
        }
    }

    /// With pages, prefixes need no memory beside the KV cache, and tokens come by the page.
    #[test]
    fn pages_are_counted_whole_and_hold_the_prefixes() {
        let sizes = gptj().in_pages(true);
        for memory in [24u64, 48, 80, 141] {
            let free = memory * 1_000_000_000 - 13_100_000_000;
            let (pages, slots) = (
                EngineBudget::of(free, &sizes, PREFILL),
                EngineBudget::of(free, &gptj(), PREFILL),
            );
            assert_eq!(pages.prefix_bytes, 0, "{memory} GB");
            assert_eq!(pages.kv_bytes, slots.kv_bytes + slots.prefix_bytes, "{memory} GB");
        }
        let page = 256 * sizes.bytes_per_token;
        assert_eq!(sizes.tokens_within(3 * page - 1), 512);
        assert_eq!(gptj().tokens_within(3 * page - 1), 767);
        // Of seven pages, sequences of 257 tokens take two each.
        let held = |tokens| sizes.sequences_within(7 * page, tokens);
        assert_eq!(
            [1, 256, 257, 512, 513, 1792, 1793].map(held),
            [7, 7, 3, 3, 2, 1, 0]
        );
        assert_eq!(gptj().sequences_within(7 * page, 257), 6);
        let given = EngineBudget::given(8_000_000_000, &sizes, PREFILL);
        assert_eq!((given.kv_bytes, given.prefix_bytes), (8_000_000_000, 0));
    }

    #[test]
    fn the_line_at_the_start_tells_where_prefixes_are() {
        let words = "up to 128 requests at once, 1.0 GB more for prefixes of prompts";
        assert_eq!(gpu_limits(128, 1_000_000_000), words);
        let words = "up to 1 request at once, prefixes of prompts in what they leave";
        assert_eq!(gpu_limits(1, 0), words);
    }

    #[test]
    fn little_memory_is_divided_too() {
        let free = 1_000_000_000;
        let budget = EngineBudget::of(free, &gptj(), PREFILL);
        assert_eq!(budget.kv_bytes + budget.prefix_bytes, free / 4);
        assert!(budget.kv_bytes >= 3 * budget.prefix_bytes);
        assert_eq!(EngineBudget::of(0, &gptj(), PREFILL).kv_bytes, 0);
    }

    #[test]
    fn kv_memory_that_was_given_is_kept() {
        let budget = EngineBudget::given(8_000_000_000, &gptj(), PREFILL);
        assert_eq!(budget.kv_bytes, 8_000_000_000);
        assert_eq!(budget.prefix_bytes, 2048 * gptj().bytes_per_token);
        let budget = EngineBudget::given(60_000_000_000, &gptj(), PREFILL);
        assert_eq!(budget.prefix_bytes, 3_000_000_000);
    }
}
