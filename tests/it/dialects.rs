//! Responses in undocumented shapes: compressed, wrapped, streamed, or under other names. The
//! dataset stays the same.

use std::collections::HashSet;
use std::io::{Read, Write};

use crate::faulty_endpoint::{Asked, Reply, Server, nonsense};
use crate::shell::Dir;
use crate::support::{export, generate, undisturbed};
use serde_json::{Value, json};

/// Answers requests in each of these ways in turn, and asserts that the export stays the same.
fn assert_same_export(ways: &'static [fn(&Asked) -> Reply]) {
    let server = Server::start(|asked| ways[asked.number % ways.len()](asked));
    let dir = Dir::with_dataset();
    generate(&dir, "20", &server.url, &["--api", "chat"]).success();
    assert_eq!(export(&dir), undisturbed("20"));
    // No request was repeated because its response was not understood.
    let asked = server.asked();
    let different: HashSet<String> = asked.iter().map(|asked| asked.body.to_string()).collect();
    assert_eq!(different.len(), asked.len());
    assert!(asked.len() >= ways.len());
}

/// The response with its choice changed.
fn with(asked: &Asked, change: impl FnOnce(&mut Value, String)) -> Reply {
    let mut body = asked.answer();
    change(&mut body["choices"][0], asked.written().0);
    Reply::Says(body)
}

/// The response as text, with text before and after it.
fn between(asked: &Asked, before: &str, behind: &str) -> Reply {
    Reply::Raw(format!("{before}{}{behind}", asked.answer()).into_bytes())
}

/// The response with the beginning of its choice replaced.
fn beginning(asked: &Asked, instead: &str) -> Reply {
    let body = asked.answer().to_string();
    Reply::Raw(body.replacen("\"index\":0", instead, 1).into_bytes())
}

/// The response with a part that ewe does not read.
fn unread(asked: &Asked, part: &str) -> Reply {
    beginning(asked, &format!("\"index\":0,\"logprobs\":{part}"))
}

fn headed(headers: &str, body: Vec<u8>) -> Reply {
    Reply::Status(200, headers.to_string(), body)
}

fn bytes(asked: &Asked) -> Vec<u8> {
    asked.answer().to_string().into_bytes()
}

/// The response as server-sent events of a few letters each.
fn events(asked: &Asked) -> String {
    let (text, finish) = asked.written();
    let letters: Vec<char> = text.chars().collect();
    let pieces = letters.chunks(40).map(String::from_iter);
    let pieces = pieces.map(|piece: String| (json!({"content": piece}), Value::Null));
    let end = [(json!({}), json!(finish))];
    pieces
        .chain(end)
        .map(|(delta, finish)| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
            format!("data: {}\n\n", json!({"choices": [choice]}))
        })
        .collect()
}

#[test]
fn text_is_found_in_every_known_place() {
    assert_same_export(&[
        |asked| with(asked, |choice, _| choice["delta"] = json!({"content": ""})),
        |asked| with(asked, |choice, _| choice["delta"] = Value::Null),
        |asked| with(asked, |choice, _| choice["text"] = json!("")),
        |asked| with(asked, |choice, _| choice["index"] = json!(1)),
        |asked| {
            with(asked, |choice, _| {
                choice["finishReason"] = choice["finish_reason"].clone();
                choice["finish_reason"] = Value::Null;
            })
        },
        |asked| with(asked, |choice, text| choice["message"] = json!({"text": text})),
        |asked| {
            with(asked, |choice, text| {
                choice["message"] = json!({"content": {"parts": [{"text": text}]}})
            })
        },
        |asked| {
            with(asked, |choice, text| {
                let thought = json!({"thought": true, "text": "The list wants more."});
                choice["message"] = json!({"content": [thought, {"text": text}]});
            })
        },
        |asked| {
            with(asked, |choice, text| {
                *choice = json!({"content": text, "finish_reason": choice["finish_reason"]})
            })
        },
        |asked| beginning(asked, "\"index\":0,\"index\":0"),
        |asked| {
            let mut body = asked.answer();
            body["choices"] = body["choices"][0].clone();
            Reply::Says(body)
        },
        |asked| {
            let mut body = asked.answer();
            body["choices"] = json!([null, body["choices"][0]]);
            Reply::Says(body)
        },
        |asked| between(asked, "{\"data\":", "}"),
        |asked| between(asked, "{\"success\":true,\"errors\":[],\"result\":", "}"),
        |asked| between(asked, "[", "]"),
        |asked| {
            let body = asked.answer().to_string();
            Reply::Raw(
                body.replacen('{', "{\"usage\":null,\"choices\":[],", 1)
                    .into_bytes(),
            )
        },
    ]);
}

