//! Checks of all Markdown files: the book has every page of `docs` once, and links lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The folders with Markdown files, and whether those below them count.
const FOLDERS: [(&str, bool); 6] = [
    ("", false),
    (".github", true),
    ("benches", false),
    ("db", false),
    ("docs", true),
    ("seeds", false),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Adds the Markdown files of the folder `folder` of the repository, by their paths within it.
fn collect(folder: &Path, below: bool, pages: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = folder.join(entry.unwrap().file_name());
        let whole = root().join(&path);
        if whole.is_dir() && below {
            collect(&path, below, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.insert(path, fs::read_to_string(whole).unwrap());
        }
    }
}

/// All Markdown files of the repository, by their paths within it.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut pages = BTreeMap::new();
    for (folder, below) in FOLDERS {
        collect(Path::new(folder), below, &mut pages);
    }
    pages
}

/// The text without blocks of code, and without code within lines.
fn prose(text: &str) -> String {
    let mut prose = String::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !line.starts_with("    ") {
            let outside = line.split('`').step_by(2);
            prose.extend(outside);
        }
        prose.push('\n');
    }
    prose
}

/// Where the links and pictures of the text lead, those of references included.
fn targets(text: &str) -> Vec<String> {
    let prose = prose(text);
    let within = prose.match_indices("](").map(|(at, _)| &prose[at + 2..]);
    let within = within.filter_map(|rest| rest.split([')', ' ', '\n']).next());
    let references = prose.lines().filter(|line| line.starts_with('['));
    let references = references.filter_map(|line| Some(line.split_once("]: ")?.1));
    within.chain(references).map(str::to_owned).collect()
}

/// The anchors of the text's headings, as GitHub and mdBook make them: letters, digits, `-` and
/// `_` in lower case, spaces as `-`, and a number behind the second of a name.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = BTreeSet::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let title = line.trim_start_matches('#');
        if fenced || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = title.trim().to_lowercase().replace(' ', "-");
        let kept: String = kept
            .chars()
            .filter(|&c| c.is_alphanumeric() || c == '-' || c == '_')
            .collect();
        let count = seen.entry(kept.clone()).or_default();
        anchors.insert(match *count {
            0 => kept,
            n => format!("{kept}-{n}"),
        });
        *count += 1;
    }
    anchors
}

/// The path that `target` names on the page at `page`, without `.` and `..`.
fn resolved(page: &Path, target: &str) -> PathBuf {
    let mut path = page.parent().unwrap().to_path_buf();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{target}"),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path
}

#[test]
fn the_book_has_every_page_of_docs_once() {
    let pages = pages();
    let summary = Path::new("docs/SUMMARY.md");
    let mut listed = targets(&pages[summary]);
    listed.sort();
    let names = pages.keys().filter(|path| *path != summary);
    let mut there: Vec<&str> = names
        .filter_map(|path| path.strip_prefix("docs").ok()?.to_str())
        .collect();
    there.sort_unstable();
    assert_eq!(listed, there, "docs/SUMMARY.md beside docs");
    assert!(there.len() > 30, "{}", there.len());
}

#[test]
fn links_between_pages_lead_somewhere() {
    let pages = pages();
    let mut count = 0;
    for (page, text) in &pages {
        for target in targets(text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (path, anchor) = match target.split_once('#') {
                Some((path, anchor)) => (path, Some(anchor)),
                None => (target.as_str(), None),
            };
            let file = if path.is_empty() {
                page.clone()
            } else {
                resolved(page, path)
            };
            assert!(
                root().join(&file).exists(),
                "{}: there is no {target}",
                page.display()
            );
            if let Some(anchor) = anchor {
                assert!(
                    anchors(&pages[&file]).contains(anchor),
                    "{}: {} has no heading for #{anchor}",
                    page.display(),
                    file.display()
                );
            }
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn anchors_are_those_of_github() {
    let text = "# One & two\n\n## `code`, and more\n\n## One & two\n\n```sh\n# not this\n```\n#nor this\n";
    let expected = ["code-and-more", "one--two", "one--two-1"];
    assert_eq!(anchors(text), expected.map(str::to_owned).into());
}
