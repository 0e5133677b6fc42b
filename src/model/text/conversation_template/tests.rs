//! Conversations against the ids of `transformers`.

use super::*;
use crate::model::tests::golden;
use serde::Deserialize;

#[derive(Deserialize)]
struct ZooGolden {
    rows: Vec<RowCase>,
    chats: Vec<ChatCase>,
}

#[derive(Deserialize)]
struct RowCase {
    template: String,
    user: String,
    input: String,
    answer: String,
    ids: Vec<i64>,
    first: usize,
    prompt: Vec<i64>,
}

#[derive(Deserialize)]
struct ChatCase {
    template: String,
    messages: Vec<ChatMessage>,
    #[serde(default)]
    ids: Vec<i64>,
    #[serde(default, rename = "learnt")]
    targets: Vec<[usize; 2]>,
    #[serde(default)]
    prompt: Vec<i64>,
    error: Option<String>,
}

/// Returns every tokenizer with the ids of `transformers` for texts (`scripts/make_goldens.py`).
fn zoo() -> Vec<(String, Tokenizer, ZooGolden)> {
    let mut zoo = Vec::new();
    for entry in std::fs::read_dir(golden("tokenizers")).unwrap() {
        let dir = entry.unwrap().path();
        if dir.is_dir() {
            let text = std::fs::read_to_string(dir.join("expected.json")).unwrap();
            let name = dir.file_name().unwrap().to_string_lossy().into_owned();
            zoo.push((
                name,
                Tokenizer::read(&dir).unwrap(),
                serde_json::from_str(&text).unwrap(),
            ));
        }
    }
    assert!(zoo.len() >= 14);
    zoo
}

fn asked(conversation: &ConversationTemplate, tokenizer: &Tokenizer, messages: &[ChatMessage]) -> Vec<i64> {
    let ids = conversation.prompt(tokenizer, messages, &Rendering::default(), usize::MAX);
    ids.unwrap().unwrap()
}

#[test]
fn rows_are_encoded_as_published_and_the_saved_template_says_the_same() {
    for (name, tokenizer, golden) in zoo() {
        for case in &golden.rows {
            let conversation =
                ConversationTemplate::builtin(case.template.parse().unwrap(), &tokenizer).unwrap();
            let input = Some(case.input.as_str()).filter(|input| !input.is_empty());
            let question = ChatMessage::new("user", &case.user).about(input);
            let said = [question, ChatMessage::new("assistant", &case.answer)];
            let got = conversation.tokenize(&tokenizer, &said).unwrap();
            assert_eq!(got.ids, case.ids, "{name} {}", case.template);
            assert_eq!(
                got.targets,
                [case.first..got.ids.len()],
                "{name} {}",
                case.template
            );
            assert_eq!(
                asked(&conversation, &tokenizer, &said[..1]),
                case.prompt,
                "{name} {}",
                case.template
            );
        }
    }
}

/// A prompt in the template `completion` has the tokens of the plain prompt, as it is trained on.
#[test]
fn a_plain_prompt_has_the_tokens_of_its_text() {
    for (name, tokenizer, _) in zoo() {
        let conversation = ConversationTemplate::builtin(Template::Completion, &tokenizer).unwrap();
        for text in ["a", " a", "  a", "\na", "<", "1 "] {
            let got = asked(&conversation, &tokenizer, &[ChatMessage::new("user", text)]);
            assert_eq!(got, tokenizer.encode(text, true).unwrap(), "{name} {text:?}");
        }
    }
}

#[test]
fn conversations_are_encoded_as_by_apply_chat_template() {
    let mut refused = 0;
    for (name, tokenizer, golden_of) in zoo() {
        for case in &golden_of.chats {
            let path = golden("tokenizers").join(format!("{}.jinja", case.template));
            let conversation = ConversationTemplate::of_file(&path, &tokenizer).unwrap();
            let got = conversation.tokenize(&tokenizer, &case.messages);
            let at = format!("{name} {} {:?}", case.template, case.messages);
            if let Some(error) = &case.error {
                let got = format!("{:#}", got.unwrap_err());
                assert!(got.contains(error) && got.contains("hint:"), "{at}: {got}");
                refused += 1;
                continue;
            }
            let got = got.unwrap();
            let targets: Vec<[usize; 2]> = got.targets.iter().map(|of| [of.start, of.end]).collect();
            assert_eq!(
                (got.ids, targets),
                (case.ids.clone(), case.targets.clone()),
                "{at}"
            );
            let before = &case.messages[..case.messages.len() - 1];
            assert_eq!(asked(&conversation, &tokenizer, before), case.prompt, "{at}");
        }
    }
    assert!(refused > 0);
}

