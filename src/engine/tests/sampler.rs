//! The sampler against one that sorts the whole vocabulary.

use ewe::backend::Sampling;
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use super::greedy;
use crate::engine::sampler::{SamplerRow, SeenTokens, choose, uniform};
use crate::shim::generator::with_seed;

/// Makes the same choice by sorting the whole vocabulary.
fn naive(scores: &[f32], s: &Sampling, u: f64) -> i64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    if s.temperature <= 0.0 {
        return order[0] as i64;
    }
    let plain = s.top_p >= 1.0 && s.top_k == 0 && s.min_p <= 0.0;
    let scaled = |i: usize| f64::from(scores[i] / s.temperature as f32);
    let best = scaled(order[0]);
    if s.top_k > 0 {
        order.truncate(s.top_k);
    }
    let weight = |i: usize| (scaled(i) - best).exp();
    let mass: f64 = order.iter().map(|&i| weight(i)).sum();
    let (mut kept, mut sum) = (Vec::new(), 0.0);
    for &i in &order {
        if weight(i) < s.min_p {
            break;
        }
        kept.push(i);
        sum += weight(i);
        if s.top_p < 1.0 && sum >= s.top_p * mass {
            break;
        }
    }
    if plain {
        // Without filters, the draw goes through the vocabulary in order of ids.
        kept.sort_unstable();
    }
    let mut left = u * sum;
    for &i in &kept {
        left -= weight(i);
        if left < 0.0 {
            return i as i64;
        }
    }
    *kept.last().unwrap() as i64
}

/// Whether `found` is what [`naive`] chooses if the draw, `top_p` or `min_p` is off by no more than
/// rounding: the sampler multiplies by the inverse of the temperature, and adds weights up in
/// groups and in fp32. One draw in a thousand hits such a border.
fn is_near(found: i64, scores: &[f32], s: &Sampling, u: f64) -> bool {
    const OFF: [f64; 3] = [-2e-5, 0.0, 2e-5];
    let pairs = OFF.into_iter().flat_map(|of_p| OFF.map(|of_min| (of_p, of_min)));
    let mut others = pairs.map(|(of_p, of_min)| Sampling {
        top_p: if s.top_p < 1.0 { s.top_p + of_p } else { s.top_p },
        min_p: s.min_p * (1.0 + of_min),
        ..s.clone()
    });
    others.any(|other| OFF.iter().any(|of_u| naive(scores, &other, u + of_u) == found))
}

