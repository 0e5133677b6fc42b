//! Text without rows: error messages saved in place of a file, Git LFS pointers, HTML, settings,
//! text in another encoding.

use super::{
    encoding::{self, beginning, encoding_hint},
    kind::{CONVERT, FileKind, UNKNOWN},
};

/// The longest text that is taken for a server's error message, in bytes.
const LONGEST_MESSAGE: usize = 400;

/// First words of error messages that servers send in place of a file.
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

/// Elements that fragments of HTML begin with.
const HTML: &[&str] = &[
    "html", "head", "body", "div", "span", "p", "table", "meta", "title", "script", "style", "pre", "h1",
    "h2", "h3", "center", "br", "a", "img", "link", "ul", "ol", "section", "article", "main", "header",
    "nav", "form", "iframe", "noscript", "b", "i", "strong", "em", "font",
];

/// First words of database dumps.
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

/// Recognizes text that cannot have rows, such as a web page or a pointer file, by its first words.
pub fn page(head: &[u8]) -> Option<FileKind> {
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
    Some(FileKind { what, hint })
}

/// Returns the name of the XML or HTML element that the text begins with, in lower case.
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

/// Whether the first lines are `[section]` and `name = value`.
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

/// Whether the line is `name = value`.
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

/// Whether the whole text is an error message that begins with one of [`REFUSALS`]. A table whose
/// first column has such a name is not one.
fn is_refusal(text: &[u8]) -> bool {
    let Some(text) = Some(text)
        .filter(|text| text.len() <= LONGEST_MESSAGE)
        .and_then(encoding::text)
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

/// Recognizes a file without a single readable row.
pub fn unreadable(head: &[u8]) -> Option<FileKind> {
    let Some(text) = encoding::text(head) else {
        return Some(match head.iter().any(|&byte| byte < 9) {
            true => UNKNOWN,
            false => FileKind {
                what: "text that is not UTF-8",
                hint: encoding_hint(head),
            },
        });
    };
    let is_json = matches!(beginning(head).first(), None | Some(b'[' | b'{' | b'"'));
    prose(head).or((!is_json && text.contains('\0')).then_some(UNKNOWN))
}

/// Recognizes documents and settings: Markdown, YAML, TOML, and rows printed by Python.
pub fn prose(head: &[u8]) -> Option<FileKind> {
    let text = encoding::text(beginning(head))?;
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
    Some(FileKind { what, hint })
}

/// Whether the line is `name:` or `name: value`.
fn is_entry(line: &str) -> bool {
    line.split_once(':').is_some_and(|(name, value)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_- ".contains(c))
            && (value.is_empty() || value.starts_with(' '))
    })
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
