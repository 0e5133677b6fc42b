use super::*;
use std::fs;

/// Makes a libtorch at `folder`, with the version file of a wheel.
fn wheel(folder: &Path, version: &str) {
    fs::create_dir_all(folder.join("lib")).unwrap();
    fs::write(folder.join("lib").join(LIBRARY), "").unwrap();
    let python = format!(
        "from typing import Optional\n\n__all__ = ['__version__', 'cuda']\n__version__ = '{version}'\n\
         debug = False\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n"
    );
    fs::write(folder.join("version.py"), python).unwrap();
}

/// A virtual environment with an `ewe`, and torch of this version for this Python.
fn environment(root: &Path, name: &str, python: &str, version: &str) -> PathBuf {
    let prefix = root.join(name);
    fs::create_dir_all(prefix.join("bin")).unwrap();
    fs::write(prefix.join("bin/ewe"), "").unwrap();
    wheel(&torch(&prefix, python), version);
    prefix
}

fn torch(prefix: &Path, python: &str) -> PathBuf {
    prefix.join("lib").join(python).join("site-packages/torch")
}

#[test]
fn the_torch_of_the_same_python_is_found_with_its_version() {
    let root = tempfile::tempdir().unwrap();
    let prefix = environment(root.path(), "venv", "python3.12", "2.13.0+cu130");
    let around = Surroundings {
        executable: Some(prefix.join("bin/ewe")),
        ..Surroundings::default()
    };
    let found = search(&around).unwrap();
    assert_eq!(found.folder, torch(&prefix, "python3.12"));
    assert_eq!(
        (found.version(), found.cuda.as_deref()),
        ("2.13.0+cu130", Some("13.0"))
    );
    assert_eq!(found.place, Place::BesideEwe);
}

#[test]
fn of_several_pythons_the_newest_with_the_right_version_counts() {
    let root = tempfile::tempdir().unwrap();
    let prefix = environment(root.path(), "usr", "python3.9", "2.13.0");
    wheel(&torch(&prefix, "python3.11"), "2.13.1");
    // A newer Python, and one whose number is greater as text; neither has the right torch.
    wheel(&torch(&prefix, "python3.13"), "2.12.0");
    fs::create_dir_all(prefix.join("lib/python3.8/site-packages")).unwrap();
    let around = Surroundings {
        executable: Some(prefix.join("bin/ewe")),
        ..Surroundings::default()
    };
    assert_eq!(search(&around).unwrap().folder, torch(&prefix, "python3.11"));
}

#[test]
fn places_are_looked_at_in_order() {
    let root = tempfile::tempdir().unwrap();
    let here = |name: &str| root.path().join(name);
    for name in ["named", "variable", "loader", "built"] {
        wheel(&here(name), "2.13.0");
    }
    let beside = environment(root.path(), "venv", "python3.11", "2.13.0");
    let active = environment(root.path(), "active", "python3.11", "2.13.0");
    let mut around = Surroundings {
        named: Some(here("named")),
        libtorch: Some(here("variable")),
        loader_path: vec![here("nowhere"), here("loader/lib")],
        executable: Some(beside.join("bin/ewe")),
        environments: vec![("VIRTUAL_ENV", active.clone())],
        built_in: Some(here("built/lib")),
    };
    let mut found = Vec::new();
    for _ in 0..6 {
        let libtorch = search(&around).unwrap();
        match libtorch.place {
            Place::Variable(VARIABLE) => around.named = None,
            Place::Variable(_) => around.libtorch = None,
            Place::LoaderPath => around.loader_path.clear(),
            Place::BesideEwe => around.executable = None,
            Place::Environment(_) => around.environments.clear(),
            Place::BuiltIn => around.built_in = None,
        }
        found.push(libtorch.folder);
    }
    let expected = [
        here("named"),
        here("variable"),
        here("loader"),
        torch(&beside, "python3.11"),
        torch(&active, "python3.11"),
        here("built"),
    ];
    assert_eq!(found, expected);
    let nothing = search(&around).unwrap_err().to_string();
    assert!(
        nothing.starts_with("libtorch was not found; no Python has packages beside this `ewe`"),
        "{nothing}"
    );
    assert!(nothing.contains("\nhint: pip install 'ewe[train]'"), "{nothing}");
}