fn naive_penalties(scores: &mut [f32], prompt: &[i64], generated: &[i64], s: &Sampling) {
    for (id, score) in scores.iter_mut().enumerate() {
        let count = generated.iter().filter(|&&t| t == id as i64).count();
        if count > 0 || prompt.contains(&(id as i64)) {
            let factor = s.repetition_penalty as f32;
            *score = if *score > 0.0 {
                *score / factor
            } else {
                *score * factor
            };
        }
        if count > 0 {
            *score -= (s.presence_penalty + s.frequency_penalty * count as f64) as f32;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Flat and peaked scores, vocabularies that divide into groups or do not, every filter on and
    /// off.
    #[test]
    fn sampling_equals_sorting_everything(
        vocab in prop_oneof![Just(96usize), Just(1000), Just(5003), Just(20_480)],
        spread in prop_oneof![Just(0.05f32), Just(1.0), Just(6.0)],
        noise in any::<u64>(),
        temperature in prop_oneof![Just(0.0), 0.3f64..1.5],
        top_p in prop_oneof![Just(1.0), 0.05f64..0.999],
        top_k in prop_oneof![Just(0usize), 1usize..300],
        min_p in prop_oneof![Just(0.0), 0.001f64..0.5],
        penalties in prop_oneof![Just((0.0, 0.0, 1.0)), (0.0f64..2.0, 0.0f64..1.0, 0.8f64..1.5)],
        seed in any::<u64>(),
        index in 0usize..500,
    ) {
        let (size, options) = ([vocab as i64], (Kind::Float, Device::Cpu));
        let scores = with_seed(noise as i64, || Tensor::randn(size, options)) * f64::from(spread);
        let sampling = Sampling {
            temperature, top_p, top_k, min_p, seed,
            presence_penalty: penalties.0, frequency_penalty: penalties.1, repetition_penalty: penalties.2,
            ..Sampling::default()
        };
        let (prompt, generated) = ([1, 5, 9, 5], [3, 9, 3, 90, 3]);
        let mut seen = SeenTokens::of_prompt(&prompt, None);
        generated.iter().for_each(|&id| seen.generated(id));
        let mut plain: Vec<f32> = Vec::try_from(&scores).unwrap();
        naive_penalties(&mut plain, &prompt, &generated, &sampling);
        let u = uniform(seed, index);
        let want = naive(&plain, &sampling, u);
        // Beside a row with other sampling parameters, which must not matter.
        let other = Sampling { temperature: 1.0 - temperature.min(1.0), ..Sampling::default() };
        let rows = [
            SamplerRow { sampling: &sampling, seen: &seen, index, forbidden: &[] },
            SamplerRow { sampling: &other, seen: &seen, index: 0, forbidden: &[] },
        ];
        let both = Tensor::stack(&[&scores, &scores], 0);
        let found = choose(&both, &rows)[0].expect("the scores are numbers");
        prop_assert!(found == want || is_near(found, &plain, &sampling, u), "{found}, want {want}");
    }
}

#[test]
fn draws_follow_the_probabilities() {
    let scores_bv = Tensor::from_slice(&[0.5f32.ln(), 0.3f32.ln(), 0.15f32.ln(), 0.05f32.ln()]).unsqueeze(0);
    let seen = SeenTokens::default();
    for (top_p, want) in [(1.0, [0.5, 0.3, 0.15, 0.05]), (0.75, [0.625, 0.375, 0.0, 0.0])] {
        let sampling = Sampling {
            temperature: 1.0,
            top_p,
            seed: 3,
            ..Sampling::default()
        };
        let mut counts = [0.0; 4];
        for index in 0..4000 {
            counts[choose(
                &scores_bv,
                &[SamplerRow {
                    sampling: &sampling,
                    seen: &seen,
                    index,
                    forbidden: &[],
                }],
            )[0]
            .unwrap() as usize] += 1.0 / 4000.0;
        }
        let off = counts
            .iter()
            .zip(want)
            .map(|(a, b): (&f64, f64)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(off < 0.03, "top_p {top_p}: {counts:?}, want {want:?}");
    }
}

#[test]
fn scores_that_are_no_numbers_choose_nothing_and_do_not_touch_their_neighbours() {
    let seen = SeenTokens::of_prompt(&[3], None);
    let whole = |value| Tensor::full([500], value, (Kind::Float, Device::Cpu));
    let one = |value| {
        let scores_v = Tensor::zeros([500], (Kind::Float, Device::Cpu));
        let _ = scores_v.get(400).fill_(value);
        scores_v
    };
    let samplings = [
        Sampling {
            top_p: 0.9,
            ..Sampling::default()
        },
        Sampling {
            top_k: 5,
            repetition_penalty: 1.3,
            ..Sampling::default()
        },
        Sampling::default(),
        greedy(1),
    ];
    for broken_v in [
        whole(f64::NAN),
        whole(f64::NEG_INFINITY),
        one(f64::NAN),
        one(f64::INFINITY),
    ] {
        for kind in [Kind::Float, Kind::BFloat16] {
            let scores_bv = Tensor::stack(&[&one(9.0), &broken_v, &one(9.0)], 0).to_kind(kind);
            for sampling in &samplings {
                let row = || SamplerRow {
                    sampling,
                    seen: &seen,
                    index: 0,
                    forbidden: &[],
                };
                let chosen = choose(&scores_bv, &[row(), row(), row()]);
                assert_eq!(chosen[1], None, "{sampling:?}");
                assert!(chosen[0].is_some() && chosen[0] == chosen[2], "{sampling:?}");
            }
        }
    }
}

#[test]
fn temperatures_that_nothing_can_be_divided_by_take_the_likeliest() {
    let scores_v = Tensor::arange(500, (Kind::Float, Device::Cpu)) / 50.0;
    let seen = SeenTokens::of_prompt(&[3], None);
    for temperature in [1e-6, 1e-45, 1e-300, f64::MIN_POSITIVE] {
        for (top_p, min_p) in [(1.0, 0.0), (0.9, 0.0), (0.9, 0.5)] {
            let sampling = Sampling {
                temperature,
                top_p,
                min_p,
                ..Sampling::default()
            };
            let row = SamplerRow {
                sampling: &sampling,
                seen: &seen,
                index: 0,
                forbidden: &[],
            };
            let chosen = choose(&scores_v.unsqueeze(0).copy(), &[row]);
            assert_eq!(chosen, [Some(499)], "{temperature} {top_p} {min_p}");
        }
    }
}

#[test]
fn a_window_holds_the_repetition_penalty_to_the_last_tokens() {
    // 7 is likelier than 6 until it is penalized; it is the fourth-last token.
    let scores = || {
        let scores_v = Tensor::zeros([100], (Kind::Float, Device::Cpu));
        let _ = scores_v.get(7).fill_(2.0);
        let _ = scores_v.get(6).fill_(1.5);
        scores_v.unsqueeze(0)
    };
    let sampling = Sampling {
        repetition_penalty: 2.0,
        ..greedy(1)
    };
    for (window, want) in [(None, 6), (Some(4), 6), (Some(3), 7), (Some(0), 7)] {
        let mut seen = SeenTokens::of_prompt(&[1, 7], window);
        [2, 3, 4].iter().for_each(|&id| seen.generated(id));
        let row = SamplerRow {
            sampling: &sampling,
            seen: &seen,
            index: 3,
            forbidden: &[],
        };
        assert_eq!(choose(&scores(), &[row]), [Some(want)], "{window:?}");
    }
}
