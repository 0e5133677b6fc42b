//! Masks over a tiny byte-level vocabulary, walked at random: whatever is chosen, the text fits.

use std::collections::BTreeSet;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use super::calls::CallMarks;
use super::constraint::{Constraint, Progress};
use super::{GrammarSource, Grammars};
use crate::model::tests::golden;
use crate::model::text::token_bytes::TokenBytes;
use crate::model::text::tokenizer::Tokenizer;

/// Rows of the tiny models.
const VOCAB: i64 = 96;
const END: i64 = 0;

/// The tokenizer of a tiny model, with the letters that JSON is written with.
fn tokenizer() -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    let file = std::fs::read_to_string(golden("gemma3").join("tokenizer.json")).unwrap();
    let mut file: Value = serde_json::from_str(&file).unwrap();
    let vocab = file["model"]["vocab"].as_object_mut().unwrap();
    for letter in ["{", "}", "[", "]", "\"", "\\", "-", "+", "_", "\":", "{\"", "tru"] {
        let next = vocab.len();
        vocab.insert(letter.to_owned(), json!(next));
    }
    std::fs::write(dir.path().join("tokenizer.json"), file.to_string()).unwrap();
    Tokenizer::read(dir.path()).unwrap()
}

struct Walker {
    grammars: Grammars,
    bytes: TokenBytes,
}

impl Walker {
    fn new() -> Walker {
        let tokenizer = tokenizer();
        Walker {
            grammars: Grammars::of(&tokenizer, VOCAB, &[END, 95]).unwrap(),
            bytes: TokenBytes::of(&tokenizer),
        }
    }

    /// Returns the tokens that may come.
    fn allowed(constraint: &mut Constraint) -> Vec<i64> {
        let mask = constraint.mask().expect("a mask");
        (0..VOCAB).filter(|&id| mask.allows(id)).collect()
    }

    /// Draws tokens until nothing may follow. Returns the text; none if it does not end.
    fn walk(&self, source: &GrammarSource, seed: u64) -> Option<String> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut constraint = self.grammars.compile(source).unwrap().begin();
        let mut text = Vec::new();
        for _ in 0..4000 {
            let allowed = Walker::allowed(&mut constraint);
            let id = allowed[rng.random_range(0..allowed.len())];
            if id != END && id != 95 {
                text.extend(self.bytes.bytes(id));
            }
            if constraint.take(id).unwrap() == Progress::Complete {
                return Some(String::from_utf8(text).unwrap());
            }
        }
        None
    }
}