fn conversation(source: &str) -> (Tokenizer, Result<ConversationTemplate>) {
    let tokenizer = Tokenizer::read(&golden("tokenizers/qwen")).unwrap();
    let conversation = ConversationTemplate::of(source, "mine".to_owned(), &tokenizer);
    (tokenizer, conversation)
}

#[test]
fn what_keeps_an_answer_from_being_found_is_said() {
    let opened = "{% for m in messages %}{{ m.content }}{{ ':' if not loop.last or m.role == 'assistant' else '?' }}{% endfor %}";
    let deaf = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}";
    let blind = "{% for m in messages %}{{ m.content }}{% endfor %}{% generation %}{% endgeneration %}";
    for (source, words) in [
        (
            opened,
            &[
                "\":b:\" in place of \"?\"",
                "{% generation %}",
                "--template",
                "hint:",
            ][..],
        ),
        (deaf, &["passes over system messages", "\"be it\"", "hint:"]),
        (blind, &["marks nothing"]),
    ] {
        let (tokenizer, conversation) = conversation(source);
        let said = [
            ChatMessage::new("system", "be it"),
            ChatMessage::new("user", "a"),
            ChatMessage::new("assistant", "b"),
        ];
        let error = conversation.unwrap().tokenize(&tokenizer, &said).unwrap_err();
        let error = format!("{error:#}");
        for word in words {
            assert!(error.contains(word), "{word} is not in {error}");
        }
    }
}

#[test]
fn words_that_end_an_answer_are_stop_strings_and_tokens_are_not() {
    let of = |source: &str| {
        let conversation = conversation(source).1.unwrap();
        (
            conversation.end_token(),
            conversation.stop().to_vec(),
            conversation.saved_stop(),
        )
    };
    let turn = |behind: &str| format!("{{% for m in messages %}}{{{{ m.content }}}}{behind}{{% endfor %}}");
    let none = Vec::<String>::new();
    assert_eq!(of(&turn("<|im_end|>\n")), (Some(2), none.clone(), none.clone()));
    assert_eq!(of(&turn("\n")), (None, none.clone(), none));
    let stop = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    assert_eq!(
        of(&turn("\n\n### End<|endoftext|>")),
        (Some(0), stop(&["\n\n### End", "### End"]), stop(&["### End"]))
    );
    assert_eq!(
        of(&turn(" </q>")),
        (None, stop(&[" </q>", "</q>"]), stop(&["</q>"]))
    );
}

#[test]
fn an_input_is_a_field_where_the_template_knows_it_and_a_paragraph_elsewhere() {
    let question = ChatMessage::new("user", "q").about(Some("x"));
    let said = |source: &str| {
        let (tokenizer, conversation) = conversation(source);
        let ids = asked(
            &conversation.unwrap(),
            &tokenizer,
            std::slice::from_ref(&question),
        );
        tokenizer.decode(&ids).unwrap()
    };
    assert_eq!(said("{{ messages[0].content }}|"), "q\n\nx|");
    assert_eq!(said("{{ messages[0].content }}|{{ messages[0].input }}"), "q|x");
}

/// Several messages with a system message: keys are repeated, the preamble is not, and each answer
/// ends.
#[test]
fn turns_follow_each_other_in_ewes_own_templates() {
    let tokenizer = Tokenizer::read(&golden("tokenizers/llama2")).unwrap();
    let said = [
        ChatMessage::new("system", "be it"),
        ChatMessage::new("user", "a"),
        ChatMessage::new("assistant", "b"),
        ChatMessage::new("user", "c"),
    ];
    let text = |template: Template| {
        let conversation = ConversationTemplate::builtin(template, &tokenizer).unwrap();
        let rendered = conversation
            .template
            .render(NaiveDateTime::default(), &said, &Rendering::default());
        rendered.unwrap().text
    };
    let preamble = "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.";
    assert_eq!(
        text(Template::Alpaca),
        format!(
            "{preamble}\n\n### Instruction:\nbe it\n\na\n\n### Response:b</s>\n\n### Instruction:\nc\n\n### Response:"
        )
    );
    assert_eq!(
        text(Template::Dolly),
        format!(
            "{preamble}\n\n### Instruction:\nbe it\n\na\n\n### Response:\nb\n\n### End</s>\n\n### Instruction:\nc\n\n### Response:\n"
        )
    );
    assert_eq!(text(Template::Completion), "<s>be it\n\nab</s>c");
}

