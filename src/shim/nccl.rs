//! NCCL's collectives, for tensors in the memory of GPUs, by its C interface
//! (<https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/api.html>).
//!
//! They run on a stream beside the one that libtorch computes on, after what was enqueued there
//! before. A rank that is gone leaves the others' kernels waiting for ever, so nobody waits for
//! them without looking. Groups live as long as the process.

// The types of functions stand at the fields that receive them.
#![allow(clippy::missing_transmute_annotations)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tch::{Device, Kind, TchError, Tensor};

use super::distributed::Store;
use super::library;
use super::stream::{Stream, set_device};
use super::transfer::Event;

/// The library's name, and the package of libtorch's wheel that has it.
const LIBRARY: &CStr = c"libnccl.so.2";
const FOLDER: &str = "nccl";

/// Names another library, for whatever device; `0` says that there is none.
const VARIABLE: &str = "EWE_NCCL";

/// `ncclSum`.
const SUM: c_int = 0;
/// `ncclSuccess` and `ncclInProgress`.
const SUCCESS: c_int = 0;
const IN_PROGRESS: c_int = 7;

/// How long a collective is looked at without a pause, and the pauses afterwards.
const EAGER: Duration = Duration::from_micros(300);
const PAUSE: Duration = Duration::from_micros(100);
/// How often a group is asked whether it has failed.
const ASK: Duration = Duration::from_millis(200);

/// `ncclUniqueId`: where the ranks of a group meet.
#[repr(C)]
#[derive(Clone, Copy)]
struct Meeting([u8; 128]);

/// The beginning of `ncclConfig_t`, as NCCL has had it since 2.14; what is missing has its default.
#[repr(C)]
struct Config {
    size: usize,
    magic: c_uint,
    version: c_uint,
    blocking: c_int,
}

impl Config {
    const MAGIC: c_uint = 0xcafe_beef;
    const VERSION: c_uint = 21_400;
}

type Comm = *mut c_void;
type CudaStream = *mut c_void;

/// The functions that are called; see nccl.h.
struct Library {
    version: unsafe extern "C" fn(*mut c_int) -> c_int,
    new_meeting: unsafe extern "C" fn(*mut Meeting) -> c_int,
    join: unsafe extern "C" fn(*mut Comm, c_int, Meeting, c_int, *mut Config) -> c_int,
    state: unsafe extern "C" fn(Comm, *mut c_int) -> c_int,
    error: unsafe extern "C" fn(c_int) -> *const c_char,
    last_error: unsafe extern "C" fn(Comm) -> *const c_char,
    all_reduce:
        unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, CudaStream) -> c_int,
    all_gather: unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, Comm, CudaStream) -> c_int,
    send: unsafe extern "C" fn(*const c_void, usize, c_int, c_int, Comm, CudaStream) -> c_int,
    receive: unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, Comm, CudaStream) -> c_int,
    begin_several: unsafe extern "C" fn() -> c_int,
    end_several: unsafe extern "C" fn() -> c_int,
}

