//! `ewe push`, to a hub that the test is.

use std::io::{Read, Write};
use std::process::Command;

use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use serde_json::Value;

use crate::mock_hub::{MockHub, TOKEN};
use crate::shell::{self, Dir, Ran};
use crate::support::filled;

/// `ewe push` with these arguments, as somebody with a token.
pub fn command(dir: &Dir, hub: &MockHub, line: &str) -> Command {
    let arguments: Vec<&str> = std::iter::once("push").chain(line.split(' ')).collect();
    let mut command = shell::command(dir, &arguments);
    command
        .env("HF_ENDPOINT", &hub.url)
        .env("HF_TOKEN", TOKEN)
        .env("HF_HOME", dir.path("home"))
        .env_remove("HF_TOKEN_PATH")
        .env_remove("HUGGING_FACE_HUB_TOKEN")
        .env_remove("HF_HUB_OFFLINE");
    command
}

pub fn push(dir: &Dir, hub: &MockHub, line: &str) -> Ran {
    shell::ran(command(dir, hub, line))
}

/// Bytes that are nowhere the same.
pub fn bytes(count: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// A directory with the model `out`, as a full fine-tune leaves it.
pub fn with_model() -> Dir {
    let dir = Dir::new();
    std::fs::create_dir_all(dir.path("out/checkpoints")).unwrap();
    dir.write("out/config.json", "{\"model_type\": \"llama\"}");
    dir.write("out/tokenizer.json", "{}");
    dir.write("out/model.safetensors", bytes(700_000, 1));
    dir.write(
        "out/run.json",
        r#"{"model": "ann/base", "examples": 7, "held_out": 2, "evaluated_on": "a share of the rows",
            "settings": {"method": "full", "batch_size": 4, "optimizer": "adamw",
            "schedule": {"kind": "cosine", "peak": 2e-5, "warmup": 0, "total": 2}}}"#,
    );
    dir.write(
        "out/metrics.jsonl",
        "{\"step\":1,\"loss\":4.0,\"eval_loss_before\":3.5}\n{\"step\":2,\"loss\":3.0,\"eval_loss\":2.75}\n",
    );
    dir.write("out/left_out.jsonl", "a row that is nobody's business\n");
    dir.write("out/run.toml", "model = \"/home/ann/base\"\n");
    dir
}

#[test]
fn a_model_is_pushed_and_the_second_push_sends_nothing() {
    let (dir, hub) = (with_model(), MockHub::start());
    let done = push(
        &dir,
        &hub,
        "--model out ann/sheep --yes --license MIT --message first",
    )
    .success();
    let page = format!("{}/ann/sheep", hub.url);
    assert!(done.stdout().starts_with(&page), "{}", done.stdout());
    let repo = hub.repo("models/ann/sheep");
    assert!(repo.private, "unless --public is given");
    let names: Vec<&str> = repo.files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    );
    assert_eq!(repo.files["model.safetensors"], bytes(700_000, 1));
    assert_eq!(repo.files["config.json"], b"{\"model_type\": \"llama\"}");
    assert_eq!(repo.commits.len(), 1);
    assert_eq!(repo.commits[0].0, "first");
    let card = String::from_utf8(repo.files["README.md"].clone()).unwrap();
    for line in [
        "base_model: ann/base\n",
        "license: mit\n",
        "library_name: transformers\n",
        "trained on 7 examples",
        "| learning rate | 2e-5, cosine |",
        "3.500 before training, 2.750 after",
        "vllm serve ann/sheep",
    ] {
        assert!(card.contains(line), "{line}: {card}");
    }
    // The storage gets whole files of a known length, and no token.
    let seen = hub.state().seen.clone();
    let home = hub.url.trim_start_matches("http://");
    let puts: Vec<_> = seen.iter().filter(|seen| seen.line.starts_with("PUT")).collect();
    assert_eq!(puts.len(), 1);
    assert_eq!(puts[0].content_length, Some(700_000));
    for seen in &seen {
        let is_home = seen.host == home;
        assert_eq!(is_home, seen.authorization.is_some(), "{}", seen.line);
        assert!(!String::from_utf8_lossy(&seen.body).contains(TOKEN));
    }
    assert!(seen.iter().any(|seen| seen.line.starts_with("POST /verify/")));

    hub.take_lines();
    let again = push(&dir, &hub, "--model out ann/sheep --yes --license MIT").success();
    assert!(
        again
            .stdout()
            .contains("nothing has changed, 4 files already there"),
        "{}",
        again.stdout()
    );
    assert_eq!(
        hub.take_lines(),
        [
            "GET /api/models/ann/sheep",
            "POST /api/validate-yaml",
            "POST /api/models/ann/sheep/preupload/main",
        ]
    );

    // What has changed is sent, and nothing else.
    dir.write("out/config.json", "{\"model_type\": \"qwen2\"}");
    let said = push(&dir, &hub, "--model out ann/sheep --yes --license MIT").success();
    assert!(
        said.stdout().contains("1 file in one commit"),
        "{}",
        said.stdout()
    );
    assert_eq!(hub.repo("models/ann/sheep").commits[1].1, ["config.json"]);
    for said in [done, again, said] {
        assert!(!said.stdout().contains(TOKEN) && !said.stderr().contains(TOKEN));
    }
}

