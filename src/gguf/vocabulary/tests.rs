//! Vocabularies that lead to metadata and back give the same tokens.

use super::*;
use crate::gguf::header::Header;
use crate::gguf::tokenizer as reading;
use crate::gguf::writer::Writer;
use crate::model::tests::golden;

const TEXTS: [&str; 8] = [
    "the theme",
    "the  the 1",
    "other things: 10?!",
    "éß羊 x",
    "a\n\nb",
    " thethe the the ",
    "Bern's 1234567 #[/]",
    "",
];

fn converted(name: &str) -> Result<Converted> {
    let tokenizer = std::fs::read(golden("tokenizers").join(name).join("tokenizer.json")).unwrap();
    of(&Source {
        tokenizer: &tokenizer,
        sentencepiece: None,
        rows: 100,
    })
}

/// Returns the ids of a text.
fn ids(tokenizer: &tokenizers::Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec()
}

/// Returns the ids of a text as llama.cpp makes them: where it puts a space before texts, also
/// before one that begins with a space, which a Metaspace leaves as it is. That one gives the same
/// ids if the text has the space already.
fn ids_in_llama_cpp(tokenizer: &tokenizers::Tokenizer, text: &str) -> Vec<u32> {
    use tokenizers::pre_tokenizers::PreTokenizerWrapper::Metaspace;
    match tokenizer.get_pre_tokenizer() {
        Some(Metaspace(_)) if text.starts_with(' ') => ids(tokenizer, &format!(" {text}")),
        _ => ids(tokenizer, text),
    }
}

#[test]
fn vocabularies_return() {
    let dir = tempfile::tempdir().unwrap();
    for (name, model, pre) in [
        ("gemma", "llama", "default"),
        ("llama2", "llama", "default"),
        ("mistral", "llama", "default"),
        ("metaspace_always", "llama", "default"),
        ("llama3", "gpt2", "dbrx"),
        ("qwen", "gpt2", "qwen2"),
        ("bytes_both", "gpt2", "gpt-2"),
    ] {
        let Converted { mut entries, note } = converted(name).expect(name);
        let original = golden("tokenizers").join(name).join("tokenizer.json");
        let original = tokenizers::Tokenizer::from_file(original).unwrap();
        if let Some(unknown) = original.token_to_id("<unk>") {
            let key = "tokenizer.ggml.unknown_token_id".to_owned();
            entries.push((key, Value::U32(unknown)));
        }
        let path = dir.path().join(format!("{name}.gguf"));
        let file = std::fs::File::create(&path).unwrap();
        Writer::begin(file, &entries, &[]).unwrap();
        let header = Header::read(&path).unwrap();
        let text = |key: &str| header.text(&format!("tokenizer.ggml.{key}")).unwrap().unwrap();
        assert_eq!((text("model"), text("pre")), (model, pre), "{name}");
        let read = reading::of(&header).unwrap();
        let back = tokenizers::Tokenizer::from_bytes(&read.tokenizer).unwrap();
        for text in TEXTS {
            let (got, want) = (ids(&back, text), ids_in_llama_cpp(&original, text));
            assert_eq!(got, want, "{name}: {text:?}");
            assert_eq!(
                back.decode(&got, true).unwrap(),
                original.decode(&want, true).unwrap(),
                "{name}: {text:?}"
            );
        }
        let differs = |text: &str| ids(&back, text) != ids(&original, text);
        assert_eq!(
            note.is_some_and(|note| note.contains("begins with")),
            differs(" a"),
            "{name}"
        );
        // Special tokens are special, and llama.cpp begins anew after each.
        let mut follows = false;
        for (id, token) in original.get_added_tokens_decoder() {
            let text = format!("a{}the", token.content);
            let want = [ids(&original, "a"), vec![id], ids(&original, "the")].concat();
            assert_eq!(ids(&back, &text), want, "{name}: {text:?}");
            follows |= differs(&text);
        }
        assert_eq!(
            note.is_some_and(|note| note.contains("follows")),
            follows,
            "{name}"
        );
    }
}

#[test]
fn what_llama_cpp_splits_differently_is_refused() {
    for name in ["neox_prefix_space", "roberta"] {
        let said = converted(name).err().expect(name).to_string();
        assert!(said.contains("pre_tokenizer"), "{name}: {said}");
    }
    let tokenizer = br#"{"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}"#;
    let said = of(&Source {
        tokenizer,
        sentencepiece: None,
        rows: 1,
    });
    assert!(said.err().unwrap().to_string().contains("Unigram"));
    let tokenizer = std::fs::read(golden("llama").join("tokenizer.json")).unwrap();
    let said = of(&Source {
        tokenizer: &tokenizer,
        sentencepiece: None,
        rows: 20,
    });
    assert!(said.err().unwrap().to_string().contains("20 rows"));
}

