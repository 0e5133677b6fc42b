//! Attention of sequences that share a row, by `csrc/attention.cpp`. Both functions record themselves for autograd.
//!
//! Shapes: `t` tokens of a row, `h` query heads, `k` key/value heads, `d` features of a head, `l` keys of all sequences, `s` sequences.

use std::ffi::{c_char, c_int, c_void};

use tch::{TchError, Tensor};

use super::checked;
use super::kernels::AttentionParams;

/// Tokens of a row that follow those of another branch of it, or begin a sequence. Branches lie one behind the other, each behind the
/// one that it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixNode {
    /// Tokens.
    pub length: i64,
    /// Index of the branch that it follows.
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
        out: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
}

fn raw(x: &Tensor) -> *mut c_void {
    x.as_ptr() as *mut c_void
}

fn raws(branches: &[PrefixNode]) -> Vec<RawPrefixNode> {
    let of = |branch: &PrefixNode| RawPrefixNode {
        length: branch.length,
        after: branch.after.map_or(-1, |index| index as i64),
    };
    branches.iter().map(of).collect()
}

/// Attention on the CPU in which each token sees what its branch follows, and its branch up to itself: `q_thd`, `k_tkd`, `v_tkd` to
/// `[t, h, d]`. Of what several branches see, one copy at a time exists. With `widen` it is computed in fp32 whatever their type.
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
    // SAFETY: the pointers are live tensors' and a live slice's; what comes back is a new tensor of ours.
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

/// Where branches end, for [`attend_flash`]: int32 `[branches + 1]`, from 0 on, on the GPU.
#[derive(Debug)]
pub struct Ends {
    /// Their queries.
    pub queries: Tensor,
    /// All the keys that each sees, one branch's behind the other's.
    pub keys: Tensor,
}

/// As [`attend_branches`], by flash attention on CUDA in 16 bits (Dao 2023, <https://arxiv.org/abs/2307.08691>), all branches at once.
///
/// Fails, with libtorch's words, where this GPU has none.
pub fn attend_flash(
    q_thd: &Tensor,
    k_tkd: &Tensor,
    v_tkd: &Tensor,
    branches: &[PrefixNode],
    ends: &Ends,
    params: AttentionParams,
) -> Result<Tensor, TchError> {
    let raws = raws(branches);
    let mut out = std::ptr::null_mut();
    // SAFETY: the pointers are live tensors' and a live slice's; what comes back is a new tensor of ours.
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
                &mut out,
                error,
                room,
            )
        })?;
        Ok(Tensor::from_ptr(out.cast()))
    }
}
