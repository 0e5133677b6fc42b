//! Files as other programs write them: every format and compression, read alike by every command.

use std::io::Write;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use ewe::interchange::{Need, Reading, read};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

use crate::{
    shell::Dir,
    support::{ewe, import_file},
};

/// The contents of every file of [`files`]: instruction, input, output.
pub const ROWS: [[&str; 3]; 2] = [
    ["Name a river in \"Köln\".", "", "The Rhine,\nof course ☂"],
    ["Add these up.", "2, 3", "5"],
];

/// The question of a row in formats that have one text for instruction and input.
pub fn question(row: usize) -> String {
    match ROWS[row] {
        [instruction, "", _] => instruction.to_owned(),
        [instruction, input, _] => format!("{instruction}\n\n{input}"),
    }
}

/// JSON lines of `row(0)` and `row(1)`.
pub fn lines(row: impl Fn(usize) -> Value) -> Vec<u8> {
    (0..ROWS.len())
        .flat_map(|number| format!("{}\n", row(number)).into_bytes())
        .collect()
}

pub fn alpaca(row: usize) -> Value {
    let [instruction, input, output] = ROWS[row];
    json!({"instruction": instruction, "input": if input.is_empty() { Value::Null } else { input.into() }, "output": output})
}

/// A table with this delimiter.
pub fn cells(delimiter: char, names: [&str; 3]) -> Vec<u8> {
    let quoted = |cell: &str| format!("\"{}\"", cell.replace('"', "\"\""));
    let line = |cells: [&str; 3]| cells.map(quoted).join(&delimiter.to_string()) + "\r\n";
    format!("{}{}", line(names), ROWS.map(line).concat()).into_bytes()
}

fn batch() -> RecordBatch {
    let column =
        |place: usize| Arc::new(StringArray::from_iter_values(ROWS.map(|row| row[place]))) as ArrayRef;
    RecordBatch::try_from_iter([
        ("instruction", column(0)),
        ("input", column(1)),
        ("output", column(2)),
    ])
    .unwrap()
}

fn arrow_stream() -> Vec<u8> {
    let mut out = arrow_ipc::writer::StreamWriter::try_new(Vec::new(), &batch().schema()).unwrap();
    out.write(&batch()).unwrap();
    out.into_inner().unwrap()
}

fn arrow_file() -> Vec<u8> {
    let mut out = arrow_ipc::writer::FileWriter::try_new(Vec::new(), &batch().schema()).unwrap();
    out.write(&batch()).unwrap();
    out.into_inner().unwrap()
}

fn parquet() -> Vec<u8> {
    let mut out = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch().schema(), None).unwrap();
    out.write(&batch()).unwrap();
    out.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 0).unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    liblzma::encode_all(bytes, 6).unwrap()
}