#[test]
fn whatever_is_drawn_under_a_schema_satisfies_it() {
    let schema = json!({
        "type": "object",
        "properties": {
            "kind": { "enum": ["a", "b\"c", 5, null] },
            "size": { "type": "integer", "minimum": -20, "maximum": 300 },
            "ratio": { "type": "number", "minimum": 0, "maximum": 1 },
            "name": { "type": "string", "minLength": 1, "maxLength": 5 },
            "is_so": { "type": "boolean" },
            "inner": {
                "type": "array", "minItems": 1, "maxItems": 2,
                "items": { "$ref": "#/$defs/leaf" },
            },
        },
        "required": ["kind", "size", "ratio", "name", "is_so", "inner"],
        "additionalProperties": false,
        "$defs": { "leaf": {
            "type": "object",
            "properties": { "t": { "type": "string", "maxLength": 3 } },
            "required": ["t"],
            "additionalProperties": false,
        } },
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let walker = Walker::new();
    let source = GrammarSource::Schema(schema);
    let mut texts = BTreeSet::new();
    for seed in 0..40 {
        let text = walker.walk(&source, seed).expect("every part is bounded");
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert!(validator.is_valid(&value), "{text}");
        texts.insert(text);
    }
    assert!(texts.len() > 30, "they differ");
}

#[test]
fn regular_expressions_choices_and_grammars_hold() {
    let walker = Walker::new();
    let regex = GrammarSource::Regex("[a-c]{2}-[0-9]{1,3}".into());
    let choice = GrammarSource::Choice(vec!["the".into(), "the end".into(), "\"\\".into()]);
    let lark = GrammarSource::Lark("start: \"a\" (\"b\" | \"c\")+ \"d\"".into());
    let (mut whole, pattern) = (
        BTreeSet::new(),
        regex::Regex::new("^[a-c]{2}-[0-9]{1,3}$").unwrap(),
    );
    for seed in 0..60 {
        let text = walker.walk(&regex, seed).unwrap();
        assert!(pattern.is_match(&text), "{text:?}");
        whole.insert(walker.walk(&choice, seed).unwrap());
        let text = walker.walk(&lark, seed).unwrap();
        assert!(
            text.starts_with('a') && text.ends_with('d') && text.len() > 2,
            "{text:?}"
        );
    }
    assert_eq!(whole.into_iter().collect::<Vec<_>>(), ["\"\\", "the", "the end"]);
}

#[test]
fn an_escape_in_a_string_is_whole() {
    let walker = Walker::new();
    let source = GrammarSource::Schema(json!({ "type": "string", "maxLength": 4 }));
    let escaped = (0..300).filter(|&seed| {
        let text = walker.walk(&source, seed).unwrap();
        let value: String = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert!(value.chars().count() <= 4, "{text}");
        text.contains('\\')
    });
    assert!(escaped.count() > 0);
}

#[test]
fn special_tokens_are_no_text() {
    // Their names are texts of the grammar, and they are not.
    let constraint = Walker::new()
        .grammars
        .compile(&GrammarSource::Regex("<[a-z]+>".into()));
    // The vocabulary has no `<`, so only the name of a special token could begin the answer.
    let error = constraint.expect_err("nothing can begin it");
    assert!(
        error.to_string().contains("can begin such an answer"),
        "{error:#}"
    );
}

#[test]
fn what_cannot_be_compiled_is_refused() {
    let walker = Walker::new();
    let refused = |source: GrammarSource| {
        let error = walker.grammars.compile(&source).expect_err("it is refused");
        format!("{error:#}")
    };
    let not = refused(GrammarSource::Schema(json!({ "not": {} })));
    assert!(not.starts_with("Unimplemented keys: [\"not\"]"), "{not}");
    for source in [
        GrammarSource::Regex("(".into()),
        GrammarSource::Lark("start: other".into()),
        GrammarSource::Schema(json!({ "type": "integer", "minimum": 5, "maximum": 3 })),
        GrammarSource::Schema(json!({ "$ref": "https://example.com/x.json" })),
    ] {
        let said = refused(source.clone());
        assert!(!said.is_empty() && !said.contains('\n'), "{source:?}: {said}");
    }
}

#[test]
fn hostile_grammars_are_refused_before_they_cost_anything() {
    let walker = Walker::new();
    let schema = |value: Value| GrammarSource::Schema(value);
    let fields = |count: usize| -> Map<String, Value> {
        let field = |index| (format!("p{index}"), json!({ "type": "integer" }));
        (0..count).map(field).collect()
    };
    let factors = [7, 11, 13, 17, 19, 23].map(|factor| json!({ "type": "integer", "multipleOf": factor }));
    let rules: String = (0..20_000)
        .map(|index| format!("r{index}: \"a\" r{}\n", index + 1))
        .collect();
    for (what, source) in [
        ("chain", schema(super::bounds::chain(20_000))),
        (
            "percent",
            schema(
                serde_json::from_str(&super::bounds::chain(1000).to_string().replace("#/$", "#/%24"))
                    .unwrap(),
            ),
        ),
        ("itself", schema(json!({ "$ref": "#" }))),
        (
            "circle",
            schema(
                json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
            ),
        ),
        ("remote", schema(json!({ "$ref": "https://example.com/x.json" }))),
        ("file", schema(json!({ "$ref": "file:///etc/passwd" }))),
        (
            "factor",
            schema(json!({ "type": "integer", "multipleOf": 99_999_989 })),
        ),
        ("factors", schema(json!({ "allOf": factors }))),
        ("text", schema(json!({ "const": "x".repeat(100_000) }))),
        (
            "name",
            schema(json!({ "type": "object", "properties": { "x".repeat(100_000): {} } })),
        ),
        (
            "fields",
            schema(json!({ "type": "object", "properties": fields(10_000) })),
        ),
        (
            "alternatives",
            schema(json!({ "anyOf": vec![json!({ "type": "integer" }); 10_000] })),
        ),
        (
            "objects",
            schema(json!({ "enum": (0..5000).map(|i| json!({ "a": i })).collect::<Vec<_>>() })),
        ),
        (
            "pattern",
            schema(json!({ "type": "string", "pattern": "^(((a{100}){100}){100}){100}$" })),
        ),
        (
            "products",
            schema(json!({ "allOf": (0..9).map(|i| json!({ "anyOf":
            (0..9).map(|j| json!({ "type": "object", "properties": { format!("p{i}_{j}"): { "type": "integer" } } })).collect::<Vec<_>>()
        })).collect::<Vec<_>>() })),
        ),
        (
            "regex",
            GrammarSource::Regex("(((a{100}){100}){100}){100}".into()),
        ),
        ("spaced", GrammarSource::Regex("(?x)(a{100} ) {100000}".into())),
        (
            "parentheses",
            GrammarSource::Regex(format!("{}a{}", "(".repeat(2000), ")".repeat(2000))),
        ),
        ("choice", GrammarSource::Choice(vec!["x".repeat(100_000)])),
        (
            "rules",
            GrammarSource::Lark(format!("start: r0\n{rules}r20000: \"z\"\n")),
        ),
        (
            "hidden",
            GrammarSource::Lark("start: %json {\"type\": \"integer\", \"multipleOf\": 99999989}".into()),
        ),
        (
            "spelled",
            GrammarSource::Lark(
                "start: %json {\"type\": \"integer\", \"multiple\\u004ff\": 99999989}".into(),
            ),
        ),
    ] {
        let Err(error) = walker.grammars.compile(&source) else {
            panic!("{what} is compiled");
        };
        let said = format!("{error:#}");
        assert!(said.len() < 6000 && !said.contains("panic"), "{what}: {said}");
    }
}

#[test]
fn large_grammars_of_real_use_are_compiled() {
    let walker = Walker::new();
    let records: Map<String, Value> = (0..150)
        .map(|index| {
            let fields = json!({ "type": "object", "additionalProperties": false, "required": ["a"], "properties": {
                "a": { "type": "string", "maxLength": 2000, "pattern": "^[a-e ]+$" }, "b": { "type": "number", "multipleOf": 0.01 },
                "c": { "type": "array", "items": { "$ref": format!("#/$defs/d{}", (index * 7 + 1) % 150) } },
            } });
            (format!("d{index}"), fields)
        })
        .collect();
    let texts = |count: usize| (0..count).map(|index| format!("the {index}")).collect::<Vec<_>>();
    for (what, source) in [
        (
            "definitions",
            GrammarSource::Schema(json!({ "$ref": "#/$defs/d0", "$defs": records })),
        ),
        ("chain", GrammarSource::Schema(super::bounds::chain(400))),
        ("texts", GrammarSource::Schema(json!({ "enum": texts(20_000) }))),
        ("choices", GrammarSource::Choice(texts(10_000))),
        (
            "regex",
            GrammarSource::Regex("[a-e]{1,4000}( [0-9]{3}){20}".into()),
        ),
    ] {
        let compiled = walker.grammars.compile(&source);
        assert!(compiled.is_ok(), "{what}: {:#}", compiled.unwrap_err());
    }
}

#[test]
fn a_token_that_does_not_fit_ends_the_answer() {
    let walker = Walker::new();
    let mut constraint = walker
        .grammars
        .compile(&GrammarSource::Choice(vec!["the".into()]))
        .unwrap()
        .begin();
    let allowed = Walker::allowed(&mut constraint);
    assert!(!allowed.contains(&END));
    assert!(constraint.take(END).is_err());
    assert!(constraint.mask().is_none() && constraint.take(1).is_err());
}

#[test]
fn fields_keep_the_order_of_the_schema() {
    let mut properties = Map::new();
    for name in ["d", "a", "c"] {
        properties.insert(name.to_owned(), json!({ "const": 1 }));
    }
    let schema = json!({ "type": "object", "properties": properties, "required": ["a", "c", "d"],
        "additionalProperties": false });
    let text = Walker::new().walk(&GrammarSource::Schema(schema), 1).unwrap();
    let plain: String = text.split_whitespace().collect();
    assert_eq!(plain, "{\"d\":1,\"a\":1,\"c\":1}");
}

#[test]
fn an_answer_is_in_its_format_or_calls() {
    let walker = Walker::new();
    let schema = json!({ "type": "object", "properties": { "a": { "enum": [1, "b"] } }, "required": ["a"],
        "additionalProperties": false });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let answer = || Box::new(GrammarSource::Schema(schema.clone()));
    let marks = CallMarks {
        texts: vec!["call".into()],
        ..CallMarks::default()
    };
    let source = GrammarSource::OrCalls(answer(), marks);
    let (mut answers, mut calls) = (0, 0);
    for seed in 0..60 {
        let text = walker.walk(&source, seed).expect("it ends");
        match text.trim_start().strip_prefix("call") {
            Some(_) => calls += 1,
            None => {
                let value: Value =
                    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
                assert!(validator.is_valid(&value), "{text}");
                answers += 1;
            }
        }
    }
    assert!(answers > 0 && calls > 0, "{answers} and {calls}");
    // A call that nothing stands before is held to its schema, beside any other format.
    let bare = json!({ "type": "object", "properties": { "name": { "const": "f" } }, "required": ["name"],
        "additionalProperties": false });
    for answer in [
        GrammarSource::Choice(vec!["yes".into()]),
        GrammarSource::Regex("yes".into()),
        GrammarSource::Lark("start: \"y\" REST\nREST: \"es\"".into()),
    ] {
        let marks = CallMarks {
            bare: Some(bare.clone()),
            ..CallMarks::default()
        };
        let source = GrammarSource::OrCalls(Box::new(answer), marks);
        let texts: BTreeSet<String> = (0..60)
            .map(|seed| walker.walk(&source, seed).expect("it ends"))
            .map(|text| text.split_whitespace().collect())
            .collect();
        assert_eq!(texts.into_iter().collect::<Vec<_>>(), ["yes", "{\"name\":\"f\"}"]);
    }
}

#[test]
fn a_special_token_begins_calls_where_it_is_the_mark() {
    let tokenizer = tokenizer();
    let special = (1..VOCAB)
        .find(|&id| tokenizer.is_special(id) && id != 95)
        .expect("it has some");
    let walker = Walker::new();
    let marks = CallMarks {
        tokens: vec![special],
        within: vec![special],
        ..CallMarks::default()
    };
    let source = GrammarSource::OrCalls(Box::new(GrammarSource::Choice(vec!["yes".into()])), marks);
    let mut constraint = walker.grammars.compile(&source).unwrap().begin();
    let first = Walker::allowed(&mut constraint);
    assert!(first.contains(&special), "{first:?}");
    constraint.take(special).unwrap();
    // From there on it is free, and may end.
    let next = Walker::allowed(&mut constraint);
    assert!(
        next.contains(&END) && next.contains(&special) && next.len() > 50,
        "{next:?}"
    );
}