impl Library {
    fn get() -> Result<&'static Library> {
        static OPEN: OnceLock<Result<Library, String>> = OnceLock::new();
        OPEN.get_or_init(|| Library::load().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow!("{error}"))
    }

    fn load() -> Result<Library> {
        let named = named().map(CString::new).transpose()?;
        let name = named.as_deref().unwrap_or(LIBRARY);
        let library = library::open(name, FOLDER)
            .with_context(|| format!("{} was not found", name.to_string_lossy()))?;
        let function = |name| library::function(library, name);
        // SAFETY: the types are those of NVIDIA's header nccl.h.
        unsafe {
            Ok(Library {
                version: std::mem::transmute::<*mut c_void, _>(function(c"ncclGetVersion")?),
                new_meeting: std::mem::transmute::<*mut c_void, _>(function(c"ncclGetUniqueId")?),
                join: std::mem::transmute::<*mut c_void, _>(function(c"ncclCommInitRankConfig")?),
                state: std::mem::transmute::<*mut c_void, _>(function(c"ncclCommGetAsyncError")?),
                error: std::mem::transmute::<*mut c_void, _>(function(c"ncclGetErrorString")?),
                last_error: std::mem::transmute::<*mut c_void, _>(function(c"ncclGetLastError")?),
                all_reduce: std::mem::transmute::<*mut c_void, _>(function(c"ncclAllReduce")?),
                all_gather: std::mem::transmute::<*mut c_void, _>(function(c"ncclAllGather")?),
                send: std::mem::transmute::<*mut c_void, _>(function(c"ncclSend")?),
                receive: std::mem::transmute::<*mut c_void, _>(function(c"ncclRecv")?),
                begin_several: std::mem::transmute::<*mut c_void, _>(function(c"ncclGroupStart")?),
                end_several: std::mem::transmute::<*mut c_void, _>(function(c"ncclGroupEnd")?),
            })
        }
    }

    /// The error of a call that returned `status`.
    fn failed(&self, status: c_int, comm: Comm) -> TchError {
        // SAFETY: both give texts of the library, or null.
        let texts = unsafe { [(self.error)(status), (self.last_error)(comm)] };
        let words = texts.map(|text| match text.is_null() {
            true => String::new(),
            // SAFETY: the text ends with a zero, and stays until the next call.
            false => unsafe { CStr::from_ptr(text) }
                .to_string_lossy()
                .trim()
                .to_owned(),
        });
        let said: Vec<&str> = words
            .iter()
            .map(String::as_str)
            .filter(|text| !text.is_empty())
            .collect();
        TchError::Torch(format!("NCCL: {}", said.join(": ").replace('\n', " ")))
    }
}

/// The library that the environment names.
fn named() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())
}

/// Returns the version of the library that exchanges tensors of `device`; none if none is wanted
/// there, or the one of libtorch's wheel is missing.
///
/// # Errors
///
/// When the library that the environment names cannot be used.
pub fn version(device: Device) -> Result<Option<String>> {
    let library = match named().as_deref() {
        Some("0") => return Ok(None),
        Some(_) => Library::get().with_context(|| format!("{VARIABLE} names no library of NCCL's"))?,
        None if device.is_cuda() => match Library::get() {
            Ok(library) => library,
            Err(_) => return Ok(None),
        },
        None => return Ok(None),
    };
    let mut version = 0;
    // SAFETY: writes one number.
    match unsafe { (library.version)(&mut version) } {
        SUCCESS => Ok(Some(format!(
            "{}.{}.{}",
            version / 10_000,
            version / 100 % 100,
            version % 100
        ))),
        status => Err(library.failed(status, std::ptr::null_mut()).into()),
    }
}

/// A group of ranks that exchange tensors of one device each.
pub struct Nccl {
    library: &'static Library,
    comm: Comm,
    size: usize,
    device: Device,
    stream: Stream,
    patience: Duration,
}

// SAFETY: NCCL locks what its threads share; one thread uses a group at a time.
unsafe impl Send for Nccl {}

impl fmt::Debug for Nccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nccl({} on {:?})", self.size, self.device)
    }
}

impl Nccl {
    /// Joins the group of `size` ranks that meet at the store under this name, and exchanges a
    /// number each way. What it enqueues later, it does on `stream`. Waits for other ranks for
    /// `patience`.
    ///
    /// # Errors
    ///
    /// In NCCL's words, when one does not come, or cannot be reached.
    pub fn join(
        store: &Store,
        (rank, size): (usize, usize),
        (device, stream): (Device, Stream),
        patience: Duration,
        meeting: &str,
    ) -> Result<Nccl> {
        let library = Library::get()?;
        set_device(device)?;
        let key = format!("nccl/{meeting}/");
        if rank == 0 {
            let mut place = Meeting([0; 128]);
            // SAFETY: writes the place.
            match unsafe { (library.new_meeting)(&mut place) } {
                SUCCESS => store.set(&format!("{key}0"), &to_hex(&place.0))?,
                status => return Err(library.failed(status, std::ptr::null_mut()).into()),
            }
        }
        let place = store.get_all(&key, 1)?.pop().and_then(|text| of_hex(&text));
        let place = Meeting(place.context("rank 0 named no place where NCCL meets")?);
        let mut config = Config {
            size: size_of::<Config>(),
            magic: Config::MAGIC,
            version: Config::VERSION,
            blocking: 0,
        };
        let mut comm = std::ptr::null_mut();
        // SAFETY: writes the group; the configuration is read during the call.
        let status = unsafe { (library.join)(&mut comm, size as c_int, place, rank as c_int, &mut config) };
        let group = Nccl {
            library,
            comm,
            size,
            device,
            stream,
            patience,
        };
        group.settled(status)?;
        group.greet()?;
        Ok(group)
    }

