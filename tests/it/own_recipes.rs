//! `ewe generate --recipe FILE` and `ewe recipe`: recipes that users write.

use std::time::{Duration, Instant};

use crate::documents::{add, prose};
use crate::mock::Mock;
use crate::recipes::{all_accounted_for, arguments};
use crate::shell::{Dir, ewe};
use crate::support::{self, export, generation, json, number};

/// The recipe of docs/recipes.md.
fn example() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/recipes.md");
    let page = std::fs::read_to_string(page).unwrap();
    let begin = page.find("```toml\nname = \"questions\"").expect("the example") + 8;
    page[begin..begin + page[begin..].find("```").unwrap()].to_string()
}

/// The same with texts to continue, which the mock counts by the text that ewe stores.
fn with_texts() -> String {
    let lines = example();
    let lines = lines.lines().filter(|line| !line.starts_with("system = "));
    let text: Vec<&str> = lines.collect();
    text.join("\n").replace("user = ", "prompt = ")
}

fn with(recipe: &str) -> (Dir, Mock) {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    dir.write("mine.toml", recipe);
    (dir, mock)
}

const MINE: [&str; 2] = ["--recipe", "mine.toml"];

#[test]
fn the_example_makes_questions_and_then_their_answers() {
    let (dir, mock) = with(&example());
    ewe(&dir, &arguments(&mock, "40", &MINE)).success();
    all_accounted_for(&dir, 40);
    let stages = dir.sql("select distinct stage from request order by stage");
    assert_eq!(stages, [["answer"], ["questions"]]);
    // Nothing is asked about a question that the rules or the pool have rejected.
    let answers = number(
        &dir,
        "select count(*) from request where stage = 'answer' and round in (select round from round)",
    );
    let questions = number(
        &dir,
        "select count(*) from candidate where kind = 'instruction' and (reason is null or reason in \
         ('no_valid_instance', 'over_target', 'near_duplicate'))",
    );
    assert!(answers > 0 && answers <= questions, "{answers} of {questions}");
    let truncated = "select count(*) from candidate where reason = 'truncated' and kind = 'instance'";
    assert!(number(&dir, truncated) > 0);
    // Prompts show seeds and one of the readers.
    let readers = "select count(distinct substr(prompt, instr(prompt, 'write for'), 20)) from request where stage = \
                   'questions'";
    assert!(number(&dir, readers) > 1);
    let prompt = &dir.sql("select prompt from request where stage = 'questions' limit 1")[0][0];
    assert_eq!(prompt.matches("\\n- ").count(), 3, "{prompt}");
    let kept = dir.sql(
        "select config ->> '$.recipe.recipe', length(config ->> '$.recipe.sha256'), config ->> '$.recipe.text' from run \
         where command = 'generate'",
    );
    assert_eq!(kept, [["questions".to_string(), "64".to_string(), example()]]);
}

#[test]
fn a_killed_run_of_a_file_resumes_to_the_same_export() {
    let start = || {
        let (dir, mock) = with(&with_texts().replace("examples = 3", "examples = 3\nmachine_examples = 1"));
        dir.write("topics.txt", "bees\ntrains\n");
        (dir, mock)
    };
    let more = [&MINE[..], &["--topics", "topics.txt"]].concat();
    let (whole, mock) = start();
    ewe(&whole, &arguments(&mock, "60", &more)).success();
    let wanted = export(&whole);
    let (dir, mock) = start();
    mock.set_latency(Duration::from_millis(60));
    support::kill_again_and_again(
        &dir,
        &mock,
        &arguments(&mock, "60", &more),
        &[90, 140, 100, 200, 120, 170],
    );
    ewe(&dir, &arguments(&mock, "60", &more)).success();
    assert_eq!(export(&dir), wanted);
    all_accounted_for(&dir, 60);
    let about = "select count(*) from request where prompt like '%may ask about bees%'";
    assert!(number(&dir, about) > 0);
}

