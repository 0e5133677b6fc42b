//! The files of a dataset that is several files, as tools that work in parallel leave it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::ReadError;

/// What names of files of rows end in, before what says how they are compressed.
const ENDINGS: [&str; 6] = ["jsonl", "ndjson", "parquet", "arrow", "csv", "tsv"];
const PACKED: [&str; 4] = ["gz", "zst", "xz", "bz2"];

/// Replaces each folder of files by its files of rows, in the order of their names. `.json` files
/// are rows only where there are no others: beside others they are settings. Hidden files and those
/// that begin with `_` are notes of other tools. A folder that `datasets` saved is read as a whole
/// and stays, and so does one without any such file.
///
/// # Errors
///
/// If a folder cannot be read.
pub fn expanded(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ReadError> {
    let mut files = Vec::new();
    for path in paths {
        let is_whole = ["state.json", "dataset_dict.json"]
            .iter()
            .any(|name| path.join(name).is_file());
        let inner = match path.is_dir() && !is_whole {
            true => of_folder(path).map_err(|error| ReadError::Io {
                file: path.display().to_string(),
                error,
            })?,
            false => Vec::new(),
        };
        match inner.is_empty() {
            true => files.push(path.clone()),
            false => files.extend(inner),
        }
    }
    Ok(files)
}

fn of_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let is_note = |name: &String| name.starts_with(['.', '_']);
        if path.is_file() && !name.as_ref().is_none_or(is_note) {
            files.push(path);
        }
    }
    files.sort();
    let ends_in = |endings: &[&str]| {
        let of_kind = files
            .iter()
            .filter(|file| endings.contains(&ending(file).as_str()));
        of_kind.cloned().collect::<Vec<_>>()
    };
    let rows = ends_in(&ENDINGS);
    Ok(match rows.is_empty() {
        true => ends_in(&["json"]),
        false => rows,
    })
}

/// What the name of a file ends in, without how it is compressed.
fn ending(file: &Path) -> String {
    let name = file
        .file_name()
        .map(|name| name.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    let mut endings = name.rsplit('.').filter(|ending| !PACKED.contains(ending));
    endings.next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_files_of_rows_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("a/inner.jsonl")).unwrap();
        for name in [
            "part-1.jsonl.zst",
            "part-0.JSONL",
            "x.parquet",
            "notes.json",
            "readme.md",
            ".part-2.jsonl",
            "_SUCCESS",
        ] {
            fs::write(path("a").join(name), "").unwrap();
        }
        fs::create_dir(path("b")).unwrap();
        fs::write(path("b/1.json"), "").unwrap();
        fs::create_dir(path("saved")).unwrap();
        fs::write(path("saved/state.json"), "").unwrap();
        fs::write(path("saved/data.arrow"), "").unwrap();
        fs::create_dir(path("empty")).unwrap();
        let given = ["b", "one.jsonl", "a", "saved", "empty", "-"].map(path);
        let expected = [
            "b/1.json",
            "one.jsonl",
            "a/part-0.JSONL",
            "a/part-1.jsonl.zst",
            "a/x.parquet",
            "saved",
            "empty",
            "-",
        ];
        assert_eq!(expanded(&given).unwrap(), expected.map(path));
    }
}