    /// Opens the connections that NCCL opens when they are first used.
    fn greet(&self) -> Result<(), TchError> {
        let numbers = |count: usize| Tensor::ones([count as i64], (Kind::Float, self.device));
        let (one, part) = (numbers(1), numbers(1));
        let (all, other) = (numbers(self.size), numbers(self.size));
        for begun in [
            self.all_reduce(&one)?,
            self.all_gather(&all, &part)?,
            self.exchange(&other, &all)?,
        ] {
            let since = Instant::now();
            while !begun.wait(ASK)? {
                if since.elapsed() > self.patience {
                    return Err(self.late());
                }
            }
        }
        Ok(())
    }

    /// Whether a tensor is where this group exchanges them.
    pub fn takes(&self, device: Device) -> bool {
        self.device == device
    }

    /// Begins to replace `x`, of one shape on all ranks, by its sum over them. All ranks get the
    /// same bits.
    ///
    /// # Errors
    ///
    /// In NCCL's words.
    pub fn all_reduce(&self, x: &Tensor) -> Result<UnderWay, TchError> {
        let (address, kind) = (x.data_ptr(), kind(x)?);
        // SAFETY: the tensor is contiguous, and stays until the work has ended.
        self.begun(|library, stream| unsafe {
            (library.all_reduce)(address, address, x.numel(), kind, SUM, self.comm, stream)
        })
    }

    /// Begins to fill `whole` with the `part` of each rank, one behind the other.
    ///
    /// # Errors
    ///
    /// In NCCL's words.
    pub fn all_gather(&self, whole: &Tensor, part: &Tensor) -> Result<UnderWay, TchError> {
        let kind = kind(part)?;
        // SAFETY: as above; the whole has room for all parts.
        self.begun(|library, stream| unsafe {
            let (from, to) = (part.data_ptr(), whole.data_ptr());
            (library.all_gather)(from, to, part.numel(), kind, self.comm, stream)
        })
    }

    /// Begins to send each rank its part of `from`, and to fill `to` with the parts that they send,
    /// one behind the other.
    ///
    /// # Errors
    ///
    /// In NCCL's words.
    pub fn exchange(&self, to: &Tensor, from: &Tensor) -> Result<UnderWay, TchError> {
        let (count, kind) = (from.numel() / self.size, kind(from)?);
        let bytes = count * from.kind().elt_size_in_bytes();
        let part = |of: &Tensor, peer: usize| of.data_ptr().wrapping_byte_add(peer * bytes);
        self.begun(|library, stream| {
            // SAFETY: as above; each part is inside of its tensor.
            let each = |peer: usize| unsafe {
                let sent = (library.send)(part(from, peer), count, kind, peer as c_int, self.comm, stream);
                first_fault([
                    sent,
                    (library.receive)(part(to, peer), count, kind, peer as c_int, self.comm, stream),
                ])
            };
            // SAFETY: they take nothing.
            let begun = unsafe { (library.begin_several)() };
            let several = first_fault((0..self.size).map(each));
            // SAFETY: as above.
            let ended = unsafe { (library.end_several)() };
            first_fault([begun, several, ended])
        })
    }

    /// Enqueues a collective after everything that libtorch has been given to compute.
    fn begun(&self, enqueue: impl FnOnce(&Library, CudaStream) -> c_int) -> Result<UnderWay, TchError> {
        self.stream.wait_for(&Event::record(self.device)?)?;
        let status = enqueue(self.library, self.stream.handle()?);
        self.settled(status)?;
        Ok(UnderWay {
            library: self.library,
            comm: self.comm,
            end: self.stream.record()?,
        })
    }

    /// Waits until a call that returned `status` has done what it does.
    fn settled(&self, mut status: c_int) -> Result<(), TchError> {
        let since = Instant::now();
        while status == IN_PROGRESS {
            if since.elapsed() > self.patience {
                return Err(self.late());
            }
            if since.elapsed() > EAGER {
                std::thread::sleep(PAUSE);
            }
            status = state(self.library, self.comm);
        }
        match status {
            SUCCESS => Ok(()),
            status => Err(self.library.failed(status, self.comm)),
        }
    }

