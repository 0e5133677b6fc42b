//! Parquet in and out: round trips, column types, damaged files.

use std::{fs::File, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array,
    Int64Array, ListArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
    types::{Int32Type, Int64Type},
};
use arrow_schema::{DataType, Field, Schema};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, GzipLevel},
    file::properties::WriterProperties,
};
use serde_json::json;

use crate::{
    shell::{Dir, ewe_limited},
    support::{command, ewe, filled, json as printed, number},
};

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .unwrap()
}

/// Two rows in Alpaca's format.
fn alpaca() -> RecordBatch {
    batch(vec![
        (
            "instruction",
            texts(&[Some("Name a river."), Some("Say why rain falls.")]),
        ),
        ("output", texts(&[Some("Rhine"), Some("It is heavy.")])),
    ])
}

fn write_with(dir: &Dir, name: &str, batch: &RecordBatch, compression: Compression) {
    let properties = WriterProperties::builder().set_compression(compression).build();
    let file = File::create(dir.path(name)).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn write(dir: &Dir, name: &str, batch: &RecordBatch) {
    write_with(dir, name, batch, Compression::UNCOMPRESSED);
}

fn read(dir: &Dir, name: &str) -> Vec<RecordBatch> {
    let file = File::open(dir.path(name)).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_dataset_round_trips() {
    let dir = filled();
    let export = |db: &str, format: &str, out: &str| {
        ewe(&dir, &["export", "--db", db, "--format", format, "--out", out]).success();
        std::fs::read(dir.path(out)).unwrap()
    };
    let file = export("d.db", "parquet", "a.parquet");
    assert_eq!(export("d.db", "parquet", "b.parquet"), file);
    let piped = command(
        &dir,
        &["export", "--db", "d.db", "--format", "parquet", "--out", "-"],
    )
    .output()
    .unwrap();
    assert!(piped.stdout == file);

    let [rows] = &read(&dir, "a.parquet")[..] else {
        panic!("one batch")
    };
    assert_eq!(
        rows.num_rows() as i64,
        number(&dir, "select count(*) from dataset")
    );
    let schema = rows.schema();
    let columns: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| (field.name().as_str(), field.is_nullable()))
        .collect();
    assert_eq!(
        columns,
        [
            ("instruction", false),
            ("input", false),
            ("output", false),
            ("name", true),
            ("is_classification", false),
            ("task_id", false),
            ("system", true),
            ("extra", true),
            ("ewe_group", true)
        ]
    );

    // From a file, and from a pipe.
    for (db, file) in [("file.db", "a.parquet"), ("pipe.db", "-")] {
        dir.write(
            "one.jsonl",
            r#"{"instruction": "x", "instances": [{"output": "y"}]}"#,
        );
        ewe(&dir, &["init", "--db", db, "--seeds", "one.jsonl"]).success();
        ewe(&dir, &["reject", "--db", db, "1"]).success();
        let mut import = command(&dir, &["import", "--db", db, file, "--json"]);
        import.stdin(File::open(dir.path("a.parquet")).unwrap());
        let imported = printed(crate::shell::ran(import));
        assert_eq!(imported["format"], "alpaca");
        assert_eq!(imported["extra_fields"], json!([]));
        assert!(export(db, "alpaca", "there.json") == export("d.db", "alpaca", "here.json"));
    }
}

#[test]
fn every_format_and_every_compression_is_read() {
    let dir = Dir::new();
    dir.write(
        "one.jsonl",
        r#"{"instruction": "x", "instances": [{"output": "y"}]}"#,
    );
    // Existing examples are not imported again.
    let import = |name: &str| {
        let _ = std::fs::remove_file(dir.path("d.db"));
        ewe(&dir, &["init", "--db", "d.db", "--seeds", "one.jsonl"]).success();
        printed(ewe(&dir, &["import", "--db", "d.db", name, "--json"]))
    };
    for (format, lines) in [
        (
            "alpaca",
            "{\"instruction\":\"Name a river.\",\"input\":\"\",\"output\":\"Rhine\"}\n{\"instruction\":\"Why?\",\"input\":null,\"output\":\"So.\"}\n",
        ),
        (
            "dolly",
            "{\"instruction\":\"Name a river.\",\"context\":\"\",\"response\":\"Rhine\",\"category\":\"open_qa\"}\n",
        ),
        (
            "completion",
            "{\"prompt\":\"Name a \\\"river\\\".\",\"completion\":\"Rh\\nine ☂\"}\n",
        ),
        (
            "chat",
            "{\"messages\":[{\"role\":\"user\",\"content\":\"Name a river.\"},{\"role\":\"assistant\",\"content\":\"Rhine\"}]}\n",
        ),
        (
            "sharegpt",
            "{\"conversations\":[{\"from\":\"human\",\"value\":\"Name a river.\"},{\"from\":\"gpt\",\"value\":\"Rhine\"}]}\n",
        ),
        (
            "self-instruct",
            "{\"id\":7,\"name\":null,\"instruction\":\"Name a river.\",\"instances\":[{\"input\":\"\",\"output\":\"Rhine\"},{\"input\":\"a\",\"output\":\"Po\"}],\"is_classification\":false,\"weight\":0.25,\"tags\":[]}\n",
        ),
    ] {
        dir.write("rows.jsonl", lines);
        ewe(
            &dir,
            &["filter", "rows.jsonl", "--rules", "none", "--out", "rows.parquet"],
        )
        .success();
        let imported = import("rows.parquet");
        assert_eq!(imported["format"], format);
        assert_eq!(imported["tasks"], lines.lines().count());
        ewe(
            &dir,
            &["filter", "rows.parquet", "--rules", "none", "--out", "back.jsonl"],
        )
        .success();
        assert_eq!(dir.read("back.jsonl"), lines);
    }
    for compression in [
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::BROTLI(Default::default()),
        Compression::ZSTD(Default::default()),
    ] {
        write_with(&dir, "c", &alpaca(), compression);
        assert_eq!(import("c")["tasks"], 2, "{compression}");
    }
    // A file without rows is not an error, as with text.
    write(&dir, "none", &alpaca().slice(0, 0));
    assert_eq!(import("none")["tasks"], 0);
}

#[test]
fn kept_rows_of_every_type_are_copied() {
    let dir = Dir::new();
    let rows = 3000;
    let sample = |some: bool, i: usize| some && i % 3 != 1;
    let point: StructArray = vec![
        (
            Arc::new(Field::new("x", DataType::Float64, true)),
            Arc::new(Float64Array::from_iter((0..rows).map(|i| match i % 4 {
                0 => Some(f64::NAN),
                1 => None,
                _ => Some(i as f64 / 7.0),
            }))) as ArrayRef,
        ),
        (
            Arc::new(Field::new("b", DataType::Boolean, true)),
            Arc::new(BooleanArray::from_iter(
                (0..rows).map(|i| sample(true, i).then_some(i % 2 == 0)),
            )),
        ),
    ]
    .into();
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "instruction",
            Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("w{i}")))),
        ),
        (
            "output",
            Arc::new(StringArray::from_iter_values(
                (0..rows).map(|i| format!("{i} \" \\ \u{1}")),
            )),
        ),
        (
            "int",
            Arc::new(Int64Array::from_iter(
                (0..rows).map(|i| sample(true, i).then_some(i64::MAX - i as i64)),
            )),
        ),
        ("small", Arc::new(Int32Array::from_iter_values(0..rows as i32))),
        (
            "time",
            Arc::new(
                TimestampMicrosecondArray::from_iter_values((0..rows as i64).map(|i| i * 1_000_003))
                    .with_timezone("UTC"),
            ),
        ),
        (
            "price",
            Arc::new(
                Decimal128Array::from_iter_values(0..rows as i128)
                    .with_precision_and_scale(20, 3)
                    .unwrap(),
            ),
        ),
        (
            "raw",
            Arc::new(BinaryArray::from_iter_values((0..rows).map(|i| [i as u8, 0xff]))),
        ),
        (
            "word",
            Arc::new(
                (0..rows)
                    .map(|i| Some(if i % 2 == 0 { "even" } else { "odd" }))
                    .collect::<DictionaryArray<Int32Type>>(),
            ),
        ),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(
                (0..rows).map(|i| sample(true, i).then(|| (0..i as i64 % 4).map(Some))),
            )),
        ),
        ("point", Arc::new(point)),
    ];
    let source = batch(columns);
    let metadata = ["huggingface", "pandas", "a", "b"].map(|key| (key.to_owned(), format!("about {key}")));
    let schema = Schema::new(source.schema().fields().clone()).with_metadata(metadata);
    let source = RecordBatch::try_new(Arc::new(schema), source.columns().to_vec()).unwrap();
    write(&dir, "rows.parquet", &source);
    // No two instructions are similar; one is also in the other file.
    dir.write(
        "against.jsonl",
        "{\"instruction\": \"w1500\", \"output\": \"y\"}\n",
    );
    for out in ["kept.parquet", "again.parquet"] {
        ewe(
            &dir,
            &[
                "filter",
                "rows.parquet",
                "--rules",
                "none",
                "--against",
                "against.jsonl",
                "--out",
                out,
            ],
        )
        .success();
    }
    let kept = read(&dir, "kept.parquet");
    let parts = [source.slice(0, 1500), source.slice(1501, rows - 1501)];
    let file = File::open(dir.path("kept.parquet")).unwrap();
    // The metadata of other programs is kept.
    assert_eq!(
        *ParquetRecordBatchReaderBuilder::try_new(file).unwrap().schema(),
        source.schema()
    );
    let kept: Vec<_> = kept
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(|i| batch.slice(i, 1)))
        .collect();
    let wanted: Vec<_> = parts
        .iter()
        .flat_map(|part| (0..part.num_rows()).map(|i| part.slice(i, 1)))
        .collect();
    assert_eq!(kept.len(), wanted.len());
    for (kept, wanted) in kept.iter().zip(&wanted) {
        // NaN equals nothing, so floats are compared as text.
        assert_eq!(format!("{:?}", kept.columns()), format!("{:?}", wanted.columns()));
    }
    assert!(
        std::fs::read(dir.path("kept.parquet")).unwrap() == std::fs::read(dir.path("again.parquet")).unwrap()
    );
}

