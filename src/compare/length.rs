//! Length-controlled win rate: what the win rate would be if both answers were equally long (Dubois
//! et al. 2024, "Length-Controlled AlpacaEval", arXiv 2404.04475).
//!
//! The probability that model b's answer is preferred is modelled as
//!
//! ```text
//! P(b) = σ(θ + φ · tanh(Δ / s))
//! ```
//!
//! with Δ the characters of b's answer less those of a's, s the standard deviation of Δ over the
//! items, θ what the models differ in and φ what length is worth. The rate is the prediction at
//! Δ = 0, which is σ(θ). This is the paper's model without its term for the difficulty of an
//! instruction, which is only known for the paper's own set: AlpacaEval has it as
//! `length_controlled_minimal` for other data.
//!
//! A tie is half a preference for each. The log-likelihood is penalised by φ²/2, as scikit-learn
//! does by default, so that φ stays finite where the longer answer always wins; θ is next to free.

use crate::suite::interval::{Interval, bootstrap_statistic};
use serde::Serialize;

/// How far from the raw win rate the controlled one must be to say so.
const FAR: f64 = 0.1;
/// The penalty of θ: it only keeps θ finite where one model always wins.
const LOOSE: f64 = 1e-6;
/// Steps of Newton's method. A dozen are enough, unless one model always wins.
const STEPS: usize = 60;

/// A pair with a verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preference {
    /// What model b gains: 0, ½ or 1.
    pub gain: f64,
    /// Characters of b's answer less those of a's.
    pub longer: f64,
}

/// The win rate of model b at equal lengths.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LengthControlled {
    /// The rate with its 95 % interval.
    #[serde(flatten)]
    pub rate: Interval,
    /// φ: above 0, longer answers are preferred.
    pub length_coefficient: f64,
    /// Whether the rate is more than 10 points from the raw one, so that length explains much of
    /// it.
    pub far_from_raw: bool,
}

/// Fits the model. None without pairs. The interval is by resampling pairs, with s as it is.
pub fn controlled(pairs: &[Preference], seed: u64) -> Option<LengthControlled> {
    if pairs.is_empty() {
        return None;
    }
    let raw = pairs.iter().map(|pair| pair.gain).sum::<f64>() / pairs.len() as f64;
    let deviation = deviation(pairs);
    let points: Vec<Point> = pairs
        .iter()
        .map(|pair| Point {
            gain: pair.gain,
            x: if deviation > 0.0 {
                (pair.longer / deviation).tanh()
            } else {
                0.0
            },
        })
        .collect();
    let whole = fit(points.iter().copied(), Fit::default());
    let rate = bootstrap_statistic(points.len(), seed, |drawn| {
        let drawn = drawn.iter().map(|&at| points[at as usize]);
        // What fits all of them is near what fits most of them.
        sigmoid(fit(drawn, whole).model)
    });
    Some(LengthControlled {
        rate,
        length_coefficient: whole.length,
        far_from_raw: (rate.mean - raw).abs() > FAR,
    })
}

/// The standard deviation of a sample.
fn deviation(pairs: &[Preference]) -> f64 {
    let count = pairs.len() as f64;
    let mean = pairs.iter().map(|pair| pair.longer).sum::<f64>() / count;
    let squares: f64 = pairs.iter().map(|pair| (pair.longer - mean).powi(2)).sum();
    (squares / (count - 1.0).max(1.0)).sqrt()
}

/// A pair as the model sees it.
#[derive(Debug, Clone, Copy)]
struct Point {
    gain: f64,
    x: f64,
}

/// The two parameters.
#[derive(Debug, Clone, Copy, Default)]
struct Fit {
    /// θ
    model: f64,
    /// φ
    length: f64,
}

