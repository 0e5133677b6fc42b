//! Options in `ewe.toml`, in the environment and in the files of runs; `ewe config`.

use std::process::Command;

use crate::shell::{self, Dir, Ran, ewe, ran};
use crate::support::json;

/// Runs `ewe` in a folder of the directory, with these variables.
fn ewe_in(dir: &Dir, folder: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command: Command = shell::command(dir, arguments);
    command
        .current_dir(dir.path(folder))
        .envs(variables.iter().copied());
    ran(command)
}

/// How many rows a JSON array on standard output has.
#[track_caller]
fn rows(ran: Ran) -> usize {
    json(ran).as_array().expect("an array").len()
}

/// Asserts that a command exits with 2 and names all of these.
#[track_caller]
fn refused(ran: Ran, words: &[&str]) {
    let said = ran.failure(2).stderr();
    assert!(said.starts_with("error: "), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn typed_goes_before_variables_tables_and_the_top_of_the_file() {
    let dir = Dir::with_dataset();
    let list = |variables: &[(&str, &str)], arguments: &[&str]| {
        rows(ewe_in(&dir, ".", variables, &[&["list"][..], arguments].concat()))
    };
    dir.write("ewe.toml", "db = 'd.db'\njson = true\nlimit = 5\n");
    assert_eq!(list(&[], &[]), 5);
    dir.write(
        "ewe.toml",
        "db = 'd.db'\njson = true\nlimit = 5\n[list]\nlimit = 4\n[log]\nlimit = 9\n",
    );
    assert_eq!(list(&[], &[]), 4);
    assert_eq!(list(&[("EWE_LIMIT", "3"), ("EWE_USER", "ann")], &[]), 3);
    assert_eq!(list(&[("EWE_LIMIT", "3")], &["--limit", "2"]), 2);
    assert_eq!(list(&[("EWE_LIMIT", "")], &[]), 4);
    // A flag is switched off by its variable.
    let plain = ewe_in(&dir, ".", &[("EWE_JSON", "false")], &["list"]);
    assert!(!plain.success().stdout().starts_with('['));
    // Without a file, variables are enough.
    let variables = [("EWE_DB", "d.db"), ("EWE_JSON", "1"), ("EWE_LIMIT", "1")];
    assert_eq!(rows(ewe_in(&dir, ".", &variables, &["list", "--no-config"])), 1);
    let said = ewe(&dir, &["list", "--no-config"]).failure(2).stderr();
    assert!(said.contains("--db"), "{said}");
    refused(
        ewe_in(&dir, ".", &[("EWE_LIMIT", "many")], &["list"]),
        &["EWE_LIMIT", "`limit`", "many"],
    );
}

#[test]
fn the_nearest_file_within_the_repository_counts_and_paths_are_relative_to_it() {
    let dir = Dir::with_dataset();
    dir.write("ewe.toml", "db = 'd.db'\n[list]\nlimit = 2\njson = true\n");
    std::fs::create_dir_all(dir.path("sub/deep")).unwrap();
    let said = ewe_in(&dir, "sub/deep", &[("HOME", "/nowhere")], &["list"])
        .failure(2)
        .stderr();
    assert!(said.contains("--db"), "outside of a repository: {said}");
    std::fs::create_dir(dir.path(".git")).unwrap();
    assert_eq!(rows(ewe_in(&dir, "sub/deep", &[], &["list"])), 2);
    // The file of --config takes its place.
    dir.write("sub/other.toml", "db = '../d.db'\nlimit = 3\n");
    assert_eq!(
        rows(ewe_in(
            &dir,
            "sub/deep",
            &[],
            &["--config", "../other.toml", "list", "--json"]
        )),
        3
    );
    let variables = [("EWE_CONFIG", "../other.toml")];
    assert_eq!(rows(ewe_in(&dir, "sub/deep", &variables, &["list", "--json"])), 3);
    let missing = ewe(&dir, &["list", "--config", "nowhere.toml"]);
    refused(missing, &["nowhere.toml", "No such file", "hint: "]);
}

#[test]
fn unknown_names_and_wrong_values_are_named_with_their_line() {
    let dir = Dir::with_dataset();
    for (text, words) in [
        (
            "db = 'd.db'\nlimmit = 3\n",
            &["ewe.toml:2", "`limmit`", "did you mean `limit`?"][..],
        ),
        (
            "db = 'd.db'\n[lst]\n",
            &["ewe.toml:2", "`lst`", "did you mean `list`?"],
        ),
        (
            "db = 'd.db'\n[push]\npublic = true\n",
            &["ewe.toml:2", "`ewe push` takes no settings", "hint: "],
        ),
        ("[list]\nlr = 1\n", &["ewe.toml:2", "`list`", "`lr`", "hint: "]),
        (
            "[train]\nlora_rnk = 1\n",
            &["ewe.toml:2", "did you mean `lora-rank`?"],
        ),
        ("list = 3\n", &["ewe.toml:1", "[list]"]),
        (
            "[serve]\ntoken = 'secret-one'\n",
            &["ewe.toml:2", "secret", "`token-file`"],
        ),
        ("config = 'x'\n", &["ewe.toml:1", "`config`", "hint: "]),
        ("db = 'd.db'\ndb = 'e.db'\n", &["ewe.toml:2"]),
        (
            "min_length = 1\nmin-length = 2\n",
            &["ewe.toml:2", "twice", "line 1"],
        ),
        (
            "db = 'd.db'\n[list]\nlimit = -1\n",
            &["ewe.toml:3", "`limit`", "-1"],
        ),
        (
            "db = 'd.db'\n[list]\nsort = 'best'\n",
            &["ewe.toml:3", "`sort`", "newest"],
        ),
        ("db = 'd.db'\njson = 'yes'\n", &["ewe.toml:2", "true or false"]),
        ("db = ['d.db']\n", &["ewe.toml:1", "not a list"]),
        ("db = true\n", &["ewe.toml:1", "`db = true`", "want a text"]),
        ("db = =\n", &["ewe.toml:1", "hint: "]),
    ] {
        dir.write("ewe.toml", text);
        refused(ewe(&dir, &["list"]), words);
        // Help is there in any case.
        ewe(&dir, &["list", "--help"]).success();
    }
    // A value that this command has no use for is found by `ewe config`.
    dir.write("ewe.toml", "db = 'd.db'\n[train]\nlr = 'fast'\n");
    ewe(&dir, &["list"]).success();
    let said = ewe(&dir, &["config"]).failure(1).stderr();
    assert!(said.contains("ewe.toml:3") && said.contains("`lr`"), "{said}");
}

#[test]
fn what_is_set_gives_way_to_what_it_cannot_be_used_with() {
    let dir = Dir::with_dataset();
    dir.write(
        "rows.jsonl",
        "{\"instruction\": \"Name a ewe.\", \"output\": \"Dolly\"}\n",
    );
    dir.write("ewe.toml", "db = 'd.db'\nmodel = 'm'\n[filter]\nrules = 'none'\n");
    let said = ewe(&dir, &["filter", "rows.jsonl"]).success().stdout();
    assert!(said.starts_with("rows.jsonl: 1 of 1 row"), "{said}");
    let at = [
        "config",
        "--json",
        "generate",
        "--endpoint",
        "http://127.0.0.1:9",
        "--target",
        "3",
    ];
    let shown = json(ewe(&dir, &at));
    assert_eq!(shown["not_used"][0]["key"], "model", "{shown}");
    assert!(
        shown["not_used"][0]["why"]
            .as_str()
            .unwrap()
            .contains("--endpoint")
    );
    dir.write(
        "ewe.toml",
        "db = 'd.db'\nmodel = 'm'\nendpoint = 'http://127.0.0.1:9'\n",
    );
    refused(
        ewe(&dir, &["generate", "--target", "3"]),
        &["ewe.toml:2", "ewe.toml:3", "`model`", "`endpoint`", "hint: "],
    );
    ewe(&dir, &["stats"]).success();
}

#[test]
fn config_shows_what_holds_and_where_it_is_from() {
    let dir = Dir::with_dataset();
    let long = "models/".repeat(20);
    dir.write(
        "ewe.toml",
        format!(
            "db = 'd.db'\nmodel = '{long}'\n[train]\nlora-rank = 32\nsave-every = '15m'\nmaster = 'fp32'\n"
        ),
    );
    let shown = ewe_in(
        &dir,
        ".",
        &[("EWE_SEED", "7")],
        &["config", "train", "--lr", "5e-5", "--out", "tuned"],
    );
    let text = shown.success().stdout();
    for line in text.lines() {
        let is_path = line.starts_with("settings: ");
        assert!(is_path || line.chars().count() <= 80, "{line:?}");
    }
    let row = |key: &str| {
        let begin = format!("{key} ");
        let line = text.lines().find(|line| line.starts_with(&begin)).expect(key);
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("db"), "d.db ewe.toml:1");
    assert_eq!(row("lora-rank"), "32 ewe.toml:4");
    assert_eq!(row("seed"), "7 EWE_SEED");
    assert_eq!(row("lr"), "5e-5 command line");
    assert_eq!(row("batch-size"), "8 default");
    assert_eq!(row("neftune"), "not set");
    assert!(row("model").ends_with("… ewe.toml:2"), "{text}");
    assert!(text.contains("not used: master of ewe.toml:6"), "{text}");
    // All of it, for every command.
    let all = json(ewe(&dir, &["config", "--json"]));
    let keys: Vec<&str> = all["options"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["key"].as_str().unwrap())
        .collect();
    for key in ["db", "model", "train.lora-rank", "train.save-every"] {
        assert!(keys.contains(&key), "{key}: {keys:?}");
    }
    let file = all["file"].as_str().unwrap();
    assert!(file.starts_with('/') && file.ends_with("/ewe.toml"), "{file}");
    let said = ewe(&dir, &["config", "trian"]).failure(1).stderr();
    assert!(said.contains("`trian`") && said.contains("hint: "), "{said}");
    let said = ewe(&dir, &["config", "train", "--nosuch"]).failure(1).stderr();
    assert!(said.contains("--nosuch"), "{said}");
    // A command line becomes a file.
    let toml = ewe(
        &dir,
        &["config", "--toml", "list", "--limit", "2", "--text", "a \"b\""],
    );
    assert_eq!(
        toml.success().stdout(),
        "[list]\ndb = \"d.db\"\ntext = \"a \\\"b\\\"\"\nlimit = 2\n"
    );
    dir.write("ewe.toml", "");
    assert_eq!(ewe(&dir, &["config"]).success().stdout(), "nothing is set\n");
}

#[test]
fn help_groups_the_commands() {
    let dir = Dir::new();
    for arguments in [&["help"][..], &["--help"], &["-h"]] {
        let text = ewe(&dir, arguments).success().stdout();
        let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word}: {text}"));
        assert!(
            at("Grow a dataset:") < at("\n  init ") && at("\n  init ") < at("Train:"),
            "{text}"
        );
        assert!(
            at("Train:") < at("\n  train ") && at("\n  train ") < at("Ask:"),
            "{text}"
        );
        assert!(text.contains("--config <FILE>"), "{text}");
    }
    let text = ewe(&dir, &["train", "--help"]).success().stdout();
    for word in [
        "\nAdapter:\n",
        "\nOptimization:\n",
        "\nExamples:\n",
        "\nOptions of every command:\n",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[cfg(feature = "torch")]
#[test]
fn a_run_is_run_again_from_its_settings() {
    use crate::train::{arguments, losses, rows, train};
    use serde_json::Value;
    let dir = Dir::new();
    let data = rows(&dir);
    let first = dir.path("first");
    train(
        "gptj",
        &data,
        &first,
        "--steps 6 --batch-size 4 --lr 1e-2 --lora-rank 4 --seed 5 --neftune 5 --device cpu",
    )
    .success();
    let text = dir.read("first/run.toml");
    for line in [
        "lr = 1e-2",
        "lora-rank = 4",
        "lora-alpha = 8",
        "seed = 5",
        "batch-size = 4",
        "schedule = \"cosine\"",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}: {text}");
    }
    assert!(!text.contains("dry-run"), "{text}");
    let again = |out: &str, more: &[&str]| {
        let line = ["train", "--config", "first/run.toml", "--out", out];
        let mut command = shell::command(&dir, &[&line[..], more].concat());
        command.env("OMP_NUM_THREADS", "1");
        ran(command)
    };
    again("second", &[]).success();
    assert_eq!(losses(&first), losses(&dir.path("second")));
    again("third", &["--seed", "6"]).success();
    assert_ne!(losses(&first), losses(&dir.path("third")));
    let said = again("first", &["--resume"]).success().stderr();
    assert!(said.contains("is finished"), "{said}");
    // The options of each run are in its record, too, as they were.
    let record =
        |out: &str| -> Value { serde_json::from_str(&dir.read(&format!("{out}/run.json"))).unwrap() };
    let (one, other) = (record("first"), record("second"));
    assert_eq!(one["options"]["lr"], "1e-2");
    assert_eq!(
        one["options"]["model"],
        arguments("gptj", &data, &first, "")[2].as_str()
    );
    assert_eq!(one["options"]["template"], other["options"]["template"]);
    assert_eq!(one["settings"], other["settings"]);
}

#[cfg(feature = "torch")]
#[test]
fn the_dataset_keeps_the_options_of_a_run() {
    let dir = Dir::with_dataset();
    let row = |word: &str| format!("{{\"instruction\": \"{word}\", \"output\": \"1\"}}\n");
    dir.write("more.jsonl", ["oak", "elm", "ash", "fir"].map(row).concat());
    ewe(&dir, &["import", "--db", "d.db", "more.jsonl"]).success();
    let model = crate::golden::golden("gptj");
    let run = [
        "train",
        "--db",
        "d.db",
        "--model",
        model.to_str().unwrap(),
        "--out",
        "out",
        "--steps",
        "1",
        "--batch-size",
        "2",
        "--where",
        "origin = 'import'",
        "--template",
        "completion",
        "--eval-fraction",
        "0",
    ];
    let mut command = shell::command(&dir, &run);
    command.env("OMP_NUM_THREADS", "1");
    ran(command).success();
    let id = dir.sql("select id from run where command = 'train'")[0][0].clone();
    let toml = ewe(&dir, &["config", "--of-run", &id, "train", "--db", "d.db"]);
    let toml = toml.success().stdout();
    assert!(toml.contains("\nwhere = \"origin = 'import'\"\n"), "{toml}");
    let table = |text: &str| text[text.find("[train]").unwrap()..].to_owned();
    assert_eq!(table(&toml), table(&dir.read("out/run.toml")));
    let said = ewe(&dir, &["config", "--of-run", "99", "train", "--db", "d.db"]);
    assert!(said.failure(1).stderr().contains("99"));
}
