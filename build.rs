//! Compiles the C++ of `csrc` for `ewe-torch`, and gives that a run path to libtorch, so that it starts without
//! `LD_LIBRARY_PATH`.

// Cargo reads what is printed here.
#![allow(clippy::disallowed_macros)]

use std::path::{Path, PathBuf};

/// Instructions beyond the architecture's own that the kernels are compiled for as well; the best that the processor has
/// are taken when they run.
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
    // The library embeds the migrations; a new one must rebuild it.
    println!("cargo:rerun-if-changed=db/migrations");
    if std::env::var_os("CARGO_FEATURE_TORCH").is_none() {
        return;
    }
    kernels();
    if let Ok(libtorch) = std::env::var("LIBTORCH") {
        shim(Path::new(&libtorch));
        println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}/lib");
    }
}

fn kernels() {
    let x86 = std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut all = compiler();
    all.file("csrc/dispatch.cpp");
    for (name, flags) in LEVELS.into_iter().filter(|(_, flags)| flags.is_empty() || x86) {
        for file in ["kernels", "optimizers"] {
            let mut one = compiler();
            // Objects are named after their source; each level has a folder of its own.
            one.out_dir(out.join(name));
            // Vectors are passed between inlined functions only, so how they would be passed elsewhere does not matter.
            one.file(format!("csrc/{file}.cpp"))
                .flag("-fopenmp")
                .flag("-fno-math-errno")
                .flag_if_supported("-Wno-psabi")
                .flag_if_supported("-Wno-unused-function");
            one.define("EWE_TABLE", format!("ewe_{file}_{name}").as_str());
            if file == "optimizers" {
                // The same bits at every level: a run goes on elsewhere as it would have here.
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
}

fn shim(libtorch: &Path) {
    let include = libtorch.join("include");
    compiler()
        .std("c++20")
        .files([
            "csrc/attention.cpp",
            "csrc/linear.cpp",
            "csrc/memory.cpp",
            "csrc/nf4.cpp",
        ])
        .include(include.join("torch/csrc/api/include"))
        .include(include)
        .warnings(false)
        .compile("ewe_shim");
}

/// Optimised in every profile: a kernel that is not is slower than what it replaces.
fn compiler() -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(3).debug(false);
    build
}
