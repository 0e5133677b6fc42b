//! `ewe add-documents`: files and folders become passages, what has not changed is not read again,
//! and bad files are named.

use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::shell::{Dir, Ran, command, ewe, ran};
use crate::support::{json, number};

/// A passage of prose about a farm.
pub fn prose(name: &str, count: u32) -> String {
    format!(
        "The farm of {name} keeps {count} sheep on the hills above the river. In spring the shepherds move the flock to \
         the upper pastures, where the grass is fresh and the nights are cold. The wool is shorn in early summer and spun \
         in the old mill near the bridge."
    )
}

/// A file of Word with one paragraph.
fn docx(text: &str) -> Vec<u8> {
    let xml = format!("<w:document><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>");
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("word/document.xml", SimpleFileOptions::default())
        .unwrap();
    zip.write_all(xml.as_bytes()).unwrap();
    zip.finish().unwrap().into_inner()
}

/// A PDF with one page of these lines, or of a picture.
fn pdf(lines: &[&str]) -> Vec<u8> {
    let mut content = String::from("BT /F1 10 Tf 50 700 Td 12 TL\n");
    for line in lines {
        content += &format!("({line}) Tj T*\n");
    }
    content += "ET";
    if lines.is_empty() {
        content = "q 100 0 0 100 0 0 cm /Im1 Do Q".to_string();
    }
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_string(),
        "<< /Type /Pages /Count 1 /Kids [5 0 R] >>".to_string(),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_string(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 3 0 R >> \
         /XObject << /Im1 6 0 R >> >> >>"
            .to_string(),
        "<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length 1 \
         >>\nstream\nx\nendstream"
            .to_string(),
    ];
    pdf_of(&objects)
}

/// A PDF of these objects, of which the first is its root.
pub fn pdf_of(objects: &[String]) -> Vec<u8> {
    let mut out = b"%PDF-1.4\n".to_vec();
    let mut places = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        places.push(out.len());
        out.extend(format!("{} 0 obj\n{object}\nendobj\n", number + 1).bytes());
    }
    let (table, size) = (out.len(), objects.len() + 1);
    out.extend(format!("xref\n0 {size}\n0000000000 65535 f \n").bytes());
    for place in places {
        out.extend(format!("{place:010} 00000 n \n").bytes());
    }
    out.extend(format!("trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n").bytes());
    out
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut pack = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    pack.write_all(text.as_bytes()).unwrap();
    pack.finish().unwrap()
}

pub fn add(dir: &Dir, more: &[&str]) -> Ran {
    ewe(dir, &[&["add-documents", "--db", "d.db"], more].concat())
}

/// Writes a folder of all kinds of files.
fn write_folder(dir: &Dir) {
    std::fs::create_dir_all(dir.path("docs/deep")).unwrap();
    std::fs::create_dir_all(dir.path("docs/build")).unwrap();
    let guide = format!(
        "# Guide\n\n## Ada\n\n{}\n\n## Bo\n\n{}\n",
        prose("Ada", 40),
        prose("Bo", 55)
    );
    dir.write("docs/guide.md", guide);
    dir.write(
        "docs/page.html",
        format!("<title>Page</title><nav>Home</nav><p>{}</p>", prose("Cy", 12)),
    );
    dir.write("docs/letter.docx", docx(&prose("Dee", 31)));
    dir.write(
        "docs/report.pdf",
        pdf(&["The report counts every sheep", "of the valley in the winter."]),
    );
    dir.write("docs/deep/old.txt.gz", gzipped(&prose("Eve", 77)));
    dir.write("docs/shear.py", "def shear(sheep):\n    return sheep.wool\n");
    dir.write(
        "docs/rows.csv",
        "id,text\n1,The first row is about the river.\n2,The second row is about the mill.\n",
    );
    dir.write("docs/picture.png", b"\x89PNG\r\n\x1a\n\0\0\0\x0d");
    dir.write("docs/.secret", "hidden");
    dir.write("docs/.gitignore", "build/\n");
    dir.write("docs/build/out.txt", "made");
}

