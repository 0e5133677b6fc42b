//! Instructions that ask for the impossible, or that are not instructions.

use super::{Chance, capitalised, with_instruction};
use crate::rules::Row;

pub fn nothing_to_work_on(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let noun = chance.pick(&[
        "sentence",
        "paragraph",
        "passage",
        "text",
        "article",
        "story",
        "poem",
        "review",
        "email",
        "dialogue",
        "statement",
        "essay",
        "list of words",
        "question",
        "excerpt",
    ]);
    let adjective = chance.pick(&["", "", "short ", "long ", "English "]);
    let reference = match chance.below(6) {
        0 => format!("the following {adjective}{noun}"),
        1 => format!("this {adjective}{noun}"),
        2 => format!("the {adjective}{} below", noun.split(' ').next()?),
        3 => format!("the given {adjective}{noun}"),
        4 => format!("the provided {adjective}{noun}"),
        _ => format!("the {adjective}{} above", noun.split(' ').next()?),
    };
    let task = match chance.below(5) {
        0 => format!(
            "{} {reference}",
            chance.pick(&[
                "Summarise",
                "Rewrite",
                "Translate",
                "Classify",
                "Correct",
                "Shorten"
            ])
        ),
        1 => format!("What is the main idea of {reference}"),
        2 => format!(
            "Identify the {} in {reference}",
            chance.pick(&["verbs", "tone", "main idea", "errors"])
        ),
        3 => format!("Read {reference} and decide whether it is formal"),
        _ => format!("Is {reference} written in the past tense"),
    };
    let tail = chance.pick(&[
        ".",
        ".",
        " in your own words.",
        ". Answer with one word.",
        ". Keep it short.",
    ]);
    Some(Row {
        instruction: format!("{task}{tail}"),
        input: String::new(),
        output: row.output.clone(),
    })
}

pub fn picture_wanted(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let lead = chance.pick(&[
        "",
        "",
        "Please ",
        "Can you ",
        "I want you to ",
        "Could you please ",
    ]);
    let verb = chance.pick(&[
        "draw", "create", "make", "generate", "design", "produce", "sketch", "paint",
    ]);
    let article = chance.pick(&["a", "a", "me a", "some", "two"]);
    let adjective = chance.pick(&[
        "",
        "simple ",
        "colourful ",
        "detailed ",
        "funny ",
        "large, bright ",
    ]);
    let medium = chance.pick(&[
        "picture",
        "image",
        "diagram",
        "photo",
        "illustration",
        "drawing",
        "video",
        "flowchart",
        "map",
        "bar chart",
        "graph",
        "cartoon",
    ]);
    let plural = if matches!(article, "some" | "two") {
        "s"
    } else {
        ""
    };
    let tail = chance.pick(&[
        " of a cat on a mat",
        " showing how rain forms",
        " for a children's party",
        " that explains the tides",
        " about the life of bees",
        " with three colours and a frame",
    ]);
    let end = if lead.contains("ou ") && lead.contains("an") {
        "?"
    } else {
        "."
    };
    with_instruction(
        row,
        format!(
            "{}{article} {adjective}{medium}{plural}{tail}{end}",
            capitalised(&format!("{lead}{verb} "))
        ),
    )
}

pub fn picture_absent(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let medium = chance.pick(&[
        "picture",
        "image",
        "photo",
        "video",
        "diagram",
        "drawing",
        "screenshot",
        "photograph",
        "chart",
    ]);
    let reference = match chance.below(6) {
        0 => format!("this {medium}"),
        1 => format!("the attached {medium}"),
        2 => format!("the following {medium}"),
        3 => format!("the {medium} below"),
        4 => format!("the {medium}"),
        _ => format!(
            "the {} {medium}",
            chance.pick(&["given", "provided", "uploaded", "above"])
        ),
    };
    let text = match chance.below(5) {
        0 => format!("Describe {reference} in two sentences."),
        1 => format!("Look at {reference} and say what you see."),
        2 => format!("What is shown in {reference}?"),
        3 => format!("How many people are in {reference}?"),
        _ => format!(
            "{} {reference}, then answer the question.",
            chance.pick(&["Study", "Examine", "View"])
        ),
    };
    with_instruction(row, text)
}

