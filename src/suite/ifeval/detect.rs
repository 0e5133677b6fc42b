//! The language of an answer, by the codes of `langdetect` (ISO 639-1; Chinese is `zh`).
//!
//! The paper's code asks `langdetect`, which draws random numbers: on short texts, its result
//! changes from call to call. Here `whatlang` decides, among the languages that both know. Swahili,
//! which `whatlang` does not know, and English in short texts are recognized by frequent words.

use whatlang::{Detector, Lang};

/// How many bytes of a text are looked at, about as many as by `langdetect`.
const LOOKED_AT: usize = 10_000;

/// Codes of `langdetect`, and the languages of `whatlang`.
const LANGUAGES: &[(&str, Lang)] = &[
    ("af", Lang::Afr),
    ("ar", Lang::Ara),
    ("bg", Lang::Bul),
    ("bn", Lang::Ben),
    ("ca", Lang::Cat),
    ("cs", Lang::Ces),
    ("cy", Lang::Cym),
    ("da", Lang::Dan),
    ("de", Lang::Deu),
    ("el", Lang::Ell),
    ("en", Lang::Eng),
    ("es", Lang::Spa),
    ("et", Lang::Est),
    ("fa", Lang::Pes),
    ("fi", Lang::Fin),
    ("fr", Lang::Fra),
    ("gu", Lang::Guj),
    ("he", Lang::Heb),
    ("hi", Lang::Hin),
    ("hr", Lang::Hrv),
    ("hu", Lang::Hun),
    ("id", Lang::Ind),
    ("it", Lang::Ita),
    ("ja", Lang::Jpn),
    ("kn", Lang::Kan),
    ("ko", Lang::Kor),
    ("lt", Lang::Lit),
    ("lv", Lang::Lav),
    ("mk", Lang::Mkd),
    ("ml", Lang::Mal),
    ("mr", Lang::Mar),
    ("ne", Lang::Nep),
    ("nl", Lang::Nld),
    ("no", Lang::Nob),
    ("pa", Lang::Pan),
    ("pl", Lang::Pol),
    ("pt", Lang::Por),
    ("ro", Lang::Ron),
    ("ru", Lang::Rus),
    ("sk", Lang::Slk),
    ("sl", Lang::Slv),
    ("sv", Lang::Swe),
    ("ta", Lang::Tam),
    ("te", Lang::Tel),
    ("th", Lang::Tha),
    ("tl", Lang::Tgl),
    ("tr", Lang::Tur),
    ("uk", Lang::Ukr),
    ("ur", Lang::Urd),
    ("vi", Lang::Vie),
    ("zh", Lang::Cmn),
];

const SWAHILI: &str = "sw";

/// Frequent words of Swahili.
const SWAHILI_WORDS: &[&str] = &[
    "na", "ya", "wa", "kwa", "ni", "za", "katika", "la", "cha", "kama", "hii", "hiyo", "huu", "yake", "wake",
    "kuwa", "vya", "pia", "au", "kila", "lakini", "watu", "sana", "ambayo", "zaidi", "hivyo", "kwamba", "si",
    "yangu", "wangu", "mimi", "sisi", "hapa", "mtu", "moja", "baada", "kutoka", "hadi", "bila", "kwenye",
];

/// Frequent words of English that are rare in other languages.
const ENGLISH_WORDS: &[&str] = &[
    "the", "and", "of", "to", "is", "that", "it", "for", "with", "this", "are", "be", "from", "you", "what",
    "which", "how", "if", "not", "by", "your", "have", "has", "can", "than", "they", "their", "its", "was",
    "were", "we", "my", "but", "all", "when", "who", "will", "would", "there", "about", "should", "his",
    "her", "she", "he", "at", "as", "on", "in", "a", "an", "or", "so", "our", "more", "do", "does", "been",
];

/// Returns the code of a language as [`language`] returns it, for a code of a file.
pub fn known(code: &str) -> Option<&'static str> {
    let code = match code {
        "zh-cn" | "zh-tw" => "zh",
        SWAHILI => return Some(SWAHILI),
        code => code,
    };
    LANGUAGES
        .iter()
        .find(|(name, _)| *name == code)
        .map(|(name, _)| *name)
}

/// Lists all codes, for messages.
pub fn codes() -> String {
    let codes: Vec<&str> = LANGUAGES.iter().map(|(code, _)| *code).chain([SWAHILI]).collect();
    codes.join(", ")
}

/// Returns the code of a text's language; nothing if it has no letters of a known script.
pub fn language(text: &str) -> Option<&'static str> {
    let mut end = text.len().min(LOOKED_AT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphabetic() && c != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let share = |list: &[&str]| {
        let hits = words.iter().filter(|word| list.contains(&word.as_str()));
        hits.count() as f64 / words.len().max(1) as f64
    };
    let (swahili, english) = (share(SWAHILI_WORDS), share(ENGLISH_WORDS));
    if words.len() >= 4 && swahili >= 0.2 && swahili > english {
        return Some(SWAHILI);
    }
    if english >= 0.25 {
        return Some("en");
    }
    let all = LANGUAGES.iter().map(|(_, language)| *language).collect();
    let found = Detector::with_allowlist(all).detect_lang(text)?;
    let code = LANGUAGES.iter().find(|(_, language)| *language == found);
    code.map(|(code, _)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_recognized() {
        let cases = [
            (
                "en",
                "The weather is nice today and we will go to the park with our dog.",
            ),
            (
                "de",
                "Das Wetter ist heute schön und wir gehen mit unserem Hund in den Park.",
            ),
            (
                "sw",
                "Hali ya hewa ni nzuri leo na sisi tutaenda kwa bustani pamoja na mbwa wetu.",
            ),
            ("hi", "आज मौसम अच्छा है और हम अपने कुत्ते के साथ पार्क जाएंगे।"),
            ("kn", "ಇಂದು ಹವಾಮಾನ ಚೆನ್ನಾಗಿದೆ ಮತ್ತು ನಾವು ಉದ್ಯಾನವನಕ್ಕೆ ಹೋಗುತ್ತೇವೆ."),
            ("ko", "오늘은 날씨가 좋아서 우리는 개와 함께 공원에 갈 것입니다."),
            ("fa", "امروز هوا خوب است و ما با سگ خود به پارک می‌رویم."),
        ];
        for (code, text) in cases {
            assert_eq!(language(text), Some(code), "{text}");
        }
        assert_eq!(language("12345 !!!"), None);
    }

    #[test]
    fn codes_of_files_are_known() {
        assert_eq!(
            (known("zh-cn"), known("sw"), known("xx")),
            (Some("zh"), Some("sw"), None)
        );
        for code in [
            "en", "es", "pt", "ar", "hi", "fr", "ru", "de", "ja", "it", "bn", "uk", "th", "ur", "ta", "te",
            "bg", "ko", "pl", "he", "fa", "vi", "ne", "sw", "kn", "mr", "gu", "pa", "ml", "fi",
        ] {
            assert_eq!(known(code), Some(code));
        }
    }
}