#[test]
fn a_folder_of_mixed_files_becomes_passages() {
    let dir = Dir::with_dataset();
    write_folder(&dir);
    let said = json(add(&dir, &["docs", "--json"]).success());
    assert_eq!(
        (said["files"].as_i64(), said["new"].as_i64()),
        (Some(8), Some(7)),
        "{said}"
    );
    assert_eq!(
        (
            said["hidden"].as_i64(),
            said["ignored"].as_i64(),
            said["no_documents"].as_i64()
        ),
        (Some(2), Some(1), Some(1))
    );
    assert!(said["languages"]["eng"].as_i64() >= Some(5), "{said}");
    let formats = "select format, count(passage.id) from document join passage on document_id = document.id group by 1 order by 1";
    let expected = [
        ["code", "1"],
        ["csv", "2"],
        ["docx", "1"],
        ["html", "1"],
        ["markdown", "2"],
        ["pdf", "1"],
        ["text", "1"],
    ];
    assert_eq!(dir.sql(formats), expected);
    let pdf =
        "select text, page from passage join document on document_id = document.id where format = 'pdf'";
    assert_eq!(
        dir.sql(pdf),
        [["The report counts every sheep of the valley in the winter.", "1"]]
    );
    let headings = "select heading from passage join document on document_id = document.id where format = 'markdown' order by ordinal";
    assert_eq!(dir.sql(headings), [["Guide › Ada"], ["Guide › Bo"]]);
    let found = "select count(*) from passage_fts where passage_fts match 'pastures AND eve'";
    assert_eq!(number(&dir, found), 1);
    assert_eq!(
        number(&dir, "select count(*) from document where path not like '/%'"),
        0
    );
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

#[test]
fn unchanged_files_are_not_read_again_and_changed_ones_update() {
    let dir = Dir::with_dataset();
    write_folder(&dir);
    add(&dir, &["docs"]).success();
    let ids = || dir.sql("select id, hash from passage order by id");
    let before = ids();
    let again = add(&dir, &["docs"]).success();
    assert!(
        again
            .stdout()
            .contains("0 documents new, 0 changed, 7 unchanged, 0 gone"),
        "{}",
        again.stdout()
    );
    assert_eq!(ids(), before);
    // The same size and time: it is not opened.
    let path = dir.path("docs/shear.py");
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    dir.write("docs/shear.py", "def shear(sheep):\n    return sheep.milk\n");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(time).unwrap();
    add(&dir, &["docs"]).success();
    assert_eq!(
        number(&dir, "select count(*) from passage where text like '%wool'"),
        1
    );
    // Another time: it is.
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000))
        .unwrap();
    let guide = format!(
        "# Guide\n\n## Ada\n\n{}\n\n## Fay\n\n{}\n",
        prose("Ada", 40),
        prose("Fay", 9)
    );
    dir.write("docs/guide.md", guide);
    std::fs::remove_file(dir.path("docs/page.html")).unwrap();
    let said = json(add(&dir, &["docs", "--json"]).success());
    assert_eq!(
        (
            said["changed"].as_i64(),
            said["unchanged"].as_i64(),
            said["new"].as_i64()
        ),
        (Some(2), Some(4), Some(0)),
        "{said}"
    );
    assert!(
        said["removed"][0].as_str().unwrap().ends_with("docs/page.html"),
        "{said}"
    );
    let passages = &said["passages"];
    assert_eq!(
        (
            passages["kept"].as_i64(),
            passages["added"].as_i64(),
            passages["dropped"].as_i64()
        ),
        (Some(1), Some(2), Some(3)),
        "{said}"
    );
    assert_eq!(
        number(&dir, "select count(*) from passage where text like '%of Bo%'"),
        0
    );
    assert_eq!(
        number(
            &dir,
            "select count(*) from passage_fts where passage_fts match 'bo'"
        ),
        0
    );
    assert_eq!(
        number(&dir, "select count(*) from document where removed_at is not null"),
        1
    );
    // Other passages are wanted: everything is cut anew.
    let said = json(
        add(
            &dir,
            &["docs", "--passage-tokens", "40", "--overlap", "0", "--json"],
        )
        .success(),
    );
    assert_eq!(said["unchanged"].as_i64(), Some(0), "{said}");
    assert!(number(&dir, "select max(tokens) from passage where is_current") <= 40);
}

