//! Rejects inputs and outputs that are only a link, a file name or a stand-in for a picture.

use super::text::{head, pattern, tokens};
use super::{Check, EWE, Rule, Settings, shown};
use crate::task::{Instance, Reason};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const RULES: &[Rule] = &[Rule {
    name: "link_only",
    reason: Reason::LinkOnly,
    about: "an input or output that is only a link, a file name or a stand-in for a picture",
    source: EWE,
    check: Check::Instance(link_only),
}];

pattern!(
    SPEAKS_OF_LINKS,
    r"(?i)\b(?:urls?|uris?|links?|hyperlinks?|web-?sites?|web ?pages?|web addresses|domains?|addresses|file ?names?|filenames?|files?|paths?|extensions?|permalinks?|slugs?|repositor(?:y|ies)|citation|bibliograph\w*|html|markdown|package|module|homepage|https?|images?|logo)\b"
);
pattern!(
    LINK,
    r"(?i)^[<(\[]?(?:(?:https?|ftp)://|www\.)[^\s]+[>)\]]?[.,;]?$|^(?:[a-z0-9-]+\.)+(?:com|org|net|io|edu|gov|co|de|uk)(?:/\S*)?$"
);
pattern!(
    FILE_NAME,
    r"(?i)^[<\[(\x22']?(?:[\w()~.-]+[/\\])*[\w() .~-]{1,80}\.(?:jpe?g|png|gif|bmp|webp|svg|tiff?|heic|mp[34]|wav|avi|mov|mkv|flac|ogg|pdf|docx?|xlsx?|pptx?|csv|txt|zip|rar)[>\])\x22']?$"
);
pattern!(
    STAND_IN,
    r"(?i)^(?:!\[[^\]\n]*\]\([^)\n]*\)|<img\b[^>]*>|[\[(<{*]{1,2}\s*(?:[\w,'’-]+\s+){0,6}(?:images?|photos?|photographs?|pictures?|videos?|audio|screenshots?|attachments?|file|gif|link|diagram|chart|graph|map|recording|clip)(?:\s*[:#-]?\s*[\w.,'’-]+){0,10}\s*[\])>}*]{1,2}|(?:\s*(?:an?|the|see|my|one)\s+)*(?:\w+\s+)?(?:image|photo|photograph|picture|video|audio|screenshot|file|recording|clip)s?(?:\s+(?:is|are|file|was))?\s+(?:attached|enclosed|uploaded|below|above|here|provided|included)|(?:see|please see)\s+(?:the\s+)?(?:attached|enclosed)\b.{0,40}|(?:image|photo|picture|video|audio|screenshot)s?\s*[:#]?\s*\d*)[.!]?$"
);

fn link_only(instruction: &str, instance: &Instance, _: &Settings) -> Option<String> {
    if SPEAKS_OF_LINKS.is_match(head(instruction, 4000)) {
        return None;
    }
    [&instance.input, &instance.output].into_iter().find_map(|text| {
        let text = text.trim();
        if text.is_empty() || text.len() > 2000 {
            return None;
        }
        // A word such as "image" may be the answer to a question.
        let stands_in = STAND_IN.is_match(text)
            && tokens(text).take(2).count() + usize::from(!text.starts_with(char::is_alphanumeric)) >= 2;
        let links = text.split_whitespace().any(|word| LINK.is_match(word))
            && text
                .split_whitespace()
                .all(|word| LINK.is_match(word) || !word.contains(char::is_alphanumeric));
        (links || FILE_NAME.is_match(text) || stands_in).then(|| shown(text))
    })
}
