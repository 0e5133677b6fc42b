//! Passages: a document cut at its headings, then between paragraphs, so that each has about as
//! many tokens as a prompt has room for.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use unicode_segmentation::UnicodeSegmentation;

use super::{Block, BlockKind, Document};

/// How documents are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The most tokens of a passage, estimated.
    pub tokens: u32,
    /// Tokens of the end of a passage that the next one of the same section begins with, at most.
    pub overlap: u32,
}

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// The headings that it is under, from the outermost; empty without any.
    pub heading: String,
    /// Its text.
    pub text: String,
    /// Its tokens, estimated.
    pub tokens: u32,
    /// The page that it begins on.
    pub page: Option<u32>,
    /// Its language, as three letters of ISO 639-3, where it can be told.
    pub language: Option<&'static str>,
    /// A hash of heading and text.
    pub hash: String,
}

/// Estimates the tokens of a text without a tokenizer: a token is four characters of ASCII, two of
/// another alphabet, or one of Chinese, Japanese or Korean.
pub fn tokens(text: &str) -> u32 {
    let quarters: u64 = text.chars().map(quarters).sum();
    u32::try_from(quarters.div_ceil(4)).unwrap_or(u32::MAX)
}

/// A character in quarters of a token.
fn quarters(c: char) -> u64 {
    match c {
        '\0'..='\x7f' => 1,
        '\u{80}'..='\u{10ff}' | '\u{1200}'..='\u{2dff}' => 2,
        _ => 4,
    }
}

/// Cuts a document into passages.
pub fn cut(document: &Document, cut: &Cut) -> Vec<Passage> {
    let mut cutter = Cutter {
        cut: *cut,
        headings: Vec::new(),
        open: String::new(),
        page: None,
        is_overlap: false,
        passages: Vec::new(),
    };
    for block in &document.blocks {
        cutter.add(block);
    }
    cutter.close(false);
    cutter.passages
}

struct Cutter {
    cut: Cut,
    /// The headings above what follows, by level.
    headings: Vec<(u8, String)>,
    open: String,
    page: Option<u32>,
    /// Whether what is open is only the end of the passage before.
    is_overlap: bool,
    passages: Vec<Passage>,
}

impl Cutter {
    fn add(&mut self, block: &Block) {
        match block.kind {
            BlockKind::Heading(level) => {
                self.close(false);
                self.headings.retain(|(above, _)| *above < level);
                self.headings.push((level, block.text.clone()));
            }
            BlockKind::Whole => {
                self.close(false);
                self.add_text(block, "\n\n");
                self.close(false);
            }
            BlockKind::Paragraph | BlockKind::Code => self.add_text(block, "\n\n"),
        }
    }

    /// Adds a block, in parts if it is larger than a passage.
    fn add_text(&mut self, block: &Block, between: &str) {
        if tokens(&block.text) <= self.cut.tokens {
            self.append(&block.text, between, block.page);
            return;
        }
        let mut first = true;
        let parts: Vec<&str> = match block.kind {
            BlockKind::Code => block.text.split_inclusive('\n').collect(),
            _ => block.text.split_sentence_bounds().collect(),
        };
        for part in parts {
            for piece in pieces(part, self.cut.tokens) {
                self.append(piece, if first { between } else { "" }, block.page);
                first = false;
            }
        }
    }

    fn append(&mut self, text: &str, between: &str, page: Option<u32>) {
        let more = if self.open.is_empty() { "" } else { between };
        let together = tokens(&self.open)
            .saturating_add(tokens(more))
            .saturating_add(tokens(text));
        if !self.open.trim().is_empty() && together > self.cut.tokens {
            let was_overlap = self.is_overlap;
            self.close(true);
            if was_overlap || tokens(&self.open).saturating_add(tokens(text)) >= self.cut.tokens {
                self.open.clear();
            }
        }
        if !self.open.is_empty() {
            // The end of the passage before has lost its blank.
            let between = if between.is_empty() && self.is_overlap {
                " "
            } else {
                between
            };
            self.open.push_str(between);
        }
        if self.open.is_empty() {
            self.page = page;
        }
        self.open.push_str(text);
        self.is_overlap = false;
    }

    /// Ends a passage. If its section goes on, its last sentences stay open.
    fn close(&mut self, goes_on: bool) {
        let text = std::mem::take(&mut self.open);
        let is_overlap = std::mem::take(&mut self.is_overlap);
        let shown = text.trim_matches(['\n', '\r']).trim_end();
        if is_overlap || !shown.chars().any(char::is_alphanumeric) {
            return;
        }
        let heading = self
            .headings
            .iter()
            .map(|(_, text)| text.as_str())
            .collect::<Vec<_>>()
            .join(" › ");
        let hash = Sha256::digest(format!("{heading}\n{shown}"));
        self.passages.push(Passage {
            tokens: tokens(shown),
            page: self.page,
            language: language(shown),
            hash: crate::text::hex(&hash[..16]),
            heading,
            text: shown.to_string(),
        });
        if goes_on && self.cut.overlap > 0 {
            self.open = last_sentences(shown, self.cut.overlap).to_string();
            self.is_overlap = !self.open.is_empty();
        }
    }
}

