//! Any bytes split into rows.

use std::io::BufReader;

use proptest::prelude::*;

use super::*;
use crate::interchange::rows::row::Excerpt;

/// Splits a file. Returns each row with its place, or its error.
fn split(input: impl BufRead, longest: usize) -> Vec<Result<(Vec<u8>, String), String>> {
    let rows = JsonReader {
        longest,
        ..JsonReader::new(input)
    };
    rows.map(|row| match row {
        Ok(row) => Ok((row.text, row.place.in_file("f").to_string())),
        Err(RowError::Malformed { place, what, .. }) => Err(format!("{}: {what}", place.in_file("f"))),
        Err(error) => Err(error.to_string()),
    })
    .collect()
}

fn all(text: &str) -> Vec<Result<(String, String), String>> {
    split(text.as_bytes(), LONGEST)
        .into_iter()
        .map(|row| row.map(|(text, place)| (String::from_utf8(text).unwrap(), place)))
        .collect()
}

fn row(text: &str, place: &str) -> Result<(String, String), String> {
    Ok((text.into(), place.into()))
}

fn fault(what: &str) -> Result<(String, String), String> {
    Err(what.into())
}

#[test]
fn lines_and_arrays() {
    assert_eq!(all(""), []);
    assert_eq!(all(" [ ] \n"), []);
    assert_eq!(
        all("\u{feff}\n {\"a\": 1}\n\n{}"),
        [row("{\"a\": 1}", "f:2:2"), row("{}", "f:4:1")]
    );
    assert_eq!(all("\u{feff}{}"), [row("{}", "f:1:1")]);
    assert_eq!(
        all("[{\"a\": \"}\\\"]\"},\n  {\"b\": [{}]}]"),
        [row("{\"a\": \"}\\\"]\"}", "f:1:2"), row("{\"b\": [{}]}", "f:2:3")]
    );
}

#[test]
fn values_of_any_kind_stand_one_after_another() {
    assert_eq!(all("[{}] {}"), [row("{}", "f:1:2"), row("{}", "f:1:6")]);
    assert_eq!(
        all("[{\"a\": 1}]\n[{\"b\": 2},\n{\"c\": 3}]{\"d\": 4}{\"e\": 5}[]\n{\n \"f\": 6\n}\n{}"),
        [
            row("{\"a\": 1}", "f:1:2"),
            row("{\"b\": 2}", "f:2:2"),
            row("{\"c\": 3}", "f:3:1"),
            row("{\"d\": 4}", "f:3:10"),
            row("{\"e\": 5}", "f:3:18"),
            row("{\n \"f\": 6\n}", "f:4:1"),
            row("{}", "f:7:1"),
        ]
    );
    // Any number of empty arrays uses no stack.
    assert_eq!(all(&"[]".repeat(200_000)), []);
    // Byte order marks, and bytes with which programs fill up files.
    assert_eq!(
        all("\u{feff}\u{feff}{}\u{feff}{}\n\u{feff}[{},\u{feff}{}]\0\0\x1a"),
        [
            row("{}", "f:1:1"),
            row("{}", "f:1:6"),
            row("{}", "f:2:2"),
            row("{}", "f:2:8")
        ]
    );
}

#[test]
fn an_array_of_messages_is_one_row() {
    let talk = "[{\"role\": \"user\", \"content\": \"]\"}, {\"role\": \"assistant\"}]";
    assert_eq!(
        all(&format!("{talk}\n {talk}\n{{}}\n[{talk}, {talk}]")),
        [
            row(talk, "f:1:1"),
            row(talk, "f:2:2"),
            row("{}", "f:3:1"),
            row(talk, "f:4:2"),
            row(talk, &format!("f:4:{}", talk.len() + 4)),
        ]
    );
    assert_eq!(all("[\"q\", \"a\"]\n"), [row("[\"q\", \"a\"]", "f:1:1")]);
    assert_eq!(
        all("[[\"q\", \"a\"], [1]]"),
        [
            row("[\"q\", \"a\"]", "f:1:2"),
            fault("f:1:14: expected an object `{`")
        ]
    );
    // Rows with columns of this name are no messages.
    let rows = "[{\"from\": \"a@b\", \"text\": \"x\"}, {\"role\": \"user\", \"instruction\": \"x\"}]";
    assert_eq!(all(rows).len(), 2);
    assert_eq!(
        all("[{\"from\": \"human\", \"value\": \"q\"},")[0],
        fault("f:1:1: the file ends within this array")
    );
}

