//! The default rules must find injected defects and accept clean rows.

use crate::defects::{Chance, DEFECTS};
use crate::shell::{Dir, ewe};
use ewe::filter::rules::RuleSet;
use ewe::task::Instance;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// A task with one instance.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Row {
    pub instruction: String,
    pub input: String,
    pub output: String,
}

impl Row {
    fn instance(&self) -> Instance {
        Instance {
            input: self.input.clone(),
            output: self.output.clone(),
        }
    }

    /// Whether the instruction contains one of these words.
    pub fn says(&self, words: &[&str]) -> bool {
        let text = self.instruction.to_lowercase();
        words.iter().any(|word| text.contains(word))
    }

    /// Whether the output's last paragraph is prose of several sentences.
    pub fn is_prose(&self) -> bool {
        let last = self.output.lines().last().unwrap_or_default();
        last.matches(". ").count() >= 2
            && self.output.ends_with('.')
            && !self.output.contains(['{', '=', '|'])
    }
}

#[derive(Deserialize)]
struct Seed {
    instruction: String,
    instances: Vec<Instance>,
}

fn seeds() -> Vec<Row> {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/seeds/seed_tasks.jsonl")).unwrap();
    let row = |instruction: &str, instance: Instance| Row {
        instruction: instruction.to_string(),
        input: instance.input,
        output: instance.output,
    };
    text.lines()
        .map(|line| serde_json::from_str::<Seed>(line).unwrap())
        .flat_map(|seed| {
            seed.instances
                .into_iter()
                .map(move |instance| row(&seed.instruction, instance))
        })
        .collect()
}

fn clean_rows() -> Vec<Row> {
    include_str!("clean_rows.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The default set with the rule for personal data.
fn rules() -> RuleSet {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rules.toml");
    std::fs::write(
        &path,
        "enable = ['pii_email', 'pii_phone', 'pii_card', 'pii_key']",
    )
    .unwrap();
    RuleSet::read(path.to_str().unwrap()).unwrap()
}

fn reason(rules: &RuleSet, row: &Row) -> Option<&'static str> {
    let verdict = rules
        .check_instruction(&row.instruction)
        .or_else(|| rules.check_instance(&row.instruction, &row.instance()));
    verdict.reason.map(|reason| reason.code())
}

#[test]
fn clean_rows_are_accepted() {
    let rules = RuleSet::default();
    for row in seeds() {
        assert_eq!(reason(&rules, &row), None, "{row:?}");
    }
    let rows = clean_rows();
    let lost: Vec<_> = rows
        .iter()
        .filter_map(|row| reason(&rules, row).map(|reason| (reason, row)))
        .collect();
    assert!(rows.len() >= 90 && lost.len() * 100 < rows.len(), "{lost:#?}");
}

#[test]
fn injected_defects_are_found() {
    let rules = rules();
    let rows: Vec<Row> = seeds()
        .into_iter()
        .chain(clean_rows())
        .filter(|row| reason(&rules, row).is_none())
        .collect();
    let mut failed = Vec::new();
    for &(name, reasons, inject) in DEFECTS {
        let mut chance = Chance(7);
        let (mut found, mut missed, mut wrong) = (0, Vec::new(), BTreeMap::new());
        for _ in 0..4000 {
            let row = &rows[chance.below(rows.len())];
            let Some(bad) = inject(&mut chance, row, &rows) else {
                continue;
            };
            match reason(&rules, &bad) {
                Some(reason) if reasons.contains(&reason) => found += 1,
                Some(other) => {
                    *wrong.entry(other).or_insert(0) += 1;
                    found += 1;
                }
                None => missed.push(bad),
            }
            if found + missed.len() == 400 {
                break;
            }
        }
        let all = found + missed.len();
        let rate = 100.0 * found as f64 / all.max(1) as f64;
        println!("{name:24} {found:4} of {all:4}  {rate:5.1} %  under other reasons {wrong:?}");
        let others: usize = wrong.values().sum();
        if all < 100 || rate < 95.0 || others * 10 > all {
            let shown: BTreeSet<_> = missed.iter().map(|row| format!("{row:?}")).collect();
            failed.push(format!(
                "{name}: {rate:.1} % of {all}, {wrong:?}\n  {}",
                shown.into_iter().take(12).collect::<Vec<_>>().join("\n  ")
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_rule_set_is_selected_by_name_or_file() {
    let dir = Dir::new();
    dir.write(
        "rows.jsonl",
        r#"{"instruction": "Explain how a map() call works", "input": "", "output": "It calls."}
{"instruction": "Name the author of the letter", "input": "", "output": "ruth@mail-house.com"}
"#,
    );
    let kept = |rules: &str| {
        let out = ewe(&dir, &["filter", "rows.jsonl", "--rules", rules, "--json"]).success();
        serde_json::from_str::<serde_json::Value>(&out.stdout()).unwrap()["rejected"].clone()
    };
    assert_eq!(kept("none"), serde_json::json!({}));
    assert_eq!(kept("default"), serde_json::json!({}));
    assert_eq!(kept("alpaca"), serde_json::json!({"unsuitable_medium": 1}));
    assert_eq!(kept("self-instruct"), serde_json::json!({"unsuitable_medium": 1}));
    dir.write("mine.toml", "enable = ['pii_email']\n[length]\nmin_words = 6\n");
    assert_eq!(kept("mine.toml"), serde_json::json!({"pii_email": 1}));
    dir.write("mine.toml", "\nenabled = ['pii_email']\n");
    for (rules, said) in [("mine.toml", "mine.toml:2"), ("defualt", "`defualt`")] {
        let out = ewe(&dir, &["filter", "rows.jsonl", "--rules", rules]).failure(1);
        assert!(
            out.stderr().contains(said) && out.stderr().contains("hint:"),
            "{}",
            out.stderr()
        );
    }
}
