//! Datasets that cannot be written to: read-only files and folders, full file systems, what a crash
//! left, copies by other tools.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use ewe::store::Store;

use crate::{
    shell::{self, Dir, Ran, ewe_limited},
    support::{block_on, ewe, filled, number},
};

/// Every command that only reads, with its outputs elsewhere.
const READING: &[&[&str]] = &[
    &["list", "--db", "kept/d.db"],
    &["list", "--db", "kept/d.db", "--sort", "newest"],
    &["list", "--db", "kept/d.db", "--json", "--sort", "similar"],
    &["show", "--db", "kept/d.db", "1"],
    &["search", "--db", "kept/d.db", "invoice"],
    &["stats", "--db", "kept/d.db"],
    &["stats", "--db", "kept/d.db", "--json"],
    &["log", "--db", "kept/d.db"],
    &["log", "--db", "kept/d.db", "3"],
    &["candidates", "--db", "kept/d.db"],
    &["candidates", "--db", "kept/d.db", "7"],
    &["check", "--db", "kept/d.db"],
    &["export", "--db", "kept/d.db", "--format", "alpaca", "--out", "-"],
    &[
        "export",
        "--db",
        "kept/d.db",
        "--format",
        "parquet",
        "--out",
        "open/out.parquet",
    ],
    &["report", "--db", "kept/d.db", "--out", "open/report.html"],
    &["agreement", "--db", "kept/d.db"],
    &["list", "--db", "kept/d.db", "--disagreement"],
    &["filter", "--db", "kept/d.db", "--dry-run"],
    &[
        "validate",
        "--db",
        "kept/d.db",
        "--validator",
        "true",
        "--where",
        "id < 0",
        "--dry-run",
    ],
];

/// Every command that changes a dataset.
const WRITING: &[&[&str]] = &[
    &["accept", "--db", "kept/d.db", "7"],
    &["reject", "--db", "kept/d.db", "8"],
    &["edit", "--db", "kept/d.db", "5", "--output", "x"],
    &["rescue", "--db", "kept/d.db", "7"],
    &["assign", "--db", "kept/d.db", "7", "--to", "anna"],
    &["comment", "--db", "kept/d.db", "7", "x"],
    &["undo", "--db", "kept/d.db"],
    &["undo", "--db", "kept/d.db", "--redo"],
    &["import", "--db", "kept/d.db", "open/rows.jsonl"],
    &["filter", "--db", "kept/d.db"],
    &["validate", "--db", "kept/d.db", "--validator", "true"],
    &[
        "generate",
        "--db",
        "kept/d.db",
        "--target",
        "1",
        "--endpoint",
        "http://127.0.0.1:9/v1",
        "--endpoint-model",
        "m",
    ],
    &[
        "judge",
        "--db",
        "kept/d.db",
        "--endpoint",
        "http://127.0.0.1:9/v1",
        "--endpoint-model",
        "m",
    ],
];

/// Runs a command as a user who may not write to others' files. `None`, with the reason printed,
/// where that is not possible.
fn as_another_user(dir: &Dir, arguments: &[&str]) -> Option<Ran> {
    if is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(dir.path("ewe"))
            .args(arguments)
            .current_dir(dir.path("."))
            .env("EWE_USER", "ann")
            .env_remove("EDITOR")
            .stdin(Stdio::null());
        if Command::new("setpriv").arg("--version").output().is_err() {
            eprintln!("skipped: root may write everywhere, and there is no setpriv");
            return None;
        }
        return Some(shell::ran(command));
    }
    Some(ewe(dir, arguments))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout.starts_with(b"0\n")
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The dataset of `filled` in a folder `kept`, beside a folder `open` that everybody may write to.
/// The program is copied there, for users who may not see the build folder.
fn kept() -> Dir {
    let dir = filled();
    for (name, mode_bits) in [("kept", 0o755), ("open", 0o777)] {
        std::fs::create_dir(dir.path(name)).unwrap();
        mode(&dir.path(name), mode_bits);
    }
    mode(&dir.path("."), 0o755);
    std::fs::rename(dir.path("d.db"), dir.path("kept/d.db")).unwrap();
    let program = env!("CARGO_BIN_EXE_ewe");
    if std::fs::hard_link(program, dir.path("ewe")).is_err() {
        std::fs::copy(program, dir.path("ewe")).unwrap();
    }
    dir.write(
        "open/rows.jsonl",
        "{\"instruction\": \"Add a row.\", \"output\": \"Added.\"}\n",
    );
    dir
}

