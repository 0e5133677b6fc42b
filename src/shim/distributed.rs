//! Processes (ranks) that compute together, by libtorch's c10d (`csrc/distributed.h`): a store of
//! keys, and Gloo's collectives.
//!
//! Stores and groups live as long as the process: taking one down waits for ranks that may be gone.

use std::ffi::{CString, c_char, c_int, c_void};
use std::time::Duration;

use tch::{TchError, Tensor};

use super::checked;

type EachValue = unsafe extern "C" fn(context: *mut c_void, index: c_int, bytes: *const u8, count: usize);

unsafe extern "C" {
    fn ewe_store_open(
        host: *const c_char,
        port: c_int,
        serves: c_int,
        listening: c_int,
        prefix: *const c_char,
        millis: i64,
        store: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_store_set(
        store: *mut c_void,
        key: *const c_char,
        bytes: *const c_char,
        count: usize,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_store_get_all(
        store: *mut c_void,
        key: *const c_char,
        count: c_int,
        each: EachValue,
        context: *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_store_add(
        store: *mut c_void,
        key: *const c_char,
        amount: i64,
        sum: *mut i64,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_group_gloo(
        store: *mut c_void,
        rank: c_int,
        size: c_int,
        device: *const c_char,
        is_interface: c_int,
        millis: i64,
        name: *const c_char,
        group: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_group_all_reduce(
        group: *mut c_void,
        x: *mut c_void,
        is_max: c_int,
        work: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_group_broadcast(
        group: *mut c_void,
        x: *mut c_void,
        root: c_int,
        work: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_group_all_gather(
        group: *mut c_void,
        whole: *mut c_void,
        part: *mut c_void,
        work: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_group_reduce_scatter(
        group: *mut c_void,
        part: *mut c_void,
        whole: *mut c_void,
        work: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_group_exchange(
        group: *mut c_void,
        to: *mut c_void,
        from: *mut c_void,
        work: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_group_barrier(
        group: *mut c_void,
        work: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_work_wait(
        work: *mut c_void,
        millis: i64,
        done: *mut c_int,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_work_free(work: *mut c_void);
}

/// Where a store is.
#[derive(Debug, Clone)]
pub struct StoreAddress {
    /// The host that serves it.
    pub host: String,
    /// Its port there.
    pub port: u16,
    /// What keys begin with.
    pub prefix: String,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// A connection to the store.
#[derive(Debug)]
pub struct Store(*mut c_void);

// SAFETY: c10d's stores lock what their threads share.
unsafe impl Send for Store {}

impl Store {
    /// Connects to a store, and serves it as well if `serves`: on a socket that listens already, if
    /// one is given.
    ///
    /// # Errors
    ///
    /// In libtorch's words, when nobody answers in time, or the port is taken.
    pub fn open(address: &StoreAddress, serves: bool, listening: Option<c_int>) -> Result<Store, TchError> {
        let [host, prefix] = [&address.host, &address.prefix].map(|text| c_text(text));
        let mut store = std::ptr::null_mut();
        // SAFETY: the texts end with a zero and outlive the call. On success the pointer is a new
        // store.
        checked(|error, room| unsafe {
            ewe_store_open(
                host.as_ptr(),
                c_int::from(address.port),
                c_int::from(serves),
                listening.unwrap_or(-1),
                prefix.as_ptr(),
                millis(address.timeout),
                &mut store,
                error,
                room,
            )
        })?;
        Ok(Store(store))
    }

    /// Sets a key.
    ///
    /// # Errors
    ///
    /// In libtorch's words, when the store does not answer.
    pub fn set(&self, key: &str, value: &str) -> Result<(), TchError> {
        let key = c_text(key);
        // SAFETY: the store is never freed; key and value outlive the call.
        checked(|error, room| unsafe {
            ewe_store_set(
                self.0,
                key.as_ptr(),
                value.as_ptr().cast(),
                value.len(),
                error,
                room,
            )
        })
    }

    /// Waits for the keys that end with 0 … `count` - 1, and returns their values.
    ///
    /// # Errors
    ///
    /// In libtorch's words, when they are not there in time.
    pub fn get_all(&self, key: &str, count: usize) -> Result<Vec<String>, TchError> {
        unsafe extern "C" fn each(context: *mut c_void, _index: c_int, bytes: *const u8, count: usize) {
            // SAFETY: the context is the vector below, and the bytes are there during the call.
            let (values, bytes) = unsafe {
                let bytes = match count {
                    0 => &[],
                    _ => std::slice::from_raw_parts(bytes, count),
                };
                (&mut *context.cast::<Vec<String>>(), bytes)
            };
            values.push(String::from_utf8_lossy(bytes).into_owned());
        }
        let key = c_text(key);
        let mut values: Vec<String> = Vec::with_capacity(count);
        let context = (&raw mut values).cast();
        // SAFETY: the store is never freed, and `each` is called in order during this call.
        checked(|error, room| unsafe {
            ewe_store_get_all(self.0, key.as_ptr(), count as c_int, each, context, error, room)
        })?;
        Ok(values)
    }

    /// Adds to the number of a key, which begins with 0, and returns the new one.
    ///
    /// # Errors
    ///
    /// In libtorch's words, when the store does not answer.
    pub fn add(&self, key: &str, amount: i64) -> Result<i64, TchError> {
        let (key, mut sum) = (c_text(key), 0);
        // SAFETY: the store is never freed; the key outlives the call.
        checked(|error, room| unsafe { ewe_store_add(self.0, key.as_ptr(), amount, &mut sum, error, room) })?;
        Ok(sum)
    }
}

/// Through which address of this machine ranks reach each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// That of its host name.
    HostName,
    /// This one.
    Address(String),
    /// That of a network interface, such as `eth0`.
    Interface(String),
}

/// Gloo's group of ranks, for tensors in host memory.
#[derive(Debug)]
pub struct Gloo(*mut c_void);

impl Gloo {
    /// Joins the group of `size` ranks that meet at the store under this name. Waits until all have
    /// joined. A collective fails after `timeout`.
    ///
    /// # Errors
    ///
    /// In libtorch's words, when one does not come, or cannot be reached.
    pub fn join(
        store: &Store,
        (rank, size): (usize, usize),
        network: &Network,
        timeout: Duration,
        meeting: &str,
    ) -> Result<Gloo, TchError> {
        let (name, is_interface) = match network {
            Network::HostName => ("", false),
            Network::Address(address) => (address.as_str(), false),
            Network::Interface(name) => (name.as_str(), true),
        };
        let [name, meeting] = [name, meeting].map(c_text);
        let mut group = std::ptr::null_mut();
        // SAFETY: the store is never freed. On success the pointer is a new group.
        checked(|error, room| unsafe {
            ewe_group_gloo(
                store.0,
                rank as c_int,
                size as c_int,
                name.as_ptr(),
                c_int::from(is_interface),
                millis(timeout),
                meeting.as_ptr(),
                &mut group,
                error,
                room,
            )
        })?;
        Ok(Gloo(group))
    }

    /// Begins to replace `x`, of one shape on all ranks, by its sum over them; by the maximum if
    /// `is_max`. All ranks get the same bits.
    ///
    /// # Errors
    ///
    /// In libtorch's words.
    pub fn all_reduce(&self, x: &Tensor, is_max: bool) -> Result<Collective, TchError> {
        // SAFETY: the group is never freed; libtorch holds the tensor until the work has ended.
        begun(|work, error, room| unsafe {
            ewe_group_all_reduce(self.0, pointer(x), c_int::from(is_max), work, error, room)
        })
    }

    /// Begins to replace `x` by that of rank `root`.
    ///
    /// # Errors
    ///
    /// In libtorch's words.
    #[cfg_attr(not(test), allow(dead_code))]
    pub fn broadcast(&self, x: &Tensor, root: usize) -> Result<Collective, TchError> {
        // SAFETY: as above.
        begun(|work, error, room| unsafe {
            ewe_group_broadcast(self.0, pointer(x), root as c_int, work, error, room)
        })
    }

    /// Begins to fill `whole` with the `part` of each rank, one behind the other.
    ///
    /// # Errors
    ///
    /// In libtorch's words.
    pub fn all_gather(&self, whole: &Tensor, part: &Tensor) -> Result<Collective, TchError> {
        // SAFETY: as above.
        begun(|work, error, room| unsafe {
            ewe_group_all_gather(self.0, pointer(whole), pointer(part), work, error, room)
        })
    }

    /// Begins to fill `part` with this rank's part of the sum of `whole` over all ranks.
    ///
    /// # Errors
    ///
    /// In libtorch's words.
    #[cfg_attr(not(test), allow(dead_code))]
    pub fn reduce_scatter(&self, part: &Tensor, whole: &Tensor) -> Result<Collective, TchError> {
        // SAFETY: as above.
        begun(|work, error, room| unsafe {
            ewe_group_reduce_scatter(self.0, pointer(part), pointer(whole), work, error, room)
        })
    }

    /// Begins to send each rank its part of `from`, and to fill `to` with the parts that they
    /// send, one behind the other.
    ///
    /// # Errors
    ///
    /// In libtorch's words.
    pub fn exchange(&self, to: &Tensor, from: &Tensor) -> Result<Collective, TchError> {
        // SAFETY: as above.
        begun(|work, error, room| unsafe {
            ewe_group_exchange(self.0, pointer(to), pointer(from), work, error, room)
        })
    }

    /// Begins to wait for all ranks.
    ///
    /// # Errors
    ///
    /// In libtorch's words.
    pub fn barrier(&self) -> Result<Collective, TchError> {
        // SAFETY: as above.
        begun(|work, error, room| unsafe { ewe_group_barrier(self.0, work, error, room) })
    }
}

/// A collective in progress. Its tensors must not be used before it has ended.
#[derive(Debug)]
#[must_use]
pub struct Collective(*mut c_void);

impl Collective {
    /// Waits for it for `time` at most. Returns whether it has ended.
    ///
    /// # Errors
    ///
    /// In libtorch's words, when it has failed.
    pub fn wait(&self, time: Duration) -> Result<bool, TchError> {
        let mut done = 0;
        // SAFETY: the work is owned until it is dropped.
        checked(|error, room| unsafe { ewe_work_wait(self.0, millis(time), &mut done, error, room) })?;
        Ok(done != 0)
    }
}

impl Drop for Collective {
    fn drop(&mut self) {
        // SAFETY: the work is owned, and nothing uses it afterwards. If it is in progress, the
        // group holds it as well.
        unsafe { ewe_work_free(self.0) }
    }
}

fn begun(call: impl FnOnce(*mut *mut c_void, *mut c_char, usize) -> c_int) -> Result<Collective, TchError> {
    let mut work = std::ptr::null_mut();
    checked(|error, room| call(&mut work, error, room))?;
    Ok(Collective(work))
}

fn pointer(x: &Tensor) -> *mut c_void {
    x.as_ptr() as *mut c_void
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Names of hosts, keys and interfaces have no zeros; what follows one is left out.
fn c_text(text: &str) -> CString {
    let text = text.split('\0').next().unwrap_or_default();
    CString::new(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::IntoRawFd;
    use tch::{Device, Kind};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Runs `work` as each of `size` ranks, on threads of this process.
    fn as_ranks<T: Send>(size: usize, work: impl Fn(usize, &Gloo, &Store) -> T + Sync) -> Vec<T> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = StoreAddress {
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
            prefix: "test".to_owned(),
            timeout: PATIENCE,
        };
        let listening = listener.into_raw_fd();
        let rank = |rank: usize| {
            let store = Store::open(&address, rank == 0, (rank == 0).then_some(listening)).unwrap();
            let network = Network::Address("127.0.0.1".to_owned());
            let group = Gloo::join(&store, (rank, size), &network, PATIENCE, "group").unwrap();
            work(rank, &group, &store)
        };
        std::thread::scope(|scope| {
            let rank = &rank;
            let threads: Vec<_> = (0..size)
                .map(|number| scope.spawn(move || rank(number)))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    fn done(begun: Result<Collective, TchError>) {
        let work = begun.unwrap();
        while !work.wait(Duration::from_secs(1)).unwrap() {}
    }

    fn numbers(x: &Tensor) -> Vec<f32> {
        Vec::try_from(x).unwrap()
    }

    #[test]
    fn ranks_sum_gather_scatter_and_broadcast() {
        let float = (Kind::Float, Device::Cpu);
        as_ranks(2, |rank, group, store| {
            let own = rank as f32;
            let x = Tensor::from_slice(&[own, 10.0 + own]);
            done(group.all_reduce(&x, false));
            assert_eq!(numbers(&x), [1.0, 21.0]);
            let x = Tensor::from_slice(&[own, -own]);
            done(group.all_reduce(&x, true));
            assert_eq!(numbers(&x), [1.0, 0.0]);
            let x = Tensor::from_slice(&[own]);
            done(group.broadcast(&x, 1));
            assert_eq!(numbers(&x), [1.0]);
            let whole = Tensor::zeros([4], float);
            done(group.all_gather(&whole, &Tensor::from_slice(&[own, own + 5.0])));
            assert_eq!(numbers(&whole), [0.0, 5.0, 1.0, 6.0]);
            let part = Tensor::zeros([2], float);
            done(group.reduce_scatter(&part, &Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0])));
            assert_eq!(numbers(&part), [[2.0, 4.0], [6.0, 8.0]][rank]);
            let received = Tensor::zeros([4], float);
            let sent = Tensor::from_slice(&[own, own + 1.0, own + 2.0, own + 3.0]);
            done(group.exchange(&received, &sent));
            assert_eq!(
                numbers(&received),
                [[0.0, 1.0, 1.0, 2.0], [2.0, 3.0, 3.0, 4.0]][rank]
            );
            done(group.barrier());
            store
                .set(&format!("seen/{rank}"), &format!("rank {rank}"))
                .unwrap();
            assert_eq!(store.get_all("seen/", 2).unwrap(), ["rank 0", "rank 1"]);
            store.add("count", 1).unwrap();
            done(group.barrier());
            assert_eq!(store.add("count", 0).unwrap(), 2);
        });
    }

    #[test]
    fn a_collective_waits_for_the_last_rank() {
        let seen = std::sync::Barrier::new(2);
        as_ranks(2, |rank, group, _| {
            if rank == 1 {
                seen.wait();
                done(group.barrier());
                return;
            }
            let work = group.barrier().unwrap();
            assert!(!work.wait(Duration::from_millis(50)).unwrap());
            seen.wait();
            while !work.wait(Duration::from_secs(1)).unwrap() {}
        });
    }
}