pub fn deed_wanted(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let deed = match chance.below(9) {
        0 => format!(
            "go to the {}",
            chance.pick(&["shop", "bank", "park", "post office"])
        ),
        1 => format!(
            "set {} {}",
            chance.pick(&["an", "my"]),
            chance.pick(&["alarm", "early alarm"])
        ),
        2 => format!(
            "call {} {}",
            chance.pick(&["my", "the"]),
            chance.pick(&["doctor", "boss", "restaurant", "school"])
        ),
        3 => format!(
            "buy {}",
            chance.pick(&["me a sandwich", "some milk", "two tickets", "a new lamp"])
        ),
        4 => format!(
            "play {}",
            chance.pick(&["the next song", "some music", "that video", "a calm song"])
        ),
        5 => format!(
            "send {}",
            chance.pick(&[
                "an email to Ruth",
                "a message to my boss",
                "him a text",
                "the invoice to Bob"
            ])
        ),
        6 => format!(
            "book {}",
            chance.pick(&["a table for two", "a cheap flight to Rome", "a hotel room"])
        ),
        7 => format!(
            "turn {} the {}",
            chance.pick(&["on", "off"]),
            chance.pick(&["lights", "radio", "oven"])
        ),
        _ => format!("click {}", chance.pick(&["on the first link", "the red button"])),
    };
    let lead = chance.pick(&["", "", "please ", "can you ", "could you please "]);
    let tail = chance.pick(&["", " for me", " before noon", " and tell me about it"]);
    with_instruction(row, format!("{}{tail}.", capitalised(&format!("{lead}{deed}"))))
}

pub fn ill_begun(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    if !row.instruction.starts_with(|c: char| c.is_uppercase()) {
        return None;
    }
    let start = match chance.below(4) {
        0 => chance
            .pick(&["- ", "* ", ". ", ", ", ": ", "• ", "> ", "— ", ") "])
            .to_string(),
        1 => format!("{}. ", chance.text("ABCDEFG", 1)),
        2 => format!("({}) ", chance.text("abcdef", 1)),
        _ => format!("{}{} ", 1 + chance.below(40), chance.pick(&[".", ")"])),
    };
    with_instruction(row, format!("{start}{}", row.instruction))
}

pub fn ill_measured(chance: &mut Chance, row: &Row, rows: &[Row]) -> Option<Row> {
    if chance.chance(2) {
        let words = row.instruction.split_whitespace().take(chance.below(4));
        let start = words.collect::<Vec<_>>().join(" ");
        // In a script without spaces, three words may be long.
        return start.is_ascii().then(|| with_instruction(row, start)).flatten();
    }
    let mut long = row.instruction.clone();
    while long.split_whitespace().count() <= 155 || long.chars().count() < 600 {
        long = format!("{long} {}", rows[chance.below(rows.len())].instruction);
    }
    long.is_ascii().then(|| with_instruction(row, long)).flatten()
}

pub fn no_program(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let signs = row
        .output
        .contains(['{', '=', '<', '|', '`', ';', '(', '[', '#', '$', '\\', '\n']);
    let words = [
        "print", "return", "select", "import", "begin", "loop", "let", "set", "display", "repeat", "echo",
        "for each",
    ];
    let lower = row.output.to_lowercase();
    if signs || words.iter().any(|word| lower.contains(word)) {
        return None;
    }
    let what = chance.pick(&[
        "a program",
        "a Python function",
        "a short script",
        "a Java method",
        "a Python program",
        "code",
    ]);
    let what = if what == "code" { "some code" } else { what };
    let verb = chance.pick(&["Write", "Create", "Implement", "Please write"]);
    with_instruction(
        row,
        format!(
            "{verb} {what} that {}",
            chance.pick(&[
                "adds two numbers.",
                "sorts a list of names.",
                "counts the vowels of a word.",
                "checks whether a number is prime."
            ])
        ),
    )
}