#[test]
fn a_recipe_that_was_changed_is_refused_until_it_has_another_name() {
    let (dir, mock) = with(&example());
    ewe(&dir, &arguments(&mock, "5", &MINE)).success();
    dir.write(
        "mine.toml",
        example().replace("temperature = 0.9", "temperature = 0.8"),
    );
    let error = ewe(&dir, &arguments(&mock, "9", &MINE)).failure(1).stderr();
    assert!(
        error.contains("the recipe `questions` is not what it was in run 2")
            && error.contains("hint: give its `name`"),
        "{error}"
    );
    // The way out that the hint names.
    let text = &dir.sql("select config ->> '$.recipe.text' from run where id = 2")[0][0];
    assert_eq!(text, &example());
    dir.write(
        "mine.toml",
        example()
            .replace("temperature = 0.9", "temperature = 0.8")
            .replace("name = \"questions\"\nexamples", "name = \"cooler\"\nexamples"),
    );
    ewe(&dir, &arguments(&mock, "9", &MINE)).success();
    // The old text goes on as well.
    dir.write("mine.toml", example());
    ewe(&dir, &arguments(&mock, "12", &MINE)).success();
    all_accounted_for(&dir, 12);
}

#[test]
fn faults_of_a_file_are_named_with_line_and_key() {
    for (from, to, wanted) in [
        (
            "temperature = 0.9",
            "temprature = 0.9",
            "mine.toml:18: unknown field `temprature`",
        ),
        (
            "temperature = 0.9",
            "temperature = 9",
            "stage `questions`: `temperature` is 9: want a number from 0 to 2",
        ),
        (
            "parser = \"numbered\"",
            "parser = \"list\"",
            "unknown variant `list`",
        ),
        (
            "examples = 3",
            "examples = 100000",
            "mine.toml:2: `examples` is 100000: want at most 100",
        ),
        ("parser = \"numbered\"", "parser = \"json\"", "wants `fields`"),
        (
            "parser = \"numbered\"",
            "parser = \"regex\"\npattern = 'Q: .+'",
            "no named group",
        ),
        (
            "parser = \"numbered\"",
            "parser = \"regex\"\npattern = '(?P<q>.+'",
            "no regular expression",
        ),
        (
            "parser = \"numbered\"",
            "parser = \"lines\"\nafter = 4",
            "`after` is for `parser = \"numbered\"`",
        ),
        (
            "{{ reader }}",
            "{{ readers }}",
            "`system` of stage `questions` uses `readers`: here there are `examples`",
        ),
        ("{{ reader }}", "{{ passage.text }}", "`passages = true`"),
        (
            "{{ reader }}",
            "{{ strftime_now('%Y') }}",
            "may not depend on the time",
        ),
        ("{{ reader }}", "{{ reader", "is no template"),
        (
            "name = \"answer\"",
            "name = \"questions\"",
            "the name `questions` is taken",
        ),
        (
            "name = \"answer\"",
            "name = \"Answer 1\"",
            "`Answer 1` cannot be a name",
        ),
        (
            "instruction = \"{{ questions.text }}\"",
            "instruction = \"Say hi.\"",
            "uses no stage",
        ),
        (
            "output = \"{{ answer.text }}\"",
            "output = \"\"\ngrounded = true",
            "set `passages = true`",
        ),
        (
            "user = ",
            "prompt = ",
            "want either `prompt`, a text to continue, or `user`",
        ),
    ] {
        let recipe = example().replacen(from, to, 1);
        assert_ne!(recipe, example(), "{from}");
        let (dir, mock) = with(&recipe);
        for line in [
            &["recipe", "check", "mine.toml"][..],
            &arguments(&mock, "5", &MINE),
        ] {
            let error = ewe(&dir, line).failure(1).stderr();
            assert!(error.contains(wanted), "{wanted}: {error}");
            assert!(
                error.contains("mine.toml:") && error.contains("hint: "),
                "{error}"
            );
        }
        assert_eq!(mock.received(), 0);
    }
    let (dir, mock) = with(&example());
    for (more, wanted) in [
        (&["--temperature", "1"][..], "is for built-in recipes"),
        (&["--absent", "0.2"], "`grounded`, `support`"),
        (&["--structured"], "the file says for each stage"),
    ] {
        let line = arguments(&mock, "5", &[&MINE[..], more].concat()).join(" ");
        let error = ewe(&dir, &line.split(' ').collect::<Vec<_>>())
            .failure(2)
            .stderr();
        assert!(error.contains(wanted), "{error}");
    }
    let error = ewe(&dir, &arguments(&mock, "5", &["--recipe", "alpacas"]))
        .failure(2)
        .stderr();
    assert!(error.contains("or a TOML file"), "{error}");
    let error = ewe(&dir, &arguments(&mock, "5", &["--recipe", "gone.toml"]))
        .failure(1)
        .stderr();
    assert!(error.contains("cannot read the recipe `gone.toml`"), "{error}");
}

