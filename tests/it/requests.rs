//! Requests as endpoints want them: fields renamed, dropped and added, addresses and headers of
//! services, model lists, batch files. `refused_fields` covers what is learned from errors.

use crate::faulty_endpoint::{Reply, Server, models, refusal};
use crate::mock::Mock;
use crate::refused_fields::{has, unprocessable};
use crate::shell::{self, Dir, ewe};
use crate::support::{export, generate, json, number, undisturbed};
use serde_json::{Value, json};

fn arguments<'a>(target: &'a str, url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let common = [
        "generate",
        "--db",
        "d.db",
        "--target",
        target,
        "--endpoint",
        url,
        "--backoff",
        "0.01",
    ];
    [&common[..], more].concat()
}

#[test]
fn fields_are_renamed_dropped_and_added() {
    let server = Server::start(|_| Reply::Answer);
    let dir = Dir::with_dataset();
    dir.write(
        "extra.json",
        r#"{"chat_template_kwargs": {"enable_thinking": false}, "top_k": 20}"#,
    );
    let shape = [
        "--request-field",
        "max_tokens=max_completion_tokens",
        "--drop-field",
        "top_p",
        "--extra-body",
        "extra.json",
    ];
    generate(&dir, "10", &server.url, &shape).success();
    for asked in server.asked() {
        assert!(
            !has(&asked, "max_tokens") && !has(&asked, "top_p"),
            "{}",
            asked.body
        );
        assert!(asked.body["max_completion_tokens"].is_u64());
        assert_eq!(
            asked.body["chat_template_kwargs"],
            json!({"enable_thinking": false})
        );
        assert_eq!(asked.body["top_k"], 20);
    }
    // Added fields change the content key; renamed and dropped fields do not.
    let model = dir.sql("select distinct model from run where command = 'generate'");
    assert!(
        model[0][0].contains("with {\"chat_template_kwargs\""),
        "{model:?}"
    );
    let plain = ["--max-requests", "20"];
    let (server, dir) = (Server::start(|_| Reply::Answer), Dir::with_dataset());
    generate(&dir, "20", &server.url, &plain).success();
    generate(&dir, "20", &server.url, &shape[..4]).success();
    let answered = server.answered();
    assert!(answered.values().all(|times| *times == 1), "{answered:?}");
    assert_eq!(export(&dir), undisturbed("20"));
}

#[test]
fn bad_request_options_fail_before_anything_is_sent() {
    let server = Server::start(|_| Reply::Answer);
    let dir = Dir::with_dataset();
    dir.write("list.json", "[1]");
    dir.write("stream.json", r#"{"stream": true}"#);
    for (more, words) in [
        (["--request-field", "max_tokens"], "is no FROM=TO"),
        (["--request-field", "prompt=text"], "'prompt'"),
        (["--drop-field", "messages"], "'messages'"),
        (["--extra-body", "list.json"], "no JSON object"),
        (["--extra-body", "nowhere.json"], "nowhere.json"),
        (["--extra-body", "stream.json"], "'stream'"),
        (["--header-env", "api-key"], "NAME=VARIABLE"),
        (["--header-env", "api-key=UNSET_VARIABLE"], "UNSET_VARIABLE"),
        (["--header-env", "a b=HOME"], "no name of a header"),
    ] {
        let said = generate(&dir, "5", &server.url, &more).failure(1).stderr();
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(server.asked().len(), 0);
}

#[test]
fn the_address_of_a_deployment_is_used_as_it_is() {
    const AZURE: &str = "0123456789abcdef-azure";
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1/deployments/m/chat/completions?api-version=2024-10-21" => Reply::Answer,
        _ => refusal(404, "Resource not found"),
    });
    let url = format!(
        "{}/deployments/m/chat/completions?api-version=2024-10-21",
        server.url
    );
    let dir = Dir::with_dataset();
    let mut command = shell::command(
        &dir,
        &arguments(
            "10",
            &url,
            &[
                "--endpoint-model",
                "mock",
                "--header-env",
                "api-key=AZURE",
                "--header-env",
                "X-Org=ORG",
            ],
        ),
    );
    command.env("AZURE", AZURE).env("ORG", "ours");
    shell::ran(command).success();
    for asked in server.asked() {
        let headers = asked.headers.to_lowercase();
        assert!(
            headers.contains(&format!("api-key: {AZURE}")) && headers.contains("x-org: ours"),
            "{headers}"
        );
        assert!(!headers.contains("authorization"), "{headers}");
        assert!(has(&asked, "messages"));
    }
    assert_eq!(
        server
            .asked()
            .iter()
            .filter(|asked| !asked.path.ends_with("2024-10-21"))
            .count(),
        0
    );
    // Addresses with another path keep their query, too.
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1/completions?region=eu" => Reply::Answer,
        _ => refusal(404, "Not Found"),
    });
    let url = format!("{}?region=eu", server.url);
    generate(&Dir::with_dataset(), "5", &url, &[]).success();
    // So do complete addresses that end in a slash.
    let slashed = Server::start(|asked| match asked.path.as_str() {
        "/v1/chat/completions/" => Reply::Answer,
        _ => refusal(404, "Not Found"),
    });
    let url = format!("{}/chat/completions/", slashed.url);
    generate(&Dir::with_dataset(), "5", &url, &[]).success();
    let url = format!("{}/chat/completions", server.url);
    let said = generate(&Dir::with_dataset(), "5", &url, &["--api", "completions"])
        .failure(1)
        .stderr();
    assert!(said.contains("--api asks for something else"), "{said}");
}

