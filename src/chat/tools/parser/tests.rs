//! Instances of each format, as model cards and templates show them, cut anywhere.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Joins what belongs together.
fn joined(pieces: Vec<Piece>) -> (String, Vec<Call>) {
    let (mut text, mut calls) = (String::new(), Vec::<Call>::new());
    for piece in pieces {
        match piece {
            Piece::Text(more) => text += &more,
            Piece::Call(call) => calls.push(call),
            Piece::Arguments(more) => calls.last_mut().unwrap().arguments += &more,
        }
    }
    (text, calls)
}

fn read<'a>(reading: &Reading, parts: impl Iterator<Item = &'a str>) -> (String, Vec<Call>) {
    let mut parser = ToolParser::new(reading.clone());
    let mut pieces: Vec<Piece> = parts.flat_map(|part| parser.push(part)).collect();
    pieces.extend(parser.finish());
    joined(pieces)
}

fn call(name: &str, arguments: &str) -> Call {
    Call {
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    }
}

const HERMES_CALLS: &str = "Let me see.\n<tool_call>\n{\"name\": \"a\", \"arguments\": {\"x\": [1, \"}\"]}}\n</tool_call>\n\
    <tool_call>{\"name\": \"b\", \"arguments\": {}}</tool_call>\n";

/// As in the model card of Qwen3-Coder.
const CODER_CALL: &str = "I look.\n\n<tool_call>\n<function=write>\n<parameter=path>\na/5.txt\n</parameter>\n<parameter=lines>\n\
    [\"x < y\"]\n</parameter>\n<parameter=text>\none\n\ntwo\n</parameter>\n<parameter=times>\n5\n</parameter>\n</function>\n</tool_call>";

fn auto(format: ToolFormat) -> Reading {
    let schema = json!({ "type": "object", "properties": { "path": { "type": "string" }, "lines": { "type": "array" },
        "text": { "type": "string" }, "times": { "type": "integer" } } });
    Reading::Auto(
        format,
        ArgumentSchemas::new([("write".to_owned(), schema)].into()),
    )
}

