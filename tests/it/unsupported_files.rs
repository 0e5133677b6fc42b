//! Files without rows are named by their type: failed downloads, files of other programs, text in
//! another encoding.

use ewe::interchange::{Reading, read};

use crate::{
    formats::{alpaca, gzip, lines, one_seed},
    shell::{Dir, words},
    support::{ewe, import_file, number},
};

#[test]
fn files_without_rows_are_named_by_their_type() {
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
        (
            "notes.ods",
            b"PK\x03\x04\x14\0\0\0\0\0mimetypeapplication/vnd.oasis.opendocument.spreadsheet",
            "an OpenDocument",
        ),
        ("rows.rar", b"Rar!\x1a\x07\x01\0", "a RAR archive"),
        (
            "old.pkl",
            b"(lp0\n(dp1\nVinstruction\np2\nVa\xe9\np3\nsa.",
            "a pickle",
        ),
        ("older.pkl", b"]q\0}q\x01(X\x0b\0\0\0instructionq\x02", "a pickle"),
        (
            "secret.parquet",
            b"PARE\x15\x04\x15\0PARE",
            "an encrypted Parquet file",
        ),
        ("scan.png", b"\x89PNG\r\n\x1a\n\0\0", "a picture"),
        ("photo.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF", "a picture"),
        ("entry.jsonl", b"Entry not found", "what a server says"),
        ("missing.csv", b"404: Not Found", "what a server says"),
        ("readme.md", b"# Rows\n\nSome rows, for you.\n", "as a README is"),
        (
            "README.md",
            b"---\nlicense: mit\n---\n\n# Rows\n",
            "as a README is",
        ),
        (
            "xet.parquet",
            b"# xet version 0\nfilesize = 1\nhash = 'x'\n",
            "hf download",
        ),
        (
            "dump.sql",
            b"CREATE TABLE x (a, b);\nINSERT INTO x VALUES (1, 'b');\n",
            "SQL",
        ),
        (
            "stream.txt",
            b"data: {\"instruction\": \"a\"}\n\ndata: [DONE]\n",
            "a stream of events",
        ),
        ("piece.html", b"<div>Not found</div>", "an HTML page"),
        ("rows.toml", b"[[row]]\ninstruction = 'a'\n", "TOML"),
        ("rows.ini", b"; rows\n[row]\ninstruction=a\n", "INI"),
        ("utf32be.jsonl", b"\0\0\0{\0\0\0\"\0\0\0a", "iconv -f UTF-32BE"),
        (
            "utf32le.csv",
            b"\x07\x63\0\0\xe4\x4e\0\0,\0\0\0",
            "iconv -f UTF-32LE",
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
    for (number, (name, bytes, what)) in cases.into_iter().enumerate() {
        dir.write(name, bytes);
        let packed = format!("{name}.gz");
        dir.write(&packed, gzip(bytes));
        for name in [name, packed.as_str()] {
            let error = read::open(&dir.path(name), &Reading::default())
                .err()
                .expect(name);
            let said = error.to_string();
            assert!(
                said.contains(what) && said.contains(name) && said.contains("\nhint: "),
                "{name}: {said}"
            );
        }
        // All commands read with the same reader, so each prints some of its errors.
        let line = match number % 3 {
            0 => format!("import --db d.db {name}"),
            1 => format!("filter {name}"),
            _ => format!("init --db new.db --seeds {name}"),
        };
        let said = ewe(&dir, &words(&line)).failure(1).stderr();
        assert!(
            said.contains(what) && said.contains(name) && said.contains("\nhint: "),
            "{line}: {said}"
        );
    }
    ewe(&dir, &["backup", "--db", "d.db", "--out", "copy.db"]).success();
    let said = import_file(&dir, "copy.db").failure(1).stderr();
    assert!(said.contains("an SQLite database\nhint: "), "{said}");
    dir.write("cut.gz", &gzip(&lines(alpaca))[..40]);
    let said = import_file(&dir, "cut.gz").failure(1).stderr();
    assert!(said.contains("compressed with gzip and ends too early"), "{said}");
    assert_eq!(number(&dir, "select count(*) from task"), 1);
}

#[test]
fn utf_16_without_a_byte_order_mark_is_read() {
    let dir = Dir::new();
    one_seed(&dir);
    let table = "指令,答案\n写一首诗。,好\n给河流起名。,莱茵河\n";
    let map = "instruction=指令,output=答案";
    for (number, bytes) in [
        table
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>(),
        table
            .replace("诗", "歌")
            .replace("河", "山")
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect(),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("rows{number}.csv");
        dir.write(&name, bytes);
        ewe(&dir, &["import", "--db", "d.db", &name, "--map", map]).success();
    }
    let rows =
        dir.sql("select instruction, output from dataset where origin = 'import' order by instance_id");
    assert_eq!(
        rows,
        [
            ["写一首诗。", "好"],
            ["给河流起名。", "莱茵河"],
            ["写一首歌。", "好"],
            ["给山流起名。", "莱茵山"]
        ]
    );
}

#[test]
fn a_folder_without_rows_is_named() {
    let dir = Dir::new();
    one_seed(&dir);
    std::fs::create_dir(dir.path("none")).unwrap();
    dir.write("none/readme.md", "Nothing yet.");
    for said in [
        ewe(&dir, &["filter", "none", "--rules", "none"]).failure(1),
        import_file(&dir, "none").failure(1),
    ] {
        let said = said.stderr();
        assert!(
            said.contains("`none` is a folder without a file of rows\nhint: give a file of rows"),
            "{said}"
        );
    }
}
