//! PDF: the text layer. A hostile file may end the process that calls [`read`]: [`super::apart`]
//! calls it in one of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};

use flate2::{Decompress, FlushDecompress, Status};
use pdf_extract::{
    Document as PdfFile, MediaBox, Object, ObjectId, OutputDev, OutputError, Stream, Transform,
    output_doc_page,
};

use super::Document;
use super::fault::{Fault, FaultKind};
use super::layout::{self, Glyph, Line};

/// The most characters of a page.
const MOST_GLYPHS: usize = 2_000_000;

/// The most bytes of a compressed stream that may have nothing in it.
const EMPTY_STREAM: usize = 16;

/// Reads a file.
///
/// # Errors
///
/// [`FaultKind::Encrypted`], [`FaultKind::Damaged`], [`FaultKind::Scanned`].
pub fn read(bytes: &[u8]) -> Result<Document, Fault> {
    let opened = catch_unwind(|| open(bytes));
    let file = opened.unwrap_or_else(|_| Err(Fault::damaged("its objects cannot be read")))?;
    let mut pages: Vec<(u32, Vec<Line>)> = Vec::new();
    let mut document = Document {
        title: title(&file),
        ..Document::default()
    };
    let (mut broken, mut unread, mut empty) = (Vec::new(), Vec::new(), 0);
    let all = file.get_pages();
    for (&number, &id) in &all {
        let mut page = Page::default();
        let done = catch_unwind(AssertUnwindSafe(|| output_doc_page(&file, &mut page, number)));
        let is_damaged = catch_unwind(AssertUnwindSafe(|| is_damaged(&file, id))).unwrap_or(true);
        let is_broken = is_damaged || !matches!(done, Ok(Ok(())));
        let lines = layout::lines(&page.glyphs);
        if !lines.is_empty() {
            broken.extend(is_broken.then_some(number));
        } else if !is_damaged && catch_unwind(AssertUnwindSafe(|| has_picture(&file, id))).unwrap_or(false) {
            document.scanned.push(number);
        } else if is_broken {
            unread.push(number);
        } else {
            empty += 1;
        }
        pages.push((number, lines));
    }
    if all.is_empty() {
        return Err(unreadable(bytes, "it has no pages".to_owned()));
    }
    drop_running_lines(&mut pages);
    let body = layout::body_size(pages.iter().map(|(_, lines)| lines.as_slice()));
    for (number, lines) in &pages {
        document.blocks.extend(layout::blocks(*number, lines, body));
    }
    if document.blocks.is_empty() {
        return Err(without_text(&document.scanned, &unread, empty));
    }
    if !broken.is_empty() {
        let pages = super::page_list(&broken);
        document.notes.push(format!("not all of {pages} can be read"));
    }
    if !unread.is_empty() {
        let pages = super::page_list(&unread);
        document.notes.push(format!("nothing of {pages} can be read"));
    }
    Ok(document)
}

/// Why a file has no text: its pages are pictures, cannot be read, or are empty.
fn without_text(scanned: &[u32], unread: &[u32], empty: i64) -> Fault {
    let pages = super::page_list(unread);
    let pictures = crate::text::counted(scanned.len() as i64, "page");
    match (scanned.is_empty(), unread.is_empty()) {
        (true, true) => Fault::new(
            FaultKind::Empty,
            format!("{} without text", crate::text::counted(empty, "page")),
        ),
        (true, false) if empty == 0 => Fault::damaged("no page can be read"),
        (true, false) => Fault::damaged(format!("{pages} cannot be read, and there is no text on others")),
        (false, true) => Fault::new(
            FaultKind::Scanned,
            format!("{pictures} of pictures, no text layer"),
        ),
        (false, false) => Fault::new(
            FaultKind::Scanned,
            format!("{pictures} of pictures, no text layer, and {pages} cannot be read"),
        ),
    }
}

/// Whether some of what a page shows is not in the file, or cannot be decoded. The parser takes
/// such a page for an empty one.
fn is_damaged(file: &PdfFile, page: ObjectId) -> bool {
    let parts = file.get_page_contents(page).into_iter();
    let mut parts = parts.map(|id| file.get_object(id));
    parts.any(|part| match part {
        Ok(Object::Stream(stream)) => !is_decodable(stream),
        Ok(_) => false,
        Err(_) => true,
    })
}

