//! The part of the report about models: training runs, suites before and after, comparisons and
//! influence.

use serde_json::{Value, json};

use crate::shell::Dir;
use crate::support::{ewe, filled, number};

fn report(dir: &Dir) -> String {
    ewe(dir, &["report", "--db", "d.db", "--out", "r.html"]).success();
    dir.read("r.html")
}

/// The section about models; empty if there is none.
fn evidence(dir: &Dir) -> String {
    let report = report(dir);
    let part = report.split("<section class=\"card\" id=\"evidence\">").nth(1);
    part.map_or("", |part| part.split("</section>").next().unwrap())
        .to_owned()
}

/// An SQL literal.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Adds a run with a fixed time.
fn add_run(dir: &Dir, id: i64, command: &str, config: &Value, model: &str) {
    dir.sql(&format!(
        "insert into run (id, command, config, model, status, started_at) \
         values ({id}, {}, {}, {}, 'done', '2026-01-02T03:04:05.678Z')",
        quoted(command),
        quoted(&config.to_string()),
        quoted(model)
    ));
}

/// Adds an evaluation of held-out tasks with an answer of this score to each of its items.
fn add_evaluation(dir: &Dir, id: i64, model: &str, train_run: Option<i64>, scores: &[(&str, f64)]) {
    let mean = scores.iter().map(|(_, score)| score).sum::<f64>() / scores.len() as f64;
    let figures = |mean: f64| json!({ "n": scores.len(), "rougeL": mean, "stop_rate": 50.0, "interval": { "rougeL": [mean - 5.0, mean + 5.0] } });
    let mut result = figures(mean);
    result["categories"] = json!({ "open": figures(mean - 1.0), "closed <b>": figures(mean + 1.0) });
    result["contaminated"] = json!(i64::from(train_run.is_some()));
    result["without_contaminated"] = if train_run.is_some() {
        figures(mean - 2.0)
    } else {
        Value::Null
    };
    result["failed"] = json!(2);
    result["failures"] = json!([{ "count": 2, "words": "timed <out>" }]);
    add_run(dir, 100 + id, "eval", &json!({ "temperature": 0 }), model);
    let train_run = train_run.map_or("null".to_owned(), |run| run.to_string());
    dir.sql(&format!(
        "insert into evaluation (id, run_id, suite, source, model, train_run_id, result) \
         values ({id}, {}, 'held-out', '', {}, {train_run}, {})",
        100 + id,
        quoted(model),
        quoted(&result.to_string())
    ));
    for (at, (answer, score)) in scores.iter().enumerate() {
        let found = if at == 0 && train_run != "null" {
            "4"
        } else {
            "null"
        };
        dir.sql(&format!(
            "insert into evaluation_answer (evaluation_id, item, category, task_id, prompt, answer, finish_reason, \"references\", scores, found_in) \
             values ({id}, 'task {0}, instance {0}', 'open', 1, 'Question {0}?', {1}, 'stop', '[\"reference {0}\"]', {2}, {found})",
            at + 1,
            quoted(answer),
            quoted(&json!({ "rougeL": score, "nll": 3.0, "reference_tokens": 2 }).to_string())
        ));
    }
}

#[test]
fn a_dataset_without_models_says_nothing_about_them() {
    let dir = filled();
    assert_eq!(evidence(&dir), "");
}

#[test]
fn a_suite_is_compared_before_and_after_with_intervals() {
    let dir = filled();
    add_run(
        &dir,
        90,
        "train",
        &json!({ "model": "base", "out": dir.path("tuned") }),
        "base",
    );
    add_evaluation(
        &dir,
        1,
        "base@1",
        None,
        &[("one", 10.0), ("two", 20.0), ("three", 30.0), ("four", 40.0)],
    );
    add_evaluation(
        &dir,
        2,
        "tuned@2",
        Some(90),
        &[("ein", 30.0), ("zwei", 41.0), ("drei", 52.0), ("vier", 25.0)],
    );
    let shown = evidence(&dir);
    let mut at = 0;
    // In this order: the difference of the same items, charts, figures, answers, sources.
    for text in [
        "<h3>Suite held-out</h3>",
        "ROUGE-L, percent: <b>+12.0 [",
        "of 4 items that both answered",
        "id=\"chart-models-1\"",
        "id=\"chart-categories-1\"",
        "<td>ROUGE-L, percent</td><td>25.0 [20.0, 30.0]</td><td>37.0 [32.0, 42.0]</td><td>+12.0 [",
        "base@1: no item was found in the training rows.",
        "<b>1 item was found</b> in the training rows. ROUGE-L, percent of the 4 other answers: 35.0 [30.0, 40.0].",
        "Found in the training rows",
        "3 answers that became better, most of all by ROUGE-L",
        "task 3, instance 3, open: 30.00 → 52.00",
        "task 2, instance 2, open: 20.00 → 41.00",
        "task 1, instance 1, open: 10.00 → 30.00",
        "1 answer that became worse",
        "task 4, instance 4, open: 40.00 → 25.00",
        "Computed from evaluation 1 of run 101 (base@1, 4 answers, ",
        "and evaluation 2 of run 102 (tuned@2 (trained by run 90), 4 answers, ",
        "the tasks that <code>ewe split</code> holds out",
    ] {
        let found = shown[at..].find(text);
        assert!(found.is_some(), "no {text:?} behind character {at} of {shown}");
        at += found.unwrap();
    }
    // The likelihood is the same, and says so.
    assert!(
        shown.contains("2 requests failed and are in no figure (timed &lt;out&gt;)"),
        "{shown}"
    );
    assert!(
        shown.contains("closed &lt;b&gt; (4)") && !shown.contains("<b>\n"),
        "{shown}"
    );
    // A question that was changed in between is not compared.
    dir.sql(
        "update evaluation_answer set prompt = 'Another?' where evaluation_id = 2 and item like 'task 4,%'",
    );
    let shown = evidence(&dir);
    assert!(
        shown.contains("<b>+21.0 [") && shown.contains("of 3 items"),
        "{shown}"
    );
    assert!(
        shown.contains("the model became better") && shown.contains("No answer became worse"),
        "{shown}"
    );
}

