//! Decoders of Parquet panic on some damaged files. Here the panic becomes an error of the file.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    /// Whether a panic of this thread is expected, and not to be printed.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Returns the result of `decode`, or the message of its panic. After a panic, nothing that
/// `decode` borrowed may be used.
pub(super) fn guarded<T>(decode: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !EXPECTED.get() {
                hook(info);
            }
        }));
    });
    EXPECTED.set(true);
    let decoded = panic::catch_unwind(AssertUnwindSafe(decode));
    EXPECTED.set(false);
    decoded.map_err(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(other) => other
            .downcast::<&str>()
            .map_or("it is damaged".into(), |message| message.to_string()),
    })
}
