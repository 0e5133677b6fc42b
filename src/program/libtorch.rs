//! Where libtorch is: the folder of a `torch` package of Python, or one with the same `lib`.
//!
//! The places are looked at in this order:
//!
//! 1. `EWE_LIBTORCH`. If it is set, no other place is looked at.
//! 2. `LIBTORCH`, with which libtorch's bindings are built.
//! 3. `LD_LIBRARY_PATH`, where the loader looks first anyway.
//! 4. The packages of the Python that `ewe` is installed for: from `venv/bin/ewe` in
//!    `venv/lib/python3.*/site-packages`.
//! 5. The packages of the virtual environment that is active: `VIRTUAL_ENV`, `CONDA_PREFIX`.
//! 6. The run path that the build has put into `ewe-torch`.
//!
//! The first libtorch of the right version is taken.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// The release of libtorch that `ewe-torch` is built for. Its C++ interface changes with each.
pub const NEEDED: &str = "2.13";

/// The variable that names the folder of libtorch. `ewe` sets it for `ewe-torch`.
pub const VARIABLE: &str = "EWE_LIBTORCH";

/// The variable with the folders in which the loader looks first.
pub const LOADER_PATH: &str = if cfg!(target_os = "macos") {
    "DYLD_LIBRARY_PATH"
} else {
    "LD_LIBRARY_PATH"
};

/// What shows that a folder is libtorch's `lib`.
const LIBRARY: &str = if cfg!(target_os = "macos") {
    "libtorch_cpu.dylib"
} else {
    "libtorch_cpu.so"
};

/// The `lib` folder in the run path of `ewe-torch`, unless the build is for other machines.
const BUILT_IN: Option<&str> = option_env!("EWE_RUN_PATH");

/// A libtorch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Libtorch {
    /// The folder that has `lib` in it.
    pub folder: PathBuf,
    /// Its version, such as `2.13.0+cu130`; none if it does not say.
    pub version: Option<String>,
    /// The CUDA version that it is built for, such as `13.0`; none for the CPU alone.
    pub cuda: Option<String>,
    /// Where it was found.
    pub place: Place,
}

/// A place where libtorch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A variable that names its folder.
    Variable(&'static str),
    /// The folders in which the loader looks first.
    LoaderPath,
    /// The packages of the Python that `ewe` is installed for.
    BesideEwe,
    /// The packages of an active environment, by its variable.
    Environment(&'static str),
    /// The run path of the build.
    BuiltIn,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Variable(name) | Place::Environment(name) => f.write_str(name),
            Place::LoaderPath => f.write_str(LOADER_PATH),
            Place::BesideEwe => f.write_str("the Python of this `ewe`"),
            Place::BuiltIn => f.write_str("the build"),
        }
    }
}

/// What tells where libtorch may be.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The value of `EWE_LIBTORCH`.
    pub named: Option<PathBuf>,
    /// The value of `LIBTORCH`.
    pub libtorch: Option<PathBuf>,
    /// The folders of `LD_LIBRARY_PATH`.
    pub loader_path: Vec<PathBuf>,
    /// This program, with links resolved.
    pub executable: Option<PathBuf>,
    /// Active environments, by their variable.
    pub environments: Vec<(&'static str, PathBuf)>,
    /// The `lib` folder of the build.
    pub built_in: Option<PathBuf>,
}

impl Surroundings {
    /// Reads the surroundings of this process.
    pub fn of_process() -> Surroundings {
        let folder = |name: &str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        let executable = std::env::current_exe().ok();
        Surroundings {
            named: folder(VARIABLE),
            libtorch: folder("LIBTORCH"),
            loader_path: std::env::var_os(LOADER_PATH)
                .map(|value| std::env::split_paths(&value).collect())
                .unwrap_or_default(),
            executable: executable.map(|path| path.canonicalize().unwrap_or(path)),
            environments: ["VIRTUAL_ENV", "CONDA_PREFIX"]
                .into_iter()
                .filter_map(|name| Some((name, folder(name)?)))
                .collect(),
            built_in: BUILT_IN.map(PathBuf::from),
        }
    }

    /// The folders that may be libtorch's, with their place, in the order in which they are looked
    /// at.
    fn candidates(&self) -> Vec<(Place, PathBuf)> {
        if let Some(folder) = &self.named {
            return vec![(Place::Variable(VARIABLE), folder.clone())];
        }
        let mut all = Vec::new();
        let variable = self.libtorch.iter().cloned();
        all.extend(variable.map(|folder| (Place::Variable("LIBTORCH"), folder)));
        // Most of them are somebody else's.
        let loaded = self.loader_path.iter().filter(|lib| lib.join(LIBRARY).exists());
        all.extend(loaded.map(|lib| (Place::LoaderPath, lib.clone())));
        let prefix = self.executable.as_deref().and_then(|ewe| ewe.parent()?.parent());
        let beside = prefix.into_iter().flat_map(packages);
        all.extend(beside.map(|folder| (Place::BesideEwe, folder.join("torch"))));
        for (name, prefix) in &self.environments {
            let installed = packages(prefix).into_iter();
            all.extend(installed.map(|folder| (Place::Environment(name), folder.join("torch"))));
        }
        let built_in = self.built_in.iter().cloned();
        all.extend(built_in.map(|lib| (Place::BuiltIn, lib)));
        all
    }
}

