//! The files of folders: not hidden ones, not those that `.gitignore` names, and no links.

use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use super::fault::{Fault, FaultKind};

/// What paths stand for.
#[derive(Debug, Default)]
pub struct Found {
    /// Files, each once, by their absolute paths. Those of a folder in order.
    pub files: Vec<PathBuf>,
    /// Folders that were searched, by their absolute paths.
    pub folders: Vec<PathBuf>,
    /// Hidden files and folders that were passed over.
    pub hidden: u64,
    /// Files that `.gitignore` or `.ignore` name.
    pub ignored: u64,
    /// Paths that cannot be opened.
    pub faults: Vec<(PathBuf, Fault)>,
}

/// Finds the files that are meant by `paths`. A file that is named itself counts whatever its name.
pub fn find(paths: &[PathBuf]) -> Found {
    let mut found = Found::default();
    let mut seen = std::collections::HashSet::new();
    for path in paths {
        let absolute = match path.canonicalize() {
            Ok(absolute) => absolute,
            Err(error) => {
                let fault = Fault::new(FaultKind::Unreadable, error.to_string());
                found.faults.push((path.clone(), fault));
                continue;
            }
        };
        if absolute.is_dir() {
            search(&absolute, &mut found, &mut seen);
            found.folders.push(absolute);
        } else if seen.insert(absolute.clone()) {
            found.files.push(absolute);
        }
    }
    found
}

fn search(folder: &Path, found: &mut Found, seen: &mut std::collections::HashSet<PathBuf>) {
    let mut meant = 0;
    let walk = |filters: bool| {
        let mut builder = WalkBuilder::new(folder);
        builder
            .standard_filters(filters)
            .hidden(true)
            .require_git(false)
            .git_global(false)
            .sort_by_file_path(|a, b| a.cmp(b));
        builder.build()
    };
    for entry in walk(true) {
        match entry {
            Ok(entry) if entry.file_type().is_some_and(|kind| kind.is_file()) => {
                meant += 1;
                if seen.insert(entry.path().to_path_buf()) {
                    found.files.push(entry.into_path());
                }
            }
            Ok(_) => {}
            Err(error) => {
                let fault = Fault::new(FaultKind::Unreadable, error.to_string());
                found.faults.push((folder.to_path_buf(), fault));
            }
        }
    }
    let all = walk(false)
        .flatten()
        .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()));
    found.ignored += (all.count() as u64).saturating_sub(meant);
    found.hidden += hidden(folder);
}

/// Counts hidden entries, and does not look into hidden folders.
fn hidden(folder: &Path) -> u64 {
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = count.clone();
    let mut builder = WalkBuilder::new(folder);
    builder.standard_filters(false).filter_entry(move |entry| {
        let is_hidden = entry.depth() > 0 && entry.file_name().to_string_lossy().starts_with('.');
        if is_hidden {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        !is_hidden
    });
    builder.build().for_each(drop);
    count.load(std::sync::atomic::Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_searched_and_what_is_passed_over_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for (name, text) in [
            ("b.txt", "b"),
            ("a/deep/c.md", "c"),
            (".git/config", "x"),
            (".hidden", "x"),
            ("build/out.txt", "x"),
            ("build/more.txt", "x"),
            (".gitignore", "build/\n"),
        ] {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::os::unix::fs::symlink(root.join("b.txt"), root.join("link.txt")).unwrap();
        let found = find(&[
            root.clone(),
            root.join("b.txt"),
            root.join("none"),
            root.join(".hidden"),
        ]);
        let names: Vec<_> = found
            .files
            .iter()
            .map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["a/deep/c.md", "b.txt", ".hidden"]);
        assert_eq!((found.hidden, found.ignored), (3, 2));
        assert_eq!(found.faults.len(), 1);
        assert_eq!(found.folders, [root]);
    }
}
