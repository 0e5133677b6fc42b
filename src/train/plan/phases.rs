//! The phases of a training step, and the bytes of each: the step needs the memory of the largest.

mod divided;

use super::attention::AttentionBytes;
use super::block::{BlockMemory, Memory};
use super::bytes::Bytes;
use super::config::PlanConfig;
use super::size::Size;
use super::tensors::Tensors;
use super::update;
use crate::train::loss;

/// Bytes of gradients.
struct Gradients {
    /// Of all trained tensors.
    whole: u64,
    /// Of one block.
    block: u64,
    /// Of the head.
    head: u64,
    /// Of a tied head, which lies beside the embedding's own gradient.
    beside: u64,
    /// Whether gradients of several micro-batches are summed.
    summed: bool,
    /// Sums of earlier micro-batches: in fp32 beside the current gradients, or the gradients of the
    /// leaves themselves.
    sums: u64,
    /// Of the current micro-batch.
    new: u64,
    /// Of the head while the backward pass goes through blocks.
    head_in_blocks: u64,
    /// Blocks whose gradients exist when the backward pass reaches the last but one.
    blocks: u64,
}

impl Gradients {
    fn of(tensors: &Tensors) -> Gradients {
        let Tensors { size, config } = *tensors;
        let (full, mixed, formats) = (config.is_full(), tensors.is_mixed(), config.formats);
        let whole = tensors.of_trained(if full { config.width() } else { 4 });
        let block = if full {
            let counts = size.of_block.iter();
            counts.map(|count| config.allocated(config.width() * count)).sum()
        } else {
            4 * tensors.trained() / size.layers
        };
        let head = tensors.head_gradient();
        let beside = if size.tied { head } else { 0 };
        let summed = config.cut && !formats.update_in_backward;
        let (sums, new) = match summed {
            // Block by block, each is added as soon as it is there; the embedding's is the largest.
            true if mixed && formats.recompute => (tensors.all(4), block.max(head)),
            true if mixed => (tensors.all(4), whole + beside),
            // The gradients of head and embedding are added at the end of the step.
            true => (whole + beside, block.max(head)),
            // One block's, or the head's, in fp32 over all micro-batches of a step. The estimate
            // for a CPU leaves them out.
            false if config.cut && mixed && config.gpu => (2 * block.max(head), whole + beside),
            false => (0, whole + beside),
        };
        let at_once = summed && (!mixed || formats.recompute);
        let (head_in_blocks, blocks) = match formats.update_in_backward {
            true if !size.tied => (0, 1),
            true => (head, 1),
            false if at_once => (0, 1),
            false => (head, size.layers.min(2)),
        };
        Gradients {
            whole,
            block,
            head,
            beside,
            summed,
            sums,
            new,
            head_in_blocks,
            blocks,
        }
    }

    /// Returns the bytes of the embedding's gradient as it is made; with several micro-batches it
    /// is added at once.
    fn embedding(&self) -> u64 {
        if self.summed { 0 } else { self.head }
    }
}

/// Bytes of activations.
struct Activations {
    /// Hidden states of the micro-batch.
    hidden: u64,
    /// Hidden states before targets, each once.
    wanted: u64,
    /// Hidden states before targets, one for each target.
    at_targets: u64,
    /// Hidden states of the micro-batches beside it.
    beside: u64,
    /// Of any block but the last.
    any: Memory<u64>,
    /// Of the last block.
    last: Memory<u64>,
    /// What the forward pass keeps of all blocks.
    all_kept: u64,
    /// What it keeps of all but the last.
    below_kept: u64,
    /// What is computed again for the backward pass of any block, and of the last.
    again: [u64; 2],
    /// Temporaries of a dequantized layer.
    dequantized: u64,
}