/// The folders of packages of each Python below `prefix`, of newer Pythons first. Debian's have
/// another name.
fn packages(prefix: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for lib in ["lib", "lib64"] {
        let Ok(entries) = prefix.join(lib).read_dir() else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let minor = name.to_str().and_then(|name| name.strip_prefix("python3."));
            if let Some(minor) = minor.and_then(|minor| minor.parse::<u32>().ok()) {
                found.push((minor, entry.path()));
            }
        }
    }
    found.sort_by_key(|(minor, _)| std::cmp::Reverse(*minor));
    found
        .into_iter()
        .flat_map(|(_, python)| ["site-packages", "dist-packages"].map(|name| python.join(name)))
        .filter(|folder| folder.is_dir())
        .collect()
}

/// Why no libtorch is usable: every place that was looked at, and what was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    looked_at: Vec<(Place, PathBuf, Option<String>)>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found: Vec<String> = self
            .looked_at
            .iter()
            .filter_map(|(place, folder, version)| {
                let version = version.as_ref()?;
                Some(format!(
                    "found torch {version}, needs {NEEDED}: `{}` ({place})",
                    folder.display()
                ))
            })
            .collect();
        let places: Vec<String> = self
            .looked_at
            .iter()
            .filter(|(_, _, version)| version.is_none())
            .map(|(place, folder, _)| format!("`{}` ({place})", folder.display()))
            .collect();
        f.write_str("libtorch was not found")?;
        for line in &found {
            write!(f, "; {line}")?;
        }
        match (places.is_empty(), found.is_empty()) {
            (true, true) => f.write_str("; no Python has packages beside this `ewe`, and none is active")?,
            (true, false) => {}
            (false, _) => write!(f, "; not in {}", places.join(", "))?,
        }
        write!(
            f,
            "\nhint: pip install 'ewe[train]', or set {VARIABLE} to the folder of a torch {NEEDED}"
        )
    }
}

impl std::error::Error for Missing {}

/// Looks for libtorch.
///
/// # Errors
///
/// If there is none, or none of the right version. The message names what was looked at.
pub fn search(surroundings: &Surroundings) -> Result<Libtorch, Missing> {
    let mut looked_at = Vec::new();
    for (place, folder) in surroundings.candidates() {
        match at(place, &folder) {
            Some(found) if found.version.as_deref().is_none_or(fits) => return Ok(found),
            Some(found) => looked_at.push((place, found.folder, found.version)),
            None => looked_at.push((place, folder, None)),
        }
    }
    Err(Missing { looked_at })
}

/// The libtorch whose folder, or whose `lib`, is `folder`.
fn at(place: Place, folder: &Path) -> Option<Libtorch> {
    let folder = if folder.join("lib").join(LIBRARY).exists() {
        folder.to_path_buf()
    } else if folder.join(LIBRARY).exists() {
        folder.parent()?.to_path_buf()
    } else {
        return None;
    };
    // A wheel has the first, an archive of libtorch the second.
    let python = std::fs::read_to_string(folder.join("version.py")).unwrap_or_default();
    let version = assigned(&python, "__version__").or_else(|| {
        let text = std::fs::read_to_string(folder.join("build-version")).ok()?;
        Some(text.trim().to_owned())
    });
    Some(Libtorch {
        cuda: assigned(&python, "cuda"),
        folder,
        version,
        place,
    })
}

/// The string that a line of `version.py` assigns to `name`, which may have a type:
/// `cuda: Optional[str] = '13.0'`.
fn assigned(python: &str, name: &str) -> Option<String> {
    let value = python.lines().find_map(|line| {
        let (left, right) = line.split_once('=')?;
        let left = left.split(':').next().unwrap_or_default();
        (left.trim() == name).then(|| right.trim())
    })?;
    let inner = value
        .strip_prefix(['\'', '"'])
        .and_then(|rest| rest.strip_suffix(['\'', '"']));
    inner.map(str::to_owned)
}

/// Whether `ewe-torch` can be loaded with this version.
fn fits(version: &str) -> bool {
    version
        .strip_prefix(NEEDED)
        .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

impl Libtorch {
    /// The folder with the libraries.
    pub fn lib(&self) -> PathBuf {
        self.folder.join("lib")
    }

    /// The value of [`LOADER_PATH`] with which the loader finds this libtorch: its folder before
    /// those of `current`. None if it finds this one as it is.
    pub fn loader_path(&self, current: Option<OsString>) -> Option<OsString> {
        if self.place == Place::BuiltIn {
            return None;
        }
        let rest = current.unwrap_or_default();
        let rest = std::env::split_paths(&rest).filter(|folder| !folder.as_os_str().is_empty());
        std::env::join_paths(std::iter::once(self.lib()).chain(rest)).ok()
    }

    /// The version in words.
    pub fn version(&self) -> &str {
        self.version.as_deref().unwrap_or("of unknown version")
    }

    /// The version in words, with what it is built for.
    pub fn build(&self) -> String {
        let version = self.version();
        match &self.cuda {
            Some(cuda) => format!("{version}, for CUDA {cuda}"),
            None => format!("{version}, for the CPU"),
        }
    }
}

/// The folder of the libtorch that this process runs with, as far as it is known: that which `ewe`
/// has found for `ewe-torch`, else that of the build.
pub fn in_use() -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    named.or_else(|| Path::new(BUILT_IN?).parent().map(Path::to_path_buf))
}

#[cfg(test)]
mod tests;