    fn late(&self) -> TchError {
        let seconds = self.patience.as_secs();
        TchError::Torch(format!("NCCL: another rank did not come within {seconds} s"))
    }
}

/// A collective in progress. Its tensors must stay, and must not be used, before it has ended.
#[must_use]
pub struct UnderWay {
    library: &'static Library,
    comm: Comm,
    end: Event,
}

impl fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnderWay({:?})", self.end)
    }
}

impl UnderWay {
    /// Waits for it for `time` at most. Returns whether it has ended.
    ///
    /// # Errors
    ///
    /// In NCCL's or libtorch's words, when it has failed.
    pub fn wait(&self, time: Duration) -> Result<bool, TchError> {
        let since = Instant::now();
        let mut asked = Duration::ZERO;
        loop {
            if self.end.is_done()? {
                return Ok(true);
            }
            let waited = since.elapsed();
            if waited >= time {
                return Ok(false);
            }
            if waited - asked > ASK {
                asked = waited;
                let status = state(self.library, self.comm);
                if status != SUCCESS && status != IN_PROGRESS {
                    return Err(self.library.failed(status, self.comm));
                }
            }
            match waited < EAGER {
                true => std::thread::yield_now(),
                false => std::thread::sleep(PAUSE),
            }
        }
    }
}

/// What has become of what a group was asked for.
fn state(library: &Library, comm: Comm) -> c_int {
    let mut state = IN_PROGRESS;
    // SAFETY: the group is never freed; writes one number.
    match unsafe { (library.state)(comm, &mut state) } {
        SUCCESS => state,
        status => status,
    }
}

/// The first status that is a failure, else one that says that something goes on, else success.
fn first_fault(all: impl IntoIterator<Item = c_int>) -> c_int {
    let worst = |before: c_int, next: c_int| match (before, next) {
        (SUCCESS | IN_PROGRESS, SUCCESS) => before,
        (SUCCESS | IN_PROGRESS, next) => next,
        _ => before,
    };
    all.into_iter().fold(SUCCESS, worst)
}

/// `ncclDataType_t` of a tensor, which must be contiguous.
fn kind(x: &Tensor) -> Result<c_int, TchError> {
    let kind = match x.kind() {
        Kind::Uint8 => 1,
        Kind::Int => 2,
        Kind::Int64 => 4,
        Kind::Half => 6,
        Kind::Float => 7,
        Kind::Double => 8,
        Kind::BFloat16 => 9,
        other => return Err(TchError::Torch(format!("NCCL: no numbers of type {other:?}"))),
    };
    match x.is_contiguous() {
        true => Ok(kind),
        false => Err(TchError::Torch("NCCL: a tensor with gaps".to_owned())),
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of_hex(text: &str) -> Option<[u8; 128]> {
    let byte = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..text.len() / 2).map(byte).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meeting_is_sent_as_text() {
        let bytes = std::array::from_fn(|at| at as u8 * 2);
        assert_eq!(of_hex(&to_hex(&bytes)), Some(bytes));
        for text in [
            "",
            "00",
            &to_hex(&bytes)[1..],
            &"zz".repeat(128),
            &"é".repeat(128),
        ] {
            assert_eq!(of_hex(text), None);
        }
    }

    #[test]
    fn of_several_calls_a_failure_counts() {
        assert_eq!(first_fault([0, 0]), SUCCESS);
        assert_eq!(first_fault([0, 7, 0]), IN_PROGRESS);
        assert_eq!(first_fault([7, 5, 7, 3]), 5);
    }

    #[test]
    fn only_tensors_without_gaps_are_sent() {
        let x = Tensor::zeros([4, 2], (Kind::BFloat16, Device::Cpu));
        assert_eq!(kind(&x).unwrap(), 9);
        assert!(kind(&x.narrow(1, 0, 1)).is_err());
        assert!(kind(&x.to_kind(Kind::Bool)).is_err());
    }

    /// The beginning of the configuration is laid out as C does it.
    #[test]
    fn the_configuration_is_as_long_as_that_of_2_14() {
        assert_eq!(size_of::<Config>(), 24);
        assert_eq!(std::mem::offset_of!(Config, blocking), 16);
    }
}
