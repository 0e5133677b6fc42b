//! Tables for people and for programs: what fits a terminal, how much there is, colors, the pager.

use std::io::Read;

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use crate::{
    shell::{Dir, ran},
    support::{add_influence, command, ewe, filled, json, number},
};

/// What a command writes to a terminal of this size, with its line breaks as they are.
fn on_terminal(dir: &Dir, arguments: &[&str], size: (u16, u16), environment: &[(&str, &str)]) -> String {
    let pair = native_pty_system()
        .openpty(PtySize {
            rows: size.0,
            cols: size.1,
            pixel_width: 0,
            pixel_height: 0,
        })
        .unwrap();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_ewe"));
    command.args(arguments);
    command.cwd(dir.path("."));
    command.env("TERM", "xterm-256color");
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PAGER", "LESS"] {
        command.env_remove(name);
    }
    for (name, value) in environment {
        command.env(name, value);
    }
    let mut child = pair.slave.spawn_command(command).unwrap();
    drop(pair.slave);
    let mut reader = pair.master.try_clone_reader().unwrap();
    // Read before the end: a terminal holds little.
    let reading = std::thread::spawn(move || {
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        // The other side's end is an error on Linux.
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            all.extend_from_slice(&buffer[..count]);
        }
        all
    });
    assert!(child.wait().unwrap().success());
    drop(pair.master);
    String::from_utf8(reading.join().unwrap()).unwrap()
}

/// A terminal that is high enough for everything.
const HIGH: u16 = 500;

#[test]
fn a_list_fits_the_terminal() {
    let dir = filled();
    add_influence(&dir);
    dir.sql("update task set instruction = 'Translate: 羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊羊' where id = 2");
    for columns in [60, 80, 120] {
        let plain = [("NO_COLOR", "1")];
        let shown = on_terminal(&dir, &["list", "--db", "d.db"], (HIGH, columns), &plain);
        for line in shown.lines() {
            let wide = line
                .chars()
                .filter(|c| ('\u{4e00}'..='\u{9fff}').contains(c))
                .count();
            let taken = line.trim_end().chars().count() + wide;
            // With every column, 60 are too few for more than the least room.
            assert!(
                taken <= usize::from(columns).max(80),
                "{columns}: {taken}: {line}"
            );
        }
        assert!(shown.contains("influence"), "{shown}");
    }
    dir.sql("update task set influence = null, ifd = null");
    dir.sql("delete from held_out");
    let shown = on_terminal(&dir, &["list", "--db", "d.db"], (HIGH, 60), &[("NO_COLOR", "1")]);
    assert!(
        shown.lines().all(|line| line.trim_end().chars().count() <= 60),
        "{shown}"
    );
    assert!(!shown.contains("influence") && !shown.contains("ifd"), "{shown}");
    // Columns are aligned where nobody looks at a terminal, too.
    let piped = ewe(&dir, &["list", "--db", "d.db", "--limit", "3"])
        .success()
        .stdout();
    let starts: Vec<usize> = piped
        .lines()
        .take(1)
        .map(|head| head.find("instruction").unwrap())
        .collect();
    assert!(
        piped
            .lines()
            .skip(1)
            .all(|row| row.chars().nth(starts[0] - 1) == Some(' ')),
        "{piped}"
    );
}

#[test]
fn a_list_says_how_many_there_are() {
    let dir = filled();
    let tasks = number(&dir, "select count(*) from task");
    let seeds = number(&dir, "select count(*) from task where origin = 'seed'");
    let note = |rest: &[&str]| {
        let arguments = [&["list", "--db", "d.db"], rest].concat();
        ewe(&dir, &arguments).success().stderr()
    };
    assert_eq!(
        note(&["--limit", "3"]),
        format!("3 of {tasks} tasks; more: --after 3\n")
    );
    assert_eq!(
        note(&["--limit", "2", "--origin", "seed"]),
        format!("2 of {seeds} tasks; more: --after 2\n")
    );
    assert_eq!(note(&["--limit", "3", "--quiet"]), "");
    assert_eq!(note(&["--origin", "machine"]), "");
    // No row has no header.
    let none = ewe(&dir, &["list", "--db", "d.db", "--origin", "import"]).success();
    assert_eq!(none.stdout(), "");
    assert_eq!(
        none.stderr(),
        format!("no task to show: the dataset has {tasks} tasks\n")
    );
}

#[test]
fn runs_and_rules_that_do_not_exist_are_errors() {
    let dir = filled();
    let fails = |line: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        ewe(&dir, &arguments).failure(1).stderr()
    };
    for line in [
        "list --db d.db --rule near_dup",
        "search --db d.db name --rule near_dup",
        "accept --db d.db --rule near_dup --yes",
    ] {
        let said = fails(line);
        assert!(
            said.contains("`d.db`: no rule or reason `near_dup`\nhint: did you mean `near_duplicate`?"),
            "{line}: {said}"
        );
    }
    for line in [
        "list --db d.db --run 999",
        "reject --db d.db --run 999 --yes",
        "split --db d.db --eval 10% --run 999",
        "export --db d.db --format alpaca --out x.json --run 999",
    ] {
        let said = fails(line);
        assert!(said.contains("no run 999\nhint: `ewe stats`"), "{line}: {said}");
    }
    assert!(!dir.path("x.json").exists());
    let said = fails("list --db d.db --rule xyzzy");
    assert!(said.contains("hint: docs/rules.md"), "{said}");
    // A rule that has rejected nothing yet, and words that somebody gave as a reason.
    ewe(&dir, &["list", "--db", "d.db", "--rule", "too_long"]).success();
    ewe(&dir, &["list", "--db", "d.db", "--rule", "too easy"]).success();
}