#[test]
fn who_may_read_it_is_as_asked() {
    let (dir, hub) = (with_model(), MockHub::start());
    push(&dir, &hub, "--model out ann/open --yes --public").success();
    assert!(!hub.repo("models/ann/open").private);

    // Nothing is sent to a repository that everybody can read, unless that is meant.
    hub.take_lines();
    let said = push(&dir, &hub, "--model out ann/open --yes").failure(1).stderr();
    assert!(
        said.contains("everybody can read") && said.contains("hint: --public"),
        "{said}"
    );
    assert_eq!(hub.take_lines(), ["GET /api/models/ann/open"]);

    hub.state().makes_public = true;
    let said = push(&dir, &hub, "--model out ann/betrayed --yes")
        .failure(1)
        .stderr();
    assert!(said.contains("so nothing was sent"), "{said}");
    assert!(hub.repo("models/ann/betrayed").files.is_empty());
    hub.state().makes_public = false;

    // One that is private stays so.
    push(&dir, &hub, "--model out ann/closed --yes").success();
    let said = push(&dir, &hub, "--model out ann/closed --yes --public")
        .success()
        .stderr();
    assert!(said.contains("is private and stays so"), "{said}");
    assert!(hub.repo("models/ann/closed").private);
}

#[test]
fn nothing_is_sent_unless_it_is_meant() {
    let (dir, hub) = (with_model(), MockHub::start());
    let said = push(&dir, &hub, "--model out ann/sheep").failure(1).stderr();
    for word in [
        "a private model",
        "model.safetensors",
        "700.0 kB",
        "not sent: checkpoints, left_out.jsonl, metrics.jsonl, run.json, run.toml",
        "states no licence",
        "nothing was sent",
        "hint: --yes",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let mut dry = command(&dir, &hub, "--model out ann/sheep --dry-run --public");
    dry.env_remove("HF_TOKEN");
    let shown = shell::ran(dry).success().stdout();
    for word in [
        "a PUBLIC model",
        "model.safetensors",
        "base_model: ann/base",
        "# sheep",
    ] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let mut without = command(&dir, &hub, "--model out ann/sheep --yes");
    without.env_remove("HF_TOKEN");
    let said = shell::ran(without).failure(1).stderr();
    assert!(said.contains("no token") && said.contains("HF_TOKEN"), "{said}");
    let mut broken = command(&dir, &hub, "--model out ann/sheep --yes");
    broken.env("HF_TOKEN", "hf_a\nhf_b");
    let said = shell::ran(broken).failure(1).stderr();
    assert!(
        said.contains("hint: copy it again") && !said.contains("hf_a"),
        "{said}"
    );
    let said = push(&dir, &hub, "--model out sheep --yes").failure(1).stderr();
    assert!(
        said.contains("whose") && said.contains("hint: USER/sheep"),
        "{said}"
    );
    let mut offline = command(&dir, &hub, "--model out ann/sheep --yes");
    offline.env("HF_HUB_OFFLINE", "1");
    assert!(shell::ran(offline).failure(1).stderr().contains("HF_HUB_OFFLINE"));
    assert!(hub.take_lines().is_empty());

    // The token that `hf auth login` keeps does as well.
    std::fs::create_dir(dir.path("home")).unwrap();
    dir.write("home/token", format!("{TOKEN}\n"));
    let mut kept = command(&dir, &hub, "--model out ann/sheep --yes");
    kept.env_remove("HF_TOKEN");
    shell::ran(kept).success();
}

/// Pushes the model at a terminal, where somebody types the answer. Returns what was shown, and
/// whether it was a success.
fn answered(dir: &Dir, hub: &MockHub, answer: &str) -> (String, bool) {
    let pair = native_pty_system().openpty(PtySize::default()).unwrap();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_ewe"));
    command.args(["push", "--model", "out", "ann/sheep"]);
    command.cwd(dir.path("."));
    command.env("HF_ENDPOINT", &hub.url);
    command.env("HF_TOKEN", TOKEN);
    command.env_remove("HF_HUB_OFFLINE");
    let mut child = pair.slave.spawn_command(command).unwrap();
    drop(pair.slave);
    let mut reader = pair.master.try_clone_reader().unwrap();
    let mut writer = pair.master.take_writer().unwrap();
    writer.write_all(answer.as_bytes()).unwrap();
    let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = reader.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..count]);
    }
    let is_success = child.wait().unwrap().success();
    (String::from_utf8_lossy(&shown).into_owned(), is_success)
}

