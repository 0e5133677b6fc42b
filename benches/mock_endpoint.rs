//! A mock model for `benches/generate.py`: an OpenAI-compatible endpoint that answers prompts of
//! the Alpaca recipe with tasks from a file, in order, after a given latency.
//!
//!     mock_endpoint INSTRUCTIONS.jsonl TASKS LATENCY_MS SLOTS
//!
//! Prints its address. Requests beyond SLOTS at once are refused with 429. `GET /answered` returns
//! the number of answers and of refused requests.

// A script reads the output, so `println!` is allowed.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods)]

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

struct Mock {
    instructions: Vec<String>,
    tasks: usize,
    latency: Duration,
    slots: usize,
    next: AtomicUsize,
    in_flight: AtomicUsize,
    answered: AtomicUsize,
    refused: AtomicUsize,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| arguments[i].parse::<usize>().expect("a number");
    let file = std::fs::read_to_string(&arguments[0]).expect("a file of instructions");
    let instruction = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("JSON lines");
        row["instruction"].as_str().expect("an instruction").to_string()
    };
    let mock = Arc::new(Mock {
        instructions: file.lines().map(instruction).collect(),
        tasks: number(1),
        latency: Duration::from_millis(number(2) as u64),
        slots: number(3),
        next: AtomicUsize::new(0),
        in_flight: AtomicUsize::new(0),
        answered: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
    });
    let (answering, counting) = (mock.clone(), mock.clone());
    let app = Router::new()
        .route(
            "/v1/completions",
            post(move |Json(body): Json<Value>| answer(answering.clone(), body)),
        )
        .route(
            "/answered",
            get(move || {
                let counts = [
                    counting.answered.load(Ordering::Relaxed),
                    counting.refused.load(Ordering::Relaxed),
                ];
                async move { Json(counts) }
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    println!("http://{}", listener.local_addr().expect("an address"));
    axum::serve(listener, app)
        .await
        .expect("serves until it is killed");
}

async fn answer(mock: Arc<Mock>, body: Value) -> Response {
    if mock.in_flight.fetch_add(1, Ordering::Relaxed) >= mock.slots {
        mock.in_flight.fetch_sub(1, Ordering::Relaxed);
        mock.refused.fetch_add(1, Ordering::Relaxed);
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    tokio::time::sleep(mock.latency).await;
    let prompt = body["prompt"].as_str().unwrap_or_default();
    // The prompt ends with the next number and its label: `4. Instruction:`.
    let first = prompt
        .rsplit('\n')
        .next()
        .and_then(|line| line.split('.').next()?.parse().ok())
        .unwrap_or(1usize);
    let mut text = String::new();
    for n in first..first + mock.tasks {
        let i = mock.next.fetch_add(1, Ordering::Relaxed) % mock.instructions.len();
        if n > first {
            text += &format!("###\n{n}. Instruction:");
        }
        let instruction = &mock.instructions[i];
        text += &format!(
            " {instruction}\n{n}. Input: <noinput>\n{n}. Output: What was asked for in line {i} is done here.\n"
        );
    }
    mock.in_flight.fetch_sub(1, Ordering::Relaxed);
    mock.answered.fetch_add(1, Ordering::Relaxed);
    let usage = json!({"prompt_tokens": prompt.len() / 4, "completion_tokens": text.len() / 4});
    Json(json!({"choices": [{"index": 0, "text": text, "finish_reason": "stop"}], "usage": usage}))
        .into_response()
}
