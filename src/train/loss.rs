//! Cross-entropy at the target positions, in chunks, with the backward pass written out.
//!
//! Gemma's vocabulary has 262,144 rows: the logits of 2,048 positions are 1 GB in bf16, and three
//! times that in what autograd would keep. Here one chunk of logits is alive at a time, and its
//! memory becomes the gradient: d loss / d logit = softmax − one-hot. The fp32 arithmetic goes a
//! few rows (a tile) at a time, so that it stays in the cache.
//!
//! Shapes: `n` target positions, `c` of a chunk, `r` of a tile, `d` hidden features, `v`
//! vocabulary.

use crate::model::layers::{LogitForm, matmul};
use tch::{Kind, Tensor};

/// The output head: `logits = form(hidden · weightᵀ + bias)`.
#[derive(Debug)]
pub struct Head {
    /// `[v, d]`; the embedding if they are tied.
    pub weight_vd: Tensor,
    /// `[v]`.
    pub bias_v: Option<Tensor>,
    /// What becomes of the product.
    pub form: LogitForm,
}

/// Gradients to compute besides the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossGradients {
    /// None, for evaluation.
    None,
    /// Gradient of the hidden states.
    Hidden,
    /// Gradients of the hidden states and of the head.
    All,
}

/// Loss and gradients. Gradients are those of the *sum* over targets times `scale`.
#[derive(Debug)]
pub struct Losses {
    /// Summed negative log-likelihood in nats, not scaled.
    pub nll: f64,
    /// Gradient of the hidden states, `[n, d]`.
    pub hidden_nd: Option<Tensor>,
    /// Gradient of the head's weight.
    pub weight_vd: Option<Tensor>,
    /// Gradient of the head's bias.
    pub bias_v: Option<Tensor>,
}

/// Bytes of a chunk's logits. Larger chunks make faster matrix products, smaller ones save memory.
const CHUNK_BYTES: i64 = 128 << 20;
/// Elements of a tile: on the CPU 2 MB in fp32, on a GPU 64 MB.
const TILES: [i64; 2] = [1 << 19, 1 << 24];

/// Returns the targets per chunk, of `count` in all, with `width` bytes per logit.
pub fn chunk(count: i64, vocab: i64, width: i64, all: bool) -> i64 {
    // The head's own gradient costs a pass over vocabulary times hidden for every chunk, so with it
    // chunks are four times as large.
    let bytes = CHUNK_BYTES * if all { 4 } else { 1 };
    (bytes / (vocab * width)).clamp(1, count.max(1))
}

/// Returns the rows of a tile.
pub fn tile(vocab: i64, gpu: bool) -> i64 {
    (TILES[usize::from(gpu)] / vocab).max(i64::from(tch::get_num_threads()))
}

/// Returns the summed negative log-likelihood of `target_n` (int64) under `hidden_nd`, and the
/// gradients of that sum times `scale`. Runs without autograd, whatever the caller's mode.
pub fn cross_entropy(
    hidden_nd: &Tensor,
    target_n: &Tensor,
    head: &Head,
    scale: f64,
    want: LossGradients,
) -> Losses {
    let _guard = tch::no_grad_guard();
    let (count, vocab) = (hidden_nd.size()[0], head.weight_vd.size()[0]);
    let (kind, device) = (hidden_nd.kind(), hidden_nd.device());
    let chunk = chunk(
        count,
        vocab,
        kind.elt_size_in_bytes() as i64,
        want == LossGradients::All,
    );
    let tile = tile(vocab, device.is_cuda());

    let buffer_cv = Tensor::empty([chunk, vocab], (kind, device));
    let nll = Tensor::zeros([count], (Kind::Float, device));
    let hidden_grad_nd =
        (want != LossGradients::None).then(|| Tensor::empty(hidden_nd.size(), (kind, device)));
    let mut losses = Losses {
        nll: 0.0,
        hidden_nd: None,
        weight_vd: None,
        bias_v: None,
    };
    let mut start = 0;
    while start < count {
        let size = chunk.min(count - start);
        let hidden_cd = hidden_nd.narrow(0, start, size).detach();
        let target_c = target_n.narrow(0, start, size);
        let mut logits_cv = buffer_cv.narrow(0, 0, size);
        matmul::linear_into(&mut logits_cv, &hidden_cd, &head.weight_vd, head.bias_v.as_ref());
        head.form.apply_to(&mut logits_cv);
        softmax_minus_one_hot(
            &logits_cv,
            &target_c,
            &nll.narrow(0, start, size),
            tile,
            (want != LossGradients::None).then_some(head.form),
        );
        if let Some(hidden_grad_nd) = &hidden_grad_nd {
            let mut part_cd = hidden_grad_nd.narrow(0, start, size);
            matmul::linear_into(&mut part_cd, &logits_cv, &head.weight_vd.tr(), None);
            part_cd *= scale;
        }
        if want == LossGradients::All {
            let scaled_dc = (hidden_cd * scale).tr();
            add_to(
                &mut losses.weight_vd,
                matmul::linear(&logits_cv.tr(), &scaled_dc, None),
            );
            if head.bias_v.is_some() {
                // A sum along columns would convert all of them to fp32 first.
                let ones_1c = Tensor::ones([1, size], (kind, device));
                add_to(&mut losses.bias_v, ones_1c.mm(&logits_cv).view(-1) * scale);
            }
        }
        start += size;
    }
    losses.nll = nll.sum(Kind::Double).double_value(&[]);
    losses.hidden_nd = hidden_grad_nd;
    losses
}

