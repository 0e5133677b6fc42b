//! `ewe chat` in a real terminal: its commands, messages of several lines, and Ctrl-C.

use crate::golden::{Changed, golden, read_lines, text};
use crate::review::Screen;
use crate::shell::Dir;

/// A template that shows each message on a line, and none of its own words.
const LINES: &str = "{{ bos_token }}{% for m in messages %}{{ m['content'].strip() }}\n{% endfor %}";

/// A terminal with a chat, and its directory.
fn chat(model: &str, more: &[&str]) -> (Dir, Screen) {
    let dir = Dir::new();
    dir.write("lines.jinja", LINES);
    let arguments = [&["chat", "--model", model], more].concat();
    let screen = Screen::run(&dir, &arguments, "true", (40, 100));
    (dir, screen)
}

#[test]
fn a_chat_has_commands_and_keeps_what_was_said() {
    let model = golden("gemma3");
    let (dir, mut screen) = chat(
        text(&model),
        &[
            "--template",
            "lines.jinja",
            "--max-tokens",
            "9",
            "--ignore-eos",
            "--temperature",
            "0",
        ],
    );
    screen.shows(&["gemma3, asked by the template lines.jinja; /help", ">"]);
    screen.enter("/help\r");
    screen.shows(&["/system TEXT", "/regenerate", "/quit"]);
    screen.enter("/params max_tokens 2\r");
    screen.shows(&["max_tokens          2"]);
    screen.enter("the\r");
    screen.shows(&["(cut off: /params max_tokens N allows more)"]);
    screen.enter("/save one.jsonl\r");
    screen.shows(&["one.jsonl: 1 conversation; `ewe import --db FILE one.jsonl`"]);
    let said = read_lines(&dir.path("one.jsonl"));
    let roles = |row: &serde_json::Value| -> Vec<String> {
        let messages = row["messages"].as_array().unwrap();
        let role = |message: &serde_json::Value| message["role"].as_str().unwrap().to_owned();
        messages.iter().map(role).collect()
    };
    assert_eq!(said[0]["messages"][0]["content"], "the");
    assert_eq!(roles(&said[0]), ["user", "assistant"]);
    // Nothing is replaced, and a mistake does not end the chat.
    screen.enter("/save one.jsonl\r");
    screen.shows(&["error: `one.jsonl` exists already"]);
    screen.enter("/nonsense\r");
    screen.shows(&["error: there is no command /nonsense"]);

    screen.enter("/system in\r");
    screen.shows(&["the system message is set"]);
    screen.enter("\"\"\"\r");
    screen.shows(&["…"]);
    // Typed ahead.
    screen.enter("a\rb\r\"\"\"\r");
    until_answered(&mut screen, &dir, "two.jsonl", 5);
    let said = read_lines(&dir.path("two.jsonl"));
    assert_eq!(
        roles(&said[0]),
        ["system", "user", "assistant", "user", "assistant"]
    );
    assert_eq!(said[0]["messages"][3]["content"], "a\nb");

    // Another answer in place of the last one.
    screen.enter("/regenerate\r");
    screen.shows(&["at temperature 0 the answer is the same"]);
    until_answered(&mut screen, &dir, "three.jsonl", 5);
    assert_eq!(read_lines(&dir.path("three.jsonl")), said);
    screen.enter("/reset\r");
    screen.shows(&["everything said is forgotten"]);
    screen.enter("/save four.jsonl\r");
    screen.shows(&["nothing was answered yet"]);
    // Longer than the context: the question is taken back, and the chat goes on.
    let long = "the ".repeat(90);
    screen.enter(&format!("{long}\r"));
    screen.shows(&["context is 64"]);
    // The same of a system message, with which no other answer can be had: the last one stays.
    screen.enter("the\r");
    screen.enter(&format!("/system {long}\r"));
    screen.enter("/regenerate\r");
    until_answered(&mut screen, &dir, "kept.jsonl", 3);
    screen.enter("/quit\r");
    assert_eq!(screen.ended(), 0);
}

/// Saves the chat once the answer is there, and looks at the number of messages.
fn until_answered(screen: &mut Screen, dir: &Dir, file: &str, messages: usize) {
    screen.enter(&format!("/save {file}\r"));
    screen.shows(&[&format!("{file}: 1 conversation")]);
    let rows = read_lines(&dir.path(file));
    assert_eq!(rows[0]["messages"].as_array().unwrap().len(), messages);
}

#[test]
fn ctrl_c_stops_the_answer_only() {
    let model = Changed::long(1_000_000);
    let (_dir, mut screen) = chat(
        text(model.path()),
        &[
            "--template",
            "lines.jinja",
            "--max-tokens",
            "900000",
            "--ignore-eos",
            // Greedy, it could repeat a token without text.
            "--temperature",
            "1",
        ],
    );
    screen.shows(&[">"]);
    // Before anything is asked it clears the line.
    screen.enter("nothing\x03");
    screen.shows(&["> nothing\nCtrl-D leaves\n>"]);
    for question in ["the", "in"] {
        screen.enter(&format!("{question}\r"));
        // Whatever the model writes fills the screen, and scrolls the question away.
        screen.scrolls_away("Ctrl-D leaves");
        screen.press("\x03");
        screen.shows(&["(stopped)"]);
        screen.enter("/help\r");
        screen.shows(&["/regenerate"]);
        screen.enter("x\x03");
        screen.shows(&["> x\nCtrl-D leaves\n>"]);
    }
    screen.enter("/params max_tokens 2\r");
    screen.shows(&["max_tokens          2"]);
    screen.enter("\x04");
    assert_eq!(screen.ended(), 0);
}

#[test]
fn a_model_without_a_template_says_that_it_remembers_nothing() {
    let model = golden("gemma3");
    let (_dir, mut screen) = chat(text(&model), &[]);
    screen.shows(&[
        "gemma3, asked by the template alpaca, since the model came without a chat template",
        "no memory: this model came without a chat template",
        "--template alpaca",
    ]);
    screen.enter("\x04");
    assert_eq!(screen.ended(), 0);
}

#[test]
fn markdown_is_rendered_on_a_terminal_and_raw_elsewhere() {
    let model = Changed::of("gemma3");
    let path = model.path().join("tokenizer.json");
    let mut file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    // The model says "gggyyy" where its letter y is a bold b now.
    let vocab = file["model"]["vocab"].as_object_mut().unwrap();
    let y = vocab.remove("y").unwrap();
    vocab.insert("**b**".to_owned(), y);
    std::fs::write(path, file.to_string()).unwrap();
    let template = "{{ bos_token }}{{ messages[-1]['content'] }}";
    let options = [
        "--template",
        "last.jinja",
        "--max-tokens",
        "6",
        "--ignore-eos",
        "--temperature",
        "0",
    ];

    let dir = Dir::new();
    dir.write("last.jinja", template);
    let arguments = [&["chat", "--model", text(model.path())], &options[..]].concat();
    let mut screen = Screen::run(&dir, &arguments, "true", (40, 100));
    screen.enter("the inner thing\r");
    screen.shows(&["gggbbb"]);
    screen.enter("\x04");
    assert_eq!(screen.ended(), 0);
    let mut piped = assert_cmd::Command::new(crate::train::EWE_TORCH);
    piped
        .current_dir(dir.path("."))
        .args(&arguments)
        .write_stdin("the inner thing\n");
    let said = piped.assert().success().get_output().stdout.clone();
    assert_eq!(String::from_utf8(said).unwrap(), "ggg**b****b****b**\n");
}
