//! Random projection of gradients to a few thousand numbers.
//!
//! Each number of the gradient gets a random sign and is added to one of `k` places (count sketch,
//! Charikar et al. 2002; feature hashing, Weinberger et al. 2009). The inner product of two
//! sketches is that of the gradients on average, with a variance of at most `2 |a|² |b|² / k`: no
//! more than that of a dense matrix of random signs, at the cost of one pass over the gradient. For
//! that, two numbers need to meet in a place with probability `1/k` at most. So numbers need no
//! places of their own: a parameter is cut into chunks of at most `k`, whose numbers follow one
//! another from a random place on.
//!
//! Shapes: `e` examples, `p` numbers of a parameter, `k` places.

use super::direction::Moments;
use crate::shim::optimizers::{Piece, add_updates};
use rand::RngExt;
use tch::{Device, Kind, Tensor};

/// A projection of the adapter's parameters.
pub struct Sketch {
    places: i64,
    parameters: Vec<ParameterSketch>,
    device: Device,
}

/// The projection of one parameter.
struct ParameterSketch {
    /// The sign of each number, fp32 `[p]`; none without a projection.
    sign_p: Option<Tensor>,
    pieces: Vec<Piece>,
}

impl Sketch {
    /// Makes a projection of parameters of these sizes to `dimensions` numbers, a function of the
    /// seed; with 0 dimensions, all numbers stay as they are.
    pub fn new(sizes: &[i64], dimensions: i64, seed: u64, device: Device) -> Sketch {
        let mut before = 0;
        let parameters = sizes.iter().enumerate().map(|(number, &size)| {
            before += size;
            match dimensions {
                0 => ParameterSketch {
                    sign_p: None,
                    pieces: vec![Piece {
                        start: 0,
                        length: size,
                        place: before - size,
                    }],
                },
                places => ParameterSketch::random(number as u64, size, places, seed, device),
            }
        });
        let parameters = parameters.collect();
        let places = if dimensions == 0 { before } else { dimensions };
        Sketch {
            places,
            parameters,
            device,
        }
    }

    /// Returns empty sketches of `examples` examples, `[e, k]`.
    pub fn empty(&self, examples: usize) -> Tensor {
        Tensor::zeros([examples as i64, self.places], (Kind::Float, self.device))
    }

    /// Adds the gradients of parameter `number`, fp32 `[e, p]`, to the sketches, or what Adam would
    /// make of them after these moments. On a CPU this is one pass over the gradients.
    pub fn add(&self, sketch_ek: &Tensor, number: usize, gradient_ep: &Tensor, moments: Option<&Moments>) {
        let ParameterSketch { sign_p, pieces } = &self.parameters[number];
        if self.device == Device::Cpu {
            let next = moments.map(Moments::next);
            let moments = moments.zip(next.as_ref());
            let moments = moments.map(|(of, next)| (next, of.first_p.as_ref(), &of.second_p));
            return add_updates(sketch_ek, gradient_ep, moments, sign_p.as_ref(), pieces);
        }
        match moments {
            Some(moments) => self.add_composed(sketch_ek, number, &moments.update(gradient_ep)),
            None => self.add_composed(sketch_ek, number, gradient_ep),
        }
    }

    /// Adds numbers of parameter `number` in libtorch's operations.
    fn add_composed(&self, sketch_ek: &Tensor, number: usize, values_ep: &Tensor) {
        let ParameterSketch { sign_p, pieces } = &self.parameters[number];
        for piece in pieces {
            let mut place = sketch_ek.narrow(1, piece.place, piece.length);
            let values = values_ep.narrow(1, piece.start, piece.length);
            let _ = match sign_p {
                Some(sign_p) => place.addcmul_(&values, &sign_p.narrow(0, piece.start, piece.length)),
                None => place.g_add_(&values),
            };
        }
    }
}

