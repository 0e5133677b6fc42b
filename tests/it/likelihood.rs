//! Judges that are read by likelihood: `ewe judge --by likelihood`, `ewe compare --by likelihood`.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, routing::post};
use serde_json::{Map, Value, json};

use crate::mock::listen;
use crate::shell::{Dir, Ran};
use crate::support::{ewe, import_file, number};

/// The words of a line.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A token and the likeliest ones in its place, with their probabilities.
type Token = (String, Vec<(&'static str, f64)>);

/// A model behind an endpoint that says tokens with their logprobs.
struct Model {
    url: String,
    /// The bodies of its requests.
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Model {
    /// Continues texts, and answers chats if `chats`. Without `tells`, its server has no logprobs.
    fn start(
        chats: bool,
        tells: bool,
        says: impl Fn(&str) -> Vec<Token> + Clone + Send + Sync + 'static,
    ) -> Model {
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let bodies = asked.clone();
        let handler = move |Json(body): Json<Value>| {
            let (says, bodies) = (says.clone(), bodies.clone());
            async move {
                let messages = body["messages"].as_array().and_then(|all| all.last());
                let prompt = messages.map_or(&body["prompt"], |message| &message["content"]);
                let tokens = says(prompt.as_str().unwrap());
                let mut choice = match messages {
                    Some(_) => json!({"message": {"content": text(&tokens)}}),
                    None => json!({"text": text(&tokens)}),
                };
                choice["finish_reason"] = "stop".into();
                if tells && !body["logprobs"].is_null() {
                    choice["logprobs"] = if messages.is_some() {
                        of_chat(&tokens)
                    } else {
                        of_text(&tokens)
                    };
                }
                bodies.lock().unwrap().push(body);
                Json(json!({"choices": [choice]}))
            }
        };
        let path = if chats {
            "/v1/chat/completions"
        } else {
            "/v1/completions"
        };
        let app = Router::new().route(path, post(handler));
        let address = listen(async move |listener| axum::serve(listener, app).await.unwrap());
        let url = format!("http://{address}/v1");
        Model { url, asked }
    }

    fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn text(tokens: &[Token]) -> String {
    tokens.iter().map(|(text, _)| text.as_str()).collect()
}

/// The logprob of a token itself.
fn own((text, likeliest): &Token) -> f64 {
    let listed = likeliest.iter().find(|(other, _)| other == text);
    listed.map_or(-0.1, |(_, p)| p.ln())
}

fn of_text(tokens: &[Token]) -> Value {
    let top = |(_, likeliest): &Token| {
        let all = likeliest
            .iter()
            .map(|(text, p)| ((*text).to_owned(), p.ln().into()));
        Value::Object(all.collect::<Map<_, _>>())
    };
    let texts: Vec<&String> = tokens.iter().map(|(text, _)| text).collect();
    json!({"tokens": texts, "token_logprobs": tokens.iter().map(own).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>()})
}

fn of_chat(tokens: &[Token]) -> Value {
    let one = |token: &Token| {
        let (text, likeliest) = token;
        let top: Vec<Value> = likeliest
            .iter()
            .map(|(text, p)| json!({"token": text, "logprob": p.ln()}))
            .collect();
        json!({"token": text, "logprob": own(token), "bytes": text.as_bytes(), "top_logprobs": top})
    };
    json!({"content": tokens.iter().map(one).collect::<Vec<_>>()})
}

fn token(text: &str, likeliest: &[(&'static str, f64)]) -> Token {
    (text.to_owned(), likeliest.to_vec())
}

fn plain(text: &str) -> Token {
    token(text, &[])
}

/// Its last instruction decides: cows are liked, and sheep liked less.
fn critic(prompt: &str) -> Vec<Token> {
    let about = &prompt[prompt.rfind("Instruction:\n").unwrap()..];
    let score = match about {
        text if text.contains("cow") => token(" 4", &[(" 4", 0.5), (" 5", 0.25), ("5", 0.05), (" x", 0.2)]),
        text if text.contains("sheep") => token(" 4", &[(" 4", 0.6), (" 2", 0.2), (" 45", 0.2)]),
        _ => token(" 45", &[(" 45", 0.9), (" 4", 0.1)]),
    };
    vec![score, plain("\nReason:"), plain(" so"), plain(" 1")]
}

const INSTRUCTIONS: [&str; 3] = [
    "Say what a cow eats all day.",
    "Name plants that sheep prefer to hay.",
    "Which food do goats steal from gardens?",
];

/// A dataset with tasks about a cow, a sheep and a goat.
fn dataset() -> Dir {
    let dir = Dir::new();
    let row = |text: &str| json!({"instruction": text, "input": "", "output": "Grass."}).to_string();
    dir.write("rows.jsonl", INSTRUCTIONS.map(row).join("\n"));
    dir.write("seeds.jsonl", row("Tell me the price of one dozen eggs."));
    ewe(&dir, &words("init --db d.db --seeds seeds.jsonl")).success();
    import_file(&dir, "rows.jsonl").success();
    dir
}

fn judge(dir: &Dir, model: &Model, more: &str) -> Ran {
    let line = format!(
        "judge --db d.db --endpoint {} --endpoint-model m {more}",
        model.url
    );
    ewe(dir, &words(&line))
}

#[test]
fn a_score_by_likelihood_is_the_mean_of_all_scores() {
    let (dir, model) = (dataset(), Model::start(false, true, critic));
    // Ended after one, and gone on with.
    judge(&dir, &model, "--by likelihood --limit 1").success();
    let ran = judge(&dir, &model, "--by likelihood").success();
    assert_eq!(model.requests(), 3);
    assert_eq!(model.asked.lock().unwrap()[0]["logprobs"], 20);
    let found = dir.sql(
        "select judgment.score, round(expected, 9), judged_by, task.instruction from judgment
         join instance on instance.id = instance_id join task on task.id = task_id where judgment.score is not null order by task.id",
    );
    // 4·⅝ + 5·⅜, and 4·¾ + 2·¼; the goat's number is no score.
    let cow = ["4", "4.375", "likelihood", INSTRUCTIONS[0]];
    let sheep = ["4", "3.5", "likelihood", INSTRUCTIONS[1]];
    assert_eq!(found[..2], [cow, sheep]);
    assert_eq!(
        number(&dir, "select count(*) from judgment where problem is not null"),
        1
    );
    assert!(ran.stdout().contains("mean 3.5"), "{}", ran.stdout());
    // The fraction is what lists and exports go by.
    assert_eq!(
        dir.sql("select round(score, 9) from task where score is not null order by id"),
        [["4.375"], ["3.5"]]
    );
    ewe(
        &dir,
        &words("export --db d.db --format alpaca --min-score 4 --out good.json"),
    )
    .success();
    let good = dir.read("good.json");
    assert!(good.contains("cow") && !good.contains("sheep"), "{good}");
    let id = dir.sql("select id from task where instruction like '%cow%'")[0][0].clone();
    let shown = ewe(&dir, &["show", "--db", "d.db", &id]).success().stdout();
    assert!(shown.contains("score 4.38 by likelihood"), "{shown}");
    // Nothing is left to judge, by either way.
    for more in ["--by likelihood", "", "--by text"] {
        judge(&dir, &model, more).success();
    }
    assert_eq!(model.requests(), 3);
    assert_eq!(number(&dir, "select count(*) from judgment"), 3);
}

#[test]
fn judgments_by_text_are_made_again_by_likelihood() {
    let (dir, model) = (dataset(), Model::start(false, true, critic));
    judge(&dir, &model, "").success();
    assert!(model.asked.lock().unwrap()[0].get("logprobs").is_none());
    assert_eq!(
        number(
            &dir,
            "select score = 4.0 from task where instruction like '%sheep%'"
        ),
        1
    );
    judge(&dir, &model, "--by likelihood").success();
    assert_eq!(model.requests(), 6);
    assert_eq!(
        number(
            &dir,
            "select round(score, 9) = 3.5 from task where instruction like '%sheep%'"
        ),
        1
    );
}

#[test]
fn a_server_without_logprobs_is_told_at_once() {
    let (dir, model) = (dataset(), Model::start(false, false, critic));
    let ran = judge(&dir, &model, "--by likelihood --concurrency 1").failure(1);
    let said = ran.stderr();
    assert!(
        said.contains("sends no logprobs") && said.contains("hint: --by text"),
        "{said}"
    );
    assert_eq!(number(&dir, "select count(*) from judgment"), 0);
    assert!(model.requests() <= 2, "{}", model.requests());
    judge(&dir, &model, "").success();
    assert_eq!(number(&dir, "select count(*) from judgment"), 3);
}

#[test]
fn the_score_behind_the_reasoning_of_a_chat_counts() {
    let says = |_: &str| {
        vec![
            token("<think>", &[]),
            token("5", &[("5", 1.0)]),
            token("?</think>\n\n", &[]),
            token("Score", &[]),
            token(":", &[]),
            token(" ", &[]),
            token("2", &[("2", 0.75), ("1", 0.25)]),
            token("<|im_end|>", &[]),
        ]
    };
    let (dir, model) = (dataset(), Model::start(true, true, says));
    judge(&dir, &model, "--by likelihood --api chat").success();
    let body = model.asked.lock().unwrap()[0].clone();
    assert_eq!(
        (&body["logprobs"], &body["top_logprobs"]),
        (&json!(true), &json!(20))
    );
    let found = dir.sql("select distinct score, expected from judgment");
    assert_eq!(found, [["2", "1.75"]]);
}

/// The two answers of the pair that a judge is shown, and whether each is a reference.
fn shown(prompt: &str) -> (bool, bool) {
    let pair = &prompt[prompt.rfind("Instruction:\n> ").unwrap()..];
    let (before, second) = pair.split_once("\nAnswer B:").unwrap();
    let (question, first) = before.split_once("\nAnswer A:").unwrap();
    let thing = question.split("thing ").nth(1).unwrap().trim_end_matches('.');
    let whole = format!("Thing {thing} is the right one of all things in the house.");
    (first.contains(&whole), second.contains(&whole))
}

fn compare(dir: &Dir, judge: &Model, more: &str) -> (Value, String) {
    let knows = |prompt: &str| {
        let thing = prompt.split("thing ").nth(1).unwrap().trim_end_matches('.');
        vec![plain(&format!(
            "Thing {thing} is the right one of all things in the house."
        ))]
    };
    let a = Model::start(false, true, |_| vec![plain("No idea.")]);
    let b = Model::start(false, true, knows);
    let rows: Vec<String> = (0..12)
        .map(|n| {
            let output = format!("Thing {n} is the right one of all things in the house.");
            json!({"instruction": format!("Describe thing {n}."), "output": output}).to_string()
        })
        .collect();
    dir.write("rows.jsonl", rows.join("\n"));
    let line = format!(
        "compare --a {}#m --b {}#m --judge {}#j --api completions --data rows.jsonl --out result.json \
         --answers pairs.jsonl {more}",
        a.url, b.url, judge.url
    );
    let said = ewe(dir, &words(&line)).success().stdout();
    (serde_json::from_str(&dir.read("result.json")).unwrap(), said)
}

/// Prefers the right one with 0.8, and the first one by a little.
fn fond_of_the_first(prompt: &str) -> Vec<Token> {
    vec![match shown(prompt) {
        (true, false) => token(" A", &[(" A", 0.8), (" B", 0.1), (" tie", 0.1)]),
        (false, true) => token(" B", &[(" B", 0.6), ("A", 0.2), (" t", 0.2)]),
        _ => token(" tie", &[(" tie", 0.5), (" A", 0.25), (" B", 0.25)]),
    }]
}

#[test]
fn a_pair_by_likelihood_has_a_probability_of_both_orders() {
    let (dir, model) = (Dir::new(), Model::start(false, true, fond_of_the_first));
    let (result, said) = compare(&dir, &model, "--by likelihood");
    assert_eq!(
        (&result["wins_b"], &result["winner"]),
        (&json!(12), &json!("b")),
        "{result}"
    );
    // 0.6 + 0.2/2 with a shown first, 0.8 + 0.1/2 with b shown first.
    let mean = result["win_probability"]["mean"].as_f64().unwrap();
    assert!((mean - 0.775).abs() < 1e-6, "{mean}");
    assert_eq!(result["judge"]["exam"]["accuracy"]["mean"], 1.0);
    assert!(
        said.contains("by likelihood, b wins with a mean probability of 77.5 %"),
        "{said}"
    );
    let first: Value = serde_json::from_str(dir.read("pairs.jsonl").lines().next().unwrap()).unwrap();
    assert_eq!(first["verdict"], "b");
    assert!(
        (first["b_wins"].as_f64().unwrap() - 0.775).abs() < 1e-6,
        "{first}"
    );
    // A wide margin makes ties of them; the judge is not asked again.
    let asked = model.requests();
    let (result, _) = compare(&dir, &model, "--by likelihood --tie-margin 0.3");
    assert_eq!(
        (&result["ties"], model.requests()),
        (&json!(12), asked),
        "{result}"
    );
    // By text there is no probability.
    let (result, said) = compare(&dir, &model, "");
    assert!(result.get("win_probability").is_none(), "{result}");
    assert!(!said.contains("by likelihood"), "{said}");
    assert_eq!(result["wins_b"], 12);
}

#[test]
fn a_judge_of_pairs_without_logprobs_is_refused_with_the_way_out() {
    let (dir, model) = (Dir::new(), Model::start(false, false, fond_of_the_first));
    dir.write(
        "rows.jsonl",
        "{\"instruction\": \"Describe thing 1.\", \"output\": \"x\"}\n",
    );
    let answers = Model::start(false, false, |prompt| vec![plain(&prompt.len().to_string())]);
    let others = Model::start(false, false, |_| vec![plain("other")]);
    let line = format!(
        "compare --a {}#m --b {}#n --judge {}#j --api completions --data rows.jsonl --out result.json --by likelihood",
        answers.url, others.url, model.url
    );
    let said = ewe(&dir, &words(&line)).failure(1).stderr();
    assert!(
        said.contains("sends no logprobs") && said.contains("hint: --by text"),
        "{said}"
    );
    for (more, part) in [
        ("--tie-margin 0.2", "--by"),
        ("--by likelihood --tie-margin 0.5", "below 0.5"),
        ("--by likelihood --tie-margin x", "below 0.5"),
    ] {
        let line = line.replace("--by likelihood", more);
        let said = ewe(&dir, &words(&line)).failure(2).stderr();
        assert!(said.contains(part), "{more}: {said}");
    }
}
