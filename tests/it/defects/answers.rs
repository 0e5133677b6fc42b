//! Defects of inputs and outputs.

use super::{Chance, anywhere, insert, with_instruction, with_output};
use crate::rules::Row;

pub fn nothing_answered(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let length = chance.below(5);
    let output = match chance.below(2) {
        0 => chance.text(" \n\t", length),
        _ => chance.text(" .-_\n*", length),
    };
    with_output(row, output)
}

pub fn no_input(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let words = match chance.below(3) {
        0 => chance
            .pick(&[
                "no input",
                "noinput",
                "n/a",
                "not applicable",
                "input not required",
            ])
            .to_string(),
        1 => {
            let thing = chance.pick(&[
                "input",
                "additional input",
                "further input",
                "input data",
                "context",
            ]);
            let verb = chance.pick(&["required", "needed", "necessary", "provided", "given"]);
            let is = chance.pick(&[" ", " is "]);
            format!("no {thing}{is}{verb}")
        }
        _ => format!(
            "none {}",
            chance.pick(&["needed", "required", "provided", "given"])
        ),
    };
    let words = words.replace(' ', chance.pick(&[" ", " ", "_", "-"]));
    let words = chance.cased(&words);
    let pad = chance.pick(&["", "", " "]);
    let (open, close) = [
        ("<", ">"),
        ("[", "]"),
        ("(", ")"),
        ("", ""),
        ("{", "}"),
        ("\"", "\""),
    ][chance.below(6)];
    let end = chance.pick(&["", ".", "\n", "!"]);
    let input = format!("{open}{pad}{words}{pad}{close}{end}");
    if chance.chance(3) && !words.to_lowercase().starts_with("none") {
        return with_output(row, input);
    }
    Some(Row { input, ..row.clone() })
}

pub fn not_filled_in(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let thing = chance.pick(&["answer", "response", "output", "text", "sentence"]);
    let words = match chance.below(3) {
        0 => format!("your {thing}"),
        1 => format!(
            "{} {thing}",
            chance.pick(&["insert", "enter", "write", "add your"])
        ),
        _ => format!(
            "{} {thing} here",
            chance.pick(&["insert", "enter", "type", "your", "put the"])
        ),
    };
    let words = chance.cased(&words);
    let (open, close) = [("<", ">"), ("[", "]"), ("{", "}"), ("{{", "}}"), ("(", ")")][chance.below(5)];
    with_output(
        row,
        format!("{open}{words}{close}{}", chance.pick(&["", ".", " "])),
    )
}

pub fn form_of_prompt(chance: &mut Chance, row: &Row, rows: &[Row]) -> Option<Row> {
    let other = rows[chance.below(rows.len())].clone();
    let number = 2 + chance.below(30);
    let piece = match chance.below(7) {
        0 => format!("{number}. Instruction: {}", other.instruction),
        1 => format!("### Instruction:\n{}", other.instruction),
        2 => format!("Task {number}: {}", other.instruction),
        3 => format!("Input: {}\nOutput: {}", other.input, other.output),
        4 => format!(
            "{}: {}",
            chance.pick(&["Instruction", "INSTRUCTION", "Task", "task", "**Instruction**"]),
            other.instruction
        ),
        5 => format!("###\n{}", other.instruction),
        _ => format!("Class label: {}", other.output),
    };
    let gap = chance.pick(&["\n", "\n\n", "\n\n\n"]);
    let mut bad = row.clone();
    match chance.below(3) {
        0 => bad.instruction = format!("{}{gap}{piece}", bad.instruction),
        1 if !bad.input.is_empty() => bad.input = format!("{}{gap}{piece}", bad.input),
        _ => bad.output = format!("{}{gap}{piece}", bad.output),
    }
    Some(bad)
}

pub fn next_of_list(chance: &mut Chance, row: &Row, rows: &[Row]) -> Option<Row> {
    let other = &rows[chance.below(rows.len())].instruction;
    let number = 2 + chance.below(40);
    let mark = chance.pick(&[".", ")", " .", ":"]);
    let piece = format!("{number}{mark} {other}");
    if chance.chance(4) {
        return with_instruction(row, piece);
    }
    // If the number happens to continue a list, nobody could tell.
    let before = format!("{}.", number - 1);
    let numbers = format!("{} {} {}", row.instruction, row.input, row.output);
    if numbers.contains(&before)
        || numbers
            .split(|c: char| !c.is_ascii_digit())
            .any(|n| n == number.to_string() || n == (number - 1).to_string())
    {
        return None;
    }
    with_output(
        row,
        format!("{}{}{piece}", row.output, chance.pick(&["\n", "\n\n"])),
    )
}

pub fn cut_off(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    if !row.is_prose() {
        return None;
    }
    let last = row.output.rfind('\n').map_or(0, |at| at + 1);
    let first_end = last + row.output[last..].find(". ")? + 3;
    let at = first_end + chance.below(row.output.len() - 1 - first_end);
    let kept = row.output.get(..at)?.trim_end();
    // A cut at the end of a sentence leaves a complete answer.
    if kept.ends_with(['.', '!', '?', ':', '"', ')', '”']) {
        return None;
    }
    with_output(row, kept)
}

