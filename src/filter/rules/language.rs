//! Checks languages: whether the set allows that of the instruction, and whether the answer has
//! that of its task.

use super::text::{head, is_code, pattern, tokens};
use super::{Check, EWE, Rule, Settings};
use crate::task::{Instance, Reason};
use regex::Regex;
use std::sync::LazyLock;
use whatlang::{Lang, Script};

pub(super) const INSTRUCTION_RULES: &[Rule] = &[Rule {
    name: "instruction_language",
    reason: Reason::WrongLanguage,
    about: "an instruction in none of `languages`, where some are set and its own is certain",
    source: EWE,
    check: Check::Instruction(instruction_language),
}];

pub(super) const INSTANCE_RULES: &[Rule] = &[Rule {
    name: "answer_language",
    reason: Reason::WrongLanguage,
    about: "an answer in another language than instruction and input, when all are certain and none is spoken of",
    source: EWE,
    check: Check::Instance(answer_language),
}];

/// Codes of ISO 639-1 and 639-3 with the detector's code for the language, where that differs.
const TWO_LETTERS: &[(&str, &str)] = &[
    ("af", "afr"),
    ("am", "amh"),
    ("ar", "ara"),
    ("az", "aze"),
    ("be", "bel"),
    ("bg", "bul"),
    ("bn", "ben"),
    ("ca", "cat"),
    ("cs", "ces"),
    ("cy", "cym"),
    ("da", "dan"),
    ("de", "deu"),
    ("el", "ell"),
    ("en", "eng"),
    ("eo", "epo"),
    ("es", "spa"),
    ("et", "est"),
    ("fa", "pes"),
    ("fi", "fin"),
    ("fr", "fra"),
    ("gu", "guj"),
    ("he", "heb"),
    ("hi", "hin"),
    ("hr", "hrv"),
    ("hu", "hun"),
    ("hy", "hye"),
    ("id", "ind"),
    ("it", "ita"),
    ("ja", "jpn"),
    ("jv", "jav"),
    ("ka", "kat"),
    ("km", "khm"),
    ("kn", "kan"),
    ("ko", "kor"),
    ("la", "lat"),
    ("lt", "lit"),
    ("lv", "lav"),
    ("mk", "mkd"),
    ("ml", "mal"),
    ("mr", "mar"),
    ("my", "mya"),
    ("nb", "nob"),
    ("ne", "nep"),
    ("nl", "nld"),
    ("no", "nob"),
    ("or", "ori"),
    ("pa", "pan"),
    ("pl", "pol"),
    ("pt", "por"),
    ("ro", "ron"),
    ("ru", "rus"),
    ("si", "sin"),
    ("sk", "slk"),
    ("sl", "slv"),
    ("sn", "sna"),
    ("sr", "srp"),
    ("sv", "swe"),
    ("ta", "tam"),
    ("te", "tel"),
    ("th", "tha"),
    ("tk", "tuk"),
    ("tl", "tgl"),
    ("tr", "tur"),
    ("uk", "ukr"),
    ("ur", "urd"),
    ("uz", "uzb"),
    ("vi", "vie"),
    ("yi", "yid"),
    ("zh", "cmn"),
    ("zu", "zul"),
    ("zho", "cmn"),
    ("fas", "pes"),
    ("nor", "nob"),
];

/// The detector's code for a language given by its ISO 639-1 or 639-3 code.
pub(super) fn code(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let long = TWO_LETTERS
        .iter()
        .find(|(short, _)| *short == name)
        .map_or(name.as_str(), |(_, long)| long);
    Lang::from_code(long).map(|language| language.code())
}

/// A list of all codes that the detector knows, for messages.
pub(super) fn codes() -> String {
    let mut codes: Vec<&str> = Lang::all().iter().map(|language| language.code()).collect();
    codes.sort_unstable();
    codes.join(", ")
}