#[test]
fn a_template_that_never_ends_is_stopped() {
    let endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}{% endfor %}{% endfor \
                   %}{% endfor %}";
    for hostile in [
        endless,
        "{{ 'x' * 99999999999 }}",
        "{% for i in range(99999) %}{{ 'x' * 99 }}{% endfor %}",
    ] {
        let (dir, mock) = with(&example().replacen("{{ reader }}", hostile, 1));
        let started = Instant::now();
        let error = ewe(&dir, &arguments(&mock, "5", &MINE)).failure(1).stderr();
        assert!(error.contains("`system` of stage `questions`"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(120));
        assert_eq!(mock.received(), 0);
    }
}

#[test]
fn check_shows_what_would_be_asked_and_what_comes_of_the_samples() {
    let (dir, mock) = with(&example());
    let shown = ewe(&dir, &["recipe", "check", "mine.toml", "--db", "d.db"])
        .success()
        .stdout();
    for part in [
        "── stage 1, questions: the message",
        "system: You write for ",
        "Three questions that",
        "{\"text\":\"Why do sheep flock together when a dog comes near?\"}",
        "── stage 2, answer: the message",
        "Why do sheep flock together when a dog comes near?\n",
        "── candidate 2\ninstruction: ",
        "the recipe `questions` can be used; 2 candidates from the sample answers",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // It asks what a run would ask first, and stores nothing.
    let checked = json(ewe(
        &dir,
        &["recipe", "check", "mine.toml", "--db", "d.db", "--json"],
    ));
    assert_eq!(
        number(&dir, "select count(*) from run where command <> 'init'"),
        0
    );
    ewe(&dir, &arguments(&mock, "5", &MINE)).success();
    let asked = &dir.sql("select prompt from request where round = 0 and stage = 'questions'")[0][0];
    let messages: serde_json::Value = serde_json::from_str(asked).unwrap();
    assert_eq!(messages[1]["content"], checked["stages"][0]["prompt"]);
    assert_eq!(messages[0]["content"], checked["stages"][0]["system"]);
    // A field that a stage does not have is found without a request.
    dir.write(
        "mine.toml",
        example().replace("{{ answer.text }}", "{{ answer.txt }}"),
    );
    let error = ewe(&dir, &["recipe", "check", "mine.toml"]).failure(1).stderr();
    assert!(
        error.contains("`output` of [candidate]") && error.contains("txt"),
        "{error}"
    );
    // Without a sample, names of fields stand for them.
    let bare = example();
    let bare = &bare[..bare.find("sample = ").unwrap()];
    let rest = &example()[example().find("[[stage]]\nname = \"answer\"").unwrap()..];
    dir.write("mine.toml", format!("{bare}\n{rest}"));
    let shown = ewe(&dir, &["recipe", "check", "mine.toml"]).success().stdout();
    assert!(
        shown.contains("«questions.text»") && shown.contains("no `sample`"),
        "{shown}"
    );
}

#[test]
fn alpaca_as_a_file_asks_the_same_as_alpaca() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let shown = ewe(&dir, &["recipe", "show", "alpaca"]).success().stdout();
    dir.write("mine.toml", &shown);
    dir.write("topics.txt", "bees\n");
    ewe(&dir, &["recipe", "check", "mine.toml", "--db", "d.db"]).success();
    let first = |dir: &Dir, mock: &Mock, recipe: &str, more: &[&str]| {
        let own = ["--recipe", recipe, "--window", "1", "--max-requests", "1"];
        ewe(dir, &arguments(mock, "100", &[&own[..], more].concat())).success();
        let sampling = "json_remove(parameters, '$.seed')";
        dir.sql(&format!("select prompt, {sampling} from request"))[0].clone()
    };
    for more in [&[][..], &["--topics", "topics.txt"]] {
        let built_in = Dir::with_dataset();
        built_in.write("topics.txt", "bees\n");
        let own = Dir::with_dataset();
        own.write("topics.txt", "bees\n");
        own.write("mine.toml", &shown);
        assert_eq!(
            first(&own, &mock, "mine.toml", more),
            first(&built_in, &mock, "alpaca", more)
        );
    }
    ewe(&dir, &arguments(&mock, "30", &MINE)).success();
    all_accounted_for(&dir, 30);
    let error = ewe(&dir, &["recipe", "show", "self-instruct"])
        .failure(1)
        .stderr();
    assert!(
        error.contains("cannot be written as a file") && error.contains("hint: these can"),
        "{error}"
    );
    let error = ewe(&dir, &["recipe", "show", "x"]).failure(1).stderr();
    assert!(error.contains("hint: there are self-instruct, alpaca"), "{error}");
}