#[test]
fn a_header_value_that_the_server_echoes_is_neither_printed_nor_stored() {
    const AZURE: &str = "very-secret-0123456789";
    let server = Server::start(|asked| match asked.number {
        20.. => refusal(401, &format!("what is {}?", asked.headers)),
        _ => {
            let (text, finish) = asked.written();
            Reply::Says(json!({"choices": [{"text": format!("{text} {AZURE}"), "finish_reason": finish}]}))
        }
    });
    let dir = Dir::with_dataset();
    let more = ["--endpoint-model", "mock", "--header-env", "api-key=AZURE", "-vv"];
    let mut command = shell::command(&dir, &arguments("50", &server.url, &more));
    command.env("AZURE", AZURE);
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(
        said.contains("what is") && !said.contains("very-secret"),
        "{said}"
    );
    assert!(number(&dir, "select count(*) from request") > 0);
    for entry in std::fs::read_dir(dir.path("")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(11).any(|bytes| bytes == b"very-secret"));
    }
}

#[test]
fn request_options_do_not_apply_to_the_judge_endpoint() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let judge = Server::start(|asked| {
        match (
            asked.path.as_str(),
            has(asked, "max_tokens"),
            asked.body["temperature"] == 0.0,
        ) {
            ("/v1/models", ..) => models(&["critic"]),
            (_, true, _) => refusal(
                400,
                "Unknown parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            ),
            (.., true) => unprocessable("temperature", "must be positive"),
            _ => Reply::Answer,
        }
    });
    let more = ["--judge-endpoint", &judge.url, "--drop-field", "top_p", "--json"];
    let said = json(generate(&dir, "10", &mock.url, &more));
    assert_eq!(said["judge"]["model"], format!("critic at {}", judge.url));
    assert!(said["judge"]["judged"].as_u64().unwrap() > 0, "{said}");
    assert!(judge.asked().iter().skip(1).all(|asked| has(asked, "top_p")));
}

#[test]
fn the_only_model_of_a_server_needs_no_name() {
    let serving = |names: &'static [&'static str]| {
        Server::start(move |asked| match asked.path.as_str() {
            "/v1/models" => models(names),
            _ => Reply::Answer,
        })
    };
    let server = serving(&["only/one"]);
    let dir = Dir::with_dataset();
    ewe(&dir, &arguments("5", &server.url, &[])).success();
    assert!(
        server
            .asked()
            .iter()
            .skip(1)
            .all(|asked| asked.body["model"] == "only/one")
    );
    let model = dir.sql("select distinct model from run where command = 'generate'");
    assert_eq!(model, [[format!("only/one at {}", server.url)]]);
    // Model lists have several forms.
    for list in [
        r#"{"data": [], "models": [{"name": "only/one"}]}"#,
        r#"{"data": {"only/one": {"owned_by": "us"}}}"#,
        r#"{"data": [{"model_name": "only/one"}]}"#,
        r#"{"id": "only/one", "object": "model"}"#,
        "{\"data\": [{\"id\": \"only/one\"}]}\n\0",
    ] {
        let server = Server::start(move |asked| match asked.path.as_str() {
            "/v1/models" => Reply::Status(200, String::new(), list.into()),
            _ => Reply::Answer,
        });
        ewe(&Dir::with_dataset(), &arguments("5", &server.url, &[])).success();
        assert_eq!(server.asked().last().unwrap().body["model"], "only/one", "{list}");
    }
    // With a given name, the list is not requested.
    let server = serving(&["only/one"]);
    generate(&dir, "6", &server.url, &[]).success();
    assert!(server.asked().iter().all(|asked| asked.path != "/v1/models"));

    for (server, words) in [
        (serving(&["a", "b\u{1b}[2J"]), "it has 2 models: 'a', 'b [2J'"),
        (serving(&[]), "it lists no model"),
        (
            Server::start(|_| refusal(404, "Not Found")),
            "does not say which models it has",
        ),
        (Server::start(|_| refusal(401, "who are you")), "who are you"),
    ] {
        let said = ewe(&dir, &arguments("9", &server.url, &[])).failure(1).stderr();
        assert!(said.contains(words) && said.contains("hint:"), "{words}: {said}");
        assert_eq!(server.asked().len(), 1);
    }
    let files = [
        "generate",
        "--db",
        "d.db",
        "--target",
        "9",
        "--batch-file",
        "out.jsonl",
    ];
    ewe(&dir, &files).failure(2);
}