/// Makes the dataset and its folder read-only.
fn lock(dir: &Dir) {
    for name in files(dir, "kept") {
        mode(&dir.path(&format!("kept/{name}")), 0o444);
    }
    mode(&dir.path("kept"), 0o555);
}

/// The names in a folder, sorted.
fn files(dir: &Dir, folder: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir.path(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The output of a command, without what differs each time.
fn printed(ran: &Ran) -> String {
    ran.stdout()
}

#[test]
fn every_reading_command_works_in_a_read_only_folder() {
    let dir = kept();
    let before: Vec<String> = READING
        .iter()
        .map(|args| printed(&ewe(&dir, args).success()))
        .collect();
    assert_eq!(files(&dir, "kept"), ["d.db"], "files stay where they may be made");
    for (folder, file) in [(0o555, 0o444), (0o777, 0o444), (0o555, 0o666)] {
        mode(&dir.path("kept/d.db"), file);
        mode(&dir.path("kept"), folder);
        for (args, before) in READING.iter().zip(&before) {
            let Some(ran) = as_another_user(&dir, args) else {
                return;
            };
            assert_eq!(
                printed(&ran.success()),
                *before,
                "{args:?} with {folder:o} and {file:o}"
            );
            assert_eq!(
                files(&dir, "kept"),
                ["d.db"],
                "{args:?} with {folder:o} and {file:o}"
            );
        }
        let _ = std::fs::remove_file(dir.path("open/copy.db"));
        let backup = ["backup", "--db", "kept/d.db", "--out", "open/copy.db"];
        as_another_user(&dir, &backup).unwrap().success();
        assert_eq!(files(&dir, "kept"), ["d.db"]);
        // A copy can be changed.
        as_another_user(&dir, &["accept", "--db", "open/copy.db", "7"])
            .unwrap()
            .success();
    }
    mode(&dir.path("kept"), 0o755);
}

#[test]
fn changing_a_read_only_dataset_fails_with_a_hint() {
    let dir = kept();
    lock(&dir);
    for args in WRITING {
        let Some(ran) = as_another_user(&dir, args) else {
            return;
        };
        let ran = ran.failure(1);
        let said = ran.stderr();
        assert!(
            said.contains("`kept/d.db` may not be written to: the file is read-only for you"),
            "{args:?}\n{said}"
        );
        assert!(
            said.contains("hint: ") && said.contains("`ewe backup --db kept/d.db --out COPY.db`"),
            "{args:?}\n{said}"
        );
        assert_eq!(files(&dir, "kept"), ["d.db"], "{args:?}");
    }
    mode(&dir.path("kept/d.db"), 0o666);
    let said = as_another_user(&dir, WRITING[0]).unwrap().failure(1).stderr();
    assert!(
        said.contains("its folder `") && said.contains("kept` is read-only for you"),
        "{said}"
    );
    mode(&dir.path("kept"), 0o755);
}

/// A killed writer leaves its last commits in the log.
#[test]
fn commits_left_in_the_log_by_a_crash_are_read() {
    for with_index in [true, false] {
        let dir = kept();
        let word = "Crashed just now.";
        block_on(async {
            let store = Store::open(&dir.path("kept/d.db")).await.unwrap();
            let task = ewe::task::Task {
                instruction: word.into(),
                ..Default::default()
            };
            store
                .add_task(&ewe::store::NewTask::new(task, ewe::task::Origin::Import))
                .await
                .unwrap();
            // A copy of the files as they are now, never closed.
            std::fs::create_dir(dir.path("crashed")).unwrap();
            for ending in ["", "-wal", "-shm"] {
                let name = format!("d.db{ending}");
                std::fs::copy(
                    dir.path(&format!("kept/{name}")),
                    dir.path(&format!("crashed/{name}")),
                )
                .unwrap();
            }
            store.close().await;
        });
        std::fs::remove_dir_all(dir.path("kept")).unwrap();
        std::fs::rename(dir.path("crashed"), dir.path("kept")).unwrap();
        if !with_index {
            std::fs::remove_file(dir.path("kept/d.db-shm")).unwrap();
        }
        assert!(dir.path("kept/d.db-wal").metadata().unwrap().len() > 0);
        lock(&dir);
        let there = files(&dir, "kept");
        for args in READING {
            let Some(ran) = as_another_user(&dir, args) else {
                return;
            };
            let ran = ran.success();
            if args.contains(&"newest") {
                assert!(ran.stdout().contains(word), "{args:?}\n{}", ran.stdout());
            }
            assert_eq!(files(&dir, "kept"), there, "{args:?}");
        }
        as_another_user(&dir, &["backup", "--db", "kept/d.db", "--out", "open/copy.db"])
            .unwrap()
            .success();
        let copy = ewe(&dir, &["list", "--db", "open/copy.db", "--sort", "newest"]).success();
        assert!(copy.stdout().contains(word));
        let said = as_another_user(&dir, WRITING[0]).unwrap().failure(1).stderr();
        assert!(said.contains("may not be written to"), "{said}");
        // Where writing is allowed, the first command moves the log into the file.
        mode(&dir.path("kept"), 0o755);
        for name in files(&dir, "kept") {
            mode(&dir.path(&format!("kept/{name}")), 0o644);
        }
        assert!(ewe(&dir, READING[1]).success().stdout().contains(word));
        assert_eq!(files(&dir, "kept"), ["d.db"]);
    }
}

#[test]
fn reading_leaves_no_files_behind_however_it_ends() {
    let dir = kept();
    for args in READING {
        ewe(&dir, args).success();
        assert_eq!(files(&dir, "kept"), ["d.db"], "{args:?}");
    }
    ewe(&dir, &["show", "--db", "kept/d.db", "9999"]).failure(1);
    ewe(&dir, &["edit", "--db", "kept/d.db", "9999", "--output", "x"]).failure(1);
    ewe(
        &dir,
        &[
            "export",
            "--db",
            "kept/d.db",
            "--format",
            "alpaca",
            "--out",
            "nowhere/x",
        ],
    )
    .failure(1);
    ewe(&dir, &["reject", "--db", "kept/d.db", "--origin", "seed"]).failure(1);
    assert_eq!(files(&dir, "kept"), ["d.db"]);
    // The reader closes the pipe.
    let program = env!("CARGO_BIN_EXE_ewe");
    for command in ["list", "log", "stats", "export --format alpaca --out -"] {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("{program} {command} --db kept/d.db | head -n 1")])
            .current_dir(dir.path("."));
        shell::ran(shell).success();
        assert_eq!(files(&dir, "kept"), ["d.db"], "{command}");
    }
}

