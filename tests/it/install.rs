//! What an installed program needs: completions, manual pages, `ewe doctor`, libtorch found where it
//! is, and the demo.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use clap::CommandFactory;
use ewe::cli::Cli;
use serde_json::Value;

use crate::shell::{Dir, Ran, ewe, ran, words};

/// The names of all commands.
fn commands() -> Vec<String> {
    let cli = Cli::command();
    let names = cli.get_subcommands().map(|command| command.get_name().to_owned());
    names.collect()
}

/// Places and secrets that this test process may have in its environment.
const AROUND: [&str; 6] = [
    "EWE_LIBTORCH",
    "LIBTORCH",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "OPENAI_API_KEY",
];

/// An `ewe` in `bin` of the directory, as `pip` would put it there, and nothing beside it.
fn installed(dir: &Dir) -> PathBuf {
    let (built, program) = (env!("CARGO_BIN_EXE_ewe"), dir.path("bin/ewe"));
    fs::create_dir_all(dir.path("bin")).unwrap();
    if fs::hard_link(built, &program).is_err() {
        fs::copy(built, &program).unwrap();
    }
    program
}

/// A stand-in for `ewe-torch` that prints where it would find libtorch.
fn stand_in(dir: &Dir) {
    let program = dir.path("bin/ewe-torch");
    fs::write(
        &program,
        "#!/bin/sh\necho \"$EWE_LIBTORCH|$LD_LIBRARY_PATH|$*\"\n",
    )
    .unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
}

/// A `torch` package with this version among the packages of a Python below `prefix`.
fn torch(dir: &Dir, prefix: &str, version: &str) -> PathBuf {
    let folder = dir.path(prefix).join("lib/python3.12/site-packages/torch");
    fs::create_dir_all(folder.join("lib")).unwrap();
    fs::write(folder.join("lib/libtorch_cpu.so"), "").unwrap();
    fs::write(folder.join("version.py"), format!("__version__ = '{version}'\n")).unwrap();
    folder
}

/// The installed program, in surroundings that name no libtorch.
fn command(dir: &Dir, line: &str) -> Command {
    let mut command = Command::new(dir.path("bin/ewe"));
    command
        .args(words(line))
        .current_dir(dir.path("."))
        .env("PATH", "/usr/bin:/bin");
    for name in AROUND {
        command.env_remove(name);
    }
    command
}

fn run(dir: &Dir, line: &str) -> Ran {
    ran(command(dir, line))
}

#[test]
fn completions_know_every_command() {
    let dir = Dir::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = ewe(&dir, &["completions", shell]).success().stdout();
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
        // An option of one command only.
        assert!(script.contains("lora-rank"), "{shell}");
    }
    let said = ewe(&dir, &["completions", "csh"]).failure(2).stderr();
    assert!(said.contains("csh") && said.contains("fish"), "{said}");
}

