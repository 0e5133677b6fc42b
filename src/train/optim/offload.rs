//! Updates on the host of weights that a GPU computes with, so that transfers and arithmetic
//! overlap: while the CPU updates one parameter, the gradient of the next comes down and the
//! weights of the one before go up (the pipeline of ZeRO-Offload, Ren et al. 2021,
//! <https://arxiv.org/abs/2101.06840>).
//!
//! Gradients come down on one stream and weights go up on another, since PCI Express does both at
//! once. A gradient comes down behind what the GPU computed it with; the host waits for it. Weights
//! go up when the host has updated them, and what the GPU computes next is behind the last of them.
//! Updates take place one after the other in the order of the list: the bits are those of updates
//! without overlap.

use super::parameter::Parameter;
use crate::shim::stream::Stream;
use crate::shim::transfer::{Event, staging};
use tch::{Device, Kind, TchError, Tensor};

/// Two buffers in page-locked host memory, for the gradient in use and the one on its way.
#[derive(Debug, Default)]
pub struct GradientBuffers {
    /// Uint8, each as large as the largest gradient so far.
    buffers: Option<[Tensor; 2]>,
    /// The streams that gradients come down and weights go up on.
    streams: Option<[Stream; 2]>,
}

/// What is ordered by events only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Everything that the GPU computes.
    Compute,
    /// Copies of gradients to the host.
    Down,
    /// Copies of weights to the GPU.
    Up,
}

/// The lanes of a device; in tests, of none.
trait Lanes {
    type Event;

    fn copy(&self, lane: Lane, to: &Tensor, from: &Tensor) -> Result<(), TchError>;
    fn record(&self, lane: Lane) -> Result<Self::Event, TchError>;
    fn wait(&self, lane: Lane, event: &Self::Event) -> Result<(), TchError>;
    fn host_waits(&self, event: &Self::Event) -> Result<(), TchError>;
}

/// The streams of a GPU, by [`Lane`].
struct Streams([Stream; 3]);

impl Lanes for Streams {
    type Event = Event;

    fn copy(&self, lane: Lane, to: &Tensor, from: &Tensor) -> Result<(), TchError> {
        self.0[lane as usize].copy(to, from)
    }
    fn record(&self, lane: Lane) -> Result<Event, TchError> {
        self.0[lane as usize].record()
    }
    fn wait(&self, lane: Lane, event: &Event) -> Result<(), TchError> {
        self.0[lane as usize].wait_for(event)
    }
    fn host_waits(&self, event: &Event) -> Result<(), TchError> {
        event.wait()
    }
}

/// A gradient where it is.
enum Found {
    /// On the host.
    Here(Tensor),
    /// On a GPU, to be copied to the host.
    Away { from: Tensor, to: Tensor },
}

/// A gradient on its way to the host.
struct Arriving<E> {
    gradient: Tensor,
    event: Option<E>,
    /// The gradient on the GPU: its memory must not be used again before the copy is done, of which
    /// libtorch's allocator knows nothing.
    _from: Option<Tensor>,
}

