//! Gradients of examples as unit vectors, and their cosines with those of held-out tasks.
//!
//! Shapes: `e` examples, `k` numbers of a projected gradient, `h` held-out tasks.

use super::adapted::{AdaptedModel, AdapterState};
use super::packed::{PackedExamples, pack};
use super::rows::HeldOutTask;
use super::sketch::Sketch;
use crate::train::data::dataset::Example;
use crate::train::interrupt::Interrupt;
use tch::{Device, Kind, Tensor};

/// A model at its checkpoints, and how its gradients are projected.
pub struct Features<'a> {
    /// The model.
    pub model: &'a AdaptedModel,
    /// The projection.
    pub sketch: &'a Sketch,
    /// Most tokens that pass through the model at once.
    pub positions: usize,
    /// Asked between passes; none never stops.
    pub interrupt: Option<&'a Interrupt>,
}

/// What the held-out tasks are at one checkpoint: the mean of their instances' unit vectors,
/// `[h, k]`.
pub type Targets = Tensor;

/// The standard deviation that a projection to `dimensions` numbers gives the influence of a row
/// that has none ([`ProjectionNoise`](ewe::job::influence::ProjectionNoise)).
pub fn deviation(checkpoints: &[(AdapterState, Targets)], dimensions: u32) -> f64 {
    let of = |(state, target_hk): &(AdapterState, Targets)| state.share * mean_length(target_hk);
    checkpoints.iter().map(of).sum::<f64>() / f64::from(dimensions).sqrt()
}

/// The length of the mean of the held-out tasks, which is 1 if all are alike and `1/√h` if they
/// have nothing in common.
fn mean_length(target_hk: &Targets) -> f64 {
    let mean_k = target_hk.mean_dim(0i64, false, Kind::Float);
    mean_k.norm().double_value(&[])
}

impl Features<'_> {
    fn stopped(&self) -> bool {
        self.interrupt.is_some_and(Interrupt::asked)
    }

    /// Returns the unit vectors of a packed row's examples, `[e, k]`: of their gradients, or of the
    /// updates that `state` makes of them. A gradient of zero stays zero.
    fn of_row(&self, row: &PackedExamples, state: Option<&AdapterState>) -> Tensor {
        let sketch_ek = self.sketch.empty(row.members.len());
        self.model.gradients(row, &mut |number, gradient_ep| {
            let moments = state.and_then(|state| state.moments.get(number));
            self.sketch.add(&sketch_ek, number, &gradient_ep, moments);
        });
        let norm_e1 = sketch_ek.norm_scalaropt_dim(2.0, [1i64].as_slice(), true);
        sketch_ek / norm_e1.clamp_min(f64::from(f32::MIN_POSITIVE))
    }

    /// Computes the held-out tasks at the checkpoint that the model is set to. Returns none if a
    /// signal asked to stop.
    pub fn targets(&self, tasks: &[HeldOutTask]) -> Option<Targets> {
        let _guard = tch::no_grad_guard();
        let owners = tasks.iter().enumerate();
        let (owners, examples): (Vec<usize>, Vec<&Example>) = owners
            .flat_map(|(number, task)| task.examples.iter().map(move |example| (number, example)))
            .unzip();
        let target_hk = self.sketch.empty(tasks.len());
        for row in pack(&examples, self.positions) {
            if self.stopped() {
                return None;
            }
            let unit_ek = tch::with_grad(|| self.of_row(&row, None));
            for (place, &member) in row.members.iter().enumerate() {
                let owner = owners[member];
                let share = 1.0 / tasks[owner].examples.len() as f64;
                let mut target_k = target_hk.get(owner as i64);
                target_k += unit_ek.get(place as i64) * share;
            }
        }
        Some(target_hk)
    }

    /// Computes the influence of some examples on each held-out task: the cosines of their updates
    /// with the tasks' gradients, weighted by the checkpoints' shares. Returns a row of `h` for
    /// each example, or none if a signal asked to stop.
    pub fn influence(
        &self,
        examples: &[&Example],
        checkpoints: &[(AdapterState, Targets)],
    ) -> Option<Vec<Vec<f32>>> {
        let tasks = checkpoints
            .first()
            .map_or(0, |(_, target_hk)| target_hk.size()[0]);
        let mut sums = vec![vec![0f32; tasks as usize]; examples.len()];
        let rows = pack(examples, self.positions);
        for (state, target_hk) in checkpoints {
            self.model.set(state);
            for row in &rows {
                if self.stopped() {
                    return None;
                }
                let unit_ek = self.of_row(row, Some(state));
                let cosine_eh = unit_ek.matmul(&target_hk.tr()) * state.share;
                let cosine_eh = cosine_eh.to_kind(Kind::Float).to_device(Device::Cpu);
                for (place, &member) in row.members.iter().enumerate() {
                    let values = Vec::<f32>::try_from(cosine_eh.get(place as i64)).expect("fp32 numbers");
                    let sum = sums[member].iter_mut().zip(values);
                    sum.for_each(|(sum, value)| *sum += value);
                }
            }
        }
        Some(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::generator::with_seed;

    /// Influences by 40 projections against those without: as far apart as the deviation says, for
    /// held-out tasks that have much in common and for such that have nothing.
    #[test]
    fn the_deviation_is_that_of_projected_influences() {
        const DIMENSIONS: u32 = 256;
        let normal = |rows: i64| Tensor::randn([rows, 4000], (Kind::Float, Device::Cpu));
        let unit =
            |values_ep: &Tensor| values_ep / values_ep.norm_scalaropt_dim(2.0, [1i64].as_slice(), true);
        for common in [0.0, 0.7] {
            let (rows_ep, held_out_hp) = with_seed(3, || {
                (unit(&normal(30)), unit(&(normal(12) + normal(1) * common)))
            });
            let influence = |rows: &Tensor, held_out: &Tensor| {
                rows.matmul(&held_out.tr()).mean_dim(1i64, false, Kind::Float)
            };
            let exact_e = influence(&rows_ep, &held_out_hp);
            let (mut squares, mut expected, projections) = (0.0, 0.0, 40);
            for seed in 0..projections {
                let sketch = Sketch::new(&[4000], i64::from(DIMENSIONS), seed, Device::Cpu);
                let projected = |values_ep: &Tensor| {
                    let sketch_ek = sketch.empty(values_ep.size()[0] as usize);
                    sketch.add(&sketch_ek, 0, values_ep, None);
                    unit(&sketch_ek)
                };
                let target_hk = projected(&held_out_hp);
                let error_e = influence(&projected(&rows_ep), &target_hk) - &exact_e;
                squares += error_e.square().mean(Kind::Float).double_value(&[]);
                expected += mean_length(&target_hk).powi(2) / f64::from(DIMENSIONS);
            }
            let ratio = (squares / expected).sqrt();
            assert!((0.8..1.15).contains(&ratio), "{common}: {ratio}");
        }
    }
}
