//! Seed tasks. The shipped ones: schema, quotas, no near-duplicates, nothing that the filter
//! rejects. Those of users: the warnings of `ewe init`.

use ewe::filter::rules::RuleSet;
use ewe::filter::{Index, Threshold};
use ewe::task::{Instance, Verdict};
use serde::Deserialize;
use std::collections::HashSet;

use crate::shell::{Dir, Ran, ewe};

/// A line of the file; any other field is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seed {
    id: String,
    name: String,
    instruction: String,
    instances: Vec<Instance>,
    is_classification: bool,
}

fn seeds() -> Vec<Seed> {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/seeds/seed_tasks.jsonl")).unwrap();
    text.lines()
        .enumerate()
        .map(|(n, line)| serde_json::from_str(line).unwrap_or_else(|e| panic!("line {}: {e}", n + 1)))
        .collect()
}

#[test]
fn shipped_seeds_match_schema_and_quotas() {
    let seeds = seeds();
    assert!(seeds.len() >= 175);
    let ids: HashSet<_> = seeds.iter().map(|seed| &seed.id).collect();
    let names: HashSet<_> = seeds.iter().map(|seed| &seed.name).collect();
    assert_eq!((ids.len(), names.len()), (seeds.len(), seeds.len()));
    assert!(seeds.iter().all(|seed| !seed.instances.is_empty()));
    let count = |wanted: fn(&Seed) -> bool| seeds.iter().filter(|seed| wanted(seed)).count();
    assert!(count(|seed| seed.is_classification) >= 40);
    assert!(count(|seed| seed.instances.iter().all(|instance| instance.input.is_empty())) >= 60);
    assert!(count(|seed| !seed.is_classification && seed.instances.len() > 1) >= 10);
    let verbs: HashSet<_> = seeds
        .iter()
        .filter_map(|seed| seed.instruction.split(' ').next())
        .collect();
    assert!(verbs.len() >= 60, "{}", verbs.len());
}

#[test]
fn no_two_shipped_seeds_are_near_duplicates() {
    let mut index = Index::new(Threshold::SELF_INSTRUCT);
    let seeds = seeds();
    for seed in &seeds {
        let near = index.duplicate(&seed.instruction, index.len());
        assert_eq!(near, None, "{}: {}", seed.id, seed.instruction);
        index.push(&seed.instruction);
    }
    // The check itself must be able to fail.
    assert!(index.duplicate(&seeds[0].instruction, index.len()).is_some());
}

#[test]
fn every_rule_accepts_the_shipped_seeds() {
    let rules = RuleSet::default();
    for seed in seeds() {
        assert_eq!(
            rules.check_instruction(&seed.instruction).reason,
            None,
            "{}",
            seed.id
        );
        let verdicts = rules.check_instances(&seed.instruction, &seed.instances);
        assert!(
            verdicts.iter().all(Verdict::is_accepted),
            "{}: {verdicts:?}",
            seed.id
        );
    }
}

/// Seeds without any fault, as many as a prompt shows.
const GOOD: [[&str; 2]; 8] = [
    ["Name a river that flows through Cologne.", "The Rhine."],
    [
        "Write one sentence about rain in spring.",
        "Spring rain wakes the garden.",
    ],
    ["Which month comes right after August?", "September."],
    ["Give a short synonym for the word happy.", "Glad."],
    ["Translate good morning into French, please.", "Bonjour."],
    ["How many legs does a spider usually have?", "Eight."],
    ["Suggest a name for a small bakery.", "The Warm Crust."],
    [
        "Explain in a few words what bees make.",
        "Bees make honey and wax.",
    ],
];

/// Makes a dataset of these seeds, which are pairs of instruction and output.
fn init(dir: &Dir, seeds: &[[&str; 2]], more: &[&str]) -> Ran {
    let lines = seeds.iter().map(|[instruction, output]| {
        format!(
            "{}\n",
            serde_json::json!({"instruction": instruction, "output": output})
        )
    });
    dir.write("seeds.jsonl", lines.collect::<String>());
    let _ = std::fs::remove_file(dir.path("d.db"));
    let arguments = [&["init", "--db", "d.db", "--seeds", "seeds.jsonl"], more].concat();
    ewe(dir, &arguments).success()
}

