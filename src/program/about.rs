//! Version, commit and compiler of this build, as `build.rs` found them, and what it runs with.

use super::{libtorch, machine};

/// The version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version with the commit, if that is known: `0.1.0 (1a2b3c4d5e)`. `ewe -V` prints it,
/// and `ewe --version` does with [`surroundings`].
pub const VERSION_WITH_COMMIT: &str = env!("EWE_VERSION");

/// The commit, or `unknown`. Development builds do not ask for it: they would be compiled again
/// after every commit.
pub const COMMIT: &str = env!("EWE_COMMIT");

/// The compiler, as `rustc 1.95.0 (59807616e 2026-04-14)`.
pub const COMPILER: &str = env!("EWE_COMPILER");

/// The target, as `x86_64-unknown-linux-gnu`.
pub const TARGET: &str = env!("EWE_BUILD_TARGET");

/// The profile: `release`, or `debug` for all that are not.
pub const PROFILE: &str = env!("EWE_PROFILE");

/// Returns what `ewe --version` prints below the version: libtorch with its CUDA, and what the
/// processor can do. `ewe doctor` has more.
pub fn surroundings() -> String {
    let libtorch = match libtorch::search(&libtorch::Surroundings::of_process()) {
        Ok(libtorch) => libtorch.build(),
        Err(_) => format!(
            "{} was not found; `ewe doctor` says where it may be",
            libtorch::NEEDED
        ),
    };
    format!(
        "libtorch {libtorch}\nprocessor features: {}\n",
        machine::processor_features()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_with_the_commit_begins_with_the_version() {
        let rest = VERSION_WITH_COMMIT
            .strip_prefix(VERSION)
            .expect(VERSION_WITH_COMMIT);
        assert_eq!(rest.is_empty(), COMMIT == "unknown", "{rest}");
        assert!(!VERSION_WITH_COMMIT.contains('\n'));
        assert!(COMPILER.starts_with("rustc "), "{COMPILER}");
        assert!(TARGET.starts_with(std::env::consts::ARCH), "{TARGET}");
    }
}
