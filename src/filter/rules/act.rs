//! Acts in the world, asked of a model that only writes.

use super::text::{head_noun, is_textual, requests, sentences};
use super::{Check, EWE_AFTER_SELF_INSTRUCT, Rule, Settings, shown};

pub(super) const RULES: &[Rule] = &[Rule {
    name: "act_in_the_world",
    reason: "unsuitable_act",
    about: "asks for a deed instead of a text: go to the shop, set an alarm, play the song",
    source: EWE_AFTER_SELF_INSTRUCT,
    check: Check::Instruction(act_in_the_world),
}];

/// What an object must be for the verb to mean a deed.
enum Object {
    /// Anything.
    Any,
    /// These words follow the verb at once.
    Next(&'static [&'static str]),
    /// The head of the noun phrase behind the verb.
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

const ACTS: &[(&[&str], Object)] = &[
    (
        &["go"],
        Object::Next(&[
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
    (&["click", "tap", "swipe", "scroll"], Object::Any),
    (
        &["press"],
        Object::Noun(&["button", "key", "enter", "buttons", "switch"]),
    ),
    (&["visit"], Object::Noun(ON_A_SCREEN)),
    (&["visit"], Object::Next(&["quotation", "www", "https"])),
    (
        &[
            "open", "close", "download", "install", "upload", "launch", "delete", "print", "save", "restart",
            "reboot", "check", "refresh",
        ],
        Object::Noun(ON_A_SCREEN),
    ),
    (
        &[
            "open", "close", "lock", "unlock", "clean", "wash", "feed", "water", "walk", "cook", "bake",
            "fix", "repair", "iron", "paint", "mow", "vacuum", "sweep", "brew", "dim", "switch",
        ],
        Object::Noun(THINGS_IN_A_HOUSE),
    ),
    (&["log", "sign"], Object::Next(&["in", "into", "up", "out"])),
    (&["subscribe"], Object::Next(&["to"])),
    (
        &[
            "call", "phone", "ring", "dial", "text", "email", "e-mail", "message",
        ],
        Object::Noun(THINGS_TO_CALL),
    ),
    (
        &["call", "phone", "text", "email", "e-mail", "message"],
        Object::Next(&["him", "her", "them", "me", "us", "back", "everyone"]),
    ),
    (&["dial", "phone"], Object::Any),
    (&["buy", "purchase"], Object::Any),
    (&["order"], Object::Next(&["me", "us"])),
    (
        &["order"],
        Object::Noun(&[
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
    (&["book", "reserve", "schedule"], Object::Noun(THINGS_TO_BOOK)),
    (
        &["schedule", "arrange"],
        Object::Noun(&["call", "delivery", "pickup", "interview"]),
    ),
    (
        &["set"],
        Object::Noun(&[
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
        Object::Next(&["me", "us", "my"]),
    ),
    (
        &["bring", "fetch", "cook", "bake", "pour", "grab", "lend", "hand"],
        Object::Next(&["me", "us"]),
    ),
    (&["pick"], Object::Next(&["up"])),
    (&["play"], Object::Noun(THINGS_TO_PLAY)),
    (&["turn", "switch"], Object::Next(&["on", "off"])),
    (&["turn"], Object::Noun(THINGS_IN_A_HOUSE)),
    (
        &["take"],
        Object::Noun(&[
            "walk", "shower", "nap", "bus", "train", "dog", "trash", "rubbish", "garbage", "taxi", "pill",
            "medicine", "selfie",
        ]),
    ),
    (&["send", "mail", "post", "forward"], Object::Noun(THINGS_TO_SEND)),
    (&["send", "mail"], Object::Next(&["him", "her", "them", "it"])),
    (
        &["transfer", "withdraw", "deposit", "pay"],
        Object::Noun(&[
            "money", "dollars", "euros", "pounds", "bill", "bills", "rent", "funds", "invoice", "cash",
        ]),
    ),
    (
        &["run", "walk", "drive", "travel", "fly", "head"],
        Object::Next(&["to", "around", "home", "outside"]),
    ),
    (&["sing"], Object::Next(&["me", "us", "along"])),
    (&["stand", "sit"], Object::Next(&["up", "down", "still"])),
    (
        &["jump", "dance", "smile", "clap", "wave"],
        Object::Next(&[",", "up", "with", "around", "for", "at", "your", "to"]),
    ),
    (&["google", "bing"], Object::Any),
    (
        &["search", "browse"],
        Object::Noun(&["internet", "web", "google", "youtube"]),
    ),
];

fn act_in_the_world(instruction: &str, _: &Settings) -> Option<String> {
    let sentences = sentences(instruction);
    // Only what the instruction begins with: later sentences often tell what somebody else does.
    let first = &sentences[..sentences.len().min(1)];
    let request = requests(first).into_iter().next()?;
    let (verb, rest) = (request[0], &request[1..]);
    // An idiom: to go to great lengths. A request ends with its deed; a sentence that goes on with "is" is about one.
    let about = rest
        .iter()
        .take(6)
        .any(|word| matches!(*word, "is" | "was" | "means" | "are"));
    let asked = ACTS.iter().any(|(verbs, object)| {
        verbs.contains(&verb)
            && match object {
                Object::Any => !rest.is_empty() && rest[0] != ",",
                Object::Next(words) => rest.first().is_some_and(|next| words.contains(next)),
                Object::Noun(nouns) => head_noun(rest, |noun| nouns.contains(&noun)).is_some(),
            }
    });
    (asked && !about && !is_textual(instruction)).then(|| shown(&request[..request.len().min(6)].join(" ")))
}
