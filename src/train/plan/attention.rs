//! Memory of attention on a GPU beyond that of a block measured on the CPU, which computes it
//! branch by branch in a kernel of its own.

use super::branches::Branches;
use super::config::PlanConfig;
use super::size::Size;

/// Rows by which flash attention pads each sequence of its fp32 sums.
const PADDING: u64 = 128;
/// Multiprocessors of a large GPU: an H100 has 132, a B200 148, an RTX PRO 6000 188.
const MULTIPROCESSORS: u64 = 188;
/// Tokens of an example in the measured block.
const EXAMPLE: u64 = 128;
/// Most features of a head that flash attention takes.
const MOST_FLASH_FEATURES: u64 = 256;

/// Bytes of one block's attention on a GPU that the CPU does not need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttentionBytes {
    /// Copies that autograd keeps for the backward pass.
    pub kept: u64,
    /// Temporaries of the backward pass.
    pub backward: u64,
}

impl AttentionBytes {
    /// Returns the bytes for a micro-batch of `config`.
    pub fn of(size: &Size, config: &PlanConfig) -> AttentionBytes {
        if size.capped {
            return capped(size, config);
        }
        match config.is_bf16() && size.head_dim.is_multiple_of(8) && size.head_dim <= MOST_FLASH_FEATURES {
            _ if !config.gpu => AttentionBytes::default(),
            true => AttentionBytes {
                kept: 0,
                backward: flash_backward(size, config),
            },
            false => {
                let copies = composed_copies(size, config);
                AttentionBytes {
                    kept: copies,
                    // Their gradients.
                    backward: copies,
                }
            }
        }
    }
}

/// Returns what autograd keeps of capped scores beyond examples of [`EXAMPLE`] tokens, which are
/// in the measured block: of each score its tanh and the softmax in fp32, and in 16 bits the
/// weights as well. The backward pass has the gradients of one branch at a time.
fn capped(size: &Size, config: &PlanConfig) -> AttentionBytes {
    let Branches { count, keys } = config.branches;
    let each = keys / count.max(1);
    let per_score = config.width() + 4 + if config.is_bf16() { config.width() } else { 0 };
    let beyond = size.heads * config.tokens * each.saturating_sub(EXAMPLE) * per_score;
    AttentionBytes {
        kept: beyond,
        backward: beyond / count.max(1),
    }
}

/// Returns the temporaries of flash attention's backward pass (`mha_varlen_bwd` in ATen's
/// `flash_api.cpp`): the queries' gradient summed in fp32, in several parts if there are fewer
/// sequences times heads than multiprocessors, which fixes the order of sums; a number for each
/// query and head; and gradients of keys and values for all query heads if several share a key.
/// Where branches share a prefix (`AttendFlash` in `csrc/attention.cpp`), also the keys and values
/// that they see, gathered, and their gradients, and sums of these in fp32.
fn flash_backward(size: &Size, config: &PlanConfig) -> u64 {
    let Branches { count, keys } = config.branches;
    let padded = config.tokens + PADDING * count;
    let features = size.head_dim.next_multiple_of(32);
    let parts = MULTIPROCESSORS.div_ceil((count * size.heads).max(1));
    let queries = 4 * padded * size.heads * (parts * features + 1);
    let expanded = match size.heads == size.kv_heads {
        true => 0,
        false => 2 * keys * config.width() * size.head_dim * size.heads,
    };
    let row = size.head_dim * size.kv_heads;
    let shared = match keys > config.tokens {
        true => 4 * keys * config.width() * row + 2 * config.tokens * 4 * row,
        false => 0,
    };
    queries + expanded + shared
}

/// Returns the copies that autograd keeps where attention is composed of libtorch's operations: the
/// keys and values that each branch sees, for all query heads if several share a key, and the
/// outputs of the branches before they are joined.
fn composed_copies(size: &Size, config: &PlanConfig) -> u64 {
    let head = config.width() * size.head_dim;
    let repeated = match size.heads == size.kv_heads {
        true => 0,
        false => size.heads,
    };
    2 * config.branches.keys * head * (size.kv_heads + repeated) + config.tokens * head * size.heads
}