#[test]
fn tables_are_written_as_csv_with_the_fields_of_json() {
    let dir = filled();
    dir.sql("update task set instruction = 'Say \"a, b\"\nand c.' where id = 1");
    for line in [
        "list --db d.db",
        "search --db d.db say",
        "log --db d.db",
        "log --db d.db 3",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let rows = json(ewe(&dir, &[&arguments[..], &["--json"]].concat()));
        let text = ewe(&dir, &[&arguments[..], &["--csv"]].concat())
            .success()
            .stdout();
        let mut table = csv::Reader::from_reader(text.as_bytes());
        let header = table.headers().unwrap().clone();
        let first = rows[0].as_object().unwrap();
        let keys: Vec<&str> = first.keys().map(String::as_str).collect();
        assert_eq!(header.iter().collect::<Vec<_>>(), keys, "{line}");
        let records: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), rows.as_array().unwrap().len(), "{line}");
        for (record, row) in records.iter().zip(rows.as_array().unwrap()) {
            for (field, key) in record.iter().zip(&keys) {
                match &row[key] {
                    serde_json::Value::Null => assert_eq!(field, ""),
                    serde_json::Value::String(text) => assert_eq!(field, text),
                    serde_json::Value::Number(number) => {
                        assert_eq!(field.parse::<f64>().ok(), number.as_f64(), "{line}: {key}");
                    }
                    // `true` and `false` are written alike.
                    other => assert_eq!(field, other.to_string(), "{line}: {key}"),
                }
            }
        }
    }
    // Without rows there is a header.
    let none = ewe(&dir, &["list", "--db", "d.db", "--origin", "import", "--csv"]).success();
    assert!(none.stdout().starts_with("id,review,origin,") && none.stdout().lines().count() == 1);
    ewe(&dir, &["list", "--db", "d.db", "--csv", "--json"]).failure(2);
}

#[test]
fn results_of_files_are_told_as_json() {
    let dir = filled();
    dir.write(
        "seeds.csv",
        "instruction,output\nName three rivers of Europe.,\"Rhine, Loire, Po.\"\n",
    );
    let of = |line: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        json(ewe(&dir, &arguments))
    };
    let exported = of("export --db d.db --format alpaca --out x.jsonl --json");
    assert_eq!(exported["rows"], dir.read("x.jsonl").lines().count());
    assert_eq!(exported["format"], "alpaca");
    assert_eq!(of("backup --db d.db --out copy.db --json")["out"], "copy.db");
    assert_eq!(of("report --db d.db --out r.html --json")["out"], "r.html");
    let begun = of("init --db new.db --seeds seeds.csv --json");
    assert_eq!(begun["tasks"], 1);
    assert!(begun["warnings"].to_string().contains("1 seed is few"), "{begun}");
}

#[test]
fn colors_are_what_the_environment_wants() {
    let dir = filled();
    let list = ["list", "--db", "d.db", "--limit", "3"];
    let search = ["search", "--db", "d.db", "name"];
    let piped = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = command(&dir, arguments);
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command.envs(environment.iter().copied());
        ran(command).success().stdout()
    };
    for arguments in [&list[..], &search] {
        let shown = |environment: &[(&str, &str)]| on_terminal(&dir, arguments, (HIGH, 100), environment);
        assert!(shown(&[]).contains("\x1b["));
        assert!(!shown(&[("NO_COLOR", "1")]).contains('\x1b'));
        assert!(!shown(&[("CLICOLOR", "0")]).contains('\x1b'));
        assert!(!shown(&[("TERM", "dumb")]).contains('\x1b'));
        assert!(shown(&[("NO_COLOR", "")]).contains("\x1b["));
        assert!(!piped(arguments, &[]).contains('\x1b'));
        assert!(piped(arguments, &[("CLICOLOR_FORCE", "1")]).contains("\x1b["));
        assert!(!piped(arguments, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).contains('\x1b'));
    }
    // A row cannot color itself.
    dir.sql("update task set instruction = 'Red \x1b[31mname' where id = 1");
    let shown = piped(&list, &[("CLICOLOR_FORCE", "1")]);
    assert!(shown.contains("Red ␛[31mname"), "{shown}");
}

#[test]
fn what_does_not_fit_goes_through_the_pager() {
    let dir = filled();
    let pager = [("PAGER", "sed 's/^/PAGED /'"), ("NO_COLOR", "1")];
    for line in [
        "list --db d.db",
        "stats --db d.db",
        "log --db d.db",
        "show --db d.db 3",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let low = on_terminal(&dir, &arguments, (3, 100), &pager);
        assert!(low.lines().next().unwrap().starts_with("PAGED "), "{line}: {low}");
        let high = on_terminal(&dir, &arguments, (HIGH, 100), &pager);
        assert!(!high.contains("PAGED"), "{line}: {high}");
        let json = on_terminal(&dir, &[&arguments[..], &["--json"]].concat(), (3, 100), &pager);
        assert!(!json.contains("PAGED"), "{line}: {json}");
    }
    // Without a pager, and with one that leaves at once or does not exist.
    let list = ["list", "--db", "d.db", "--limit", "9"];
    for (pager, is_shown) in [("cat", true), ("", true), ("nosuchpager", true), ("true", false)] {
        let shown = on_terminal(&dir, &list, (3, 100), &[("PAGER", pager)]);
        assert_eq!(shown.contains("instruction"), is_shown, "{pager}: {shown}");
        assert!(shown.contains("more: --after 9"), "{pager}: {shown}");
    }
}
