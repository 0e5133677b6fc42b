//! Reads the parameters of NLTK's Punkt splitter: the files of a language in its package data
//! `punkt_tab`, such as `nltk_data/tokenizers/punkt_tab/english`.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use super::punkt::{PunktParameters, Seen};
use crate::settings_file;
use crate::text::one_line;

/// The most bytes of a file; the longest of English has a quarter of a million.
const LONGEST: u64 = 4 << 20;
/// How many characters of a line an error shows.
const SHOWN: usize = 60;

/// One abbreviation a line.
const ABBREVIATIONS: &str = "abbrev_types.txt";
/// Two words a line, with a tab between them.
const COLLOCATIONS: &str = "collocations.tab";
/// One word a line.
const STARTERS: &str = "sent_starters.txt";
/// A word and how it was seen on each line, with a tab between them.
const WORDS: &str = "ortho_context.tab";

// How a word was seen is a sum of these: with the first letter in upper or lower case, as the first
// word of a sentence, within one, or where this is not known.
const FIRST_UPPER: u8 = 1 << 1;
const WITHIN_UPPER: u8 = 1 << 2;
const UNKNOWN_UPPER: u8 = 1 << 3;
const FIRST_LOWER: u8 = 1 << 4;
const WITHIN_LOWER: u8 = 1 << 5;
const UNKNOWN_LOWER: u8 = 1 << 6;
const UPPER: u8 = FIRST_UPPER | WITHIN_UPPER | UNKNOWN_UPPER;
const LOWER: u8 = FIRST_LOWER | WITHIN_LOWER | UNKNOWN_LOWER;

/// Where to get the files.
const HINT: &str = "`python -m nltk.downloader punkt_tab` gets the files; the directory is \
                    tokenizers/punkt_tab/english in nltk_data";

impl PunktParameters {
    /// Reads the files of a directory: `abbrev_types.txt`, `collocations.tab`, `sent_starters.txt`
    /// and `ortho_context.tab`. Of the last, only what decisions depend on is kept.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, is too long or no UTF-8, or there are no abbreviations or no words
    /// in lower case; and the first line in another form, with its number.
    pub fn read(dir: &Path) -> Result<PunktParameters> {
        let mut parameters = PunktParameters {
            abbreviations: words(dir, ABBREVIATIONS)?,
            starters: words(dir, STARTERS)?,
            ..PunktParameters::default()
        };
        each_line(dir, COLLOCATIONS, "two words with a tab between them", |line| {
            let (word, next) = pair(line)?;
            let followers = parameters.collocations.entry(word.to_owned()).or_default();
            followers.insert(next.to_owned());
            Some(())
        })?;
        let wanted = "a word, a tab, and how it was seen: an even number up to 126";
        each_line(dir, WORDS, wanted, |line| {
            let (word, bits) = pair(line)?;
            let bits: u8 = bits.parse().ok()?;
            if bits & !(UPPER | LOWER) != 0 {
                return None;
            }
            if let Some(seen) = seen(bits) {
                parameters.words.insert(word.to_owned(), seen);
            }
            Some(())
        })?;
        for (name, is_empty) in [
            (ABBREVIATIONS, parameters.abbreviations.is_empty()),
            (WORDS, parameters.words.is_empty()),
        ] {
            if is_empty {
                bail!(
                    "`{}` has no words in lower case\nhint: {HINT}",
                    dir.join(name).display()
                );
            }
        }
        Ok(parameters)
    }
}

/// Reads a file of one word a line. White space belongs to it: one abbreviation of English is
/// `. . `.
fn words(dir: &Path, name: &str) -> Result<HashSet<String>> {
    let mut words = HashSet::new();
    each_line(dir, name, "one word", |line| {
        let is_word = !line.is_empty() && !line.contains('\t');
        is_word.then(|| words.insert(line.to_owned())).map(|_| ())
    })?;
    Ok(words)
}

/// The two parts of a line, none of them empty.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (one, other) = line.split_once('\t')?;
    (!one.is_empty() && !other.is_empty() && !other.contains('\t')).then_some((one, other))
}

/// What decisions depend on of how a word was seen; nothing if never in lower case.
fn seen(bits: u8) -> Option<Seen> {
    if bits & LOWER == 0 {
        return None;
    }
    Some(match bits {
        bits if bits & WITHIN_UPPER != 0 => Seen::Both,
        bits if bits & FIRST_LOWER != 0 && bits & UPPER == 0 => Seen::LowerFirst,
        _ => Seen::Lower,
    })
}