/// Whether all of a stream can be decoded.
fn is_decodable(stream: &Stream) -> bool {
    let Ok(filters) = stream.filters() else {
        return matches!(stream.dict.get(b"Filter"), Err(_) | Ok(Object::Null));
    };
    if filters == [b"FlateDecode"] {
        return inflates(&stream.content);
    }
    let text = stream.decompressed_content();
    text.is_ok_and(|text| !text.is_empty() || stream.content.len() <= EMPTY_STREAM)
}

/// Whether bytes can be inflated to their end. The two bytes before them and the checksum after
/// them are wrong in many files that are whole.
fn inflates(bytes: &[u8]) -> bool {
    let Some(mut rest) = bytes.get(2..) else {
        return bytes.is_empty();
    };
    let mut inflate = Decompress::new(false);
    let mut text = vec![0_u8; 1 << 15];
    loop {
        let before = (inflate.total_in(), inflate.total_out());
        match inflate.decompress(rest, &mut text, FlushDecompress::None) {
            Ok(Status::StreamEnd) => return true,
            // It ends in the middle.
            Ok(_) if before == (inflate.total_in(), inflate.total_out()) => return false,
            Ok(_) => rest = &rest[(inflate.total_in() - before.0) as usize..],
            Err(_) => return false,
        }
    }
}

/// What is wrong with a file that cannot be parsed: the parser names what it could not decrypt in
/// many ways, or finds no pages in it.
fn unreadable(bytes: &[u8], problem: String) -> Fault {
    match memchr::memmem::find(bytes, b"/Encrypt") {
        Some(_) => Fault::new(FaultKind::Encrypted, "it needs a password"),
        None => Fault::damaged(problem),
    }
}

fn open(bytes: &[u8]) -> Result<PdfFile, Fault> {
    let mut file = PdfFile::load_mem(bytes).map_err(|error| unreadable(bytes, error.to_string()))?;
    // Many files are encrypted with an empty password, which only forbids printing.
    if file.is_encrypted() && file.decrypt("").is_err() {
        return Err(Fault::new(FaultKind::Encrypted, "it needs a password"));
    }
    Ok(file)
}

/// The title that the file says it has.
fn title(file: &PdfFile) -> Option<String> {
    let info = file.trailer.get(b"Info").ok()?.as_reference().ok()?;
    let title = file
        .get_dictionary(info)
        .ok()?
        .get(b"Title")
        .ok()?
        .as_str()
        .ok()?;
    let text = match title.strip_prefix(b"\xfe\xff") {
        Some(wide) => encoding_rs::UTF_16BE
            .decode_without_bom_handling(wide)
            .0
            .into_owned(),
        None => String::from_utf8_lossy(title).into_owned(),
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(text).filter(|text| !text.is_empty())
}

/// Whether a page shows a picture.
fn has_picture(file: &PdfFile, page: ObjectId) -> bool {
    file.get_page_images(page).is_ok_and(|images| !images.is_empty())
}

/// Drops first and last lines that most pages share but for their numbers: headers and footers.
fn drop_running_lines(pages: &mut [(u32, Vec<Line>)]) {
    let form = |line: &Line| -> String {
        let signs = line.text.chars().filter(|c| !c.is_ascii_digit());
        signs.collect::<String>().trim().to_lowercase()
    };
    if pages.len() < 4 {
        return;
    }
    for is_first in [true, false] {
        let mut counts = std::collections::HashMap::new();
        let edge = |lines: &[Line]| -> Option<String> {
            match is_first {
                true => lines.first().map(form),
                false => lines.last().map(form),
            }
        };
        for (_, lines) in pages.iter() {
            if let Some(form) = edge(lines) {
                *counts.entry(form).or_insert(0) += 1;
            }
        }
        let enough = pages.len() * 3 / 5;
        for (_, lines) in pages.iter_mut() {
            if lines.len() > 2 && edge(lines).is_some_and(|form| counts[&form] >= enough.max(3)) {
                match is_first {
                    true => drop(lines.remove(0)),
                    false => drop(lines.pop()),
                }
            }
        }
    }
}

/// Collects the characters of a page.
#[derive(Default)]
struct Page {
    glyphs: Vec<Glyph>,
}

impl OutputDev for Page {
    fn begin_page(
        &mut self,
        _: u32,
        _: &MediaBox,
        _: Option<(f64, f64, f64, f64)>,
    ) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn output_character(
        &mut self,
        place: &Transform,
        width: f64,
        _: f64,
        font_size: f64,
        text: &str,
    ) -> Result<(), OutputError> {
        let across = (place.m11 * place.m11 + place.m12 * place.m12).sqrt();
        let up = (place.m21 * place.m21 + place.m22 * place.m22).sqrt();
        let (x, y, size) = (place.m31, place.m32, up * font_size.abs());
        // Text along the edge, such as a stamp of an archive, is not part of the page's text.
        let is_level = place.m12.abs() <= place.m11.abs() * 0.2;
        let is_a_place = [x, y, size, width].iter().all(|number| number.is_finite());
        if is_level && is_a_place && self.glyphs.len() < MOST_GLYPHS {
            self.glyphs.push(Glyph {
                x,
                end: x + width * across * font_size.abs(),
                y,
                size,
                text: shown(text),
            });
        }
        Ok(())
    }

    fn begin_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), OutputError> {
        Ok(())
    }
}