#[test]
fn bash_accepts_its_completions() {
    let dir = Dir::new();
    let script = ewe(&dir, &["completions", "bash"]).success().stdout();
    dir.write("ewe.bash", script);
    let Ok(checked) = Command::new("bash").arg("-n").arg(dir.path("ewe.bash")).output() else {
        return;
    };
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = Dir::new();
    let said = ewe(&dir, &["man", "--out", "share/man1"]).success().stdout();
    let hidden = Cli::command();
    let shown = hidden.get_subcommands().filter(|command| !command.is_hide_set());
    let mut names: Vec<String> = shown
        .map(|command| format!("ewe-{}.1", command.get_name()))
        .collect();
    names.push("ewe.1".to_owned());
    names.sort();
    let mut there: Vec<String> = fs::read_dir(dir.path("share/man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(there, names);
    assert!(
        said.contains(&format!("share/man1: {} pages", names.len())),
        "{said}"
    );
    let page = dir.read("share/man1/ewe-train.1").replace('\\', "");
    assert!(
        page.starts_with(".ie") || page.contains(".TH ewe-train"),
        "{page}"
    );
    assert!(
        page.contains("--lora-rank") && page.contains("Fine-tune a model"),
        "{page}"
    );
    let page = dir.read("share/man1/ewe-selftest.1").replace('\\', "");
    assert!(!page.contains("--workload"), "a hidden option is shown");
    let said = ewe(&dir, &["man", "--out", "-"]).failure(1).stderr();
    assert!(said.contains("--out of `ewe man` is a folder"), "{said}");
}

#[test]
fn the_version_is_one_line_and_what_it_runs_with_is_below() {
    let dir = Dir::new();
    installed(&dir);
    let short = run(&dir, "-V").success().stdout();
    assert!(
        short.starts_with(concat!("ewe ", env!("CARGO_PKG_VERSION"))),
        "{short}"
    );
    assert_eq!(short.lines().count(), 1, "{short}");
    torch(&dir, "venv", "2.13.0+cpu");
    let mut with = command(&dir, "--version");
    with.env("VIRTUAL_ENV", dir.path("venv"));
    let said = ran(with).success().stdout();
    let rest = said.strip_prefix(&short).unwrap_or_else(|| panic!("{said}"));
    assert!(
        rest.starts_with("libtorch 2.13.0+cpu, for the CPU\nprocessor features: "),
        "{said}"
    );
    assert_eq!(rest.lines().count(), 2, "{said}");
    let mut without = command(&dir, "train --version");
    without.env("EWE_LIBTORCH", "/nowhere");
    let said = ran(without).success().stdout();
    assert!(
        said.starts_with("ewe-train ") && said.contains("\nlibtorch 2.13 was not found; `ewe doctor` "),
        "{said}"
    );
}

#[test]
fn doctor_tells_of_the_program_and_hides_secrets() {
    let dir = Dir::new();
    installed(&dir);
    let mut command = command(&dir, "doctor");
    command
        .env("OPENAI_API_KEY", "sk-verysecret")
        .env("HF_TOKEN", "hf_verysecret")
        .env("EWE_ENDPOINT", "http://ann:verysecret@host/v1")
        .env("EWE_DB", "my.db");
    let said = ran(command).success().stdout();
    assert!(!said.contains("verysecret"), "{said}");
    let value = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}: {said}"))
            .trim()
            .to_owned()
    };
    assert_eq!(value("ewe "), env!("CARGO_PKG_VERSION"));
    assert!(value("SQLite ").starts_with("3."), "{said}");
    assert!(value("built by ").starts_with("rustc "), "{said}");
    assert_eq!(value("OPENAI_API_KEY "), "set");
    assert_eq!(
        (value("HF_TOKEN "), value("EWE_ENDPOINT ")),
        ("set".into(), "set".into())
    );
    assert_eq!(value("EWE_DB "), "my.db");
    for name in [
        "commit ",
        "cores ",
        "memory ",
        "free disk here ",
        "processor features ",
    ] {
        assert!(!value(name).is_empty(), "{name}");
    }
    // The other half is missing, and that is said.
    assert!(value("ewe-torch ").starts_with("not installed"), "{said}");
}

#[test]
fn doctor_prints_json_under_its_other_name_too() {
    let dir = Dir::new();
    installed(&dir);
    for line in ["doctor --json", "version --json"] {
        let said = run(&dir, line).success().stdout();
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["ewe"], env!("CARGO_PKG_VERSION"));
        assert!(said["environment"].is_object(), "{said}");
    }
}

#[test]
fn commands_that_need_the_other_half_say_how_to_get_it() {
    let dir = Dir::new();
    installed(&dir);
    let said = run(&dir, "chat --model nowhere").failure(1).stderr();
    assert!(
        said.contains("`ewe-torch`") && said.contains("pip install 'ewe[train]'"),
        "{said}"
    );
    // The data half works alone.
    run(&dir, "init --db d.db").success();
}

#[test]
fn the_other_half_is_told_where_libtorch_is() {
    let dir = Dir::new();
    installed(&dir);
    stand_in(&dir);
    let real = dir.path(".").canonicalize().unwrap();
    let beside = torch(&dir, "", "2.13.0+cpu").canonicalize().unwrap();
    let said = run(&dir, "chat --model m").success().stdout();
    assert_eq!(said, format!("{0}|{0}/lib|chat --model m\n", beside.display()));
    // The user's own folders of libraries stay behind it.
    let mut more = command(&dir, "chat --model m");
    more.env("LD_LIBRARY_PATH", "/somewhere");
    let said = ran(more).success().stdout();
    assert!(
        said.contains(&format!("|{}/lib:/somewhere|", beside.display())),
        "{said}"
    );
    // One of another version is passed over for that of the active environment.
    torch(&dir, "", "2.12.0+cpu");
    torch(&dir, "venv", "2.13.1");
    let mut active = command(&dir, "chat --model m");
    active.env("VIRTUAL_ENV", real.join("venv"));
    let said = ran(active).success().stdout();
    assert!(said.starts_with(&format!("{}/venv/", real.display())), "{said}");
}

