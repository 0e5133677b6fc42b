//! Attention in libtorch's operations: the mask, and scaled dot-product attention.
//!
//! Shapes: `b` rows, `t` new tokens a row, `h` query heads, `k` key/value heads, `g = h/k`, `d`
//! features of a head, `l` keys.

use tch::{Kind, Tensor};

use crate::shim::AttentionParams;

impl AttentionParams {
    /// Returns the parameters of most models with heads of `d` features: scale `1/√d`, causal, no
    /// window.
    pub fn by_root(d: i64) -> AttentionParams {
        AttentionParams {
            scale: 1.0 / (d as f64).sqrt(),
            ..AttentionParams::default()
        }
    }
}

/// The range of keys that the tokens of a pass attend to, and which of them each token sees.
#[derive(Debug)]
pub struct AttentionMask {
    /// First key of the range.
    pub from: i64,
    /// Key after the last.
    pub to: i64,
    /// Added to the scores, 0 or -inf, `[b or 1, 1, t, l]`; none where plain causality, or no
    /// restriction at all, is enough.
    pub mask: Option<Tensor>,
}

impl AttentionMask {
    /// Returns the mask of new tokens at `positions_bt`, in rows that already hold between `least`
    /// and `most` tokens.
    pub fn of(
        positions_bt: &Tensor,
        least: i64,
        most: i64,
        window: Option<i64>,
        kind: Kind,
    ) -> AttentionMask {
        let (time, device) = (positions_bt.size()[1], positions_bt.device());
        let to = most + time;
        // Keys before every row's window need not be read.
        let from = window.map_or(0, |window| (least + 1 - window).max(0));
        let crossed = window.is_some_and(|window| to > window);
        let causal_is_all = most == 0 && !crossed;
        let all_is_visible = time == 1 && least == most && to - from <= window.unwrap_or(i64::MAX);
        let mask = if causal_is_all || all_is_visible {
            None
        } else {
            let keys_l = Tensor::arange_start(from, to, (Kind::Int64, device));
            let queries_bt1 = positions_bt.unsqueeze(-1);
            let mut hidden_btl = keys_l.gt_tensor(&queries_bt1);
            if let Some(window) = window {
                hidden_btl = hidden_btl.logical_or(&keys_l.le_tensor(&(queries_bt1 - window)));
            }
            let zero = Tensor::zeros(hidden_btl.size(), (kind, device));
            Some(zero.masked_fill(&hidden_btl, f64::NEG_INFINITY).unsqueeze(1))
        };
        AttentionMask { from, to, mask }
    }
}

/// Attends with `q_bthd`, `k_blkd`, `v_blkd`, by the scale and the cap of `params`; returns
/// `o_bthd`. Without a mask, attention is causal.
pub fn attend(
    q_bthd: &Tensor,
    k_blkd: &Tensor,
    v_blkd: &Tensor,
    mask: Option<&Tensor>,
    params: AttentionParams,
) -> Tensor {
    let size = q_bthd.size();
    let (batch, time, heads, dim) = (size[0], size[1], size[2], size[3]);
    let groups = heads / k_blkd.size()[2];
    let (k_bkld, v_bkld) = (k_blkd.transpose(1, 2), v_blkd.transpose(1, 2));
    let scale = params.scale;
    if let Some(cap) = params.cap {
        let (k_bhld, v_bhld) = (repeat_heads(&k_bkld, groups), repeat_heads(&v_bkld, groups));
        return attend_capped(&q_bthd.transpose(1, 2), &k_bhld, &v_bhld, mask, scale, cap).transpose(1, 2);
    }
    if time == 1 {
        // One query a head: the g heads that share keys become g queries of one head, without a
        // copy.
        let q_bkgd = q_bthd.reshape([batch, heads / groups, groups, dim]);
        let o_bkgd = scaled_dot_product_attention(&q_bkgd, &k_bkld, &v_bkld, mask, false, scale);
        return o_bkgd.reshape([batch, 1, heads, dim]);
    }
    let (k_bhld, v_bhld) = (repeat_heads(&k_bkld, groups), repeat_heads(&v_bkld, groups));
    let causal = mask.is_none();
    scaled_dot_product_attention(&q_bthd.transpose(1, 2), &k_bhld, &v_bhld, mask, causal, scale)
        .transpose(1, 2)
}

/// Attends with capped scores, rounding where Gemma 2's reference does: the scores after each
/// operation, and the weights, whose softmax is fp32.
fn attend_capped(
    q_bhtd: &Tensor,
    k_bhld: &Tensor,
    v_bhld: &Tensor,
    mask: Option<&Tensor>,
    scale: f64,
    cap: f64,
) -> Tensor {
    let kind = q_bhtd.kind();
    let scores_bhtl = q_bhtd.matmul(&k_bhld.transpose(2, 3)) * scale;
    let capped_bhtl = (scores_bhtl / cap).tanh() * cap;
    let seen_bhtl = match mask {
        Some(mask) => capped_bhtl + mask,
        None => {
            let (time, keys) = (q_bhtd.size()[2], k_bhld.size()[2]);
            let options = (Kind::Bool, q_bhtd.device());
            let hidden_tl = Tensor::ones([time, keys], options).triu(keys - time + 1);
            capped_bhtl.masked_fill(&hidden_tl, f64::NEG_INFINITY)
        }
    };
    seen_bhtl.softmax(-1, Kind::Float).to_kind(kind).matmul(v_bhld)
}

fn scaled_dot_product_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
    causal: bool,
    scale: f64,
) -> Tensor {
    Tensor::scaled_dot_product_attention(q, k, v, mask, 0.0, causal, scale, false)
}

/// Repeats every key/value head `groups` times, in the order of the query heads: `x_bkld` to
/// `x_bhld`.
fn repeat_heads(x_bkld: &Tensor, groups: i64) -> Tensor {
    if groups == 1 {
        return x_bkld.shallow_clone();
    }
    let size = x_bkld.size();
    x_bkld
        .unsqueeze(2)
        .expand([size[0], size[1], groups, size[2], size[3]], false)
        .reshape([size[0], size[1] * groups, size[2], size[3]])
}