/// The last whole sentences of a text that have at most so many tokens, but not all of it.
fn last_sentences(text: &str, most: u32) -> &str {
    let mut begin = text.len();
    for (at, sentence) in text
        .split_sentence_bound_indices()
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        if at == 0 || tokens(&text[at..]) > most {
            break;
        }
        if !sentence.trim().is_empty() {
            begin = at;
        }
    }
    &text[begin..]
}

/// Splits a text that is larger than a passage between words, or within a word that is.
fn pieces(text: &str, most: u32) -> Vec<&str> {
    if tokens(text) <= most {
        return vec![text];
    }
    let mut pieces = Vec::new();
    let (mut begin, mut last_space, mut size) = (0, None, 0);
    for (at, c) in text.char_indices() {
        let own = quarters(c);
        if size + own > u64::from(most) * 4 {
            let end = last_space.filter(|end| *end > begin).unwrap_or(at);
            pieces.push(&text[begin..end]);
            size = text[end..at].chars().map(quarters).sum();
            (begin, last_space) = (end, None);
        }
        size += own;
        if c.is_whitespace() {
            last_space = Some(at + c.len_utf8());
        }
    }
    pieces.push(&text[begin..]);
    pieces
}

/// The language of a text, where there are enough letters and no doubt.
fn language(text: &str) -> Option<&'static str> {
    let found = whatlang::detect(text)?;
    let letters = text.chars().filter(|c| c.is_alphabetic()).take(40).count();
    (letters >= 40 && found.is_reliable() || letters >= 8 && found.confidence() > 0.99)
        .then(|| found.lang().code())
}

#[cfg(test)]
mod tests {
    use super::super::plain;
    use super::*;

    fn shown(text: &str, tokens: u32, overlap: u32) -> Vec<(String, String)> {
        let passages = cut(&plain::markdown(text), &Cut { tokens, overlap });
        passages
            .into_iter()
            .map(|passage| (passage.heading, passage.text))
            .collect()
    }

    #[test]
    fn headings_and_budget_cut() {
        let text =
            "# Sheep\n\nThey eat grass.\n\n## Wool\n\nIt is warm.\n\nIt is spun.\n\n# Bees\n\nThey fly.";
        assert_eq!(
            shown(text, 100, 0),
            [
                ("Sheep".into(), "They eat grass.".into()),
                ("Sheep › Wool".into(), "It is warm.\n\nIt is spun.".into()),
                ("Bees".into(), "They fly.".into()),
            ]
        );
        let cut: Vec<String> = shown(text, 4, 0).into_iter().map(|(_, text)| text).collect();
        assert_eq!(
            cut,
            ["They eat grass.", "It is warm.", "It is spun.", "They fly."]
        );
    }

    #[test]
    fn no_passage_is_larger_than_asked_and_no_word_is_lost() {
        let words: Vec<String> = (0..900)
            .map(|number| match number % 4 {
                0 => format!("Word{number}"),
                3 => format!("word{number}."),
                _ => format!("word{number}"),
            })
            .collect();
        let text = words.join(" ");
        for overlap in [0, 20] {
            let passages = cut(&plain::text(&text), &Cut { tokens: 50, overlap });
            assert!(passages.len() > 20);
            assert!(
                passages.iter().all(|passage| passage.tokens <= 50),
                "{passages:?}"
            );
            let all: Vec<&str> = passages
                .iter()
                .flat_map(|passage| passage.text.split_whitespace())
                .collect();
            for word in &words {
                assert!(all.contains(&word.as_str()), "{word}");
            }
            if overlap == 0 {
                assert_eq!(all, words);
            } else {
                assert!(all.len() > words.len());
            }
        }
        // Without spaces, and in another script.
        let long = cut(
            &plain::text(&"羊".repeat(500)),
            &Cut {
                tokens: 100,
                overlap: 10,
            },
        );
        assert_eq!(
            long.iter()
                .map(|passage| passage.text.chars().count())
                .sum::<usize>(),
            500
        );
        assert!(long.iter().all(|passage| passage.tokens <= 100));
    }

    #[test]
    fn overlap_is_whole_sentences() {
        let texts = shown(
            "One two three. Four five six. Seven eight nine. Ten eleven twelve.",
            10,
            5,
        );
        assert_eq!(texts[0].1, "One two three. Four five six.");
        assert!(texts[1].1.starts_with("Four five six. Seven"), "{texts:?}");
    }

    #[test]
    fn hash_and_language_follow_the_text() {
        let german =
            "Die Schafe stehen auf der Weide, und der Hund liegt im Schatten der alten Eiche am Bach.";
        let one = cut(
            &plain::text(german),
            &Cut {
                tokens: 100,
                overlap: 0,
            },
        );
        assert_eq!(one[0].language, Some("deu"));
        let other = cut(
            &plain::text(&format!("{german} Ja.")),
            &Cut {
                tokens: 100,
                overlap: 0,
            },
        );
        assert_ne!(one[0].hash, other[0].hash);
        assert_eq!(language("12 34"), None);
    }
}
