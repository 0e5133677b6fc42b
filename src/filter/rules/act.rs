//! Rejects instructions that ask for a deed, of a model that can only write.

use super::text::{head_noun, is_textual, requests, sentences};
use super::{Check, EWE_AFTER_SELF_INSTRUCT, Rule, Settings, shown};
use crate::task::Reason;

pub(super) const RULES: &[Rule] = &[Rule {
    name: "act_in_the_world",
    reason: Reason::UnsuitableAct,
    about: "asks for a deed instead of a text: go to the shop, set an alarm, play the song",
    source: EWE_AFTER_SELF_INSTRUCT,
    check: Check::Instruction(act_in_the_world),
}];

/// The words after a verb with which it means a deed.
enum VerbObject {
    /// Any word.
    Any,
    /// One of these, directly after the verb.
    Next(&'static [&'static str]),
    /// One of these as the head of the noun phrase after the verb.
    Noun(&'static [&'static str]),
}

const THINGS_TO_CALL: &[&str] = &[
    "mom",
    "mum",
    "dad",
    "mother",
    "father",
    "wife",
    "husband",
    "doctor",
    "dentist",
    "restaurant",
    "taxi",
    "cab",
    "police",
    "office",
    "bank",
    "hotel",
    "shop",
    "store",
    "friend",
    "boss",
    "ambulance",
    "uber",
    "customer",
    "school",
    "number",
    "plumber",
    "airline",
    "company",
    "neighbour",
    "neighbor",
    "brother",
    "sister",
    "garage",
    "pharmacy",
    "clinic",
    "hospital",
    "station",
    "manager",
    "landlord",
    "911",
    "999",
    "112",
];

const THINGS_TO_BOOK: &[&str] = &[
    "flight",
    "flights",
    "table",
    "hotel",
    "room",
    "ticket",
    "tickets",
    "seat",
    "seats",
    "appointment",
    "taxi",
    "cab",
    "trip",
    "holiday",
    "train",
    "meeting",
    "reservation",
    "restaurant",
    "car",
    "court",
    "massage",
    "haircut",
];

const THINGS_TO_SEND: &[&str] = &[
    "email",
    "e-mail",
    "message",
    "text",
    "money",
    "letter",
    "file",
    "files",
    "invitation",
    "invite",
    "tweet",
    "sms",
    "package",
    "parcel",
    "card",
    "flowers",
    "reminder",
    "link",
    "photo",
    "picture",
    "payment",
    "fax",
    "dollars",
    "euros",
    "pounds",
    "invoice",
    "document",
    "postcard",
    "gift",
];

const THINGS_TO_PLAY: &[&str] = &[
    "song",
    "songs",
    "music",
    "video",
    "playlist",
    "album",
    "track",
    "movie",
    "film",
    "radio",
    "sound",
    "recording",
    "podcast",
    "piano",
    "guitar",
    "audiobook",
    "clip",
    "sonata",
    "symphony",
];

const THINGS_IN_A_HOUSE: &[&str] = &[
    "dishes",
    "laundry",
    "car",
    "room",
    "kitchen",
    "house",
    "floor",
    "dog",
    "cat",
    "windows",
    "clothes",
    "dinner",
    "lunch",
    "breakfast",
    "bed",
    "door",
    "window",
    "garage",
    "light",
    "lights",
    "curtains",
    "blinds",
    "fish",
    "plants",
    "lawn",
    "trash",
    "rubbish",
    "garbage",
    "bins",
    "tv",
    "television",
    "oven",
    "heating",
    "fence",
    "wall",
    "walls",
    "toilet",
    "bathroom",
    "fridge",
    "thermostat",
    "volume",
    "lamp",
    "fan",
    "shoes",
    "cake",
    "meal",
    "steak",
    "eggs",
    "pasta",
    "coffee",
    "tea",
    "sandwich",
];

const ON_A_SCREEN: &[&str] = &[
    "app",
    "browser",
    "website",
    "site",
    "page",
    "link",
    "button",
    "icon",
    "tab",
    "folder",
    "file",
    "files",
    "menu",
    "settings",
    "window",
    "url",
    "program",
    "application",
    "camera",
    "calendar",
    "inbox",
    "software",
    "update",
    "updates",
    "account",
    "channel",
    "newsletter",
    "password",
    "photo",
    "photos",
    "emails",
    "email",
    "video",
    "printer",
];

