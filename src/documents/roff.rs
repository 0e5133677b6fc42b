//! Manual pages: the text that `groff` or `mandoc` renders of their source, whichever is installed.
//! It runs in a process of its own with limits, and includes no other file.

use std::io::{self, Write};
use std::path::Path;
use std::thread;

use super::fault::{Fault, FaultKind};
use super::plain::push;
use super::{Block, BlockKind, Document, source};
use crate::limited::{self, Limited};

/// Private memory of a program that renders, in bytes.
const MEMORY: u64 = 2 << 30;

/// Processor time of it, in seconds.
const SECONDS: u64 = 60;

/// Programs that render, the better one first: lines of 80 columns, without marks of bold and
/// underlined letters.
const PROGRAMS: [&[&str]; 2] = [
    &[
        "groff", "-S", "-K", "utf8", "-t", "-mandoc", "-T", "utf8", "-P-c", "-P-b", "-P-o", "-P-u",
        "-rLL=80n",
    ],
    &["mandoc", "-T", "utf8", "-O", "width=80"],
];

/// Put before a source: no blanks that fill lines, no divided words, whatever it says of that, and
/// none of the requests that read other files but the one by which `groff` gets its macros.
const BEFORE: &str =
    ".na\n.rm ad\n.nh\n.rm hy\n.rm so soquiet cf trf nx psbb hpf hpfa hpfcode open opena pso rd\n";

/// Put behind the line with which a page begins, which has read the macros.
const LOADED: &str = ".rm mso msoquiet\n";

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
    let source = alone(source);
    // `mandoc` reads files of the folder that it runs in.
    let empty = tempfile::tempdir().map_err(no_process)?;
    for program in PROGRAMS {
        if let Some(text) = rendered(program, empty.path(), &source, largest)? {
            return Ok(blocks(&text));
        }
    }
    Err(Fault::new(
        FaultKind::Unreadable,
        "a manual page, which `groff` or `mandoc` renders; neither is installed",
    ))
}

/// The source, by which no other file is read.
fn alone(source: &str) -> String {
    let is_header = |line: &str| begins(line.as_bytes(), b".TH") || begins(line.as_bytes(), b".Dd");
    let reads = |line: &str| {
        let names = line.split(|sign: char| !sign.is_ascii_alphanumeric());
        line.starts_with(['.', '\'']) && { names }.any(|name| matches!(name, "mso" | "msoquiet"))
    };
    let mut alone = BEFORE.to_owned();
    let mut lines = source.split_inclusive('\n');
    for line in lines.by_ref() {
        if !reads(line) {
            alone += line;
        }
        if is_header(line) {
            alone += LOADED;
            break;
        }
    }
    alone.extend(lines);
    alone
}

fn no_process(error: io::Error) -> Fault {
    Fault::new(FaultKind::Unreadable, format!("no process to render it: {error}"))
}

/// What a program makes of a source; `None` if it is not installed.
fn rendered(program: &[&str], folder: &Path, page: &str, largest: u64) -> Result<Option<String>, Fault> {
    let arguments: Vec<String> = program[1..].iter().map(|&word| word.to_owned()).collect();
    let renderer = Limited {
        path: Path::new(program[0]),
        arguments: &arguments,
        folder,
        memory: MEMORY,
        seconds: SECONDS,
        variables: &[],
    };
    let (mut child, pid) = renderer.start().map_err(no_process)?;
    let (input, output, warnings) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let text = thread::scope(|scope| {
        // One that ends early reads no more; its status says why.
        scope.spawn(move || input.map(|mut input| input.write_all(page.as_bytes())));
        scope.spawn(move || warnings.map(|mut warnings| io::copy(&mut warnings, &mut io::sink())));
        let text = output.map(|output| source::limited(output, largest, "what it renders to"));
        text.unwrap_or(Ok(Vec::new())).inspect_err(|_| {
            // Nobody reads on.
            let _ = limited::end(&mut child, pid);
        })
    })?;
    let status = child.wait().map_err(no_process)?;
    match status.code() {
        Some(NOT_FOUND) => Ok(None),
        _ if status.success() => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        // What it had written when it was killed, or killed one of its own, is no whole page.
        _ => Err(Fault::damaged(format!(
            "{} ended with {status}; it may take {SECONDS} s and {}",
            program[0],
            crate::text::format_size(MEMORY)
        ))),
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
    fn requests_that_read_files_are_removed() {
        let source = ".de x\n.mso a\n..\n'mso b\n.if n \\{.mso c\\}\n.TH X 1\n.B so\n.mso d\nSo .mso is.\n";
        let expected = format!("{BEFORE}.de x\n..\n.TH X 1\n{LOADED}.B so\n.mso d\nSo .mso is.\n");
        assert_eq!(alone(source), expected);
        assert_eq!(alone("no page\n"), format!("{BEFORE}no page\n"));
    }
}
