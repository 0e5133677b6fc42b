//! The seed tasks that ship with ewe: schema, quotas, no two alike, and nothing that the filter would turn away.

use ewe::filter::rules::RuleSet;
use ewe::filter::{Index, Threshold};
use ewe::task::Instance;
use serde::Deserialize;
use std::collections::HashSet;

/// A line of the file; anything beside these fields is an error.
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
fn schema_and_quotas() {
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
fn no_two_are_alike() {
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
fn every_rule_accepts_them() {
    let rules = RuleSet::default();
    for seed in seeds() {
        assert_eq!(rules.judge_instruction(&seed.instruction), None, "{}", seed.id);
        let objections = rules.judge_instances(&seed.instruction, &seed.instances);
        assert!(
            objections.iter().all(Option::is_none),
            "{}: {objections:?}",
            seed.id
        );
    }
}
