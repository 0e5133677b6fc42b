//! Tables of cells: what their quotes mean, and how their lines end.

use crate::{formats::one_seed, shell::Dir, support::ewe};

/// What the dataset has of a table: instructions and outputs.
fn imported(name: &str, text: &str) -> Vec<Vec<String>> {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write(name, text);
    ewe(&dir, &["import", "--db", "d.db", name]).success();
    dir.sql("select instruction, output from dataset where origin = 'import' order by instance_id")
}

#[test]
fn no_quote_of_a_text_is_lost() {
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
        // No table of tabs has quotes around its cells unless all that look so are.
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
        // Neither does a quote that is not closed take rows with it.
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
fn a_quote_that_is_not_closed_costs_its_line() {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write("rows.csv", "instruction,output\nA,x\n\"B,y\nC,z\nD,w\n");
    let said = ewe(&dir, &["import", "--db", "d.db", "rows.csv"])
        .failure(1)
        .stderr();
    assert!(
        said.contains("rows.csv:3:1: a cell begins with a quote that is not closed\nhint: --keep-going"),
        "{said}"
    );
    let out = ewe(&dir, &["import", "--db", "d.db", "rows.csv", "--keep-going"]).success();
    assert!(out.stderr().contains("left out: 1 of 4 rows"), "{}", out.stderr());
}

#[test]
fn lines_end_as_they_do() {
    let wanted = [["A", "x"], ["B", "y"]];
    for end in ["\n", "\r\n", "\r", "\n\n", "\r\n\r\n"] {
        let text = ["instruction,output", "A,x", "B,y"].join(end);
        for text in [text.clone(), text.clone() + end, text + end + "\0\0\u{1a}"] {
            assert_eq!(imported("rows.csv", &text), wanted, "{text:?}");
        }
    }
    // A return within a quoted cell is a letter of it.
    assert_eq!(
        imported("rows.csv", "instruction,output\r\n\"A\rB\",\"x\r\ny\"\r\n"),
        [["A\rB", "x\r\ny"]]
    );
}
