//! Responses as different endpoints give them. The dataset stays the same.

use crate::faulty_endpoint::{Asked, Reply, Server, nonsense};
use crate::mock::Mock;
use crate::shell::{self, Dir, ewe};
use crate::support::{export, generate, json, judging, number};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Target and options of a run with each recipe.
const RECIPES: [(&str, &[&str]); 3] = [
    ("20", &[]),
    ("20", &["--recipe", "alpaca"]),
    ("12", &["--evolve", "0.5"]),
];

/// The export of an undisturbed run of each recipe, which is made once for all tests.
fn undisturbed() -> &'static [String] {
    static MADE: LazyLock<[String; 3]> = LazyLock::new(|| {
        let mock = Mock::start();
        RECIPES.map(|(target, more)| {
            let dir = Dir::with_dataset();
            generate(&dir, target, &mock.url, more).success();
            export(&dir)
        })
    });
    &*MADE
}

/// A response in the format of the API that was called.
fn answer(asked: &Asked, text: Value, finish: Value) -> Value {
    let choice = match asked.body.get("messages") {
        Some(_) => {
            json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish})
        }
        None => json!({"index": 0, "text": text, "finish_reason": finish}),
    };
    json!({"choices": [choice], "usage": {"prompt_tokens": 8, "completion_tokens": 2}})
}

/// Asserts that every recipe gives the same export with a server that responds so. Returns the
/// directory of the last run.
fn assert_same_export(
    name: &str,
    wanted: &[String],
    more: &[&str],
    reply: impl Fn(&Asked) -> Reply + Clone + Send + Sync + 'static,
) -> Dir {
    let run = |nth| assert_same_export_of(nth, name, wanted, more, reply.clone());
    let [_, _, last] = [0, 1, 2].map(run);
    last
}

/// The same for one recipe, `nth` modulo their count. Responses are read before any recipe sees
/// them, so of many responses each needs one recipe only.
fn assert_same_export_of(
    nth: usize,
    name: &str,
    wanted: &[String],
    more: &[&str],
    reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
) -> Dir {
    let nth = nth % RECIPES.len();
    let (target, recipe) = RECIPES[nth];
    let (server, dir) = (Server::start(reply), Dir::with_dataset());
    generate(&dir, target, &server.url, &[recipe, more].concat()).success();
    assert_eq!(export(&dir), wanted[nth], "{name} {recipe:?}");
    dir
}

#[test]
fn finish_reasons_have_many_spellings() {
    let wanted = undisturbed();
    for (nth, (stop, length)) in [
        (json!("STOP"), json!("MAX_TOKENS")),
        (json!("end"), json!("Length")),
        (json!("complete"), json!("max_tokens")),
        (json!("eos"), json!("truncated")),
        (json!("FINISH_REASON_STOP"), json!("finishReasonMaxTokens")),
        (json!(""), json!("token_limit")),
        (Value::Null, json!({"type": "length"})),
    ]
    .into_iter()
    .enumerate()
    {
        let name = stop.to_string();
        let reply = move |asked: &Asked| {
            let (text, finish) = asked.written();
            let finish = if finish == "stop" { &stop } else { &length };
            Reply::Says(answer(asked, json!(text), finish.clone()))
        };
        match nth {
            0 => assert_same_export(&name, wanted, &[], reply),
            _ => assert_same_export_of(nth, &name, wanted, &[], reply),
        };
    }
}

#[test]
fn content_may_be_a_list_of_parts() {
    let wanted = undisturbed();
    for api in ["chat", "completions"] {
        assert_same_export(api, wanted, &["--api", api], |asked| {
            let (text, finish) = asked.written();
            let middle = text.ceil_char_boundary(text.len() / 2);
            let parts = json!([
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": &text[..middle]},
                {"type": "text", "text": &text[middle..]}]);
            Reply::Says(answer(asked, parts, json!(finish)))
        });
    }
}