/// The most frequent words of languages in Latin script. For a sentence or two, they are more
/// reliable than trigrams.
const COMMON: &[(Lang, &[&str])] = &[
    (
        Lang::Eng,
        &[
            "the", "and", "of", "to", "is", "that", "it", "for", "with", "this", "are", "be", "from", "you",
            "what", "which", "how", "if", "or", "not", "by", "your", "write", "give", "into", "one", "their",
            "each", "should", "a", "an", "in", "on", "as", "at", "was", "have", "has", "can", "than", "they",
            "its", "why", "who", "when", "where", "these", "those", "does", "do", "two", "three", "no",
            "name", "below", "words", "sentence", "any", "i", "my", "we", "so", "may", "but", "every", "all",
            "only", "using", "after", "before",
        ],
    ),
    (
        Lang::Deu,
        &[
            "der", "und", "ist", "nicht", "ein", "eine", "das", "mit", "auf", "für", "sich", "dem", "den",
            "wird", "auch", "sind", "einen", "zu", "wie", "im", "ich", "sie", "oder", "nach", "einem",
        ],
    ),
    (
        Lang::Fra,
        &[
            "les", "des", "est", "et", "une", "dans", "pour", "qui", "pas", "sur", "du", "au", "avec", "ce",
            "sont", "plus", "il", "elle", "nous", "vous", "cette", "leur", "ou", "mais", "était",
        ],
    ),
    (
        Lang::Spa,
        &[
            "el", "los", "las", "y", "una", "por", "con", "del", "es", "se", "para", "está", "pero", "muy",
            "su", "más", "este", "esta", "lo", "cuando", "fue", "hay", "al", "sin",
        ],
    ),
    (
        Lang::Ita,
        &[
            "il", "di", "che", "è", "della", "del", "una", "per", "non", "sono", "gli", "nel", "alla",
            "anche", "più", "ma", "dei", "con", "si", "questo", "delle", "ogni", "al",
        ],
    ),
    (
        Lang::Por,
        &[
            "os", "uma", "não", "em", "um", "da", "do", "dos", "das", "é", "com", "para", "são", "mais",
            "ao", "na", "no", "seu", "sua", "pela", "pelo", "mas", "há", "porque", "também", "têm", "hoje",
            "muito", "pelos",
        ],
    ),
    (
        Lang::Nld,
        &[
            "het", "een", "en", "van", "dat", "niet", "zijn", "voor", "met", "ook", "maar", "wordt", "deze",
            "naar", "bij", "aan", "om", "er", "je", "heeft", "kan",
        ],
    ),
    (
        Lang::Swe,
        &[
            "och", "att", "är", "som", "på", "inte", "för", "ett", "av", "med", "den", "har", "till", "det",
            "om", "kan", "från", "men",
        ],
    ),
    (
        Lang::Pol,
        &[
            "i", "nie", "się", "jest", "na", "że", "do", "to", "w", "z", "jak", "oraz", "po", "dla", "tym",
            "przez", "są", "ale", "lub",
        ],
    ),
    (
        Lang::Tur,
        &[
            "ve", "bir", "bu", "için", "ile", "da", "de", "çok", "olarak", "daha", "gibi", "ne", "en",
            "kadar", "sonra", "var", "olan",
        ],
    ),
];

/// The language of a text, if it is nearly certain. The text must have at least `least` different
/// common words of it.
fn certain(text: &str, least: usize) -> Option<Lang> {
    let text = head(text, 3000);
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let info = whatlang::detect(text)?;
    if info.script() != Script::Latin {
        // The script nearly decides. Only a few letters could be a loan word or a formula.
        let own = info.script() != Script::Cyrillic
            && info.script() != Script::Arabic
            && info.script() != Script::Devanagari;
        return (letters >= if own { 8 } else { 30 } && (own || info.confidence() > 0.6))
            .then(|| info.lang());
    }
    let words: Vec<String> = tokens(text).take(400).map(str::to_lowercase).collect();
    let mut shares: Vec<(usize, Lang)> = COMMON
        .iter()
        .map(|(language, common)| {
            let hits = words
                .iter()
                .filter(|word| common.contains(&word.as_str()))
                .count();
            // One repeated word, such as the "com" of addresses, is no evidence.
            let different = common
                .iter()
                .filter(|word| words.iter().any(|other| other == *word))
                .count();
            let hits = if different >= least { hits } else { 0 };
            (hits, *language)
        })
        .collect();
    shares.sort_by_key(|(hits, _)| std::cmp::Reverse(*hits));
    let (most, language) = shares[0];
    // One word in eight is a common one, and there are twice as many as of any other language.
    if most >= least && most * 8 >= words.len() && most >= 2 * shares[1].0 {
        return Some(language);
    }
    // Names and titles have no language. A language of the list above would have been found above.
    let listed = COMMON.iter().any(|(language, _)| *language == info.lang());
    let small = tokens(text)
        .take(400)
        .filter(|word| word.starts_with(char::is_lowercase))
        .count();
    (!listed
        && letters >= 100
        && small * 4 > words.len() * 3
        && info.is_reliable()
        && info.confidence() > 0.9)
        .then(|| info.lang())
}

