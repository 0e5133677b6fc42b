//! `ewe push` where something goes wrong: it is killed, the hub fails or lies, files change.

use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::mock_hub::{MockHub, sha256};
use crate::push::{bytes, command, push, with_model};
use crate::shell;

#[test]
fn a_push_that_was_killed_goes_on_where_it_was() {
    let (dir, hub) = (with_model(), MockHub::start());
    let [first, second] = [bytes(5000, 2), bytes(5500, 3)];
    std::fs::remove_file(dir.path("out/model.safetensors")).unwrap();
    dir.write("out/model-00001-of-00002.safetensors", &first);
    dir.write("out/model-00002-of-00002.safetensors", &second);
    dir.write(
        "out/model.safetensors.index.json",
        r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#,
    );
    let (told, waits) = channel();
    hub.state().part_bytes = Some(2000);
    hub.state().hold = Some((format!("/upload/{}/2", sha256(&second)), told));
    let mut child = command(&dir, &hub, "--model out ann/sheep --yes")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    waits.recv_timeout(Duration::from_secs(60)).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(hub.repo("models/ann/sheep").files.is_empty(), "nothing by halves");

    hub.state().hold = None;
    hub.take_lines();
    push(&dir, &hub, "--model out ann/sheep --yes").success();
    let lines = hub.take_lines();
    let puts: Vec<&String> = lines.iter().filter(|line| line.starts_with("PUT")).collect();
    let part = |number: usize| format!("PUT /upload/{}/{number}", sha256(&second));
    assert_eq!(
        puts,
        [&part(1), &part(2), &part(3)],
        "what the storage has is not sent again"
    );
    let files = hub.repo("models/ann/sheep").files;
    assert_eq!(files["model-00001-of-00002.safetensors"], first);
    assert_eq!(files["model-00002-of-00002.safetensors"], second);
}

#[test]
fn transient_failures_are_followed_by_another_attempt() {
    let (dir, hub) = (with_model(), MockHub::start());
    hub.state().part_bytes = Some(300_000);
    hub.state().faults.extend([
        ("GET /api/models", 503),
        ("/create", 429),
        ("/preupload/", 500),
        ("/batch", 502),
        ("PUT /upload", 500),
        ("PUT /upload", 429),
        ("/complete/", 504),
        ("/commit/", 503),
    ]);
    push(&dir, &hub, "--model out ann/sheep --yes").success();
    assert!(hub.state().faults.is_empty());
    let repo = hub.repo("models/ann/sheep");
    assert_eq!(
        (repo.commits.len(), repo.files["model.safetensors"].len()),
        (1, 700_000)
    );
    // Each part was sent whole.
    let seen = hub.state().seen.clone();
    let lengths: Vec<_> = seen
        .iter()
        .filter(|seen| seen.line.starts_with("PUT"))
        .map(|seen| (seen.content_length, seen.body.len()))
        .collect();
    let sent = |bytes: usize| (Some(bytes as u64), bytes);
    assert_eq!(
        lengths,
        [
            sent(300_000),
            sent(300_000),
            sent(300_000),
            sent(300_000),
            sent(100_000)
        ]
    );
    // It gives up in the end, and what is there is not sent again.
    dir.write("out/model.safetensors", bytes(1000, 9));
    hub.state().faults.extend([("PUT /upload", 500); 5]);
    let said = push(&dir, &hub, "--model out ann/sheep --yes")
        .failure(1)
        .stderr();
    assert!(
        said.contains("500") && said.contains("hint: push again"),
        "{said}"
    );
    assert_eq!(hub.repo("models/ann/sheep").commits.len(), 1);
}

#[test]
fn a_commit_whose_answer_is_lost_is_looked_up() {
    let (dir, hub) = (with_model(), MockHub::start());
    hub.state().loses_commits = true;
    let said = push(&dir, &hub, "--model out ann/sheep --yes").success().stdout();
    let history = format!("{}/ann/sheep/commits/main", hub.url);
    assert!(said.ends_with(&format!("{history}\n")), "{said}");
    assert_eq!(hub.repo("models/ann/sheep").files.len(), 4);
    hub.state().loses_commits = false;

    // One that was not made is an error, and so is one of which nothing is known.
    dir.write("out/config.json", "{\"model_type\": \"qwen2\"}");
    hub.state().faults.extend([("/commit/", 502); 5]);
    let said = push(&dir, &hub, "--model out ann/sheep --yes")
        .failure(1)
        .stderr();
    assert!(said.contains("502") && !said.contains("not known"), "{said}");
    dir.write("out/config.json", "{\"model_type\": \"qwen3\"}");
    hub.state().faults.extend([("/commit/", 502); 5]);
    hub.state().hides_after_commit = true;
    hub.take_lines();
    let said = push(&dir, &hub, "--model out ann/sheep --yes")
        .failure(1)
        .stderr();
    assert!(
        said.contains("502") && said.contains("is not known") && said.contains(&history),
        "{said}"
    );
}

