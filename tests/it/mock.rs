//! A mock of a model behind an OpenAI-compatible endpoint. Its responses are a function of the
//! request alone. It counts requests, so that tests need not rely on ewe's own count.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::post};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

use crate::support::block_on;

/// A running server; it ends with the test process.
pub struct Mock {
    pub url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// How many requests came, answered or not.
    received: usize,
    /// How often each request, by prompt and seed, was answered.
    answered: BTreeMap<String, usize>,
    /// Responses to give before any real one: status, body, `Retry-After`.
    faults: VecDeque<(u16, String, Option<&'static str>)>,
    latency: Duration,
    always: Option<(u16, String)>,
    /// Responses to prompts that contain a text: the text, status, body.
    canned: Vec<(String, u16, String)>,
    last_authorization: Option<String>,
    last_body: Value,
}

impl Mock {
    pub fn start() -> Mock {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        let handler = move |headers: axum::http::HeaderMap, Json(body): Json<Value>| {
            let shared = shared.clone();
            async move {
                let key = headers
                    .get("authorization")
                    .map(|v| v.to_str().unwrap().to_string());
                answer(shared, key, body).await
            }
        };
        let app = Router::new().route("/v1/completions", post(handler));
        let address = listen(async move |listener| axum::serve(listener, app).await.unwrap());
        Mock {
            url: format!("http://{address}/v1"),
            state,
        }
    }

    pub fn set_latency(&self, latency: Duration) {
        self.state.lock().unwrap().latency = latency;
    }

    /// Gives this response to the next request.
    pub fn fail_next(&self, status: u16, body: &str, retry_after: Option<&'static str>) {
        self.state
            .lock()
            .unwrap()
            .faults
            .push_back((status, body.to_string(), retry_after));
    }

    /// Gives this response to every request.
    pub fn fail_always(&self, status: u16, body: &str) {
        self.state.lock().unwrap().always = Some((status, body.to_string()));
    }

    /// Completes prompts that contain `part` with this text.
    pub fn say(&self, part: &str, text: &str, finish: &str) {
        let body = json!({"choices": [{"text": text, "finish_reason": finish}]});
        self.reply(part, 200, &body.to_string());
    }

    /// Gives this response to prompts that contain `part`.
    pub fn reply(&self, part: &str, status: u16, body: &str) {
        let canned = (part.to_string(), status, body.to_string());
        self.state.lock().unwrap().canned.push(canned);
    }

    /// The body of the last request.
    pub fn last_body(&self) -> Value {
        self.state.lock().unwrap().last_body.clone()
    }

    /// How often each request was answered.
    pub fn answered(&self) -> BTreeMap<String, usize> {
        self.state.lock().unwrap().answered.clone()
    }

    /// How many requests came, answered or not.
    pub fn received(&self) -> usize {
        self.state.lock().unwrap().received
    }

    pub fn requests(&self) -> usize {
        self.answered().values().sum()
    }

    pub fn last_authorization(&self) -> Option<String> {
        self.state.lock().unwrap().last_authorization.clone()
    }
}

/// Listens on a free port and serves it in a thread of its own; returns the address.
pub fn listen<F: AsyncFnOnce(TcpListener) + Send + 'static>(serve: F) -> SocketAddr {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            serve(listener).await;
        });
    });
    receiver.recv().unwrap()
}

/// The key of a request in [`Mock::answered`].
pub fn question(prompt: &str, seed: u64) -> String {
    format!("{seed}|{prompt}")
}

