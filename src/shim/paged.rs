//! Attention over a cache of pages (`csrc/paged.cpp`), and which caches can have it.
//!
//! Shapes: `n` new tokens of `s` sequences, `h` query heads, `k` key/value heads, `d` features of a
//! head, `p` pages of [`PAGE`] tokens, `w` pages of a table's row.

use std::ffi::{c_char, c_int, c_void};

use tch::{Device, Kind, TchError, Tensor};

use super::kernels::AttentionParams;
use super::{checked, context};

/// Tokens of a page. Flash attention takes multiples of 256 only.
pub const PAGE: i64 = 256;

/// Most features of a head that flash attention takes.
const MOST_FEATURES: i64 = 256;

/// Returns whether flash attention reads a cache in pages: 16 bits, heads of at most 256 features
/// that 8 divides, on a GPU of compute capability 8.0 (Ampere) or higher. `capability` is none off
/// CUDA.
pub fn takes_pages(kind: Kind, head_dim: i64, capability: Option<(u32, u32)>) -> bool {
    matches!(kind, Kind::BFloat16 | Kind::Half)
        && head_dim > 0
        && head_dim <= MOST_FEATURES
        && head_dim % 8 == 0
        && capability.is_some_and(|(major, _)| major >= 8)
}

/// Returns the compute capability of a CUDA device; none for the CPU, and where the driver gives
/// none.
pub fn capability(device: Device) -> Option<(u32, u32)> {
    match device {
        Device::Cuda(index) => Some(context::card(index).ok()?.capability),
        _ => None,
    }
}

/// Where the new tokens of a pass and the keys that they see lie, all int32 on the cache's device.
#[derive(Debug)]
pub struct PagedLengths {
    /// Cumulative numbers of new tokens, beginning with 0: `[s + 1]`.
    pub query_ends: Tensor,
    /// Cumulative numbers of keys, beginning with 0: `[s + 1]`.
    pub key_ends: Tensor,
    /// Keys of each sequence, those of its new tokens included: `[s]`.
    pub used_s: Tensor,
    /// Pages of each sequence, in order: `[s, w]`.
    pub table_sw: Tensor,
    /// Most new tokens of a sequence.
    pub most_queries: i64,
    /// Most keys of a sequence.
    pub most_keys: i64,
}

/// `ewe_pages_call` of the header.
#[repr(C)]
struct Call {
    q: *mut c_void,
    k: *mut c_void,
    v: *mut c_void,
    query_ends: *mut c_void,
    key_ends: *mut c_void,
    used: *mut c_void,
    table: *mut c_void,
    most_queries: i64,
    most_keys: i64,
    scale: f64,
    window: i64,
    plain: c_int,
}

unsafe extern "C" {
    fn ewe_attend_pages(call: *const Call, out: *mut *mut c_void, error: *mut c_char, room: usize) -> c_int;
    #[cfg(test)]
    fn ewe_attend_pages_parts(most_queries: i64, heads: i64, kv_heads: i64, window: i64) -> i64;
}

/// Computes attention of new tokens over pages: `q_nhd`, `k_ppkd`, `v_ppkd` to `[n, h, d]`. The
/// last new token of a sequence sees all its keys. On CUDA in one call of flash attention (Dao
/// 2023, <https://arxiv.org/abs/2307.08691>), on the CPU by [`attend_pages_plainly`].
///
/// Fails with libtorch's words if sizes or types do not match, or this GPU has no flash attention.
pub fn attend_pages(
    q_nhd: &Tensor,
    k_ppkd: &Tensor,
    v_ppkd: &Tensor,
    lengths: &PagedLengths,
    params: AttentionParams,
) -> Result<Tensor, TchError> {
    call(q_nhd, k_ppkd, v_ppkd, lengths, params, !q_nhd.device().is_cuda())
}

/// As [`attend_pages`], in libtorch's operations and in fp32, on any device and in any type: for
/// tests, and to compare a GPU's flash attention with.
#[cfg_attr(not(test), allow(dead_code))]
pub fn attend_pages_plainly(
    q_nhd: &Tensor,
    k_ppkd: &Tensor,
    v_ppkd: &Tensor,
    lengths: &PagedLengths,
    params: AttentionParams,
) -> Result<Tensor, TchError> {
    call(q_nhd, k_ppkd, v_ppkd, lengths, params, true)
}