#[test]
fn a_hub_that_is_not_understood_is_not_trusted() {
    let (dir, hub) = (with_model(), MockHub::start());
    let fails = |words: &[&str]| {
        let said = push(&dir, &hub, "--model out ann/sheep --yes")
            .failure(1)
            .stderr();
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(
            !said.contains("sealed"),
            "addresses of the storage are secrets: {said}"
        );
        assert!(hub.repo("models/ann/sheep").commits.is_empty());
    };
    hub.state().transfer = Some("xet");
    fails(&["model.safetensors", "`xet`"]);
    hub.state().transfer = None;
    hub.state().part_bytes = Some(300_000);
    hub.state().lies = true;
    fails(&["put together model.safetensors", "part has another tag"]);
    hub.state().lies = false;
    // Too many parts to be true.
    hub.state().part_bytes = Some(10);
    fails(&["in an unknown way where to send model.safetensors"]);
    hub.state().part_bytes = None;
    hub.state().faults.push_back(("PUT /upload", 403));
    fails(&["the storage of", "model.safetensors", "403"]);
    push(&dir, &hub, "--model out ann/sheep --yes").success();
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let (dir, hub, other) = (with_model(), MockHub::start(), MockHub::start());
    hub.state().moved = Some(("GET /api", other.url.clone()));
    let said = push(&dir, &hub, "--model out ann/sheep --yes")
        .failure(1)
        .stderr();
    assert!(
        said.contains(&other.url) && said.contains("HF_ENDPOINT"),
        "{said}"
    );
    hub.state().moved = Some(("POST /api/repos", other.url.clone()));
    push(&dir, &hub, "--model out ann/sheep --yes").failure(1);
    assert!(other.take_lines().is_empty(), "nothing was sent there");

    // The storage may send on to another one, which gets the file and no token.
    hub.state().moved = Some(("PUT /upload", other.url.clone()));
    push(&dir, &hub, "--model out ann/sheep --yes").failure(1);
    let seen = other.state().seen.clone();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].line.starts_with("PUT /upload/") && seen[0].authorization.is_none());
    assert_eq!(seen[0].body, bytes(700_000, 1));

    // A hub that does not know the token may quote it; nobody else does.
    let mut wrong = command(&dir, &hub, "--model out ann/sheep --yes");
    wrong.env("HF_TOKEN", "hf_another-one");
    let said = shell::ran(wrong).failure(1).stderr();
    assert!(
        said.contains("401") && said.contains("bad credentials: Bearer ***"),
        "{said}"
    );
    assert!(
        !said.contains("hf_another-one") && said.contains("settings/tokens"),
        "{said}"
    );
}

#[test]
fn a_folder_that_changes_or_is_refused_publishes_nothing() {
    let (dir, hub) = (with_model(), MockHub::start());
    // While its checksum is known already.
    hub.state().touch = Some(("/batch", dir.path("out/model.safetensors")));
    let said = push(&dir, &hub, "--model out ann/sheep --yes")
        .failure(1)
        .stderr();
    assert!(said.contains("model.safetensors changed while"), "{said}");
    hub.state().touch = Some(("PUT /upload", dir.path("out/config.json")));
    let said = push(&dir, &hub, "--model out ann/sheep --yes")
        .failure(1)
        .stderr();
    assert!(said.contains("config.json changed while"), "{said}");
    hub.state().touch = None;
    let said = push(&dir, &hub, "--model out ann/sheep --yes --license wtf")
        .failure(1)
        .stderr();
    assert!(
        said.contains("must be one of") && said.contains("--license"),
        "{said}"
    );
    assert!(hub.repo("models/ann/sheep").files.is_empty());
    hub.state().ignores = Some("tokenizer.json");
    let said = push(&dir, &hub, "--model out ann/sheep --yes").success().stderr();
    assert!(
        said.contains("tokenizer.json") && said.contains(".gitignore"),
        "{said}"
    );
    assert!(!hub.repo("models/ann/sheep").files.contains_key("tokenizer.json"));
}