/// Gives each line of a file to `take`, which returns nothing for one that is not `wanted`.
fn each_line(dir: &Path, name: &str, wanted: &str, mut take: impl FnMut(&str) -> Option<()>) -> Result<()> {
    let path = dir.join(name);
    let path = path.display();
    let text = settings_file::read_text(&dir.join(name), LONGEST)
        .with_context(|| format!("cannot read `{path}`, a file of Punkt's parameters\nhint: {HINT}"))?;
    for (number, line) in text.lines().enumerate() {
        take(line).ok_or_else(|| {
            anyhow!(
                "`{path}:{}` is not {wanted}, but `{}`\nhint: {HINT}",
                number + 1,
                one_line(line, SHOWN)
            )
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small directory in NLTK's form.
    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            (ABBREVIATIONS, "ewe\n. . \nu.k"),
            (COLLOCATIONS, "##number##\tram\nb\tlamb\nb\twool\n"),
            (STARTERS, ""),
            (
                WORDS,
                "grass\t42\nflock\t46\r\nbaa\t112\nshear\t48\nhay\t32\ndolly\t14\n",
            ),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn a_directory_is_read() {
        let dir = directory();
        let read = PunktParameters::read(dir.path()).unwrap();
        assert!(read.is_abbreviation("ewe") && read.is_abbreviation(". . ") && !read.is_abbreviation("mr"));
        assert!(read.is_collocation("b", "lamb") && read.is_collocation("b", "wool"));
        assert!(read.is_collocation("##number##", "ram") && !read.is_collocation("b", "ram"));
        assert!(!read.is_starter("the"));
        let found: Vec<_> = ["grass", "flock", "baa", "shear", "hay", "dolly", "ram"]
            .iter()
            .map(|word| read.seen(word))
            .collect();
        use Seen::{Both, Lower, LowerFirst};
        assert_eq!(
            found,
            [
                Some(Lower),
                Some(Both),
                Some(LowerFirst),
                Some(LowerFirst),
                Some(Lower),
                None,
                None
            ]
        );
    }

    #[test]
    fn a_broken_line_is_named() {
        let cases: [(&str, &[u8], &str); 12] = [
            (
                ABBREVIATIONS,
                b"mr\n\nmrs\n",
                "abbrev_types.txt:2` is not one word",
            ),
            (ABBREVIATIONS, b"mr\tx\n", "abbrev_types.txt:1` is not one word"),
            (ABBREVIATIONS, b"", "abbrev_types.txt` has no words"),
            (STARTERS, b"the\nits\tit\n", "sent_starters.txt:2"),
            (
                COLLOCATIONS,
                b"a\tb\na b\n",
                "collocations.tab:2` is not two words",
            ),
            (COLLOCATIONS, b"a\tb\tc\n", "collocations.tab:1"),
            (COLLOCATIONS, b"a\t\n", "collocations.tab:1"),
            (WORDS, b"a\t32\nb\t256\n", "ortho_context.tab:2"),
            (WORDS, b"a\t33\n", "but `a 33`"),
            (WORDS, b"a\t-2\n", "an even number up to 126"),
            (WORDS, b"A\t8\n", "ortho_context.tab` has no words in lower case"),
            (WORDS, b"a\t32\n\xff\t32\n", "it is not UTF-8 from byte 5 on"),
        ];
        for (name, text, wanted) in cases {
            let dir = directory();
            std::fs::write(dir.path().join(name), text).unwrap();
            let error = format!("{:#}", PunktParameters::read(dir.path()).unwrap_err());
            assert!(error.contains(wanted), "{text:?}: {error}");
            assert!(error.contains("hint: `python -m nltk.downloader"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_missing_or_too_long_is_named() {
        let dir = directory();
        std::fs::write(dir.path().join(WORDS), "a\t32\n".repeat(LONGEST as usize / 5 + 1)).unwrap();
        let error = format!("{:#}", PunktParameters::read(dir.path()).unwrap_err());
        assert!(
            error.contains(WORDS) && error.contains("more than 4 MiB"),
            "{error}"
        );
        for name in [ABBREVIATIONS, COLLOCATIONS, STARTERS, WORDS] {
            let dir = directory();
            std::fs::remove_file(dir.path().join(name)).unwrap();
            let error = format!("{:#}", PunktParameters::read(dir.path()).unwrap_err());
            assert!(
                error.contains(&format!("{name}`, a file of Punkt's parameters")),
                "{error}"
            );
        }
    }
}