/// As Qwen 3 does: an answer after the last question begins with a mark that earlier ones lose.
#[test]
fn earlier_answers_may_be_written_differently_than_the_last() {
    let source = "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}\
                  {% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}\
                  {% if m.role == 'assistant' %}{{ 'it:' + ('<>' if loop.index0 > ns.last else '') + m.content \
                  + '<|im_end|>' }}{% else %}{{ m.content + '|' }}{% endif %}{% endfor %}\
                  {% if add_generation_prompt %}{{ 'it:' }}{% endif %}";
    let (tokenizer, conversation) = conversation(source);
    let conversation = conversation.unwrap();
    let said = ["a", "b", "c", "d"].map(|text| {
        let role = if matches!(text, "a" | "c") {
            "user"
        } else {
            "assistant"
        };
        ChatMessage::new(role, text)
    });
    let learnt = |got: &TokenizedConversation| -> Vec<(String, bool)> {
        let of = |range: &Range<usize>| {
            let ids = &got.ids[range.clone()];
            let ends = ids.last() == conversation.end_token().as_ref();
            (tokenizer.decode(ids).unwrap(), ends)
        };
        got.targets.iter().map(of).collect()
    };
    let all = conversation.tokenize(&tokenizer, &said).unwrap();
    let (first, last) = (("b".to_owned(), true), ("<>d".to_owned(), true));
    assert_eq!(learnt(&all), [first, last.clone()]);
    let only = conversation.tokenize_last(&tokenizer, &said).unwrap();
    assert_eq!((&only.ids, learnt(&only)), (&all.ids, vec![last]));
}

/// Returns each answer that is learnt, with what ends it, and the end of the prompt that no answer
/// begins with.
fn learnt(source: &str, said: &[(&str, &str)]) -> (Vec<String>, Option<String>) {
    let (tokenizer, conversation) = conversation(source);
    let said: Vec<ChatMessage> = said
        .iter()
        .map(|(role, text)| ChatMessage::new(role, text))
        .collect();
    let got = conversation.unwrap().tokenize(&tokenizer, &said).unwrap();
    let token = |&id: &i64| tokenizer.token(id).unwrap();
    let text = |range: &Range<usize>| got.ids[range.clone()].iter().map(token).collect::<String>();
    (got.targets.iter().map(text).collect(), got.unanswered)
}

const TURNS: [(&str, &str); 4] = [
    ("user", "a"),
    ("assistant", "b"),
    ("user", "c"),
    ("assistant", "d"),
];

/// As gpt-oss and Phi-3 do, each in its own way.
#[test]
fn the_last_answer_may_end_by_a_token_of_its_own() {
    let turn = |last: &str, other: &str| {
        format!(
            "{{% for m in messages %}}{{{{ m.role + ':' + m.content }}}}{{% if loop.last and m.role == 'assistant' %}}{last}{{% else %}}\
             {other}{{% endif %}}{{% endfor %}}{{% if add_generation_prompt %}}assistant:{{% endif %}}"
        )
    };
    let other = turn("<|endoftext|>", "<|im_end|>");
    let (answers, unanswered) = learnt(&other, &TURNS);
    assert_eq!(answers, ["b<|im_end|>", "d<|endoftext|>"]);
    assert_eq!(unanswered, None);
    let more = turn("<|im_end|>:<|endoftext|>", "<|im_end|>:");
    assert_eq!(
        learnt(&more, &TURNS).0,
        ["b<|im_end|>:", "d<|im_end|>:<|endoftext|>"]
    );
}

/// As DeepSeek-R1 and Nemotron do: the prompt opens a thought that answered conversations lack.
#[test]
fn the_prompt_may_begin_what_answers_do_not() {
    let source = |silent: &str, answered: &str| {
        format!(
            "{{% for m in messages %}}{{% if m.role == 'assistant' %}}it:{answered}{{% endif %}}{{{{ m.content }}}}<|im_end|>{{% endfor %}}\
             {{% if add_generation_prompt %}}it:{{% if enable_thinking is defined and not enable_thinking %}}{silent}{{% else %}}<0>\
             {{% endif %}}{{% endif %}}"
        )
    };
    let (answers, unanswered) = learnt(&source("<0>", ""), &TURNS);
    assert_eq!(answers, ["b<|im_end|>", "d<|im_end|>"]);
    assert_eq!(unanswered.as_deref(), Some("<0>"));
    // Without thoughts, the prompt says what answers begin with.
    let (answers, unanswered) = learnt(&source("()", "()"), &TURNS);
    assert_eq!(answers, ["b<|im_end|>", "d<|im_end|>"]);
    assert_eq!(unanswered.as_deref(), Some("<0>"));
}

