//! Option values that make no sense, options without effect beside others, and the form of errors.

use crate::{shell::Dir, support::ewe};

/// Runs a command that must exit with 2, and asserts that the error contains all these words.
#[track_caller]
pub fn misread(line: &str, words: &[&str]) {
    let dir = Dir::new();
    let arguments: Vec<&str> = line.split_whitespace().collect();
    let said = ewe(&dir, &arguments).failure(2).stderr();
    for word in words {
        assert!(said.contains(word), "{line}: {said}");
    }
}

#[test]
fn options_without_effect_are_refused() {
    let train = "train --db d.db --model m --out o";
    let full = format!("{train} --method full");
    for option in [
        "--lora-rank 4",
        "--lora-alpha 8",
        "--lora-dropout 0.1",
        "--lora-rank-stabilized",
        "--lora-targets q_proj",
        "--dora",
        "--quantize nf4",
        "--adapter a",
    ] {
        let name = option.split(' ').next().unwrap();
        misread(&format!("{full} {option}"), &[name, "--method full", "hint: "]);
    }
    for option in [
        "--master fp32",
        "--master split",
        "--update-in-backward",
        "--offload",
    ] {
        let name = option.split(' ').next().unwrap();
        for method in ["", "--method lora"] {
            misread(&format!("{train} {method} {option}"), &[name, "--method lora"]);
        }
    }
    let adapter = format!("{train} --adapter a");
    for option in [
        "--lora-rank 4",
        "--lora-alpha 8",
        "--lora-rank-stabilized",
        "--lora-targets q_proj",
        "--dora",
    ] {
        let name = option.split(' ').next().unwrap();
        misread(&format!("{adapter} {option}"), &[name, "--adapter"]);
    }
    for option in ["--eval-every 5", "--early-stop 3", "--keep-best"] {
        let name = option.split(' ').next().unwrap();
        for nothing in ["0", "0.0", "0e5"] {
            let line = format!("{train} --eval-fraction {nothing} {option}");
            misread(&line, &[name, "--eval-fraction 0"]);
        }
    }
    let dir = Dir::new();
    let arguments: Vec<&str> = train
        .split(' ')
        .chain(["--eval-fraction", " 0", "--keep-best"])
        .collect();
    let said = ewe(&dir, &arguments).failure(2).stderr();
    assert!(said.contains("--keep-best"), "{said}");
    misread(&format!("{train} --allow-changes"), &["--resume"]);
    misread(
        "plan --model m --method full --lora-rank 4",
        &["--lora-rank", "--method full"],
    );
    misread(
        "plan --model m --method lora --master fp32",
        &["--master", "--method lora"],
    );

    let at = "--endpoint http://127.0.0.1:9/v1 --endpoint-model m";
    let local = "--model m";
    let files = "--batch-file o.jsonl --endpoint-model m";
    for command in ["generate --db d.db --target 5", "judge --db d.db"] {
        for option in ["--device cpu", "--dtype bf16", "--batch 4", "--kv-memory 1GB"] {
            let name = option.split(' ').next().unwrap();
            for who in [at, files] {
                misread(&format!("{command} {who} {option}"), &[name, "without `--model`"]);
            }
        }
        for option in ["--concurrency 4", "--timeout 9", "--retries 1", "--backoff 1"] {
            let name = option.split(' ').next().unwrap();
            for who in [local, files] {
                misread(
                    &format!("{command} {who} {option}"),
                    &[name, "without `--endpoint`"],
                );
            }
        }
        misread(
            &format!("{command} {local} --api chat"),
            &["--api", "without `--endpoint`"],
        );
        for who in [local, files] {
            misread(
                &format!("{command} {who} --api-key-env K"),
                &["--api-key-env", "without `--endpoint`"],
            );
        }
    }
    let generate = format!("generate --db d.db --target 5 {at}");
    misread(
        &format!("{generate} --judge --judge-key-env K"),
        &["--judge-key-env", "--judge-endpoint"],
    );
    misread(&format!("{generate} --judge-model j"), &["--judge-endpoint"]);
    misread(
        &format!("{generate} --judge --judge-endpoint http://127.0.0.1:9 --judge-model j"),
        &["--judge", "--judge-endpoint"],
    );
    misread(&format!("{generate} --budget-money 5"), &["--price-in"]);
    misread(
        "complete --model m --prompt x --out o.jsonl",
        &["--out", "--prompts"],
    );
    misread(
        "complete --model m --prompt x --batch 4",
        &["--batch", "--prompts"],
    );
    misread(
        "edit --db d.db 1 --instance 2 --instruction x",
        &["--instance", "--input"],
    );
    misread("log --db d.db 1 --limit 2", &["--limit", "an id"]);
    for master in ["split", "fp32", "stochastic"] {
        for line in [
            format!("{train} --method full --precision fp32 --master {master}"),
            format!("plan --model m --precision fp32 --master {master}"),
        ] {
            misread(&line, &["--master", "--precision fp32"]);
        }
    }
    for command in ["generate --db d.db --target 5", "judge --db d.db"] {
        for who in [at, local, files] {
            misread(
                &format!("{command} {who} --keep-going"),
                &["--keep-going", "--batch-results"],
            );
        }
    }
    misread("serve --model m --token x --token-file y", &["--token-file"]);
}