#[test]
fn another_version_is_passed_over_and_named_if_there_is_no_better_one() {
    let root = tempfile::tempdir().unwrap();
    let beside = environment(root.path(), "venv", "python3.11", "2.12.1+cpu");
    let active = environment(root.path(), "active", "python3.11", "2.13.0");
    let mut around = Surroundings {
        executable: Some(beside.join("bin/ewe")),
        environments: vec![("VIRTUAL_ENV", active.clone())],
        ..Surroundings::default()
    };
    assert_eq!(search(&around).unwrap().folder, torch(&active, "python3.11"));
    fs::remove_dir_all(torch(&active, "python3.11")).unwrap();
    let said = search(&around).unwrap_err().to_string();
    let found = torch(&beside, "python3.11");
    let missing = torch(&active, "python3.11");
    for words in [
        format!(
            "found torch 2.12.1+cpu, needs 2.13: `{}` (the Python of this `ewe`)",
            found.display()
        ),
        format!("not in `{}` (VIRTUAL_ENV)", missing.display()),
    ] {
        assert!(said.contains(&words), "{said}");
    }
    // What a user names is not replaced by something else in silence.
    wheel(&active.join("good"), "2.13.0");
    around.built_in = Some(active.join("good/lib"));
    around.named = Some(root.path().join("nowhere"));
    let said = search(&around).unwrap_err().to_string();
    assert!(said.contains("nowhere` (EWE_LIBTORCH)"), "{said}");
}

#[test]
fn every_file_that_names_a_version_of_torch_names_this_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, line) in [
        ("requirements.txt", format!("\ntorch=={NEEDED}.")),
        ("pyproject.toml", format!("train = [\"torch=={NEEDED}.*\"]")),
        ("Dockerfile", format!("\"torch=={NEEDED}.")),
        ("docs/install.md", format!("libtorch {NEEDED}, which")),
    ] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        assert!(text.contains(&line), "{file}: no {line:?}");
    }
}

#[test]
fn versions_are_compared_by_their_numbers() {
    for (version, is_right) in [
        ("2.13.0", true),
        ("2.13.1+cpu", true),
        ("2.13", true),
        ("2.13a0", true),
        ("2.130.0", false),
        ("2.1.3", false),
        ("2.12.9", false),
        ("12.13.0", false),
        ("", false),
    ] {
        assert_eq!(fits(version), is_right, "{version}");
    }
}

#[test]
fn an_archive_of_libtorch_and_its_lib_folder_will_do() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("libtorch");
    fs::create_dir_all(folder.join("lib")).unwrap();
    fs::write(folder.join("lib").join(LIBRARY), "").unwrap();
    for named in [folder.clone(), folder.join("lib")] {
        let around = Surroundings {
            named: Some(named),
            ..Surroundings::default()
        };
        let found = search(&around).unwrap();
        assert_eq!((&found.folder, &found.version), (&folder, &None));
        fs::write(folder.join("build-version"), "2.12.0+cpu\n").unwrap();
        assert!(search(&around).is_err());
        fs::remove_file(folder.join("build-version")).unwrap();
    }
}

#[test]
fn the_loader_is_told_unless_the_run_path_leads_there() {
    let libtorch = |place| Libtorch {
        folder: "/a".into(),
        version: None,
        cuda: None,
        place,
    };
    let found = libtorch(Place::BesideEwe);
    assert_eq!(found.loader_path(None), Some("/a/lib".into()));
    assert_eq!(
        found.loader_path(Some("/x:/y".into())),
        Some("/a/lib:/x:/y".into())
    );
    assert_eq!(found.loader_path(Some("".into())), Some("/a/lib".into()));
    assert_eq!(libtorch(Place::BuiltIn).loader_path(Some("/x".into())), None);
}
