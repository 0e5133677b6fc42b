//! The words in which two texts differ.

/// Texts with more words are compared at their beginnings and ends only: the table of all pairs
/// would take too long.
const MOST: usize = 1_500;

/// A part of a text, and whether the other text has it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiffPart<'a> {
    /// Words with the white space after them.
    pub text: &'a str,
    /// Whether both texts have it, in the same order.
    pub common: bool,
}

/// Compares `text` with `other` and returns it in parts, which together are `text`. Case and
/// punctuation make no difference, as for ROUGE-L.
pub fn compare<'a>(text: &'a str, other: &str) -> Vec<DiffPart<'a>> {
    let mine = split(text);
    let theirs: Vec<String> = split(other).into_iter().filter_map(key).collect();
    // Parts without letters and digits are as common as the part before them.
    let words: Vec<(usize, String)> = mine
        .iter()
        .enumerate()
        .filter_map(|(place, part)| Some((place, key(part)?)))
        .collect();
    let keys: Vec<&str> = words.iter().map(|(_, key)| key.as_str()).collect();
    let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
    let common = common(&keys, &theirs);
    let mut marks = vec![None; mine.len()];
    for ((place, _), common) in words.iter().zip(common) {
        marks[*place] = Some(common);
    }
    let mut before = true;
    mine.into_iter()
        .zip(marks)
        .map(|(text, mark)| {
            before = mark.unwrap_or(before);
            DiffPart { text, common: before }
        })
        .collect()
}

/// Splits a text into words, each with the white space after it.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut begin = 0;
    let mut in_space = false;
    for (place, character) in text.char_indices() {
        if in_space && !character.is_whitespace() {
            parts.push(&text[begin..place]);
            begin = place;
        }
        in_space = character.is_whitespace();
    }
    if begin < text.len() {
        parts.push(&text[begin..]);
    }
    parts
}

fn key(word: &str) -> Option<String> {
    let key: String = word
        .chars()
        .filter(|character| character.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    (!key.is_empty()).then_some(key)
}

/// Marks which of `mine` are in the longest common subsequence.
fn common(mine: &[&str], theirs: &[&str]) -> Vec<bool> {
    let mut marks = vec![false; mine.len()];
    let begin = mine
        .iter()
        .zip(theirs)
        .take_while(|(one, other)| one == other)
        .count();
    let (rest, other) = (&mine[begin..], &theirs[begin..]);
    let end = rest
        .iter()
        .rev()
        .zip(other.iter().rev())
        .take_while(|(one, other)| one == other)
        .count();
    marks[..begin].fill(true);
    marks[mine.len() - end..].fill(true);
    let (rest, other) = (&rest[..rest.len() - end], &other[..other.len() - end]);
    if rest.len() > MOST || other.len() > MOST {
        return marks;
    }
    // lengths[i][j] is the length of the longest common subsequence of rest[i..] and other[j..].
    let width = other.len() + 1;
    let mut lengths = vec![0u16; (rest.len() + 1) * width];
    for i in (0..rest.len()).rev() {
        for j in (0..other.len()).rev() {
            lengths[i * width + j] = if rest[i] == other[j] {
                lengths[(i + 1) * width + j + 1] + 1
            } else {
                lengths[(i + 1) * width + j].max(lengths[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < rest.len() && j < other.len() {
        if rest[i] == other[j] {
            marks[begin + i] = true;
            (i, j) = (i + 1, j + 1);
        } else if lengths[(i + 1) * width + j] >= lengths[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::compare;

    /// Puts differing words in brackets.
    fn marked(text: &str, other: &str) -> String {
        compare(text, other)
            .iter()
            .map(|part| match part.common {
                true => part.text.to_owned(),
                false => format!("[{}]", part.text),
            })
            .collect()
    }

    #[test]
    fn words_that_differ_are_marked() {
        assert_eq!(
            marked("Name an animal, please.", "Name an animal."),
            "Name an animal, [please.]"
        );
        assert_eq!(marked("one two  three", "two three one"), "[one ]two  three");
        assert_eq!(marked("a - b", "A b!"), "a - b");
        assert_eq!(marked("", "x"), "");
        assert_eq!(marked("x\ny", ""), "[x\n][y]");
    }

    #[test]
    fn long_texts_are_compared_at_their_ends() {
        let long: String = (0..5_000).map(|n| format!("{n} ")).collect();
        let other = format!("0 1 other {}4999", &long[20..long.len() - 5]);
        let parts = compare(&long, &other);
        assert_eq!(parts.iter().map(|part| part.text).collect::<String>(), long);
        assert!(parts[1].common && parts[4_999].common);
    }
}