#[test]
fn a_libtorch_that_does_not_fit_is_named_with_its_version() {
    let dir = Dir::new();
    installed(&dir);
    stand_in(&dir);
    let folder = torch(&dir, "other", "2.12.1+cu128");
    let with = |folder: &str| {
        let mut command = command(&dir, "chat --model m");
        command.env("EWE_LIBTORCH", folder);
        ran(command).failure(1).stderr()
    };
    let said = with(folder.to_str().unwrap());
    assert!(
        said.contains("found torch 2.12.1+cu128, needs 2.13: `")
            && said.contains("hint: pip install 'ewe[train]'"),
        "{said}"
    );
    let said = with("/nowhere");
    assert!(
        said.contains("libtorch was not found; not in `/nowhere` (EWE_LIBTORCH)"),
        "{said}"
    );
    let mut doctor = command(&dir, "doctor");
    doctor.env("EWE_LIBTORCH", "/nowhere");
    let said = ran(doctor).success().stdout();
    assert!(
        said.contains("libtorch was not found; not in `/nowhere`"),
        "{said}"
    );
}

#[test]
fn the_demo_needs_a_model_and_replaces_no_other_folder() {
    let dir = Dir::new();
    let said = ewe(&dir, &["demo"]).failure(1).stderr();
    assert!(
        said.contains("there is no `models/gemma-3-270m` here\nhint: --model"),
        "{said}"
    );
    fs::create_dir(dir.path("mine")).unwrap();
    dir.write("mine/notes.txt", "mine");
    let line = ["demo", "--dir", "mine", "--model", "m"];
    let said = ewe(&dir, &line).failure(1).stderr();
    assert!(said.contains("`mine` has files that are not of a demo"), "{said}");
    assert_eq!(dir.read("mine/notes.txt"), "mine");
}

#[cfg(feature = "torch")]
#[test]
fn the_demo_shows_each_command_and_its_result() {
    let dir = Dir::new();
    let model = crate::golden::Changed::long(1024);
    let model = model.path().to_str().unwrap();
    let mut command = crate::shell::command(&dir, &["demo", "--model", model, "--target", "0"]);
    command.env("OMP_NUM_THREADS", "1");
    let said = ran(command).success().stdout();
    let shown: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("$ ewe "))
        .collect();
    let names: Vec<&str> = shown.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["init", "stats", "chat", "train", "chat"], "{said}");
    assert!(
        shown[3].ends_with("--out demo/adapter --method lora --epochs 1"),
        "{said}"
    );
    for file in ["demo.db", "adapter/adapter_model.safetensors", "questions.txt"] {
        assert!(dir.path("demo").join(file).is_file(), "{file}");
    }
    for file in ["demo/before.txt", "demo/after.txt"] {
        assert!(said.contains(&dir.read(file)), "{file}: {said}");
    }
    assert!(said.contains("ewe curate --db demo/demo.db"), "{said}");
    // Each shown command is one that clap takes; the second half is the shell's.
    for line in shown {
        let typed = line.split(" < ").next().unwrap();
        let parsed = Cli::command().try_get_matches_from(std::iter::once("ewe").chain(typed.split(' ')));
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
    }
}

#[cfg(feature = "torch")]
#[test]
fn doctor_asks_the_other_half() {
    let dir = Dir::new();
    let said = ewe(&dir, &["doctor", "--json"]).success().stdout();
    let said: Value = serde_json::from_str(&said).unwrap();
    let text = |name: &str| said[name].as_str().unwrap_or_else(|| panic!("no {name}: {said}"));
    assert!(text("libtorch").starts_with("2.13"), "{said}");
    assert!(
        text("threads").parse::<u32>().is_ok_and(|threads| threads > 0),
        "{said}"
    );
    assert!(!text("gpu").is_empty());
}