#[test]
fn absurd_numbers_are_refused_with_the_name_of_their_option() {
    let generate = "generate --db d.db --endpoint http://127.0.0.1:9 --endpoint-model m --target";
    for (line, name) in [
        (format!("{generate} 18446744073709551615"), "--target"),
        (format!("{generate} 9223372036854775808"), "--target"),
        (format!("{generate} 5 --max-minutes inf"), "--max-minutes"),
        (
            format!("{generate} 5 --max-minutes 9223372036854775808"),
            "--max-minutes",
        ),
        (format!("{generate} 5 --max-minutes nan"), "--max-minutes"),
        (format!("{generate} 5 --max-minutes=-1"), "--max-minutes"),
        (
            format!("{generate} 5 --concurrency 18446744073709551615"),
            "--concurrency",
        ),
        (format!("{generate} 5 --concurrency 0"), "--concurrency"),
        (
            format!("{generate} 5 --timeout 18446744073709551615"),
            "--timeout",
        ),
        (format!("{generate} 5 --timeout 0"), "--timeout"),
        (format!("{generate} 5 --temperature nan"), "--temperature"),
        (
            format!("{generate} 5 --budget-money inf --price-in 1"),
            "--budget-money",
        ),
        (format!("{generate} 5 --price-in=-1"), "--price-in"),
        (format!("{generate} 5 --min-novelty nan"), "--min-novelty"),
        (
            "serve --model m --kv-memory 99999999999999TiB".to_string(),
            "--kv-memory",
        ),
        ("serve --model m --kv-memory=-1GB".to_string(), "--kv-memory"),
        ("serve --model m --batch 70000".to_string(), "--batch"),
        ("serve --model m --bind 127.0.0.1:99999".to_string(), "--bind"),
        (
            "serve --model m --drain-timeout 18446744073709551615".to_string(),
            "--drain-timeout",
        ),
        (
            "complete --model m --prompt x --max-tokens 18446744073709551615".to_string(),
            "--max-tokens",
        ),
        (
            "complete --model m --prompt x --presence-penalty nan".to_string(),
            "--presence-penalty",
        ),
        (
            "chat --model m --repetition-penalty 1e-300".to_string(),
            "--repetition-penalty",
        ),
        ("train --db d.db --model m --out o --lr inf".to_string(), "--lr"),
        (
            "train --db d.db --model m --out o --steps 18446744073709551615".to_string(),
            "--steps",
        ),
        (
            "train --db d.db --model m --out o --weight-decay nan".to_string(),
            "--weight-decay",
        ),
        ("train --db d.db --model m --out o --lr 0".to_string(), "--lr"),
        (
            "train --db d.db --model m --out o --lora-alpha 0".to_string(),
            "--lora-alpha",
        ),
        (
            "train --db d.db --model m --out o --neftune 0".to_string(),
            "--neftune",
        ),
        ("train --db d.db --model m --out o --gpus 0".to_string(), "--gpus"),
        (
            "train --db d.db --model m --out o --ranks 1025".to_string(),
            "--ranks",
        ),
        (
            "train --db d.db --model m --out o --rank-timeout 10".to_string(),
            "--rank-timeout",
        ),
        (
            "train --db d.db --model m --out o --ranks 2 --max-restarts 1001".to_string(),
            "--max-restarts",
        ),
        ("plan --model m --gpus 0".to_string(), "--gpus"),
        (
            "train --db d.db --model m --out o --method full --shard 0".to_string(),
            "--shard",
        ),
        ("plan --model m --nodes 0".to_string(), "--nodes"),
        ("plan --model m --link wire".to_string(), "--link"),
        (
            "train --db d.db --model m --out o --lora-dropout 1".to_string(),
            "--lora-dropout",
        ),
        (
            "train --db d.db --model m --out o --eval-fraction 1".to_string(),
            "--eval-fraction",
        ),
        (
            "train --db d.db --model m --out o --weight-decay=-0.1".to_string(),
            "--weight-decay",
        ),
        (
            "train --db d.db --model m --out o --clip=-1".to_string(),
            "--clip",
        ),
        (
            "train --db d.db --model m --out o --guard=-1".to_string(),
            "--guard",
        ),
        (
            "train --db d.db --model m --out o --epochs 0".to_string(),
            "--epochs",
        ),
        (
            "train --db d.db --model m --out o --steps 0".to_string(),
            "--steps",
        ),
        ("plan --model m --utilisation 0".to_string(), "--utilisation"),
        ("plan --model m --utilisation inf".to_string(), "--utilisation"),
        ("plan --model m --memory 1e300GB".to_string(), "--memory"),
        (
            "list --db d.db --limit 9223372036854775807".to_string(),
            "--limit",
        ),
        ("list --db d.db --min-length=-5".to_string(), "--min-length"),
        ("list --db d.db --after 0".to_string(), "--after"),
        ("filter f --threshold nan".to_string(), "--threshold"),
        (
            "filter f --threshold 18446744073709551615.9".to_string(),
            "--threshold",
        ),
        ("accept --db d.db 1-9223372036854775807".to_string(), "ID"),
    ] {
        misread(&line, &[name]);
    }
}

