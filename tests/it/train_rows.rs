//! The rows that `ewe train` takes: of a dataset by its options, of several files, and those that it
//! evaluates on.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use serde_json::{Value, json};

use crate::shell::{self, Dir};
use crate::support::number;
use crate::train::{EWE_TORCH, fails, misread, rows, stderr, train};

const WORDS: [&str; 16] = [
    "oak", "elm", "fir", "ash", "yew", "fig", "bay", "box", "pea", "rye", "oat", "hop", "tea", "nut", "may",
    "ivy",
];

/// Tasks that share few words, one a line: `sow oak bay 3`.
fn tasks(range: std::ops::Range<usize>) -> String {
    let row = |k: usize| {
        let text = format!("{} {} {k}", WORDS[k % 16], WORDS[(k * 5 + 3) % 16]);
        format!(
            "{}\n",
            json!({"instruction": text, "input": "", "output": format!("{k} {}", k + 1)})
        )
    };
    range.map(row).collect()
}

/// `d.db` with twelve accepted seeds, of which the last reads like the first, and eight pending
/// imports.
fn dataset() -> Dir {
    let dir = Dir::new();
    let near = json!({"instruction": "oak ash 0 again", "input": "", "output": "0 1"});
    dir.write("seeds.jsonl", format!("{}{near}\n", tasks(0..11)));
    dir.write("more.jsonl", tasks(11..19));
    shell::ewe(&dir, &["init", "--db", "d.db", "--seeds", "seeds.jsonl"]).success();
    shell::ewe(&dir, &["import", "--db", "d.db", "more.jsonl"]).success();
    assert_eq!(number(&dir, "select count(*) from dataset"), 20);
    assert_eq!(
        number(&dir, "select count(*) from dataset where review = 'accepted'"),
        12
    );
    dir
}

fn split(dir: &Dir) {
    shell::ewe(
        dir,
        &["split", "--db", "d.db", "--eval", "2", "--where", "id <= 2"],
    )
    .success();
}

/// Trains two steps on `d.db`.
fn train_db(dir: &Dir, out: &str, options: &[&str]) -> Assert {
    Command::new(EWE_TORCH)
        .env("OMP_NUM_THREADS", "1")
        .current_dir(dir.path("."))
        .args(["train", "--model"])
        .arg(crate::golden::golden("gptj"))
        .args([
            "--db",
            "d.db",
            "--out",
            out,
            "--template",
            "completion",
            "--steps",
            "2",
        ])
        .args(["--batch-size", "4"])
        .args(options)
        .assert()
}

fn record(dir: &Dir, out: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(dir.path(out).join("run.json")).unwrap()).unwrap()
}

#[test]
fn held_out_tasks_are_evaluated_on_and_not_trained_on() {
    let dir = dataset();
    split(&dir);
    let said = stderr(&train_db(&dir, "out", &[]).success());
    let took = "9 accepted + 8 unreviewed of 20; 2 held out, 1 near-duplicate of held-out tasks left out";
    assert!(said.contains(&format!("d.db: {took}\n")), "{said}");
    assert!(
        said.contains("on 17 examples") && said.contains(", 2 held out;"),
        "{said}"
    );
    let model = crate::golden::golden("gptj");
    assert!(said.contains("\nheld out ") && said.contains(" → "), "{said}");
    let next = crate::next::next(&said);
    let tuned = format!("--model {} --adapter out", model.display());
    assert_eq!(
        next,
        [
            format!("ewe chat {tuned}"),
            format!("ewe serve {tuned}"),
            format!("ewe eval {tuned} --suite held-out --db d.db"),
            "ewe report --db d.db --out report.html".to_owned(),
        ],
        "{said}"
    );
    let run = record(&dir, "out");
    assert_eq!((&run["examples"], &run["held_out"]), (&json!(17), &json!(2)));
    assert_eq!(
        (&run["took"], &run["evaluated_on"]),
        (&json!(took), &json!("held-out tasks"))
    );
    let stored = dir.sql("select config ->> 'took', config ->> 'select' from run where command = 'train'");
    assert_eq!(stored, [[took, ""]]);
    // In silence.
    let said = train_db(&dir, "quiet", &["-q"]).success();
    assert_eq!(stderr(&said), "");
    // A share of the rows would be something else; nothing at all is not.
    fails(
        train_db(&dir, "no", &["--eval-fraction", "0.2"]),
        &[
            "--eval-fraction 0.2",
            "2 rows are held out",
            "hint: leave it away",
        ],
    );
    let said = stderr(&train_db(&dir, "none", &["--eval-fraction", "0"]).success());
    assert!(
        said.contains("on 17 examples") && said.contains(", 0 held out;"),
        "{said}"
    );
    assert!(!said.contains(" → "), "{said}");
    // Nothing held out is as before.
    shell::ewe(&dir, &["split", "--db", "d.db", "--clear"]).success();
    let said = stderr(&train_db(&dir, "share", &["--eval-fraction", "0.2"]).success());
    assert!(
        said.contains("d.db: 12 accepted + 8 unreviewed of 20\n") && said.contains("on 16 examples"),
        "{said}"
    );
}

