//! Finds the root verb of an instruction and the noun that is its direct object, as in figure 3 of
//! the Self-Instruct paper (Wang et al. 2023), which used a parser. This is a heuristic for English
//! requests:
//!
//! 1. Openers are skipped: "please", "can you", "your task is to", "given a text," and the like,
//!    and whole sentences that are not requests ("You are a chef. Write a menu.").
//! 2. The verb is the first word, if it is in a list of verbs that requests begin with. Questions,
//!    statements and other languages have none.
//! 3. The object is the last word of the noun phrase after it, in singular: of the words before the
//!    first preposition, conjunction, comma or other sign, without "me" ("Tell me a joke" is tell,
//!    joke).

use std::{collections::HashSet, sync::LazyLock};

use crate::store::query::tally::Roots;

/// For [`crate::store::Store::totals`]. The version grows with every change of the results.
pub const ROOTS: Roots = Roots { version: 1, of: root };

/// Verbs that requests begin with, in the form used there.
const VERBS: &str = "abbreviate act add adapt adjust advise alphabetize analyse analyze announce annotate answer apply argue arrange \
    assess assign assume back balance brainstorm break build calculate capitalize caption categorise categorize change check choose cite \
    clarify classify clean combine comment compare compile complete compose compress compute conclude condense conduct conjugate \
    consider construct continue contrast convert convince copy correct count craft create criticise criticize critique debug decide \
    decode decompose deduce define delete demonstrate derive describe design detail detect determine develop diagnose differentiate \
    discuss display distinguish divide document draft draw edit elaborate eliminate emphasize encode enumerate establish estimate \
    evaluate examine exemplify expand explain explore express extend extract factor fill filter find finish fix follow forecast form \
    format formulate gather generate get give graph group guess help highlight hypothesize identify illustrate imagine implement \
    improve include indicate infer inform insert interpret introduce invent investigate join judge justify label list locate look \
    make map mark match measure mention merge model modify name narrate negotiate normalize note number offer order organise organize \
    outline paraphrase parse perform persuade pick place plan plot point portray practice predict prepare present pretend print \
    prioritize produce program prompt pronounce proofread propose prove provide punctuate put quote randomize rank rate read \
    reconstruct recommend record redesign reduce refactor reformat reformulate relate remove rename reorder reorganize rephrase \
    replace reply report represent research respond restate restructure retell retrieve return reverse review revise rewrite role-play \
    round route say schedule score search select send separate sequence set share shorten show simplify simulate sketch solve sort \
    specify speculate split spell state structure substitute suggest summarise summarize support synthesize tabulate tag take teach tell test \
    think transcribe transform translate trim turn understand update use validate verify visualize vote weigh work write ";

/// Words before a request that are not its verb, longest first.
const OPENERS: [&[&str]; 22] = [
    &["i", "would", "like", "you", "to"],
    &["in", "this", "task", "you", "will"],
    &["in", "this", "task", "you", "must"],
    &["i", "want", "you", "to"],
    &["i", "need", "you", "to"],
    &["you", "are", "asked", "to"],
    &["you", "are", "required", "to"],
    &["your", "task", "is", "to"],
    &["your", "job", "is", "to"],
    &["your", "goal", "is", "to"],
    &["in", "this", "task"],
    &["you", "have", "to"],
    &["you", "need", "to"],
    &["can", "you"],
    &["could", "you"],
    &["would", "you"],
    &["will", "you"],
    &["help", "me"],
    &["please"],
    &["kindly"],
    &["let's"],
    &["now"],
];

/// Words that begin a phrase before the request, which a comma ends.
const CIRCUMSTANCES: &str =
    " given based using with for in from if when as after before considering without to on assuming suppose ";

