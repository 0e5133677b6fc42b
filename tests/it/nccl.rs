//! Ranks that exchange tensors where their model is, as NCCL does between GPUs: over a stand-in for
//! its library (`tests/fixtures/nccl.c`), for tensors in host memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ranks::{ewe, line};
use crate::shell::Dir;
use crate::train::{losses, rows};

/// Compiles the stand-in.
fn stand_in(dir: &Dir) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nccl.c");
    let library = dir.path("libnccl-stand-in.so");
    let ran = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    library
}

/// Trains with Gloo and with the stand-in, and asserts that both do the same.
#[track_caller]
fn is_as_gloo(options: &str) {
    let dir = Dir::new();
    let (data, library) = (rows(&dir), stand_in(&dir));
    let [gloo, nccl] = ["gloo", "nccl"].map(|name| dir.path(name));
    let options = format!("{options} --steps 4 --eval-every 2");
    for (out, library) in [(&gloo, Path::new("0")), (&nccl, &library)] {
        ewe(line(&data, out, &options))
            .env("EWE_NCCL", library)
            .assert()
            .success();
    }
    assert_eq!(losses(&gloo), losses(&nccl));
    let names = |out: &Path| {
        let mut names: Vec<_> = fs::read_dir(out)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".safetensors"))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&gloo), names(&nccl));
    assert!(!names(&gloo).is_empty());
    for name in names(&gloo) {
        let bytes = |out: &Path| fs::read(out.join(&name)).unwrap();
        assert!(bytes(&gloo) == bytes(&nccl), "{name}");
    }
    let log = |out: &Path| fs::read_to_string(out.join("rank-1.log")).unwrap();
    assert!(log(&nccl).contains("exchanging by NCCL 2.99.7"), "{}", log(&nccl));
    assert!(log(&gloo).contains("exchanging by Gloo"), "{}", log(&gloo));
}

#[test]
fn an_adapter_is_added_up_by_nccl() {
    is_as_gloo("--method lora --lora-rank 4 --ranks 2");
}

#[test]
fn what_is_divided_is_gathered_and_added_up_by_nccl() {
    is_as_gloo("--method full --shard all --ranks 3");
}

#[test]
fn a_divided_base_is_gathered_by_nccl() {
    is_as_gloo("--method lora --lora-rank 4 --quantize nf4 --shard all --ranks 2");
}

#[test]
fn replicas_have_groups_of_their_own() {
    is_as_gloo("--method full --shard 2 --ranks 4 --update-in-backward");
}

#[test]
fn a_library_that_is_named_and_missing_is_an_error() {
    let dir = Dir::new();
    let data = rows(&dir);
    let options = "--method lora --lora-rank 4 --ranks 2 --steps 1";
    let run = ewe(line(&data, &dir.path("out"), options))
        .env("EWE_NCCL", dir.path("none.so"))
        .assert()
        .failure();
    let text = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(
        text.contains("EWE_NCCL names no library of NCCL's") && text.contains("none.so was not found"),
        "{text}"
    );
}
