//! `--device` on a machine without a GPU: a named GPU is an error, and `auto` is silent.

use std::path::Path;

use assert_cmd::Command;
use serde_json::json;

use crate::golden::{golden, text, write_lines};
use crate::shell::Dir;

/// Whether this machine shows any sign of a GPU, so that other words are expected.
fn has_signs() -> bool {
    [
        "/proc/driver/nvidia",
        "/dev/nvidiactl",
        "/dev/nvidia0",
        "/dev/dxg",
    ]
    .iter()
    .any(|path| Path::new(path).exists())
        || has_card()
}

fn has_card() -> bool {
    let devices = std::fs::read_dir("/sys/bus/pci/devices").into_iter().flatten();
    devices.flatten().any(|device| {
        std::fs::read_to_string(device.path().join("vendor")).is_ok_and(|vendor| vendor.trim() == "0x10de")
    })
}

/// Runs `ewe-torch complete` on a device. Returns exit code and standard error.
fn complete(dir: &Dir, device: &[&str]) -> (Option<i32>, String) {
    let (prompts, out) = (dir.path("prompts.jsonl"), dir.path("out.jsonl"));
    write_lines(&prompts, &[json!({ "prompt": "a" })]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ewe-torch"));
    command
        .args(["complete", "--model", text(&golden("gptj"))])
        .args([
            "--prompts",
            text(&prompts),
            "--out",
            text(&out),
            "--max-tokens",
            "2",
        ])
        .args(device);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_named_gpu_is_an_error_where_there_is_none() {
    if has_signs() {
        return;
    }
    for name in ["cuda", "cuda:0", "cuda:9"] {
        let dir = Dir::new();
        let (code, said) = complete(&dir, &["--device", name]);
        assert_eq!(code, Some(1), "{said}");
        let error = format!("error: device `{name}` cannot be used: ");
        let error = said.lines().find(|line| line.starts_with(&error));
        // Either this libtorch has no CUDA, or this machine has no GPU.
        assert!(
            error.is_some_and(|error| {
                error.contains("no NVIDIA driver and no NVIDIA GPU was found")
                    || error.contains("this libtorch is built for the CPU only")
            }),
            "{said}"
        );
        let hint = said.lines().find(|line| line.starts_with("hint: "));
        assert!(hint.is_some_and(|hint| hint.ends_with("--device cpu")), "{said}");
        assert!(!dir.path("out.jsonl").exists());
    }
}

#[test]
fn auto_is_silent_about_gpus_where_there_is_none() {
    if has_signs() {
        return;
    }
    for device in [&["--device", "auto"][..], &["--device", "cpu"], &[]] {
        let (code, said) = complete(&Dir::new(), device);
        assert_eq!(code, Some(0), "{said}");
        assert!(!said.contains("GPU") && !said.contains("computing on"), "{said}");
    }
}
