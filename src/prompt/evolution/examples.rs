//! Worked examples: tasks rewritten by each operator, and pairs of tasks that are the same or not.

use super::Operator;

/// Tasks, each with its rewritten version.
pub(super) fn of(operator: Operator) -> &'static [(&'static str, &'static str)] {
    match operator {
        Operator::AddConstraints => ADD_CONSTRAINTS,
        Operator::Deepen => DEEPEN,
        Operator::Concretise => CONCRETISE,
        Operator::IncreaseReasoning => INCREASE_REASONING,
        Operator::ComplicateInput => COMPLICATE_INPUT,
        Operator::InBreadth => IN_BREADTH,
    }
}

const ADD_CONSTRAINTS: &[(&str, &str)] = &[
    (
        "Write a birthday greeting.",
        "Write a birthday greeting in two sentences for a colleague who has just moved abroad, without the word \
         \"happy\".",
    ),
    (
        "Suggest a name for a bakery.",
        "Suggest three names for a bakery that sells rye bread only, each of two words that begin with the same letter.",
    ),
    (
        "Summarise the article.",
        "Tell a reader of twelve in a single sentence what the article says, and keep every number that it mentions.",
    ),
    (
        "Explain how a lock on a canal works.",
        "Explain in at most sixty words, as a numbered list, how a boat passes a lock on its way uphill.",
    ),
];

const DEEPEN: &[(&str, &str)] = &[
    (
        "Why do leaves change colour in autumn?",
        "What goes on inside a leaf that turns red instead of yellow, and what may the tree gain from it?",
    ),
    (
        "List some uses of salt.",
        "How does salt keep meat from spoiling, and why does it fail against some kinds of mould?",
    ),
    (
        "Is the customer satisfied?",
        "What does the customer praise and what does she hold back, and which words give that away?",
    ),
    (
        "Describe what a mayor does.",
        "Which decisions can a mayor take alone, which need the council, and what happens when the two disagree?",
    ),
];

const CONCRETISE: &[(&str, &str)] = &[
    (
        "Plan a day trip.",
        "Plan a day in Bruges by train for two grandparents and a child of five who is tired after an hour of walking.",
    ),
    (
        "Write a complaint to a shop.",
        "Write to a garden shop whose electric hedge trimmer stopped after three weeks, and ask for a repair rather than \
         the money.",
    ),
    (
        "Give advice on saving money.",
        "How can a trainee nurse with 1,400 euros a month put 100 of them aside and keep her season ticket?",
    ),
    (
        "Translate the sentence.",
        "Put the line from the ferry's timetable into Portuguese that a passenger from Brazil would use.",
    ),
];

const INCREASE_REASONING: &[(&str, &str)] = &[
    (
        "How many minutes are three hours?",
        "A film of 138 minutes follows twelve minutes of trailers; when must the doors open at the latest, ten minutes \
         before all that, if the last bus leaves at 22:40?",
    ),
    (
        "Sort the words alphabetically.",
        "Sort the words by how many vowels they have, those with equally many alphabetically, and drop each that is part \
         of another.",
    ),
    (
        "Which animal is the largest?",
        "Of a heron, a hare and a pike, which could carry off which, and which of them would never meet?",
    ),
    (
        "Who wrote the letter?",
        "Work out from what the letter takes for granted whether a guest, a tenant or a neighbour wrote it, and say which \
         sentence rules out the others.",
    ),
];

const COMPLICATE_INPUT: &[(&str, &str)] = &[
    (
        "What is the average of the numbers?",
        "From a table in CSV with the columns day, city and rainfall, work out the average rainfall of each city, without \
         the rows that have no value.",
    ),
    (
        "Translate the sentence into Spanish.",
        "Put the values of the JSON object into Spanish, and leave its keys, numbers and dates as they are.",
    ),
    (
        "Summarise the conversation.",
        "In the thread of e-mails, where the latest stands on top and each quotes the one before, find what was agreed at \
         last and by whom.",
    ),
    (
        "When did the machine stop?",
        "Read the log of two machines, whose clocks differ by four minutes, and say which of them stopped first.",
    ),
];

const IN_BREADTH: &[(&str, &str)] = &[
    (
        "Write a recipe for pancakes.",
        "Work out how much less yeast a dough needs if it is to rise overnight in the fridge.",
    ),
    (
        "Correct the spelling of the sentence.",
        "Mark every word of the text whose spelling is British and not American.",
    ),
    (
        "Name the capital of France.",
        "Name a country whose parliament meets outside its capital, and say where.",
    ),
    (
        "Is the review positive or negative?",
        "Say whether the review was written by somebody who has used the product or by somebody who has not.",
    ),
];

/// Pairs of tasks, and whether they are the same.
///
/// The order decides what a small model answers. Measured 2026-11-25 with Gemma 3 270M on 16 pairs
/// of paraphrases, 16 of a task and a harder one, and 16 of tasks that have little in common: in
/// this order, it calls 2, 0 and 1 of them the same; with three of either answer (yes, no, no, yes,
/// yes, no) 16, 15 and 16. It cannot tell. Accepting a paraphrase costs less than rejecting nearly
/// all rewritten tasks.
pub(super) const EQUALITY: &[(&str, &str, &str)] = &[
    (
        "Name a river in Europe.",
        "Give the name of any European river.",
        "Yes",
    ),
    (
        "Suggest a name for a bakery.",
        "Suggest three names for a bakery that sells rye bread only, each of two words.",
        "No",
    ),
    (
        "Why do leaves change colour in autumn?",
        "What goes on inside a leaf that turns red instead of yellow?",
        "No",
    ),
    (
        "Summarise the article in one sentence.",
        "Say in a single sentence what the article is about.",
        "Yes",
    ),
    (
        "Sort the words alphabetically.",
        "Sort the words by length, those of equal length alphabetically.",
        "No",
    ),
    (
        "Translate the sentence into Spanish.",
        "Put the values of the JSON object into Spanish, and leave its keys as they are.",
        "No",
    ),
    (
        "Plan a day trip.",
        "Plan a day in Bruges by train for two grandparents and a child of five.",
        "No",
    ),
];
