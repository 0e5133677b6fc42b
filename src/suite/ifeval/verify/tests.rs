//! Each checker on answers that follow, that nearly follow, and on the edge.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{variants, verify};
use crate::suite::ifeval::punkt::PunktParameters;
use crate::suite::ifeval::row::IfevalRow;

fn row(id: &str, arguments: &Value) -> IfevalRow {
    let row = json!({"prompt": "p", "instruction_id_list": [id], "kwargs": [arguments]});
    let punkt = Arc::new(PunktParameters::english());
    IfevalRow::parse(&row, 1, &punkt).unwrap_or_else(|error| panic!("{error}"))
}

/// Checks the strict verdict: of `yes` true, of `no` false.
fn cases(id: &str, arguments: Value, yes: &[&str], no: &[&str]) {
    let row = row(id, &arguments);
    for (texts, wanted) in [(yes, true), (no, false)] {
        for text in texts {
            assert_eq!(verify(&row, text).strict, [wanted], "{id} {arguments}: {text:?}");
        }
    }
}

#[test]
fn keywords_are_counted() {
    cases(
        "keywords:existence",
        json!({"keywords": ["foo", "b.r"]}),
        &["foo bar", "BXRFOO", "a foot in a bar"],
        &["foo", "fo o bar", "", " "],
    );
    let two = |relation: &str| json!({"keyword": " dog ", "frequency": 2, "relation": relation});
    cases(
        "keywords:frequency",
        two("at least"),
        &["dog Dog", "hotdogdog", "dog dog dog"],
        &["dog", "d og dog"],
    );
    cases(
        "keywords:frequency",
        two("less than"),
        &["dog", "cat"],
        &["dog dog", "  "],
    );
    cases(
        "keywords:frequency",
        json!({"keyword": "a", "frequency": 0, "relation": "less than"}),
        &[],
        &["b", "a"],
    );
    cases(
        "keywords:forbidden_words",
        json!({"forbidden_words": ["rock", "a b", "c.d"]}),
        &["rocks", "hard_rock", "ab", "hardrock2", "cd"],
        &["Rock!", "the rock", "a B.", "rock", "rocks rock", "c-d"],
    );
    cases(
        "keywords:forbidden_words",
        json!({"forbidden_words": ["क"]}),
        &["कक", "अक"],
        &["क", "कि", "क।"],
    );
    let letter = |letter: &str, count: u64| json!({"letter": letter, "let_frequency": count, "let_relation": "at least"});
    cases(
        "keywords:letter_frequency",
        letter("A", 3),
        &["aAa", "banana"],
        &["aa", "bnn"],
    );
    cases("keywords:letter_frequency", letter("#", 2), &["#a #b"], &["#a"]);
}

#[test]
fn languages_are_told_apart() {
    let french = "Le chat est sur la table et il regarde par la fenêtre avec beaucoup de patience.";
    let english = "The cat is on the table and it looks out of the window with a lot of patience.";
    cases(
        "language:response_language",
        json!({"language": "fr"}),
        &[french, "123"],
        &[english],
    );
    cases(
        "language:response_language",
        json!({"language": "en"}),
        &[english],
        &[french],
    );
    cases(
        "change_case:english_capital",
        json!({}),
        &[&english.to_uppercase()],
        &[&french.to_uppercase(), english, "123"],
    );
    cases(
        "change_case:english_lowercase",
        json!({}),
        &[&english.to_lowercase()],
        &[&french.to_lowercase(), english, "123"],
    );
}

#[test]
fn lengths_are_counted() {
    let sentences = |relation: &str| json!({"num_sentences": 2, "relation": relation});
    cases(
        "length_constraints:number_sentences",
        sentences("at least"),
        &["One. Two.", "Hello! Dr. Who?"],
        &["Dr. Who is here.", "One"],
    );
    cases(
        "length_constraints:number_sentences",
        sentences("less than"),
        &["One."],
        &["One. Two."],
    );
    cases(
        "length_constraints:number_paragraphs",
        json!({"num_paragraphs": 2}),
        &["a***b", "a\n***\nb", "***\na\n***\nb\n***", "a *** b"],
        &["a\n\nb", "a", "a***b***c", "a***\n\n***b"],
    );
    let words = |relation: &str| json!({"num_words": 3, "relation": relation});
    cases(
        "length_constraints:number_words",
        words("at least"),
        &["a b c", "don't stop", "a_b c-d"],
        &["a b", "a_b c", "-- ..."],
    );
    cases(
        "length_constraints:number_words",
        words("less than"),
        &["a b"],
        &["a b c"],
    );
    let first = json!({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "President"});
    cases(
        "length_constraints:nth_paragraph_first_word",
        first,
        &[
            "a\n\npresident b",
            "a\n\n\"President, b",
            "a\n\n'president's b",
            "\n\nPRESIDENT a\n\nb",
        ],
        &[
            "a\n\nthe president",
            "a\n\npresident\n\nc",
            "president",
            "a\n\npresidents",
            "a\npresident",
        ],
    );
}

