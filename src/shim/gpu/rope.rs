//! Rotary embedding and the write into the cache in one launch; `csrc/gpu/rope_cache.h`.
//!
//! Shapes: `n` tokens, `h` query heads, `k` key/value heads, `d` features of a head, `r` of them
//! rotated, `p` pages of `p` tokens each.

use super::{Argument, Kernels};
use crate::shim::RopePairing;
use anyhow::{Result, bail};
use tch::{Device, Kind, Tensor};

/// Lanes of a warp, each of which takes this many features.
const LANES: i64 = 32;
const FEATURES: i64 = 8;

/// Queries, keys and values of new tokens, and where they go. All of one type, bf16 or fp32, and on
/// one device.
#[derive(Debug)]
pub struct RotatedWrite<'a> {
    /// Which features are rotated together.
    pub pairing: RopePairing,
    /// Queries, of any strides whose last is 1, as keys and values.
    pub q_nhd: &'a Tensor,
    /// Keys.
    pub k_nkd: &'a Tensor,
    /// Values.
    pub v_nkd: &'a Tensor,
    /// Cosine for each rotated feature.
    pub cos_nr: &'a Tensor,
    /// Sine for each rotated feature, with the sign of the rotation.
    pub sin_nr: &'a Tensor,
    /// Place of each token in the cache, int64: its page's number times a page's tokens, plus its
    /// place in there.
    pub place_n: &'a Tensor,
    /// The cache's keys, contiguous.
    pub k_ppkd: &'a Tensor,
    /// The cache's values, contiguous.
    pub v_ppkd: &'a Tensor,
}

/// Returns the rotated queries, contiguous `[n, h, d]`. Writes the rotated keys and the values at
/// their places in the cache. The bits are those of libtorch's operations.
///
/// # Errors
///
/// If a kernel cannot be compiled or launched, or the type is another. Nothing is written then.
///
/// # Panics
///
/// If sizes, types, devices or strides do not fit together; on the CPU, if a place is beyond the
/// cache.
pub fn rope_cache(given: &RotatedWrite) -> Result<Tensor> {
    let (kind, device) = (given.q_nhd.kind(), given.q_nhd.device());
    let name = match kind {
        Kind::BFloat16 => "rope_cache_bf16",
        Kind::Float => "rope_cache_fp32",
        _ => bail!("there is no kernel for {kind:?}"),
    };
    let size = given.q_nhd.size();
    let [tokens, heads, width] = size[..] else {
        panic!("queries have three dimensions, not {size:?}");
    };
    let (kv, dims) = (given.k_nkd.size()[1], given.cos_nr.size()[1]);
    given.check(tokens, kv, width, dims);
    let kernels = Kernels::on(device)?;
    let q_out = Tensor::empty([tokens, heads, width], (kind, device));
    let strided = |x: &Tensor| {
        let strides = x.stride();
        [
            Argument::of(x),
            Argument::Long(strides[0]),
            Argument::Long(strides[1]),
        ]
    };
    let mut arguments: Vec<Argument> = [given.q_nhd, given.k_nkd, given.v_nkd]
        .into_iter()
        .flat_map(strided)
        .collect();
    arguments.extend([given.cos_nr, given.sin_nr, given.place_n].map(Argument::of));
    arguments.extend([&q_out, given.k_ppkd, given.v_ppkd].map(Argument::of));
    arguments.extend([tokens, heads, kv, width, dims].map(Argument::Long));
    let halves = matches!(given.pairing, RopePairing::Halves);
    arguments.push(Argument::Int(i32::from(halves)));
    arguments.push(Argument::Int(i32::from(given.aligned(&q_out, halves))));
    let count = tokens * (heads + 2 * kv) * ((width + FEATURES - 1) / FEATURES);
    // SAFETY: the arguments are the kernel's in their order; all tensors have the types and sizes
    // that it reads and writes, as checked. Places are within the cache: on a GPU the caller's,
    // whose table has no others.
    unsafe { kernels.launch(name, (count + LANES - 1) / LANES, &arguments)? };
    Ok(q_out)
}

