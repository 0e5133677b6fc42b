//! Notes what the program is built from, and for `ewe-torch` compiles the C++ of `csrc` and gives
//! the binary a run path to libtorch, so that it starts without `LD_LIBRARY_PATH`.
//!
//! With `EWE_PORTABLE` the build is for other machines, as in a wheel: the run path leads to the
//! `torch` beside the binary's own Python, and no path of this machine is built in.

// Cargo reads this output.
#![allow(clippy::disallowed_macros)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Instruction sets, beyond the architecture's own, that the kernels are compiled for as well. At
/// run time the best one that the processor has is chosen.
const LEVELS: [(&str, &[&str]); 4] = [
    ("base", &[]),
    ("v3", &["-march=x86-64-v3"]),
    ("v4", &["-march=x86-64-v4", "-mprefer-vector-width=512"]),
    (
        "v4_bf16",
        &["-march=x86-64-v4", "-mprefer-vector-width=512", "-mavx512bf16"],
    ),
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=csrc");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    // The library embeds the migrations, so a new one must rebuild it.
    println!("cargo:rerun-if-changed=db/migrations");
    about();
    if std::env::var_os("CARGO_FEATURE_TORCH").is_none() {
        return;
    }
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os != "linux") {
        // `src/torch.rs` says so, too; this comes first.
        panic!("ewe-torch computes with libtorch on Linux only: build with --no-default-features");
    }
    kernels();
    println!("cargo:rerun-if-env-changed=EWE_PORTABLE");
    if let Ok(libtorch) = std::env::var("LIBTORCH") {
        shim(Path::new(&libtorch));
        run_path(&libtorch);
    }
}

/// The Pythons whose folder of packages is in the run path of a portable build: 3.N.
const PYTHONS: std::ops::RangeInclusive<u32> = 10..=14;

/// Tells the loader where libtorch is.
fn run_path(libtorch: &str) {
    if is_portable() {
        for minor in PYTHONS {
            let torch = format!("lib/python3.{minor}/site-packages/torch/lib");
            println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../{torch}");
        }
    } else {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}/lib");
        // For `ewe`, which looks for libtorch before it starts `ewe-torch`.
        println!("cargo:rustc-env=EWE_RUN_PATH={libtorch}/lib");
    }
}

fn is_portable() -> bool {
    std::env::var_os("EWE_PORTABLE").is_some()
}

/// Passes version, commit, compiler and target to `src/program/about.rs`.
fn about() {
    println!("cargo:rerun-if-env-changed=EWE_COMMIT");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let profile = variable("PROFILE");
    let commit = commit(&profile).unwrap_or_else(|| "unknown".to_owned());
    let version = variable("CARGO_PKG_VERSION");
    let shown = match commit.as_str() {
        "unknown" => version,
        commit => format!("{version} ({commit})"),
    };
    let compiler = output(Command::new(variable("RUSTC")).arg("--version"));
    println!("cargo:rustc-env=EWE_VERSION={shown}");
    println!("cargo:rustc-env=EWE_COMMIT={commit}");
    println!(
        "cargo:rustc-env=EWE_COMPILER={}",
        compiler.unwrap_or_else(|| "rustc of unknown version".to_owned())
    );
    println!("cargo:rustc-env=EWE_BUILD_TARGET={}", variable("TARGET"));
    println!("cargo:rustc-env=EWE_PROFILE={profile}");
}

/// Returns the commit, shortened, with `+` behind it if files were changed since: from `EWE_COMMIT`,
/// from the file that cargo puts into packages, from the one that `git archive` fills in, or from
/// git. Git is asked for a release only: a development build would otherwise begin again after each
/// commit.
fn commit(profile: &str) -> Option<String> {
    let given = std::env::var("EWE_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty());
    let packed = || {
        let text = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
        let (_, rest) = text.split_once("\"sha1\"")?;
        Some(rest.split('"').nth(1)?.to_owned())
    };
    let archived = || {
        let text = std::fs::read_to_string("scripts/commit.txt").ok()?;
        text.lines().next().map(|line| line.trim().to_owned())
    };
    let found = given
        .or_else(packed)
        .or_else(|| archived().filter(|commit| is_commit(commit)))
        .or_else(|| asked_of_git(profile))?;
    let found = found.trim();
    if !is_commit(found.trim_end_matches('+')) {
        return None;
    }
    let mark = if found.ends_with('+') { "+" } else { "" };
    Some(format!("{}{mark}", found.chars().take(10).collect::<String>()))
}

fn is_commit(text: &str) -> bool {
    text.len() >= 7 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn asked_of_git(profile: &str) -> Option<String> {
    // A folder above may be somebody else's checkout.
    if profile != "release" || !Path::new(".git").exists() {
        return None;
    }
    let git = |arguments: &[&str]| output(Command::new("git").arg("--no-optional-locks").args(arguments));
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() {
        commit
    } else {
        format!("{commit}+")
    })
}

/// What a command prints, if it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

fn kernels() {
    let x86 = std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut all = compiler();
    all.file("csrc/dispatch.cpp");
    for (name, flags) in LEVELS.into_iter().filter(|(_, flags)| flags.is_empty() || x86) {
        for file in ["kernels", "backward", "optimizers"] {
            let mut one = compiler();
            // Objects are named after their source, so each level has its own folder.
            one.out_dir(out.join(name));
            // Vectors are passed between inlined functions only, so their calling convention does
            // not matter.
            one.file(format!("csrc/{file}.cpp"))
                .flag("-fopenmp")
                .flag("-fno-math-errno")
                .flag_if_supported("-Wno-psabi")
                .flag_if_supported("-Wno-unused-function");
            one.define("EWE_TABLE", format!("ewe_{file}_{name}").as_str());
            if file == "optimizers" {
                // The same bits at every level: a run that is continued on another machine computes
                // the same.
                one.flag("-ffp-contract=off");
            }
            for flag in flags {
                one.flag(flag);
            }
            for object in one.compile_intermediates() {
                all.object(object);
            }
        }
    }
    all.compile("ewe_kernels");
    // The GPU's kernels for the CPU: the bits that NVRTC's `--fmad=false` gives.
    compiler()
        .file("csrc/gpu/twin.cpp")
        .flag("-ffp-contract=off")
        .flag("-fno-math-errno")
        .compile("ewe_gpu_twin");
    // Only tests refer to it, so no other program has it.
    compiler()
        .file("csrc/trace_kernels.cpp")
        .warnings(false)
        .compile("ewe_trace_kernels");
}

fn shim(libtorch: &Path) {
    let include = libtorch.join("include");
    compiler()
        .std("c++20")
        // As libtorch was built: without it, some of its types have another layout.
        .define("NDEBUG", None)
        .file("csrc/libtorch.cpp")
        // Gloo's headers, which libtorch's own include and its wheel lacks.
        .include("csrc/distributed")
        .include(include.join("torch/csrc/api/include"))
        .include(include)
        .warnings(false)
        .compile("ewe_shim");
}

/// Returns a compiler that optimizes in every profile: an unoptimized kernel is slower than the
/// operations it replaces.
fn compiler() -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(3).debug(false);
    build
}
