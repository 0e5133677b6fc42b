//! The kernels against libtorch's operations.

use tch::Device;

use super::super::tests::{KINDS, apart, numbers, step};
use super::*;

#[test]
fn norms_round_where_libtorch_does() {
    for kind in KINDS {
        for (rows, d) in [(1, 16), (5, 40), (3, 7), (70, 640)] {
            let (x, w, r) = (
                numbers(&[rows, d], kind, 1),
                numbers(&[d], kind, 2),
                numbers(&[rows, d], kind, 3),
            );
            let wide = x.to_kind(Kind::Float);
            let gemma = wide
                .rms_norm([d], Some(&(w.to_kind(Kind::Float) + 1.0)), 1e-6)
                .to_kind(kind);
            let llama = wide.rms_norm([d], None::<&Tensor>, 1e-6).to_kind(kind) * &w;
            for (norm, want) in [(Norm::Gemma, gemma), (Norm::Llama, llama)] {
                let plain = rms_norm(norm, &x, &w, None, 1e-6);
                assert!(apart(&plain, &want) <= step(kind), "{norm:?} {kind:?} {rows}x{d}");
                let added = rms_norm(norm, &x, &w, Some(&r), 1e-6);
                assert!(
                    apart(&added, &(want + &r)) <= 2.0 * step(kind),
                    "{norm:?} {kind:?} {rows}x{d}"
                );
            }
        }
    }
}

#[test]
fn turning_is_exact() {
    for kind in KINDS {
        for (d, dims) in [(32, 32), (48, 24), (16, 4), (8, 8)] {
            let x = numbers(&[3, 2, d], kind, 1);
            let (cos, sin) = (numbers(&[3, dims], kind, 2), numbers(&[3, dims], kind, 3));
            let part = x.narrow(2, 0, dims);
            let halves = part.roll(dims / 2, 2);
            let pairs = part.unflatten(2, [dims / 2, 2]).flip(-1).flatten(-2, -1);
            for (turn, swapped) in [(RopePairing::Halves, halves), (RopePairing::Pairs, pairs)] {
                let turned = &part * cos.unsqueeze(1) + swapped * sin.unsqueeze(1);
                let want = Tensor::cat(&[turned, x.narrow(2, dims, d - dims)], 2);
                let got = rope(turn, &x, &cos, &sin);
                // The kernel may use a fused multiply-add where libtorch rounds to fp32 in between.
                let most = if kind == Kind::Float { 1e-6 } else { 0.0 };
                assert!(apart(&got, &want) <= most, "{turn:?} {kind:?} {d} {dims}");
            }
        }
    }
}

#[test]
fn gates_are_those_of_libtorch() {
    for kind in KINDS {
        for count in [1, 31, 5000, 40_000] {
            let (gate, up) = (numbers(&[count], kind, 1) * 4.0, numbers(&[count], kind, 2));
            let gelu = gate.gelu("tanh") * &up;
            let silu = gate.silu() * &up;
            assert!(
                apart(&gated(Gate::GeluTanh, &gate, &up), &gelu) <= step(kind),
                "{kind:?}"
            );
            assert!(
                apart(&gated(Gate::Silu, &gate, &up), &silu) <= step(kind),
                "{kind:?}"
            );
        }
    }
    let broken = Tensor::from_slice(&[f32::NAN, f32::INFINITY, -1e30, 1e30]);
    let got = Vec::<f32>::try_from(gated(Gate::Silu, &broken, &broken.ones_like())).unwrap();
    assert!(
        got[0].is_nan() && got[1] == f32::INFINITY && got[2] == 0.0 && got[3] == 1e30,
        "{got:?}"
    );
}