/// lzma, the predecessor of xz.
fn lzma(bytes: &[u8]) -> Vec<u8> {
    let options = liblzma::stream::LzmaOptions::new_preset(6).unwrap();
    let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
    let mut out = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A frame with a window of 256 MiB, as `zstd --long` makes, with one uncompressed block.
fn far_looking_zstd(bytes: &[u8]) -> Vec<u8> {
    let size = u32::try_from(bytes.len()).unwrap() << 3 | 1;
    let header = [0x28, 0xb5, 0x2f, 0xfd, 0, (28 - 10) << 3];
    [&header, &size.to_le_bytes()[..3], bytes].concat()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn utf16(bytes: &[u8], big_endian: bool, mark: bool) -> Vec<u8> {
    let text = format!(
        "{}{}",
        if mark { "\u{feff}" } else { "" },
        std::str::from_utf8(bytes).unwrap()
    );
    text.encode_utf16()
        .flat_map(|unit| {
            if big_endian {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        })
        .collect()
}

/// Files: name, bytes, and whether instruction and input are separate fields.
pub fn files() -> Vec<(&'static str, Vec<u8>, bool)> {
    let plain = lines(alpaca);
    let messages = |number: usize| json!([{"role": "user", "content": question(number)}, {"role": "assistant", "content": ROWS[number][2]}]);
    let array = format!("[{},\n {}]", alpaca(0), alpaca(1)).into_bytes();
    let indented: Vec<u8> = (0..2)
        .flat_map(|number| {
            format!("{}\n", serde_json::to_string_pretty(&alpaca(number)).unwrap()).into_bytes()
        })
        .collect();
    let named = |question: &'static str, input: &'static str, answer: &'static str| {
        lines(move |number| {
            let row = ROWS[number];
            json!({"id": number, question: row[0], input: row[1], answer: row[2]})
        })
    };
    let marked = |bytes: &[u8]| [b"\xef\xbb\xbf", bytes].concat();
    let (first, second) = (format!("{}\n", alpaca(0)), format!("{}\n", alpaca(1)));
    let asked = |name: &'static str, answer: &'static str| {
        lines(move |number| json!({name: question(number), answer: ROWS[number][2]}))
    };
    vec![
        ("alpaca.jsonl", plain.clone(), true),
        ("alpaca.json", array, true),
        ("indented.json", indented, true),
        ("lines-in-a.json", plain.clone(), true),
        ("bom.jsonl", marked(&plain), true),
        (
            "joined.jsonl",
            [marked(&marked(first.as_bytes())), marked(second.as_bytes())].concat(),
            true,
        ),
        (
            "joined-arrays.json",
            format!("[{}]\n[\n{}\n]\n", alpaca(0), alpaca(1)).into_bytes(),
            true,
        ),
        (
            "array-and-lines.json",
            format!("[{}]{second}", alpaca(0)).into_bytes(),
            true,
        ),
        (
            "without-line-ends.json",
            format!("{}{}", alpaca(0), alpaca(1)).into_bytes(),
            true,
        ),
        ("filled-up.jsonl", [&plain[..], &[0; 100]].concat(), true),
        ("ctrl-z.jsonl", [&plain[..], b"\x1a"].concat(), true),
        (
            "json-seq.jsonl",
            format!("\u{1e}{first}\u{1e}{second}").into_bytes(),
            true,
        ),
        ("utf16le.jsonl", utf16(&plain, false, true), true),
        ("utf16be.jsonl", utf16(&plain, true, true), true),
        ("utf16-unmarked.jsonl", utf16(&plain, false, false), true),
        ("dolly.jsonl", named("instruction", "context", "response"), true),
        (
            "predictions.jsonl",
            named("instruction", "input", "response"),
            true,
        ),
        ("qa.jsonl", named("question", "context", "answer"), true),
        ("capitals.jsonl", named("Question", "Context", "Answer"), true),
        ("shouted.jsonl", named("INSTRUCTION", "INPUT", "RESPONSE"), true),
        ("query.jsonl", named("query", "input", "response"), true),
        ("problem.jsonl", asked("problem", "solution"), false),
        ("inputs.jsonl", asked("inputs", "targets"), false),
        ("input-output.jsonl", asked("input", "output"), false),
        ("completion.jsonl", asked("prompt", "completion"), false),
        (
            "chat.jsonl",
            lines(|number| json!({"messages": messages(number)})),
            false,
        ),
        (
            "parts.jsonl",
            lines(|number| {
                let part = |text: &str| json!([{"type": "text", "text": text}]);
                json!({"messages": [{"role": "user", "content": part(&question(number))}, {"role": "assistant", "content": part(ROWS[number][2])}]})
            }),
            false,
        ),
        (
            "sharegpt.json",
            lines(
                |number| json!({"conversations": [{"from": "human", "value": question(number)}, {"from": "gpt", "value": ROWS[number][2]}]}),
            ),
            false,
        ),
        (
            "text-of-messages.jsonl",
            lines(|number| json!({"messages": messages(number).to_string()})),
            false,
        ),
        (
            "prompt-messages.jsonl",
            lines(|number| json!({"prompt": [messages(number)[0]], "completion": [messages(number)[1]]})),
            false,
        ),
        (
            "lima.jsonl",
            lines(|number| json!({"conversations": [question(number), ROWS[number][2]], "source": "x"})),
            false,
        ),
        (
            "ultrachat.jsonl",
            lines(|number| json!({"id": "0", "data": [question(number), ROWS[number][2]]})),
            false,
        ),
        ("arrays-of-messages.jsonl", lines(messages), false),
        (
            "array-of-arrays.json",
            format!("[{},\n{}]", messages(0), messages(1)).into_bytes(),
            false,
        ),
        (
            "seeds.jsonl",
            lines(
                |number| json!({"instruction": ROWS[number][0], "instances": [{"input": ROWS[number][1], "output": ROWS[number][2]}]}),
            ),
            true,
        ),
        ("comma.csv", cells(',', ["instruction", "input", "output"]), true),
        (
            "capitals.csv",
            cells(',', ["Instruction", "Input", "Output"]),
            true,
        ),
        (
            "joined.csv",
            {
                let table = cells(',', ["instruction", "input", "output"]);
                let header = table.iter().position(|byte| *byte == b'\n').unwrap() + 1;
                [&marked(&table)[..], &marked(&table[..header])[..]].concat()
            },
            true,
        ),
        ("tab.tsv", cells('\t', ["instruction", "input", "output"]), true),
        (
            "semicolon.txt",
            cells(';', ["question", "context", "answer"]),
            true,
        ),
        (
            "utf16.csv",
            utf16(&cells(',', ["instruction", "input", "output"]), false, true),
            true,
        ),
        ("rows.parquet", parquet(), true),
        ("rows.arrow", arrow_file(), true),
        ("data-00000-of-00001.arrow", arrow_stream(), true),
        ("rows.jsonl.gz", gzip(&plain), true),
        (
            "two-members.gz",
            [gzip(&plain[..plain.len() / 2]), gzip(&plain[plain.len() / 2..])].concat(),
            true,
        ),
        ("rows.jsonl.zst", zstd(&plain), true),
        ("rows.jsonl.xz", xz(&plain), true),
        ("rows.jsonl.lzma", lzma(&plain), true),
        ("rows.jsonl.zz", zlib(&plain), true),
        ("padded.jsonl.gz", [&gzip(&plain)[..], &[0; 512]].concat(), true),
        ("long.jsonl.zst", far_looking_zstd(&plain), true),
        ("rows.jsonl.bz2", bzip2(&plain), true),
        ("gzip-named.jsonl", gzip(&plain), true),
        (
            "csv.gz",
            gzip(&cells(',', ["instruction", "input", "output"])),
            true,
        ),
        ("parquet.zst", zstd(&parquet()), true),
        ("stream.gz", gzip(&arrow_stream()), true),
        ("twice.gz", gzip(&zstd(&plain)), true),
    ]
}

/// The examples expected in a dataset after one of [`files`].
fn wanted(apart: bool) -> Vec<Vec<String>> {
    let row = |number: usize| match apart {
        true => ROWS[number].map(str::to_owned).to_vec(),
        false => vec![question(number), String::new(), ROWS[number][2].to_owned()],
    };
    vec![row(0), row(1)]
}

/// Writes a dataset `d.db` with one seed, in place of the one that is there. It is made once for
/// all tests.
pub fn one_seed(dir: &Dir) {
    static MADE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let dir = Dir::new();
        dir.write("one.jsonl", r#"{"instruction": "Say hi.", "output": "hi"}"#);
        ewe(&dir, &["init", "--db", "d.db", "--seeds", "one.jsonl"]).success();
        std::fs::remove_file(dir.path("one.jsonl")).unwrap();
        dir.dataset()
    });
    let _ = std::fs::remove_file(dir.path("d.db"));
    dir.write("d.db", &*MADE);
}

/// Names of [`files`] with one of each kind: of each way to split a file into rows, to decode it,
/// and to find a task in a row.
const KINDS: [&str; 17] = [
    "alpaca.jsonl",
    "array-and-lines.json",
    "indented.json",
    "utf16le.jsonl",
    "dolly.jsonl",
    "qa.jsonl",
    "completion.jsonl",
    "chat.jsonl",
    "sharegpt.json",
    "arrays-of-messages.jsonl",
    "seeds.jsonl",
    "comma.csv",
    "semicolon.txt",
    "rows.parquet",
    "data-00000-of-00001.arrow",
    "parquet.zst",
    "twice.gz",
];

/// One of [`files`] of each kind. All commands read with the same reader, whose rows
/// [`every_file_has_the_same_rows`] compares for all files; what a command makes of them is
/// compared for these.
pub fn kinds() -> Vec<(&'static str, Vec<u8>, bool)> {
    let mut files = files();
    files.retain(|(name, ..)| KINDS.contains(name));
    assert_eq!(files.len(), KINDS.len());
    files
}

/// Rows as every command gets them, whatever it needs of a row.
#[test]
fn every_file_has_the_same_rows() {
    let dir = Dir::new();
    for (name, bytes, apart) in files() {
        dir.write(name, bytes);
        for need in [Need::Task, Need::Instruction, Need::Pair, Need::Prompt] {
            let reading = Reading {
                need,
                ..Reading::default()
            };
            let mut reader = read::open(&dir.path(name), &reading).unwrap();
            let mut rows = Vec::new();
            while let Some(row) = reader.next_row() {
                rows.push(reader.parser().unwrap().parse(&row.unwrap()).unwrap());
            }
            let texts = rows.iter().map(|row| {
                let [instance] = &row.task.instances[..] else {
                    panic!("{name} {need:?}: {row:?}");
                };
                [&row.task.instruction, &instance.input, &instance.output]
                    .map(String::clone)
                    .to_vec()
            });
            assert_eq!(texts.collect::<Vec<_>>(), wanted(apart), "{name} {need:?}");
            let asked: Vec<String> = rows.iter().map(|row| row.question(0)).collect();
            assert_eq!(asked, [question(0), question(1)], "{name} {need:?}");
        }
    }
}

/// The examples of this origin in the dataset.
fn examples(dir: &Dir, origin: &str) -> Vec<Vec<String>> {
    dir.sql(&format!(
        "select instruction, input, output from dataset where origin = '{origin}' order by instance_id"
    ))
}

#[test]
fn import_init_and_filter_read_every_kind_of_file() {
    for (name, bytes, apart) in kinds() {
        let dir = Dir::new();
        dir.write(name, &bytes);
        one_seed(&dir);
        import_file(&dir, name).success();
        assert_eq!(examples(&dir, "import"), wanted(apart), "import {name}");

        std::fs::remove_file(dir.path("d.db")).unwrap();
        ewe(&dir, &["init", "--db", "d.db", "--seeds", name]).success();
        assert_eq!(examples(&dir, "seed"), wanted(apart), "init {name}");

        let out = ewe(
            &dir,
            &["filter", name, "--rules", "none", "--out", "kept.jsonl", "--json"],
        )
        .success();
        let counts: Value = serde_json::from_str(&out.stdout()).unwrap();
        assert_eq!(
            (&counts["rows"], &counts["accepted"]),
            (&json!(2), &json!(2)),
            "filter {name}"
        );
        let out = ewe(
            &dir,
            &[
                "filter",
                "kept.jsonl",
                "--rules",
                "none",
                "--against",
                name,
                "--json",
            ],
        )
        .success();
        let counts: Value = serde_json::from_str(&out.stdout()).unwrap();
        assert_eq!(counts["accepted"], 0, "--against {name}: {counts}");
    }
}

#[test]
fn standard_input_is_read_in_every_format() {
    for (name, bytes, apart) in files() {
        let dir = Dir::new();
        one_seed(&dir);
        dir.write(name, bytes);
        let mut import = crate::shell::command(&dir, &["import", "--db", "d.db", "-"]);
        import.stdin(std::fs::File::open(dir.path(name)).unwrap());
        crate::shell::ran(import).success();
        assert_eq!(examples(&dir, "import"), wanted(apart), "import {name}");
        if !KINDS.contains(&name) {
            continue;
        }
        std::fs::remove_file(dir.path("d.db")).unwrap();
        let mut init = crate::shell::command(&dir, &["init", "--db", "d.db", "--seeds", "-"]);
        init.stdin(std::fs::File::open(dir.path(name)).unwrap());
        crate::shell::ran(init).success();
        assert_eq!(examples(&dir, "seed"), wanted(apart), "init {name}");
    }
}

#[test]
fn a_folder_of_datasets_is_read_and_other_folders_are_errors() {
    let dir = Dir::new();
    one_seed(&dir);
    std::fs::create_dir(dir.path("saved")).unwrap();
    dir.write(
        "saved/state.json",
        r#"{"_data_files": [{"filename": "a.arrow"}, {"filename": "b.arrow"}], "_indices_data_files": null}"#,
    );
    dir.write("saved/a.arrow", arrow_stream());
    dir.write("saved/b.arrow", arrow_stream());
    let out = ewe(&dir, &["filter", "saved", "--rules", "none", "--json"]).success();
    assert!(out.stdout().contains("\"rows\":4"), "{}", out.stdout());
    ewe(&dir, &["init", "--db", "seeds.db", "--seeds", "saved"]).success();
    let fails = |name: &str, words: &[&str]| {
        let said = import_file(&dir, name).failure(1).stderr();
        assert!(words.iter().all(|word| said.contains(word)), "{name}: {said}");
    };
    std::fs::create_dir(dir.path("dict")).unwrap();
    dir.write("dict/dataset_dict.json", r#"{"splits": ["train", "test"]}"#);
    fails("dict", &["several splits", "hint: ", "dict/train"]);
    std::fs::create_dir(dir.path("plain")).unwrap();
    dir.write("plain/rows.jsonl", "{}");
    fails("plain", &["is a folder", "plain/rows.jsonl"]);
    dir.write("saved/b.arrow", &arrow_stream()[..40]);
    fails("saved", &["cannot read `saved` as Arrow"]);
}

#[test]
fn numbers_keep_their_digits() {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write(
        "rows.jsonl",
        concat!(
            r#"{"instruction": 123456789012345678901234567890, "input": -0, "output": 1e400, "x": 0.10000000000000000000001}"#, "\n",
            r#"{"instruction": "a", "instruction": "Which one counts?", "output": "the last"}"#, "\n",
        ),
    );
    import_file(&dir, "rows.jsonl").success();
    let rows =
        dir.sql("select instruction, input, output from dataset where origin = 'import' order by task_id");
    assert_eq!(
        rows,
        [
            ["123456789012345678901234567890", "-0", "1e400"],
            ["Which one counts?", "", "the last"]
        ]
    );
    // Rows are written unchanged; a table that would round them is refused.
    ewe(
        &dir,
        &["filter", "rows.jsonl", "--rules", "none", "--out", "kept.jsonl"],
    )
    .success();
    assert_eq!(dir.read("kept.jsonl"), dir.read("rows.jsonl"));
    let said = ewe(
        &dir,
        &["filter", "rows.jsonl", "--rules", "none", "--out", "kept.parquet"],
    )
    .failure(1)
    .stderr();
    assert!(
        said.contains("no column holds all digits of 123456789012345678901234567890\nhint: "),
        "{said}"
    );
}

#[test]
fn the_name_of_the_output_decides_its_encoding() {
    let dir = Dir::new();
    dir.write("rows.csv", cells(',', ["instruction", "input", "output"]));
    dir.write("rows.jsonl", lines(alpaca));
    for (source, out) in [
        ("rows.csv", "kept.csv"),
        ("rows.csv", "kept.tsv"),
        ("rows.csv", "kept.csv.gz"),
        ("rows.csv", "kept.jsonl"),
        ("rows.jsonl", "kept.jsonl.gz"),
        ("rows.jsonl", "kept.json.zst"),
        ("rows.jsonl", "kept.parquet"),
    ] {
        ewe(&dir, &["filter", source, "--rules", "none", "--out", out]).success();
        let first = std::fs::read(dir.path(out)).unwrap();
        ewe(&dir, &["filter", source, "--rules", "none", "--out", out]).success();
        assert!(std::fs::read(dir.path(out)).unwrap() == first, "{out} twice");
        one_seed(&dir);
        import_file(&dir, out).success();
        let rows = dir.sql(
            "select instruction, input, output from dataset where origin = 'import' order by instance_id",
        );
        assert_eq!(rows, wanted(true), "{source} to {out}");
    }
    for (out, what) in [
        ("kept.csv", "the rows are no cells"),
        ("kept.jsonl.xz", "hint: a name that ends in .gz or .zst"),
        ("kept.parquet.gz", "Parquet packs its columns itself"),
    ] {
        let said = ewe(&dir, &["filter", "rows.jsonl", "--out", out])
            .failure(1)
            .stderr();
        assert!(said.contains(what), "{out}: {said}");
    }
}