impl Activations {
    fn of(tensors: &Tensors, block: &BlockMemory) -> Activations {
        let Tensors { size, config } = *tensors;
        let features = |tokens: u64| config.allocated(tokens * size.hidden * config.width());
        // Answers that begin alike have their targets at the same tokens.
        let wanted_tokens = config.target_tokens.min(config.tokens);
        let attention = AttentionBytes::of(size, config);
        let on_device = |block: Memory<u64>| Memory {
            kept: block.kept + attention.kept,
            backward: block.backward + attention.backward,
        };
        let any = on_device(block.at(config.tokens));
        let last = on_device(block.last(config.tokens, wanted_tokens));
        let (hidden, before_last) = (features(config.tokens), size.layers.saturating_sub(1));
        let (all_kept, below_kept, again) = if config.formats.recompute {
            let inputs = |layers: u64| layers * hidden;
            (inputs(size.layers), inputs(before_last), [any.kept, last.kept])
        } else {
            let below = before_last * any.kept;
            (below + last.kept, below, [0, 0])
        };
        Activations {
            hidden,
            wanted: features(wanted_tokens),
            at_targets: features(config.target_tokens),
            beside: features(config.tokens_beside),
            any,
            last,
            all_kept,
            below_kept,
            again,
            dequantized: tensors.dequantized(),
        }
    }

    /// Returns the bytes of the micro-batches beside it: inputs of this many blocks, and the
    /// gradient of the output.
    fn beside(&self, blocks: u64) -> u64 {
        (blocks + 1) * self.beside
    }

    /// Returns the temporaries of a block's backward pass without its `gradients`.
    fn within(&self, backward: u64, gradients: u64) -> u64 {
        (backward + self.dequantized).saturating_sub(gradients)
    }
}

/// A training step, phase by phase.
pub struct Phases<'a> {
    tensors: Tensors<'a>,
    resident: Bytes,
    gradients: Gradients,
    activations: Activations,
}