/// Words that end a noun phrase, or prevent one.
const ENDS: &str = " of in on at to for from with without by about into onto over under between among against during before after \
    through within across along around as than like per via regarding concerning using based such including excluding containing given \
    and or but nor so then that which who whom whose what when where why how whether if because while until unless though although \
    is are was were be been has have had can could should would will may might must do does did not \
    below above here there again up out off down together away back aloud too also only instead well first \
    following please briefly ";

/// Words before the noun that neither end the phrase nor are nouns.
const DETERMINERS: &str = " a an the this that these those my your our his her its their some any each every all both another \
    me us yourself him them it one two three four five six seven eight nine ten several many few more most much ";

/// The lists above, for fast lookup.
struct Lists {
    verbs: HashSet<&'static str>,
    circumstances: HashSet<&'static str>,
    ends: HashSet<&'static str>,
    determiners: HashSet<&'static str>,
}

static LISTS: LazyLock<Lists> = LazyLock::new(|| Lists {
    verbs: VERBS.split_whitespace().collect(),
    circumstances: CIRCUMSTANCES.split_whitespace().collect(),
    ends: ENDS.split_whitespace().collect(),
    determiners: DETERMINERS.split_whitespace().collect(),
});

/// A word in lower case, and whether a sign after it ends the phrase or the sentence.
struct Word {
    text: String,
    ends_phrase: bool,
    ends_sentence: bool,
}

impl Word {
    /// Returns `None` if it has no letter or digit.
    fn of(raw: &str) -> Option<Word> {
        let first = raw.find(char::is_alphanumeric)?;
        let last = raw.rfind(char::is_alphanumeric)?;
        let end = last + raw[last..].chars().next().map_or(0, char::len_utf8);
        let behind = &raw[end..];
        Some(Word {
            text: raw[first..end].to_lowercase(),
            ends_phrase: !behind
                .trim_matches(['"', '\'', '”', '’', '*', '_', '`'])
                .is_empty(),
            ends_sentence: behind.contains(['.', '!', '?', ':', ';']),
        })
    }
}

/// Returns the verb and its object, if there are any.
pub fn root(instruction: &str) -> Option<(String, Option<String>)> {
    // The beginning of a text decides, and a request may follow a statement or two.
    let mut words = instruction.split_whitespace().take(60).filter_map(Word::of);
    for _ in 0..3 {
        let mut sentence = Vec::new();
        for word in words.by_ref() {
            let ends = word.ends_sentence;
            sentence.push(word);
            if ends {
                break;
            }
        }
        let root = of_sentence(&sentence);
        if root.is_some() {
            return root;
        }
    }
    None
}

fn of_sentence(sentence: &[Word]) -> Option<(String, Option<String>)> {
    let rest = after_openers(sentence);
    let (verb, rest) = rest.split_first()?;
    if !LISTS.verbs.contains(verb.text.as_str()) {
        return None;
    }
    if verb.ends_phrase {
        return Some((verb.text.clone(), None));
    }
    // "Compare and contrast the plays": the object belongs to both.
    let rest = match rest {
        [and, second, rest @ ..] if and.text == "and" && LISTS.verbs.contains(second.text.as_str()) => rest,
        _ => rest,
    };
    Some((verb.text.clone(), object(rest)))
}

fn after_openers(mut rest: &[Word]) -> &[Word] {
    loop {
        let opener = OPENERS.iter().find(|opener| {
            rest.len() > opener.len()
                && rest
                    .iter()
                    .zip(opener.iter())
                    .all(|(word, part)| word.text == *part)
        });
        if let Some(opener) = opener {
            rest = &rest[opener.len()..];
            continue;
        }
        // "Given a list of numbers, find …"
        let comma = rest.iter().position(|word| word.ends_phrase);
        match (rest.first(), comma) {
            (Some(first), Some(comma))
                if LISTS.circumstances.contains(first.text.as_str()) && comma + 1 < rest.len() =>
            {
                rest = &rest[comma + 1..];
            }
            _ => return rest,
        }
    }
}