fn instruction_language(instruction: &str, settings: &Settings) -> Option<String> {
    if settings.languages.is_empty() || is_code(instruction) {
        return None;
    }
    let language = certain(instruction, 3)?.code();
    (!settings.languages.iter().any(|allowed| allowed == language))
        .then(|| format!("'{language}', wanted {}", settings.languages.join(", ")))
}

pattern!(
    SPEAKS_OF_LANGUAGE,
    r"(?i)translat|languag|multilingual|bilingual|\bidiom|loan-?word|alphabet|cyrillic|kanji|hiragana|katakana|pinyin|script|unicode|dialect|pronounc|transliterat|romani[sz]|dub(?:bed|bing)|etymolog|foreign|\b(?:english|german|french|spanish|italian|portuguese|dutch|swedish|danish|norwegian|finnish|icelandic|polish|czech|slovak|hungarian|romanian|bulgarian|greek|turkish|russian|ukrainian|arabic|hebrew|persian|farsi|hindi|urdu|bengali|tamil|telugu|chinese|mandarin|cantonese|japanese|korean|vietnamese|thai|indonesian|malay|swahili|latin|latvian|lithuanian|estonian|croatian|serbian|slovene|slovenian|catalan|basque|irish|welsh|gaelic|filipino|tagalog|esperanto|afrikaans|haiku|lorem)\b|übersetz|\b(?:englisch|deutsch|französisch|spanisch|italienisch)|tradui|traduc|tradu[zç]|tradur|\b(?:anglais|allemand|inglés|inglese|inglês|francés|francese|alemán|tedesco|español|engels)|vertaal|перев[её]д|английск|ترجم|翻[译譯訳]|英[语語文]|번역|영어"
);

/// The answer may be in the language of the instruction or in that of the input.
fn answer_language(instruction: &str, instance: &Instance, _: &Settings) -> Option<String> {
    if SPEAKS_OF_LANGUAGE.is_match(head(instruction, 4000))
        || is_code(&instance.output)
        || is_code(&instance.input)
    {
        return None;
    }
    let enough = |text: &str| {
        let letters = text.chars().take(2000).filter(|c| c.is_alphabetic()).count();
        let wide = text.chars().take(200).any(|c| c as u32 > 0x0500);
        letters >= if wide { 12 } else { 40 }
    };
    if !enough(&instance.output) {
        return None;
    }
    let answer = certain(&instance.output, 3)?;
    let task = format!("{}\n{}", head(instruction, 3000), head(&instance.input, 3000));
    if foreign_script(&instance.output, &task) {
        return Some(format!(
            "the answer is '{}', the task in another script",
            answer.code()
        ));
    }
    let asked = certain(instruction, 2).or_else(|| certain(&task, 2))?;
    // A list of names or figures has no language of its own.
    let given = certain(&instance.input, 3).unwrap_or(asked);
    (!akin(answer, asked) && !akin(answer, given))
        .then(|| format!("the answer is '{}', the task '{}'", answer.code(), asked.code()))
}

/// Whether the answer is in another script, and the task is purely Latin.
fn foreign_script(answer: &str, task: &str) -> bool {
    let is_wide = |c: char| c.is_alphabetic() && c as u32 > 0x036f;
    let letters = |text: &str, wide: bool| {
        head(text, 3000)
            .chars()
            .filter(|&c| c.is_alphabetic() && is_wide(c) == wide)
            .take(100)
            .count()
    };
    letters(task, true) == 0
        && letters(task, false) >= 12
        && letters(answer, true) > 2 * letters(answer, false)
}

/// Whether two languages are the same, or so close that detectors confuse them even in long texts.
fn akin(a: Lang, b: Lang) -> bool {
    const FAMILIES: &[&[Lang]] = &[
        &[Lang::Dan, Lang::Nob, Lang::Swe],
        &[Lang::Ces, Lang::Slk],
        &[Lang::Hrv, Lang::Srp, Lang::Slv],
        &[Lang::Spa, Lang::Cat, Lang::Por],
        &[Lang::Ind, Lang::Jav],
        &[Lang::Nld, Lang::Afr],
        &[Lang::Rus, Lang::Ukr, Lang::Bel],
        &[Lang::Hin, Lang::Mar, Lang::Nep],
        &[Lang::Cmn, Lang::Jpn],
    ];
    a == b
        || FAMILIES
            .iter()
            .any(|family| family.contains(&a) && family.contains(&b))
}
