//! `ewe judge --rubric`: criteria of the user's, several judges, and how far they agree.

use crate::mock::Mock;
use crate::shell::{Dir, ewe};
use crate::support::{json, judging, number};

/// The rubric of docs/judge.md.
fn example() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/judge.md");
    let page = std::fs::read_to_string(page).unwrap();
    let begin = page.find("```toml\nname = \"support\"").expect("the example") + 8;
    page[begin..begin + page[begin..].find("```").unwrap()].to_string()
}

/// Four imported tasks, and a model that has an opinion on each.
fn with_opinions() -> (Dir, Mock) {
    let dir = Dir::new();
    dir.write(
        "rows.jsonl",
        "{\"instruction\": \"Say when the shop opens.\", \"output\": \"At nine.\"}\n\
         {\"instruction\": \"Say when the shop closes.\", \"output\": \"Who knows.\"}\n\
         {\"instruction\": \"Say where the shop is.\", \"output\": \"On the market square.\"}\n\
         {\"instruction\": \"Say who owns the shop.\", \"output\": \"Somebody.\"}\n",
    );
    ewe(&dir, &["init", "--db", "d.db"]).success();
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"]).success();
    dir.write("r.toml", example());
    (dir, Mock::start())
}

fn says(mock: &Mock, output: &str, text: &str) {
    mock.say(&format!("> {output}\nJudgment:\naccuracy:"), text, "stop");
}

const RUBRIC: [&str; 2] = ["--rubric", "r.toml"];

#[test]
fn criteria_are_scored_with_reasons_and_their_mean_is_the_score() {
    let (dir, mock) = with_opinions();
    says(&mock, "At nine.", " 5 - It names the hour.\ntone: 8 - Fine.");
    says(
        &mock,
        "Who knows.",
        "**accuracy:** 1/5 - It says nothing.\n**tone:** 0 - Curt.",
    );
    says(
        &mock,
        "On the market square.",
        " 4 - Right.\ntone: 10 - Kind.\n\nInstruction:\n> more",
    );
    says(&mock, "Somebody.", " good - It is fine.\ntone: 3 - Hm.");
    let said = ewe(&dir, &judging(&mock.url, "critic", &RUBRIC))
        .success()
        .stdout();
    assert!(
        said.contains("4 of 4 instances judged by critic")
            && said.contains("1 unreadable; mean 3.4; accuracy 3.33; tone 6.00"),
        "{said}"
    );
    let scores = dir
        .sql("select coalesce(score, ''), coalesce(expected, ''), criteria is null, problem, rubric from judgment order by instance_id");
    assert_eq!(
        scores,
        [
            ["5", "4.8", "0", "", "support"],
            ["1", "1", "0", "", "support"],
            ["4", "4.25", "0", "", "support"],
            [
                "",
                "",
                "1",
                "the score of accuracy is unclear: 'good - It is fine.'",
                "support"
            ]
        ]
    );
    let criteria = dir.sql("select criterion, score, weight, reason from criterion_score where task_id in (select min(task_id) from criterion_score)");
    assert_eq!(
        criteria,
        [
            ["accuracy", "5", "3", "It names the hour."],
            ["tone", "8", "1", "Fine."]
        ]
    );
    let prompt = mock.last_body()["prompt"].as_str().unwrap().to_string();
    for part in [
        "accuracy, from 1 to 5: Is everything",
        "tone, from 0 to 10: Is the answer",
        "> No idea. Ask the post office.\nJudgment:\naccuracy: 2 - It names a way",
        "The answers go to customers",
    ] {
        assert!(prompt.contains(part), "{part}: {prompt}");
    }
    let id = &dir.sql("select min(task_id) from criterion_score")[0][0];
    let shown = ewe(&dir, &["show", "--db", "d.db", id]).success().stdout();
    assert!(
        shown.contains("score 4.80")
            && shown.contains("by the rubric support\n  accuracy 5 of 5: It names the hour.\n  tone 8 of 10"),
        "{shown}"
    );
    let page = json(ewe(&dir, &["show", "--db", "d.db", id, "--json"]));
    assert_eq!(page["judgments"][0]["criteria"][1]["score"], 8);
    let chosen = |expression: &str| {
        let out = ewe(&dir, &["list", "--db", "d.db", "--where", expression])
            .success()
            .stdout();
        ["opens", "closes", "the shop is", "owns"].map(|word| out.contains(word))
    };
    assert_eq!(chosen("rubric.accuracy >= 4"), [true, false, true, false]);
    assert_eq!(
        chosen("rubric.accuracy >= 4 and not (rubric.tone between 0 and 9)"),
        [false, false, true, false]
    );
    assert_eq!(
        chosen("rubric.tone is null and origin = 'import'"),
        [false, false, false, true]
    );
    assert_eq!(chosen("score < 2"), [false, true, false, false]);
    let misspelt = ["list", "--db", "d.db", "--where", "rubric.acuracy is null"];
    ewe(&dir, &misspelt)
        .refused("no judge has scored by a criterion `acuracy`\nhint: there are: accuracy, tone");
    let export = [
        "export",
        "--db",
        "d.db",
        "--format",
        "alpaca",
        "--min-score",
        "4.5",
        "--out",
        "-",
    ];
    let rows: serde_json::Value = serde_json::from_str(&ewe(&dir, &export).success().stdout()).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 1);
    ewe(&dir, &["check", "--db", "d.db"]).success();
    // Only what this judge has not judged by this rubric is judged.
    let again = json(ewe(
        &dir,
        &judging(&mock.url, "critic", &["--rubric", "r.toml", "--json"]),
    ));
    assert_eq!(again["total"], 0);
    dir.write("r.toml", example().replace("weight = 3", "weight = 1"));
    let again = json(ewe(
        &dir,
        &judging(&mock.url, "critic", &["--rubric", "r.toml", "--json"]),
    ));
    assert_eq!(
        (again["total"].as_u64(), again["requests"].as_u64()),
        (Some(4), Some(0))
    );
    assert_eq!(
        dir.sql("select expected from judgment order by instance_id, id desc limit 1"),
        [["4.6"]]
    );
}

