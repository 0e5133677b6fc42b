//! Answers as endpoints give them: each in its own dialect, and the dataset is the same.

use crate::faulty_endpoint::{Asked, Reply, Server, nonsense};
use crate::mock::Mock;
use crate::shell::{self, Dir, ewe};
use crate::support::{export, generate, json, number};
use serde_json::{Value, json};

/// Recipes, and what each is asked for here.
const RECIPES: [(&str, &[&str]); 3] = [
    ("20", &[]),
    ("20", &["--recipe", "alpaca"]),
    ("12", &["--evolve", "0.5"]),
];

/// What each recipe brings where nothing is odd.
fn undisturbed() -> Vec<String> {
    let mock = Mock::start();
    let run = |(target, more): (&str, &[&str])| {
        let dir = Dir::with_dataset();
        generate(&dir, target, &mock.url, more).success();
        export(&dir)
    };
    RECIPES.map(run).into()
}

/// An answer of the dialect that was asked in.
fn answer(asked: &Asked, text: Value, finish: Value) -> Value {
    let choice = match asked.body.get("messages") {
        Some(_) => {
            json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish})
        }
        None => json!({"index": 0, "text": text, "finish_reason": finish}),
    };
    json!({"choices": [choice], "usage": {"prompt_tokens": 8, "completion_tokens": 2}})
}

/// Every recipe gives the same dataset with a server that answers so; what is left of the last run.
fn is_as_undisturbed(
    name: &str,
    wanted: &[String],
    more: &[&str],
    reply: impl Fn(&Asked) -> Reply + Clone + Send + Sync + 'static,
) -> Dir {
    let mut last = None;
    for ((target, recipe), wanted) in RECIPES.iter().zip(wanted) {
        let server = Server::start(reply.clone());
        let dir = Dir::with_dataset();
        generate(&dir, target, &server.url, &[*recipe, more].concat()).success();
        assert_eq!(&export(&dir), wanted, "{name} {recipe:?}");
        last = Some(dir);
    }
    last.unwrap()
}

#[test]
fn an_end_is_known_by_many_words() {
    let wanted = undisturbed();
    for (stop, length) in [
        (json!("STOP"), json!("MAX_TOKENS")),
        (json!("end"), json!("Length")),
        (json!("complete"), json!("max_tokens")),
        (json!("eos"), json!("truncated")),
        (json!("FINISH_REASON_STOP"), json!("finishReasonMaxTokens")),
        (json!(""), json!("token_limit")),
        (Value::Null, json!({"type": "length"})),
    ] {
        let name = stop.to_string();
        is_as_undisturbed(&name, &wanted, &[], move |asked| {
            let (text, finish) = asked.written();
            let finish = if finish == "stop" { &stop } else { &length };
            Reply::Says(answer(asked, json!(text), finish.clone()))
        });
    }
}

#[test]
fn a_content_comes_in_parts() {
    let wanted = undisturbed();
    for api in ["chat", "completions"] {
        is_as_undisturbed(api, &wanted, &["--api", api], |asked| {
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
fn reasoning_is_taken_out_and_kept() {
    let wanted = undisturbed();
    for (before, behind) in [
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
    ] {
        let reply = move |asked: &Asked| {
            let (text, finish) = asked.written();
            Reply::Says(answer(
                asked,
                json!(format!("{before}{text}{behind}")),
                json!(finish),
            ))
        };
        let dir = is_as_undisturbed(before, &wanted, &[], reply);
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
    for field in ["reasoning_content", "reasoning"] {
        let dir = is_as_undisturbed(field, &wanted, &["--api", "chat"], move |asked| {
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

/// In the middle of an answer, behind its label.
#[test]
fn reasoning_behind_a_label_is_taken_out() {
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
fn a_judge_may_think_and_end_as_it_likes() {
    let judged = |reply: fn(&Asked) -> Reply| {
        let dir = Dir::with_dataset();
        let mock = Mock::start();
        generate(&dir, "12", &mock.url, &[]).success();
        let server = Server::start(reply);
        let judge = [
            "judge",
            "--db",
            "d.db",
            "--endpoint",
            &server.url,
            "--endpoint-model",
            "mock",
            "--json",
        ];
        let said = json(ewe(&dir, &judge));
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
fn parts_that_nobody_reads_may_be_anything() {
    let wanted = undisturbed();
    for (name, before, part) in [
        ("mark", "\u{feff}", "null"),
        ("nan", "", "{\"token_logprobs\": [NaN, -Infinity, Infinity]}"),
        (
            "half",
            "",
            "{\"tokens\": [\"\\ud83d\", \"\\ude00\"], \"top\": {\"\\ud83d\": 1}}",
        ),
        ("raw", "", "\"line\nbreak\""),
        ("all", "\r\n\u{feff}", "[NaN, \"\\udfff\", \"\t\"]"),
    ] {
        is_as_undisturbed(name, &wanted, &[], move |asked| {
            let body = asked.answer().to_string();
            let body = body.replacen("{\"index\":0,", &format!("{{\"index\":0,\"logprobs\":{part},"), 1);
            assert!(body.contains("logprobs"));
            Reply::Raw(format!("{before}{body}").into_bytes())
        });
    }
}

#[test]
fn nothing_is_asked_for_once_more_at_most_and_counted() {
    // One in five questions has an answer without text, the same each time.
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
fn a_refusal_is_kept_and_not_asked_for_again() {
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

/// A model whose thoughts end at a stop string before it answers.
#[test]
fn stop_strings_that_cut_thoughts_are_kept_here() {
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
    // Texts that were cut have the same tasks, but for those that were cut by their length in the original.
    let tasks = |text: &str| text.lines().count();
    assert_eq!(tasks(&export(&dir)), tasks(&wanted[0]));
}

const KEY: &str = "sk-very-secret/0123456789";

/// The same as servers write bytes: packed, as digits, and escaped one and all.
const PACKED: [&str; 4] = [
    "c2stdmVyeS1zZWNyZXQvMDEyMzQ1Njc4OQ==",
    "736b2d766572792d7365637265742f30313233343536373839",
    "%73%6b%2d%76%65%72%79%2d%73%65%63%72%65%74%2f%30%31%32%33%34%35%36%37%38%39",
    "&#115;&#107;&#45;&#118;&#101;&#114;&#121;-secret&#x2F;&#48;&#49;&#50;&#51;&#52;&#53;&#54;&#55;&#56;&#57;",
];

/// No file of the directory has a part of the key in it, and neither has what was said.
fn assert_unseen(dir: &Dir, said: &str) {
    let spelt = ["very-secret", "0123456789", "very\\u002dsecret"];
    for secret in spelt.into_iter().chain(PACKED.map(|packed| &packed[6..])) {
        assert!(!said.contains(secret), "{said}");
        for entry in std::fs::read_dir(dir.path("")).unwrap() {
            let entry = entry.unwrap();
            // What was given is not ours to change.
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
fn a_key_in_an_answer_is_nowhere() {
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

/// A local server is given a word in place of a key, and texts with that word are texts.
#[test]
fn a_placeholder_takes_nothing_out_of_answers() {
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
fn an_error_with_the_status_of_an_answer_is_said() {
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
