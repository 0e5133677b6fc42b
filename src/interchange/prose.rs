//! Text that has no rows: what a server says in place of a file, pointers, pages, settings, text in another encoding.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};

use super::sniff::{CONVERT, Kind, beginning};

/// A message of a server has no more bytes.
const MESSAGE: usize = 400;

/// How messages of servers begin that come in place of a file.
const REFUSALS: &[&str] = &[
    "entry not found",
    "not found",
    "repository not found",
    "revision not found",
    "file not found",
    "404",
    "403",
    "401",
    "429",
    "500",
    "502",
    "503",
    "504",
    "forbidden",
    "unauthorized",
    "access denied",
    "access to ",
    "invalid username or password",
    "invalid credentials",
    "internal server error",
    "internal error",
    "bad gateway",
    "bad request",
    "gateway time",
    "service unavailable",
    "too many requests",
    "rate limit",
    "error:",
];

/// Elements that pieces of HTML begin with.
const HTML: &[&str] = &[
    "html", "head", "body", "div", "span", "p", "table", "meta", "title", "script", "style", "pre", "h1",
    "h2", "h3", "center", "br", "a", "img", "link", "ul", "ol", "section", "article", "main", "header",
    "nav", "form", "iframe", "noscript", "b", "i", "strong", "em", "font",
];

/// How dumps of databases begin.
const SQL: &[&str] = &[
    "insert into ",
    "create table ",
    "create database ",
    "drop table ",
    "begin transaction;",
    "begin;",
    "pragma foreign_keys",
    "set names ",
    "-- mysql dump",
    "-- mariadb dump",
    "-- phpmyadmin",
    "--\n-- postgresql database",
    "/*!",
];

/// The text that these bytes are, if they are UTF-8; what is cut at the end of the head may be whole in the file.
pub(super) fn text(head: &[u8]) -> Option<&str> {
    match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).ok(),
        Err(_) => None,
    }
}

/// Text that certainly has no rows.
pub(super) fn page(head: &[u8]) -> Option<Kind> {
    let bytes = beginning(head);
    let begins = |word: &str| {
        bytes
            .get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    let holds = |word: &str| memchr::memmem::find(bytes, word.as_bytes()).is_some();
    let (what, hint) = match () {
        () if begins("version https://git-lfs.github.com/spec/")
            || begins("version https://hawser.github.com/") =>
        {
            (
                "a pointer of Git LFS, which stands for a file that was not downloaded",
                "`git lfs pull` brings the file itself",
            )
        }
        () if begins("# xet version") => (
            "a pointer of Xet, which stands for a file that was not downloaded",
            "`hf download` brings the file itself",
        ),
        () if begins("<!doctype html")
            || element(bytes).is_some_and(|name| HTML.contains(&name.as_str())) =>
        {
            (
                "an HTML page",
                "a server sent a page in place of the file; on the Hugging Face hub, take the link with `resolve`, not `blob`",
            )
        }
        () if begins("<!--") => ("an HTML page", CONVERT),
        () if begins("<?xml") || element(bytes).is_some() => ("XML", CONVERT),
        () if begins("%!PS") => ("a PostScript document", CONVERT),
        () if begins("data: {")
            || begins("data:{")
            || (begins("event:") || begins(":")) && holds("\ndata:") =>
        {
            (
                "a stream of events, as servers send it",
                "`sed -n 's/^data: *{/{/p' FILE` writes the JSON of each",
            )
        }
        () if SQL.iter().any(|start| begins(start)) => (
            "statements of SQL",
            "load them into a database, and write its rows as JSON lines or CSV",
        ),
        () if is_settings(bytes) => ("settings in TOML or INI", CONVERT),
        () if is_refusal(bytes) => (
            "what a server says in place of a file",
            "look at it, and download the file once more, with a token where one is needed",
        ),
        () => return None,
    };
    Some(Kind { what, hint })
}

/// The name of the element that text begins with.
fn element(text: &[u8]) -> Option<String> {
    let name = text.strip_prefix(b"<")?;
    let length = name
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric())
        .count();
    let ends = name
        .get(length)
        .is_some_and(|byte| b">/:-_ \n\r\t".contains(byte));
    let is_name = name.first().is_some_and(u8::is_ascii_alphabetic) && ends;
    is_name.then(|| String::from_utf8_lossy(&name[..length]).to_ascii_lowercase())
}

