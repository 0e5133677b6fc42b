//! Search queries: translates what people type into the query language of FTS5.
//!
//! All words must occur, in any order and in any form that looks the same. `"two words"` in quotes
//! must follow one another; a `*` after two letters or more stands for any ending. Nothing else is
//! syntax, so that no text is an error.

use std::collections::HashSet;

use crate::fold::folded;

/// Translates what somebody typed; `None` if there is no word in it.
pub fn query(typed: &str) -> Option<String> {
    let mut terms = Vec::new();
    // Parts inside and outside of quotes alternate; an open quote reaches to the end.
    for (index, part) in typed.split('"').enumerate() {
        if index % 2 == 1 {
            terms.extend(term(part));
        } else {
            terms.extend(part.split_whitespace().filter_map(term));
        }
    }
    (!terms.is_empty()).then(|| terms.join(" AND "))
}

/// Returns one quoted term, or alternatives; `None` if the tokenizer would find nothing in it.
fn term(text: &str) -> Option<String> {
    let (text, prefix) = match text.trim().strip_suffix('*') {
        Some(text) => (text, "*"),
        None => (text.trim(), ""),
    };
    // Half of all words begin with one of a few letters, and the index has no prefixes of one
    // letter.
    let prefix = if text.chars().count() > 1 { prefix } else { "" };
    let terms: Vec<String> = forms(text)
        .iter()
        .filter(|form| form.contains(char::is_alphanumeric))
        .map(|form| format!("\"{form}\"{prefix}"))
        .collect();
    match terms.len() {
        0 => None,
        1 => terms.into_iter().next(),
        _ => Some(format!("({})", terms.join(" OR "))),
    }
}

/// Returns the spellings that texts may have for what somebody typed, each once. The tokenizer
/// folds accents, and case where it is one letter for one; the index has no invisible characters
/// within words (`task_text`). Other spellings that look the same are alternatives: ß and ss, full
/// width and half width, ligatures.
fn forms(typed: &str) -> Vec<String> {
    let folded: String = folded(typed).collect();
    let mut forms = with_sharp_s(&folded);
    forms.push(ligatures(&folded));
    forms.push(full_width(&folded));
    // The tokenizer makes this of what was typed, apart from accents.
    forms.push(typed.to_lowercase());
    let mut seen = HashSet::new();
    forms
        .into_iter()
        // SQLite ends a query at a NUL, and FTS5 a term at a quote, which a full-width quote has
        // become.
        .map(|form| form.replace(['\0', '"'], " "))
        .filter(|form| seen.insert(form.clone()))
        .collect()
}

/// Returns the text, and its variants with ß in place of some or all ss: Flussstraße has both.
fn with_sharp_s(text: &str) -> Vec<String> {
    /// Variants are made for the first places only; later ones keep ss.
    const PLACES: usize = 3;
    let mut forms = vec![String::new()];
    for (place, part) in text.splitn(PLACES + 1, "ss").enumerate() {
        if place > 0 {
            let with = |sign: &'static str| forms.iter().map(move |form| format!("{form}{sign}"));
            forms = with("ss").chain(with("ß")).collect();
        }
        forms.iter_mut().for_each(|form| form.push_str(part));
    }
    forms
}

/// Replaces letters by the ligatures of printed texts, as they come out of PDF.
fn ligatures(text: &str) -> String {
    [("ffi", "ﬃ"), ("ffl", "ﬄ"), ("ff", "ﬀ"), ("fi", "ﬁ"), ("fl", "ﬂ")]
        .into_iter()
        .fold(text.to_owned(), |text, (letters, ligature)| {
            text.replace(letters, ligature)
        })
}

/// Replaces ASCII by its full-width forms, as Chinese and Japanese texts have them.
fn full_width(text: &str) -> String {
    let widened = |c: char| match c {
        '!'..='~' => char::from_u32(c as u32 + 0xfee0).expect("U+FF01 to U+FF5E are characters"),
        c => c,
    };
    text.chars().map(widened).collect()
}

#[cfg(test)]
mod tests {
    use super::query;

    /// The query without the full-width forms, which every word has.
    fn narrow(typed: &str) -> Option<String> {
        let query = query(typed)?;
        let is_wide = |c: char| ('\u{ff01}'..='\u{ff5e}').contains(&c);
        let terms = query.split(" AND ").map(|term| {
            let forms: Vec<&str> = term
                .trim_matches(['(', ')'])
                .split(" OR ")
                .filter(|form| !form.contains(is_wide))
                .collect();
            forms.join("|")
        });
        Some(terms.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn words_phrases_and_endings() {
        assert_eq!(query("two").as_deref(), Some(r#"("two" OR "ｔｗｏ")"#));
        assert_eq!(narrow("two words").as_deref(), Some(r#""two" "words""#));
        assert_eq!(
            narrow(r#"a "b c" de* f*"#).as_deref(),
            Some(r#""a" "b c" "de"* "f""#)
        );
        assert_eq!(narrow(r#"open "quote"#).as_deref(), Some(r#""open" "quote""#));
        assert_eq!(narrow("NOT ( OR - ^ :").as_deref(), Some(r#""not" "or""#));
        assert_eq!(query("  * \" \" - "), None);
        // A full-width quote ends no term, and neither does a NUL, which would end SQLite's query.
        assert_eq!(narrow("a\0b＂c").as_deref(), Some(r#""ab c""#));
    }

    #[test]
    fn what_looks_the_same_is_looked_for() {
        assert_eq!(narrow("Straße").as_deref(), Some(r#""strasse"|"straße""#));
        assert_eq!(
            narrow("Passstrasse*").as_deref(),
            Some(r#""passstrasse"*|"paßstrasse"*|"passstraße"*|"paßstraße"*"#)
        );
        assert_eq!(narrow("office").as_deref(), Some(r#""office"|"oﬃce""#));
        assert_eq!(narrow("ＡＢＣ１２").as_deref(), Some(r#""abc12""#));
        assert_eq!(query("日本").as_deref(), Some(r#""日本""#));
        assert_eq!(
            narrow("soft\u{ad}hyphen").as_deref(),
            Some("\"softhyphen\"|\"soft\u{ad}hyphen\"")
        );
    }
}
