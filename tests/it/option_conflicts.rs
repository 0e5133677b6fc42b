//! Options that require or exclude each other, beyond those of `options`: about rows, names, and
//! finished runs.

#[cfg(feature = "torch")]
use std::fs;

use crate::options::misread;
#[cfg(feature = "torch")]
use crate::train::{fails, rows, stderr, train};
#[cfg(feature = "torch")]
use crate::{shell::Dir, support::ewe};

#[test]
fn options_about_rows_require_a_file_of_rows() {
    for (line, file) in [
        ("complete --model m --prompt x", "--prompts"),
        ("train --db d.db --model m --out o", "--data"),
        ("score --db d.db --model m", "--data"),
        ("influence --db d.db --run-dir r", "--eval-data"),
        ("init --db d.db", "--seeds"),
        ("filter --db d.db", "--db"),
    ] {
        for option in [
            "--format alpaca",
            "--map instruction=a",
            "--keep-going",
            "--left-out x",
            "--keep-going --left-out x",
        ] {
            let name = option.split(' ').next().unwrap();
            misread(&format!("{line} {option}"), &[name, file, "hint: "]);
        }
    }
    for line in [
        "complete --model m --prompts f --out o",
        "train --data f --model m --out o",
        "init --db d.db --seeds f",
        "filter f",
        "import --db d.db f",
        "score --model m --data f --out o",
    ] {
        misread(&format!("{line} --left-out x"), &["--left-out", "--keep-going"]);
    }
}

#[test]
fn the_usage_below_is_that_of_the_command() {
    misread("filter f --left-out x", &["Usage: ewe filter [OPTIONS]"]);
    misread(
        "train --data f --model m --out o --method full --lora-rank 4",
        &["--lora-rank", "Usage: ewe train [OPTIONS]"],
    );
}

#[test]
fn empty_names_and_texts_are_refused() {
    let at = "generate --db d.db --target 5 --endpoint http://127.0.0.1:9/v1";
    for (line, option) in [
        (format!("{at} --endpoint-model="), "--endpoint-model"),
        (format!("{at} --endpoint-model m --api-key-env="), "--api-key-env"),
        (format!("{at} --endpoint-model m --drop-field="), "--drop-field"),
        (
            format!("{at} --endpoint-model m --judge-endpoint http://127.0.0.1:9 --judge-model="),
            "--judge-model",
        ),
        ("judge --db d.db --endpoint=".to_owned(), "--endpoint"),
        ("complete --model m --prompt x --stop=".to_owned(), "--stop"),
        ("chat --model m --stop=".to_owned(), "--stop"),
        ("serve --model m --allow-host=".to_owned(), "--allow-host"),
        ("serve --model m --allow-host=*".to_owned(), "--allow-host"),
        (
            "serve --model m --allow-host=http://gpu.lan".to_owned(),
            "--allow-host",
        ),
        ("serve --model m --allow-host=gpu.lan:".to_owned(), "--allow-host"),
    ] {
        misread(&line, &[format!("for '{option} <").as_str(), "want a "]);
    }
}

#[cfg(feature = "torch")]
#[test]
fn plan_refuses_what_train_refuses() {
    let dir = Dir::new();
    let model = crate::golden::golden("gemma3");
    for (more, words) in [
        (
            &["--lora-targets", "q_proj,nosuch"][..],
            &["--lora-targets", "\"nosuch\"", "hint: it has ", "q_proj"][..],
        ),
        (
            &["--target-tokens", "131072", "--micro-tokens", "1"],
            &["--target-tokens 131072", "--micro-tokens 1", "hint: "],
        ),
        (
            &["--target-tokens", "2049"],
            &["--target-tokens 2049", "--micro-tokens 2048"],
        ),
    ] {
        let arguments = [&["plan", "--model", model.to_str().unwrap()][..], more].concat();
        let said = ewe(&dir, &arguments).failure(1).stderr();
        for word in words {
            assert!(said.contains(word), "{more:?}: {said}");
        }
    }
}

