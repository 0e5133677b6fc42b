//! Manual pages: the text that `groff` or `mandoc` renders of their source, whichever is installed.
//! It runs in a process of its own with limits, and includes no other file.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use super::fault::{Fault, FaultKind};
use super::plain::push;
use super::{Block, BlockKind, Document};

/// Runs a program with at most a minute of processor time, and 2 GB of memory where the system can
/// limit that.
const LIMITED: &str = "ulimit -t 60; ulimit -v 2097152 2>/dev/null; exec \"$@\"";

/// Programs that render, the better one first: lines of 80 columns, without marks of bold and
/// underlined letters.
const PROGRAMS: [&[&str]; 2] = [
    &[
        "groff", "-S", "-K", "utf8", "-t", "-mandoc", "-T", "utf8", "-P-c", "-P-b", "-P-o", "-P-u",
        "-rLL=80n",
    ],
    &["mandoc", "-T", "utf8", "-O", "width=80"],
];

/// Put before a source: no blanks that fill lines, no divided words, whatever it says of that.
const RAGGED: &str = ".na\n.rm ad\n.nh\n.rm hy\n";

/// Exit code of a shell that does not find a program.
const NOT_FOUND: i32 = 127;

/// Whether a text that its name says nothing about is the source of a manual page: one with the
/// macros that each must begin with, or one that names another file to read instead.
pub fn is_manual(head: &[u8]) -> bool {
    head.starts_with(b".so ")
        || head
            .split(|&byte| byte == b'\n')
            .any(|line| begins(line, b".TH") || begins(line, b".Dd"))
}

fn begins(line: &[u8], name: &[u8]) -> bool {
    line.strip_prefix(name)
        .is_some_and(|rest| rest.first().is_some_and(|byte| byte.is_ascii_whitespace()))
}

/// Reads a manual page. `largest` bounds the bytes that are rendered.
///
/// # Errors
///
/// [`FaultKind::Unreadable`] if nothing is installed that renders it, [`FaultKind::Damaged`] if
/// that fails, [`FaultKind::TooLarge`].
pub fn read(source: &str, largest: u64) -> Result<Document, Fault> {
    let source = RAGGED.to_owned() + &without_includes(source);
    for program in PROGRAMS {
        if let Some(text) = rendered(program, &source, largest)? {
            return Ok(blocks(&text));
        }
    }
    Err(Fault::new(
        FaultKind::Unreadable,
        "a manual page, which `groff` or `mandoc` renders; neither is installed",
    ))
}

/// The source without requests that read other files.
fn without_includes(source: &str) -> String {
    let includes = |line: &&str| {
        let mut words = line.split_whitespace();
        let is_request =
            |word: &str| matches!(word.trim_start_matches(['.', '\'']), "so" | "mso" | "cf" | "trf");
        line.starts_with(['.', '\'']) && words.any(is_request)
    };
    let lines = source.split_inclusive('\n').filter(|line| !includes(line));
    lines.collect()
}