/// A name in brackets on a line, and below it settings.
fn is_settings(text: &[u8]) -> bool {
    let mut lines = text
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.starts_with(b"#") && !line.starts_with(b";"));
    let is_section = |line: &[u8]| {
        let name = line.strip_prefix(b"[").and_then(|line| line.strip_suffix(b"]"));
        let name = name.map(|name| {
            name.strip_prefix(b"[")
                .and_then(|name| name.strip_suffix(b"]"))
                .unwrap_or(name)
        });
        name.is_some_and(|name| {
            name.first().is_some_and(u8::is_ascii_alphabetic)
                && name
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-. ".contains(byte))
        })
    };
    lines.next().is_some_and(is_section) && lines.next().is_some_and(is_setting)
}

/// A name, an equals sign, a value.
fn is_setting(line: &[u8]) -> bool {
    let Some(equals) = memchr::memchr(b'=', line) else {
        return false;
    };
    let name = line[..equals].trim_ascii();
    name.first()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_')
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte))
}

/// Whether all of the text is one of [`REFUSALS`], and no table whose first column is called so.
fn is_refusal(text: &[u8]) -> bool {
    let Some(text) = Some(text)
        .filter(|text| text.len() <= MESSAGE)
        .and_then(self::text)
    else {
        return false;
    };
    let text = text.trim().to_lowercase();
    REFUSALS.iter().any(|start| {
        let rest = text
            .strip_prefix(start)
            .map(str::chars)
            .map(|mut rest| rest.next());
        match rest {
            Some(None) => true,
            Some(Some(next)) => {
                start.ends_with([' ', ':']) || matches!(next, ' ' | ':' | '.' | '!' | '\n' | '\r')
            }
            None => false,
        }
    })
}

/// What a file is of which nothing is a row, as its beginning says.
pub(super) fn unreadable(head: &[u8]) -> Option<Kind> {
    let unknown = Kind {
        what: "not text, and no format that ewe knows",
        hint: CONVERT,
    };
    let Some(text) = text(head) else {
        return Some(match head.iter().any(|&byte| byte < 9) {
            true => unknown,
            false => Kind {
                what: "text that is not UTF-8",
                hint: encoding_hint(head),
            },
        });
    };
    let is_json = matches!(beginning(head).first(), None | Some(b'[' | b'{' | b'"'));
    prose(head).or((!is_json && text.contains('\0')).then_some(unknown))
}

/// What text is that people write, or programs for each other, if it can be told.
pub(super) fn prose(head: &[u8]) -> Option<Kind> {
    let text = text(beginning(head))?;
    let mut lines = text.lines().map(str::trim_end);
    let (first, second) = (lines.next()?, lines.next());
    let (what, hint) = match () {
        () if first.starts_with("{'") || first.starts_with("[{'") => (
            "rows as Python prints them",
            "write each with `json.dumps`, one a line",
        ),
        () if first == "---" && text.contains("\n---\n") => (
            "Markdown below a head of YAML, as a README is",
            "give the file of rows beside it",
        ),
        () if first == "---" || first.starts_with("- ") || is_entry(first) => ("YAML", CONVERT),
        () if first.starts_with('#')
            && second.is_none_or(|line| line.is_empty() || line.starts_with('#')) =>
        {
            ("Markdown, as a README is", "give the file of rows beside it")
        }
        () if is_setting(first.as_bytes()) => ("settings in TOML or INI", CONVERT),
        () => return None,
    };
    Some(Kind { what, hint })
}

/// A name, a colon, and a space or nothing.
fn is_entry(line: &str) -> bool {
    line.split_once(':').is_some_and(|(name, value)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_- ".contains(c))
            && (value.is_empty() || value.starts_with(' '))
    })
}

/// How text that is no UTF-8 is probably encoded.
pub(super) fn encoding_of(bytes: &[u8]) -> &'static str {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    detector.guess(None, Utf8Detection::Deny).name()
}