#[test]
fn bad_files_are_named_and_nothing_of_the_others_is_lost() {
    let dir = Dir::with_dataset();
    std::fs::create_dir_all(dir.path("docs")).unwrap();
    let whole = String::from_utf8(pdf(&["Sheep."])).unwrap();
    dir.write("docs/good.txt", prose("Ada", 3));
    dir.write("docs/damaged.pdf", &whole.as_bytes()[..150]);
    let locked = whole.replace(
        "/Root 1 0 R >>",
        "/Root 1 0 R /ID [<00> <00>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <00> /U <00> >> >>",
    );
    dir.write("docs/locked.pdf", locked);
    dir.write("docs/scanned.pdf", pdf(&[]));
    dir.write("docs/bomb.docx", docx(&"a".repeat(3 << 20)));
    dir.write("docs/half.docx", &docx("text")[..60]);
    dir.write("docs/bomb.txt.gz", gzipped(&" a".repeat(2 << 20)));
    dir.write("docs/large.txt", "word ".repeat(300_000));
    dir.write("docs/columns.jsonl", "{\"a\": \"x\", \"b\": \"y\"}\n");
    dir.write("docs/binary.txt", b"a\0b\x01c");
    dir.write(
        "docs/deep.html",
        format!("{}<p>The deep page is read.</p>", "<div>".repeat(10_000)),
    );
    dir.write(
        "docs/latin.txt",
        b"Das Gr\xfcn der B\xe4ume im Fr\xfchling ist sch\xf6n, und die Schafe stehen auf der Weide.",
    );
    let ran = add(&dir, &["docs", "none.txt", "--largest", "1"]).failure(1);
    let (stdout, stderr) = (ran.stdout(), ran.stderr());
    assert!(stdout.contains("3 documents new"), "{stdout}");
    for (name, why) in [
        ("damaged.pdf", "damaged"),
        ("locked.pdf", "encrypted: it needs a password"),
        ("scanned.pdf", "scanned: 1 page of pictures, no text layer"),
        ("bomb.docx", "too large"),
        ("half.docx", "damaged"),
        ("bomb.txt.gz", "too large"),
        ("large.txt", "too large"),
        ("columns.jsonl", "no column"),
        ("binary.txt", "damaged"),
        ("none.txt", "unreadable"),
    ] {
        let line = stderr
            .lines()
            .find(|line| line.contains(name))
            .unwrap_or_else(|| panic!("{name}: {stderr}"));
        assert!(line.contains(why), "{line}");
    }
    assert!(stderr.contains("10 files could not be read"), "{stderr}");
    for hint in [
        "hint: `qpdf",
        "hint: --largest",
        "hint: `ocrmypdf",
        "hint: --column",
    ] {
        assert!(stderr.contains(hint), "{hint}: {stderr}");
    }
    assert!(
        stderr.contains("latin.txt") && stderr.contains("windows-1252"),
        "{stderr}"
    );
    assert_eq!(
        number(
            &dir,
            "select count(*) from passage where text = 'The deep page is read.'"
        ),
        1
    );
    assert_eq!(
        number(
            &dir,
            "select count(*) from passage where text like 'Das Grün der Bäume%' and language = 'deu'"
        ),
        1
    );
    // A column makes it a document.
    let said = json(add(&dir, &["docs/columns.jsonl", "--column", "b", "--json"]).success());
    assert_eq!(said["new"].as_i64(), Some(1), "{said}");
    assert_eq!(number(&dir, "select count(*) from passage where text = 'y'"), 1);
}