#[test]
fn reasoning_is_removed_and_stored() {
    let wanted = undisturbed();
    for (nth, (before, behind)) in [
        ("<think>\nThe list wants more.\n\n1. Explain x.\n</think>\n\n", ""),
        ("Okay, the list wants more tasks.\n</think>\n\n", ""),
        ("<thought>The list wants more.</thought>\n", ""),
        ("<reasoning>\nThe list wants more.\n</reasoning>\n\n", ""),
        ("[THINK]The list wants more.[/THINK]", ""),
        ("<think>The list</think><think> wants more.</think>", ""),
        ("<think>The list wants more.</think>\n<answer>", "</answer>"),
        (
            "<|channel|>analysis<|message|>The list wants more.<|end|><|start|>assistant<|channel|>final<|message|>",
            "<|return|>",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = move |asked: &Asked| {
            let (text, finish) = asked.written();
            Reply::Says(answer(
                asked,
                json!(format!("{before}{text}{behind}")),
                json!(finish),
            ))
        };
        let dir = match nth {
            0 => assert_same_export(before, wanted, &[], reply),
            _ => assert_same_export_of(nth, before, wanted, &[], reply),
        };
        assert_eq!(
            number(
                &dir,
                "select count(*) from request where response not like '%list%wants more%'"
            ),
            0
        );
        assert_eq!(
            number(
                &dir,
                "select count(*) from task join instance on task_id = task.id where instruction || output like '%wants more%'"
            ),
            0
        );
    }
    for (nth, field) in [(0, "reasoning_content"), (2, "reasoning")] {
        let dir = assert_same_export_of(nth, field, wanted, &["--api", "chat"], move |asked| {
            let (text, finish) = asked.written();
            let mut body = answer(asked, json!(format!("\n\n{text}")), json!(finish));
            body["choices"][0]["message"][field] = json!("The list wants more.");
            Reply::Says(body)
        });
        assert_eq!(
            number(
                &dir,
                "select count(*) from request where reasoning <> 'The list wants more.'"
            ),
            0
        );
        let id = number(&dir, "select max(id) from task").to_string();
        let shown = ewe(&dir, &["show", "--db", "d.db", &id]).success().stdout();
        assert!(shown.contains("reasoning\n    The list wants more."), "{shown}");
    }
}

/// Reasoning in the middle of a response, after its label.
#[test]
fn reasoning_after_a_label_is_removed() {
    let server = Server::start(|asked| {
        let (text, finish) = asked.written();
        let text = text.replace("Output: ", "Output: <think>What could it be?</think> ");
        Reply::Says(answer(asked, json!(text), json!(finish)))
    });
    let dir = Dir::with_dataset();
    generate(&dir, "20", &server.url, &[]).success();
    assert_eq!(export(&dir), undisturbed()[0]);
}

#[test]
fn a_judge_may_reason_and_use_any_finish_reason() {
    let judged = |reply: fn(&Asked) -> Reply| {
        let dir = Dir::with_dataset();
        let mock = Mock::start();
        generate(&dir, "12", &mock.url, &[]).success();
        let server = Server::start(reply);
        let said = json(ewe(&dir, &judging(&server.url, "mock", &["--json"])));
        (said["scores"].clone(), said["unreadable"].clone())
    };
    let plain = judged(|_| Reply::Answer);
    assert_ne!(plain.0, json!([0, 0, 0, 0, 0]));
    for reply in [
        (|asked| {
            let text = format!("<think>Is it 1 or 5?</think>\n\n{}", asked.written().0);
            Reply::Says(answer(asked, json!(text), json!("STOP")))
        }) as fn(&Asked) -> Reply,
        |asked| {
            let text = format!("It is 1 or 5.\n</think>\n\nScore:{}", asked.written().0);
            Reply::Says(answer(
                asked,
                json!([{"type": "text", "text": text}]),
                json!("end"),
            ))
        },
        |asked| Reply::Raw(format!("\u{feff}{}", asked.answer()).into_bytes()),
    ] {
        assert_eq!(judged(reply), plain);
    }
}

#[test]
fn parts_that_are_not_read_may_be_invalid() {
    let wanted = undisturbed();
    for (nth, (name, before, part)) in [
        ("mark", "\u{feff}", "null"),
        ("nan", "", "{\"token_logprobs\": [NaN, -Infinity, Infinity]}"),
        (
            "half",
            "",
            "{\"tokens\": [\"\\ud83d\", \"\\ude00\"], \"top\": {\"\\ud83d\": 1}}",
        ),
        ("raw", "", "\"line\nbreak\""),
        ("all", "\r\n\u{feff}", "[NaN, \"\\udfff\", \"\t\"]"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_same_export_of(nth, name, wanted, &[], move |asked| {
            let body = asked.answer().to_string();
            let body = body.replacen("{\"index\":0,", &format!("{{\"index\":0,\"logprobs\":{part},"), 1);
            assert!(body.contains("logprobs"));
            Reply::Raw(format!("{before}{body}").into_bytes())
        });
    }
}

#[test]
fn empty_responses_are_requested_once_more_and_counted() {
    // One request in five gets a response without text, the same each time.
    let is_empty = |asked: &Asked| asked.seed().is_multiple_of(5);
    let cases: [(Value, &str, usize, &str); 5] = [
        (Value::Null, "length", 1, "token limit was used up"),
        (Value::Null, "stop", 2, "the answer is empty"),
        (json!(""), "stop", 1, "the answer is empty"),
        (json!([]), "stop", 2, "the answer is empty"),
        (
            json!("<think>The list wants more"),
            "length",
            1,
            "reasoning used up",
        ),
    ];
    for (content, finish, times, words) in cases {
        for (target, recipe) in [("40", &[][..]), ("150", &["--recipe", "alpaca"])] {
            let content = content.clone();
            let server = Server::start(move |asked| match is_empty(asked) {
                true => Reply::Says(answer(asked, content.clone(), json!(finish))),
                false => Reply::Answer,
            });
            let dir = Dir::with_dataset();
            generate(&dir, target, &server.url, &[&["--api", "chat"], recipe].concat()).success();
            let asked = server.asked();
            for empty in asked.iter().filter(|asked| is_empty(asked)) {
                let same = asked.iter().filter(|other| other.body == empty.body).count();
                assert_eq!(same, times, "{words}");
            }
            assert!(asked.iter().any(is_empty));
            let counted = "select distinct detail from candidate where reason in ('empty_answer', 'unclear_label', 'no_valid_instance')";
            assert!(
                dir.sql(counted).iter().any(|row| row[0].contains(words)),
                "{:?}",
                dir.sql(counted)
            );
            assert!(
                number(
                    &dir,
                    "select count(*) from candidate where reason = 'empty_answer'"
                ) > 0
            );
        }
    }
}

#[test]
fn a_refusal_is_stored_and_not_requested_again() {
    let is_refused =
        |asked: &Asked| asked.prompt().starts_with("Can the following") && asked.seed().is_multiple_of(4);
    let server = Server::start(move |asked| {
        if !is_refused(asked) {
            return Reply::Answer;
        }
        let mut body = answer(asked, Value::Null, json!("stop"));
        body["choices"][0]["message"]["refusal"] = json!("I will \u{202e}not.");
        Reply::Says(body)
    });
    let dir = Dir::with_dataset();
    let chat = ["--api", "chat", "--max-requests", "30"];
    for _ in 0..4 {
        generate(&dir, "30", &server.url, &chat).success();
    }
    let asked = server.asked();
    let refused: Vec<_> = asked.iter().filter(|asked| is_refused(asked)).collect();
    assert!(!refused.is_empty());
    for one in &refused {
        assert_eq!(asked.iter().filter(|other| other.body == one.body).count(), 1);
    }
    assert_eq!(
        number(&dir, "select count(*) from request where refusal is not null"),
        refused.len() as i64
    );
    let detail = dir.sql("select distinct detail from candidate where reason = 'request_failed'");
    assert_eq!(detail, [["the model refused: 'I will  not.'"]]);
}

/// A model whose reasoning ends at a stop string before it answers.
#[test]
fn stop_strings_that_cut_reasoning_are_applied_by_ewe() {
    let wanted = undisturbed();
    let reply = |asked: &Asked| {
        let (text, finish) = asked.written();
        let thought = "<think>The list wants more.\n\nSo I write more.\n\n\nTask: write.</think>\n\n";
        match asked.body.get("stop") {
            Some(_) => Reply::Says(answer(asked, json!("<think>The list wants more."), json!("stop"))),
            None => {
                let more = format!("{thought}{text}\n\n\nTask: another\n20. Instruction: and more");
                Reply::Says(answer(asked, json!(more), json!(finish)))
            }
        }
    };
    let server = Server::start(reply);
    let dir = Dir::with_dataset();
    let said = generate(&dir, "20", &server.url, &[]).success().stderr();
    assert_eq!(
        said.matches("reasoning ends at a stop string").count(),
        1,
        "{said}"
    );
    let in_vain = server
        .asked()
        .iter()
        .filter(|asked| asked.body.get("stop").is_some())
        .count();
    assert!(in_vain <= 8, "{in_vain}");
    // The responses yield the same tasks, except those that the length limit truncated in the
    // original.
    let tasks = |text: &str| text.lines().count();
    assert_eq!(tasks(&export(&dir)), tasks(&wanted[0]));
}

const KEY: &str = "sk-very-secret/0123456789";

/// The key in encodings that servers use: Base64, digits, and fully escaped.
const PACKED: [&str; 4] = [
    "c2stdmVyeS1zZWNyZXQvMDEyMzQ1Njc4OQ==",
    "736b2d766572792d7365637265742f30313233343536373839",
    "%73%6b%2d%76%65%72%79%2d%73%65%63%72%65%74%2f%30%31%32%33%34%35%36%37%38%39",
    "&#115;&#107;&#45;&#118;&#101;&#114;&#121;-secret&#x2F;&#48;&#49;&#50;&#51;&#52;&#53;&#54;&#55;&#56;&#57;",
];

/// Asserts that neither a file of the directory nor the output contains any part of the key.
fn assert_unseen(dir: &Dir, said: &str) {
    let spelt = ["very-secret", "0123456789", "very\\u002dsecret"];
    for secret in spelt.into_iter().chain(PACKED.map(|packed| &packed[6..])) {
        assert!(!said.contains(secret), "{said}");
        for entry in std::fs::read_dir(dir.path("")).unwrap() {
            let entry = entry.unwrap();
            // Input files are not ewe's to change.
            if entry.file_name() == "in.jsonl" {
                continue;
            }
            let bytes = std::fs::read(entry.path()).unwrap();
            let found = bytes
                .windows(secret.len())
                .any(|bytes| bytes == secret.as_bytes());
            assert!(!found, "{secret} is in {:?}", entry.path());
        }
    }
}

#[test]
fn a_key_in_a_response_is_neither_printed_nor_stored() {
    type Echo = fn(&Asked) -> Reply;
    let echoes: [Echo; 8] = [
        |asked| {
            let (text, finish) = asked.written();
            Reply::Says(answer(
                asked,
                json!(format!("{text} {}", PACKED.join(" "))),
                json!(finish),
            ))
        },
        |asked| Reply::Says(answer(asked, json!("t"), json!(PACKED.join(" ")))),
        |asked| {
            let (text, finish) = asked.written();
            let text = text.replace("river", "river sk-very-secret/0123456789");
            Reply::Says(answer(asked, json!(format!("{text} {KEY}")), json!(finish)))
        },
        |asked| {
            let mut body = asked.answer();
            body["choices"][0]["message"]["reasoning_content"] = json!(format!("I was sent {KEY}."));
            Reply::Says(body)
        },
        |asked| {
            let mut body = asked.answer();
            body["choices"][0]["message"]["refusal"] = json!(format!("Not with {KEY}."));
            Reply::Says(body)
        },
        |asked| {
            let body = asked.answer().to_string();
            Reply::Raw(
                body.replacen(
                    "\"content\":\"",
                    "\"content\":\"sk-very\\u002dsecret\\/0123456789 ",
                    1,
                )
                .into_bytes(),
            )
        },
        |asked| {
            Reply::Says(answer(
                asked,
                json!([{"type": "text", "text": "sk-very-sec"}, {"type": "text", "text": "ret/0123456789"}]),
                json!("stop"),
            ))
        },
        |asked| Reply::Says(answer(asked, json!("t"), json!(KEY))),
    ];
    for echo in echoes {
        let server = Server::start(echo);
        let dir = Dir::with_dataset();
        let mut command = shell::command(
            &dir,
            &[
                "generate",
                "--db",
                "d.db",
                "--target",
                "5",
                "--endpoint",
                &server.url,
                "--endpoint-model",
                "mock",
                "--api",
                "chat",
                "-vv",
                "--give-up-after",
                "10",
            ],
        );
        command.env("OPENAI_API_KEY", KEY);
        let out = command.output().unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        assert!(number(&dir, "select count(*) from request") > 0, "{said}");
        assert_unseen(&dir, &said);
    }
}

/// A local server gets a placeholder as key, and texts that contain the word stay.
#[test]
fn a_placeholder_key_removes_nothing_from_responses() {
    for key in ["x", "EMPTY", "the"] {
        let server = Server::start(|_| Reply::Answer);
        let dir = Dir::with_dataset();
        let arguments = [
            "generate",
            "--db",
            "d.db",
            "--target",
            "20",
            "--endpoint",
            &server.url,
            "--endpoint-model",
            "mock",
        ];
        let mut command = shell::command(&dir, &arguments);
        command.env("OPENAI_API_KEY", key);
        shell::ran(command).success();
        assert_eq!(export(&dir), undisturbed()[0]);
    }
}

#[test]
fn an_error_with_status_200_is_reported() {
    let server = Server::start(|_| nonsense(json!({"error": {"message": "upstream is gone"}}).to_string()));
    let dir = Dir::with_dataset();
    let said = generate(&dir, "5", &server.url, &["--retries", "2"])
        .failure(1)
        .stderr();
    assert!(
        said.contains("the server answered with an error: upstream is gone"),
        "{said}"
    );
}