#[test]
fn a_broken_line_takes_no_other_with_it() {
    let next = "{\"b\": 1}";
    for broken in [
        "{\"a\": ",
        "{\"a\": \"x",
        "{\"a\": [1, 2",
        "[INFO] it\"s late",
        "[1, \"x",
        "{\"a\": 1} oops",
        "{\"a\": 1},",
        "]",
        "oops",
    ] {
        let text = format!("{next}\n{broken}\n\n{next}\n[{next}]");
        let found = all(&text);
        assert_eq!(found[1], row(broken.trim_end(), "f:2:1"), "{broken}");
        assert_eq!(found[2..], [row(next, "f:4:1"), row(next, "f:5:2")], "{broken}");
    }
}

#[test]
fn what_is_no_row_is_there_to_be_mended() {
    let found = |text: &str, longest| {
        let rows = JsonReader {
            longest,
            ..JsonReader::new(text.as_bytes())
        };
        let found = rows.filter_map(|row| match row {
            Err(RowError::Malformed { found, .. }) => Some(found),
            _ => None,
        });
        found.collect::<Vec<_>>()
    };
    let text = |text: &str| Excerpt::Text(text.into());
    assert_eq!(
        found("[{}, 3, \"a\", {\"b\": 1", LONGEST),
        [text("3"), text("\"a\""), text("{\"b\": 1")]
    );
    assert_eq!(found("{\"a\": 12345}\n{}\n", 5), [text("{\"a\":…")]);
}

#[test]
fn what_is_no_row_is_said_and_the_next_one_found() {
    let comma = "expected `,` or `]` after an object of the array";
    let object = "expected an object `{`";
    assert_eq!(
        all("[{} {}]"),
        [
            row("{}", "f:1:2"),
            fault(&format!("f:1:5: {comma}")),
            row("{}", "f:1:5")
        ]
    );
    assert_eq!(
        all("[{},\n3, \"a,\\\"]\", [1, {}],,null {\"b\": 1},]"),
        [
            row("{}", "f:1:2"),
            fault(&format!("f:2:1: {object}")),
            fault(&format!("f:2:4: {object}")),
            fault(&format!("f:2:13: {object}")),
            fault(&format!("f:2:21: {object}")),
            fault(&format!("f:2:22: {object}")),
            fault(&format!("f:2:27: {comma}")),
            row("{\"b\": 1}", "f:2:27"),
            fault(&format!("f:2:36: {object}")),
        ]
    );
    assert_eq!(
        all("[{},\n {\"a\": ")[1..],
        [fault("f:2:2: the file ends within this object")]
    );
    assert_eq!(all("[{}")[1..], [fault(&format!("f:1:4: {comma}"))]);
    assert_eq!(all("[{},")[1..], [fault(&format!("f:1:5: {object}"))]);
}

#[test]
fn a_row_without_bound_is_passed_over() {
    let long = format!("{{\"a\": \"{}\"}}", "x".repeat(100));
    for (text, place, next) in [
        (format!("{{}}\n{long}\n{{\"b\": 1}}"), "f:2:1", "f:3:1"),
        (format!("[{{}},\n{long},\n{{\"b\": 1}}]"), "f:2:1", "f:3:1"),
    ] {
        let rows = split(text.as_bytes(), 20);
        assert_eq!(rows.len(), 3, "{rows:?}");
        assert_eq!(rows[1], Err(format!("{place}: the row is longer than 64 MiB")));
        assert_eq!(rows[2], Ok((b"{\"b\": 1}".to_vec(), next.to_owned())));
    }
    let exact = "{\"a\": 12345678901234}";
    for text in [exact.to_owned(), format!("{exact}\n"), format!("[{exact}]")] {
        assert!(split(text.as_bytes(), 21)[0].is_ok(), "{text}");
        assert!(split(text.as_bytes(), 20)[0].is_err(), "{text}");
    }
}

