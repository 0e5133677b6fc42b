//! A passage as an answer: cleaned by rule, so that it stays what a person wrote.

use std::sync::LazyLock;

use regex::Regex;
use unicode_segmentation::UnicodeSegmentation;

/// Pictures of Markdown.
static PICTURE: LazyLock<Regex> = LazyLock::new(|| regex(r"!\[[^\]\n]{0,300}\]\([^)\n]{0,600}\)"));
/// Links of Markdown, of which the text stays.
static LINK: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\[([^\]\n]{1,300})\](?:\([^)\n]{0,600}\)|\[[^\]\n]{0,100}\])"));
/// Marks of footnotes, as in Markdown and in encyclopedias.
static FOOTNOTE: LazyLock<Regex> = LazyLock::new(|| regex(r"\[\^?\d{1,3}\]"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is fixed")
}

/// A passage of at most so many words, cleaned. Of a longer one, whole paragraphs or else whole
/// sentences in a row are taken; `form` says from where.
pub fn answer(passage: &str, most_words: usize, form: u64) -> String {
    let text = PICTURE.replace_all(passage, "");
    let text = LINK.replace_all(&text, "$1");
    let text = FOOTNOTE.replace_all(&text, "");
    let parts: Vec<String> = paragraphs(&text)
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    let counts: Vec<usize> = parts.iter().map(|part| words(part)).collect();
    if counts.iter().sum::<usize>() <= most_words {
        return parts.join("\n\n");
    }
    if counts.iter().any(|count| *count <= most_words) {
        let fitting: Vec<usize> = (0..parts.len()).filter(|&at| counts[at] <= most_words).collect();
        let run = run(&counts, fitting[form as usize % fitting.len()], most_words);
        return parts[run].join("\n\n");
    }
    let sentences: Vec<&str> = parts[0].split_sentence_bounds().collect();
    let counts: Vec<usize> = sentences.iter().map(|sentence| words(sentence)).collect();
    let text: String = sentences[run(&counts, form as usize % sentences.len(), most_words)].concat();
    text.trim().to_string()
}

/// The parts from `first` on that have at most so many words together, and at least one.
fn run(counts: &[usize], first: usize, most: usize) -> std::ops::Range<usize> {
    let mut sum = 0;
    let fit = counts[first..].iter().take_while(|count| {
        sum += **count;
        sum <= most
    });
    first..first + fit.count().max(1)
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// Paragraphs, with lines that were broken to fit a page joined again. Code, lists and tables keep
/// their lines.
fn paragraphs(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    let mut in_code = false;
    for line in text.lines().chain([""]) {
        let fence = line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
        if fence {
            in_code = !in_code;
        }
        if line.trim().is_empty() && !in_code {
            parts.push(joined(&std::mem::take(&mut open)));
        } else {
            open.push(line);
        }
    }
    parts.push(joined(&open));
    parts
}

fn joined(lines: &[&str]) -> String {
    let stays = |line: &str| {
        let bare = line.trim_start();
        let item = bare.starts_with(['-', '*', '+', '|', '>', '#', '`', '~'])
            || bare.split_once(['.', ')']).is_some_and(|(number, rest)| {
                !number.is_empty()
                    && number.len() <= 3
                    && number.bytes().all(|byte| byte.is_ascii_digit())
                    && rest.starts_with(' ')
            });
        item || line.starts_with("    ") || line.starts_with('\t')
    };
    let is_code = lines
        .first()
        .is_some_and(|line| line.trim_start().starts_with(['`', '~']));
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let line = if is_code { line.trim_end() } else { line.trim() };
        // The number of a page stands alone.
        if !is_code && lines.len() == 1 && line.len() <= 4 && line.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        if at > 0 {
            text.push(if is_code || stays(lines[at]) { '\n' } else { ' ' });
        }
        text.push_str(line);
    }
    let text = text.trim();
    match text.starts_with('#') {
        true => text.trim_start_matches('#').trim().to_string(),
        false => text.replace('\u{ad}', ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_and_words_stay() {
        let text = "## Wool\n\nSheep are [shorn](https://x.y/z) in\nspring.[3] ![x](y.png)\n\n- one\n- two\n\n12\n\n```sh\nls  -l\n\nrm\n```";
        assert_eq!(
            answer(text, 100, 0),
            "Wool\n\nSheep are shorn in spring.\n\n- one\n- two\n\n```sh\nls  -l\n\nrm\n```"
        );
    }

    #[test]
    fn long_passages_are_cut_between_sentences() {
        let sentence = "One two three four five six seven. ";
        let text = sentence.repeat(20);
        for form in 0..20 {
            let answer = answer(&text, 30, form);
            assert!(words(&answer) <= 30 && words(&answer) >= 7, "{answer}");
            assert!(
                answer.starts_with("One") && answer.ends_with("seven."),
                "{answer}"
            );
        }
        let parts = format!("{}\n\nShort one here.\n\nAnother short one.", text.trim());
        assert_eq!(answer(&parts, 10, 0), "Short one here.\n\nAnother short one.");
        assert_eq!(answer("word", 0, 3), "word");
    }
}