/// Writes the negative log-likelihood of each row, and with `gradient` turns `logits_cv` into
/// softmax − one-hot, times the slope of that form, in place.
fn softmax_minus_one_hot(
    logits_cv: &Tensor,
    target_c: &Tensor,
    nll_c: &Tensor,
    tile: i64,
    gradient: Option<LogitForm>,
) {
    let rows = logits_cv.size()[0];
    let mut start = 0;
    while start < rows {
        let size = tile.min(rows - start);
        let mut logits_rv = logits_cv.narrow(0, start, size);
        let target_r1 = target_c.narrow(0, start, size).unsqueeze(1);
        let mut log_rv = logits_rv.to_kind(Kind::Float).log_softmax(-1, None);
        nll_c
            .narrow(0, start, size)
            .copy_(&-log_rv.gather(1, &target_r1, false).squeeze_dim(1));
        if let Some(form) = gradient {
            let mut softmax_rv = log_rv.exp_();
            let minus_one = Tensor::full([size, 1], -1.0, (Kind::Float, logits_cv.device()));
            let _ = softmax_rv.scatter_add_(1, &target_r1, &minus_one);
            form.backward(&mut softmax_rv, &logits_rv);
            logits_rv.copy_(&softmax_rv);
        }
        start += size;
    }
}

fn add_to(sum: &mut Option<Tensor>, term: Tensor) {
    match sum {
        None => *sum = Some(term),
        Some(sum) => drop(sum.g_add_(&term)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::generator::with_seed;
    use tch::Device;

    fn random(size: &[i64], seed: i64) -> Tensor {
        with_seed(seed, || Tensor::randn(size, (Kind::Float, Device::Cpu)))
    }

    /// Loss and all three gradients against autograd over the whole tensor.
    #[test]
    fn equals_autograd() {
        let random = |size: &[i64], seed| random(size, seed).set_requires_grad(true);
        for (with_bias, form) in [
            (false, LogitForm::Plain),
            (true, LogitForm::Plain),
            (true, LogitForm::Divided(1.7)),
            (true, LogitForm::Capped(2.0)),
        ] {
            let (hidden, weight, bias) = (random(&[37, 8], 1), random(&[50, 8], 2), random(&[50], 3));
            let target = (Tensor::arange(37, (Kind::Int64, Device::Cpu)) * 31).remainder(50);
            let logits = form.apply(hidden.linear(&weight, with_bias.then_some(&bias)));
            let loss = logits.cross_entropy_loss::<Tensor>(&target, None, tch::Reduction::Sum, -100, 0.0);
            (&loss * 0.25).backward();
            let head = Head {
                weight_vd: weight.shallow_clone(),
                bias_v: with_bias.then(|| bias.shallow_clone()),
                form,
            };
            let got = cross_entropy(&hidden, &target, &head, 0.25, LossGradients::All);
            assert!((got.nll - loss.double_value(&[])).abs() < 1e-4);
            let close = |got: Option<Tensor>, want: Tensor| {
                assert!((got.unwrap() - want).abs().max().double_value(&[]) < 1e-5);
            };
            close(got.hidden_nd, hidden.grad());
            close(got.weight_vd, weight.grad());
            if with_bias {
                close(got.bias_v, bias.grad());
            }
            let alone = cross_entropy(&hidden, &target, &head, 1.0, LossGradients::None);
            assert_eq!(alone.nll, got.nll);
            assert!(alone.hidden_nd.is_none());
        }
    }

    #[test]
    fn tiles_and_chunks_do_not_change_the_result() {
        let _guard = tch::no_grad_guard();
        let logits = random(&[10, 30], 1);
        let target = Tensor::arange(10, (Kind::Int64, Device::Cpu));
        let run = |tile| {
            let (logits, nll) = (logits.copy(), Tensor::zeros([10], (Kind::Float, Device::Cpu)));
            softmax_minus_one_hot(&logits, &target, &nll, tile, Some(LogitForm::Plain));
            (logits, nll)
        };
        assert_eq!(run(3), run(10));
        // A confident answer that is wrong by 200 nats: softmax must not underflow on the way.
        let sure = Tensor::from_slice(&[200.0f32, 0.0]).view([1, 2]);
        let nll = Tensor::zeros([1], (Kind::Float, Device::Cpu));
        softmax_minus_one_hot(&sure, &Tensor::from_slice(&[1i64]), &nll, 1, None);
        assert_eq!(nll.double_value(&[0]), 200.0);
    }
}