#[test]
fn what_surrounds_a_response_is_ignored() {
    assert_same_export(&[
        |asked| between(asked, "", "\0"),
        |asked| between(asked, "", "\n\ndata: [DONE]\n\n"),
        |asked| between(asked, "", "}"),
        |asked| between(asked, "\u{feff}\u{feff}", ""),
        |asked| {
            between(
                asked,
                ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n",
                "",
            )
        },
        |asked| between(asked, "data: ", "\n\ndata: [DONE]\n\n"),
        |asked| Reply::Raw(events(asked).into_bytes()),
        |asked| {
            headed(
                "content-type: text/event-stream\r\n",
                (events(asked) + "data: [DONE]\n\n").into_bytes(),
            )
        },
        |asked| unread(asked, "[NAN, INF, Inf, -INF, +Infinity, None, True]"),
        |asked| unread(asked, "[1.#INF, -nan(ind), .5, 1.,]"),
        |asked| unread(asked, "{a: '\\x41', \"b\": \"\\x41\",}"),
    ]);
}

#[test]
fn compressed_responses_are_decompressed() {
    assert_same_export(&[
        |asked| {
            let mut packed = Vec::new();
            let body = bytes(asked);
            let mut encoder = flate2::bufread::GzEncoder::new(&body[..], flate2::Compression::default());
            encoder.read_to_end(&mut packed).unwrap();
            headed("content-encoding: gzip\r\n", packed)
        },
        |asked| {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&bytes(asked)).unwrap();
            headed("content-encoding: deflate\r\n", encoder.finish().unwrap())
        },
        |asked| {
            let mut packed = Vec::new();
            let body = bytes(asked);
            let mut encoder = brotli::CompressorReader::new(&body[..], 4096, 5, 22);
            encoder.read_to_end(&mut packed).unwrap();
            headed("content-encoding: br\r\n", packed)
        },
        |asked| {
            let packed = zstd::encode_all(&bytes(asked)[..], 0).unwrap();
            headed("content-encoding: zstd\r\n", packed)
        },
        |asked| headed("content-encoding: gzip\r\n", bytes(asked)),
        |asked| {
            let body = asked.answer().to_string();
            let units = "\u{feff}".encode_utf16().chain(body.encode_utf16());
            Reply::Raw(units.flat_map(u16::to_le_bytes).collect())
        },
    ]);
}

#[test]
fn a_complete_response_counts_however_the_connection_ends() {
    assert_same_export(&[
        |asked| {
            let body = asked.answer().to_string();
            let head = format!("HTTP/1.1 200 -\r\ncontent-length: {}\r\n\r\n", body.len() + 10);
            Reply::Bytes((head + &body).into_bytes())
        },
        |asked| {
            let body = asked.answer().to_string();
            let head = "HTTP/1.1 200 -\r\ntransfer-encoding: chunked\r\n\r\n";
            Reply::Bytes(format!("{head}{:x}\r\n{body}\r\n", body.len()).into_bytes())
        },
    ]);
    // Half a stream is half a response.
    let server = Server::start(|asked| {
        let events = events(asked);
        let (half, _) = events.rsplit_once("data:").unwrap();
        Reply::Raw(half.as_bytes().to_vec())
    });
    let dir = Dir::with_dataset();
    let said = generate(&dir, "5", &server.url, &["--retries", "1"])
        .failure(1)
        .stderr();
    assert!(said.contains("ends before its end"), "{said}");
}

