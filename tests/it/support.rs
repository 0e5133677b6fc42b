//! What the tests share.

use std::path::PathBuf;

use tempfile::TempDir;

/// An empty directory for one test, gone when the test has ended.
pub struct Scratch {
    dir: TempDir,
}

impl Scratch {
    /// Makes the directory.
    pub fn new() -> Scratch {
        Scratch {
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
