//! `ewe eval`: suites that a model is asked, and how its answers are scored.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use axum::{Json, Router, routing::post};
use serde_json::{Value, json};

use crate::mock::{Mock, listen};
use crate::shell::{self, Dir, Ran, signal};
use crate::support::{ewe, number};
use crate::waiting::until;

const SUITES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/suites");

/// Runs `ewe eval` with a model behind an endpoint.
pub fn eval(dir: &Dir, mock: &Mock, more: &str) -> Ran {
    ewe(
        dir,
        &line(&mock.url, more)
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    )
}

fn line(url: &str, more: &str) -> Vec<String> {
    let line = format!("eval --endpoint {url} --endpoint-model m --concurrency 4 {more}");
    line.replace("SUITES", SUITES)
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// The content of `--out r.json`.
pub fn result(dir: &Dir) -> Value {
    serde_json::from_str(&dir.read("r.json")).unwrap()
}

fn answers(dir: &Dir) -> Vec<Value> {
    let text = dir.read("a.jsonl");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Checks a figure.
pub fn close(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap_or(f64::NAN);
    assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
}

#[test]
fn superni_is_asked_and_scored_as_tk_instruct_does() {
    let (dir, mock) = (Dir::new(), Mock::start());
    mock.say("It bleats", " ewe.\n", "stop");
    mock.say("It crows", "the roosters", "stop");
    mock.say("It neighs", "Cow", "length");
    mock.say("lamb was lost", "The losing lambs", "stop");
    mock.say("Two rams", "nothing", "stop");
    let ran = eval(
        &dir,
        &mock,
        "--suite superni=SUITES/superni --out r.json --answers a.jsonl",
    )
    .success();
    let superni = &result(&dir)["suites"]["superni"];
    assert_eq!((&superni["n"], &superni["failed"]), (&json!(5), &json!(0)));
    // ewe = ewe; the rooster: 2/3 of two words with one; a lamb: three of three stems; rams: none.
    close(&superni["exact_match"], 20.0);
    close(
        &superni["rougeL"],
        (100.0 + 100.0 * 2.0 / 3.0 + 0.0 + 100.0 * 2.0 / 3.0 + 0.0) / 5.0,
    );
    close(&superni["stop_rate"], 80.0);
    assert_eq!(superni["interval"]["rougeL"].as_array().unwrap().len(), 2);
    let entailment = &superni["categories"]["Textual Entailment"];
    assert_eq!(
        (&entailment["n"], &entailment["metric"]),
        (&json!(3), &json!("exact_match"))
    );
    close(&entailment["exact_match"], 100.0 / 3.0);
    assert_eq!(
        superni["categories"]["Title Generation"]["metric"],
        json!("rougeL")
    );
    assert_eq!(
        superni["left_out"],
        json!({"tasks without instances": 1, "instances without a reference": 1})
    );
    let rows = answers(&dir);
    assert_eq!(rows.len(), 5);
    assert_eq!(
        rows[0]["prompt"],
        "Definition: Say which farm animal makes the sound in the input.\n\nNow complete the following example -\n\
         Input: It bleats.\nOutput: "
    );
    assert_eq!(rows[0]["references"], json!(["Sheep", "Ewe"]));
    assert_eq!(
        (&rows[0]["task"], &rows[0]["scores"]["exact_match"]),
        (&json!("task9001_animal_sounds-0"), &json!(true))
    );
    let said = ran.stdout();
    assert!(said.contains("superni: 5 answers; rougeL 46.7 ("), "{said}");
    assert!(said.contains("contamination: not looked for"), "{said}");
    // Examples are shown, and other answers are asked for.
    let asked = mock.received();
    let shown = "--suite superni=SUITES/superni --superni-examples 2 --superni-instances 1 --out r.json --answers a.jsonl";
    eval(&dir, &mock, shown).success();
    // The second task has no examples, so its prompt is the one that was answered before.
    assert_eq!(mock.received() - asked, 1);
    let prompt = answers(&dir)[0]["prompt"].clone();
    let example = " Positive Example 2 -\nInput: It moos.\n Output: Cow.\n\nNow complete the following";
    assert!(prompt.as_str().unwrap().contains(example), "{prompt}");
}

#[test]
fn all_suites_make_one_result_and_nothing_is_asked_twice() {
    let (dir, mock) = (Dir::new(), Mock::start());
    mock.say("barn", "A red barn, with hay.", "stop");
    mock.say(
        "lower case",
        "the field is full of clover and it is quiet in the evening.",
        "stop",
    );
    mock.say("Add.", "2", "stop");
    mock.say("colour", "{\"colour\": \"a kind of blue\"}", "stop");
    mock.say("Monday", "Tuesday!", "stop");
    mock.say("Sunday", "It is Monday", "stop");
    mock.say("wool", "Wool keeps shepherds warm and", "length");
    let suites = "--suite ifeval=SUITES/ifeval.jsonl --suite checks=SUITES/checks.jsonl \
                  --suite instructions=SUITES/user_oriented.jsonl --out r.json --answers a.jsonl";
    let ran = eval(&dir, &mock, suites).success();
    let all = result(&dir);
    let suite = |name: &str| &all["suites"][name];
    close(&suite("ifeval")["strict_prompt"], 50.0);
    close(&suite("ifeval")["strict_instruction"], 200.0 / 3.0);
    close(&suite("ifeval")["loose_prompt"], 50.0);
    close(&suite("checks")["passed"], 50.0);
    let instructions = suite("instructions");
    assert_eq!(instructions["n"], 3);
    close(&instructions["stop_rate"], 200.0 / 3.0);
    close(&instructions["rougeL"], (100.0 + 50.0 + 80.0) / 3.0);
    assert!(instructions.get("nll").is_none());
    assert!(instructions["categories"]["Calendar"]["n"] == 2, "{instructions}");
    assert!(
        ran.stdout().contains("an endpoint does not tell the likelihood"),
        "{}",
        ran.stdout()
    );
    let failed = answers(&dir)
        .into_iter()
        .find(|row| row["scores"]["passed"] == false)
        .unwrap();
    assert_eq!(
        failed["scores"]["remarks"],
        json!(["max_words: 5 words, more than 3"])
    );
    // The same command again asks nothing, and gives the same result.
    let asked = mock.received();
    let again = dir.read("r.json");
    eval(&dir, &mock, suites).success();
    assert_eq!((mock.received(), dir.read("r.json")), (asked, again));
    assert!(dir.path("r.answers.db").exists());
}

/// A dataset with held-out tasks, one of which reads like a training row.
fn with_held_out() -> Dir {
    let dir = Dir::new();
    let row = |instruction: &str, output: &str| {
        json!({"instruction": instruction, "input": "", "output": output}).to_string() + "\n"
    };
    let verbs = [
        "Describe", "Draw", "Count", "Sell", "Paint", "Wash", "Feed", "Hide",
    ];
    let nouns = ["wolf", "gate", "moon", "oven", "lake", "song", "coin", "glove"];
    let rows = verbs
        .iter()
        .zip(nouns)
        .map(|(verb, noun)| row(&format!("{verb} the {noun} on a {noun} hill"), noun));
    dir.write("rows.jsonl", rows.collect::<String>());
    ewe(&dir, &["init", "--db", "d.db", "--seeds", "rows.jsonl"]).success();
    ewe(&dir, &["split", "--db", "d.db", "--eval", "2"]).success();
    dir
}

#[test]
fn held_out_tasks_are_asked_and_stored_in_the_dataset() {
    let (dir, mock) = (with_held_out(), Mock::start());
    mock.say("hill", "wolf", "stop");
    let ran = eval(&dir, &mock, "--db d.db --suite held-out").success();
    let held_out = number(
        &dir,
        "select count(*) from held_out join instance using (task_id)",
    );
    assert!(held_out >= 2);
    assert_eq!(number(&dir, "select count(*) from evaluation_answer"), held_out);
    assert_eq!(
        dir.sql("select suite, source, train_run_id is null, json_extract(result, '$.n') from evaluation"),
        [[
            "held-out".to_owned(),
            String::new(),
            "1".to_owned(),
            held_out.to_string()
        ]]
    );
    assert_eq!(
        number(
            &dir,
            "select count(*) from evaluation_answer join held_out using (task_id) where scores ->> 'stopped'"
        ),
        held_out
    );
    assert_eq!(
        dir.sql("select command, status from run order by id desc limit 1"),
        [["eval", "done"]]
    );
    assert!(
        ran.stdout().contains("contamination: 0 items"),
        "{}",
        ran.stdout()
    );
    // Once more: nothing is asked, and a second evaluation is stored.
    let asked = mock.received();
    eval(&dir, &mock, "--db d.db --suite held-out").success();
    assert_eq!(
        (mock.received(), number(&dir, "select count(*) from evaluation")),
        (asked, 2)
    );
}

#[test]
fn items_in_the_training_rows_are_found_and_scores_given_without_them() {
    let (dir, mock) = (Dir::new(), Mock::start());
    mock.say("Monday", "Tuesday", "stop");
    mock.say("Sunday", "x", "stop");
    mock.say("wool", "x", "stop");
    let training = "{\"instruction\":\"name the day that FOLLOWS the one in the input!\",\"input\":\"\",\"output\":\"x\"}\n";
    dir.write("trained.jsonl", training);
    let suite = "--suite instructions=SUITES/user_oriented.jsonl --out r.json --answers a.jsonl";
    let ran = eval(&dir, &mock, &format!("{suite} --training-data trained.jsonl")).success();
    let all = &result(&dir)["suites"]["instructions"];
    assert_eq!((&all["n"], &all["contaminated"]), (&json!(3), &json!(2)));
    close(&all["rougeL"], 100.0 / 3.0);
    assert_eq!(all["without_contaminated"]["n"], 1);
    close(&all["without_contaminated"]["rougeL"], 0.0);
    let found = &answers(&dir)[0]["found_in"];
    assert_eq!(
        (&found["file"], &found["row"]),
        (&json!("trained.jsonl"), &json!(0))
    );
    assert!(
        found["how"].as_str().unwrap().contains("a training instruction"),
        "{found}"
    );
    assert!(
        ran.stdout().contains("without 2 items that training rows have"),
        "{}",
        ran.stdout()
    );
    // The rows of a dataset count, except held-out ones.
    ewe(&dir, &["init", "--db", "d.db", "--seeds", "trained.jsonl"]).success();
    eval(&dir, &mock, &format!("{suite} --db d.db")).success();
    assert_eq!(
        number(&dir, "select count(*) from evaluation_answer where found_in = 1"),
        2
    );
}

#[test]
fn a_judge_grades_and_what_it_mumbles_is_counted() {
    let (dir, mock) = (Dir::new(), Mock::start());
    // In the order in which the mock looks: a grade is asked for below the question.
    mock.say("Answer:\n> Tuesday\nGrade:", " A", "stop");
    mock.say("Answer:\n> late\nGrade:", "C\n", "stop");
    mock.say("Answer:\n> baa\nGrade:", "I like it", "stop");
    mock.say("Sunday", "late", "stop");
    mock.say("Monday", "Tuesday", "stop");
    mock.say("wool", "baa", "stop");
    let judged = format!(
        "--suite instructions=SUITES/user_oriented.jsonl --out r.json --judge {}#j",
        mock.url
    );
    let ran = eval(&dir, &mock, &judged).success();
    let all = &result(&dir)["suites"]["instructions"];
    close(&all["rating"], 3.0);
    assert_eq!(all["ungraded"], 1);
    assert!(
        ran.stdout().contains("1 item could not be graded"),
        "{}",
        ran.stdout()
    );
    assert!(result(&dir)["judge"].as_str().unwrap().starts_with("j at "));
}

#[test]
fn an_interrupted_run_goes_on_where_it_was() {
    let (dir, mock) = (Dir::new(), Mock::start());
    let rows: Vec<String> = (0..40)
        .map(|n| json!({"instruction": format!("Say number {n}."), "output": n.to_string()}).to_string())
        .collect();
    dir.write("rows.jsonl", rows.join("\n"));
    mock.say("Say number", "7", "stop");
    // What is left after eight requests takes seconds, in which a busy machine can interrupt it.
    mock.set_latency(Duration::from_millis(400));
    let arguments = line(&mock.url, "--suite instructions=rows.jsonl --out r.json");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = shell::spawn(&dir, &arguments);
    until("some requests", || mock.received() >= 8);
    signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!dir.path("r.json").exists());
    let first = mock.received();
    assert!(first < 40, "{first}");
    // Another one is killed.
    let mut child = shell::spawn(&dir, &arguments);
    until("more requests", || mock.received() >= first + 8);
    child.kill().unwrap();
    child.wait().unwrap();
    mock.set_latency(Duration::ZERO);
    ewe(&dir, &arguments).success();
    assert_eq!(result(&dir)["suites"]["instructions"]["n"], 40);
    // What was under way when the process was killed is asked again, and nothing else.
    assert!((40..=44).contains(&mock.received()), "{}", mock.received());
}

#[test]
fn limits_and_budgets_end_a_run() {
    let (dir, mock) = (Dir::new(), Mock::start());
    mock.say("Definition", "x", "stop");
    let limited = "--suite superni=SUITES/superni --limit 2 --out r.json --answers a.jsonl";
    eval(&dir, &mock, limited).success();
    let tasks: Vec<Value> = answers(&dir).iter().map(|row| row["task"].clone()).collect();
    assert_eq!(tasks, ["task9001_animal_sounds-0", "task9002_titles-0"]);
    let ran = eval(
        &dir,
        &mock,
        "--suite superni=SUITES/superni --max-requests 1 --out s.json",
    )
    .success();
    assert!(
        ran.stdout().contains("the budget of requests is spent"),
        "{}",
        ran.stdout()
    );
    assert!(!dir.path("s.json").exists());
}

#[test]
fn endless_answers_are_scored_in_bounded_time() {
    let (dir, mock) = (Dir::new(), Mock::start());
    mock.say("wool", &"wool and more ".repeat(750_000), "length");
    mock.say("day", "", "stop");
    eval(
        &dir,
        &mock,
        "--suite instructions=SUITES/user_oriented.jsonl --out r.json",
    )
    .success();
    let all = &result(&dir)["suites"]["instructions"];
    assert_eq!((&all["n"], &all["cut_answers"]), (&json!(3), &json!(1)));
    close(&all["words"], 750_000.0);
}

#[test]
fn requests_that_fail_are_counted() {
    let (dir, mock) = (Dir::new(), Mock::start());
    mock.reply("wool", 400, "{\"error\": {\"message\": \"too long for us\"}}");
    mock.say("day", "Monday", "stop");
    let ran = eval(
        &dir,
        &mock,
        "--suite instructions=SUITES/user_oriented.jsonl --out r.json",
    )
    .success();
    let all = &result(&dir)["suites"]["instructions"];
    assert_eq!((&all["n"], &all["failed"]), (&json!(2), &json!(1)));
    assert!(
        ran.stdout().contains("1 failed: ") && ran.stdout().contains("too long for us"),
        "{}",
        ran.stdout()
    );
}

#[test]
fn suites_in_another_form_are_named_with_what_was_expected() {
    let (dir, mock) = (Dir::new(), Mock::start());
    std::fs::create_dir_all(dir.path("s/splits/default")).unwrap();
    std::fs::create_dir_all(dir.path("s/tasks")).unwrap();
    dir.write("empty.jsonl", "");
    dir.write("prose.jsonl", "{\"text\": 5}\n");
    let fails = |suite: &str, words: &[&str]| {
        let ran = eval(&dir, &mock, &format!("{suite} --out r.json")).failure(1);
        let said = ran.stderr();
        assert!(words.iter().all(|word| said.contains(word)), "{suite}: {said}");
    };
    fails(
        "--suite superni=nowhere",
        &["nowhere", "tasks/*.json", "test_tasks.txt", "hint: "],
    );
    dir.write("s/splits/default/test_tasks.txt", "task1_x\n");
    fails("--suite superni=s", &["task1_x.json"]);
    dir.write("s/tasks/task1_x.json", "[]");
    fails("--suite superni=s", &["task1_x.json", "Definition and Instances"]);
    dir.write(
        "s/tasks/task1_x.json",
        "{\"Definition\": [\"Do.\"], \"Instances\": []}",
    );
    fails(
        "--suite superni=s",
        &["no instance with a reference in 1 test task"],
    );
    dir.write("s/splits/default/test_tasks.txt", "../../etc/passwd\n");
    fails("--suite superni=s", &["is no name of a task"]);
    fails("--suite instructions=empty.jsonl", &["empty.jsonl", "no rows"]);
    fails("--suite ifeval=prose.jsonl", &["suite ifeval", "prose.jsonl:1"]);
    fails("--suite checks=SUITES/user_oriented.jsonl", &["suite checks"]);
    fails(
        "--suite ifeval=SUITES/ifeval.jsonl --suite ifeval=SUITES/ifeval.jsonl",
        &["is given twice"],
    );
    dir.write("in.jsonl", "{\"instruction\":\"a\",\"output\":\"b\"}\n");
    let ran = eval(&dir, &mock, "--suite instructions=in.jsonl --out in.jsonl").failure(1);
    assert!(
        ran.stderr().contains("is the file of a suite"),
        "{}",
        ran.stderr()
    );
    assert_eq!(mock.received(), 0);
    fails(
        "--suite held-out",
        &["held-out tasks are those of a dataset", "hint: --db"],
    );
    ewe(&dir, &["init", "--db", "d.db"]).success();
    fails(
        "--suite held-out --db d.db",
        &[
            "d.db: no task is held out",
            "hint: `ewe split --db d.db --eval 10%`",
        ],
    );
    assert_eq!(mock.received(), 0);
    eval(&dir, &mock, "--suite mmlu=x --out r.json").failure(2);
    eval(&dir, &mock, "--suite held-out").failure(2);
}

/// Rows without a reference are asked; there is nothing to compare their answers with.
#[test]
fn rows_without_references_have_lengths_only() {
    let (dir, mock) = (Dir::new(), Mock::start());
    dir.write(
        "rows.jsonl",
        "{\"instruction\":\"Sing.\"}\n{\"instruction\":\"Sing!\",\"output\":\"la\"}\n",
    );
    mock.say("Sing", "la la", "stop");
    eval(&dir, &mock, "--suite instructions=rows.jsonl --out r.json").success();
    let all = &result(&dir)["suites"]["instructions"];
    assert_eq!(all["n"], 2);
    close(&all["words"], 2.0);
    close(&all["rougeL"], 100.0 * 2.0 / 3.0);
}

/// A server with both APIs; returns its address, and what it was sent.
fn server(chat: fn() -> (u16, Value)) -> (String, Arc<Mutex<Vec<Value>>>) {
    let sent: Arc<Mutex<Vec<Value>>> = Arc::default();
    let (of_chats, of_texts) = (sent.clone(), sent.clone());
    let chats = move |Json(body): Json<Value>| async move {
        of_chats.lock().unwrap().push(body);
        let (status, reply) = chat();
        (StatusCode::from_u16(status).unwrap(), Json(reply))
    };
    let texts = move |Json(body): Json<Value>| async move {
        of_texts.lock().unwrap().push(body);
        Json(json!({"choices": [{"text": "la", "finish_reason": "stop"}]}))
    };
    let app = Router::new()
        .route("/v1/chat/completions", post(chats))
        .route("/v1/completions", post(texts));
    let address = listen(async move |listener| axum::serve(listener, app).await.unwrap());
    (format!("http://{address}/v1"), sent)
}

#[test]
fn questions_are_asked_as_chat_where_a_server_can() {
    let dir = Dir::new();
    dir.write(
        "rows.jsonl",
        "{\"instruction\":\"Sing.\",\"input\":\"low\",\"output\":\"la\"}\n",
    );
    let answer = || {
        (
            200,
            json!({"choices": [{"message": {"content": "la"}, "finish_reason": "stop"}]}),
        )
    };
    let (url, sent) = server(answer);
    let run = |url: &str, more: &str| {
        let line = line(
            url,
            &format!("--suite instructions=rows.jsonl --out r.json {more}"),
        );
        ewe(&dir, &line.iter().map(String::as_str).collect::<Vec<_>>()).success();
    };
    run(&url, "");
    let messages = json!([{"role": "user", "content": "Sing.\n\nlow"}]);
    assert_eq!(sent.lock().unwrap()[0]["messages"], messages);
    assert!(result(&dir)["model"].as_str().unwrap().ends_with(" (chat)"));
    close(&result(&dir)["suites"]["instructions"]["rougeL"], 100.0);
    // Asked as a text, it is another model to ewe, whose answers are not known yet.
    run(&url, "--api completions");
    assert_eq!(sent.lock().unwrap()[1]["prompt"], "Sing.\n\nlow");
    let refusal = || {
        (
            400,
            json!({"error": {"message": "default chat template is no longer allowed"}}),
        )
    };
    let (url, sent) = server(refusal);
    run(&url, "");
    assert_eq!(sent.lock().unwrap()[1]["prompt"], "Sing.\n\nlow");
}

#[cfg(feature = "torch")]
#[test]
fn a_local_model_tells_the_likelihood_that_score_computes() {
    let dir = Dir::new();
    let model = crate::golden::golden("gemma3");
    let model = model.to_str().unwrap();
    dir.write(
        "rows.jsonl",
        "{\"instruction\":\"Sing\",\"input\":\"low\",\"output\":\"la la\"}\n{\"instruction\":\"Hum\",\"input\":\"\",\"output\":\"mm\"}\n",
    );
    let local = ["--model", model, "--dtype", "fp32", "--device", "cpu"];
    let run = |line: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        ewe(&dir, &[&arguments[..1], &local[..], &arguments[1..]].concat()).success()
    };
    // Alpaca's is longer than the context of the tiny model.
    dir.write(
        "short.jinja",
        "{{ bos_token }}{% for m in messages %}{{ m['content'] }}\n{% endfor %}",
    );
    run(
        "eval --template short.jinja --suite instructions=rows.jsonl --max-tokens 4 --out r.json --answers a.jsonl",
    );
    run("score --chat --template short.jinja --data rows.jsonl --out s.jsonl");
    let scored: Vec<Value> = dir
        .read("s.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let sum = |rows: &[Value], name: &str| rows.iter().map(|row| row[name].as_f64().unwrap()).sum::<f64>();
    let (nll, tokens) = (sum(&scored, "nll"), sum(&scored, "tokens"));
    let all = result(&dir);
    let told = all["suites"]["instructions"]["nll"].as_f64().unwrap();
    assert!((told - nll / tokens).abs() < 1e-5, "{told} {nll} {tokens}");
    let rows = answers(&dir);
    assert_eq!(rows[0]["scores"]["reference_tokens"], scored[0]["tokens"]);
    assert!(
        all["model"].as_str().unwrap().contains("(template "),
        "{}",
        all["model"]
    );
    // As a text, the model is asked otherwise, and nothing is taken from the other answers.
    run("eval --as-text --suite instructions=rows.jsonl --max-tokens 4 --out r.json");
    assert!(result(&dir)["model"].as_str().unwrap().ends_with("(text)"));
    assert_eq!(number_in(&dir, "r.answers.db", "select count(*) from request"), 4);
}

/// The number that a query of a file finds.
pub fn number_in(dir: &Dir, file: &str, query: &str) -> i64 {
    std::fs::copy(dir.path(file), dir.path("d.db")).unwrap();
    number(dir, query)
}
