//! Dependencies have the same features in every build. A dev-dependency that enables one more makes
//! `cargo test` compile its crate, and all that use it, again after `cargo build`: libtorch's
//! bindings once took minutes of a first `make test` that way.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Returns the sets of features that each package is compiled with.
fn features(edges: &str) -> BTreeMap<String, BTreeSet<String>> {
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--prefix",
            "none",
            "--format",
            "{p}\t{f}",
        ])
        .args(["--edges", edges])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree: {errors}");
    let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let mut packages: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    // Blank lines and headings part kinds of dependencies.
    let lines = text
        .lines()
        .filter_map(|line| line.trim_end_matches(" (*)").split_once('\t'));
    for (package, features) in lines {
        packages
            .entry(package.to_owned())
            .or_default()
            .insert(features.to_owned());
    }
    packages
}

#[test]
fn dependencies_have_the_same_features_with_and_without_tests() {
    let (used, tested) = (features("no-dev"), features("all"));
    assert!(used.len() > 100, "{} packages", used.len());
    let differing: Vec<_> = used
        .iter()
        .filter(|(package, features)| tested[*package] != **features)
        .map(|(package, features)| format!("{package}: {features:?} and {:?}", tested[package]))
        .collect();
    assert!(
        differing.is_empty(),
        "name these among the features of Cargo.toml that are not used by the code:\n{}",
        differing.join("\n")
    );
}
