//! `ewe add-documents` on files that are damaged, hostile, or written in an unusual way.

use crate::documents::{add, pdf_of, prose};
use crate::shell::{Dir, ewe};

/// A stream of a PDF.
fn stream(more: &str, content: &str) -> String {
    format!(
        "<< /Length {} {more} >>\nstream\n{content}\nendstream",
        content.len()
    )
}

/// What a page shows that has this line.
fn line(text: &str) -> String {
    stream("", &format!("BT /F1 10 Tf 50 700 Td ({text}) Tj ET"))
}

/// What a page shows that nothing can decode.
fn damaged() -> String {
    stream("/Filter /FlateDecode", "this was never deflated by any program")
}

/// A PDF with pages that show these streams. `form` is called `/X` on each.
fn pdf(pages: &[String], form: &str) -> Vec<u8> {
    let kids: Vec<String> = (0..pages.len()).map(|at| format!("{} 0 R", 6 + 2 * at)).collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_string(),
        format!(
            "<< /Type /Pages /Count {} /Kids [{}] >>",
            pages.len(),
            kids.join(" ")
        ),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_string(),
        form.to_string(),
    ];
    for page in pages {
        objects.push(page.clone());
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {} 0 R /Resources << /Font << /F1 3 0 R >> \
             /XObject << /X 4 0 R >> >> >>",
            objects.len()
        ));
    }
    pdf_of(&objects)
}

#[test]
fn damaged_pages_are_noted_and_files_of_them_named() {
    let dir = Dir::with_dataset();
    std::fs::create_dir_all(dir.path("docs")).unwrap();
    let whole = line("The report counts every sheep of the valley.");
    dir.write("docs/partly.pdf", pdf(&[whole.clone(), damaged(), whole], "null"));
    dir.write("docs/lost.pdf", pdf(&[damaged()], "null"));
    dir.write("docs/nothing.txt", "");
    let ran = add(&dir, &["docs"]).failure(1);
    let (stdout, stderr) = (ran.stdout(), ran.stderr());
    assert!(
        stdout.contains("1 document new") && stdout.contains("passed over: 1 without text"),
        "{stdout}"
    );
    for (name, wanted) in [
        ("partly.pdf", "nothing of page 2 can be read"),
        ("lost.pdf", "damaged: no page can be read"),
    ] {
        let mut lines = stderr.lines();
        let line = lines.find(|line| line.contains(name)).unwrap_or_default();
        assert!(line.contains(wanted), "{name}: {stderr}");
    }
    assert!(stderr.contains("1 file could not be read"), "{stderr}");
}

/// A form that draws itself overflows the stack of whatever reads it.
#[test]
fn a_hostile_file_ends_no_more_than_the_process_that_reads_it() {
    let dir = Dir::with_dataset();
    let form = stream(
        "/Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources << /XObject << /X 4 0 R >> >>",
        "/X Do",
    );
    dir.write("loop.pdf", pdf(&[stream("", "/X Do")], &form));
    for arguments in [
        &["add-documents", "--text", "loop.pdf"][..],
        &["add-documents", "--db", "d.db", "loop.pdf"],
    ] {
        let said = ewe(&dir, arguments).failure(1).stderr();
        assert!(
            said.contains("loop.pdf`: over limit: reading it took more than "),
            "{said}"
        );
        assert!(said.contains("hint: `pdftotext"), "{said}");
    }
    let ran = ewe(&dir, &["add-documents", "--text", "--json", "loop.pdf"]).failure(1);
    let said: serde_json::Value = serde_json::from_str(&ran.stdout()).unwrap();
    assert_eq!(said["fault"]["kind"], "over_limit", "{said}");
}

#[test]
fn wide_letters_and_other_delimiters_are_read() {
    let dir = Dir::with_dataset();
    std::fs::create_dir_all(dir.path("docs")).unwrap();
    let wide = |bytes: fn(u32) -> [u8; 4], text: &str| -> Vec<u8> {
        let marked = format!("\u{feff}{text}");
        marked.chars().map(u32::from).flat_map(bytes).collect()
    };
    dir.write("docs/little.txt", wide(u32::to_le_bytes, &prose("Ada", 3)));
    dir.write("docs/big.txt", wide(u32::to_be_bytes, &prose("Bo", 4)));
    dir.write("docs/rows.csv", format!("text;n\n\"{}\";1\n", prose("Cy", 5)));
    let rows = format!(
        "{{\"text\": \"{}\"}}\n{{\"words\": \"none\"}}\n{{\"text\": null}}\n",
        prose("Dee", 6)
    );
    dir.write("docs/rows.jsonl", rows);
    let stderr = add(&dir, &["docs"]).success().stderr();
    let texts = dir.sql("select text from passage order by text");
    assert_eq!(
        texts.concat(),
        [prose("Ada", 3), prose("Bo", 4), prose("Cy", 5), prose("Dee", 6)]
    );
    assert!(
        stderr.contains("rows.jsonl`: 2 rows without text in `text` passed over"),
        "{stderr}"
    );
}