impl RotatedWrite<'_> {
    fn check(&self, tokens: i64, kv: i64, width: i64, dims: i64) {
        let (kind, device) = (self.q_nhd.kind(), self.q_nhd.device());
        let heads = [tokens, kv, width];
        assert!(
            self.k_nkd.size() == heads && self.v_nkd.size() == heads,
            "keys {:?}, values {:?}, queries {:?}",
            self.k_nkd.size(),
            self.v_nkd.size(),
            self.q_nhd.size()
        );
        assert!(
            self.cos_nr.size() == [tokens, dims] && self.sin_nr.size() == [tokens, dims],
            "an angle for each feature of each token"
        );
        assert!(
            dims > 0 && dims % 2 == 0 && dims <= width,
            "rotated features: {dims} of {width}"
        );
        let cache = self.k_ppkd.size();
        assert!(
            cache.len() == 4 && cache[2..] == [kv, width] && self.v_ppkd.size() == cache,
            "a cache of these heads, not {cache:?}"
        );
        let rows = cache[0] * cache[1];
        let all = [
            self.q_nhd,
            self.k_nkd,
            self.v_nkd,
            self.cos_nr,
            self.sin_nr,
            self.k_ppkd,
            self.v_ppkd,
        ];
        assert!(
            all.iter().all(|x| x.kind() == kind && x.device() == device),
            "one type and device"
        );
        assert!(
            all[..3].iter().all(|x| x.stride()[2] == 1) && all[3..].iter().all(|x| x.is_contiguous()),
            "features one behind the other"
        );
        assert!(
            self.place_n.size() == [tokens]
                && self.place_n.kind() == Kind::Int64
                && self.place_n.device() == device
                && self.place_n.is_contiguous(),
            "a place for each token"
        );
        if device == Device::Cpu && tokens > 0 {
            let (least, most) = (self.place_n.min(), self.place_n.max());
            assert!(
                least.int64_value(&[]) >= 0 && most.int64_value(&[]) < rows,
                "places {least} to {most} of {rows}"
            );
        }
    }

    /// Returns whether 8 features may be read at once wherever 8 begin.
    fn aligned(&self, q_out: &Tensor, halves: bool) -> bool {
        let is_multiple = |x: &Tensor| (x.data_ptr() as usize).is_multiple_of(16);
        let read = [self.q_nhd, self.k_nkd, self.v_nkd];
        let whole = [self.cos_nr, self.sin_nr, self.k_ppkd, self.v_ppkd, q_out];
        let rotated = if halves { 2 * FEATURES } else { FEATURES };
        q_out.size()[2] % FEATURES == 0
            && self.cos_nr.size()[1] % rotated == 0
            && read
                .iter()
                .all(|x| is_multiple(x) && x.stride()[..2].iter().all(|stride| stride % FEATURES == 0))
            && whole.iter().all(|x| is_multiple(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::tests::numbers;

    /// Rotates as `model::layers::rope` does in libtorch's operations.
    fn rotated(pairing: RopePairing, x_nhd: &Tensor, cos_nr: &Tensor, sin_nr: &Tensor) -> Tensor {
        let dims = cos_nr.size()[1];
        let x = x_nhd.narrow(2, 0, dims);
        let swapped = match pairing {
            RopePairing::Halves => x.roll(dims / 2, 2),
            RopePairing::Pairs => x.unflatten(2, [dims / 2, 2]).flip(-1).flatten(-2, -1),
        };
        let y = x * cos_nr.unsqueeze(1) + swapped * sin_nr.unsqueeze(1);
        Tensor::cat(&[y, x_nhd.narrow(2, dims, x_nhd.size()[2] - dims)], 2)
    }

    /// One launch leaves the bits of libtorch's rotation and write: of all features and of some,
    /// aligned and not, of tensors of their own and of views of one product, with few key heads.
    #[test]
    fn rotation_and_write_have_the_bits_of_libtorchs_operations() {
        let cases = [
            (64, 64, 4, 2),
            (256, 64, 2, 2),
            (16, 8, 4, 1),
            (80, 20, 3, 3),
            (6, 2, 4, 2),
            (24, 24, 2, 1),
        ];
        for kind in [Kind::Float, Kind::BFloat16] {
            for (width, dims, heads, kv) in cases {
                for pairing in [RopePairing::Halves, RopePairing::Pairs] {
                    for fused in [false, true] {
                        let tokens = 5;
                        let product = numbers(&[tokens, heads + 2 * kv, width], kind, 1);
                        let part = |from: i64, count: i64| {
                            let view = product.narrow(1, from, count);
                            if fused { view } else { view.contiguous() }
                        };
                        let (q, k, v) = (part(0, heads), part(heads, kv), part(heads + kv, kv));
                        let (cos, sin) = (
                            numbers(&[tokens, dims], kind, 4),
                            numbers(&[tokens, dims], kind, 5),
                        );
                        let place_n = Tensor::from_slice(&[7i64, 2, 0, 11, 5]);
                        let cache = || numbers(&[3, 4, kv, width], kind, 6);
                        let (k_ours, v_ours, k_want, v_want) = (cache(), cache(), cache(), cache());
                        let q_ours = rope_cache(&RotatedWrite {
                            pairing,
                            q_nhd: &q,
                            k_nkd: &k,
                            v_nkd: &v,
                            cos_nr: &cos,
                            sin_nr: &sin,
                            place_n: &place_n,
                            k_ppkd: &k_ours,
                            v_ppkd: &v_ours,
                        })
                        .unwrap();
                        let flat = [12, kv, width];
                        let _ = k_want
                            .view(flat)
                            .index_copy_(0, &place_n, &rotated(pairing, &k, &cos, &sin));
                        let _ = v_want.view(flat).index_copy_(0, &place_n, &v);
                        let at = format!("{kind:?}, {dims} of {width}, {pairing:?}, {fused}");
                        let bits = |x: &Tensor| {
                            x.contiguous().view_dtype(match kind {
                                Kind::Float => Kind::Int,
                                _ => Kind::Int16,
                            })
                        };
                        let q_want = rotated(pairing, &q, &cos, &sin);
                        assert_eq!(bits(&q_ours), bits(&q_want), "{at}: queries");
                        assert_eq!(bits(&k_ours), bits(&k_want), "{at}: keys");
                        assert_eq!(bits(&v_ours), bits(&v_want), "{at}: values");
                    }
                }
            }
        }
    }

    #[test]
    fn half_precision_has_no_kernel() {
        let x = numbers(&[1, 1, 8], Kind::Half, 1);
        let angle = x.view([1, 8]);
        let error = rope_cache(&RotatedWrite {
            pairing: RopePairing::Pairs,
            q_nhd: &x,
            k_nkd: &x,
            v_nkd: &x,
            cos_nr: &angle,
            sin_nr: &angle,
            place_n: &Tensor::from_slice(&[0i64]),
            k_ppkd: &x.unsqueeze(0),
            v_ppkd: &x.unsqueeze(0),
        });
        assert!(error.unwrap_err().to_string().contains("Half"));
    }

    #[test]
    #[should_panic(expected = "places")]
    fn a_place_beyond_the_cache_is_refused_on_the_cpu() {
        let x = numbers(&[1, 1, 8], Kind::Float, 1);
        let angle = x.view([1, 8]);
        let _ = rope_cache(&RotatedWrite {
            pairing: RopePairing::Pairs,
            q_nhd: &x,
            k_nkd: &x,
            v_nkd: &x,
            cos_nr: &angle,
            sin_nr: &angle,
            place_n: &Tensor::from_slice(&[1i64]),
            k_ppkd: &x.copy().unsqueeze(0),
            v_ppkd: &x.copy().unsqueeze(0),
        });
    }
}
