//! Files as strangers write them: every format and every packing, read alike by every command; what is none of these, named.

use std::io::Write;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::{
    shell::Dir,
    support::{ewe, number},
};

/// What every file of [`files`] says: instruction, input, output.
const ROWS: [[&str; 3]; 2] = [
    ["Name a river in \"Köln\".", "", "The Rhine,\nof course ☂"],
    ["Add these up.", "2, 3", "5"],
];

/// The same where a format has one text for what is asked.
fn question(row: usize) -> String {
    match ROWS[row] {
        [instruction, "", _] => instruction.to_owned(),
        [instruction, input, _] => format!("{instruction}\n\n{input}"),
    }
}

/// JSON lines of what `row` makes of each row.
fn lines(row: impl Fn(usize) -> Value) -> Vec<u8> {
    (0..ROWS.len())
        .flat_map(|number| format!("{}\n", row(number)).into_bytes())
        .collect()
}

fn alpaca(row: usize) -> Value {
    let [instruction, input, output] = ROWS[row];
    json!({"instruction": instruction, "input": if input.is_empty() { Value::Null } else { input.into() }, "output": output})
}

/// Cells with this between them.
fn cells(delimiter: char, names: [&str; 3]) -> Vec<u8> {
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

fn gzip(bytes: &[u8]) -> Vec<u8> {
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

/// A file, its bytes, and whether it keeps instruction and input apart.
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
    let asked = |name: &'static str, answer: &'static str| {
        lines(move |number| json!({name: question(number), answer: ROWS[number][2]}))
    };
    vec![
        ("alpaca.jsonl", plain.clone(), true),
        ("alpaca.json", array, true),
        ("indented.json", indented, true),
        ("lines-in-a.json", plain.clone(), true),
        ("bom.jsonl", [b"\xef\xbb\xbf", &plain[..]].concat(), true),
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
            "seeds.jsonl",
            lines(
                |number| json!({"instruction": ROWS[number][0], "instances": [{"input": ROWS[number][1], "output": ROWS[number][2]}]}),
            ),
            true,
        ),
        ("comma.csv", cells(',', ["instruction", "input", "output"]), true),
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

/// What a dataset has of a file.
fn wanted(apart: bool) -> Vec<Vec<String>> {
    let row = |number: usize| match apart {
        true => ROWS[number].map(str::to_owned).to_vec(),
        false => vec![question(number), String::new(), ROWS[number][2].to_owned()],
    };
    vec![row(0), row(1)]
}

fn one_seed(dir: &Dir) {
    let _ = std::fs::remove_file(dir.path("d.db"));
    dir.write("one.jsonl", r#"{"instruction": "Say hi.", "output": "hi"}"#);
    ewe(dir, &["init", "--db", "d.db", "--seeds", "one.jsonl"]).success();
}

#[test]
fn import_init_and_filter_read_every_format() {
    for (name, bytes, apart) in files() {
        let dir = Dir::new();
        dir.write(name, &bytes);
        one_seed(&dir);
        ewe(&dir, &["import", "--db", "d.db", name]).success();
        let rows = dir.sql(
            "select instruction, input, output from dataset where origin = 'import' order by instance_id",
        );
        assert_eq!(rows, wanted(apart), "import {name}");

        std::fs::remove_file(dir.path("d.db")).unwrap();
        ewe(&dir, &["init", "--db", "d.db", "--seeds", name]).success();
        let rows = dir
            .sql("select instruction, input, output from dataset where origin = 'seed' order by instance_id");
        assert_eq!(rows, wanted(apart), "init {name}");

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
fn standard_input_is_read_alike() {
    for (name, bytes, apart) in files() {
        let dir = Dir::new();
        one_seed(&dir);
        dir.write(name, bytes);
        let mut import = crate::shell::command(&dir, &["import", "--db", "d.db", "-"]);
        import.stdin(std::fs::File::open(dir.path(name)).unwrap());
        crate::shell::ran(import).success();
        let rows = dir.sql(
            "select instruction, input, output from dataset where origin = 'import' order by instance_id",
        );
        assert_eq!(rows, wanted(apart), "{name}");
    }
}

#[test]
fn a_folder_of_datasets_is_read_and_others_are_named() {
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
    let fails = |name: &str, words: &[&str]| {
        let said = ewe(&dir, &["import", "--db", "d.db", name]).failure(1).stderr();
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
fn what_has_no_rows_is_named_for_what_it_is() {
    let dir = Dir::new();
    one_seed(&dir);
    let chinese = encoding_rs::GBK.encode("{\"instruction\": \"请把下面的句子翻译成英文。\", \"output\": \"今天天气很好，我们去公园散步。\"}").0;
    let french = encoding_rs::WINDOWS_1252
        .encode("{\"instruction\": \"Où est la bibliothèque ?\", \"output\": \"À côté du café.\"}")
        .0;
    let mut tar = vec![b'a'; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    let cases: Vec<(&str, &[u8], &str)> = vec![
        (
            "page.jsonl",
            b"\n<!DOCTYPE html>\n<html><body>404</body></html>",
            "an HTML page",
        ),
        (
            "pointer.parquet",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "git lfs pull",
        ),
        (
            "rows.zip",
            b"PK\x03\x04\x14\0\0\0\x08\0rows.jsonl",
            "a zip archive",
        ),
        (
            "rows.xlsx",
            b"PK\x03\x04\x14\0\0\0\x08\0[Content_Types].xml",
            "save the sheet as CSV",
        ),
        ("model.pt", b"PK\x03\x04\0\0archive/data.pkl", "PyTorch"),
        ("rows.tar", &tar, "a tar archive"),
        (
            "model.safetensors",
            b"\x40\0\0\0\0\0\0\0{\"__metadata__\":{}}",
            "a safetensors file",
        ),
        ("model.gguf", b"GGUF\x03\0\0\0", "a GGUF model"),
        ("rows.pkl", b"\x80\x04\x95\x10\0\0\0\0\0\0\0", "a pickle"),
        ("paper.pdf", b"%PDF-1.7\n", "a PDF document"),
        ("feed.xml", b"<?xml version=\"1.0\"?><rows/>", "XML"),
        ("rows.h5", b"\x89HDF\r\n\x1a\n", "HDF5"),
        ("rows.npy", b"\x93NUMPY\x01\0", "NumPy"),
        ("rows.7z", b"7z\xbc\xaf\x27\x1c\0\x04", "7z"),
        ("gbk.jsonl", &chinese, "it looks like GBK"),
        ("latin1.jsonl", &french, "Latin-1"),
        (
            "python.txt",
            b"{'instruction': 'a', 'output': 'b'}\n",
            "as Python prints them",
        ),
        ("rows.yaml", b"- instruction: a\n  output: b\n", "YAML"),
        ("utf32.jsonl", b"\xff\xfe\0\0{\0\0\0", "UTF-32"),
    ];
    for (name, bytes, what) in cases {
        dir.write(name, bytes);
        let packed = format!("{name}.gz");
        dir.write(&packed, gzip(bytes));
        for name in [name, packed.as_str()] {
            for arguments in [
                &["import", "--db", "d.db", name][..],
                &["filter", name],
                &["init", "--db", "new.db", "--seeds", name],
            ] {
                let said = ewe(&dir, arguments).failure(1).stderr();
                assert!(
                    said.contains(what) && said.contains(name),
                    "{arguments:?}: {said}"
                );
                assert!(said.contains("\nhint: "), "{arguments:?}: {said}");
            }
        }
    }
    ewe(&dir, &["backup", "--db", "d.db", "--out", "copy.db"]).success();
    let said = ewe(&dir, &["import", "--db", "d.db", "copy.db"])
        .failure(1)
        .stderr();
    assert!(said.contains("an SQLite database\nhint: "), "{said}");
    dir.write("cut.gz", &gzip(&lines(alpaca))[..40]);
    let said = ewe(&dir, &["import", "--db", "d.db", "cut.gz"])
        .failure(1)
        .stderr();
    assert!(said.contains("compressed with gzip and ends too early"), "{said}");
    assert_eq!(number(&dir, "select count(*) from task"), 1);
}

#[test]
fn columns_of_any_name_are_mapped() {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write(
        "rows.jsonl",
        "{\"q\": \"Name a river.\", \"answers\": {\"text\": [\"The Rhine.\"], \"start\": [3]}, \"about\": \"\"}\n",
    );
    let said = ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"])
        .failure(1)
        .stderr();
    assert!(
        said.contains("the fields `q`, `answers`, `about`\nhint: --map instruction=COLUMN,output=COLUMN"),
        "{said}"
    );
    let map = "instruction=q,output=answers.text.0,input=about";
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "--map", map]).success();
    let rows = dir.sql("select instruction, input, output from dataset where origin = 'import'");
    assert_eq!(rows, [["Name a river.", "", "The Rhine."]]);
    ewe(&dir, &["filter", "rows.jsonl", "--map", "instruction=q"]).success();
    ewe(
        &dir,
        &["init", "--db", "seeds.db", "--seeds", "rows.jsonl", "--map", map],
    )
    .success();
    // A file beside it is looked at by its own names first.
    dir.write("eval.jsonl", "{\"q\": \"Name a river.\"}\n");
    dir.write("known.jsonl", "{\"instruction\": \"Name a river.\"}\n");
    for against in ["eval.jsonl", "known.jsonl"] {
        let out = ewe(
            &dir,
            &[
                "filter",
                "rows.jsonl",
                "--map",
                "instruction=q",
                "--rules",
                "none",
                "--against",
                against,
                "--json",
            ],
        );
        assert!(out.success().stdout().contains("\"accepted\":0"), "{against}");
    }
    for (map, words) in [
        (
            "instruction=nowhere,output=q",
            "no row of `rows.jsonl` has the column `nowhere`\nhint: its first row has the fields `q`",
        ),
        ("output=q,messages=q", "do not go together"),
        ("output=q,output=answers", "two columns"),
    ] {
        let said = ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "--map", map])
            .failure(1)
            .stderr();
        assert!(said.contains(words), "{map}: {said}");
    }
    for map in ["question=q", "instruction"] {
        ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "--map", map]).failure(2);
    }
    dir.write(
        "talk.jsonl",
        "{\"talk\": [{\"from\": \"human\", \"value\": \"q\"}, {\"from\": \"gpt\", \"value\": \"a\"}]}\n",
    );
    ewe(
        &dir,
        &["import", "--db", "d.db", "talk.jsonl", "--map", "messages=talk"],
    )
    .success();
    // Preferences are named for what they are, with the way out.
    dir.write(
        "dpo.jsonl",
        "{\"prompt\": \"Say a.\", \"chosen\": \"a\", \"rejected\": \"b\"}\n",
    );
    let said = ewe(&dir, &["import", "--db", "d.db", "dpo.jsonl"])
        .failure(1)
        .stderr();
    assert!(said.contains("preferences; --map output=chosen"), "{said}");
    ewe(
        &dir,
        &["import", "--db", "d.db", "dpo.jsonl", "--map", "output=chosen"],
    )
    .success();
    dir.write("text.jsonl", "{\"text\": \"Once upon a time\"}\n");
    let said = ewe(&dir, &["import", "--db", "d.db", "text.jsonl"])
        .failure(1)
        .stderr();
    assert!(
        said.contains("`text`") && said.contains("--map instruction=COLUMN,output=COLUMN"),
        "{said}"
    );
    ewe(&dir, &["filter", "text.jsonl", "--map", "instruction=text"]).success();
    dir.write(
        "wrapped.json",
        "{\"version\": 1, \"data\": [{\"question\": \"q\"}]}",
    );
    let said = ewe(&dir, &["import", "--db", "d.db", "wrapped.json"])
        .failure(1)
        .stderr();
    assert!(said.contains("jq -c '.data[]'"), "{said}");
}

#[test]
fn one_bad_row_of_many_is_left_out_and_kept_apart() {
    let dir = Dir::new();
    one_seed(&dir);
    let good = |number: usize| {
        format!(
            "{{\"instruction\": \"Count to {number} in the way of {}.\", \"output\": \"yes\"}}\n",
            number * 7919
        )
    };
    let bad = "{\"instruction\": \"x\", \"output\": NaN}\n";
    let rows: Vec<String> = (0..10_000)
        .map(|number| if number == 7_000 { bad.into() } else { good(number) })
        .collect();
    dir.write("rows.jsonl", rows.concat());
    let keep = ["--keep-going", "--left-out", "left.jsonl"];
    for arguments in [
        &["import", "--db", "d.db", "rows.jsonl"][..],
        &["filter", "rows.jsonl", "--rules", "none"],
        &["init", "--db", "new.db", "--seeds", "rows.jsonl"],
    ] {
        let said = ewe(&dir, arguments).failure(1).stderr();
        assert!(
            said.contains("rows.jsonl:7001:32: `NaN` is not JSON") && said.contains("hint: --keep-going"),
            "{said}"
        );
        let out = ewe(&dir, &[arguments, &keep[..]].concat()).success();
        assert!(
            out.stderr().contains("left out: rows.jsonl:7001:32: `NaN`"),
            "{}",
            out.stderr()
        );
        assert!(
            out.stderr()
                .contains("left out: 1 of 10000 rows; they are in `left.jsonl`"),
            "{}",
            out.stderr()
        );
        let left: Value = serde_json::from_str(&dir.read("left.jsonl")).unwrap();
        assert_eq!(left["place"], "7001:32");
        assert_eq!(left["row"], bad.trim());
        std::fs::remove_file(dir.path("left.jsonl")).unwrap();
    }
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'import'"),
        9_999
    );
    // Not a single good row is an error all the same.
    dir.write(
        "bad.jsonl",
        "{\"instruction\": \"\", \"output\": \"a\"}\n{\"instruction\": 1}\n",
    );
    let said = ewe(&dir, &["import", "--db", "d.db", "bad.jsonl", "--keep-going"])
        .failure(1)
        .stderr();
    assert!(said.contains("none of 2 rows can be read"), "{said}");
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "--left-out", "x"]).failure(2);
}