/// Texts in a format, what is left of them, and their calls.
fn cases() -> Vec<(Reading, &'static str, &'static str, Vec<Call>)> {
    use ToolFormat::{DeepSeek, Gemma, Hermes, List, Llama, Mistral, Olmo, QwenCoder};
    let both = || vec![call("a", r#"{"x":[1,"}"]}"#), call("b", "{}")];
    let a = || vec![both().swap_remove(0)];
    let b = || vec![call("b", "{}")];
    let weather = || vec![call("get_weather", r#"{"city":"Paris"}"#)];
    let coder = || {
        let arguments = r#"{"path":"a/5.txt","lines":["x < y"],"text":"one\n\ntwo","times":5}"#;
        vec![call("write", arguments)]
    };
    let found: Vec<(ToolFormat, &str, &str, Vec<Call>)> = vec![
        (Hermes, HERMES_CALLS, "Let me see.", both()),
        (Hermes, "a < b <tool", "a < b <tool", vec![]),
        (
            Hermes,
            "<tool_call>no</tool_call> so",
            "<tool_call>no</tool_call> so",
            vec![],
        ),
        // The white space before what is no call stays, too.
        (
            Hermes,
            "so \n<tool_call>no</tool_call>\n!",
            "so \n<tool_call>no</tool_call>\n!",
            vec![],
        ),
        // Cut off behind its end, and within it.
        (Hermes, "<tool_call>{\"name\": \"b\"}", "", b()),
        (Hermes, "x <tool_call>{\"name\"", "x <tool_call>{\"name\"", vec![]),
        // Granite 3.1 puts a list there.
        (
            Hermes,
            "<tool_call>[{\"name\": \"b\", \"arguments\": {}}]",
            "",
            b(),
        ),
        (QwenCoder, CODER_CALL, "I look.", coder()),
        (
            QwenCoder,
            "<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>",
            "",
            weather(),
        ),
        (
            QwenCoder,
            "<tool_call>\n<function=b>\n</function>\n</tool_call>\n",
            "",
            b(),
        ),
        // The beginning is left out, the end is not.
        (
            QwenCoder,
            "So:\n<function=b>\n</function>\n</tool_call>",
            "So:",
            b(),
        ),
        (QwenCoder, "a <function> of x", "a <function> of x", vec![]),
        // The name is whole, and the arguments may not be.
        (QwenCoder, "<function=b>\n", "<function=b>\n", vec![]),
        (
            QwenCoder,
            "<tool_call><function=b><parameter=x>5",
            "<tool_call><function=b><parameter=x>5",
            vec![],
        ),
        (
            Mistral,
            r#"[TOOL_CALLS] [{"name": "a", "arguments": {"x": [1, "}"]}}, {"name": "b", "arguments": {}}]"#,
            "",
            both(),
        ),
        (
            Mistral,
            r#"So: [TOOL_CALLS]a[CALL_ID]abc[ARGS]{"x": [1, "}"]}[TOOL_CALLS]b{}"#,
            "So:",
            both(),
        ),
        (Mistral, "so [TOOL_CALLS] oh", "so [TOOL_CALLS] oh", vec![]),
        (Mistral, "an [array] of [TOOL", "an [array] of [TOOL", vec![]),
        // Granite 3, Phi-4-mini as its template has it, and as it was trained.
        (
            List,
            r#"<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]"#,
            "",
            weather(),
        ),
        (
            List,
            r#"<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]<|/tool_call|>"#,
            "",
            weather(),
        ),
        (
            List,
            r#"functools[{"name": "get_weather", "arguments": {"city": "Paris"}}]"#,
            "",
            weather(),
        ),
        (
            List,
            "import functools, as\nthis",
            "import functools, as\nthis",
            vec![],
        ),
        (
            Llama,
            r#"<|python_tag|>{"name": "a", "parameters": {"x": [1, "}"]}}; {"name": "b", "parameters": {}}"#,
            "",
            both(),
        ),
        (Llama, r#"{"name": "a", "parameters": {"x": [1, "}"]}}"#, "", a()),
        (
            Llama,
            r#"<|python_tag|>get_weather.call(city="Paris")"#,
            "",
            weather(),
        ),
        (
            Llama,
            r#"<function=get_weather>{"city": "Paris"}</function>"#,
            "",
            weather(),
        ),
        (Llama, "[a(x=[1, '}']), b()]", "", both()),
        (Llama, "<|python_start|>[b()]<|python_end|>", "", b()),
        (Llama, "{\"name\": \"Ada\"}", "{\"name\": \"Ada\"}", vec![]),
        (Llama, "[1, 2] and [b()]", "[1, 2] and [b()]", vec![]),
        (Llama, "[b()] and more", "[b()] and more", vec![]),
        (Llama, " <|pyt hon {}", " <|pyt hon {}", vec![]),
        (Llama, " \n", " \n", vec![]),
        (
            Olmo,
            "So.\n<function_calls>\na(x=[1, \"}\"])\nb()\n</function_calls>",
            "So.",
            both(),
        ),
        (
            Olmo,
            "<function_calls>no\n</function_calls>",
            "<function_calls>no\n</function_calls>",
            vec![],
        ),
        (
            DeepSeek,
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Paris\"}\n\
                ```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            "",
            weather(),
        ),
        (
            DeepSeek,
            "So<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>a<｜tool▁sep｜>{\"x\": [1, \"}\"]}<｜tool▁call▁end｜>\n\
                <｜tool▁call▁begin｜>b<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            "So",
            both(),
        ),
        (
            Gemma,
            "<start_function_call>call:get_weather{city:<escape>Paris<escape>}<end_function_call>",
            "",
            weather(),
        ),
        (
            Gemma,
            "<start_function_call>call:a{x:[1,<escape>}<escape>]}<end_function_call><start_function_call>call:b{}<end_function_call>",
            "",
            both(),
        ),
    ];
    let found = found
        .into_iter()
        .map(|(format, text, left, calls)| (auto(format), text, left, calls));
    let held_to = [
        (
            Reading::Required,
            r#"[{"name": "a", "arguments": {"x": [1, "}"]}}, {"name": "b", "arguments": {}}]"#,
            "",
            both(),
        ),
        (
            Reading::Named("c".into()),
            "{\"x\": 1}",
            "",
            vec![call("c", "{\"x\": 1}")],
        ),
    ];
    found.chain(held_to).collect()
}

#[test]
fn calls_of_every_format_are_read() {
    for (reading, text, want, calls) in cases() {
        let got = read(&reading, [text].into_iter());
        assert_eq!(got, (want.to_owned(), calls), "{reading:?} {text:?}");
    }
}

proptest! {
    #[test]
    fn however_a_text_is_cut_the_same_is_read(
        case in 0..cases().len(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (reading, text, want, calls) = cases().swap_remove(case);
        let cut = |cut: &prop::sample::Index| text.floor_char_boundary(cut.index(text.len() + 1));
        let mut places: Vec<usize> = cuts.iter().map(cut).collect();
        places.extend([0, text.len()]);
        places.sort_unstable();
        let parts = places.windows(2).map(|pair| &text[pair[0]..pair[1]]);
        prop_assert_eq!(read(&reading, parts), (want.to_owned(), calls));
    }

    #[test]
    fn any_text_cut_anywhere_reads_as_the_whole(
        parts in proptest::collection::vec(
            prop_oneof!["[a-z \\n]{0,3}", prop::sample::select(PARTS).prop_map(str::to_owned)], 0..8),
    ) {
        use ToolFormat::{DeepSeek, Gemma, Hermes, List, Llama, Mistral, Olmo, QwenCoder};
        let whole = parts.concat();
        for format in [Hermes, QwenCoder, Mistral, List, Llama, Olmo, DeepSeek, Gemma] {
            let reading = auto(format);
            let want = read(&reading, [whole.as_str()].into_iter());
            prop_assert_eq!(&read(&reading, parts.iter().map(String::as_str)), &want);
            let letters: Vec<String> = whole.chars().map(String::from).collect();
            prop_assert_eq!(&read(&reading, letters.iter().map(String::as_str)), &want);
        }
    }
}

/// What calls are made of, and parts of that.
const PARTS: &[&str] = &[
    "<tool_call>",
    "</tool_call>",
    "[TOOL_CALLS]",
    "<|python_tag|>",
    "<|tool_call|>",
    "functools",
    "{\"name\":\"a\",",
    "\"arguments\":{}}",
    "<tool",
    "<function=a>",
    "</function>",
    "<parameter=x>",
    "</parameter>",
    "[a(",
    "x=1",
    ")]",
    "<function_calls>",
    "</function_calls>",
    "<｜tool▁calls▁begin｜>",
    "<start_function_call>",
    "call:a{}",
    "<end_function_call>",
    "\u{7f8a}",
    "func",
    "[",
    "<",
];

#[test]
fn an_answer_in_a_format_has_calls_from_its_beginning_on_or_none() {
    let either = |format| match auto(format) {
        Reading::Auto(format, schemas) => Reading::Either(format, schemas),
        other => other,
    };
    let call_of_write = || vec![call("write", r#"{"path":"a"}"#)];
    for (format, text, want, calls) in [
        (
            ToolFormat::Hermes,
            "\n<tool_call>{\"name\": \"write\", \"arguments\": {\"path\": \"a\"}}</tool_call>",
            "",
            call_of_write(),
        ),
        (
            ToolFormat::Hermes,
            r#"{"html": "<tool_call>{\"name\": \"write\"}</tool_call> "}"#,
            r#"{"html": "<tool_call>{\"name\": \"write\"}</tool_call> "}"#,
            vec![],
        ),
        (ToolFormat::Hermes, "<b> \n", "<b> \n", vec![]),
        (ToolFormat::Hermes, " <tool", " <tool", vec![]),
        (ToolFormat::Mistral, "5", "5", vec![]),
        (
            ToolFormat::Llama,
            r#"{"name": "write", "parameters": {"path": "a"}}"#,
            "",
            call_of_write(),
        ),
        // An answer that looks like a call of a tool that there is not.
        (
            ToolFormat::Llama,
            r#"{"name": "Ann", "parameters": {"age": 7}}"#,
            r#"{"name": "Ann", "parameters": {"age": 7}}"#,
            vec![],
        ),
        (ToolFormat::Llama, "7 <function=x>", "7 <function=x>", vec![]),
    ] {
        let reading = either(format);
        let whole = read(&reading, [text].into_iter());
        assert_eq!(whole, (want.to_owned(), calls), "{text}");
        let letters = text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]);
        assert_eq!(read(&reading, letters), whole, "{text}");
    }
}