pub fn fence_left_open(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let language = chance.pick(&["", "python", "sql", "rust"]);
    let before = chance.pick(&["", "Here it is:\n\n"]);
    with_output(row, format!("{before}```{language}\n{}", row.output))
}

pub fn echo(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let changes = [
        "case",
        "capital",
        "punctuation",
        "format",
        "quot",
        "accent",
        "space",
    ];
    let from = if row.input.is_empty() || chance.chance(3) {
        &row.instruction
    } else {
        &row.input
    };
    if row.says(&changes) || from.split(' ').count() < 2 {
        return None;
    }
    let end = chance.pick(&["", ".", "\n", "!", " "]);
    let output = format!("{}{}{end}", chance.pick(&["", " ", "\""]), chance.cased(from));
    with_output(row, output)
}

pub fn link(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    if row.says(&[
        "url", "link", "web", "file", "address", "path", "domain", "image", "logo", "html", "markdown",
        "package", "module", "citation",
    ]) {
        return None;
    }
    let length = 3 + chance.below(9);
    let name = chance.text("abcdefgh0123-", length) + "x";
    let thing = chance.pick(&["image", "photo", "picture", "video", "screenshot", "audio"]);
    let kind = chance.pick(&["jpg", "png", "mp4", "pdf", "JPEG", "gif", "wav"]);
    let text = match chance.below(6) {
        0 => format!("{}://{name}.com/{name}", chance.pick(&["https", "http"])),
        1 => format!("www.{name}.org/{name}?id={}", chance.below(999)),
        2 => format!("{name}.{kind}"),
        3 => {
            let around = [("[", "]"), ("(", ")"), ("<", ">")][chance.below(3)];
            let words = chance.pick(&["attached ", "see ", "", "insert ", "an "]);
            format!("{}{words}{thing}{}", around.0, around.1)
        }
        4 => format!(
            "({thing} {})",
            chance.pick(&["attached", "of a dog", "below", "1"])
        ),
        _ => format!("![{name}]({name}.{kind})"),
    };
    if chance.chance(2) {
        return with_output(row, text);
    }
    Some(Row {
        input: text,
        ..row.clone()
    })
}

pub fn looping(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    if row.says(&[
        "repeat", "refrain", "chorus", "song", "lyric", "rhyme", "times", "sequence", "pattern", "matrix",
        "binary", "grid",
    ]) {
        return None;
    }
    let words: Vec<&str> = row
        .output
        .split_whitespace()
        .filter(|word| word.chars().filter(|c| c.is_alphabetic()).count() > 1)
        .collect();
    let start = chance.below(words.len().max(1));
    let kind = chance.below(4);
    let length = match kind {
        0 => 1,
        1 => 2 + chance.below(4),
        _ => 5 + chance.below(7),
    };
    let unit = words.get(start..start + length)?.join(" ");
    let times = match kind {
        0 => 7 + chance.below(40),
        1 => 5 + chance.below(20),
        _ => 4 + chance.below(10),
    };
    let glue = chance.pick(&[" ", ", ", "\n", ". "]);
    let mut run = vec![unit.as_str(); times].join(glue);
    if chance.chance(6) {
        let letter = unit.chars().find(|c| c.is_alphabetic())?;
        run = letter.to_string().repeat(12 + chance.below(60));
    }
    anywhere(chance, row, |chance, text| match chance.below(2) {
        0 => format!("{text} {run}"),
        _ => insert(chance, text, &run),
    })
}

pub fn control_character(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let c = [
        '\0', '\u{1}', '\u{7}', '\u{8}', '\u{1b}', '\u{7f}', '\u{85}', '\u{9d}', '\u{fffd}', '\u{202e}',
        '\u{2067}', '\u{fdd5}', '\u{ffff}', '\u{b}', '\u{c}',
    ][chance.below(15)];
    anywhere(chance, row, |chance, text| {
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let at = places[chance.below(places.len())].max(text.chars().next().map_or(0, char::len_utf8));
        format!("{}{c}{}", &text[..at], &text[at..])
    })
}

pub fn colon(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    if row.output.contains(['{', '=', '<', '|', '`', ';', '(']) {
        return None;
    }
    let text = row.output.trim_end_matches(['.', '!', '?']);
    let words: Vec<&str> = text.split(' ').collect();
    let kept = words[..1 + chance.below(words.len())].join(" ");
    with_output(
        row,
        format!(
            "{}{}",
            kept.trim_end_matches(['.', ',', ':', ';']),
            chance.pick(&[":", ": ", ":\n", "::"])
        )
        .replace("::", ":"),
    )
}

pub fn mojibake(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    if row.says(&["encod", "decod", "unicode", "utf"]) {
        return None;
    }
    let word = chance.pick(&[
        "café",
        "naïve",
        "piñata",
        "Übung",
        "don’t",
        "“so",
        "wait…",
        "1914–18",
        "20°C",
        "£20",
        "€20",
        "Привет",
        "日本語",
        "😀",
    ]);
    let (misread, _) = encoding_rs::WINDOWS_1252.decode_without_bom_handling(word.as_bytes());
    anywhere(chance, row, |chance, text| insert(chance, text, &misread))
}