#[test]
fn one_model_alone_is_not_compared() {
    let dir = filled();
    add_evaluation(&dir, 1, "base@1", None, &[("one", 10.0), ("two", 20.0)]);
    let shown = evidence(&dir);
    assert!(shown.contains("Only one model was asked"), "{shown}");
    assert!(
        shown.contains("<td>ROUGE-L, percent</td><td>15.0 [10.0, 20.0]</td>"),
        "{shown}"
    );
    assert!(!shown.contains("class=\"answers\""), "{shown}");
}

#[test]
fn texts_of_models_are_inert_and_bounded() {
    let dir = filled();
    let hostile = "</pre></details><script>alert(1)</script>\u{202e}<img src=x onerror=y>";
    let long = format!("{hostile}{}", "x".repeat(3_000_000));
    add_evaluation(&dir, 1, hostile, None, &[("one", 10.0), (hostile, 20.0)]);
    add_evaluation(&dir, 2, "tuned", None, &[(&long, 30.0), ("two", 5.0)]);
    dir.sql(&format!(
        "update evaluation set source = {} where id > 0",
        quoted(hostile)
    ));
    let shown = evidence(&dir);
    assert!(shown.len() < 100_000, "{}", shown.len());
    assert!(!shown.contains("<script") && !shown.contains("<img") && !shown.contains('\u{202e}'));
    let characters = hostile.chars().count();
    assert!(shown.contains(&format!("3,000,{characters:03} characters")));
    assert!(shown.contains("Cut after 4,000 characters."));
    // Open and closed as they should be.
    for name in ["details", "pre", "div", "article", "table", "figure", "p", "ul"] {
        let count = |tag: &str| shown.matches(tag).count();
        let opened = count(&format!("<{name}>")) + count(&format!("<{name} "));
        assert_eq!(opened, count(&format!("</{name}>")), "{name}");
    }
}

#[test]
fn training_runs_have_curves_while_their_metrics_are_there() {
    let dir = filled();
    std::fs::create_dir(dir.path("tuned")).unwrap();
    let lines: String = (1..=50)
        .map(|step| {
            let before = if step == 1 {
                ", \"eval_loss_before\": 3.27"
            } else {
                ""
            };
            let held_out = if step % 10 == 0 {
                ", \"eval_loss\": 2.87"
            } else {
                ""
            };
            format!(
                "{{\"step\": {step}, \"loss\": {}, \"lr\": 1e-4{before}{held_out}}}\n",
                3.0 - f64::from(step) / 100.0
            )
        })
        .collect();
    dir.write("tuned/metrics.jsonl", &lines);
    let config = |out: &str| json!({ "took": "49 accepted + 3 unreviewed of 60", "evaluated_on": "held-out tasks", "out": dir.path(out) });
    add_run(&dir, 90, "train", &config("tuned"), "base");
    add_run(&dir, 91, "train", &config("gone"), "base");
    add_run(&dir, 92, "train", &config("tuned"), "base");
    let shown = evidence(&dir);
    assert!(shown.contains("Loss of run 92, in nats a token"), "{shown}");
    assert!(shown.contains("held out 3.270 → 2.870 (−12 %)"), "{shown}");
    assert!(
        shown.contains("49 accepted + 3 unreviewed of 60") && shown.contains("held-out tasks"),
        "{shown}"
    );
    assert!(
        shown.contains("is that of a later run") && shown.contains("is not there any more"),
        "{shown}"
    );
    assert_eq!(shown.matches("<polyline").count(), 2, "{shown}");
    assert!(
        shown.contains("Computed from <code>") && shown.contains("metrics.jsonl</code> (run 92)"),
        "{shown}"
    );
    // Whatever is there instead, the report is written.
    std::fs::remove_dir_all(dir.path("tuned")).unwrap();
    std::fs::create_dir_all(dir.path("tuned/metrics.jsonl")).unwrap();
    let shown = evidence(&dir);
    assert!(
        shown.contains("is no file") && !shown.contains("<figure"),
        "{shown}"
    );
}