#[test]
fn times_are_written_in_utc() {
    let dir = Dir::new();
    let times = || TimestampMicrosecondArray::from(vec![Some(1_700_000_000_000_000), None]);
    let zone = |zone: &str| Arc::new(times().with_timezone(zone)) as ArrayRef;
    let inner = Arc::new(Field::new("at", zone("Europe/Berlin").data_type().clone(), true));
    let columns = alpaca().columns().to_vec();
    let rows = batch(vec![
        ("instruction", columns[0].clone()),
        ("output", columns[1].clone()),
        ("local", Arc::new(times())),
        ("ahead", zone("+02:00")),
        (
            "named",
            Arc::new(StructArray::from(vec![(inner, zone("Europe/Berlin"))])),
        ),
    ]);
    write(&dir, "rows.parquet", &rows);
    ewe(
        &dir,
        &["filter", "rows.parquet", "--rules", "none", "--out", "kept.jsonl"],
    )
    .success();
    assert_eq!(
        dir.read("kept.jsonl"),
        "{\"instruction\":\"Name a river.\",\"output\":\"Rhine\",\"local\":\"2023-11-14T22:13:20\",\"ahead\":\"2023-11-14T22:13:20Z\",\"named\":{\"at\":\"2023-11-14T22:13:20Z\"}}\n\
         {\"instruction\":\"Say why rain falls.\",\"output\":\"It is heavy.\",\"local\":null,\"ahead\":null,\"named\":{\"at\":null}}\n"
    );
}