/// Brings down the gradient of each of `count` parameters that has one, and passes it to `update`.
/// Then copies the weights that `returning` has, `(to, from)`.
fn pipeline<'p, L: Lanes>(
    lanes: &L,
    count: usize,
    mut find: impl FnMut(usize) -> Option<Found>,
    mut update: impl FnMut(usize, &Tensor),
    returning: impl Fn(usize) -> Option<(&'p Tensor, &'p Tensor)>,
) -> Result<(), TchError> {
    let mut fetch = |at: usize| -> Result<Option<Arriving<L::Event>>, TchError> {
        if at == count {
            return Ok(None);
        }
        Ok(match find(at) {
            None => None,
            Some(Found::Here(gradient)) => Some(Arriving {
                gradient,
                event: None,
                _from: None,
            }),
            Some(Found::Away { from, to }) => {
                lanes.wait(Lane::Down, &lanes.record(Lane::Compute)?)?;
                lanes.copy(Lane::Down, &to, &from)?;
                Some(Arriving {
                    gradient: to,
                    event: Some(lanes.record(Lane::Down)?),
                    _from: Some(from),
                })
            }
        })
    };
    let mut next = fetch(0)?;
    for at in 0..count {
        let here = next.take();
        // The buffer of the next gradient held the one before this, whose update is over.
        next = fetch(at + 1)?;
        let Some(here) = here else { continue };
        if let Some(event) = &here.event {
            lanes.host_waits(event)?;
        }
        update(at, &here.gradient);
        if let Some((to, from)) = returning(at) {
            // The gradient was computed behind all that read these weights, and the host has it.
            lanes.copy(Lane::Up, to, from)?;
        }
    }
    lanes.wait(Lane::Compute, &lanes.record(Lane::Up)?)
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
        let lanes = self.lanes(list)?;
        let mut buffer = 0;
        pipeline(
            &lanes,
            list.len(),
            |at| {
                buffer = (buffer + 1) % 2;
                self.find(buffer, list[at].1)
            },
            |at, gradient| {
                let (index, of) = list[at];
                update(index, of, gradient);
                if !of.is_away() {
                    of.bring_back();
                }
            },
            |at| list[at].1.returning(),
        )
    }

    /// Returns the streams of the device that the parameters are computed with.
    fn lanes(&mut self, list: &[(usize, &Parameter)]) -> Result<Streams, TchError> {
        let away = list.iter().find(|(_, of)| of.is_away());
        let device = away.map_or(Device::Cpu, |(_, of)| of.leaf.device());
        let [down, up] = match self.streams.filter(|_| device.is_cuda()) {
            Some(streams) => streams,
            None => [Stream::beside(device)?, Stream::beside(device)?],
        };
        self.streams = device.is_cuda().then_some([down, up]);
        Ok(Streams([Stream::current(device)?, down, up]))
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

    /// Returns where a parameter's gradient is, if it has one, and buffer number `buffer` for it.
    fn find(&self, buffer: usize, of: &Parameter) -> Option<Found> {
        let gradient = of.gradient()?.contiguous();
        Some(match &self.buffers {
            Some(buffers) if gradient.device() != of.home() => Found::Away {
                to: view_of(&buffers[buffer], &gradient),
                from: gradient,
            },
            _ => Found::Here(gradient.to_device(of.home())),
        })
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
    use crate::shim::transfer::copy_without_waiting;
    use ewe::finetune::Master;
    use std::cell::RefCell;

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

    /// What each of four has seen of all: the three lanes, and the host.
    type Clock = [u64; 4];
    const HOST: usize = 3;

    /// An access to memory, with what its lane had seen then.
    #[derive(Debug, Clone, Copy)]
    struct Access {
        memory: usize,
        writes: bool,
        lane: usize,
        clock: Clock,
    }

    /// Lanes without a GPU, which note what is ordered behind what.
    #[derive(Default)]
    struct Noted {
        clocks: RefCell<[Clock; 4]>,
        accesses: RefCell<Vec<Access>>,
    }

    impl Noted {
        fn sees(&self, lane: usize, other: &Clock) {
            let own = &mut self.clocks.borrow_mut()[lane];
            own.iter_mut()
                .zip(other)
                .for_each(|(own, other)| *own = (*own).max(*other));
        }

        fn touches(&self, lane: usize, all: &[(&Tensor, bool)]) {
            // What is enqueued is behind what the host has seen.
            let host = self.clocks.borrow()[HOST];
            self.sees(lane, &host);
            self.clocks.borrow_mut()[lane][lane] += 1;
            let clock = self.clocks.borrow()[lane];
            let of = |&(x, writes): &(&Tensor, bool)| Access {
                memory: x.data_ptr() as usize,
                writes,
                lane,
                clock,
            };
            self.accesses.borrow_mut().extend(all.iter().map(of));
        }

        /// Returns two accesses to the same memory, of which one writes and none is behind the
        /// other.
        fn race(&self) -> Option<(Access, Access)> {
            let all = self.accesses.borrow();
            let is_behind = |a: &Access, b: &Access| a.clock[b.lane] >= b.clock[b.lane];
            let pairs = all
                .iter()
                .enumerate()
                .flat_map(|(at, a)| all[..at].iter().map(move |b| (a, b)));
            let mut found = pairs.filter(|(a, b)| {
                let conflict = a.memory == b.memory && (a.writes || b.writes);
                conflict && !is_behind(a, b) && !is_behind(b, a)
            });
            found.next().map(|(a, b)| (*a, *b))
        }
    }

    impl Lanes for Noted {
        type Event = Clock;

        fn copy(&self, lane: Lane, to: &Tensor, from: &Tensor) -> Result<(), TchError> {
            self.touches(lane as usize, &[(to, true), (from, false)]);
            copy_without_waiting(to, from)
        }
        fn record(&self, lane: Lane) -> Result<Clock, TchError> {
            Ok(self.clocks.borrow()[lane as usize])
        }
        fn wait(&self, lane: Lane, event: &Clock) -> Result<(), TchError> {
            self.sees(lane as usize, event);
            Ok(())
        }
        fn host_waits(&self, event: &Clock) -> Result<(), TchError> {
            self.sees(HOST, event);
            Ok(())
        }
    }

    /// Two steps of parameters on a GPU that is none: it computes all gradients from all weights,
    /// the pipeline updates, and no access to a weight, a gradient or a buffer is in a race.
    #[test]
    fn no_copy_races_with_another_or_with_computing() {
        const SIZES: [i64; 5] = [3, 5, 4, 7, 2];
        let zeros = |count: i64| Tensor::zeros([count], (Kind::Float, Device::Cpu));
        let made = || SIZES.map(zeros);
        let (weights, copies, gradients) = (made(), made(), made());
        let buffers = [zeros(7), zeros(7)];
        let lanes = Noted::default();
        for step in 1..=2 {
            for (weight, gradient) in weights.iter().zip(&gradients) {
                lanes.touches(Lane::Compute as usize, &[(weight, false), (gradient, true)]);
                let _ = gradient.shallow_clone().fill_(f64::from(step));
            }
            let mut fetched = 0;
            let find = |at: usize| {
                // One has no gradient.
                (at != 2).then(|| {
                    fetched += 1;
                    Found::Away {
                        from: gradients[at].shallow_clone(),
                        to: buffers[fetched % 2].narrow(0, 0, SIZES[at]),
                    }
                })
            };
            let update = |at: usize, gradient: &Tensor| {
                lanes.touches(HOST, &[(gradient, false), (&copies[at], true)]);
                let _ = copies[at].shallow_clone().g_add_(gradient);
            };
            let returning = |at: usize| Some((&weights[at], &copies[at]));
            pipeline(&lanes, SIZES.len(), find, update, returning).unwrap();
        }
        assert!(lanes.race().is_none(), "{:?}", lanes.race());
        let first = |x: &Tensor| x.double_value(&[0]);
        assert_eq!(weights.each_ref().map(first), [3.0, 3.0, 0.0, 3.0, 3.0]);
        // The next forward pass reads the weights, without and with a wait for the copies.
        let behind = lanes.clocks.borrow()[Lane::Compute as usize];
        lanes.clocks.borrow_mut()[Lane::Compute as usize] = Clock::default();
        let seen = lanes.clocks.borrow()[HOST];
        lanes.touches(Lane::Compute as usize, &[(&weights[4], false)]);
        assert!(lanes.race().is_some(), "the host had seen {seen:?}");
        lanes.accesses.borrow_mut().pop();
        lanes.sees(Lane::Compute as usize, &behind);
        lanes.touches(Lane::Compute as usize, &[(&weights[4], false)]);
        assert!(lanes.race().is_none());
    }
}