#[test]
fn agreement_with_people_and_between_judges_is_shown() {
    let (dir, mock) = with_opinions();
    for (output, text) in [
        ("At nine.", " 5 - x\ntone: 10 - x"),
        ("Who knows.", " 1 - x\ntone: 0 - x"),
        ("On the market square.", " 4 - x\ntone: 0 - x"),
        ("Somebody.", " 2 - x\ntone: 10 - x"),
    ] {
        says(&mock, output, text);
    }
    ewe(&dir, &judging(&mock.url, "one", &RUBRIC)).success();
    let second = Mock::start();
    for (output, text) in [
        ("At nine.", " 5 - x\ntone: 10 - x"),
        ("Who knows.", " 5 - x\ntone: 10 - x"),
        ("On the market square.", " 1 - x\ntone: 0 - x"),
        ("Somebody.", " 1 - x\ntone: 0 - x"),
    ] {
        says(&second, output, text);
    }
    ewe(&dir, &judging(&second.url, "two", &RUBRIC)).success();
    for (word, what) in [
        ("opens", "accept"),
        ("closes", "reject"),
        ("where", "accept"),
        ("owns", "reject"),
    ] {
        let expression = format!(
            "instruction in ('Say when the shop {word}.', 'Say {word} the shop is.', 'Say who {word} the shop.')"
        );
        ewe(&dir, &[what, "--db", "d.db", "--where", &expression, "--yes"]).success();
    }
    assert_eq!(
        number(
            &dir,
            "select count(*) from revision where action in ('accept', 'reject')"
        ),
        4
    );
    let stats = json(ewe(&dir, &["stats", "--db", "d.db", "--json"]));
    let people = stats["agreement"]["with_people"].as_array().unwrap();
    let of = |judge: &str, criterion: Option<&str>| {
        let found = people.iter().find(|of| {
            of["judge"].as_str().unwrap().starts_with(judge) && of["criterion"].as_str() == criterion
        });
        let found = found.expect("it is there");
        assert_eq!(
            (found["accepted"].as_u64(), found["rejected"].as_u64()),
            (Some(2), Some(2))
        );
        found["auroc"].as_f64().unwrap()
    };
    assert_eq!(of("one", None), 1.0);
    assert_eq!(of("one", Some("accuracy")), 1.0);
    assert_eq!(of("one", Some("tone")), 0.5);
    assert_eq!(of("two", None), 0.5);
    let between = &stats["agreement"]["between_judges"][0];
    assert_eq!(
        (between["instances"].as_u64(), between["same"].as_f64()),
        (Some(4), Some(0.25))
    );
    let text = ewe(&dir, &["stats", "--db", "d.db"]).success().stdout();
    assert!(
        text.contains("AUROC  judge and people's reviews")
            && text.contains("one at http")
            && text.contains(", accuracy"),
        "{text}"
    );
    assert!(text.contains(" and two at http"), "{text}");
    // Those that are not rejected have a mean of both judges.
    let scored = dir.sql("select count(*), avg(score) from scored where score is not null");
    assert_eq!(scored[0][0], "2");
}

#[test]
fn faults_of_a_rubric_are_named() {
    for (from, to, wanted) in [
        ("weight = 3", "wieght = 3", "r.toml:7: unknown field `wieght`"),
        (
            "weight = 3",
            "weight = -1",
            "criterion `accuracy`: `weight` is -1",
        ),
        ("weight = 3", "scale = [5, 1]", "the scale [5, 1] is none"),
        (
            "name = \"tone\"",
            "name = \"accuracy\"",
            "there is another of this name",
        ),
        ("name = \"tone\"", "name = \"The tone\"", "want small letters"),
        ("tone = 0", "tone = 11", "`tone` is 11: want 0 to 10"),
        ("tone = 0", "tune = 0", "there is no criterion `tune`"),
        (", tone = 0", "", "`scores` has none for `tone`"),
    ] {
        let (dir, mock) = with_opinions();
        dir.write("r.toml", example().replacen(from, to, 1));
        let error = ewe(&dir, &judging(&mock.url, "critic", &RUBRIC))
            .failure(1)
            .stderr();
        assert!(
            error.contains(wanted) && error.contains("hint: "),
            "{wanted}: {error}"
        );
        assert_eq!(mock.received(), 0);
    }
    let (dir, mock) = with_opinions();
    let line = judging(&mock.url, "critic", &["--rubric", "r.toml", "--by", "likelihood"]);
    let error = ewe(&dir, &line).failure(2).stderr();
    assert!(
        error.contains("`--rubric` cannot be used with `--by likelihood`"),
        "{error}"
    );
}