#[test]
fn options_of_lists_choose_the_rows() {
    let dir = dataset();
    split(&dir);
    dir.sql("update task set influence = (id - 10) / 10.0, score = 1 + id % 5");
    for (out, options, said) in [
        (
            "a",
            &["--review", "accepted"][..],
            "9 accepted of 20; 2 held out, 1 near-duplicate",
        ),
        ("b", &["--origin", "import"], "8 unreviewed of 20; 2 held out\n"),
        (
            "c",
            &["--where", "influence > 0 and origin = 'seed' or id = 20"],
            "1 accepted + 1 unreviewed of 20; 2 held out, 1 near",
        ),
        ("d", &["--min-score", "5"], "2 accepted + 2 unreviewed of 20"),
        // Of the 18 tasks that are neither rejected nor held out.
        ("e", &["--top", "50%"], "8 unreviewed of 20; 2 held out, 1 near"),
        (
            "f",
            &["--top", "2", "--by", "score", "--review", "pending"],
            "2 unreviewed of 20",
        ),
    ] {
        let text = stderr(&train_db(&dir, out, options).success());
        assert!(text.contains(&format!("d.db: {said}")), "{options:?}: {text}");
        assert!(!record(&dir, out)["select"].is_null());
    }
    assert_eq!(
        record(&dir, "f")["select"],
        json!({"review": "pending", "top": {"amount": "2", "by": "score"}})
    );
    for (options, words) in [
        (
            &["--where", "influence > 5"][..],
            &[
                "no row is left to train on: none of 20; 2 held out",
                "hint: `ewe list`",
            ][..],
        ),
        (&["--top", "3", "--by", "ifd"], &["no row is left to train on"]),
        (
            &["--review", "rejected"],
            &["rejected tasks are not in the dataset", "hint: "],
        ),
        (
            &["--split", "eval"],
            &["held-out tasks are never trained on", "hint: "],
        ),
    ] {
        fails(train_db(&dir, "no", options), words);
        assert!(!dir.path("no").exists());
    }
    let said = stderr(&train_db(&dir, "no", &["--where", "influense > 0"]).code(2));
    assert!(
        said.contains("there is no column `influense`") && said.contains("hint: one of id, review"),
        "{said}"
    );
    // A finished run knows what it took.
    let resume = train_db(&dir, "a", &["--review", "accepted", "--resume"]).success();
    assert!(stderr(&resume).contains("is finished"));
    fails(
        train_db(&dir, "a", &["--review", "pending", "--resume"]),
        &["tasks: {\"review\":\"accepted\"} then, {\"review\":\"pending\"} now"],
    );
    misread(
        train("gptj", &dir.path("more.jsonl"), &dir.path("no"), "--origin seed"),
        "`--origin` cannot be used without `--db`: it chooses among the tasks of a dataset\n\
         hint: --db in place of --data, or leave it away",
    );
}

#[test]
fn a_file_of_its_own_is_evaluated_on() {
    let dir = dataset();
    // Two questions that are trained on as well, and one that is not.
    dir.write("own.jsonl", format!("{}{}", tasks(3..5), tasks(40..41)));
    let said = stderr(&train_db(&dir, "out", &["--eval-data", "own.jsonl"]).success());
    assert!(
        said.contains("2 rows are not trained on: their questions are in own.jsonl\n"),
        "{said}"
    );
    assert!(
        said.contains("on 18 examples") && said.contains(", 3 held out;"),
        "{said}"
    );
    assert!(said.contains("--suite instructions=own.jsonl"), "{said}");
    assert_eq!(record(&dir, "out")["evaluated_on"], json!("own.jsonl"));
    // With --keep-best the best of its evaluations is the result.
    let best = train_db(
        &dir,
        "best",
        &["--eval-data", "own.jsonl", "--keep-best", "--eval-every", "1"],
    );
    assert!(stderr(&best.success()).contains("it is the result"));
    let data = rows(&dir);
    let own = dir.path("own.jsonl");
    let out = dir.path("mixed");
    fails(
        train(
            "gptj",
            &data,
            &out,
            &format!("--steps 1 --eval-data {}", own.display()),
        ),
        &[
            "own.jsonl has instructions, and the rows to train on are finished prompts",
            "hint: ",
        ],
    );
    dir.write(
        "bad.jsonl",
        "{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instruction\": \"c\"}\n",
    );
    fails(
        train_db(&dir, "no", &["--eval-data", "bad.jsonl"]),
        &["bad.jsonl", "hint: --keep-going"],
    );
    misread(
        train("gptj", &data, &out, "--eval-data x --eval-fraction 0.1"),
        "`--eval-fraction` cannot be used with `--eval-data`: it is about what to evaluate on, and that is a file of its own\n\
         hint: leave one of them away",
    );
    assert!(!out.exists());
}