impl ParameterSketch {
    fn random(number: u64, size: i64, places: i64, seed: u64, device: Device) -> ParameterSketch {
        let mut rng = crate::train::rng(seed, "influence projection", number);
        let mut signs = Vec::with_capacity(size as usize);
        while signs.len() < size as usize {
            let bits: u64 = rng.random();
            let left = (size as usize - signs.len()).min(64);
            signs.extend((0..left).map(|bit| if bits >> bit & 1 == 1 { 1.0f32 } else { -1.0 }));
        }
        let mut pieces = Vec::new();
        for start in (0..size).step_by(places as usize) {
            let length = places.min(size - start);
            let place = rng.random_range(0..places);
            let first = length.min(places - place);
            pieces.push(Piece {
                start,
                length: first,
                place,
            });
            if first < length {
                pieces.push(Piece {
                    start: start + first,
                    length: length - first,
                    place: 0,
                });
            }
        }
        ParameterSketch {
            sign_p: Some(Tensor::from_slice(&signs).to_device(device)),
            pieces,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::generator::with_seed;

    const SIZES: [i64; 4] = [700, 64, 4096, 1000];

    fn sketched(sketch: &Sketch, values: &[Tensor]) -> Tensor {
        let sketch_ek = sketch.empty(values[0].size()[0] as usize);
        for (number, values) in values.iter().enumerate() {
            sketch.add(&sketch_ek, number, values, None);
        }
        sketch_ek
    }

    /// Gradients of eight examples with a few columns that outweigh all others, as those of models
    /// have.
    fn gradients() -> Vec<Tensor> {
        let options = (Kind::Float, Device::Cpu);
        let all = with_seed(5, || SIZES.map(|size| Tensor::randn([8, size], options)));
        let with_large = |(x, size): (Tensor, i64)| {
            let mut large = x.slice(1, 3, size, 64);
            large *= 20.0;
            x
        };
        all.into_iter().zip(SIZES).map(with_large).collect()
    }

    fn inner(x: &Tensor) -> Tensor {
        x.matmul(&x.tr())
    }

    #[test]
    fn without_a_projection_inner_products_are_exact() {
        let sketch = Sketch::new(&SIZES, 0, 1, Device::Cpu);
        let values = gradients();
        assert_eq!(sketch.places, SIZES.iter().sum::<i64>());
        assert_eq!(sketched(&sketch, &values), Tensor::cat(&values, 1));
    }

    /// Errors over 60 seeds: unbiased, and with a variance within the bound.
    #[test]
    fn inner_products_stay_within_the_bound_of_johnson_and_lindenstrauss() {
        let (values, places, seeds) = (gradients(), 256, 60);
        let exact_ee = inner(&Tensor::cat(&values, 1));
        let norms_e = exact_ee.diag(0).sqrt();
        let bound_ee = norms_e.unsqueeze(1) * norms_e.unsqueeze(0);
        let (mut sum, mut squares) = (Tensor::zeros_like(&exact_ee), Tensor::zeros_like(&exact_ee));
        for seed in 0..seeds {
            let sketch = Sketch::new(&SIZES, places, seed, Device::Cpu);
            let error_ee = (inner(&sketched(&sketch, &values)) - &exact_ee) / &bound_ee;
            sum += &error_ee;
            squares += error_ee.square();
        }
        let mean = (sum / seeds as f64).abs().max().double_value(&[]);
        let variance = (squares / seeds as f64).mean(Kind::Float).double_value(&[]);
        let deviation = (2.0 / places as f64).sqrt();
        assert!(mean < 4.0 * deviation / (seeds as f64).sqrt(), "{mean}");
        assert!(
            variance <= 1.1 * 2.0 / places as f64 && variance > 0.0,
            "{variance}"
        );
    }

    /// The kernel against libtorch's operations: every direction, with and without a projection.
    #[test]
    fn one_pass_adds_what_operations_add() {
        let positive = |size: i64| Tensor::rand([size], (Kind::Float, Device::Cpu)) * 1e-2;
        for (dimensions, first) in [(128, true), (128, false), (0, false), (0, true)] {
            let sketch = Sketch::new(&SIZES, dimensions, 1, Device::Cpu);
            for (number, gradient_ep) in gradients().iter().enumerate() {
                let size = SIZES[number];
                let moments = with_seed(7, || Moments {
                    first_p: first.then(|| positive(size) - 0.005),
                    second_p: positive(size),
                    steps: 4,
                });
                for moments in [Some(&moments), None] {
                    let values_ep = match moments {
                        Some(moments) => moments.update(gradient_ep),
                        None => gradient_ep.shallow_clone(),
                    };
                    let (one, other) = (sketch.empty(8), sketch.empty(8));
                    sketch.add(&one, number, gradient_ep, moments);
                    sketch.add_composed(&other, number, &values_ep);
                    let apart = (&one - &other).abs().max().double_value(&[]);
                    let largest = other.abs().max().double_value(&[]);
                    assert!(
                        largest > 0.0 && apart <= 2e-6 * largest,
                        "{number}: {apart} of {largest}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_projection_is_a_function_of_the_seed() {
        let values = gradients();
        let of = |seed| sketched(&Sketch::new(&SIZES, 128, seed, Device::Cpu), &values);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