#[test]
fn bad_columns_and_damaged_files_are_named() {
    let dir = Dir::with_dataset();
    let answers = || texts(&[Some("Rhine"), Some("It is heavy.")]);
    let questions = |second| texts(&[Some("Name a river."), second]);
    let fails = |name: &str, what: &str| {
        let out = ewe(&dir, &["import", "--db", "d.db", name]).failure(1);
        assert!(out.stderr().contains(what), "{what}\n{}", out.stderr());
    };
    for (instruction, what) in [
        (
            questions(None),
            "x.parquet: row 2: `instruction` is null, not a string",
        ),
        (questions(Some(" ")), "x.parquet: row 2: the instruction is empty"),
        (
            Arc::new(arrow_array::BooleanArray::from(vec![true, false])) as ArrayRef,
            "x.parquet: row 1: `instruction` is true or false, not a string",
        ),
        (
            Arc::new(BinaryArray::from(vec![b"a".as_slice(), b"b"])),
            "cannot read `x.parquet` as Parquet: the column `instruction` is bytes, not text\nhint: ",
        ),
    ] {
        write(
            &dir,
            "x.parquet",
            &batch(vec![("instruction", instruction), ("output", answers())]),
        );
        fails("x.parquet", what);
    }
    write(
        &dir,
        "x.parquet",
        &batch(vec![("colour", answers()), ("taste", answers())]),
    );
    fails("x.parquet", "its first row has the fields `colour`, `taste`");
    write(
        &dir,
        "x.parquet",
        &batch(vec![("question", answers()), ("output", answers())]),
    );
    let out = ewe(
        &dir,
        &["import", "--db", "d.db", "x.parquet", "--format", "alpaca"],
    )
    .failure(1);
    assert!(
        out.stderr()
            .contains("x.parquet: row 1: the field `instruction` is missing"),
        "{}",
        out.stderr()
    );

    write(&dir, "whole", &alpaca());
    let whole = std::fs::read(dir.path("whole")).unwrap();
    for (name, bytes) in [
        ("half.parquet", &whole[..whole.len() / 2]),
        ("magic.parquet", b"PAR1"),
        ("noise.parquet", b"PAR1\x9f\x03\xff\x00 noise \xee\x81"),
    ] {
        dir.write(name, bytes);
        fails(name, &format!("cannot read `{name}` as Parquet: "));
    }
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'import'"),
        0
    );
}