impl<'a> Phases<'a> {
    /// Prepares the phases of a step of a model whose blocks need what `block` says. `resident` are
    /// the bytes that exist in all of them.
    pub fn of(tensors: Tensors<'a>, block: &BlockMemory, resident: Bytes) -> Phases<'a> {
        Phases {
            resident,
            gradients: Gradients::of(&tensors),
            activations: Activations::of(&tensors, block),
            tensors,
        }
    }

    /// Returns the bytes of the largest phase.
    pub fn largest(&self) -> Bytes {
        let config = self.tensors.config;
        if config.parts > 1 && config.is_full() {
            let phases = self.divided().into_iter();
            return phases.max_by_key(Bytes::total).unwrap_or_default();
        }
        if config.parts > 1 {
            let phases = self.divided_below_adapter().into_iter();
            return phases.max_by_key(Bytes::total).unwrap_or_default();
        }
        let phases = [
            self.loss(),
            self.last_block(),
            self.block_before_last(),
            self.first_block(),
            self.embedding(),
            self.update_of_block(),
            self.update(),
        ];
        phases.into_iter().max_by_key(Bytes::total).unwrap_or_default()
    }

    /// Returns the bytes of all gradients that exist at once.
    pub fn all_gradients(&self) -> u64 {
        match self.updates_in_backward() {
            true => self.gradients.block,
            false => self.gradients.whole,
        }
    }

    fn updates_in_backward(&self) -> bool {
        self.tensors.config.formats.update_in_backward
    }

    fn layers(&self) -> u64 {
        self.tensors.size.layers
    }

    /// The loss: everything that the forward pass keeps, logits, and the head's gradient.
    fn loss(&self) -> Bytes {
        let (activations, gradients) = (&self.activations, &self.gradients);
        let (logits, doubled_head) = loss_bytes(self.tensors.size, self.tensors.config);
        Bytes {
            activations: activations.all_kept
                + activations.beside(self.layers())
                + activations.wanted
                + 2 * activations.at_targets,
            logits,
            gradients: gradients.head + doubled_head + gradients.sums,
            ..self.resident
        }
    }

    /// The backward pass of the last block.
    fn last_block(&self) -> Bytes {
        let (activations, gradients) = (&self.activations, &self.gradients);
        Bytes {
            activations: activations.all_kept
                + activations.beside(self.layers())
                + activations.again[1]
                + activations.within(activations.last.backward, gradients.block)
                + 2 * activations.wanted,
            gradients: gradients.head_in_blocks + gradients.block + gradients.sums,
            ..self.resident
        }
    }

    /// The backward pass of the block before it, whose output is needed at all tokens.
    fn block_before_last(&self) -> Bytes {
        let (activations, gradients) = (&self.activations, &self.gradients);
        Bytes {
            activations: activations.below_kept
                + activations.beside(self.layers().saturating_sub(1))
                + activations.again[0]
                + activations.within(activations.any.backward, gradients.block)
                + 2 * activations.hidden,
            gradients: gradients.head_in_blocks + gradients.blocks * gradients.block + gradients.sums,
            ..self.resident
        }
    }

    /// The backward pass of the first block, when all gradients but the embedding's exist.
    fn first_block(&self) -> Bytes {
        let (activations, gradients) = (&self.activations, &self.gradients);
        let new = match self.updates_in_backward() {
            true => gradients.beside + gradients.block,
            false => gradients.new - gradients.embedding(),
        };
        Bytes {
            activations: activations.any.kept
                + activations.beside(1)
                + activations.within(activations.any.backward, gradients.block)
                + activations.hidden,
            gradients: gradients.sums + new,
            ..self.resident
        }
    }

    /// The backward pass of the embedding.
    fn embedding(&self) -> Bytes {
        let (activations, gradients) = (&self.activations, &self.gradients);
        let new = match self.updates_in_backward() {
            true => gradients.beside + gradients.embedding(),
            false => gradients.new,
        };
        Bytes {
            activations: 3 * activations.hidden + activations.beside(0),
            gradients: gradients.sums + new,
            ..self.resident
        }
    }

    /// The update of the last block on a GPU while the inputs of all others wait for their backward
    /// pass. On a CPU it needs no temporaries, so that the backward pass before it needs more.
    fn update_of_block(&self) -> Bytes {
        let Tensors { size, config } = self.tensors;
        if !self.updates_in_backward() || !config.gpu {
            return self.resident;
        }
        let (activations, gradients) = (&self.activations, &self.gradients);
        let largest = size.of_block.iter().copied().max().unwrap_or(0);
        let temporaries = update::temporaries(&self.tensors, size.block, largest);
        Bytes {
            workspace: self.resident.workspace + temporaries,
            activations: activations.below_kept
                + activations.beside(self.layers().saturating_sub(1))
                + activations.hidden,
            gradients: gradients.head_in_blocks + gradients.block.max(gradients.sums),
            ..self.resident
        }
    }

    /// The update, when the two gradients of a tied embedding become one.
    fn update(&self) -> Bytes {
        let size = self.tensors.size;
        let gradients = &self.gradients;
        let trained = self.tensors.trained();
        let largest = size.counts().max().unwrap_or(0).min(trained);
        let together = match self.updates_in_backward() {
            true => largest,
            false => trained,
        };
        let temporaries = update::temporaries(&self.tensors, together, largest);
        Bytes {
            workspace: self.resident.workspace + temporaries,
            gradients: match (self.updates_in_backward(), gradients.summed) {
                (true, _) => (gradients.head + 2 * gradients.beside).max(gradients.sums),
                (false, true) => gradients.sums,
                (false, false) => gradients.whole + 2 * gradients.beside,
            },
            ..self.resident
        }
    }
}

/// Returns the bytes of the loss: its buffers, and, if the head's gradient is computed in several
/// chunks, the part that is added to it.
fn loss_bytes(size: &Size, config: &PlanConfig) -> (u64, u64) {
    let (full, width) = (config.is_full(), config.width());
    let (vocab, targets) = (size.vocab, config.target_tokens);
    let chunk = loss::chunk(targets as i64, vocab as i64, width as i64, full) as u64;
    let tile = loss::tile(vocab as i64, config.gpu).min(chunk as i64) as u64;
    let buffer = config.allocated(chunk * vocab * width);
    // A product in fp32 of bf16 tensors: the head's weight or its gradient, and logits.
    let head = config.allocated(4 * vocab * size.hidden);
    let widened = |rows: u64| head + config.allocated(4 * vocab * rows);
    let gradient = if full {
        config.allocated(width * vocab * size.hidden)
    } else {
        0
    };
    let chunks = targets.div_ceil(chunk.max(1));
    if !config.widens() {
        let added = if chunks > 1 { gradient } else { 0 };
        return (buffer + 2 * config.allocated(4 * tile * vocab), added);
    }
    // The gradient exists from the second chunk on, and is counted apart.
    let last = gradient + widened(targets - chunk * chunks.saturating_sub(1).min(targets));
    let peak = match chunks {
        0 | 1 => widened(chunk).max(gradient + head),
        2 => widened(chunk).max(last),
        _ => gradient + widened(chunk),
    };
    (buffer + peak.saturating_sub(gradient), 0)
}