#[test]
fn the_largest_accepted_numbers_work() {
    let dir = Dir::with_dataset();
    for line in [
        "list --db d.db --limit 1000000000 --min-length 4294967295",
        "search --db d.db --limit 1000000000 the",
        "log --db d.db --limit 1000000000",
    ] {
        ewe(&dir, &line.split(' ').collect::<Vec<_>>()).success();
    }
    for line in [
        "list --db d.db --after 9223372036854775807",
        "show --db d.db 9223372036854775807",
        "log --db d.db 9223372036854775807",
        "undo --db d.db 9223372036854775807",
        "edit --db d.db 1 --instance 4294967295 --input x",
        "accept --db d.db 9223372036854775807",
    ] {
        let said = ewe(&dir, &line.split(' ').collect::<Vec<_>>())
            .failure(1)
            .stderr();
        assert!(!said.contains("panicked"), "{line}: {said}");
    }
}

#[test]
fn a_missing_input_error_lists_every_option_for_it() {
    misread("train --model m --out t9", &["--db", "--data"]);
    misread(
        "generate --db d.db --target 5",
        &["--model", "--endpoint", "--batch-file"],
    );
    misread("filter", &["--db", "FILE"]);
    misread("complete --model m", &["--prompts", "--prompt"]);
}

#[cfg(feature = "torch")]
#[test]
fn a_master_that_loses_updates_is_refused() {
    let dir = Dir::new();
    for line in [
        "train --db d.db --model m --out o --method full --master bf16",
        "plan --model m --method full --master bf16",
        "plan --model m --master bf16",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let said = ewe(&dir, &arguments).failure(1).stderr();
        assert!(
            said.contains("--master bf16 is refused") && said.contains("hint: --master stochastic"),
            "{line}: {said}"
        );
    }
}