fn object(rest: &[Word]) -> Option<String> {
    let mut head = None;
    for word in rest {
        let text = word.text.as_str();
        if LISTS.ends.contains(text) && !(head.is_none() && text == "following") {
            // "that" and the like may begin the object: "Rewrite that sentence".
            if !(head.is_none() && LISTS.determiners.contains(text)) {
                break;
            }
        } else if !LISTS.determiners.contains(text) && text != "following" {
            // Adverbs stand after the noun or before an adjective.
            let noun = text.len() <= 24
                && text.chars().all(|c| c.is_alphabetic() || matches!(c, '-' | '\''))
                && !(text.ends_with("ly") && text.len() > 5);
            if noun {
                head = Some(text);
            }
        }
        if word.ends_phrase {
            break;
        }
    }
    head.map(singular)
}

/// Returns the singular of a noun, by its ending.
fn singular(noun: &str) -> String {
    let noun = noun.strip_suffix("'s").unwrap_or(noun);
    let keep = |suffix: &str| noun.strip_suffix(suffix).filter(|stem| stem.len() >= 2);
    match keep("ies") {
        Some("ser" | "spec") => return noun.to_owned(),
        Some("mov" | "cook" | "calor" | "zomb" | "brown" | "t" | "p" | "l") => {
            return noun[..noun.len() - 1].to_owned();
        }
        Some(stem) => return format!("{stem}y"),
        None => {}
    }
    for ending in ["sses", "shes", "ches", "xes", "zzes"] {
        if keep(ending).is_some() {
            return noun[..noun.len() - 2].to_owned();
        }
    }
    for ending in ["ss", "us", "is", "ics", "news", "yes"] {
        if noun.ends_with(ending) {
            return noun.to_owned();
        }
    }
    keep("s").unwrap_or(noun).to_owned()
}

#[cfg(test)]
mod tests {
    use super::root;

    #[test]
    fn verbs_and_objects() {
        for (instruction, verb, object) in [
            ("Write a short story about a ewe.", "write", "story"),
            ("Tell me a joke", "tell", "joke"),
            ("Give me three examples of irony.", "give", "example"),
            ("Please write an email, and be polite.", "write", "email"),
            (
                "Could you suggest some good names for a sheep?",
                "suggest",
                "name",
            ),
            ("Given a list of numbers, find the median.", "find", "median"),
            ("You are a chef. Create a weekly menu.", "create", "menu"),
            (
                "Your task is to classify the following reviews as good or bad.",
                "classify",
                "review",
            ),
            ("Compare and contrast the two poems.", "compare", "poem"),
            ("Rewrite that sentence in the passive.", "rewrite", "sentence"),
            (
                "Summarise the product descriptions below",
                "summarise",
                "description",
            ),
            ("Solve \"the equation\" for x.", "solve", "equation"),
            ("LIST THE COUNTRIES OF EUROPE", "list", "country"),
            ("Name several classes.", "name", "class"),
            ("Make a detailed physics quiz.", "make", "quiz"),
        ] {
            assert_eq!(
                root(instruction),
                Some((verb.into(), Some(object.into()))),
                "{instruction}"
            );
        }
    }

    #[test]
    fn verbs_without_objects_and_no_verbs() {
        for (instruction, verb) in [
            ("Explain how rain forms.", "explain"),
            ("Translate to French: good morning", "translate"),
            ("Describe what a loom does.", "describe"),
            ("Summarise: once upon a time", "summarise"),
            ("List 12 of them", "list"),
        ] {
            assert_eq!(root(instruction), Some((verb.into(), None)), "{instruction}");
        }
        for instruction in [
            "",
            "What is the capital of France?",
            "Nenne drei Tiere.",
            "Is this review positive?",
            "列出三种动物",
            "...",
            "ﬁnd",
            "\u{202e}etirw",
        ] {
            assert_eq!(root(instruction), None, "{instruction}");
        }
    }
}