async fn answer(state: Arc<Mutex<State>>, authorization: Option<String>, body: Value) -> Response {
    let (latency, fault) = {
        let mut state = state.lock().unwrap();
        state.received += 1;
        state.last_authorization = authorization;
        state.last_body = body.clone();
        let prompt = body["prompt"].as_str().unwrap_or_default();
        let canned = state.canned.iter().find(|(part, ..)| prompt.contains(part));
        let canned = canned.map(|(_, status, body)| (*status, body.clone(), None));
        let fault = state
            .faults
            .pop_front()
            .or(canned)
            .or(state.always.clone().map(|(status, body)| (status, body, None)));
        (state.latency, fault)
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    if let Some((status, body, retry_after)) = fault {
        let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
        if let Some(seconds) = retry_after {
            response
                .headers_mut()
                .insert("retry-after", seconds.parse().unwrap());
        }
        return response;
    }
    let prompt = body["prompt"].as_str().unwrap();
    let seed = body["seed"].as_u64().unwrap();
    let (text, finish) = answer_to(&body);
    *state
        .lock()
        .unwrap()
        .answered
        .entry(question(prompt, seed))
        .or_default() += 1;
    Json(json!({
        "choices": [{"text": text, "finish_reason": finish}],
        "usage": {"prompt_tokens": prompt.len() / 4, "completion_tokens": text.len() / 4},
    }))
    .into_response()
}

/// The mock's text and finish reason for the body of a request.
pub fn answer_to(body: &Value) -> (String, &'static str) {
    let prompt = body["prompt"].as_str().unwrap();
    let seed = body["seed"].as_u64().unwrap();
    match &body["response_format"] {
        Value::Null => write(prompt, seed),
        _ => write_json(prompt, seed),
    }
}

const VERBS: [&str; 8] = [
    "Describe",
    "List",
    "Compare",
    "Explain",
    "Summarise",
    "Translate",
    "Rank",
    "Name",
];
const NOUNS: [&str; 24] = [
    "river",
    "engine",
    "garden",
    "poem",
    "market",
    "planet",
    "recipe",
    "island",
    "teacher",
    "window",
    "battery",
    "festival",
    "bridge",
    "forest",
    "letter",
    "harbour",
    "melody",
    "castle",
    "insect",
    "desert",
    "novel",
    "bakery",
    "glacier",
    "orchestra",
];

/// Small numbers that are a function of prompt and seed.
struct Dice(u64);

impl Dice {
    fn new(prompt: &str, seed: u64) -> Dice {
        let mut hasher = DefaultHasher::new();
        (prompt, seed).hash(&mut hasher);
        Dice(hasher.finish())
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn noun(&mut self) -> &'static str {
        NOUNS[self.roll(NOUNS.len())]
    }
}

/// The mock's text: mostly good tasks, some that the filter must reject, some truncated.
pub fn write(prompt: &str, seed: u64) -> (String, &'static str) {
    let mut dice = Dice::new(prompt, seed);
    if prompt.starts_with("Come up with a series of tasks") {
        let mut text = String::new();
        for n in 0..8 {
            let verb = VERBS[dice.roll(VERBS.len())];
            let (a, b, c, d) = (dice.noun(), dice.noun(), dice.noun(), dice.noun());
            let line = match dice.roll(12) {
                0 => format!("Draw the {a} beside the {b}"),
                1 => format!("{verb} {a}"),
                _ => format!("{verb} the {a} that the {b} showed to a {c} near some {d}"),
            };
            text += &if n == 0 {
                format!(" {line}\n")
            } else {
                format!("{}. {line}\n", n + 9)
            };
        }
        let finish = if dice.roll(5) == 0 { "length" } else { "stop" };
        return (text, finish);
    }
    if prompt.starts_with("This is a numbered list") {
        return write_tasks(&mut dice);
    }
    // The recipe of docs/recipes.md.
    if prompt.contains("Three questions that") {
        let mut ask = |n: usize| {
            let verb = VERBS[dice.roll(VERBS.len())];
            let (a, b, c, d) = (dice.noun(), dice.noun(), dice.noun(), dice.noun());
            format!("{n}. {verb} the {a} that the {b} showed to a {c} near some {d}\n")
        };
        return ((1..=3).map(&mut ask).collect(), "stop");
    }
    if prompt.contains("Answer the question of") {
        let text = format!("It is the {} of the {}.", dice.noun(), dice.noun());
        return (text, if dice.roll(8) == 0 { "length" } else { "stop" });
    }
    if prompt.starts_with("Each answer below was given") {
        let (score, noun) = (1 + dice.roll(5), dice.noun());
        let text = match dice.roll(8) {
            0 => "It depends.".to_string(),
            1 => format!(" {score}.5\nReason: It is between two."),
            _ => format!(" {score}\nReason: It tells of the {noun}."),
        };
        return (text, "stop");
    }
    if prompt.starts_with("Each task below is followed by") {
        return rewrite(&mut dice);
    }
    if prompt.starts_with("Conversations between users") {
        return message(&mut dice, prompt.ends_with("User:"));
    }
    if prompt.starts_with("Two tasks are the same") {
        return (
            [" Yes", "No", " No.", " Hardly", " No", " No"][dice.roll(6)].to_string(),
            "stop",
        );
    }
    if prompt.starts_with("Can the following task") {
        return (
            ["Yes", " No", " No", " maybe", " No"][dice.roll(5)].to_string(),
            "stop",
        );
    }
    let (a, b, c) = (dice.noun(), dice.noun(), dice.noun());
    if prompt.ends_with("Class label:") {
        return (
            format!(" {a}\nInput: a {b} and a {c}\nClass label: no {a}\nInput: only a {b}"),
            "stop",
        );
    }
    match dice.roll(6) {
        0 => ("It depends.".to_string(), "stop"),
        1 => (format!("Output: the {a} of the"), "length"),
        2 => (
            format!("Input: a {b}\nOutput: the {a}\n\nInput: a {c}\nOutput: two of each {a}"),
            "stop",
        ),
        _ => (format!("Output: the {a} of the {b}, with a {c}"), "stop"),
    }
}

/// A message that continues a conversation, by the user or the assistant: mostly a good one.
fn message(dice: &mut Dice, is_question: bool) -> (String, &'static str) {
    let (a, b, c, d) = (dice.noun(), dice.noun(), dice.noun(), dice.noun());
    let fault = dice.roll(24);
    let text = match (is_question, fault) {
        (_, 0) => return (format!(" The {a} of the"), "length"),
        (_, 1) => "...".to_string(),
        (true, 2) => " Thanks!".to_string(),
        (true, 3) => " As an AI language model, I have no body.".to_string(),
        (true, 4) => format!(" What is a {a}? Assistant: It is a {b}."),
        (true, 5) => format!("User: And what about the {a} near the {b}?\nAssistant: It is a {c}."),
        (true, fault) => match fault % 5 {
            0 => format!(" What does the {a} of the {b} have to do with a {c} and a {d}?"),
            1 => format!(" Put it in the words of a {a} who lives near some {b}, please."),
            2 => format!(" Suppose there were no {a} and no {b}: would that change anything?"),
            3 => format!(" I doubt that, since my {a} is older than any {b}. Why do you say so?"),
            _ => format!(" Now name two more, one for a {a} and one for a {b}."),
        },
        (false, 2) => " Thanks for the answer, that helps a lot.".to_string(),
        (false, 3) => "I'm sorry, but I can't help with that.".to_string(),
        (false, 4) => format!("Assistant: It is a {a}.\nUser: And the {b}?"),
        (false, _) => format!(" The {a} and the {b} are by a {c}, and the {d} is not."),
    };
    (text, "stop")
}

/// A rewritten task: mostly a good one.
fn rewrite(dice: &mut Dice) -> (String, &'static str) {
    let verb = VERBS[dice.roll(VERBS.len())];
    let (a, b, c, d) = (dice.noun(), dice.noun(), dice.noun(), dice.noun());
    match dice.roll(10) {
        0 => (format!(" {verb} the {a} that a"), "length"),
        1 => (format!(" {verb} the {a}.\nIt is near the {b}."), "stop"),
        2 => (format!(" A harder task: {verb} the {a} and the {b}"), "stop"),
        3 => (
            format!("Harder task: {verb} a {a} without a {b}, a {c} or a {d}"),
            "stop",
        ),
        _ => (
            format!(" {verb} the {a}, if it has a {b}, for the {c} of a {d}"),
            "stop",
        ),
    }
}

/// A complete task: mostly a good one.
fn task(dice: &mut Dice) -> [String; 3] {
    let verb = VERBS[dice.roll(VERBS.len())];
    let (a, b, c, d) = (dice.noun(), dice.noun(), dice.noun(), dice.noun());
    let instruction = match dice.roll(12) {
        0 => format!("Draw the {a} beside the {b}"),
        1 => format!("{verb} {a}"),
        _ => format!("{verb} the {a} that the {b} showed to a {c} near some {d}"),
    };
    let input = match dice.roll(3) {
        0 => format!("a {b} and a {d}"),
        _ => String::new(),
    };
    let output = match dice.roll(12) {
        0 => String::new(),
        _ => format!("the {c} of the {b}, with a {a}"),
    };
    [instruction, input, output]
}

/// Tasks 4 to 20 with faults of a model: a skipped number, a missing separator or label, a
/// truncated end.
fn write_tasks(dice: &mut Dice) -> (String, &'static str) {
    let mut text = String::new();
    for n in 4..=20 {
        let [instruction, input, output] = task(dice);
        let input = if input.is_empty() { "<noinput>" } else { &input };
        if n > 4 {
            if dice.roll(10) > 0 {
                text += "###\n";
            }
            text += &format!("{n}. Instruction:");
        }
        text += &format!(" {instruction}\n");
        if dice.roll(12) > 0 {
            text += &format!("{n}. Input: {input}\n");
        }
        if dice.roll(12) > 0 {
            text += &format!("{n}. Output: {output}\n");
        }
    }
    if dice.roll(4) == 0 {
        text.truncate(text.len() * 2 / 3);
        return (text, "length");
    }
    (text + "###", "stop")
}

/// Complete tasks as JSON.
fn write_json(prompt: &str, seed: u64) -> (String, &'static str) {
    let mut dice = Dice::new(prompt, seed);
    if prompt.starts_with("Below is a conversation") {
        let (text, finish) = message(&mut dice, prompt.contains("The user's next message, as"));
        return match finish {
            "length" => (format!("{{\"message\": \"{text}"), finish),
            _ => (json!({"message": text.trim()}).to_string(), finish),
        };
    }
    let tasks: Vec<Value> = (4..=20)
        .map(|_| task(&mut dice))
        .map(|[instruction, input, output]| {
            json!({"instruction": instruction, "input": input, "output": output})
        })
        .collect();
    let mut text = json!({ "tasks": tasks }).to_string();
    if dice.roll(4) == 0 {
        text.truncate(text.len() * 2 / 3);
        return (text, "length");
    }
    (text, "stop")
}