#[test]
fn kinds_of_tokens_are_those_of_the_converter() {
    let tokenizer = r#"{
        "added_tokens": [
            {"id": 3, "content": "<s>", "special": true},
            {"id": 4, "content": "▁▁", "special": false},
            {"id": 5, "content": "<|im_start|>", "special": false},
            {"id": 9, "content": "<beyond>", "special": true}
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": null,
        "model": {
            "type": "BPE", "unk_token": "<unk>", "byte_fallback": true,
            "vocab": {"<unk>": 0, "<0x0A>": 1, "a": 2, "aa": 6, "aaa": 7}, "merges": ["a a", ["aa", "a"]]
        }
    }"#;
    let source = |model| Source {
        tokenizer: tokenizer.as_bytes(),
        sentencepiece: model,
        rows: 9,
    };
    let entries = of(&source(None)).unwrap().entries;
    let get = |key: &str| {
        let key = format!("tokenizer.ggml.{key}");
        entries.iter().find(|(name, _)| *name == key).unwrap().1.clone()
    };
    assert_eq!(
        get("token_type"),
        Value::Integers(vec![2, 6, 1, 3, 4, 3, 1, 1, 5])
    );
    let Value::Texts(texts) = get("tokens") else {
        panic!("a list of texts")
    };
    assert_eq!(texts[4], "  ");
    assert_eq!(texts[8], "[PAD8]");
    let Value::Floats(scores) = get("scores") else {
        panic!("a list of numbers")
    };
    assert_eq!(scores, [0.0, 0.0, -2.0, 0.0, -1000.0, 0.0, 0.0, -1.0, -10_000.0]);
    assert_eq!(get("add_space_prefix"), Value::Bool(false));
}

/// Gemma's tokens of spaces, which are user-defined.
#[test]
fn long_runs_of_spaces_are_cut_as_by_llama_cpp() {
    let spaces = [2usize, 3, 4, 7];
    let mut texts: Vec<String> = ["<unk>", "<s>", "▁", "a", "▁a"].map(str::to_owned).into();
    texts.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    let first = texts.len();
    texts.extend(spaces.map(|count| " ".repeat(count)));
    let mut kinds = vec![token_kind::NORMAL; texts.len()];
    kinds[..2].copy_from_slice(&[token_kind::UNKNOWN, token_kind::CONTROL]);
    kinds[5..first].fill(token_kind::BYTE);
    kinds[first..].fill(token_kind::USER_DEFINED);
    let mut scores = vec![0.0; texts.len()];
    scores[2..5].copy_from_slice(&[-1.0, -1.0, 0.0]);
    scores[first..].fill(NO_SCORE);
    let entries = [
        ("model", Value::Text("llama".to_owned())),
        ("pre", Value::Text("default".to_owned())),
        ("tokens", Value::Texts(texts.clone())),
        ("scores", Value::Floats(scores)),
        ("token_type", Value::Integers(kinds)),
        ("add_space_prefix", Value::Bool(false)),
        ("unknown_token_id", Value::U32(0)),
    ];
    let entries = entries.map(|(name, value)| (format!("tokenizer.ggml.{name}"), value));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spaces.gguf");
    Writer::begin(std::fs::File::create(&path).unwrap(), &entries, &[]).unwrap();
    let read = reading::of(&Header::read(&path).unwrap()).unwrap();
    let tokenizer = tokenizers::Tokenizer::from_bytes(&read.tokenizer).unwrap();
    for length in 1..40 {
        let text = format!("a{}a", " ".repeat(length));
        let mut want = vec![3];
        let mut left = length;
        // The longest first; a single space joins what follows.
        while let Some(at) = spaces.iter().rposition(|count| *count <= left) {
            want.push((first + at) as u32);
            left -= spaces[at];
        }
        want.push(if left == 1 { 4 } else { 3 });
        let got = ids(&tokenizer, &text);
        assert_eq!(got, want, "{length}");
        assert_eq!(tokenizer.decode(&got, true).unwrap(), text);
    }
    // Saved and written again, they are the same tokens of the same kinds.
    let again = of(&Source {
        tokenizer: &read.tokenizer,
        sentencepiece: None,
        rows: texts.len(),
    });
    let again = again.unwrap().entries;
    for name in ["tokens", "token_type", "add_space_prefix"] {
        let key = format!("tokenizer.ggml.{name}");
        let find = |entries: &[(String, Value)]| {
            let found = entries.iter().find(|(name, _)| *name == key);
            found.unwrap().1.clone()
        };
        assert_eq!(find(&again), find(&entries), "{name}");
    }
}
