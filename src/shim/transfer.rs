//! Copies between a GPU and host memory that the host does not wait for (`csrc/transfer.h`).
//!
//! A copy overlaps with the host's work only if its side in host memory is page-locked ("pinned"):
//! <https://docs.pytorch.org/tutorials/intermediate/pinmem_nonblock.html>. Everything runs on the
//! current stream, so copies take place in the order in which they are made, and after the kernels
//! that were launched before.

use super::checked;
use std::ffi::{c_char, c_int, c_void};
use tch::{Device, Kind, TchError, Tensor};

unsafe extern "C" {
    fn ewe_pinned_bytes(count: i64, bytes: *mut *mut c_void, error: *mut c_char, room: usize) -> c_int;
    fn ewe_copy_without_waiting(to: *mut c_void, from: *mut c_void, error: *mut c_char, room: usize)
    -> c_int;
    fn ewe_event_of_stream(index: c_int, event: *mut *mut c_void, error: *mut c_char, room: usize) -> c_int;
    fn ewe_event_is_done(event: *mut c_void, done: *mut c_int, error: *mut c_char, room: usize) -> c_int;
    fn ewe_event_wait(event: *mut c_void, error: *mut c_char, room: usize) -> c_int;
    fn ewe_event_free(event: *mut c_void);
}

/// Allocates `count` bytes of host memory for copies from and to `device`, Uint8 `[count]`:
/// page-locked for a GPU, ordinary for the CPU. libtorch rounds page-locked memory up to a power of
/// two, and keeps it until the process ends.
///
/// # Errors
///
/// When the system locks no more pages.
pub fn staging(count: i64, device: Device) -> Result<Tensor, TchError> {
    if !device.is_cuda() {
        return Tensor::f_empty([count], (Kind::Uint8, Device::Cpu));
    }
    let mut bytes = std::ptr::null_mut();
    // SAFETY: on success the pointer is a new tensor, which is owned from here on.
    unsafe {
        checked(|error, room| ewe_pinned_bytes(count, &mut bytes, error, room))?;
        Ok(Tensor::from_ptr(bytes.cast()))
    }
}

/// Copies `from` to `to`, of the same shape. Between a GPU and page-locked memory it returns at
/// once; the host may touch neither tensor's memory until an [`Event`] recorded afterwards has
/// happened.
///
/// # Errors
///
/// When the shapes differ, or the GPU has failed.
pub fn copy_without_waiting(to: &Tensor, from: &Tensor) -> Result<(), TchError> {
    // SAFETY: the pointers belong to live tensors.
    checked(|error, room| unsafe {
        ewe_copy_without_waiting(
            to.as_ptr() as *mut c_void,
            from.as_ptr() as *mut c_void,
            error,
            room,
        )
    })
}

/// Numbers, and structures of numbers and addresses, that may be sent as their bytes.
///
/// # Safety
///
/// Values of the type have no padding.
pub unsafe trait Plain: Copy {}

// SAFETY: numbers have no padding.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for i64 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}

/// Alignment of a part of an [`Upload`], in bytes.
const ALIGNMENT: usize = 16;

/// Values of several types that are gathered on the host and sent to a device in one copy.
#[derive(Debug, Default)]
pub struct Upload {
    bytes: Vec<u8>,
}

/// Where values lie in an [`Upload`].
#[derive(Debug, Clone, Copy)]
pub struct UploadPart {
    begin: usize,
    size: usize,
}

/// An [`Upload`] on its device.
#[derive(Debug)]
pub struct Uploaded {
    bytes: Tensor,
}

impl Upload {
    /// Adds values.
    pub fn add<T: Plain>(&mut self, values: &[T]) -> UploadPart {
        let (begin, size) = (self.bytes.len().next_multiple_of(ALIGNMENT), size_of_val(values));
        self.bytes.resize(begin, 0);
        // SAFETY: the values have no padding, as their type promises.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size) };
        self.bytes.extend_from_slice(bytes);
        UploadPart { begin, size }
    }

    /// Sends all to `device`: to a GPU from page-locked memory, without waiting for what was
    /// enqueued before. libtorch keeps such memory until the copy is done.
    ///
    /// # Errors
    ///
    /// When memory has run out, or the GPU has failed.
    pub fn send(&self, device: Device) -> Result<Uploaded, TchError> {
        let bytes = match device.is_cuda() {
            true => sent(&self.bytes, device)?,
            false => Tensor::f_from_slice(&self.bytes)?.f_to_device(device)?,
        };
        Ok(Uploaded { bytes })
    }
}

/// Sends numbers of type `kind` to `device`, in one dimension: to a GPU without waiting for what
/// was enqueued before, as `to_device` would.
///
/// # Panics
///
/// With libtorch's words when memory has run out, or the GPU has failed.
pub fn numbers_on<T: Plain>(values: &[T], kind: Kind, device: Device) -> Tensor {
    let mut upload = Upload::default();
    let part = upload.add(values);
    let uploaded = upload.send(device).expect("memory for a few numbers");
    uploaded.view(part, kind)
}

/// Sends bytes to a GPU from page-locked memory, without waiting for what was enqueued before:
/// Uint8 `[n]`. libtorch keeps such memory until the copy is done.
///
/// # Errors
///
/// When memory has run out, or the GPU has failed.
pub(super) fn sent(bytes: &[u8], device: Device) -> Result<Tensor, TchError> {
    let count = bytes.len();
    let host = staging(count as i64, device)?;
    if count > 0 {
        // SAFETY: the new tensor is contiguous, on the host, and of this size.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), host.data_ptr().cast(), count) };
    }
    let there = Tensor::f_empty([count as i64], (Kind::Uint8, device))?;
    copy_without_waiting(&there, &host)?;
    Ok(there)
}

