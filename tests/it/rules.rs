//! The default rules must find defects that are put into clean rows, and leave clean rows alone. Every defect is made
//! up anew for each row: cut where chance has it, spelled as chance has it.

use ewe::filter::rules::RuleSet;
use ewe::task::Instance;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// A small generator (SplitMix64), so that a failure comes again.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    /// So many characters of the alphabet.
    fn text(&mut self, alphabet: &str, length: usize) -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        (0..length)
            .map(|_| alphabet[self.below(alphabet.len())])
            .collect()
    }

    /// Lower case, title case or upper case.
    fn cased(&mut self, text: &str) -> String {
        match self.below(4) {
            0 => text.to_lowercase(),
            1 => text.to_uppercase(),
            2 => capitalised(text),
            _ => text.to_string(),
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Row {
    instruction: String,
    input: String,
    output: String,
}

impl Row {
    fn instance(&self) -> Instance {
        Instance {
            input: self.input.clone(),
            output: self.output.clone(),
        }
    }

    fn says(&self, words: &[&str]) -> bool {
        let text = self.instruction.to_lowercase();
        words.iter().any(|word| text.contains(word))
    }

    /// Prose of several sentences in its last paragraph.
    fn is_prose(&self) -> bool {
        let last = self.output.lines().last().unwrap_or_default();
        last.matches(". ").count() >= 2
            && self.output.ends_with('.')
            && !self.output.contains(['{', '=', '|'])
    }
}

#[derive(Deserialize)]
struct Seed {
    instruction: String,
    instances: Vec<Instance>,
}

fn seeds() -> Vec<Row> {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/seeds/seed_tasks.jsonl")).unwrap();
    let row = |instruction: &str, instance: Instance| Row {
        instruction: instruction.to_string(),
        input: instance.input,
        output: instance.output,
    };
    text.lines()
        .map(|line| serde_json::from_str::<Seed>(line).unwrap())
        .flat_map(|seed| {
            seed.instances
                .into_iter()
                .map(move |instance| row(&seed.instruction, instance))
        })
        .collect()
}

fn clean_rows() -> Vec<Row> {
    include_str!("clean_rows.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The default set with personal data, too.
fn rules() -> RuleSet {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rules.toml");
    std::fs::write(
        &path,
        "enable = ['pii_email', 'pii_phone', 'pii_card', 'pii_key']",
    )
    .unwrap();
    RuleSet::read(path.to_str().unwrap()).unwrap()
}

fn reason(rules: &RuleSet, row: &Row) -> Option<&'static str> {
    rules
        .judge_instruction(&row.instruction)
        .or_else(|| rules.judge_instance(&row.instruction, &row.instance()))
        .map(|objection| objection.reason)
}

#[test]
fn clean_rows_stay() {
    let rules = RuleSet::default();
    for row in seeds() {
        assert_eq!(reason(&rules, &row), None, "{row:?}");
    }
    let rows = clean_rows();
    let lost: Vec<_> = rows
        .iter()
        .filter_map(|row| reason(&rules, row).map(|reason| (reason, row)))
        .collect();
    assert!(rows.len() >= 90 && lost.len() * 100 < rows.len(), "{lost:#?}");
}

/// Puts a defect into a row, or returns nothing where the row is not of its kind.
type Inject = fn(&mut Chance, &Row, &[Row]) -> Option<Row>;

/// The reason codes that count as found, and the defect.
const DEFECTS: &[(&str, &[&str], Inject)] = &[
    ("nothing answered", &["empty_output"], nothing_answered),
    ("no input spelled out", &["placeholder"], no_input),
    ("form not filled in", &["placeholder"], not_filled_in),
    ("form of a prompt", &["merged_task"], form_of_prompt),
    ("next of a list", &["merged_task", "list_item"], next_of_list),
    ("cut off", &["truncated_output", "incomplete"], cut_off),
    ("fence left open", &["truncated_output"], fence_left_open),
    ("echo", &["echo"], echo),
    ("link", &["link_only"], link),
    ("pretence", &["pretended_action"], pretence),
    ("refusal", &["refusal"], refusal),
    ("loop", &["repetition"], looping),
    ("control character", &["control_characters"], control_character),
    ("other language", &["wrong_language"], other_language),
    (
        "nothing to work on",
        &["missing_context", "unsuitable_medium"],
        nothing_to_work_on,
    ),
    ("picture wanted", &["unsuitable_medium"], picture_wanted),
    ("picture absent", &["unsuitable_medium"], picture_absent),
    ("deed wanted", &["unsuitable_act"], deed_wanted),
    (
        "ill begun",
        &["leading_punctuation", "list_item", "merged_task"],
        ill_begun,
    ),
    (
        "too short or long",
        &["too_short", "too_long", "empty", "repetition"],
        ill_measured,
    ),
    ("colon", &["incomplete"], colon),
    ("no program", &["no_code"], no_program),
    ("e-mail address", &["pii_email"], email),
    ("telephone", &["pii_phone"], phone),
    ("card", &["pii_card"], card),
    ("key", &["pii_key"], key),
];

#[test]
fn injected_defects_are_found() {
    let rules = rules();
    let rows: Vec<Row> = seeds()
        .into_iter()
        .chain(clean_rows())
        .filter(|row| reason(&rules, row).is_none())
        .collect();
    let mut failed = Vec::new();
    for &(name, reasons, inject) in DEFECTS {
        let mut chance = Chance(7);
        let (mut found, mut missed, mut wrong) = (0, Vec::new(), BTreeMap::new());
        for _ in 0..4000 {
            let row = &rows[chance.below(rows.len())];
            let Some(bad) = inject(&mut chance, row, &rows) else {
                continue;
            };
            match reason(&rules, &bad) {
                Some(reason) if reasons.contains(&reason) => found += 1,
                Some(other) => {
                    *wrong.entry(other).or_insert(0) += 1;
                    found += 1;
                }
                None => missed.push(bad),
            }
            if found + missed.len() == 400 {
                break;
            }
        }
        let all = found + missed.len();
        let rate = 100.0 * found as f64 / all.max(1) as f64;
        println!("{name:24} {found:4} of {all:4}  {rate:5.1} %  under other reasons {wrong:?}");
        let others: usize = wrong.values().sum();
        if all < 100 || rate < 95.0 || others * 10 > all {
            let shown: BTreeSet<_> = missed.iter().map(|row| format!("{row:?}")).collect();
            failed.push(format!(
                "{name}: {rate:.1} % of {all}, {wrong:?}\n  {}",
                shown.into_iter().take(12).collect::<Vec<_>>().join("\n  ")
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn with_output(row: &Row, output: impl Into<String>) -> Option<Row> {
    Some(Row {
        output: output.into(),
        ..row.clone()
    })
}

fn with_instruction(row: &Row, instruction: impl Into<String>) -> Option<Row> {
    Some(Row {
        instruction: instruction.into(),
        ..row.clone()
    })
}

/// The row with its instruction, input or output changed.
fn anywhere(chance: &mut Chance, row: &Row, change: impl FnOnce(&mut Chance, &str) -> String) -> Option<Row> {
    let mut row = row.clone();
    match chance.below(3) {
        0 => row.instruction = change(chance, &row.instruction),
        1 if !row.input.is_empty() => row.input = change(chance, &row.input),
        _ => row.output = change(chance, &row.output),
    }
    Some(row)
}

/// The text with a piece put between two words.
fn insert(chance: &mut Chance, text: &str, piece: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let at = chance.below(words.len()) + 1;
    [&words[..at], &[piece], &words[at..]].concat().join(" ")
}

fn nothing_answered(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let length = chance.below(5);
    let output = match chance.below(2) {
        0 => chance.text(" \n\t", length),
        _ => chance.text(" .-_\n*", length),
    };
    with_output(row, output)
}

fn no_input(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
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

fn not_filled_in(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
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

fn form_of_prompt(chance: &mut Chance, row: &Row, rows: &[Row]) -> Option<Row> {
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

fn next_of_list(chance: &mut Chance, row: &Row, rows: &[Row]) -> Option<Row> {
    let other = &rows[chance.below(rows.len())].instruction;
    let number = 2 + chance.below(40);
    let mark = chance.pick(&[".", ")", " .", ":"]);
    let piece = format!("{number}{mark} {other}");
    if chance.chance(4) {
        return with_instruction(row, piece);
    }
    // Where the number happens to continue a list, nobody could tell.
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

fn cut_off(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    if !row.is_prose() {
        return None;
    }
    let last = row.output.rfind('\n').map_or(0, |at| at + 1);
    let first_end = last + row.output[last..].find(". ")? + 3;
    let at = first_end + chance.below(row.output.len() - 1 - first_end);
    let kept = row.output.get(..at)?.trim_end();
    // A cut at the end of a sentence leaves a whole answer.
    if kept.ends_with(['.', '!', '?', ':', '"', ')', '”']) {
        return None;
    }
    with_output(row, kept)
}

fn fence_left_open(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let language = chance.pick(&["", "python", "sql", "rust"]);
    let before = chance.pick(&["", "Here it is:\n\n"]);
    with_output(row, format!("{before}```{language}\n{}", row.output))
}

fn echo(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
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

fn link(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
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

/// Tasks whose answer speaks with another voice.
const VOICES: &[&str] = &[
    "message",
    "mail",
    "letter",
    "dialogue",
    "convers",
    "translat",
    "rewrit",
    "reword",
    "rephras",
    "story",
    "repl",
    "respon",
    "script",
    "sentence",
    "note",
    "scene",
    "poem",
    "chat",
    "speech",
    "diar",
    "convert",
    "correct",
    "quot",
    "post",
    "continu",
    "complet",
    "extract",
    "fix",
    "song",
    "role",
    "apolog",
    "declin",
    "excus",
    "punctuat",
    "tense",
    "pretend",
    "imagine",
    "memo",
    "interview",
    "monolog",
    "caption",
    "tweet",
    "journal",
    "lyric",
    "passive",
];

fn pretence(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    if row.says(VOICES) {
        return None;
    }
    let opener = chance.pick(&[
        "",
        "",
        "Done! ",
        "Sure, ",
        "Okay. ",
        "Of course! ",
        "All set: ",
        "No problem, ",
    ]);
    let (done, object) = [
        ("set", "your alarm"),
        ("set", "a timer"),
        ("sent", "the email"),
        ("booked", "your table"),
        ("ordered", "the tickets"),
        ("scheduled", "the meeting"),
        ("turned off", "the lights"),
        ("added", "it to your calendar"),
        ("uploaded", "the file"),
        ("cancelled", "your order"),
        ("opened", "the door for you"),
    ][chance.below(11)];
    let tail = chance.pick(&[
        ".",
        " for 7 am.",
        " as you asked!",
        " for tomorrow. Anything else?",
    ]);
    let adverb = chance.pick(&["", "just ", "now ", "already "]);
    let claim = match chance.below(3) {
        0 => format!("I have {adverb}{done} {object}"),
        1 => format!("I've {adverb}{done} {object}"),
        _ => format!("I {adverb}{done} {object}"),
    };
    let rest = if chance.chance(2) {
        String::new()
    } else {
        format!("\n\n{}", row.output)
    };
    with_output(row, format!("{opener}{claim}{tail}{rest}"))
}

fn refusal(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    if row.says(VOICES) || row.says(&["chatbot", "language model", "assistant"]) {
        return None;
    }
    let sorry = chance.pick(&[
        "I'm sorry, but ",
        "I am sorry, ",
        "Unfortunately, ",
        "Sorry, ",
        "I apologize, but ",
        "I’m afraid ",
        "",
    ]);
    let cannot = chance.pick(&[
        "I cannot",
        "I can't",
        "I am unable to",
        "I'm not able to",
        "I am not able to",
    ]);
    let verb = chance.pick(&[
        "help with that",
        "answer this question",
        "assist you",
        "provide that",
        "complete this task",
        "do that",
        "fulfill this request",
        "generate this content",
    ]);
    let model = chance.pick(&[
        "As an AI language model, ",
        "As a language model, ",
        "As an AI, ",
        "I'm just an AI, so ",
    ]);
    let text = match chance.below(4) {
        0 => format!("{sorry}{cannot} {verb}."),
        1 => format!("{model}{cannot} {verb}."),
        2 => format!("{model}{}", row.output),
        _ => format!(
            "{sorry}I {} {}.",
            chance.pick(&["don't have", "do not have"]),
            chance.pick(&[
                "access to that",
                "enough information",
                "personal opinions",
                "the ability to do so"
            ])
        ),
    };
    with_output(row, capitalised(&text))
}

fn looping(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
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

fn control_character(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
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

fn other_language(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    const TEXTS: &[&[&str]] = &[
        &[
            "Der Zug fährt heute nicht, weil auf der Strecke gebaut wird.",
            "Wer nach Norden will, muss den Bus nehmen.",
            "Die Karten gelten auch dort, und die Fahrt dauert eine Stunde länger.",
        ],
        &[
            "Le train ne circule pas aujourd'hui à cause des travaux sur la ligne.",
            "Les voyageurs qui vont vers le nord doivent prendre le bus.",
            "Les billets sont aussi valables dans le bus, et le trajet dure une heure de plus.",
        ],
        &[
            "El tren no circula hoy porque hay obras en la vía.",
            "Los viajeros que van al norte tienen que tomar el autobús.",
            "Los billetes también son válidos en el autobús, y el viaje dura una hora más.",
        ],
        &[
            "Il treno oggi non parte perché ci sono dei lavori sulla linea.",
            "Chi vuole andare verso il nord deve prendere il bus.",
            "I biglietti sono validi anche nel bus, ma il viaggio dura un'ora in più.",
        ],
        &[
            "O comboio não circula hoje porque há obras na linha.",
            "Os passageiros que vão para o norte têm de apanhar o autocarro.",
            "Os bilhetes são válidos também no autocarro, mas a viagem dura mais uma hora.",
        ],
        &[
            "De trein rijdt vandaag niet omdat er aan het spoor wordt gewerkt.",
            "Wie naar het noorden wil, moet de bus nemen.",
            "De kaartjes zijn ook in de bus geldig, maar de reis duurt een uur langer.",
        ],
        &[
            "Поезд сегодня не идёт, потому что на линии ремонт.",
            "Тем, кто едет на север, нужно сесть на автобус.",
            "Билеты действуют и там, но поездка длится на час дольше.",
        ],
        &[
            "由于线路施工，今天火车停运。",
            "想去北方的旅客必须改乘汽车。",
            "车票在汽车上同样有效，但路程要多花一个小时。",
        ],
        &[
            "線路の工事のため、今日は電車が動きません。",
            "北へ行く人はバスに乗らなければなりません。",
            "切符はバスでも使えますが、一時間ほど長くかかります。",
        ],
        &[
            "لا يسير القطار اليوم بسبب أعمال الصيانة على الخط.",
            "على المسافرين إلى الشمال أن يركبوا الحافلة.",
            "التذاكر صالحة هناك أيضا لكن الرحلة تستغرق ساعة إضافية.",
        ],
        &[
            "오늘은 선로 공사 때문에 기차가 다니지 않습니다.",
            "북쪽으로 가는 사람은 버스를 타야 합니다.",
            "표는 버스에서도 쓸 수 있지만 한 시간이 더 걸립니다.",
        ],
        &[
            "Tåget går inte i dag eftersom det byggs på linjen.",
            "Den som ska norrut måste ta bussen från torget.",
            "Biljetterna gäller också på bussen, men resan tar en timme längre.",
        ],
        &[
            "Pociąg dziś nie jedzie, ponieważ na torach trwają prace.",
            "Kto chce jechać na północ, musi wsiąść do autobusu.",
            "Bilety są ważne także w autobusie, ale podróż trwa o godzinę dłużej.",
        ],
        &[
            "Juna ei kulje tänään, koska radalla tehdään korjaustöitä.",
            "Pohjoiseen matkustavien täytyy nousta linja-autoon torin laidalla.",
            "Liput kelpaavat myös linja-autossa, mutta matka kestää tunnin kauemmin.",
        ],
    ];
    let about_language = [
        "translat", "langu", "english", "french", "german", "spanish", "italian", "portug", "dutch", "latin",
        "idiom", "haiku", "pronounc", "russian", "swedish", "norweg", "danish", "polish", "turkish", "greek",
        "chinese", "japanese", "welsh", "irish",
    ];
    let code = |text: &str| {
        text.contains(['{', '=', '<', '|', '`', '\\', ';', '_', '[', '/'])
            || text.matches(['(', ')']).count() > 2
    };
    if row.says(&about_language)
        || !row.instruction.is_ascii()
        || code(&row.input)
        || row.instruction.split(' ').count() < 7
    {
        return None;
    }
    // German and French rows are no English ones.
    let english = ["the ", "a ", "of ", "in ", "what ", "how "];
    if english
        .iter()
        .filter(|word| row.instruction.to_lowercase().contains(**word))
        .count()
        < 2
    {
        return None;
    }
    let text = TEXTS[chance.below(TEXTS.len())];
    let start = chance.below(2);
    with_output(row, text[start..].join(" "))
}

fn nothing_to_work_on(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
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

fn picture_wanted(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
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

fn picture_absent(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
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

fn deed_wanted(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
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

fn ill_begun(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
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

fn ill_measured(chance: &mut Chance, row: &Row, rows: &[Row]) -> Option<Row> {
    if chance.chance(2) {
        let words = row.instruction.split_whitespace().take(chance.below(4));
        let start = words.collect::<Vec<_>>().join(" ");
        // In a script without spaces, three words may be many.
        return start.is_ascii().then(|| with_instruction(row, start)).flatten();
    }
    let mut long = row.instruction.clone();
    while long.split_whitespace().count() <= 155 || long.chars().count() < 600 {
        long = format!("{long} {}", rows[chance.below(rows.len())].instruction);
    }
    long.is_ascii().then(|| with_instruction(row, long)).flatten()
}

fn colon(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
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

fn no_program(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
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

fn email(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let (length, other) = (2 + chance.below(9), 3 + chance.below(8));
    let user = chance.text("abcdefghijklm", length) + chance.pick(&["", ".b", "_9", "+x", "7"]);
    let host = chance.text("nopqrstuvw", other);
    let top = chance.pick(&["com", "org", "co.uk", "de", "io", "net", "edu"]);
    let address = chance.cased(&format!("{user}@{host}.{top}"));
    let (open, close) = [("", ""), ("<", ">"), ("(", ")"), ("", ",")][chance.below(4)];
    let address = format!("{open}{address}{close}");
    anywhere(chance, row, |chance, text| insert(chance, text, &address))
}

fn phone(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let mut digits = |n: usize| chance.text("23456789", n);
    let (a, b, c, d) = (digits(3), digits(3), digits(4), digits(2));
    let number = match chance.below(6) {
        0 => format!("({a}) {b}-{c}"),
        1 => format!("{a}-{b}-{c}"),
        2 => format!("+1 {a} {b} {c}"),
        3 => format!("+{d} {a} {c}{d}"),
        4 => format!("+{d}-{a}-{b}-{c}"),
        _ => format!("0{d} {c} {c}"),
    };
    anywhere(chance, row, |chance, text| insert(chance, text, &number))
}

fn card(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let mut digits: Vec<u32> = vec![4 + chance.below(2) as u32];
    digits.extend((0..14).map(|_| chance.below(10) as u32));
    // The last digit makes the sum of ISO/IEC 7812 a multiple of ten.
    let sum: u32 = digits
        .iter()
        .enumerate()
        .map(|(i, d)| {
            if i % 2 == 0 {
                (2 * d) / 10 + (2 * d) % 10
            } else {
                *d
            }
        })
        .sum();
    digits.push((10 - sum % 10) % 10);
    let glue = chance.pick(&["", " ", "-"]);
    let groups: Vec<String> = digits
        .chunks(4)
        .map(|group| group.iter().map(u32::to_string).collect())
        .collect();
    let number = groups.join(glue);
    anywhere(chance, row, |chance, text| insert(chance, text, &number))
}

fn key(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let key = match chance.below(5) {
        0 => format!("AKIA{}", chance.text(&LETTERS[..26], 16)),
        1 => {
            let length = 24 + chance.below(24);
            format!("sk-{}", chance.text(LETTERS, length))
        }
        2 => format!("ghp_{}", chance.text(LETTERS, 36)),
        3 => format!(
            "-----BEGIN {}PRIVATE KEY-----\n{}",
            chance.pick(&["", "RSA ", "EC ", "OPENSSH "]),
            chance.text(LETTERS, 60)
        ),
        _ => format!(
            "eyJ{}.eyJ{}.{}",
            chance.text(LETTERS, 20),
            chance.text(LETTERS, 30),
            chance.text(LETTERS, 40)
        ),
    };
    anywhere(chance, row, |chance, text| insert(chance, text, &key))
}