#[test]
fn the_size_of_the_buffer_changes_nothing() {
    let texts = [
        "\u{feff}{\"a\": \"x\\\\\"}\r\n\r\n  {\"b\": [1, {\"c\": \"}\"}]} \noops\n{\"d\": \"\u{2602}\"}",
        "\u{feff} [ {\"a\": \"\\\"]\\\\\"} ,\n3, {\"b\":\n [1, {\"c\": \"\\\\\\\"}\"}]}\n{\"d\": 1}, [[]], {\"e\"",
        "\u{fe00}{}",
    ];
    for text in texts {
        for longest in [10, LONGEST] {
            let whole = split(text.as_bytes(), longest);
            for capacity in 1..64 {
                let buffered = BufReader::with_capacity(capacity, text.as_bytes());
                assert_eq!(split(buffered, longest), whole, "{text} by {capacity}");
            }
        }
    }
}

#[test]
fn objects_over_several_lines_are_told_from_broken_lines() {
    for (text, indented) in [
        ("{\n  \"a\": 1\n}\n", true),
        ("{\"a\": [\n 1], \"b\": 2}", false),
        ("{\"a\": {\n \"b\": 2}}", true),
        ("{\"a\": 1}\n{\"a\": 2}", false),
        ("{\"a\": 1\n{\"a\": 2}", false),
        ("{\"a\": \"x\n{\"a\": 2}", false),
        ("{\"a\": 1", false),
    ] {
        assert_eq!(is_indented(text.as_bytes()), indented, "{text}");
    }
}

/// Generates any JSON.
fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        "[\\[\\]{},\"\\\\\n ]{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            object(inner)
        ]
    })
}

fn object(value: impl Strategy<Value = serde_json::Value>) -> impl Strategy<Value = serde_json::Value> {
    prop::collection::btree_map(any::<String>(), value, 0..4)
        .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect()))
}

proptest! {
    #[test]
    fn every_object_comes_back(
        objects in prop::collection::vec(object(value()), 1..6), capacity in 1usize..40, pretty in any::<bool>()
    ) {
        let lines: Vec<String> = objects.iter().map(|object| object.to_string()).collect();
        let elements = match pretty {
            true => objects.iter().map(|object| serde_json::to_string_pretty(object).unwrap()).collect(),
            false => lines.clone(),
        };
        for (text, rows) in [
            (lines.join("\r\n\n"), lines),
            (format!("\t[\n{}\n]\n", elements.join(" ,\n")), elements),
        ] {
            let found = split(BufReader::with_capacity(capacity, text.as_bytes()), LONGEST);
            let found: Vec<_> = found.into_iter().map(|row| String::from_utf8(row.unwrap().0).unwrap()).collect();
            prop_assert_eq!(found, rows);
        }
    }

    #[test]
    fn any_bytes_come_to_an_end(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "\\[?[\\[\\]{},:\"\\\\ \na1]{0,100}".prop_map(String::into_bytes),
        ],
        capacity in 1usize..40
    ) {
        // At most one error per byte consumed, and one more where none was: at most two items a
        // byte.
        let mut rows = JsonReader::new(BufReader::with_capacity(capacity, bytes.as_slice()));
        let count = (0..2 * bytes.len() + 2).map_while(|_| rows.next()).count();
        prop_assert!(count < 2 * bytes.len() + 2);
        prop_assert!(rows.next().is_none());
        prop_assert_eq!(split(BufReader::with_capacity(capacity, bytes.as_slice()), 7), split(bytes.as_slice(), 7));
    }
}