#[test]
fn comparisons_have_win_rates_and_what_the_judge_is_worth() {
    let dir = filled();
    add_run(&dir, 95, "compare", &json!({}), "judge");
    let rate = |mean: f64| json!({ "mean": mean, "low": mean - 0.1, "high": mean + 0.1 });
    let result = json!({
        "n": 20, "wins_a": 4, "wins_b": 12, "ties": 3, "errors": 1, "win_rate": rate(0.71),
        "length_controlled": { "mean": 0.65, "low": 0.5, "high": 0.8, "length_coefficient": 0.1 },
        "by_category": { "open": { "n": 9, "win_rate": rate(0.6) }, "closed": { "n": 11, "win_rate": null } },
        "winner": null, "no_winner_because": "the judge <cannot> tell", "remarks": ["a & b"],
        "judge": { "name": "judge", "exam": { "accuracy": rate(0.6), "chose_first": 0.55 }, "conduct": { "disagreed": 0.25 } },
        "people": { "votes": 5, "wins_a": 1, "wins_b": 3, "ties": 1, "kappa": 0.42 },
    });
    dir.sql(&format!(
        "insert into comparison (id, run_id, model_a, model_b, judge, source, result) \
         values (7, 95, 'base', 'tuned', 'judge', 'test.jsonl', {}), (8, 95, 'base', 'tuned', null, 'test.jsonl', '{{}}')",
        quoted(&result.to_string())
    ));
    let shown = evidence(&dir);
    for text in [
        "a is base; b is tuned.",
        "Of 20 pairs, b won 12, a won 4, 3 were ties, 1 is without a verdict. No winner is named: the judge &lt;cannot&gt; tell.",
        "71.0 [61.0, 81.0] with its 95 % interval",
        "open (9)",
        "<td>exam of the judge: right</td><td>60.0 [50.0, 70.0] %</td>",
        "5 votes: 1 for a, 3 for b, 1 for neither",
        "<td>0.42</td>",
        "<li>a &amp; b</li>",
        "comparison 7 of run 95",
    ] {
        assert!(shown.contains(text), "no {text:?} in {shown}");
    }
    // One without a result is not shown.
    assert_eq!(shown.matches("<h3>Comparison").count(), 1);
}

#[test]
fn rows_that_helped_and_hurt_are_shown_with_what_they_speak_to() {
    let dir = filled();
    add_run(
        &dir,
        96,
        "influence",
        &json!({ "run_dir": "tuned", "dimensions": 4096, "digests": [1, 2] }),
        "base",
    );
    let last = number(&dir, "select max(id) from instance");
    dir.sql(&format!(
        "insert into influence select 96, id, (id - 3.5) / 100.0 from instance where id <= {last}"
    ));
    dir.sql("insert into influence_on values (96, 1, 2, -0.5), (96, 1, 3, 0.4), (96, 6, 5, 0.25)");
    // One that was cut off says nothing yet.
    dir.sql("insert into run (id, command, config, status) values (97, 'influence', '{}', 'interrupted')");
    dir.sql("insert into influence values (97, 1, 0.9)");
    let shown = evidence(&dir);
    let helped = shown.find("that helped most").unwrap();
    let hurt = shown.find("that hurt most").unwrap();
    let first = |from: usize| {
        shown[from..]
            .find("<h4>Task ")
            .map(|at| &shown[from + at..from + at + 40])
    };
    assert!(helped < hurt);
    let of = |instance: i64| {
        number(
            &dir,
            &format!("select task_id from instance where id = {instance}"),
        )
    };
    let strongest = format!("<h4>Task {}: +{:.4}", of(last), (last as f64 - 3.5) / 100.0);
    assert!(
        first(helped).unwrap().starts_with(&strongest),
        "{strongest}: {shown}"
    );
    assert!(
        first(hurt)
            .unwrap()
            .starts_with(&format!("<h4>Task {}: −0.0250", of(1))),
        "{shown}"
    );
    assert!(
        shown[hurt..].contains("Most of all on held-out task 2:"),
        "{shown}"
    );
    assert!(shown.contains("3 rows that hurt most"), "{shown}");
    assert!(shown.contains("dimensions 4096") && shown.contains("run_dir tuned"));
    assert!(!shown.contains("digests"), "{shown}");
}
