//! Tests the rules with their fixtures: texts that a rule must reject, and texts that it must
//! accept.

use super::*;
use crate::task::{Task, Verdict};
use serde::Deserialize;
use std::collections::HashSet;
use std::time::{Duration, Instant};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    rule: String,
    objects: bool,
    instruction: String,
    #[serde(default)]
    input: String,
    #[serde(default)]
    output: String,
}

fn fixtures() -> Vec<Fixture> {
    include_str!("fixtures.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

/// Settings with which every rule can reject something.
fn settings() -> Settings {
    Settings {
        languages: vec!["eng".to_string()],
        ..Settings::default()
    }
}

fn look(rule: &Rule, instruction: &str, instance: &Instance) -> Option<String> {
    match rule.check {
        Check::Instruction(look) => look(instruction, &settings()),
        Check::Instance(look) => look(instruction, instance, &settings()),
    }
}

#[test]
fn each_rule_objects_and_spares_as_its_fixtures_say() {
    let mut wrong = Vec::new();
    let mut seen = HashSet::new();
    for fixture in fixtures() {
        let rule = all()
            .find(|rule| rule.name == fixture.rule)
            .unwrap_or_else(|| panic!("no rule {}", fixture.rule));
        let instance = Instance {
            input: fixture.input.clone(),
            output: fixture.output.clone(),
        };
        if look(rule, &fixture.instruction, &instance).is_some() != fixture.objects {
            wrong.push(format!("{fixture:?}"));
        }
        seen.insert((rule.name, fixture.objects));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for rule in all() {
        for objects in [true, false] {
            assert!(seen.contains(&(rule.name, objects)), "{} {objects}", rule.name);
        }
    }
}

#[test]
fn every_rule_has_a_name_of_its_own_and_is_in_the_document() {
    let document = include_str!("../../../docs/rules.md");
    let mut names = HashSet::new();
    for rule in all() {
        assert!(names.insert(rule.name), "{} twice", rule.name);
        let sets: Vec<_> = RuleSet::NAMES
            .into_iter()
            .filter(|set| {
                let set = RuleSet::named(set).unwrap();
                set.rules().iter().any(|other| other.name == rule.name)
            })
            .collect();
        let sets = if sets.is_empty() {
            "—".to_string()
        } else {
            sets.join(", ")
        };
        let line = format!(
            "| `{}` | `{}` | {sets} | {} | {} |",
            rule.name,
            rule.reason,
            rule.about.replace('|', "\\|"),
            rule.source
        );
        assert!(document.contains(&line), "docs/rules.md lacks:\n{line}");
    }
}

#[test]
fn the_example_of_the_document_parses() {
    let document = include_str!("../../../docs/rules.md");
    let example = document
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let set = read::parse("rules.toml", example).unwrap();
    assert_eq!(set.name(), "rules.toml");
    let has = |name: &str| set.rules().iter().any(|rule| rule.name == name);
    assert!(has("pii_key") && !has("refusal"), "{:?}", set.rules());
    assert_eq!(set.settings().languages, ["eng", "deu"]);
}

#[test]
fn a_file_may_change_everything() {
    let set = read::parse(
        "r.toml",
        "base = 'none'\nenable = ['too_short', 'echo']\ninstances = 'self-instruct'\n\
         decontaminate = {ngram = 8}\n[length]\nmin_words = 9\n[repetition]\ndistinct_trigrams = 0.5",
    )
    .unwrap();
    assert_eq!(
        set.reasons(),
        [
            Reason::TooShort,
            Reason::Echo,
            Reason::RepeatedInstance,
            Reason::ConflictingInstances
        ],
        "{set:?}"
    );
    assert_eq!(set.decontaminate(), Some(8));
    assert_eq!(
        set.check_instruction("Name the capital of the country").reason,
        Some(Reason::TooShort)
    );
    let decontaminate = |text: &str| read::parse("r.toml", text).unwrap().decontaminate();
    assert_eq!(decontaminate(""), Some(13));
    assert_eq!(decontaminate("decontaminate = false"), None);
    assert_eq!(decontaminate("base = 'alpaca'\ndecontaminate = true"), Some(13));
    let shown = serde_json::to_value(&set).unwrap();
    assert_eq!(shown["rules"], serde_json::json!(["too_short", "echo"]));
    assert_eq!(shown["settings"]["min_words"], 9);
}

#[test]
fn what_a_file_says_wrong_is_named_with_its_line() {
    for (text, line, word) in [
        ("\nbases = 'none'", 2, "bases"),
        ("disable = [\n 'echo',\n 'ecko']", 3, "ecko"),
        ("enable = ['nothing']", 1, "pii_email"),
        ("enable = ['echo']\ndisable = ['echo']", 1, "echo"),
        ("base = 'mine'", 1, "self-instruct"),
        ("[length]\nmin = 3", 2, "min_words"),
        ("[length]\nmin_words = 'three'", 2, "min_words = 'three'"),
        ("[length]\nmin_words = 200", 2, "200"),
        ("languages = ['en',\n'klingon']", 2, "klingon"),
        ("decontaminate = 13", 1, "ngram"),
        ("decontaminate = {n = 13}", 1, "ngram"),
        ("decontaminate = {ngram = 0}", 1, "ngram"),
        ("instances = 'all'", 1, "self-instruct"),
        ("[repetition]\n\ndistinct_trigrams = 2.0", 3, "distinct_trigrams"),
        ("base = ", 1, "base"),
    ] {
        let error = format!("{:#}", read::parse("r.toml", text).unwrap_err());
        assert!(error.starts_with(&format!("r.toml:{line}: ")), "{text}\n{error}");
        assert!(
            error.contains(word) && error.contains("hint: "),
            "{text}\n{error}"
        );
    }
    let error = format!("{:#}", RuleSet::read("defualt").unwrap_err());
    assert!(
        error.contains("`defualt`") && error.contains("self-instruct"),
        "{error}"
    );
}

#[test]
fn sets_have_what_their_names_say() {
    let names = |set: &str| -> Vec<_> {
        let set = RuleSet::named(set).unwrap();
        set.rules().iter().map(|rule| rule.name).collect()
    };
    assert!(names("none").is_empty() && RuleSet::named("other").is_none());
    assert!(names("alpaca").iter().all(|name| !name.starts_with("self_")));
    assert!(
        names("self-instruct")
            .iter()
            .all(|name| !name.starts_with("alpaca"))
    );
    assert!(
        !names("default")
            .iter()
            .any(|name| name.starts_with("pii") || name.starts_with("published"))
    );
    let ngrams: Vec<_> = RuleSet::NAMES
        .into_iter()
        .map(|name| RuleSet::named(name).unwrap().decontaminate())
        .collect();
    assert_eq!(ngrams, [None, None, Some(13), None]);
    // A set goes into the threads that generate.
    fn is_shared<T: Send + Sync + Clone>(_: &T) {}
    is_shared(&RuleSet::default());
}

fn instance(input: &str, output: &str) -> Instance {
    Instance {
        input: input.to_string(),
        output: output.to_string(),
    }
}

#[test]
fn instances_are_compared_with_each_other() {
    let reasons = |set: &str, instances: &[Instance]| -> Vec<_> {
        RuleSet::named(set)
            .unwrap()
            .check_instances("Name the capital of the country", instances)
            .into_iter()
            .map(|verdict| verdict.reason)
            .collect()
    };
    let (a, b, c) = (
        instance("France", "Paris"),
        instance("Italy", "Rome"),
        instance("France", "Lyon"),
    );
    let (conflict, repeat) = (Some(Reason::ConflictingInstances), Some(Reason::RepeatedInstance));
    for set in ["default", "self-instruct"] {
        assert_eq!(reasons(set, &[a.clone(), b.clone()]), [None, None]);
        assert_eq!(
            reasons(set, &[a.clone(), b.clone(), a.clone()]),
            [None, None, repeat]
        );
    }
    let all = [a.clone(), b, c];
    assert_eq!(reasons("default", &all), [conflict, None, conflict]);
    assert_eq!(reasons("self-instruct", &all), [conflict, conflict, conflict]);
    assert_eq!(reasons("alpaca", &all), [None, None, None]);
    // Without an input, only the original accepts several outputs. It also compares case.
    let free = [instance("", "Paris"), instance("", "Rome")];
    assert_eq!(reasons("default", &free), [conflict, conflict]);
    assert_eq!(reasons("self-instruct", &free), [None, None]);
    let cased = [a, instance("FRANCE", "paris")];
    assert_eq!(reasons("default", &cased), [None, repeat]);
    assert_eq!(reasons("self-instruct", &cased), [None, None]);
}

#[test]
fn a_task_is_checked_whole() {
    let set = RuleSet::default();
    let check = |instruction: &str, instances: Vec<Instance>| {
        let task = Task {
            instruction: instruction.to_string(),
            instances,
            ..Task::default()
        };
        set.check_task(&task)
    };
    let good = instance("France", "Paris");
    assert_eq!(
        check("Name the capital of the country", vec![good.clone()]),
        Verdict::accepted()
    );
    assert_eq!(
        check("Draw a cat on a mat", vec![good.clone()]).reason,
        Some(Reason::UnsuitableMedium)
    );
    let bad = instance("Italy", "");
    assert_eq!(
        check("Name the capital of the country", vec![good, bad]).reason,
        Some(Reason::EmptyOutput)
    );
}

/// Texts on which careless code takes more than linear time.
#[test]
fn hostile_texts_cost_little() {
    let mega = 10_000_000;
    let texts = [
        "a".repeat(mega),
        "[".repeat(1_000_000),
        "“\"".repeat(500_000),
        "a ".repeat(mega / 2),
        "1. ".repeat(mega / 3),
        "0 0 0 0 0 0 0 1 1 1 1 1 1 1 ".repeat(100_000),
        "12. write a b c\n".repeat(100_000),
        "\n".repeat(1_000_000),
        "#\n".repeat(500_000),
        "@a.".repeat(1_000_000),
        "1-".repeat(1_000_000),
        "字".repeat(1_000_000),
        "\u{301}".repeat(1_000_000),
        "Ð§éÃ".repeat(500_000),
        "A. b: ".repeat(500_000),
        "I am sorry, but ".repeat(200_000),
    ];
    for text in texts {
        for (instruction, input, output) in [
            (&*text, "", "x"),
            ("Name it", &*text, "x"),
            ("Name it", "", &*text),
        ] {
            let instance = instance(input, output);
            for rule in all() {
                let start = Instant::now();
                look(rule, instruction, &instance);
                // Far more than any rule needs, and far less than one that is not linear would.
                let limit = Duration::from_secs(60);
                assert!(start.elapsed() < limit, "{}: {:?}", rule.name, text.get(..12));
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_a_rule_panic(
        instruction in "(?s)([a-z,.:;!?()\\[\\]\"'“”‘’ \n0-9#@-]|[。，字é\u{0}\u{301}\u{fffd}ß👩\u{200d}]|the |image |. A|this text ){0,80}",
        input in "(?s)(.|\n|[0-9]|: |\"){0,60}",
        output in "(?s)(.|\n[0-9]{1,2}\\. |[A-Z][a-z。！]+[.!] |```|字。字){0,80}",
    ) {
        let instance = Instance { input, output };
        for rule in all() {
            look(rule, &instruction, &instance);
        }
    }
}