#[test]
fn the_text_of_a_file_is_printed_without_a_dataset() {
    let dir = Dir::new();
    dir.write("a.pdf", pdf(&["Sheep are kept for wool", "and milk."]));
    let ran = ewe(&dir, &["add-documents", "--text", "a.pdf"]).success();
    assert_eq!(ran.stdout(), "Sheep are kept for wool and milk.\n");
    dir.write("b.pdf", b"%PDF-1.4 nothing");
    let ran = ewe(&dir, &["add-documents", "--text", "b.pdf"]).failure(1);
    assert!(
        ran.stderr().starts_with("error: `b.pdf`: damaged"),
        "{}",
        ran.stderr()
    );
    ewe(&dir, &["add-documents", "--text", "a.pdf", "b.pdf"]).failure(1);
    ewe(&dir, &["add-documents", "a.pdf"]).failure(2);
    let dir = Dir::with_dataset();
    dir.write("a.txt", "Sheep.");
    let ran = add(&dir, &["a.txt", "--passage-tokens", "20", "--overlap", "20"]).failure(1);
    assert!(
        ran.stderr().contains("--overlap 20 leaves no room"),
        "{}",
        ran.stderr()
    );
}

/// A folder of programs that come before those of the system.
fn programs(dir: &Dir, scripts: &[(&str, &str)]) -> String {
    for (name, script) in scripts {
        let path = dir.path(&format!("bin/{name}"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    format!("{}:/usr/bin:/bin", dir.path("bin").display())
}

/// The sources of manual pages are rendered, by `groff` or else by `mandoc`.
#[test]
fn manual_pages_are_rendered_by_a_program() {
    let dir = Dir::new();
    dir.write("ewe.1", ".mso secret\n.TH EWE 1\n.SH NAME\newe \\- grows data\n");
    let text = |path: &str| {
        let mut command = command(&dir, &["add-documents", "--largest", "1", "--text", "ewe.1"]);
        command.env("PATH", path);
        ran(command)
    };
    let page = r"printf 'EWE(1)\n\nNAME\n       ewe - grows data\n'";
    let absent = "exit 127";
    let groff = programs(
        &dir,
        &[
            (
                "groff",
                &format!("cat > '{}'; {page}", dir.path("seen").display()),
            ),
            ("mandoc", absent),
        ],
    );
    assert_eq!(text(&groff).success().stdout(), "NAME\n\newe - grows data\n");
    let seen = dir.read("seen");
    assert!(
        seen.starts_with(".") && !seen.contains("secret") && seen.ends_with("ewe \\- grows data\n"),
        "{seen}"
    );
    let mandoc = programs(
        &dir,
        &[("groff", absent), ("mandoc", &format!("cat > /dev/null; {page}"))],
    );
    assert_eq!(text(&mandoc).success().stdout(), "NAME\n\newe - grows data\n");
    let neither = programs(&dir, &[("groff", absent), ("mandoc", absent)]);
    let said = text(&neither).failure(1).stderr();
    assert!(
        said.contains("`groff` or `mandoc` renders; neither is installed"),
        "{said}"
    );
    let broken = programs(&dir, &[("groff", "kill -9 $$")]);
    let said = text(&broken).failure(1).stderr();
    assert!(said.contains("groff ended with signal: 9"), "{said}");
    let partly = programs(&dir, &[("groff", &format!("{page}; exit 2"))]);
    let said = text(&partly).failure(1).stderr();
    assert!(said.contains("groff ended with exit status: 2"), "{said}");
    let endless = programs(&dir, &[("groff", "yes 'and on'")]);
    let said = text(&endless).failure(1).stderr();
    assert!(said.contains("too large"), "{said}");
}