fn call(
    q_nhd: &Tensor,
    k_ppkd: &Tensor,
    v_ppkd: &Tensor,
    lengths: &PagedLengths,
    params: AttentionParams,
    plain: bool,
) -> Result<Tensor, TchError> {
    // The result would be that of scores without a cap.
    assert!(params.cap.is_none(), "capped scores are not computed over pages");
    let raw = |x: &Tensor| x.as_ptr() as *mut c_void;
    let call = Call {
        q: raw(q_nhd),
        k: raw(k_ppkd),
        v: raw(v_ppkd),
        query_ends: raw(&lengths.query_ends),
        key_ends: raw(&lengths.key_ends),
        used: raw(&lengths.used_s),
        table: raw(&lengths.table_sw),
        most_queries: lengths.most_queries,
        most_keys: lengths.most_keys,
        scale: params.scale,
        window: params.window.unwrap_or(0),
        plain: c_int::from(plain),
    };
    let mut out = std::ptr::null_mut();
    // SAFETY: the pointers belong to live tensors; the result is a new tensor of ours.
    unsafe {
        checked(|error, room| ewe_attend_pages(&call, &mut out, error, room))?;
        Ok(Tensor::from_ptr(out.cast()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::tests::numbers;

    #[test]
    fn pages_are_for_16_bits_and_heads_that_flash_attention_takes_from_ampere_on() {
        const HOPPER: Option<(u32, u32)> = Some((9, 0));
        for (kind, head_dim, capability, taken) in [
            (Kind::BFloat16, 256, HOPPER, true),
            (Kind::Half, 64, Some((8, 0)), true),
            (Kind::BFloat16, 80, Some((12, 0)), true),
            (Kind::BFloat16, 8, Some((8, 6)), true),
            (Kind::Float, 64, HOPPER, false),
            (Kind::BFloat16, 264, HOPPER, false),
            (Kind::BFloat16, 84, HOPPER, false),
            (Kind::BFloat16, 0, HOPPER, false),
            (Kind::Half, 64, Some((7, 5)), false),
            (Kind::BFloat16, 64, None, false),
        ] {
            assert_eq!(
                takes_pages(kind, head_dim, capability),
                taken,
                "{kind:?} {head_dim} {capability:?}"
            );
        }
        assert_eq!(capability(Device::Cpu), None);
    }

    /// Several parts are added up at the wrong place unless libtorch swaps groups for queries.
    #[test]
    fn keys_are_divided_only_where_their_parts_are_added_up_rightly() {
        // SAFETY: takes numbers.
        let parts =
            |queries, heads, kv, window| unsafe { ewe_attend_pages_parts(queries, heads, kv, window) };
        assert_eq!(parts(1, 8, 2, 0), 0);
        assert_eq!(parts(1, 8, 8, 0), 1);
        assert_eq!(parts(1, 8, 2, 128), 1);
        assert_eq!(parts(2, 8, 2, 0), 1);
    }

    fn int32(values: &[i32], size: &[i64]) -> Tensor {
        Tensor::from_slice(values).view(size)
    }

    fn lengths() -> PagedLengths {
        PagedLengths {
            query_ends: int32(&[0, 1, 4], &[3]),
            key_ends: int32(&[0, 300, 303], &[3]),
            used_s: int32(&[300, 3], &[2]),
            table_sw: int32(&[2, 0, 1, 0], &[2, 2]),
            most_queries: 3,
            most_keys: 300,
        }
    }

    #[test]
    fn sizes_that_flash_attention_refuses_are_errors_of_the_twin_too() {
        let q = numbers(&[4, 4, 16], Kind::Float, 1);
        let pages = numbers(&[3, PAGE, 2, 16], Kind::Float, 2);
        let params = AttentionParams::by_root(16);
        let run = |q: &Tensor, pages: &Tensor, lengths: &PagedLengths| {
            attend_pages_plainly(q, pages, pages, lengths, params).map_err(|error| error.to_string())
        };
        assert_eq!(run(&q, &pages, &lengths()).unwrap().size(), [4, 4, 16]);
        let small = pages.narrow(1, 0, 128).contiguous();
        assert!(run(&q, &small, &lengths()).unwrap_err().contains("256"));
        let long = PagedLengths {
            used_s: Tensor::from_slice(&[300i64, 3]),
            ..lengths()
        };
        assert!(run(&q, &pages, &long).unwrap_err().contains("int32"));
        let narrow = PagedLengths {
            table_sw: int32(&[2, 1], &[2, 1]),
            ..lengths()
        };
        assert!(
            run(&q, &pages, &narrow)
                .unwrap_err()
                .contains("300 keys in a table of 1 pages")
        );
        let wide = numbers(&[4, 4, 24], Kind::Float, 1);
        assert!(run(&wide, &pages, &lengths()).unwrap_err().contains("features"));
    }

    /// On the CPU, libtorch has no flash attention over pages: an error and not a panic.
    #[test]
    fn flash_attention_of_the_cpu_is_an_error() {
        let q = numbers(&[4, 4, 16], Kind::BFloat16, 1);
        let pages = numbers(&[3, PAGE, 2, 16], Kind::BFloat16, 2);
        let error = call(
            &q,
            &pages,
            &pages,
            &lengths(),
            AttentionParams::by_root(16),
            false,
        )
        .unwrap_err();
        assert!(error.to_string().contains("_flash_attention_forward"), "{error}");
    }

    /// Pages of the table, in its order, are what the sequence sees; all else changes nothing.
    #[test]
    fn a_sequence_sees_its_pages_and_no_others() {
        let q = numbers(&[4, 4, 16], Kind::Float, 1);
        let (k, v) = (
            numbers(&[3, PAGE, 2, 16], Kind::Float, 2),
            numbers(&[3, PAGE, 2, 16], Kind::Float, 3),
        );
        let params = AttentionParams::by_root(16);
        let before = attend_pages_plainly(&q, &k, &v, &lengths(), params).unwrap();
        // Beyond the 300 keys of the first sequence, and the three of the second.
        let _ = k.get(0).narrow(0, 44, PAGE - 44).fill_(7.0);
        let _ = v.get(1).narrow(0, 3, PAGE - 3).fill_(7.0);
        let after = attend_pages_plainly(&q, &k, &v, &lengths(), params).unwrap();
        assert_eq!(before, after);
        // The last key of the first.
        let _ = v.get(0).get(43).fill_(7.0);
        let changed = attend_pages_plainly(&q, &k, &v, &lengths(), params).unwrap();
        assert_ne!(changed.get(0), after.get(0));
        assert_eq!(changed.narrow(0, 1, 3), after.narrow(0, 1, 3));
    }
}