#[test]
fn programs_are_told_what_was_sent() {
    let (dir, hub) = (with_model(), MockHub::start());
    let told = |more: &str| -> Value {
        let said = push(&dir, &hub, &format!("--model out ann/sheep --json {more}")).success();
        serde_json::from_str(&said.stdout()).expect("JSON on stdout")
    };
    let page = format!("{}/ann/sheep", hub.url);
    let plan = told("--dry-run");
    assert_eq!(
        (&plan["url"], &plan["private"]),
        (&page.clone().into(), &true.into())
    );
    let weights = plan["files"].as_array().unwrap().iter();
    let mut weights = weights.filter(|file| file["path"] == "model.safetensors");
    assert_eq!(weights.next().unwrap()["bytes"], 700_000);
    assert!(hub.take_lines().is_empty());
    let done = told("--yes");
    assert_eq!((&done["url"], &done["files"]), (&page.into(), &4.into()));
    assert_eq!((&done["bytes"], &done["unchanged"]), (&700_000.into(), &0.into()));
    assert!(done["commit"].as_str().unwrap().contains("/commit/"), "{done}");
    let again = told("--yes");
    assert_eq!((&again["commit"], &again["unchanged"]), (&Value::Null, &4.into()));
}

#[test]
fn somebody_at_a_terminal_is_asked() {
    let (dir, hub) = (with_model(), MockHub::start());
    let (shown, is_success) = answered(&dir, &hub, "n\n");
    assert!(!is_success && shown.contains("nothing was sent"), "{shown}");
    for word in ["4 files (70", "a private model, ann/sheep", "Go on? [y/N]"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert!(hub.take_lines().is_empty());
    let (shown, is_success) = answered(&dir, &hub, "y\n");
    assert!(is_success, "{shown}");
    assert_eq!(hub.repo("models/ann/sheep").commits.len(), 1);
}

#[test]
fn an_adapter_is_pushed_with_the_id_of_its_base() {
    let (dir, hub) = (Dir::new(), MockHub::start());
    std::fs::create_dir(dir.path("tuned")).unwrap();
    dir.write(
        "tuned/adapter_config.json",
        "{\"r\": 4, \"base_model_name_or_path\": \"/home/ann/base\"}",
    );
    dir.write("tuned/adapter_model.safetensors", bytes(2000, 4));
    let said = push(&dir, &hub, "--adapter tuned ann/lora --yes")
        .failure(1)
        .stderr();
    assert!(
        said.contains("/home/ann/base") && said.contains("hint: --base-model"),
        "{said}"
    );
    let said = push(&dir, &hub, "--model tuned ann/lora --yes")
        .failure(1)
        .stderr();
    assert!(said.contains("hint: --adapter tuned"), "{said}");
    dir.write(
        "result.json",
        r#"{"suites": {"held-out": {"n": 9, "rougeL": 24.5, "interval": {"rougeL": [20, 29]}}}}"#,
    );
    let line =
        "--adapter tuned ann/lora --yes --base-model ann/base --dataset ann/farm --evaluation result.json";
    push(&dir, &hub, line).success();
    let files = hub.repo("models/ann/lora").files;
    let config: Value = serde_json::from_slice(&files["adapter_config.json"]).unwrap();
    assert_eq!(
        (&config["base_model_name_or_path"], &config["r"]),
        (&"ann/base".into(), &4.into())
    );
    let card = String::from_utf8(files["README.md"].clone()).unwrap();
    for line in [
        "base_model: ann/base\n",
        "library_name: peft\n",
        "datasets:\n- ann/farm\n",
        "| held-out | 9 | ROUGE-L | 24.5 (20.0 to 29.0) |",
        "--lora-modules lora=ann/lora",
    ] {
        assert!(card.contains(line), "{line}: {card}");
    }
    // The folder is as it was.
    assert!(dir.read("tuned/adapter_config.json").contains("/home/ann/base"));

    let said = push(
        &dir,
        &hub,
        "--adapter tuned ann/lora --yes --evaluation tuned/adapter_config.json",
    );
    assert!(said.failure(1).stderr().contains("no result of an evaluation"));
}

#[test]
fn a_dataset_is_pushed_with_its_splits_and_its_card() {
    let (dir, hub) = (filled(), MockHub::start());
    shell::ewe(
        &dir,
        &["split", "--db", "d.db", "--eval", "5", "--origin", "seed"],
    )
    .success();
    let line = "--db d.db ann/farm --yes --format alpaca --plain --license cc-by-4.0 --language en";
    let said = push(&dir, &hub, line).success().stderr();
    assert!(
        said.contains("a private dataset") && said.contains("nobody has reviewed"),
        "{said}"
    );
    let repo = hub.repo("datasets/ann/farm");
    assert!(repo.private);
    let names: Vec<&str> = repo.files.keys().map(String::as_str).collect();
    assert_eq!(names, ["README.md", "data/test.jsonl", "data/train.jsonl"]);
    let rows = |name: &str| repo.files[name].iter().filter(|byte| **byte == b'\n').count();
    let exported = |split: &str| {
        let line = format!("export --db d.db --format alpaca --plain --split {split} --out {split}.jsonl");
        shell::ewe(&dir, &shell::words(&line)).success();
        std::fs::read(dir.path(&format!("{split}.jsonl"))).unwrap()
    };
    assert_eq!(repo.files["data/train.jsonl"], exported("train"));
    assert_eq!(repo.files["data/test.jsonl"], exported("eval"));
    let card = String::from_utf8(repo.files["README.md"].clone()).unwrap();
    for line in [
        "license: cc-by-4.0\nlanguage:\n- en\n",
        "  - split: train\n    path: data/train.jsonl\n  - split: test\n    path: data/test.jsonl\n",
        "- synthetic\n",
        "2 tasks were written by a model",
        "load_dataset(\"ann/farm\")",
        "what was rejected is not in it",
    ] {
        assert!(card.contains(line), "{line}: {card}");
    }
    assert!(
        card.contains(&format!("| train | {} | to train on |", rows("data/train.jsonl"))),
        "{card}"
    );
    assert!(!card.contains("<b>"), "names of models are quoted: {card}");

    // The same rows are the same bytes, and a choice is said.
    push(&dir, &hub, line).success();
    assert_eq!(hub.repo("datasets/ann/farm").commits.len(), 1);
    let chosen = "--db d.db ann/best --yes --review accepted --where id>0 --split train";
    let said = push(&dir, &hub, chosen).success().stderr();
    assert!(
        said.contains("note: the card says by which options the rows were chosen: review accepted"),
        "{said}"
    );
    let repo = hub.repo("datasets/ann/best");
    let names: Vec<&str> = repo.files.keys().map(String::as_str).collect();
    assert_eq!(names, ["README.md", "data/train.parquet"]);
    assert!(repo.files["data/train.parquet"].starts_with(b"PAR1"));
    let card = String::from_utf8(repo.files["README.md"].clone()).unwrap();
    assert!(
        card.contains("chosen from a larger dataset: review accepted"),
        "{card}"
    );
    let plain = push(&dir, &hub, "--db d.db ann/none --yes --plain")
        .failure(1)
        .stderr();
    assert!(
        plain.contains("--plain") && plain.contains("hint: with --format"),
        "{plain}"
    );
    let none = push(&dir, &hub, "--db d.db ann/none --yes --text nowheretobefound")
        .failure(1)
        .stderr();
    assert!(none.contains("nothing to push"), "{none}");
    let wrong = push(&dir, &hub, "--db d.db ann/none --yes --run 999")
        .failure(1)
        .stderr();
    assert!(wrong.contains("no run 999"), "{wrong}");
    assert!(!hub.state().repos.contains_key("datasets/ann/none"));
}

#[test]
fn options_of_other_things_are_refused() {
    let dir = Dir::new();
    for (line, words) in [
        ("push --model m a/b --format alpaca", ["--format", "--db"]),
        ("push --adapter m a/b --origin seed", ["--origin", "--db"]),
        ("push --db d a/b --base-model x/y", ["--base-model", "--db"]),
        ("push --db d --model m a/b", ["--db", "--model"]),
        ("push --model m a/b --dry-run --yes", ["--dry-run", "--yes"]),
        ("push a/b", ["--model", "--adapter"]),
    ] {
        let said = shell::ewe(&dir, &shell::words(line)).failure(2).stderr();
        for word in words {
            assert!(said.contains(word), "{line}: {said}");
        }
    }
}