/// A file of each older schema, with a row in it. Every command reads what the missing migrations
/// make of it in memory: all commands read the oldest, one of each kind the others.
#[test]
fn read_only_datasets_of_older_schemas_are_read() {
    const MIGRATIONS: [&str; 6] = [
        include_str!("../../db/migrations/0001_schema.sql"),
        include_str!("../../db/migrations/0002_evolution.sql"),
        include_str!("../../db/migrations/0003_judgment.sql"),
        include_str!("../../db/migrations/0004_curation.sql"),
        include_str!("../../db/migrations/0005_tally.sql"),
        include_str!("../../db/migrations/0006_lists.sql"),
    ];
    for schema in 1..=MIGRATIONS.len() {
        let dir = kept();
        dir.write("d.db", "");
        // Without sqlx's table of migrations: ewe finds the missing ones by the schema.
        for migration in &MIGRATIONS[..schema] {
            dir.sql(migration);
        }
        dir.sql(
            "insert into task (instruction, origin, review) values ('Shear an old ewe.', 'seed', 'accepted')",
        );
        dir.sql("insert into instance (task_id, ordinal, input, output) values (1, 0, '', 'Done.')");
        dir.sql("pragma application_id = 0");
        std::fs::rename(dir.path("d.db"), dir.path("kept/d.db")).unwrap();
        lock(&dir);
        let before = std::fs::read(dir.path("kept/d.db")).unwrap();
        for args in READING {
            let is_one_of_a_kind = ["list", "show", "search", "export"].contains(&args[0])
                && !["newest", "--json", "parquet"]
                    .iter()
                    .any(|word| args.contains(word));
            // Of revisions and candidates there are none.
            if args.contains(&"3") || args.contains(&"7") || schema > 1 && !is_one_of_a_kind {
                continue;
            }
            let Some(ran) = as_another_user(&dir, args) else {
                return;
            };
            let ran = ran.success();
            let is_whole = !args.contains(&"--disagreement");
            if args[0] == "list" && is_whole || args[0] == "export" && args.contains(&"-") {
                assert!(
                    ran.stdout().contains("Shear an old ewe."),
                    "schema {schema}: {args:?}"
                );
            }
            assert_eq!(files(&dir, "kept"), ["d.db"], "schema {schema}: {args:?}");
        }
        assert_eq!(
            std::fs::read(dir.path("kept/d.db")).unwrap(),
            before,
            "schema {schema}"
        );
        as_another_user(&dir, &["backup", "--db", "kept/d.db", "--out", "open/copy.db"])
            .unwrap()
            .success();
        ewe(&dir, &["reject", "--db", "open/copy.db", "1"]).success();
        mode(&dir.path("kept"), 0o755);
        mode(&dir.path("kept/d.db"), 0o644);
        ewe(&dir, &["reject", "--db", "kept/d.db", "1"]).success();
        ewe(&dir, &["check", "--db", "kept/d.db"]).success();
    }
}