#[test]
fn without_concurrency_the_load_adapts_to_the_server() {
    // More than six at once take so long that they would time out.
    let server = Server::start(|asked| match asked.in_flight {
        ..=6 => Reply::After(std::time::Duration::from_millis(20)),
        _ => Reply::After(std::time::Duration::from_millis(700)),
    });
    let dir = Dir::with_dataset();
    let wide = ["--window", "32", "--timeout", "1", "--threshold", "0.95"];
    generate(&dir, "120", &server.url, &wide).success();
    let asked = server.asked();
    assert_eq!(asked[0].in_flight, 1, "the first goes ahead alone");
    let late: Vec<usize> = asked[asked.len() / 2..]
        .iter()
        .map(|asked| asked.in_flight)
        .collect();
    let slow = late.iter().filter(|in_flight| **in_flight > 6).count();
    assert!(slow * 3 < late.len(), "{slow} of {}", late.len());
    // A server that can take more gets more.
    let server = Server::start(|_| Reply::Settled(std::time::Duration::from_millis(80)));
    generate(
        &Dir::with_dataset(),
        "250",
        &server.url,
        &["--window", "64", "--threshold", "0.95"],
    )
    .success();
    let most = server.asked().iter().map(|asked| asked.in_flight).max().unwrap();
    assert!(most > 40, "{most}");
}

/// Writes a result line for each request line.
fn results(dir: &Dir, answer: impl Fn(&Value) -> Value) {
    let lines = dir.read("out.jsonl");
    let lines: Vec<String> = lines
        .lines()
        .map(|line| {
            let request: Value = serde_json::from_str(line).unwrap();
            json!({"custom_id": request["custom_id"], "error": null, "response": answer(&request["body"])})
                .to_string()
        })
        .collect();
    dir.write("in.jsonl", lines.join("\n"));
}

#[test]
fn batch_files_take_the_same_options_and_response_formats() {
    let plain = |more: &[&str]| {
        let common = [
            "generate",
            "--db",
            "d.db",
            "--target",
            "20",
            "--window",
            "4",
            "--batch-file",
            "out.jsonl",
            "--endpoint-model",
            "mock",
        ];
        [&common[..], more]
            .concat()
            .into_iter()
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    let run = |dir: &Dir, more: &[&str]| {
        let arguments = plain(more);
        ewe(dir, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let bodies = |dir: &Dir| -> Vec<Value> {
        let lines = dir.read("out.jsonl");
        lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].clone())
            .collect()
    };
    let dir = Dir::with_dataset();
    dir.write("extra.json", r#"{"reasoning_effort": "low"}"#);
    let shape = [
        "--request-field",
        "max_tokens=max_completion_tokens",
        "--drop-field",
        "stop",
        "--extra-body",
        "extra.json",
    ];
    run(&dir, &shape).success();
    for body in bodies(&dir) {
        assert!(
            body.get("stop").is_none() && body.get("max_tokens").is_none(),
            "{body}"
        );
        assert!(body["max_completion_tokens"].is_u64() && body["reasoning_effort"] == "low");
    }

    // Without the options, ewe learns the changes from the results.
    let dir = Dir::with_dataset();
    run(&dir, &[]).success();
    let first = bodies(&dir).len();
    let refused = json!({"status_code": 400, "body": {"error": {"message":
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "param": "max_tokens"}}});
    results(&dir, |_| refused.clone());
    let said = run(&dir, &["--batch-results", "in.jsonl"]).success();
    assert!(
        said.stderr()
            .contains("`max_tokens` is sent as `max_completion_tokens` from now on"),
        "{}",
        said.stderr()
    );
    assert!(
        said.stderr().contains("4 requests were refused for a field"),
        "{}",
        said.stderr()
    );
    assert_eq!(bodies(&dir).len(), first);
    assert!(
        bodies(&dir)
            .iter()
            .all(|body| body["max_completion_tokens"].is_u64())
    );

    // Responses in other formats, until the run ends.
    for sent in 1.. {
        let rename = ["--request-field", "max_tokens=max_completion_tokens"];
        if !dir.path("out.jsonl").exists() {
            break;
        }
        results(&dir, |body| {
            let (text, finish) = crate::mock::answer_to(body);
            let text = format!("I was sent sk-of-the-batch-01.\n</think>\n\n{text}");
            let finish = if finish == "stop" { "STOP" } else { "MAX_TOKENS" };
            json!({"status_code": 200, "body": {"choices": [{"text": [{"type": "text", "text": text}], "finish_reason": finish}]}})
        });
        let arguments = plain(&[&rename[..], &["--batch-results", "in.jsonl"]].concat());
        let mut command = shell::command(&dir, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        command.env("OPENAI_API_KEY", "sk-of-the-batch-01");
        shell::ran(command).success();
        assert!(sent < 100);
    }
    let (other, mock) = (Dir::with_dataset(), Mock::start());
    generate(&other, "20", &mock.url, &["--window", "4"]).success();
    assert_eq!(export(&dir), export(&other));
    let stored = number(
        &dir,
        "select count(*) from request where response like '%sk-of-the-batch%'",
    );
    assert_eq!(stored, 0);
    assert!(
        number(
            &dir,
            "select count(*) from request where response like 'I was sent ***.%'"
        ) > 0
    );
}