#[cfg(feature = "torch")]
#[test]
fn resuming_a_finished_run_with_other_options_is_refused() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let other = scratch.path("other.jsonl");
    fs::copy(&data, &other).unwrap();
    let lora = "--steps 4 --batch-size 4";
    let full = "--steps 2 --batch-size 4 --method full";
    let place = |name: &str| scratch.path(name);
    for (name, more) in [("lora", lora), ("full", full)] {
        train("gptj", &data, &place(name), more).success();
        let again = train("gptj", &data, &place(name), &format!("{more} --resume")).success();
        assert!(stderr(&again).contains("is finished: nothing is left to resume"));
    }
    let before = fs::read(place("lora").join("adapter_model.safetensors")).unwrap();
    let other_adapter = place("other");
    fs::create_dir(&other_adapter).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(place("lora").join(file), other_adapter.join(file)).unwrap();
    }
    let adapter = format!("{lora} --adapter {}", other_adapter.display());
    for (name, data, more, word) in [
        (
            "lora",
            &data,
            "--steps 8 --batch-size 4",
            "--steps: 4 then, 8 now",
        ),
        (
            "lora",
            &data,
            "--steps 8 --batch-size 4 --allow-changes",
            "--steps: 4 then, 8 now",
        ),
        (
            "lora",
            &data,
            "--steps 4 --batch-size 2",
            "--batch-size: 4 then, 2 now",
        ),
        (
            "lora",
            &data,
            &format!("{lora} --method full"),
            "--method: \"lora\" then, \"full\" now",
        ),
        (
            "lora",
            &data,
            &format!("{lora} --quantize nf4"),
            "--quantize: null then, \"nf4\" now",
        ),
        (
            "lora",
            &data,
            &format!("{lora} --lr 1"),
            "--lr: 0.0002 then, 1.0 now",
        ),
        (
            "lora",
            &data,
            &format!("{lora} --lora-rank 8"),
            "--lora-rank: 16 then, 8 now",
        ),
        (
            "lora",
            &data,
            &format!("{lora} --template alpaca"),
            "--template: ",
        ),
        ("lora", &data, &adapter, "--adapter: null then, "),
        ("lora", &other, lora, "other.jsonl now"),
        (
            "full",
            &data,
            "--steps 3 --batch-size 4 --method full",
            "--steps: 2 then, 3 now",
        ),
    ] {
        let on = if name == "lora" {
            "hint: --adapter "
        } else {
            "hint: --model "
        };
        let said = train("gptj", data, &place(name), &format!("{more} --resume"));
        fails(
            said,
            &[
                "is finished, and its run was another one",
                word,
                on,
                "another --out",
            ],
        );
    }
    let said = train("gemma3", &data, &place("lora"), &format!("{lora} --resume"));
    fails(said, &["--model: ", "gptj then", "gemma3 now"]);
    assert!(before == fs::read(place("lora").join("adapter_model.safetensors")).unwrap());
}

#[cfg(feature = "torch")]
#[test]
fn evaluation_options_require_held_out_rows() {
    let scratch = Dir::new();
    let few: String = fs::read_to_string(rows(&scratch))
        .unwrap()
        .lines()
        .take(5)
        .map(|row| format!("{row}\n"))
        .collect();
    scratch.write("few.jsonl", &few);
    let (data, out) = (scratch.path("few.jsonl"), scratch.path("out"));
    for option in ["--keep-best", "--early-stop 2", "--eval-every 1"] {
        let name = option.split(' ').next().unwrap();
        let said = train("gptj", &data, &out, &format!("--steps 2 {option}"));
        fails(
            said,
            &[name, "--eval-fraction 0.05", "hint: a larger --eval-fraction"],
        );
        assert!(!out.exists());
    }
    train("gptj", &data, &out, "--steps 2 --eval-fraction 0.4 --keep-best").success();
}