/// As Cohere's do: the heading is part of the question, and the prompt goes on from there.
#[test]
fn the_heading_of_an_answer_may_come_with_the_question() {
    let source = "{% for m in messages %}{% if m.role == 'assistant' %}<1>{% endif %}{{ m.content }}<|im_end|>{% if m.role == 'user' %}\
                  it:{% endif %}{% endfor %}{% if add_generation_prompt %}<0>{% endif %}";
    let (answers, unanswered) = learnt(source, &TURNS);
    // They share "<", which belongs to neither.
    assert_eq!(answers, ["1>b<|im_end|>", "1>d<|im_end|>"]);
    assert_eq!(unanswered.as_deref(), Some("0>"));
}

/// The first letters of an answer may be those of what the prompt goes on with.
#[test]
fn an_answer_keeps_the_letters_that_the_prompt_begins_with() {
    let source = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}bed{% endif %}";
    assert_eq!(learnt(source, &TURNS).0, ["b<|im_end|>", "d<|im_end|>"]);
}

/// As Qwen 3 writes calls of tools in earlier answers: without the thought that a last one begins
/// with, and without a text to find them by.
#[test]
fn answers_without_a_text_end_where_one_is_closed() {
    let source = "{% for m in messages %}{% if m.role == 'assistant' %}it:{{ '()' if loop.last }}{{ m.content }}{{ m.call }}<|im_end|>\n\
                  {% else %}{{ m.content }}|{% endif %}{% endfor %}{% if add_generation_prompt %}it:{% endif %}";
    let (tokenizer, conversation) = conversation(source);
    let mut said = TURNS.map(|(role, text)| ChatMessage::new(role, text));
    said[1].content.clear();
    said[1].more.insert("call".to_owned(), "[1]".into());
    let got = conversation.unwrap().tokenize(&tokenizer, &said).unwrap();
    let token = |&id: &i64| tokenizer.token(id).unwrap();
    let text = |range: &Range<usize>| got.ids[range.clone()].iter().map(token).collect::<String>();
    let answers: Vec<String> = got.targets.iter().map(text).collect();
    assert_eq!(answers, ["[1]<|im_end|>Ċ", "()d<|im_end|>Ċ"]);
}

/// As gpt-oss writes equal answers with thoughts: only the last has them and its own end.
#[test]
fn equal_answers_are_told_apart() {
    let source = "{% for m in messages %}{% if m.role == 'assistant' %}it:{% if loop.last %}()it:{% else %}-{% endif %}{{ m.content }}\
                  {% if loop.last %}<|endoftext|>{% else %}<|im_end|>{% endif %}{% else %}{{ m.content }}|{% endif %}{% endfor %}\
                  {% if add_generation_prompt %}it:{% endif %}";
    let turns = [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
        ("assistant", "b"),
    ];
    assert_eq!(learnt(source, &turns).0, ["-b<|im_end|>", "()it:b<|endoftext|>"]);
}

/// As Qwen 3.5 writes calls of tools: once a question follows, they lose their thoughts, so that
/// the text before the next answer is another one.
#[test]
fn what_is_before_an_answer_may_be_written_differently() {
    let source = "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}\
                  {% endif %}{% endfor %}{% for m in messages %}{% if m.role == 'assistant' %}it:\n\
                  {{ '()' if loop.index0 > ns.last }}{{ m.content }}<|im_end|>{% else %}{{ m.content }}|{% endif %}{% endfor %}\
                  {% if add_generation_prompt %}it:\n()-{% endif %}";
    let turns = [
        ("user", "a"),
        ("assistant", "b"),
        ("tool", "1"),
        ("assistant", "c"),
        ("user", "d"),
        ("assistant", "e"),
    ];
    let (answers, unanswered) = learnt(source, &turns);
    assert_eq!(answers, ["b<|im_end|>", "c<|im_end|>", "e<|im_end|>"]);
    assert_eq!(unanswered.as_deref(), Some("()-"));
}

/// As Idefics 3 does: a content is a list of parts, and a text is passed over.
#[test]
fn contents_may_be_read_as_parts() {
    let source = "{% for m in messages %}{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}\
                  {% endfor %}<|im_end|>{% endfor %}";
    assert_eq!(learnt(source, &TURNS).0, ["b<|im_end|>", "d<|im_end|>"]);
    let none = "{% for m in messages if m.role == 'user' %}{{ m.content }}<|im_end|>{% endfor %}";
    let (tokenizer, conversation) = conversation(none);
    let said = [ChatMessage::new("user", "a"), ChatMessage::new("assistant", "b")];
    let error = conversation.unwrap().tokenize(&tokenizer, &said).unwrap_err();
    assert!(
        format!("{error:#}").contains("leaves the text of answers away"),
        "{error:#}"
    );
}
