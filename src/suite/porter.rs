//! Porter's stemmer (1980, "An algorithm for suffix stripping") with the changes that nltk makes to
//! it by default, as Google's `rouge_score` uses it. Words are of `[a-z0-9]`; digits count as
//! consonants.

/// Words whose stem no rule finds.
const IRREGULAR: [(&str, &str); 15] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
];

/// Suffixes of step 2 with their replacements, where what is before them has a positive measure.
const STEP_2: [(&str, &str); 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

/// The same of step 3.
const STEP_3: [(&str, &str); 7] = [
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

/// Suffixes that step 4 removes where the measure of what is before them is above 1.
const STEP_4: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism",
    "ate", "iti", "ous", "ive", "ize",
];

/// Returns the stem of a word of lower-case letters and digits. Takes time in proportion to its
/// length.
pub fn stem(word: &str) -> String {
    let irregular = IRREGULAR.iter().find(|(form, _)| *form == word);
    if let Some((_, stem)) = irregular {
        return (*stem).to_owned();
    }
    if word == "succeed" || word.len() <= 2 {
        return word.to_owned();
    }
    let mut word = word.to_owned();
    plurals(&mut word);
    past_and_progressive(&mut word);
    if let Some(stem) = word.strip_suffix('y')
        && stem.len() > 1
        && kinds(stem).last() == Some(true)
    {
        word.pop();
        word.push('i');
    }
    double_suffixes(&mut word);
    first_that_ends(&mut word, &STEP_3, |stem| measure(stem) > 0);
    single_suffixes(&mut word);
    final_e(&mut word);
    if word.ends_with("ll") && measure(&word[..word.len() - 1]) > 1 {
        word.pop();
    }
    word
}

/// Whether each letter is a consonant: not a vowel, nor a y after a consonant.
fn kinds(text: &str) -> impl Iterator<Item = bool> {
    text.bytes().scan(false, |before, letter| {
        *before = match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => !*before,
            _ => true,
        };
        Some(*before)
    })
}

/// How many times a consonant follows a vowel.
fn measure(stem: &str) -> usize {
    let mut before = true;
    kinds(stem)
        .filter(|&is_consonant| is_consonant & !std::mem::replace(&mut before, is_consonant))
        .count()
}

/// Whether it ends in consonant, vowel and a consonant other than w, x and y; or, of two letters,
/// in vowel and consonant.
fn ends_short(stem: &str) -> bool {
    let kinds: Vec<bool> = kinds(stem).collect();
    match kinds[..] {
        [first, second] => !first && second,
        [.., true, false, true] => !stem.ends_with(['w', 'x', 'y']),
        _ => false,
    }
}

/// Replaces the first of the suffixes that the word ends in, if what is before it passes.
fn first_that_ends(word: &mut String, rules: &[(&str, &str)], passes: impl Fn(&str) -> bool) {
    let found = rules.iter().find(|(suffix, _)| word.ends_with(suffix));
    if let Some((suffix, replacement)) = found {
        let at = word.len() - suffix.len();
        if passes(&word[..at]) {
            word.truncate(at);
            word.push_str(replacement);
        }
    }
}

/// Step 1a.
fn plurals(word: &mut String) {
    if word.len() == 4 && word.ends_with("ies") {
        word.truncate(3);
        return;
    }
    let rules = [("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")];
    first_that_ends(word, &rules, |_| true);
}

/// Step 1b.
fn past_and_progressive(word: &mut String) {
    if word.ends_with("ied") {
        word.truncate(if word.len() == 4 { 3 } else { word.len() - 2 });
        return;
    }
    if let Some(stem) = word.strip_suffix("eed") {
        if measure(stem) > 0 {
            word.pop();
        }
        return;
    }
    let stem = ["ed", "ing"].iter().find_map(|suffix| word.strip_suffix(suffix));
    let Some(length) = stem
        .filter(|stem| kinds(stem).any(|is_consonant| !is_consonant))
        .map(str::len)
    else {
        return;
    };
    word.truncate(length);
    if ["at", "bl", "iz"].iter().any(|end| word.ends_with(end)) {
        word.push('e');
        return;
    }
    let bytes = word.as_bytes();
    let is_doubled = length >= 2 && bytes[length - 1] == bytes[length - 2];
    if is_doubled && kinds(word).last() == Some(true) {
        if !word.ends_with(['l', 's', 'z']) {
            word.pop();
        }
    } else if measure(word) == 1 && ends_short(word) {
        word.push('e');
    }
}

/// Step 2.
fn double_suffixes(word: &mut String) {
    while let Some(stem) = word.strip_suffix("alli")
        && measure(stem) > 0
    {
        word.truncate(word.len() - 2);
    }
    if STEP_2.iter().any(|(suffix, _)| word.ends_with(suffix)) {
        first_that_ends(word, &STEP_2, |stem| measure(stem) > 0);
    } else if word.ends_with("logi") && measure(&word[..word.len() - 3]) > 0 {
        word.pop();
    }
}

/// Step 4.
fn single_suffixes(word: &mut String) {
    let Some(suffix) = STEP_4.iter().find(|suffix| word.ends_with(*suffix)) else {
        return;
    };
    let stem = &word[..word.len() - suffix.len()];
    if measure(stem) > 1 && (*suffix != "ion" || stem.ends_with(['s', 't'])) {
        word.truncate(stem.len());
    }
}

/// Step 5a.
fn final_e(word: &mut String) {
    if let Some(stem) = word.strip_suffix('e') {
        let measure = measure(stem);
        if measure > 1 || measure == 1 && !ends_short(stem) {
            word.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words and their stems by nltk 3.9.1, `PorterStemmer().stem`.
    const GOLDEN: &str = include_str!("porter_golden.txt");

    #[test]
    fn stems_are_those_of_nltk() {
        let pairs: Vec<(&str, &str)> = GOLDEN
            .split_ascii_whitespace()
            .map(|pair| pair.split_once('=').expect("word=stem"))
            .collect();
        assert!(pairs.len() > 400, "{}", pairs.len());
        for (word, expected) in pairs {
            assert_eq!(stem(word), expected, "{word}");
        }
    }

    #[test]
    fn a_long_word_takes_linear_time() {
        for part in ["y", "ational", "1", "ss", "alli"] {
            let word = part.repeat(1 << 20);
            assert!(stem(&word).len() <= word.len());
        }
    }
}
