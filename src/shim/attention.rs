//! Attention of sequences that share a row (`csrc/attention.cpp`). Both functions are recorded for
//! autograd.
//!
//! Shapes: `t` tokens of a row, `h` query heads, `k` key/value heads, `d` features of a head.

use std::ffi::{c_char, c_int, c_void};

use tch::{TchError, Tensor};

use super::checked;
use super::kernels::AttentionParams;

/// A branch of a row: tokens that follow another branch, or begin a sequence. Branches are
/// consecutive in the row, each somewhere after the one that it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixNode {
    /// Number of tokens.
    pub length: i64,
    /// Index of the branch that it follows; none for the beginning of a sequence.
    pub after: Option<usize>,
}

#[repr(C)]
struct RawPrefixNode {
    length: i64,
    after: i64,
}

unsafe extern "C" {
    fn ewe_attend_branches(
        q: *mut c_void,
        k: *mut c_void,
        v: *mut c_void,
        branches: *const RawPrefixNode,
        count: usize,
        scale: f64,
        window: i64,
        widen: c_int,
        out: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_attend_flash(
        q: *mut c_void,
        k: *mut c_void,
        v: *mut c_void,
        ends_q: *mut c_void,
        ends_k: *mut c_void,
        branches: *const RawPrefixNode,
        count: usize,
        scale: f64,
        window: i64,
        plain: c_int,
        out: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
}

impl RawPrefixNode {
    fn of(branch: &PrefixNode) -> RawPrefixNode {
        RawPrefixNode {
            length: branch.length,
            after: branch.after.map_or(-1, |index| index as i64),
        }
    }
}

fn raw(x: &Tensor) -> *mut c_void {
    x.as_ptr() as *mut c_void
}

fn raws(branches: &[PrefixNode]) -> Vec<RawPrefixNode> {
    branches.iter().map(RawPrefixNode::of).collect()
}

/// Computes attention on the CPU: `q_thd`, `k_tkd`, `v_tkd` to `[t, h, d]`. Each token sees the
/// branches that its own branch follows, and its own branch up to itself. Keys and values that
/// several branches see are copied for one branch at a time. With `widen` it computes in fp32,
/// whatever the inputs' type.
///
/// # Panics
///
/// With libtorch's words if shapes or types do not match, as tch's own operations do.
pub fn attend_branches(
    q_thd: &Tensor,
    k_tkd: &Tensor,
    v_tkd: &Tensor,
    branches: &[PrefixNode],
    params: AttentionParams,
    widen: bool,
) -> Tensor {
    let raws = raws(branches);
    let mut out = std::ptr::null_mut();
    // SAFETY: the pointers belong to live tensors and a live slice; the result is a new tensor of
    // ours.
    unsafe {
        checked(|error, room| {
            let window = params.window.unwrap_or(0);
            let (branches, count) = (raws.as_ptr(), raws.len());
            let (q, k, v) = (raw(q_thd), raw(k_tkd), raw(v_tkd));
            ewe_attend_branches(
                q,
                k,
                v,
                branches,
                count,
                params.scale,
                window,
                c_int::from(widen),
                &mut out,
                error,
                room,
            )
        })
        .expect("attention of branches that fit");
        Tensor::from_ptr(out.cast())
    }
}

/// Cumulative lengths of branches, for [`attend_flash`]: int32 `[branches + 1]`, beginning with 0,
/// on the GPU.
#[derive(Debug)]
pub struct CumulativeLengths {
    /// Of the queries of each branch.
    pub queries: Tensor,
    /// Of all the keys that each branch sees.
    pub keys: Tensor,
}

/// As [`attend_branches`], with flash attention on CUDA in 16 bits (Dao 2023,
/// <https://arxiv.org/abs/2307.08691>), all branches at once. Where no branch follows another,
/// nothing is copied and no gradient summed.
///
/// Fails with libtorch's words if this GPU has no flash attention.
pub fn attend_flash(
    q_thd: &Tensor,
    k_tkd: &Tensor,
    v_tkd: &Tensor,
    branches: &[PrefixNode],
    ends: &CumulativeLengths,
    params: AttentionParams,
) -> Result<Tensor, TchError> {
    call_flash([q_thd, k_tkd, v_tkd], branches, ends, params, false)
}

/// Calls flash attention, or on the CPU if `plain` what stands in for it: then all but the call
/// itself is the same.
fn call_flash(
    [q_thd, k_tkd, v_tkd]: [&Tensor; 3],
    branches: &[PrefixNode],
    ends: &CumulativeLengths,
    params: AttentionParams,
    plain: bool,
) -> Result<Tensor, TchError> {
    let raws = raws(branches);
    let mut out = std::ptr::null_mut();
    // SAFETY: the pointers belong to live tensors and a live slice; the result is a new tensor of
    // ours.
    unsafe {
        checked(|error, room| {
            let (q, k, v) = (raw(q_thd), raw(k_tkd), raw(v_tkd));
            let (ends_q, ends_k) = (raw(&ends.queries), raw(&ends.keys));
            let (branches, count) = (raws.as_ptr(), raws.len());
            let window = params.window.unwrap_or(0);
            ewe_attend_flash(
                q,
                k,
                v,
                ends_q,
                ends_k,
                branches,
                count,
                params.scale,
                window,
                c_int::from(plain),
                &mut out,
                error,
                room,
            )
        })?;
        Ok(Tensor::from_ptr(out.cast()))
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::shim::forget_gradient;
    use crate::shim::tests::{apart, numbers, step};

    fn node(length: i64, after: Option<usize>) -> PrefixNode {
        PrefixNode { length, after }
    }

    fn lengths(of: &[i32]) -> Tensor {
        let mut ends = vec![0i32];
        for length in of {
            ends.push(ends[ends.len() - 1] + *length);
        }
        Tensor::from_slice(&ends)
    }

    /// With shared beginnings and without: what is gathered for flash attention, and how its
    /// gradients are summed, gives the attention of branches.
    #[test]
    fn what_flash_attention_is_given_is_what_branches_see() {
        let shared = (
            vec![
                node(9, None),
                node(4, Some(0)),
                node(6, Some(1)),
                node(3, Some(0)),
                node(7, None),
            ],
            [9, 4, 6, 3, 7],
            [9, 13, 19, 12, 7],
        );
        let alone = (
            [9, 4, 6, 3, 7].map(|length| node(length, None)).to_vec(),
            [9, 4, 6, 3, 7],
            [9, 4, 6, 3, 7],
        );
        for (branches, queries, keys) in [shared, alone] {
            let ends = CumulativeLengths {
                queries: lengths(&queries),
                keys: lengths(&keys),
            };
            for kind in [Kind::Float, Kind::BFloat16] {
                for (kv_heads, window) in [(4, None), (2, None), (1, Some(5))] {
                    let params = AttentionParams {
                        window,
                        ..AttentionParams::by_root(16)
                    };
                    let x =
                        |heads: i64, seed: i64| numbers(&[29, heads, 16], kind, seed).set_requires_grad(true);
                    let (q, k, v) = (x(4, 1), x(kv_heads, 2), x(kv_heads, 3));
                    let seed = numbers(&[29, 4, 16], kind, 4);
                    let run = |out: Tensor| {
                        (&out * &seed).sum(Kind::Float).backward();
                        let gradients = [&q, &k, &v].map(|x| x.grad().copy());
                        [&q, &k, &v].into_iter().for_each(forget_gradient);
                        (out.detach(), gradients)
                    };
                    let plain = call_flash([&q, &k, &v], &branches, &ends, params, true).unwrap();
                    let (ours, our_gradients) = run(plain);
                    let (want, gradients) = run(attend_branches(&q, &k, &v, &branches, params, true));
                    let pairs = our_gradients.iter().zip(&gradients).chain([(&ours, &want)]);
                    for (ours, want) in pairs {
                        let off = apart(ours, want);
                        // Keys' gradients are sums over the query heads of a group, each rounded.
                        let most = (4 + 4 / kv_heads) as f64 * step(kind);
                        assert!(off <= most, "{kind:?} {kv_heads} {window:?}: {off:e}");
                    }
                }
            }
        }
    }
}
