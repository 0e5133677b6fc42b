//! Worked examples: texts with a task of each kind and its answer. A base model does what they do;
//! of a kind that is only named it makes nothing.

use super::{Kind, NOT_THERE};

/// One text or two, a task about them, and its answer.
pub(super) type Example = (&'static [&'static str], &'static str, &'static str);

/// Examples of a kind, two of each.
pub(super) fn of(kind: Kind) -> &'static [Example] {
    match kind {
        Kind::Question => QUESTION,
        Kind::Extraction => EXTRACTION,
        Kind::Summary => SUMMARY,
        Kind::Transformation => TRANSFORMATION,
        Kind::Comparison => COMPARISON,
        Kind::Absent => ABSENT,
        Kind::Backtranslation => &[],
    }
}

/// A text that an instruction is the answer to, where no seed can be shown.
pub(super) const BACKTRANSLATED: (&str, &str) = (
    LIBRARY,
    "Write a short notice with the opening hours and lending times of a library.",
);

const LIBRARY: &str = "The library opens at nine on weekdays and at ten on Saturdays. It is closed on Sundays. Books may \
                       be kept for three weeks, and newer films for one.";
const UPLOAD: &str = "--retries N\n    Tries a failed upload again up to N times, by default 3. Between two tries it waits \
                      for a second, then for two, then for four.";
const FERRY: &str = "The ferry leaves Aster Quay at 7:10 and 17:40 and takes 25 minutes. A ticket is 4 euros, for children \
                     2. Bicycles are free.";
const LAMP: &str = "Put the file into /etc/lamp, make it readable with chmod 644, and start the service again with lampctl \
                    restart. Errors are in /var/log/lamp.log.";
const CACHE: &str = "A cache keeps the result of a query for five minutes. If the table changes in the meantime, the result \
                     is thrown away at once. Queries that call random() are never kept.";
const REPAIR: &str = "From 3 to 9 March the ferry stays in the dock, since its engine is replaced. Buses leave from the \
                      church square at the usual times and go round by the bridge, which takes forty minutes longer. \
                      Tickets are valid on both.";

const QUESTION: &[Example] = &[
    (
        &[LIBRARY],
        "How long may books and newer films of the library be kept?",
        "Books may be kept for three weeks, newer films for one.",
    ),
    (
        &[UPLOAD],
        "How often does --retries try a failed upload again if no number is given?",
        "Up to three times.",
    ),
];

const EXTRACTION: &[Example] = &[
    (
        &[FERRY],
        "List the departures and prices of the ferry from Aster Quay.",
        "Departures: 7:10, 17:40\nPrices: 4 euros, children 2 euros, bicycles free",
    ),
    (
        &[LAMP],
        "Name all commands that the set-up of the lamp service needs.",
        "chmod 644, lampctl restart",
    ),
];

const SUMMARY: &[Example] = &[
    (
        &[REPAIR],
        "Summarise in two sentences what passengers of the ferry have to know.",
        "From 3 to 9 March buses from the church square go in place of the ferry, whose engine is replaced. They take \
         forty minutes longer, and tickets are valid.",
    ),
    (
        &[CACHE],
        "Say in one sentence when the cache keeps the result of a query.",
        "The cache keeps a result for five minutes, unless its table changes or the query calls random().",
    ),
];

const TRANSFORMATION: &[Example] = &[
    (
        &[LAMP],
        "Rewrite the set-up of the lamp service as numbered steps.",
        "1. Put the file into /etc/lamp.\n2. Make it readable: chmod 644.\n3. Start the service again: lampctl restart.\n\
         4. Look for errors in /var/log/lamp.log.",
    ),
    (
        &[LIBRARY],
        "Rewrite the notice of the library for children, in short sentences.",
        "We open at nine from Monday to Friday. On Saturdays we open at ten. On Sundays we are closed. You may keep a book \
         for three weeks. You may keep a newer film for one week.",
    ),
];

const COMPARISON: &[Example] = &[
    (
        &[FERRY, REPAIR],
        "What do both texts say about the ferry, and in what do they differ?",
        "Both are about the ferry and its tickets. The first one has its usual times and prices; the second one says that \
         buses replace it from 3 to 9 March.",
    ),
    (
        &[CACHE, UPLOAD],
        "Which of the two texts speaks of waiting, and what does the other one speak of?",
        "The second one speaks of waiting between two tries of an upload. The first one says how long a cache keeps the \
         result of a query.",
    ),
];

const ABSENT: &[Example] = &[
    (
        &[LIBRARY],
        "What does a membership of the library cost?",
        NOT_THERE[0],
    ),
    (
        &[CACHE],
        "How many results does the cache keep at most?",
        NOT_THERE[1],
    ),
];
