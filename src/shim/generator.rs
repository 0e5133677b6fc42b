//! libtorch's generator of random numbers: one for each device, which all threads of a process
//! share.

use std::sync::{Mutex, PoisonError};

/// Whose turn it is to draw.
static TURN: Mutex<()> = Mutex::new(());

/// Runs `draws` with the generator seeded, so that what is drawn is a function of `seed`. Other
/// threads that draw by this function wait meanwhile: a draw of theirs in between would change all
/// that follow. So whatever must be repeatable is drawn here, and `draws` must not call this again.
pub fn with_seed<T>(seed: i64, draws: impl FnOnce() -> T) -> T {
    // A panic among the draws leaves nothing that the next seed does not replace.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed);
    draws()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn draws_of_other_threads_change_nothing() {
        let pair = |seed| {
            with_seed(seed, || {
                let draw = || Tensor::rand([4], (Kind::Float, Device::Cpu));
                let first = draw();
                std::thread::yield_now();
                Vec::<f32>::try_from(Tensor::cat(&[first, draw()], 0)).unwrap()
            })
        };
        let wanted = [pair(1), pair(2)];
        assert_ne!(wanted[0], wanted[1]);
        std::thread::scope(|scope| {
            for (seed, wanted) in (1..).zip(&wanted) {
                let pair = &pair;
                scope.spawn(move || (0..500).for_each(|_| assert_eq!(&pair(seed), wanted)));
            }
        });
    }
}