#[test]
fn conversations_that_are_no_task_are_named() {
    let dir = Dir::new();
    one_seed(&dir);
    for (row, what) in [
        (
            json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]}),
            "calls tools",
        ),
        (
            json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}]}),
            "a conversation of user, assistant, user, assistant",
        ),
        (
            json!({"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "q"}]}),
            "a conversation of gpt, human",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, {"role": "assistant", "content": "a"}]}),
            "part of type `image_url`",
        ),
        (
            json!({"instruction": "q", "output": "a", "history": [["p", "b"]]}),
            "`history` has earlier turns",
        ),
    ] {
        dir.write("rows.jsonl", format!("{row}\n"));
        let said = ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"])
            .failure(1)
            .stderr();
        assert!(
            said.contains(what) && said.contains("rows.jsonl:1:1: "),
            "{row}: {said}"
        );
        assert!(said.contains("hint: --keep-going"), "{row}: {said}");
    }
}

#[test]
fn rows_of_instructions_alone_are_enough_for_the_filter() {
    let dir = Dir::new();
    one_seed(&dir);
    for (name, text) in [
        (
            "a.jsonl",
            "{\"instruction\": \"Name a river.\"}\n{\"instruction\": \"Name a river!\"}\n",
        ),
        ("b.csv", "question\nName a river.\nName a river!\n"),
        (
            "c.jsonl",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"Name a river.\"}]}\n{\"messages\": [{\"role\": \"user\", \"content\": \"Name a river!\"}]}\n",
        ),
        (
            "d.jsonl",
            "{\"prompt\": \"Name a river.\"}\n{\"prompt\": \"Name a river!\"}\n",
        ),
        (
            "e.jsonl",
            "{\"instruction\": \"Name a river.\", \"output\": null}\n{\"instruction\": \"Name a river!\", \"output\": \"The Rhine.\"}\n",
        ),
    ] {
        dir.write(name, text);
        let out = ewe(&dir, &["filter", name, "--rules", "none", "--json"]).success();
        let counts: Value = serde_json::from_str(&out.stdout()).unwrap();
        assert_eq!(
            counts,
            json!({"rows": 2, "accepted": 1, "rejected": {"near_duplicate": 1}}),
            "{name}"
        );
    }
    let said = ewe(&dir, &["import", "--db", "d.db", "a.jsonl"])
        .failure(1)
        .stderr();
    assert!(
        said.contains("hint: there is no answer; --map output=COLUMN"),
        "{said}"
    );
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
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"]).success();
    let rows =
        dir.sql("select instruction, input, output from dataset where origin = 'import' order by task_id");
    assert_eq!(
        rows,
        [
            ["123456789012345678901234567890", "-0", "1e400"],
            ["Which one counts?", "", "the last"]
        ]
    );
    // Rows that are kept are kept as they stand; a table that would round them is refused.
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
fn kept_rows_are_written_as_the_name_says() {
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
        ewe(&dir, &["import", "--db", "d.db", out]).success();
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

/// The commands with tensors: what they make of a file is what they make of its texts as prompts and completions.
#[cfg(feature = "torch")]
mod tensors {
    use std::path::Path;

    use assert_cmd::Command;

    use super::*;

    fn ewe_torch(dir: &Dir, arguments: &[&str]) -> String {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gptj");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ewe-torch"));
        command.current_dir(dir.path(".")).env("OMP_NUM_THREADS", "1");
        command.args(arguments).arg("--model").arg(model);
        let ended = command.assert().success();
        String::from_utf8(ended.get_output().stderr.clone()).unwrap()
    }

    #[test]
    fn score_reads_every_format() {
        let dir = Dir::new();
        let texts = lines(|number| json!({"prompt": question(number), "completion": ROWS[number][2]}));
        dir.write("texts.jsonl", texts);
        ewe_torch(&dir, &["score", "--data", "texts.jsonl", "--out", "wanted.jsonl"]);
        for (name, bytes, _) in files() {
            dir.write(name, bytes);
            ewe_torch(&dir, &["score", "--data", name, "--out", "out.jsonl"]);
            assert_eq!(dir.read("out.jsonl"), dir.read("wanted.jsonl"), "{name}");
        }
    }

    #[test]
    fn complete_reads_every_format() {
        let dir = Dir::new();
        let greedy = ["--out", "out.jsonl", "--max-tokens", "4", "--temperature", "0"];
        let texts = lines(|number| json!({"prompt": question(number)}));
        dir.write("texts.jsonl", texts);
        ewe_torch(
            &dir,
            &[&["complete", "--prompts", "texts.jsonl"], &greedy[..]].concat(),
        );
        let wanted = dir.read("out.jsonl");
        for (name, bytes, _) in files() {
            dir.write(name, bytes);
            ewe_torch(&dir, &[&["complete", "--prompts", name], &greedy[..]].concat());
            assert_eq!(dir.read("out.jsonl"), wanted, "{name}");
        }
    }

    #[test]
    fn train_reads_every_format() {
        let dir = Dir::new();
        dir.write(
            "rows.jinja",
            "{% block prompt %}{{ instruction }}{{ input }}{% endblock %}{% block completion %}{{ output }}{% endblock %}",
        );
        let options = ["--out", "out", "--dry-run", "--eval-fraction", "0"];
        for (name, bytes, _) in files() {
            dir.write(name, bytes);
            let template = match name {
                "completion.jsonl" => &["--template", "completion"],
                _ => &["--template-file", "rows.jinja"],
            };
            let said = ewe_torch(
                &dir,
                &[&["train", "--data", name], &options[..], &template[..]].concat(),
            );
            assert!(!said.contains("left out"), "{name}: {said}");
        }
    }

    #[test]
    fn train_reads_what_export_writes() {
        let dir = Dir::new();
        one_seed(&dir);
        dir.write("rows.jinja", "{% block prompt %}{{ instruction }}{% endblock %}{% block completion %}{{ output }}{% endblock %}");
        for (format, name) in [
            ("alpaca", "x.json"),
            ("alpaca", "x.jsonl"),
            ("alpaca", "x.parquet"),
            ("dolly", "x.jsonl"),
            ("dolly", "x.json"),
            ("chat", "x.jsonl.gz"),
            ("chat", "x.parquet"),
            ("completion", "x.jsonl.zst"),
            ("completion", "x.parquet"),
            ("self-instruct", "x.jsonl"),
            ("self-instruct", "x.parquet"),
            ("parquet", "x.parquet"),
        ] {
            ewe(
                &dir,
                &["export", "--db", "d.db", "--format", format, "--out", name],
            )
            .success();
            let template = match format {
                "completion" => &["--template", "completion"],
                _ => &["--template-file", "rows.jinja"],
            };
            let options = ["--out", "out", "--dry-run", "--eval-fraction", "0"];
            ewe_torch(
                &dir,
                &[&["train", "--data", name], &options[..], &template[..]].concat(),
            );
        }
    }

    #[test]
    fn rows_that_are_left_out_keep_their_numbers() {
        let dir = Dir::new();
        dir.write(
            "rows.jsonl",
            "{\"q\": \"a\", \"r\": \"b\"}\nnonsense\n{\"q\": \"c\", \"r\": \"d\", \"id\": 1}\n",
        );
        let options = [
            "--map",
            "prompt=q,completion=r",
            "--keep-going",
            "--left-out",
            "left.jsonl",
            "--out",
            "out.jsonl",
        ];
        let said = ewe_torch(&dir, &[&["score", "--data", "rows.jsonl"], &options[..]].concat());
        assert!(
            said.contains("left out: rows.jsonl:2:2: not a JSON object") && said.contains("1 of 3 rows"),
            "{said}"
        );
        assert!(said.contains("not used: the field `id`"), "{said}");
        let rows: Vec<u64> = dir
            .read("out.jsonl")
            .lines()
            .map(|line| {
                serde_json::from_str::<Value>(line).unwrap()["row"]
                    .as_u64()
                    .unwrap()
            })
            .collect();
        assert_eq!(rows, [0, 2]);
        assert!(dir.read("left.jsonl").contains("\"place\":\"2:2\""));
    }
}
