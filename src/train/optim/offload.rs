//! Updates on the host of weights that a GPU computes with, so that transfers and arithmetic
//! overlap: while the CPU updates one parameter, the gradient of the next comes down and the
//! weights of the one before go up (the pipeline of ZeRO-Offload, Ren et al. 2021,
//! <https://arxiv.org/abs/2101.06840>).
//!
//! Everything is enqueued on the current stream, in this order: down 0, down 1, up 0, down 2, up 1
//! and so on. So no memory of the GPU is used by two streams, and what the stream does next is
//! behind all copies. The host waits for the event after each copy down. Updates take place one
//! after the other in the order of the list: the bits are those of updates without overlap.

use super::parameter::Parameter;
use crate::shim::transfer::{Event, copy_without_waiting, staging};
use tch::{Device, Kind, TchError, Tensor};

/// Two buffers in page-locked host memory, for the gradient in use and the one on its way.
#[derive(Debug, Default)]
pub struct GradientBuffers {
    /// Uint8, each as large as the largest gradient so far.
    buffers: Option<[Tensor; 2]>,
}

/// A gradient on its way to the host.
struct Arriving {
    gradient: Tensor,
    event: Event,
}

impl GradientBuffers {
    /// Calls `update` with each parameter that has a gradient, and the gradient on the parameter's
    /// home device, contiguous; then copies the weights back. The gradient is gone when `update`
    /// returns.
    ///
    /// # Errors
    ///
    /// When the system locks no more memory, before the first update; or when the GPU fails.
    pub fn update_each(
        &mut self,
        list: &[(usize, &Parameter)],
        mut update: impl FnMut(usize, &Parameter, &Tensor),
    ) -> Result<(), TchError> {
        let _guard = tch::no_grad_guard();
        self.make_room(list)?;
        let mut next = match list.first() {
            Some((_, first)) => self.fetch(0, first)?,
            None => None,
        };
        for (at, (index, of)) in list.iter().enumerate() {
            let here = next.take();
            // The buffer of the next gradient held the one before this, whose update is over.
            if let Some((_, after)) = list.get(at + 1) {
                next = self.fetch((at + 1) % 2, after)?;
            }
            let Some(Arriving { gradient, event }) = here else {
                continue;
            };
            event.wait()?;
            update(*index, of, &gradient);
            of.bring_back();
        }
        Ok(())
    }

    /// Makes the buffers as large as the largest gradient of `list`.
    fn make_room(&mut self, list: &[(usize, &Parameter)]) -> Result<(), TchError> {
        let away = list.iter().filter(|(_, of)| of.is_away());
        let Some((bytes, device)) = away
            .map(|(_, of)| (of.gradient_bytes(), of.leaf.device()))
            .max_by_key(|(bytes, _)| *bytes)
        else {
            return Ok(());
        };
        let has = self.buffers.as_ref().map_or(0, |[first, _]| first.numel());
        if has < bytes {
            self.buffers = None;
            let buffer = || staging(bytes as i64, device);
            self.buffers = Some([buffer()?, buffer()?]);
        }
        Ok(())
    }

    /// Enqueues the copy of a parameter's gradient to buffer number `buffer`; none without a
    /// gradient. A gradient that is at home already is not copied.
    fn fetch(&self, buffer: usize, of: &Parameter) -> Result<Option<Arriving>, TchError> {
        let Some(gradient) = of.gradient() else {
            return Ok(None);
        };
        let gradient = gradient.contiguous();
        let buffers = match &self.buffers {
            Some(buffers) if gradient.device() != of.home() => buffers,
            _ => {
                let event = Event::record(Device::Cpu)?;
                let gradient = gradient.to_device(of.home());
                return Ok(Some(Arriving { gradient, event }));
            }
        };
        let here = view_of(&buffers[buffer], &gradient);
        copy_without_waiting(&here, &gradient)?;
        let event = Event::record(gradient.device())?;
        Ok(Some(Arriving {
            gradient: here,
            event,
        }))
    }
}

/// Returns the beginning of `bytes` as a tensor of the type and shape of `like`.
fn view_of(bytes: &Tensor, like: &Tensor) -> Tensor {
    let count = like.numel() * like.kind().elt_size_in_bytes();
    debug_assert_eq!(bytes.kind(), Kind::Uint8);
    bytes
        .narrow(0, 0, count as i64)
        .view_dtype(like.kind())
        .view(like.size().as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ewe::finetune::Master;

    fn parameter(name: &str, count: i64) -> Parameter {
        let leaf = Tensor::ones([count, 2], (Kind::BFloat16, Device::Cpu));
        Parameter::new(name.to_owned(), leaf, None, Master::Split).offloaded()
    }

    #[test]
    fn parameters_are_updated_in_their_order_and_copied_back() {
        let mut all = [parameter("a", 3), parameter("b", 5), parameter("c", 4)];
        for (seed, of) in [(1.0, 0), (2.0, 2)] {
            let like = &all[of].leaf;
            let gradient = like.detach() * seed;
            all[of].add_by_hand(gradient);
        }
        let list: Vec<(usize, &Parameter)> = all.iter().enumerate().collect();
        let mut order = Vec::new();
        let mut buffers = GradientBuffers::default();
        buffers
            .update_each(&list, |index, of, gradient| {
                order.push((index, gradient.size()[0], gradient.double_value(&[0, 0])));
                let values = of.values() - gradient.to_kind(Kind::Float);
                super::super::fallback::set_values(&of.weights(), &values.reshape(-1));
            })
            .unwrap();
        assert_eq!(order, [(0, 3, 1.0), (2, 4, 2.0)], "b has no gradient");
        let first = |of: &Parameter| of.leaf.double_value(&[0, 0]);
        assert_eq!([first(&all[0]), first(&all[1]), first(&all[2])], [0.0, 1.0, -1.0]);
        buffers.update_each(&[], |_, _, _| unreachable!()).unwrap();
    }

    #[test]
    fn a_buffer_is_viewed_as_any_gradient() {
        let bytes = staging(64, Device::Cpu).unwrap();
        for kind in [Kind::BFloat16, Kind::Float] {
            let x = (Tensor::arange(12, (Kind::Float, Device::Cpu)) / 7.0)
                .to_kind(kind)
                .view([3, 4]);
            let here = view_of(&bytes, &x);
            copy_without_waiting(&here, &x).unwrap();
            assert!(here == x && here.is_contiguous());
        }
    }
}
