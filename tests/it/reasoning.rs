//! Reasoning within the text of responses, between the marks of many models, and end-of-text
//! tokens: the dataset stays the same.

use crate::faulty_endpoint::{Asked, Reply, Server};
use crate::shell::Dir;
use crate::support::{export, generate, number, undisturbed};

/// Text before and after a response.
type Around = (&'static str, &'static str);

/// Puts each of these around responses in turn, and asserts that the export stays the same.
fn assert_same_export(around: &'static [Around]) {
    let said = |asked: &Asked| {
        let (before, behind) = around[asked.number % around.len()];
        let (text, finish) = asked.written();
        // A truncated response has no closing mark.
        let behind = if finish == "stop" { behind } else { "" };
        let mut body = asked.answer();
        let text = format!("{before}{text}{behind}");
        let choice = &mut body["choices"][0];
        let place = if choice["text"].is_null() {
            &mut choice["message"]["content"]
        } else {
            &mut choice["text"]
        };
        *place = text.into();
        Reply::Says(body)
    };
    let server = Server::start(said);
    let dir = Dir::with_dataset();
    generate(&dir, "20", &server.url, &[]).success();
    assert!(server.asked().len() >= around.len());
    assert_eq!(export(&dir), undisturbed("20"));
    let told = "select count(*) from task join instance on task_id = task.id where instruction || output like '%wants more%'";
    assert_eq!(number(&dir, told), 0);
}

#[test]
fn reasoning_marks_of_many_models_are_removed() {
    assert_same_export(&[
        ("The list wants more.\n</reasoning>\n\n", ""),
        ("The list wants more.\n</analysis>\n\n", ""),
        ("The list wants more.\n</scratchpad>\n\n", ""),
        ("<think >The list wants more.</think >\n", ""),
        (
            "<reasoning_process>\nThe list wants more.\n</reasoning_process>\n",
            "",
        ),
        ("<thought_process>The list wants more.</thought_process>\n", ""),
        (
            "<REASONING_SCRATCHPAD>The list wants more.</REASONING_SCRATCHPAD>\n",
            "",
        ),
        ("<deepthink>The list wants more.</deepthink>", ""),
        ("<plan>\nThe list wants more.\n</plan>\n", ""),
        ("<self-reflection>The list wants more.</self-reflection>\n", ""),
        ("<思考>The list wants more.</思考>", ""),
        ("<|thought|>The list wants more.<|/thought|>", ""),
        (
            "<|begin_of_reasoning|>The list wants more.<|end_of_reasoning|>",
            "",
        ),
        ("<|startofthink|>The list wants more.<|endofthink|>", ""),
        ("<|think|>The list wants more.</|think|>", ""),
        ("<｜think｜>The list wants more.<｜/think｜>", ""),
        ("[REASONING]The list wants more.[/REASONING]\n", ""),
        ("[BEGIN_THINK]The list wants more.[END_THINK]", ""),
        ("<think>The list wants more.<think>", ""),
        ("<think>The list wants more.<\\think>", ""),
        ("&lt;think&gt;The list wants more.&lt;/think&gt;\n", ""),
    ]);
}

#[test]
fn headings_and_wrappers_are_removed() {
    assert_same_export(&[
        (
            "<details type=\"reasoning\" done=\"true\">\n<summary>Thought for 3 seconds</summary>\nIt wants more.\n</details>\n",
            "",
        ),
        ("```thinking\nThe list wants more.\n```\n", ""),
        ("Thinking...\nThe list wants more.\n...done thinking.\n\n", ""),
        ("Thinking:\nThe list wants more.\n\nAnswer:\n", ""),
        ("**Thinking:**\nThe list wants more.\n\n**Answer:**\n", ""),
        (
            "Here are my reasoning steps:\nThe list wants more.\n\n[BEGIN FINAL RESPONSE]\n",
            "\n[END FINAL RESPONSE]",
        ),
        ("<think>The list wants more.</think>\n\n**Final Answer**\n", ""),
        (
            "<think>The list wants more.</think>\n<|begin_of_box|>",
            "<|end_of_box|>",
        ),
    ]);
}

#[test]
fn end_of_text_tokens_are_removed() {
    assert_same_export(&[
        ("", "</s>"),
        ("", "<|im_end|>"),
        ("", "<|eot_id|>"),
        ("", "<|endoftext|>"),
        ("", "<end_of_turn>"),
        (
            "",
            "<|im_end|>\n<|im_start|>user\nAnd one more: describe the river in detail",
        ),
    ]);
}

/// The text that a task asks for may look like reasoning.
#[test]
fn text_that_only_looks_like_reasoning_is_kept() {
    for output in [
        "The file is <plan><step>go</step></plan> and that is all of it.",
        "Reasoning: two and two are four, as everybody knows.",
        "Put `<think>` in front and `</think>` behind.",
    ] {
        let server = Server::start(move |asked: &Asked| {
            let mut body = asked.answer();
            if asked.written().0.starts_with("Output: ") {
                body["choices"][0]["text"] = format!("Output: {output}").into();
                body["choices"][0]["finish_reason"] = "stop".into();
            }
            Reply::Says(body)
        });
        let dir = Dir::with_dataset();
        generate(&dir, "6", &server.url, &[]).success();
        let kept = format!("select count(*) from instance where output = '{output}'");
        assert!(number(&dir, &kept) > 0, "{output}");
    }
}