/// The parameters of the row are those by which its answer is split.
#[test]
fn sentences_are_counted_by_the_given_parameters() {
    let at_least_two = |punkt: PunktParameters| {
        let id = "length_constraints:number_sentences";
        let row = json!({"prompt": "p", "instruction_id_list": [id],
            "kwargs": [{"num_sentences": 2, "relation": "at least"}]});
        let row = IfevalRow::parse(&row, 1, &Arc::new(punkt)).unwrap();
        verify(&row, "Dr. Who is here.").strict[0]
    };
    assert!(!at_least_two(PunktParameters::english()));
    assert!(at_least_two(PunktParameters::default()));
}

#[test]
fn contents_are_found() {
    cases(
        "detectable_content:number_placeholders",
        json!({"num_placeholders": 2}),
        &["[a] [b]", "[][]", "[[a] b]]] [c]"],
        &["[a]", "[a [b", "[a\n] [b\n]", "(a) (b)", "[[a] b]"],
    );
    cases(
        "detectable_content:postscript",
        json!({"postscript_marker": "P.S."}),
        &["Text.\nP.S. more", "p. s. more", "xp.s."],
        &["PS more", "P.S more", "P.  S. more"],
    );
    cases(
        "detectable_content:postscript",
        json!({"postscript_marker": "P.P.S"}),
        &["P.P.S more", "p. p. s"],
        &["P.S. more", "PPS"],
    );
    cases(
        "detectable_content:postscript",
        json!({"postscript_marker": "NB:"}),
        &["a nb: b"],
        &["n.b. c"],
    );
}

#[test]
fn formats_are_recognized() {
    cases(
        "detectable_format:number_bullet_lists",
        json!({"num_bullets": 2}),
        &[
            "* a\n* b",
            "- a\n- b",
            "  * a\n\t- b",
            "text\n* a\n* b\ntext",
            "-\n-",
            "* a\r\n* b",
        ],
        &[
            "* a",
            "* a\n* b\n* c",
            "** a\n** b",
            "a * b\n* c",
            "1. a\n2. b",
            "---\n* a\n- b",
        ],
    );
    cases(
        "detectable_format:constrained_response",
        json!({}),
        &["My answer is yes.", "So: My answer is maybe. Really."],
        &["my answer is yes.", "My answer is yes", "Yes."],
    );
    cases(
        "detectable_format:number_highlighted_sections",
        json!({"num_highlights": 2}),
        &["*a* *b*", "**a** **b**", "*a* and **b**", "*a*b*c*"],
        &["*a*", "**a**", "****", "* * * *", "*a\n* *b\n*"],
    );
    cases(
        "detectable_format:multiple_sections",
        json!({"section_spliter": "SECTION", "num_sections": 2}),
        &[
            "SECTION 1\na\nSECTION 2\nb",
            "SECTION1SECTION 2",
            "SECTION\n1 SECTION\t2",
        ],
        &[
            "Section 1\nSection 2",
            "SECTION 1",
            "SECTION one SECTION two",
            "SECTION  1 SECTION  2",
        ],
    );
    cases(
        "detectable_format:json_format",
        json!({}),
        &[
            "{\"a\": 1}",
            "```json\n[1]\n```",
            "```\n{}\n```",
            "```JSON {}```",
            "12",
            "\"a\"",
            "NaN",
        ],
        &[
            "{a: 1}",
            "```python\n{}\n```",
            "Here: {}",
            "{} {}",
            "{}```json",
            "```json```",
        ],
    );
    cases(
        "detectable_format:title",
        json!({}),
        &["<<a>>", "x <<a b>> y", "<<<a>>>", "<<<<>> a>>"],
        &["<<>>", "<< >>", "<a>", "<<a\n>>", "<<a>", "<<<>>>", ">>a<<"],
    );
}