#[test]
fn good_seeds_cause_no_warning() {
    let dir = Dir::new();
    let out = init(&dir, &GOOD, &[]);
    assert_eq!(out.stdout(), "d.db: a dataset with 8 seed tasks\n");
    assert!(out.stderr().starts_with("next:\n"), "{}", out.stderr());
}

#[test]
fn seeds_that_break_a_rule_are_named() {
    let dir = Dir::new();
    let mut seeds = GOOD.to_vec();
    seeds.extend([
        ["Say hi.", "hi"],
        ["Name the longest river of Europe.", "N/A"],
        ["NAME a river that ｆｌｏｗｓ through Co\u{ad}logne", "Rhine."],
        ["Name a river that flows through Cologne today.", "The Rhine."],
    ]);
    let out = init(&dir, &seeds, &[]);
    assert_eq!(out.stdout(), "d.db: a dataset with 12 seed tasks\n");
    let said = out.stderr();
    for line in [
        "4 of 12 seeds break a rule, and models imitate seeds:\n",
        "\n  seed 9: too_short: 2 words, at least 4 wanted: \"Say hi.\"\n",
        "\n  seed 10: placeholder: 'N/A': \"Name the longest river of Europe.\"\n",
        "\n  seed 11: says the same as seed 1: \"NAME a river",
        "\n  seed 12: near_duplicate of seed 1: \"Name a river that flows through Cologne today.\"\n",
        "\nhint: docs/rules.md has the rules; `ewe edit`",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("more\n") && !said.contains(" few"), "{said}");
    // Rows that were left out count, so that the number leads to the row.
    dir.write("seeds.jsonl", format!("nonsense\n{}", dir.read("seeds.jsonl")));
    let arguments = ["init", "--db", "e.db", "--seeds", "seeds.jsonl", "--keep-going"];
    let said = ewe(&dir, &arguments).success().stderr();
    assert!(said.contains("\n  seed 12: says the same as seed 2: "), "{said}");
    assert_eq!(init(&dir, &seeds, &["--quiet"]).stderr(), "");
}

#[test]
fn of_many_bad_seeds_only_a_few_are_named() {
    let dir = Dir::new();
    let mut seeds = GOOD.to_vec();
    seeds.extend([["Say hi.", "hi"]; 30]);
    let said = init(&dir, &seeds, &[]).stderr();
    assert!(said.starts_with("30 of 38 seeds break a rule"), "{said}");
    assert_eq!(said.matches("\n  seed ").count(), 5, "{said}");
    assert!(said.contains("\n  … and 25 more\nhint: "), "{said}");
    let said = init(&dir, &seeds[8..], &[]).stderr();
    assert!(
        said.starts_with("30 of 30 seeds break a rule")
            && said.contains("unless `ewe generate` is told others"),
        "{said}"
    );
}

#[test]
fn fewer_seeds_than_a_prompt_shows_cause_a_warning() {
    let dir = Dir::new();
    let said = init(&dir, &GOOD[..3], &[]).stderr();
    assert!(
        said.starts_with("3 seeds are few: a prompt shows 8 tasks")
            && said.contains("\nhint: give 8 at the very least"),
        "{said}"
    );
    let out = init(&dir, &GOOD[..1], &[]);
    assert!(out.stderr().starts_with("1 seed is few: "), "{}", out.stderr());
    assert_eq!(out.stdout(), "d.db: a dataset with 1 seed task\n");
    assert_eq!(init(&dir, &GOOD[..1], &["--quiet"]).stderr(), "");
    // The shipped seeds are enough.
    let said = ewe(&dir, &["init", "--db", "e.db"]).success().stderr();
    assert!(said.starts_with("next:\n"), "{said}");
}