/// The letters of a sign: ligatures apart, and nothing that controls.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'ﬀ' => out.push_str("ff"),
            'ﬁ' => out.push_str("fi"),
            'ﬂ' => out.push_str("fl"),
            'ﬃ' => out.push_str("ffi"),
            'ﬄ' => out.push_str("ffl"),
            'ﬅ' | 'ﬆ' => out.push_str("st"),
            '\u{a0}' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file whose pages have these lines, from the top. An empty page shows a picture.
    pub fn file(pages: &[&[&str]]) -> Vec<u8> {
        let pages: Vec<String> = pages.iter().map(|lines| content(lines)).collect();
        file_of(&pages)
    }

    /// What a page of these lines shows.
    fn content(lines: &[&str]) -> String {
        let mut content = String::from("BT /F1 10 Tf 50 700 Td 12 TL\n");
        for line in lines {
            content += &format!("({line}) Tj T*\n");
        }
        content += "ET";
        if lines.is_empty() {
            content = "q 100 0 0 100 0 0 cm /Im1 Do Q".into();
        }
        stream("", &content)
    }

    fn stream(more: &str, content: &str) -> String {
        format!(
            "<< /Length {}{more} >>\nstream\n{content}\nendstream",
            content.len()
        )
    }

    /// A file with pages that show these streams.
    fn file_of(streams: &[String]) -> Vec<u8> {
        let mut objects = vec![
            "<< /Type /Catalog /Pages 2 0 R >>".to_string(),
            String::new(),
            "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_string(),
            "<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length 1 >>\nstream\nx\nendstream".to_string(),
        ];
        let mut kids = Vec::new();
        for stream in streams {
            objects.push(stream.clone());
            let pictures = match stream.contains("/Im1") {
                true => "/XObject << /Im1 4 0 R >>",
                false => "",
            };
            objects.push(format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {} 0 R /Resources << /Font << /F1 3 0 R >> {pictures} >> >>",
                objects.len()
            ));
            kids.push(format!("{} 0 R", objects.len()));
        }
        objects[1] = format!(
            "<< /Type /Pages /Count {} /Kids [{}] >>",
            kids.len(),
            kids.join(" ")
        );
        let mut out = b"%PDF-1.4\n".to_vec();
        let mut places = Vec::new();
        for (number, object) in objects.iter().enumerate() {
            places.push(out.len());
            out.extend(format!("{} 0 obj\n{object}\nendobj\n", number + 1).bytes());
        }
        let table = out.len();
        out.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
        for place in places {
            out.extend(format!("{place:010} 00000 n \n").bytes());
        }
        out.extend(
            format!(
                "trailer << /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n",
                objects.len() + 1
            )
            .bytes(),
        );
        out
    }

    #[test]
    fn text_is_read_and_scanned_pages_are_named() {
        let bytes = file(&[
            &["Sheep are kept for wool,", "milk and meat."],
            &[],
            &["They live in flocks."],
        ]);
        let document = read(&bytes).unwrap();
        assert_eq!(document.scanned, [2]);
        let shown: Vec<_> = document
            .blocks
            .iter()
            .map(|block| (block.page, block.text.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                (Some(1), "Sheep are kept for wool, milk and meat."),
                (Some(3), "They live in flocks.")
            ]
        );
        assert_eq!(read(&file(&[&[], &[]])).unwrap_err().kind, FaultKind::Scanned);
    }

    #[test]
    fn headers_of_all_pages_are_dropped() {
        let subjects = ["wool", "milk", "grass", "dogs", "fences"];
        let pages: Vec<Vec<String>> = subjects
            .iter()
            .enumerate()
            .map(|(page, subject)| {
                vec![
                    format!("The Shepherd's Guide {page}"),
                    format!("This page is about {subject}."),
                    format!("There is more on {subject} elsewhere."),
                ]
            })
            .collect();
        let pages: Vec<Vec<&str>> = pages
            .iter()
            .map(|page| page.iter().map(String::as_str).collect())
            .collect();
        let pages: Vec<&[&str]> = pages.iter().map(Vec::as_slice).collect();
        let text = read(&file(&pages)).unwrap().text();
        assert!(!text.contains("Guide"), "{text}");
        for subject in subjects {
            assert!(
                text.contains(&format!("about {subject}. There is more on {subject} elsewhere.")),
                "{text}"
            );
        }
    }

    #[test]
    fn damaged_files_are_named() {
        let bytes = file(&[&["Sheep."]]);
        for broken in [&bytes[..200], b"%PDF-1.7\nnothing", b""] {
            assert_eq!(read(broken).unwrap_err().kind, FaultKind::Damaged);
        }
        let locked = String::from_utf8(bytes).unwrap().replace(
            "/Root 1 0 R >>",
            "/Root 1 0 R /ID [<00> <00>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <00> /U <00> >> >>",
        );
        assert_eq!(read(locked.as_bytes()).unwrap_err().kind, FaultKind::Encrypted);
    }

    #[test]
    fn pages_that_cannot_be_decoded_are_damaged_and_not_empty() {
        let damaged = stream(" /Filter /FlateDecode", "this was never deflated by any program");
        let unknown = stream(" /Filter /SheepDecode", "this needs a decoder of another kind");
        let blank = stream("", "");
        let whole = content(&["Sheep are kept for wool."]);
        let document = read(&file_of(&[
            whole.clone(),
            damaged.clone(),
            whole.clone(),
            unknown.clone(),
        ]))
        .unwrap();
        assert_eq!(document.notes, ["nothing of pages 2 and 4 can be read"]);
        assert!(read(&file_of(&[whole, blank.clone()])).unwrap().notes.is_empty());
        let fault = |streams: &[&String]| {
            let streams: Vec<String> = streams.iter().map(|&stream| stream.clone()).collect();
            read(&file_of(&streams)).unwrap_err().to_string()
        };
        assert_eq!(fault(&[&damaged, &unknown]), "damaged: no page can be read");
        assert_eq!(
            fault(&[&damaged, &blank]),
            "damaged: page 1 cannot be read, and there is no text on others"
        );
        assert_eq!(
            fault(&[&damaged, &content(&[])]),
            "scanned: 1 page of pictures, no text layer, and page 1 cannot be read"
        );
        assert_eq!(fault(&[&blank]), "empty: 1 page without text");
    }

    #[test]
    fn deflated_bytes_are_whole_without_their_checksum() {
        let mut pack = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut pack, "sheep and wool ".repeat(9000).as_bytes()).unwrap();
        let packed = pack.finish().unwrap();
        assert!(inflates(&packed) && inflates(&packed[..packed.len() - 4]) && inflates(b""));
        assert!(!inflates(&packed[..packed.len() / 2]) && !inflates(b"x"));
        let mut wrong = packed;
        wrong[2..20].fill(0xff);
        assert!(!inflates(&wrong));
    }
}