#[test]
fn damaged_files_never_panic() {
    let dir = Dir::new();
    for (name, compression) in [
        ("plain", Compression::UNCOMPRESSED),
        ("snappy", Compression::SNAPPY),
    ] {
        write_with(&dir, name, &alpaca(), compression);
        let whole = std::fs::read(dir.path(name)).unwrap();
        for at in 4..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                dir.write("damaged", &bytes);
                let Ok(mut reader) = ewe::interchange::read::open(&dir.path("damaged"), &Default::default())
                else {
                    continue;
                };
                // At most the two rows, and an error.
                assert!((0..10).map_while(|_| reader.next_row()).count() <= 3, "{at}");
            }
        }
    }
}

#[test]
fn json_rows_that_do_not_fit_columns_are_refused() {
    let dir = Dir::new();
    let row = |more: &str| format!("{{\"instruction\": \"x\", \"output\": \"y\", {more}}}\n");
    let kept = |lines: &str| {
        dir.write("rows.jsonl", lines);
        ewe(
            &dir,
            &[
                "filter",
                "rows.jsonl",
                "--rules",
                "none",
                "--threshold",
                "1",
                "--out",
                "kept.parquet",
            ],
        )
    };
    for (lines, what) in [
        (
            row("\"n\": 1") + &row("\"n\": \"one\""),
            "`n` is not the same kind of value in all rows",
        ),
        (row("\"n\": {\"a\": [{}]}"), "`n.a` is an object without fields"),
        (
            row("\"n\": 1").repeat(1024) + &row("\"m\": 1"),
            "a row does not fit into the columns of those before",
        ),
        (
            row("\"n\": 1").repeat(1024) + &row("\"n\": \"one\""),
            "a row does not fit into the columns of those before",
        ),
    ] {
        let out = kept(&lines).failure(1);
        let start = format!("error: cannot write `kept.parquet`: {what}");
        assert!(out.stderr().starts_with(&start), "{}", out.stderr());
        assert!(out.stderr().contains("\nhint: JSON lines"), "{}", out.stderr());
        assert!(!dir.path("kept.parquet").exists());
    }
    // Fields may be missing, and may have any order.
    kept(&(row("\"n\": 1") + "{\"output\": \"y\", \"instruction\": \"z\"}\n")).success();
    let [rows] = &read(&dir, "kept.parquet")[..] else {
        panic!("one batch")
    };
    assert_eq!(rows.num_rows(), 2);
    assert!(rows.column_by_name("n").unwrap().is_null(1));
    // Until the columns are known, rows are held in memory; a full disk shows at the end.
    let out = ewe_limited(
        &dir,
        0,
        &["filter", "rows.jsonl", "--rules", "none", "--out", "full.parquet"],
    )
    .failure(1);
    assert!(
        out.stderr().starts_with("error: cannot write `full.parquet`: "),
        "{}",
        out.stderr()
    );
    // With no row kept, the file is still written, with the columns of the format.
    dir.write("against.jsonl", row("\"n\": 1"));
    dir.write("rows.jsonl", row("\"n\": 1"));
    ewe(
        &dir,
        &[
            "filter",
            "rows.jsonl",
            "--against",
            "against.jsonl",
            "--out",
            "none.parquet",
        ],
    )
    .success();
    let file =
        ParquetRecordBatchReaderBuilder::try_new(File::open(dir.path("none.parquet")).unwrap()).unwrap();
    assert_eq!(file.schema().field(0).name(), "instruction");
}

#[test]
fn kept_rows_become_an_array_in_a_json_file() {
    let dir = Dir::new();
    dir.write(
        "rows.json",
        "[\n  {\"instruction\": \"Name a \\\"{ river\",\n   \"n\": 1.50,\t\"output\": \"R h\"},\n  {\"instruction\": \"b\",  \"output\": \"c\"}\n]\n",
    );
    let lines = "{\"instruction\":\"Name a \\\"{ river\",\"n\":1.50,\"output\":\"R h\"}|{\"instruction\": \"b\",  \"output\": \"c\"}";
    for (out, text) in [
        ("kept.json", format!("[\n{}\n]\n", lines.replace('|', ",\n"))),
        ("kept.jsonl", format!("{}\n", lines.replace('|', "\n"))),
    ] {
        ewe(&dir, &["filter", "rows.json", "--rules", "none", "--out", out]).success();
        assert_eq!(dir.read(out), text);
    }
    ewe(
        &dir,
        &[
            "filter",
            "rows.json",
            "--against",
            "rows.json",
            "--out",
            "none.json",
        ],
    )
    .success();
    assert_eq!(dir.read("none.json"), "[]\n");
}