/// Each finish reason for a complete and for a truncated response, without token counts.
#[test]
fn finish_reasons_are_understood_without_token_counts() {
    let ways = |asked: &Asked| {
        let ends = [
            json!("end_token"),
            json!("turn_end"),
            json!("</s>"),
            json!("im_end"),
            json!("SUCCEED"),
            json!("ended_by_user"),
            json!("undefined"),
            json!({"stop": {}}),
            json!(true),
            json!(0),
        ];
        let cuts = [
            "insufficient_system_resource",
            "interrupted",
            "shutdown",
            "partial",
            "overflow",
        ];
        let mut body = asked.answer();
        body["usage"] = Value::Null;
        let finish = &mut body["choices"][0]["finish_reason"];
        *finish = match *finish == "stop" {
            true => ends[asked.number % ends.len()].clone(),
            false => json!(cuts[asked.number % cuts.len()]),
        };
        Reply::Says(body)
    };
    let server = Server::start(ways);
    let dir = Dir::with_dataset();
    generate(&dir, "20", &server.url, &[]).success();
    assert_eq!(export(&dir), undisturbed("20"));
}

/// Tasks as JSON, different for each request.
fn tasks(asked: &Asked) -> Value {
    let words = [
        "river", "engine", "garden", "poem", "market", "planet", "recipe", "island", "teacher", "window",
        "battery", "festival", "bridge", "forest", "letter", "harbour",
    ];
    let mut dice = asked.seed() | 1;
    let mut word = || {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        words[(dice >> 60) as usize]
    };
    let task = |_| {
        let instruction = format!(
            "Describe the {} that the {} showed to a {} near some {}",
            word(),
            word(),
            word(),
            word()
        );
        json!({"instruction": instruction, "input": "", "output": format!("the {} of the {}", word(), word())})
    };
    (0..8).map(task).collect()
}

#[test]
fn structured_output_may_arrive_as_json_values() {
    let brought = |content: fn(Value) -> Value| {
        let server = Server::start(move |asked| {
            let message = content(json!({"tasks": tasks(asked)}));
            let finish = if message["content"].is_null() {
                "tool_calls"
            } else {
                "stop"
            };
            Reply::Says(json!({"choices": [{"message": message, "finish_reason": finish}]}))
        });
        let dir = Dir::with_dataset();
        let structured = ["--recipe", "alpaca", "--structured", "--api", "chat"];
        generate(&dir, "10", &server.url, &structured).success();
        export(&dir)
    };
    let plain = brought(|list| json!({"content": list.to_string()}));
    assert!(plain.contains("Describe the "), "{plain}");
    for shape in [
        (|list| json!({"content": list})) as fn(Value) -> Value,
        |list| json!({"content": list["tasks"]}),
        |list| json!({"content": null, "tool_calls": [{"type": "function", "function": {"name": "answer", "arguments": list.to_string()}}]}),
    ] {
        assert_eq!(brought(shape), plain);
    }
}

#[test]
fn unreadable_responses_are_shown_in_the_error() {
    for (body, shown) in [
        (
            "<html><title>Sign in</title></html>",
            "<html><title>Sign in</title></html>",
        ),
        ("{\"status\": \"ready\"}", "{\"status\": \"ready\"}"),
    ] {
        let server = Server::start(move |_| nonsense(body));
        let dir = Dir::with_dataset();
        let said = generate(&dir, "5", &server.url, &["--retries", "1"])
            .failure(1)
            .stderr();
        assert!(said.contains(shown) && said.contains("--api"), "{said}");
        assert!(!said.contains("is the server up"), "{said}");
    }
}