/// Asserts the order of an error's lines: its cause first, then its hints.
#[track_caller]
fn hints_are_last(said: &str, cause: &str, hint: &str) {
    let lines: Vec<&str> = said.trim_end().lines().collect();
    assert!(
        lines[0].starts_with("error: ") && lines[0].contains(cause),
        "{said}"
    );
    assert!(lines[1..].iter().all(|line| line.starts_with("hint: ")), "{said}");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("hint: ") && line.contains(hint)),
        "{said}"
    );
    assert!(!lines[1..].iter().any(|line| line.contains(cause)), "{said}");
}

#[test]
fn an_error_prints_its_cause_before_the_hint() {
    let dir = Dir::with_dataset();
    dir.write(
        "tasks.jsonl",
        "{\"instruction\": \"a\", \"input\": \"\", \"output\": \"b\"}\n",
    );
    let said = ewe(&dir, &["filter", "tasks.jsonl", "--rules", "nope.toml"])
        .failure(1)
        .stderr();
    hints_are_last(&said, "No such file", "hint: ");
}

#[cfg(feature = "torch")]
#[test]
fn an_adapter_error_prints_its_cause_before_the_hint() {
    let dir = Dir::new();
    let model = crate::golden::golden("gemma3");
    let model = model.to_str().unwrap();
    let said = ewe(
        &dir,
        &["complete", "--model", model, "--adapter", "nope", "--prompt", "x"],
    )
    .failure(1)
    .stderr();
    hints_are_last(&said, "is missing", "hint: ");
}

#[test]
fn errors_escape_control_characters() {
    let dir = Dir::with_dataset();
    let evil = "\u{1b}[2J\u{9b}31m\u{202e}x.db";
    for arguments in [
        &["list", "--db", evil][..],
        &["list", "--db", "d.db", evil],
        &["list", "--db", "d.db", "--limit", evil],
        &[evil],
        &["import", "--db", "d.db", evil],
        &["backup", "--db", "d.db", "--out", &format!("{evil}/x")],
        &["filter", evil],
        &["report", "--db", evil, "--out", "r.html"],
    ] {
        let mut command = crate::support::command(&dir, arguments);
        let said = command.output().unwrap();
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("[2J"), "{arguments:?}: {said:?}");
        assert!(
            !said.contains(['\u{1b}', '\u{9b}', '\u{202e}']),
            "{arguments:?}: {said:?}"
        );
    }
}

#[test]
fn json_on_a_terminal_escapes_control_characters() {
    let dir = Dir::with_dataset();
    let evil = "\u{1b}[2J \u{9b}31m \u{202e}x \u{2066}y";
    ewe(
        &dir,
        &[
            "edit",
            "--db",
            "d.db",
            "1",
            "--instruction",
            evil,
            "--reason",
            evil,
        ],
    )
    .success();
    for arguments in [
        &["list", "--db", "d.db", "--limit", "1", "--json"][..],
        &["show", "--db", "d.db", "1", "--json"],
        &["search", "--db", "d.db", "--json", "31m"],
        &["log", "--db", "d.db", "--json"],
        &["log", "--db", "d.db", "1", "--json"],
    ] {
        let said = ewe(&dir, arguments).success().stdout();
        assert!(
            !said.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\u{2066}']),
            "{arguments:?}: {said:?}"
        );
        let read: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert!(
            read.to_string().contains("31m \u{202e}x"),
            "{arguments:?}: {said}"
        );
    }
}