/// Where no file may grow, as on a full disk, the dataset can be read.
#[test]
fn a_dataset_on_a_full_disk_can_be_read() {
    let dir = kept();
    let before: Vec<String> = READING
        .iter()
        .map(|args| printed(&ewe(&dir, args).success()))
        .collect();
    for (args, before) in READING.iter().zip(before) {
        if args.iter().any(|word| word.starts_with("open/")) {
            continue;
        }
        let ran = ewe_limited(&dir, 0, args).success();
        assert_eq!(printed(&ran), before, "{args:?}");
    }
    let said = ewe_limited(&dir, 0, WRITING[0]).failure(1).stderr();
    assert!(
        said.contains("`kept/d.db`: disk full") && said.contains("hint: make room"),
        "{said}"
    );
}

/// Runs a script in which the folder `small` is a file system of `kib` KiB. `None`, with the reason
/// printed, where that is not possible.
fn in_a_small_file_system(dir: &Dir, kib: u32, script: &str) -> Option<Ran> {
    std::fs::create_dir_all(dir.path("small")).unwrap();
    let able = Command::new("unshare").args(["-rm", "true"]).output();
    if !able.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no file systems can be mounted here");
        return None;
    }
    let mut command = Command::new("unshare");
    command
        .args(["-rm", "sh", "-eu", "-c"])
        .arg(format!("mount -t tmpfs -o size={kib}k tmpfs small\n{script}"))
        .env("EWE", env!("CARGO_BIN_EXE_ewe"))
        .current_dir(dir.path("."));
    Some(shell::ran(command))
}