#[test]
fn a_file_may_ask_about_passages_and_be_held_to_them() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let shown = ewe(&dir, &["recipe", "show", "grounded"]).success().stdout();
    dir.write("mine.toml", &shown);
    let line = generation(
        "10",
        &mock.url,
        &[&MINE[..], &["--max-requests", "5", "--window", "1"]].concat(),
    );
    let error = ewe(&dir, &line).failure(1).stderr();
    assert!(error.contains("ewe add-documents"), "{error}");
    let parts = ["Ada", "Bo", "Cleo"].map(|name| format!("## {name}\n\n{}\n\n", prose(name, 40)));
    dir.write("farms.md", parts.concat());
    add(&dir, &["farms.md"]).success();
    ewe(&dir, &["recipe", "check", "mine.toml", "--db", "d.db"]).success();
    mock.say(
        "The farm of",
        "{\"question\": \"How many animals live on the farm of Ada?\", \"answer\": \"There are 7777 goats.\"}",
        "stop",
    );
    ewe(&dir, &line).success();
    let reasons = dir.sql("select distinct reason from candidate where kind = 'instance'");
    assert_eq!(reasons, [["ungrounded"]]);
    assert!(number(&dir, "select count(*) from grounding where kind = 'own'") > 0);
    // Backwards, the passage is the answer.
    let shown = ewe(&dir, &["recipe", "show", "backtranslation"])
        .success()
        .stdout();
    dir.write("mine.toml", &shown);
    let mock = Mock::start();
    mock.say(
        "Instruction:",
        " Describe what the farms of this valley do with their sheep.",
        "stop",
    );
    let line = generation("1", &mock.url, &MINE);
    ewe(&dir, &line).success();
    all_accounted_for(&dir, 1);
    let made = "select count(*) from task join instance on task_id = task.id join task_passage using (task_id) where \
                origin = 'machine' and instr(text, substr(output, 1, 30)) > 0";
    assert_eq!(number(&dir, made), 1);
}