#[test]
fn several_files_are_read_one_after_another() {
    let dir = Dir::new();
    let text = |path: &Path| path.display().to_string();
    let first = rows(&dir);
    let whole = fs::read_to_string(&first).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    dir.write("a.jsonl", lines[..25].join("\n"));
    dir.write("b.jsonl", lines[25..].join("\n"));
    let more = format!(
        "--data {} --steps 3 --eval-fraction 0 --order sequential",
        text(&dir.path("b.jsonl"))
    );
    let said = stderr(&train("gptj", &dir.path("a.jsonl"), &dir.path("two"), &more).success());
    assert!(
        said.contains("a.jsonl: 25 rows\n") && said.contains("b.jsonl: 15 rows\n"),
        "{said}"
    );
    let one = more.split_once(" --steps").unwrap().1;
    train("gptj", &first, &dir.path("one"), &format!("--steps{one}")).success();
    assert_eq!(
        crate::train::losses(&dir.path("one")),
        crate::train::losses(&dir.path("two"))
    );
    let run: Value =
        serde_json::from_str(&fs::read_to_string(dir.path("two").join("run.json")).unwrap()).unwrap();
    assert_eq!(run["rows"].as_array().unwrap().len(), 2);
    let again = train(
        "gptj",
        &dir.path("a.jsonl"),
        &dir.path("two"),
        &format!("{more} --resume"),
    );
    assert!(stderr(&again.success()).contains("is finished"));
    fails(
        train(
            "gptj",
            &dir.path("a.jsonl"),
            &dir.path("two"),
            &format!("--steps{one} --resume"),
        ),
        &["--data: ", "a.jsonl, ", "b.jsonl then"],
    );
    // Errors name the file.
    dir.write("c.jsonl", "{\"instruction\": \"a\", \"output\": \"b\"}\n");
    let with_c = format!("--data {} --steps 1", text(&dir.path("c.jsonl")));
    fails(
        train("gptj", &first, &dir.path("no"), &with_c),
        &[
            "c.jsonl has instructions, and the files before it finished prompts",
            "hint: ",
        ],
    );
    dir.write(
        "d.jsonl",
        "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\"}\n",
    );
    let with_d = format!("--data {} --steps 1", text(&dir.path("d.jsonl")));
    fails(
        train("gptj", &first, &dir.path("no"), &with_d),
        &["d.jsonl:", "hint: --keep-going"],
    );
    let with_left_out = format!(
        "{with_d} --keep-going --left-out {} --eval-fraction 0 --max-length 2",
        text(&dir.path("left.jsonl"))
    );
    fails(
        train("gptj", &first, &dir.path("no"), &with_left_out),
        &[
            "left out: 1 of ",
            "rows.jsonl line 1: ",
            "there is nothing to train on",
        ],
    );
    assert!(dir.read("left.jsonl").contains("d.jsonl"));
}

#[test]
fn a_run_says_whether_it_helped() {
    let dir = Dir::new();
    let data = rows(&dir);
    let out = dir.path("out");
    let said = train(
        "gemma3",
        &data,
        &out,
        "--epochs 3 --lr 1e-2 --lora-rank 4 --eval-fraction 0.1",
    );
    let said = stderr(&said.success());
    let line = said
        .lines()
        .find(|line| line.starts_with("held out "))
        .expect(&said);
    let lines = crate::train::metrics(&out);
    let (before, after) = (
        lines[0]["eval_loss_before"].as_f64().unwrap(),
        lines.last().unwrap()["eval_loss"].as_f64().unwrap(),
    );
    let percent = 100.0 * (before - after) / before;
    assert_eq!(
        line,
        format!("held out {before:.2} → {after:.2} (−{percent:.0} %)")
    );
    // Nobody is told to look for a file.
    assert!(
        said.contains("  ewe chat --model ") && !said.contains("ewe eval") && !said.contains("FILE"),
        "{said}"
    );
    let full = dir.path("full");
    let said = stderr(&train("gptj", &data, &full, "--method full --steps 2").success());
    assert!(
        crate::next::next(&said).contains(&format!("ewe chat --model {}", full.display())),
        "{said}"
    );
}