/// What converts text that is no UTF-8.
pub(super) fn encoding_hint(bytes: &[u8]) -> &'static str {
    match encoding_of(bytes) {
        "GBK" | "gb18030" => "it looks like GBK: `iconv -f GB18030 -t UTF-8` converts it",
        "Big5" => "it looks like Big5: `iconv -f BIG5 -t UTF-8` converts it",
        "Shift_JIS" => "it looks like Shift_JIS: `iconv -f CP932 -t UTF-8` converts it",
        "EUC-JP" => "it looks like EUC-JP: `iconv -f EUC-JP -t UTF-8` converts it",
        "EUC-KR" => "it looks like EUC-KR: `iconv -f CP949 -t UTF-8` converts it",
        "windows-1251" => "it looks like Windows-1251: `iconv -f CP1251 -t UTF-8` converts it",
        "windows-1252" => "it looks like Latin-1 or Windows-1252: `iconv -f CP1252 -t UTF-8` converts it",
        "KOI8-U" | "KOI8-R" => "it looks like KOI8: `iconv -f KOI8-U -t UTF-8` converts it",
        _ => "`iconv -f ENCODING -t UTF-8` converts it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_named_for_what_they_are() {
        for (text, name) in [
            ("Entry not found", "a server says"),
            ("404: Not Found", "a server says"),
            ("Not Found\n", "a server says"),
            ("Access to model x is restricted. Log in.", "a server says"),
            ("# xet version 0\nfilesize = 1\n", "Xet"),
            ("<div>Not found</div>", "HTML"),
            ("\u{feff}<P class='x'>", "HTML"),
            ("<rows><row/></rows>", "XML"),
            ("data: {\"a\": 1}\n\n", "a stream of events"),
            ("event: message\ndata: {}\n", "a stream of events"),
            ("INSERT INTO x VALUES (1, 'a');\n", "SQL"),
            ("--\n-- PostgreSQL database dump\n", "SQL"),
            ("[[row]]\ninstruction = 'a'\n", "TOML or INI"),
            ("[a]\n; b\nx=1\n", "TOML or INI"),
        ] {
            let what = page(text.as_bytes()).map(|kind| kind.what).unwrap_or_default();
            assert!(what.contains(name), "{text}: {what}");
        }
        for text in [
            "not found,reason\nx,y\n",
            "404,reason\n",
            "error: a\n".repeat(100).as_str(),
            "[1]\n{}",
            "[null]\n[null]",
            "[a]\n{\"b\": \"=\"}",
            "<|user|>",
            "datable,x\n",
            "",
        ] {
            assert_eq!(page(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn text_without_rows_is_named_for_what_it_is() {
        for (text, name) in [
            ("# Title\n\nSome text.\n", "Markdown"),
            ("---\nlicense: mit\n---\n# x\n", "README"),
            ("---\na: 1\n", "YAML"),
            ("instruction: a\noutput: b\n", "YAML"),
            ("title = \"x\"\n", "TOML"),
            ("[{'instruction': 'a'}]", "Python"),
        ] {
            let what = unreadable(text.as_bytes())
                .map(|kind| kind.what)
                .unwrap_or_default();
            assert!(what.contains(name), "{text}: {what}");
        }
        for text in [
            "Dear all,\nhow are you?\n",
            "# by hand\nquestion,answer\n",
            "{\"a\": 1",
        ] {
            assert_eq!(unreadable(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn encodings_are_guessed() {
        let hint = |text: &str, encoding: &'static encoding_rs::Encoding| {
            let bytes = encoding.encode(text).0;
            unreadable(&bytes).unwrap().hint
        };
        let chinese = "{\"instruction\": \"请把下面的句子翻译成英文。\", \"output\": \"今天天气很好，我们去公园散步吧。\"}";
        assert!(hint(chinese, encoding_rs::GBK).contains("GBK"));
        let french = "{\"instruction\": \"Où est la bibliothèque ?\", \"output\": \"À côté du café.\"}";
        assert!(hint(french, encoding_rs::WINDOWS_1252).contains("Latin-1"));
    }
}