/// What a program makes of a source; `None` if it is not installed.
fn rendered(program: &[&str], source: &str, largest: u64) -> Result<Option<String>, Fault> {
    let fault = |error: std::io::Error| {
        Fault::new(FaultKind::Unreadable, format!("no process to render it: {error}"))
    };
    let mut child = Command::new("sh")
        .args(["-c", LIMITED, "sh"])
        .args(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(fault)?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let mut text = Vec::new();
    thread::scope(|scope| {
        // One that ends early reads no more; its status says why.
        scope.spawn(move || input.map(|mut input| input.write_all(source.as_bytes())));
        output.map(|output| output.take(largest.saturating_add(1)).read_to_end(&mut text))
    })
    .transpose()
    .map_err(fault)?;
    if text.len() as u64 > largest {
        let _ = child.kill();
    }
    let status = child.wait().map_err(fault)?;
    match status.code() {
        _ if text.len() as u64 > largest => {
            let limit = crate::text::format_size(largest);
            Err(Fault::new(
                FaultKind::TooLarge,
                format!("rendered, it has more than {limit}"),
            ))
        }
        Some(NOT_FOUND) => Ok(None),
        _ if text.is_empty() && !status.success() => {
            Err(Fault::damaged(format!("{} ended with {status}", program[0])))
        }
        _ => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
    }
}

/// The blocks of a rendered page: headings are at the margin or three columns from it, and text is
/// farther. Its first and its last line are header and footer.
fn blocks(text: &str) -> Document {
    let text = plain(text);
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    let footer = lines.pop_if(|last| !last.starts_with(' '));
    let mut lines = lines.into_iter().skip_while(|line| line.is_empty());
    let header = lines.next();
    let mut blocks = Vec::new();
    let mut open = Vec::new();
    for line in lines {
        let level = match indent(line) {
            0 => 1,
            1..=4 => 2,
            _ => {
                open.push(line);
                continue;
            }
        };
        close(&mut blocks, &mut open);
        // An empty line is none.
        push(&mut blocks, BlockKind::Heading(level), line);
    }
    close(&mut blocks, &mut open);
    let title = header.or(footer).and_then(|line| line.split_whitespace().next());
    Document {
        title: title.map(str::to_owned),
        blocks,
        ..Document::default()
    }
}

/// Adds the lines of a paragraph, without the indent that all of them have.
fn close(blocks: &mut Vec<Block>, open: &mut Vec<&str>) {
    let common = open.iter().map(|line| indent(line)).min().unwrap_or(0);
    let lines: Vec<&str> = std::mem::take(open)
        .into_iter()
        .map(|line| &line[common..])
        .collect();
    push(blocks, BlockKind::Paragraph, &lines.join("\n"));
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Rendered text with the signs that its source has for hyphens and minus, and without letters that
/// are printed over one another.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '\u{8}' => {
                plain.pop();
            }
            '\u{2010}' | '\u{2212}' => plain.push('-'),
            sign => plain.push(sign),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_manual_pages_are_told_from_text() {
        for source in [
            ".TH EWE 1\n",
            "'\\\" t\n.\\\" x\n.TH EWE 1\n",
            ".Dd May 1, 2026\n.Dt EWE 1\n",
            ".so man1/ewe.1\n",
        ] {
            assert!(is_manual(source.as_bytes()), "{source}");
        }
        for text in ["The .TH macro\n", ".THE\n", "", ".DS\n"] {
            assert!(!is_manual(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_rendered_page_has_headings_and_paragraphs() {
        let text = "EWE(1)        Commands        EWE(1)\n\nNAME\n       ewe \u{2010} grows data\n\nOPTIONS\n   Other options\n\
                    \x20      \u{2212}\u{2212}db FILE\n              The N\u{8}NN da\u{8}_ta\u{8}aset,\n              one file.\n\n\
                    \x20          indented\n            code\n\newe 0.2          May 2026          EWE(1)\n";
        let document = blocks(text);
        assert_eq!(document.title.as_deref(), Some("EWE(1)"));
        let shown: Vec<_> = document
            .blocks
            .iter()
            .map(|block| (block.kind, block.text.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                (BlockKind::Heading(1), "NAME"),
                (BlockKind::Paragraph, "ewe - grows data"),
                (BlockKind::Heading(1), "OPTIONS"),
                (BlockKind::Heading(2), "Other options"),
                (
                    BlockKind::Paragraph,
                    "--db FILE\n       The NN d_taset,\n       one file."
                ),
                (BlockKind::Paragraph, "indented\n code"),
            ]
        );
        assert!(blocks("").blocks.is_empty());
        assert!(blocks("EWE(1)\n").blocks.is_empty());
    }

    #[test]
    fn no_other_file_is_read() {
        let source = ".TH X 1\n.so /etc/passwd\n'so x\n.if n .so x\n.do so x\n. so x\nSo it is.\n.B so\n";
        assert_eq!(without_includes(source), ".TH X 1\nSo it is.\n");
    }
}