#[test]
fn read_only_and_full_file_systems_can_be_read() {
    let dir = kept();
    let reading = "for args in 'list' 'show 1' 'search invoice' 'stats' 'log' 'check' 'export --format alpaca --out -' \\
            'export --format parquet --out open/x.parquet' 'report --out open/r.html' 'backup --out open/copy.db' 'filter --dry-run'; do
            set -- $args; command=$1; shift
            rm -f open/*.db
            $EWE $command --db small/d.db \"$@\" > open/out || { echo \"failed: $args\"; exit 1; }
            test -s open/out -o $command = check -o $command = report -o $command = backup -o $command = export
            test \"$(ls small | grep -v fill)\" = d.db || { echo \"$args left $(ls small)\"; exit 1; }
        done\n";
    let read_only = format!(
        "cp kept/d.db small/; mount -o remount,ro small\n{reading}
        ! $EWE reject --db small/d.db 1 2> open/said; cat open/said"
    );
    let Some(ran) = in_a_small_file_system(&dir, 4096, &read_only) else {
        return;
    };
    let said = ran.success().stdout();
    assert!(
        said.contains("`small/d.db` may not be written to: the file system is read-only\nhint: "),
        "{said}"
    );
    let full = format!(
        "cp kept/d.db small/; dd if=/dev/zero of=small/fill bs=1k 2> open/dd || true
        test $(df --output=avail small | tail -1) = 0\n{reading}
        ! $EWE reject --db small/d.db 1 2> open/said; cat open/said
        rm small/fill; $EWE reject --db small/d.db 1; $EWE check --db small/d.db"
    );
    let said = in_a_small_file_system(&dir, 4096, &full)
        .unwrap()
        .success()
        .stdout();
    assert!(
        said.contains("`small/d.db`: disk full") && said.contains("hint: make room"),
        "{said}"
    );
}

/// A disk of any size holds all of a new dataset, or none of it.
#[test]
fn a_nearly_full_disk_never_holds_half_a_dataset() {
    let dir = kept();
    for kib in [64, 400].into_iter().chain((600..1300).step_by(40)) {
        let script = "none_left() { test -z \"$(ls -A small)\" || { echo \"$1 left $(ls -lA small)\"; exit 1; }; }
                for make in 'init --db small/new.db' 'backup --db kept/d.db --out small/new.db'; do
                    if $EWE $make > open/out 2>&1; then
                        $EWE check -q --db small/new.db || { echo \"published: $make\"; exit 1; }
                        $EWE list --db small/new.db > open/list
                        rm small/new.db
                        none_left 'list'
                    else
                        grep -q 'disk full\\|No space left' open/out || { cat open/out; exit 1; }
                        none_left \"$make\"
                    fi
                done
                for make in 'report --db kept/d.db --out small/new' 'export --db kept/d.db --format alpaca --out small/new'; do
                    if $EWE $make > open/out 2>&1; then
                        whole=$(echo $make | sed 's,small/new,open/whole,')
                        $EWE $whole > open/out 2>&1 || { echo \"$whole: $(cat open/out)\"; exit 1; }
                        cmp small/new open/whole
                        rm small/new
                    fi
                    none_left \"$make\"
                done";
        let Some(ran) = in_a_small_file_system(&dir, kib, script) else {
            return;
        };
        ran.success();
    }
}

/// The results of `.dump`, `.recover` and `VACUUM INTO` are datasets.
#[test]
fn restored_datasets_open() {
    let has_sqlite = Command::new("sqlite3").arg("--version").output().is_ok();
    for way in ["dump", "recover", "vacuum", "header", "migrations"] {
        let dir = kept();
        let list = ewe(&dir, READING[0]).success().stdout();
        let script = match way {
            "dump" => "sqlite3 kept/d.db .dump | sqlite3 open/d.db",
            // Not every sqlite3 has what this needs, and a failure leaves its files behind.
            "recover" => {
                "sqlite3 kept/d.db .recover > open/sql 2> open/said || true
                rm -f kept/d.db-wal kept/d.db-shm
                grep -q 'CREATE TABLE' open/sql || cp kept/d.db open/d.db
                grep -q 'CREATE TABLE' open/sql && sqlite3 open/d.db < open/sql || true"
            }
            "vacuum" => "sqlite3 kept/d.db \"vacuum into 'open/d.db'\"",
            _ => "cp kept/d.db open/d.db",
        };
        if !has_sqlite && !matches!(way, "header" | "migrations") {
            eprintln!("{way} skipped: there is no sqlite3");
            continue;
        }
        let mut shell = Command::new("sh");
        shell.args(["-eu", "-c", script]).current_dir(dir.path("."));
        shell::ran(shell).success();
        std::fs::rename(dir.path("open/d.db"), dir.path("d.db")).unwrap();
        match way {
            "header" => {
                dir.sql("pragma application_id = 0");
                dir.sql("pragma user_version = 0");
                dir.sql("pragma journal_mode = delete");
            }
            "migrations" => {
                dir.sql("pragma application_id = 0");
                dir.sql("drop table _sqlx_migrations");
            }
            _ => {}
        }
        std::fs::rename(dir.path("d.db"), dir.path("kept/d.db")).unwrap();
        // Read-only, and where ewe may repair what was lost.
        lock(&dir);
        if let Some(ran) = as_another_user(&dir, READING[0]) {
            assert_eq!(ran.success().stdout(), list, "{way}");
            assert_eq!(files(&dir, "kept"), ["d.db"], "{way}");
        }
        mode(&dir.path("kept"), 0o755);
        mode(&dir.path("kept/d.db"), 0o644);
        assert_eq!(ewe(&dir, READING[0]).success().stdout(), list, "{way}");
        ewe(&dir, &["check", "--db", "kept/d.db"]).success();
        ewe(&dir, &["reject", "--db", "kept/d.db", "1"]).success();
        ewe(&dir, &["search", "--db", "kept/d.db", "invoice"]).success();
        std::fs::copy(dir.path("kept/d.db"), dir.path("d.db")).unwrap();
        assert_eq!(number(&dir, "pragma application_id"), 1_702_323_505, "{way}");
        assert!(number(&dir, "pragma user_version") >= 7, "{way}");
        assert_eq!(dir.sql("pragma journal_mode"), [["wal"]], "{way}");
        assert_eq!(files(&dir, "kept"), ["d.db"], "{way}");
    }
}

/// Another program's database is not a dataset because it has tables of the same names.
#[test]
fn a_database_with_the_same_table_names_is_not_a_dataset() {
    let dir = Dir::new();
    dir.write("d.db", "");
    dir.sql(
        "create table task (id integer primary key, instruction text); create table instance (id integer)",
    );
    let before = std::fs::read(dir.path("d.db")).unwrap();
    for args in [["list", "--db", "d.db"], ["undo", "--db", "d.db"]] {
        let said = ewe(&dir, &args).failure(1).stderr();
        assert!(
            said.contains("`d.db` is an SQLite database, but not one of ewe's"),
            "{said}"
        );
    }
    assert_eq!(std::fs::read(dir.path("d.db")).unwrap(), before);
}
