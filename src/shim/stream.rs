//! Streams of a GPU beside the one that libtorch computes on (`csrc/transfer.h`). What is enqueued
//! on one stream is done in its order, and what is on two in any, unless an [`Event`] orders it. On
//! the CPU nothing is enqueued, so that everything is in order.

use super::checked;
use super::transfer::{Event, copy_without_waiting};
use std::ffi::{c_char, c_int, c_void};
use tch::{Device, TchError, Tensor};

unsafe extern "C" {
    fn ewe_stream(index: c_int, beside: c_int, stream: *mut i64, error: *mut c_char, room: usize) -> c_int;
    fn ewe_stream_copy(
        index: c_int,
        stream: i64,
        to: *mut c_void,
        from: *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_stream_record(
        index: c_int,
        stream: i64,
        event: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_stream_wait(
        index: c_int,
        stream: i64,
        event: *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_stream_handle(
        index: c_int,
        stream: i64,
        handle: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_set_device(index: c_int, error: *mut c_char, room: usize) -> c_int;
}

/// Has this thread's calls of CUDA's libraries be about a GPU.
///
/// # Errors
///
/// When the GPU has failed.
pub fn set_device(device: Device) -> Result<(), TchError> {
    let Device::Cuda(index) = device else {
        return Ok(());
    };
    // SAFETY: takes a number.
    checked(|error, room| unsafe { ewe_set_device(index as c_int, error, room) })
}

/// A stream of a GPU, by its number; none of the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream(Option<(c_int, i64)>);

impl Stream {
    /// Returns the stream that this thread computes on.
    ///
    /// # Errors
    ///
    /// When the GPU has failed.
    pub fn current(device: Device) -> Result<Stream, TchError> {
        Stream::of(device, false)
    }

    /// Returns another one. libtorch has 32 of them, which it hands out in turn.
    ///
    /// # Errors
    ///
    /// When the GPU has failed.
    pub fn beside(device: Device) -> Result<Stream, TchError> {
        Stream::of(device, true)
    }

    fn of(device: Device, is_beside: bool) -> Result<Stream, TchError> {
        let Device::Cuda(index) = device else {
            return Ok(Stream(None));
        };
        let (index, mut number) = (index as c_int, 0);
        // SAFETY: writes one number.
        checked(|error, room| unsafe {
            ewe_stream(index, c_int::from(is_beside), &mut number, error, room)
        })?;
        Ok(Stream(Some((index, number))))
    }

    /// Returns CUDA's own handle of it; null for the CPU.
    ///
    /// # Errors
    ///
    /// When the GPU has failed.
    pub fn handle(self) -> Result<*mut c_void, TchError> {
        let mut handle = std::ptr::null_mut();
        if let Some((index, number)) = self.0 {
            // SAFETY: writes one address.
            checked(|error, room| unsafe { ewe_stream_handle(index, number, &mut handle, error, room) })?;
        }
        Ok(handle)
    }

    /// Enqueues a copy, as [`copy_without_waiting`] does on the current stream. libtorch's
    /// allocator knows the current stream only: the caller keeps the memory of both tensors on the
    /// GPU until the copy is done.
    ///
    /// # Errors
    ///
    /// When the shapes differ, or the GPU has failed.
    pub fn copy(self, to: &Tensor, from: &Tensor) -> Result<(), TchError> {
        let Some((index, number)) = self.0 else {
            return copy_without_waiting(to, from);
        };
        // SAFETY: the pointers belong to live tensors.
        checked(|error, room| unsafe {
            let (to, from) = (to.as_ptr() as *mut c_void, from.as_ptr() as *mut c_void);
            ewe_stream_copy(index, number, to, from, error, room)
        })
    }

    /// Records everything that was enqueued on the stream so far.
    ///
    /// # Errors
    ///
    /// When the GPU has failed.
    pub fn record(self) -> Result<Event, TchError> {
        let Some((index, number)) = self.0 else {
            return Event::record(Device::Cpu);
        };
        let mut event = std::ptr::null_mut();
        // SAFETY: on success the pointer is a new event, which is owned from here on.
        checked(|error, room| unsafe { ewe_stream_record(index, number, &mut event, error, room) })?;
        Ok(Event::of_raw(event))
    }

    /// Has the stream wait for what `event` recorded before it does what is enqueued later. The
    /// host does not wait.
    ///
    /// # Errors
    ///
    /// When the GPU has failed.
    pub fn wait_for(self, event: &Event) -> Result<(), TchError> {
        let (Some((index, number)), Some(event)) = (self.0, event.raw()) else {
            return Ok(());
        };
        // SAFETY: the event is live until it is dropped, which does not end the wait.
        checked(|error, room| unsafe { ewe_stream_wait(index, number, event, error, room) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn on_the_cpu_everything_is_in_order() {
        let (here, beside) = (
            Stream::current(Device::Cpu).unwrap(),
            Stream::beside(Device::Cpu).unwrap(),
        );
        let (to, from) = (
            Tensor::zeros([3], (Kind::Float, Device::Cpu)),
            Tensor::from_slice(&[1f32, 2.0, 3.0]),
        );
        beside.copy(&to, &from).unwrap();
        here.wait_for(&beside.record().unwrap()).unwrap();
        assert!(beside.handle().unwrap().is_null());
        set_device(Device::Cpu).unwrap();
        assert_eq!(to, from);
        assert!(beside.copy(&to, &from.narrow(0, 0, 2)).is_err());
    }

    #[test]
    fn without_a_gpu_there_is_an_error_and_no_crash() {
        if tch::Cuda::device_count() == 0 {
            assert!(Stream::current(Device::Cuda(0)).is_err());
            assert!(Stream::beside(Device::Cuda(0)).is_err());
            assert!(set_device(Device::Cuda(0)).is_err());
        }
    }
}