#[test]
fn every_token_attends_to_its_own_sequence_and_window() {
    for kind in KINDS {
        for (heads, kv_heads, d) in [(4, 1, 64), (4, 4, 32), (6, 2, 16), (1, 1, 256)] {
            for (window, rounding) in [None, Some(5), Some(70)]
                .into_iter()
                .flat_map(|window| [(window, Rounding::Unnormalized), (window, Rounding::Normalized)])
            {
                // One sequence begun more than a block earlier, one step of another, one from its
                // start; slots out of order.
                let segments = [(0, 9, 2, 566), (9, 1, 0, 130), (10, 75, 1, 0)];
                let q = numbers(&[85, heads, d], kind, 1);
                let (k, v) = (
                    numbers(&[3, 600, kv_heads, d], kind, 2),
                    numbers(&[3, 600, kv_heads, d], kind, 3),
                );
                let listed: Vec<Segment> = segments
                    .iter()
                    .map(|&(offset, length, slot, start)| Segment {
                        offset,
                        length,
                        slot,
                        start,
                    })
                    .collect();
                let params = AttentionParams {
                    scale: 0.11,
                    window,
                    rounding,
                    cap: None,
                };
                let got = attend(&q, &k, &v, &listed, params);
                for (offset, length, slot, start) in segments {
                    let to = start + length;
                    let wide = |x: &Tensor| {
                        let x = x.get(slot).narrow(0, 0, to).to_kind(Kind::Double);
                        x.repeat_interleave_self_int(heads / kv_heads, 1, None)
                            .transpose(0, 1)
                    };
                    let q_hld = q.narrow(0, offset, length).to_kind(Kind::Double).transpose(0, 1);
                    let at = Tensor::arange_start(start, to, (Kind::Int64, Device::Cpu)).unsqueeze(1);
                    let keys = Tensor::arange(to, (Kind::Int64, Device::Cpu));
                    let mut hidden = keys.gt_tensor(&at);
                    if let Some(window) = window {
                        hidden = hidden.logical_or(&keys.le_tensor(&(&at - window)));
                    }
                    let scores = (q_hld.matmul(&wide(&k).transpose(1, 2)) * 0.11)
                        .masked_fill(&hidden, f64::NEG_INFINITY);
                    let want = scores.softmax(-1, Kind::Double).matmul(&wide(&v)).transpose(0, 1);
                    let difference = apart(&got.narrow(0, offset, length), &want);
                    assert!(
                        difference <= step(kind),
                        "{kind:?} {heads}/{kv_heads} {d} {params:?}: {difference}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_key_that_is_not_a_number_reaches_every_token_that_sees_it() {
    let q = numbers(&[4, 1, 16], Kind::Float, 1);
    let (k, v) = (
        numbers(&[1, 4, 1, 16], Kind::Float, 2),
        numbers(&[1, 4, 1, 16], Kind::Float, 3),
    );
    let _ = k.get(0).get(2).fill_(f64::NAN);
    let all = Segment {
        offset: 0,
        length: 4,
        slot: 0,
        start: 0,
    };
    let bad = attend(
        &q,
        &k,
        &v,
        &[all],
        AttentionParams {
            scale: 1.0,
            ..AttentionParams::default()
        },
    )
    .isnan()
    .any_dim(2, false)
    .view(-1);
    assert_eq!(Vec::<bool>::try_from(bad).unwrap(), [false, false, true, true]);
}

#[test]
fn groups_have_their_maxima_and_their_masses() {
    for kind in KINDS {
        let x = numbers(&[3, 1000], kind, 1);
        let summary = summarise(&x, 64, &[1.0, 0.5, 3.0]);
        assert_eq!(summary.maxima_ng.len(), 3 * 16);
        for row in 0..3 {
            let wide = x.get(row).to_kind(Kind::Double);
            let most = wide.max().double_value(&[]);
            for group in 0..16 {
                let of = wide.narrow(0, group * 64, 64.min(1000 - group * 64));
                let sharpness = [1.0, 0.5, 3.0][row as usize];
                let at = (row * 16 + group) as usize;
                assert_eq!(f64::from(summary.maxima_ng[at]), of.max().double_value(&[]));
                let sum = ((of - most) * sharpness)
                    .exp()
                    .sum(Kind::Double)
                    .double_value(&[]);
                assert!(
                    (f64::from(summary.sums_ng[at]) - sum).abs() <= 1e-5 * sum.max(1e-3),
                    "{row} {group}"
                );
            }
        }
        assert!(summarise(&x, 64, &[]).sums_ng.is_empty());
    }
    let x = numbers(&[1, 100], Kind::Float, 1);
    let _ = x.get(0).get(99).fill_(f64::NAN);
    let maxima = summarise(&x, 64, &[]).maxima_ng;
    assert!(!maxima[0].is_nan() && maxima[1].is_nan());
}

#[test]
fn the_first_value_that_is_no_finite_number_is_found() {
    for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
        let x = numbers(&[700, 1000], kind, 1);
        assert_eq!(not_finite(&x), None, "{kind:?}");
        let _ = x.get(655).narrow(0, 991, 1).fill_(f64::INFINITY);
        assert_eq!(not_finite(&x), Some(655_991), "{kind:?}");
        let _ = x.get(2).narrow(0, 7, 1).fill_(f64::NAN);
        assert_eq!(not_finite(&x), Some(2_007), "{kind:?}");
        assert_eq!(not_finite(&Tensor::zeros([0], (kind, Device::Cpu))), None);
    }
}