impl Uploaded {
    /// Returns a part as numbers of type `kind`, in one dimension. Shares the memory.
    pub fn view(&self, part: UploadPart, kind: Kind) -> Tensor {
        let bytes = self.bytes.narrow(0, part.begin as i64, part.size as i64);
        bytes.view_dtype(kind)
    }

    /// Replaces all by what another one has, of the same parts.
    ///
    /// # Panics
    ///
    /// If that is of another size.
    #[cfg(test)]
    pub fn refill(&self, from: &Uploaded) {
        assert_eq!(self.bytes.size(), from.bytes.size(), "uploads of the same parts");
        self.bytes.shallow_clone().copy_(&from.bytes);
    }

    /// Returns where a part begins in the device's memory, a multiple of 16.
    pub fn address(&self, part: UploadPart) -> *mut c_void {
        let begin = self.bytes.data_ptr().cast::<u8>();
        begin.wrapping_add(part.begin).cast()
    }
}

/// A moment on the current stream of a GPU; on the CPU, where nothing is enqueued, now.
#[derive(Debug)]
pub struct Event(Option<*mut c_void>);

impl Event {
    /// Records everything that was enqueued on `device` so far.
    ///
    /// # Errors
    ///
    /// When the GPU has failed.
    pub fn record(device: Device) -> Result<Event, TchError> {
        let Device::Cuda(index) = device else {
            return Ok(Event(None));
        };
        let mut event = std::ptr::null_mut();
        // SAFETY: on success the pointer is a new event, which is owned from here on.
        checked(|error, room| unsafe { ewe_event_of_stream(index as c_int, &mut event, error, room) })?;
        Ok(Event(Some(event)))
    }

    /// Takes an event of `csrc/transfer.h`.
    pub(super) fn of_raw(event: *mut c_void) -> Event {
        Event(Some(event))
    }

    /// Returns the event of `csrc/transfer.h`; none on the CPU.
    pub(super) fn raw(&self) -> Option<*mut c_void> {
        self.0
    }

    /// Returns whether all of it has been done.
    ///
    /// # Errors
    ///
    /// When something of it failed.
    pub fn is_done(&self) -> Result<bool, TchError> {
        let Some(event) = self.0 else { return Ok(true) };
        let mut done = 0;
        // SAFETY: the event is live until it is dropped.
        checked(|error, room| unsafe { ewe_event_is_done(event, &mut done, error, room) })?;
        Ok(done != 0)
    }

    /// Waits until all of it has been done.
    ///
    /// # Errors
    ///
    /// When something of it failed.
    pub fn wait(&self) -> Result<(), TchError> {
        match self.0 {
            // SAFETY: the event is live until it is dropped.
            Some(event) => checked(|error, room| unsafe { ewe_event_wait(event, error, room) }),
            None => Ok(()),
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Some(event) = self.0 {
            // SAFETY: the event is owned, and nothing uses it afterwards.
            unsafe { ewe_event_free(event) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_cpu_a_copy_is_done_at_once() {
        let to = staging(4, Device::Cpu).unwrap();
        let from = Tensor::from_slice(&[1u8, 2, 3, 4]);
        copy_without_waiting(&to, &from).unwrap();
        let event = Event::record(Device::Cpu).unwrap();
        event.wait().unwrap();
        assert!(event.is_done().unwrap());
        assert_eq!(to, from);
        assert!(copy_without_waiting(&to, &from.narrow(0, 0, 3)).is_err());
    }

    #[test]
    fn parts_of_an_upload_arrive_as_they_were_and_aligned() {
        let mut upload = Upload::default();
        let parts = [upload.add(&[7i32, -8, 9]), upload.add(&[0i32; 0])];
        let (wide, last) = (upload.add(&[1i64 << 40, -1]), upload.add(&[5i32]));
        let uploaded = upload.send(Device::Cpu).unwrap();
        let narrow = |part| Vec::<i32>::try_from(uploaded.view(part, Kind::Int)).unwrap();
        assert_eq!(parts.map(narrow), [vec![7, -8, 9], vec![]]);
        assert_eq!(
            Vec::<i64>::try_from(uploaded.view(wide, Kind::Int64)).unwrap(),
            [1 << 40, -1]
        );
        assert_eq!(narrow(last), [5]);
        for part in [parts[0], wide, last] {
            assert!((uploaded.address(part) as usize).is_multiple_of(ALIGNMENT));
        }
        let empty = Upload::default();
        assert_eq!(empty.send(Device::Cpu).unwrap().bytes.size(), [0]);
        let sent = numbers_on(&[3i64, -4], Kind::Int64, Device::Cpu);
        assert_eq!(sent, Tensor::from_slice(&[3i64, -4]));
        assert_eq!(numbers_on(&[0i32; 0], Kind::Int, Device::Cpu).size(), [0]);
    }

    #[test]
    fn without_a_gpu_there_is_an_error_and_no_crash() {
        if tch::Cuda::device_count() == 0 {
            assert!(staging(4, Device::Cuda(0)).is_err());
            assert!(Event::record(Device::Cuda(0)).is_err());
            assert!(Upload::default().send(Device::Cuda(0)).is_err());
        }
    }
}
