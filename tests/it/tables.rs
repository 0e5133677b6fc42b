//! Tables of cells: quotes and line endings.

use crate::{
    formats::one_seed,
    shell::Dir,
    support::{ewe, import_file},
};

/// Imports a table; returns instructions and outputs.
fn imported(name: &str, text: &str) -> Vec<Vec<String>> {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write(name, text);
    import_file(&dir, name).success();
    dir.sql("select instruction, output from dataset where origin = 'import' order by instance_id")
}

#[test]
fn quotes_within_cells_are_kept() {
    for (name, text, wanted) in [
        (
            "rows.csv",
            "instruction,output\n\"Hi\" she said,x\nB,y\n",
            [["\"Hi\" she said", "x"], ["B", "y"]],
        ),
        (
            "rows.csv",
            "instruction,output\n5\" screen,x\n\"a \"\"b\"\"\",\"y, z\"\n",
            [["5\" screen", "x"], ["a \"b\"", "y, z"]],
        ),
        // In a TSV, quotes are delimiters only if all that begin a cell are closed.
        (
            "rows.tsv",
            "instruction\toutput\n\"Hi\" she said\tx\nSay \"\t\"y\n",
            [["\"Hi\" she said", "x"], ["Say \"", "\"y"]],
        ),
        (
            "rows.tsv",
            "instruction\toutput\n\"A\nB\"\t\"x\ty\"\n\"\"\"C\"\"\"\tz\n",
            [["A\nB", "x\ty"], ["\"C\"", "z"]],
        ),
        // An unclosed quote does not swallow rows either.
        (
            "rows.csv",
            "instruction,output\n\"A,x\nB,\"y\" z\n",
            [["\"A", "x"], ["B", "\"y\" z"]],
        ),
    ] {
        assert_eq!(imported(name, text), wanted, "{text}");
    }
}

#[test]
fn an_unclosed_quote_is_an_error_of_its_line() {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write("rows.csv", "instruction,output\nA,x\n\"B,y\nC,z\nD,w\n");
    let said = import_file(&dir, "rows.csv").failure(1).stderr();
    assert!(
        said.contains("rows.csv:3:1: a cell begins with a quote that is not closed\nhint: --keep-going"),
        "{said}"
    );
    let out = ewe(&dir, &["import", "--db", "d.db", "rows.csv", "--keep-going"]).success();
    assert!(out.stderr().contains("left out: 1 of 4 rows"), "{}", out.stderr());
}

#[test]
fn every_line_ending_is_read() {
    let wanted = [["A", "x"], ["B", "y"]];
    for end in ["\n", "\r\n", "\r", "\n\n", "\r\n\r\n"] {
        let text = ["instruction,output", "A,x", "B,y"].join(end);
        for text in [text.clone(), text.clone() + end, text + end + "\0\0\u{1a}"] {
            assert_eq!(imported("rows.csv", &text), wanted, "{text:?}");
        }
    }
    // A carriage return within a quoted cell is part of its text.
    assert_eq!(
        imported("rows.csv", "instruction,output\r\n\"A\rB\",\"x\r\ny\"\r\n"),
        [["A\rB", "x\r\ny"]]
    );
}