/// Minimises the penalised negative log-likelihood by Newton's method from `start`, with halved
/// steps where a whole one leads uphill.
fn fit(points: impl Iterator<Item = Point> + Clone, start: Fit) -> Fit {
    let loss = |at: Fit| {
        let of = |point: Point| {
            let logit = at.model + at.length * point.x;
            // log(1 + e^z) without overflow.
            logit.max(0.0) + (-logit.abs()).exp().ln_1p() - point.gain * logit
        };
        let penalty = (at.length.powi(2) + LOOSE * at.model.powi(2)) / 2.0;
        points.clone().map(of).sum::<f64>() + penalty
    };
    let (mut now, mut best) = (start, loss(start));
    for _ in 0..STEPS {
        let mut gradient = [LOOSE * now.model, now.length];
        let mut hessian = [LOOSE, 0.0, 1.0];
        for point in points.clone() {
            let chance = sigmoid(now.model + now.length * point.x);
            let (miss, weight) = (chance - point.gain, chance * (1.0 - chance));
            gradient[0] += miss;
            gradient[1] += miss * point.x;
            hessian[0] += weight;
            hessian[1] += weight * point.x;
            hessian[2] += weight * point.x * point.x;
        }
        let determinant = hessian[0] * hessian[2] - hessian[1] * hessian[1];
        let step = [
            (hessian[2] * gradient[0] - hessian[1] * gradient[1]) / determinant,
            (hessian[0] * gradient[1] - hessian[1] * gradient[0]) / determinant,
        ];
        let mut scale = 1.0;
        let next = loop {
            let there = Fit {
                model: now.model - scale * step[0],
                length: now.length - scale * step[1],
            };
            let found = loss(there);
            if found <= best {
                break Some((there, found));
            }
            scale /= 2.0;
            if scale < 1e-6 {
                break None;
            }
        };
        let Some((there, found)) = next else { break };
        let moved = (there.model - now.model)
            .abs()
            .max((there.length - now.length).abs());
        (now, best) = (there, found);
        if moved < 1e-9 {
            break;
        }
    }
    now
}

fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(values: &[(f64, f64)]) -> Vec<Preference> {
        let pair = |&(longer, gain)| Preference { gain, longer };
        values.iter().map(pair).collect()
    }

    const SOME: [(f64, f64); 24] = [
        (120.0, 1.0),
        (-30.0, 0.0),
        (45.0, 1.0),
        (300.0, 1.0),
        (-80.0, 0.0),
        (10.0, 0.5),
        (0.0, 0.5),
        (220.0, 1.0),
        (-150.0, 0.0),
        (60.0, 1.0),
        (75.0, 0.0),
        (-20.0, 0.5),
        (400.0, 1.0),
        (90.0, 1.0),
        (-60.0, 0.0),
        (15.0, 1.0),
        (180.0, 1.0),
        (-5.0, 0.0),
        (33.0, 0.0),
        (250.0, 1.0),
        (-110.0, 0.5),
        (140.0, 1.0),
        (66.0, 0.5),
        (-45.0, 1.0),
    ];

    /// scikit-learn 1.9.1: `LogisticRegression(C=1)` on tanh of the standardised difference, every
    /// tie as a win and a loss of half the weight.
    #[test]
    fn it_is_the_regression_of_scikit_learn() {
        let found = controlled(&pairs(&SOME), 1).unwrap();
        assert!((found.rate.mean - 0.532_788_371_372).abs() < 1e-6, "{found:?}");
        assert!(
            (found.length_coefficient - 1.431_982_296_798).abs() < 1e-6,
            "{found:?}"
        );
        assert!(found.rate.low < 0.45 && found.rate.high > 0.6, "{found:?}");
        assert!(!found.far_from_raw);
        // From the other model's side.
        let turned = SOME.map(|(longer, gain)| (-longer, 1.0 - gain));
        let other = controlled(&pairs(&turned), 1).unwrap();
        assert!(
            (other.rate.mean + found.rate.mean - 1.0).abs() < 1e-6,
            "{other:?}"
        );
    }

    /// Where the longer answer always wins, that b is longer explains its wins: the rate falls to
    /// where the penalty lets it, which is 0.600 by scikit-learn.
    #[test]
    fn a_judge_of_lengths_finds_no_winner() {
        let by_length: Vec<(f64, f64)> = (0..60)
            .map(|at| {
                let longer = if at % 5 == 0 { -100.0 } else { 100.0 } + f64::from(at);
                (longer, f64::from(longer > 0.0))
            })
            .collect();
        let found = controlled(&pairs(&by_length), 1).unwrap();
        assert!(found.far_from_raw && found.length_coefficient > 2.0, "{found:?}");
        assert!((found.rate.mean - 0.600_309_950).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn without_differences_the_rate_is_the_raw_one() {
        let found = controlled(&pairs(&[(0.0, 1.0), (0.0, 1.0), (0.0, 0.0), (0.0, 0.5)]), 1).unwrap();
        assert!((found.rate.mean - 0.625).abs() < 1e-5, "{found:?}");
        assert_eq!(found.length_coefficient, 0.0);
        let always = controlled(&pairs(&[(7.0, 1.0), (-7.0, 1.0), (1.0, 1.0)]), 1).unwrap();
        assert!(always.rate.mean > 0.99 && always.rate.mean <= 1.0, "{always:?}");
        let one = controlled(&pairs(&[(5.0, 1.0)]), 1).unwrap();
        assert!(one.rate.mean.is_finite(), "{one:?}");
        assert_eq!(controlled(&[], 1), None);
    }
}