/// Verbs, and the words after them with which they mean a deed.
const ACTS: &[(&[&str], VerbObject)] = &[
    (
        &["go"],
        VerbObject::Next(&[
            "to",
            "outside",
            "home",
            "get",
            "fetch",
            "buy",
            "online",
            "shopping",
            "upstairs",
            "downstairs",
        ]),
    ),
    (&["click", "tap", "swipe", "scroll"], VerbObject::Any),
    (
        &["press"],
        VerbObject::Noun(&["button", "key", "enter", "buttons", "switch"]),
    ),
    (&["visit"], VerbObject::Noun(ON_A_SCREEN)),
    (&["visit"], VerbObject::Next(&["quotation", "www", "https"])),
    (
        &[
            "open", "close", "download", "install", "upload", "launch", "delete", "print", "save", "restart",
            "reboot", "check", "refresh",
        ],
        VerbObject::Noun(ON_A_SCREEN),
    ),
    (
        &[
            "open", "close", "lock", "unlock", "clean", "wash", "feed", "water", "walk", "cook", "bake",
            "fix", "repair", "iron", "paint", "mow", "vacuum", "sweep", "brew", "dim", "switch",
        ],
        VerbObject::Noun(THINGS_IN_A_HOUSE),
    ),
    (&["log", "sign"], VerbObject::Next(&["in", "into", "up", "out"])),
    (&["subscribe"], VerbObject::Next(&["to"])),
    (
        &[
            "call", "phone", "ring", "dial", "text", "email", "e-mail", "message",
        ],
        VerbObject::Noun(THINGS_TO_CALL),
    ),
    (
        &["call", "phone", "text", "email", "e-mail", "message"],
        VerbObject::Next(&["him", "her", "them", "me", "us", "back", "everyone"]),
    ),
    (&["dial", "phone"], VerbObject::Any),
    (&["buy", "purchase"], VerbObject::Any),
    (&["order"], VerbObject::Next(&["me", "us"])),
    (
        &["order"],
        VerbObject::Noun(&[
            "pizza",
            "pizzas",
            "food",
            "taxi",
            "groceries",
            "coffee",
            "lunch",
            "dinner",
            "sushi",
            "burger",
            "flowers",
            "takeaway",
            "takeout",
            "uber",
        ]),
    ),
    (&["book", "reserve", "schedule"], VerbObject::Noun(THINGS_TO_BOOK)),
    (
        &["schedule", "arrange"],
        VerbObject::Noun(&["call", "delivery", "pickup", "interview"]),
    ),
    (
        &["set"],
        VerbObject::Noun(&[
            "alarm",
            "alarms",
            "timer",
            "timers",
            "reminder",
            "reminders",
            "thermostat",
            "volume",
            "clock",
        ]),
    ),
    (
        &["remind", "wake", "drive", "carry"],
        VerbObject::Next(&["me", "us", "my"]),
    ),
    (
        &["bring", "fetch", "cook", "bake", "pour", "grab", "lend", "hand"],
        VerbObject::Next(&["me", "us"]),
    ),
    (&["pick"], VerbObject::Next(&["up"])),
    (&["play"], VerbObject::Noun(THINGS_TO_PLAY)),
    (&["turn", "switch"], VerbObject::Next(&["on", "off"])),
    (&["turn"], VerbObject::Noun(THINGS_IN_A_HOUSE)),
    (
        &["take"],
        VerbObject::Noun(&[
            "walk", "shower", "nap", "bus", "train", "dog", "trash", "rubbish", "garbage", "taxi", "pill",
            "medicine", "selfie",
        ]),
    ),
    (
        &["send", "mail", "post", "forward"],
        VerbObject::Noun(THINGS_TO_SEND),
    ),
    (&["send", "mail"], VerbObject::Next(&["him", "her", "them", "it"])),
    (
        &["transfer", "withdraw", "deposit", "pay"],
        VerbObject::Noun(&[
            "money", "dollars", "euros", "pounds", "bill", "bills", "rent", "funds", "invoice", "cash",
        ]),
    ),
    (
        &["run", "walk", "drive", "travel", "fly", "head"],
        VerbObject::Next(&["to", "around", "home", "outside"]),
    ),
    (&["sing"], VerbObject::Next(&["me", "us", "along"])),
    (&["stand", "sit"], VerbObject::Next(&["up", "down", "still"])),
    (
        &["jump", "dance", "smile", "clap", "wave"],
        VerbObject::Next(&[",", "up", "with", "around", "for", "at", "your", "to"]),
    ),
    (&["google", "bing"], VerbObject::Any),
    (
        &["search", "browse"],
        VerbObject::Noun(&["internet", "web", "google", "youtube"]),
    ),
];

fn act_in_the_world(instruction: &str, _: &Settings) -> Option<String> {
    let sentences = sentences(instruction);
    // Only the first sentence: later ones often tell what somebody else does.
    let first = &sentences[..sentences.len().min(1)];
    let request = requests(first).into_iter().next()?;
    let (verb, rest) = (request[0], &request[1..]);
    // An idiom, such as "to go to great lengths", is followed by "is": the sentence is about a
    // deed. A request ends with its deed.
    let about = rest
        .iter()
        .take(6)
        .any(|word| matches!(*word, "is" | "was" | "means" | "are"));
    let asked = ACTS.iter().any(|(verbs, object)| {
        verbs.contains(&verb)
            && match object {
                VerbObject::Any => !rest.is_empty() && rest[0] != ",",
                VerbObject::Next(words) => rest.first().is_some_and(|next| words.contains(next)),
                VerbObject::Noun(nouns) => head_noun(rest, |noun| nouns.contains(&noun)).is_some(),
            }
    });
    (asked && !about && !is_textual(instruction)).then(|| shown(&request[..request.len().min(6)].join(" ")))
}