#[test]
fn combinations_starts_and_ends_are_found() {
    cases(
        "combination:two_responses",
        json!({}),
        &["a******b", "******\na\n******\nb\n******"],
        &[
            "a",
            "a******a ",
            "a******b******c",
            "a************b",
            "a***b",
            "******a",
        ],
    );
    cases(
        "combination:repeat_prompt",
        json!({"prompt_to_repeat": " Do This. "}),
        &["do this. Done.", "\n DO THIS."],
        &["Sure: do this.", "do  this.", "\"Do this.\""],
    );
    cases(
        "startend:end_checker",
        json!({"end_phrase": "Any questions? "}),
        &["x any QUESTIONS?\n", "\"Any questions?\"", "Any questions?"],
        &["Any questions? No.", "Any questions", "Any questions?'"],
    );
    cases(
        "startend:quotation",
        json!({}),
        &["\"a\"", " \"\" \n", "\"a\" b \"c\""],
        &["\"", "'a'", "\"a", "a\"", "“a”"],
    );
    cases(
        "punctuation:no_comma",
        json!({}),
        &["a; b", "a، b，c"],
        &["a, b", ","],
    );
    let capitals = |relation: &str| json!({"capital_frequency": 2, "capital_relation": relation});
    cases(
        "change_case:capital_word_frequency",
        capitals("at least"),
        &["YES I do", "DON'T", "A.B. C", "NASA's USA", "A/B 1A"],
        &["Yes No", "I am", "WELL-KNOWN thing", "123 456"],
    );
    cases(
        "change_case:capital_word_frequency",
        capitals("less than"),
        &["I am"],
        &["I AM"],
    );
}

#[test]
fn the_loose_verdict_takes_lines_and_stars_away() {
    let loose = |id: &str, arguments: Value, text: &str| {
        let verdict = verify(&row(id, &arguments), text);
        (verdict.strict[0], verdict.loose[0])
    };
    let json_row = |text: &str| loose("detectable_format:json_format", json!({}), text);
    assert_eq!(json_row("Sure!\n{}"), (false, true));
    assert_eq!(json_row("{}\nBye!"), (false, true));
    assert_eq!(json_row("Sure!\n{}\nBye!"), (false, true));
    assert_eq!(json_row("*Sure!*\n**{}**\nBye!"), (false, true));
    assert_eq!(json_row("Sure!\nHere:\n{}"), (false, false));
    assert_eq!(json_row("{}"), (true, true));
    assert_eq!(json_row("**{}**"), (false, true));
    let end = json!({"end_phrase": "bye"});
    assert_eq!(loose("startend:end_checker", end, "So: **bye**"), (false, true));
    let none = json!({"forbidden_words": ["sure"]});
    assert_eq!(loose("keywords:forbidden_words", none, "sure"), (false, false));
}

#[test]
fn variants_are_different_and_not_blank() {
    assert_eq!(variants("a"), Vec::<String>::new());
    assert_eq!(
        variants("a\n*b*\nc"),
        ["*b*\nc", "a\n*b*", "*b*", "a\nb\nc", "b\nc", "a\nb", "b"]
    );
    assert_eq!(variants("\n\n*"), ["*"]);
}

#[test]
fn hostile_answers_take_linear_time() {
    let all = [
        ("keywords:forbidden_words", json!({"forbidden_words": ["aa"]})),
        (
            "length_constraints:number_paragraphs",
            json!({"num_paragraphs": 2}),
        ),
        (
            "detectable_content:number_placeholders",
            json!({"num_placeholders": 9_000_000}),
        ),
        (
            "detectable_content:postscript",
            json!({"postscript_marker": "P.P.S"}),
        ),
        ("detectable_format:number_bullet_lists", json!({"num_bullets": 3})),
        (
            "detectable_format:number_highlighted_sections",
            json!({"num_highlights": 9_000_000}),
        ),
        (
            "detectable_format:multiple_sections",
            json!({"section_spliter": "Section", "num_sections": 9_000_000}),
        ),
        ("detectable_format:json_format", json!({})),
        ("detectable_format:title", json!({})),
        ("combination:two_responses", json!({})),
        (
            "change_case:capital_word_frequency",
            json!({"capital_frequency": 9_000_000, "capital_relation": "at least"}),
        ),
    ];
    for (id, arguments) in all {
        let row = row(id, &arguments);
        for text in [
            "a", "*", "<<", "[", "\n", " *", "p.p", "******", "Section ", "\"", "A. ", "\\", "{\"a\":",
        ] {
            verify(&row, &text.repeat(60_000 / text.len()));
        }
    }
}
