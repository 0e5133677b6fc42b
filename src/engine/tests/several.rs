//! Several engines of one model: the same answers as of one, also if an engine fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ewe::backend::{Backend, BackendError, Completion, Sampling};
use futures::StreamExt;

use super::watched::Watched;
use super::{expected, greedy, tiny_backend};
use crate::engine::batch::{BatchConfig, RequestOptions};
use crate::engine::event::Event;
use crate::engine::handle::{GenerationRequest, LocalBackend};
use crate::model::fault;
use crate::model::tests::loaded;

const BROKEN: &str = "CUDA error: an illegal memory access was encountered";

/// What an engine does at the start of its passes, which are numbered from 1.
type Look = Box<dyn Fn(usize) + Send>;

fn config() -> BatchConfig {
    BatchConfig {
        max_batch: 3,
        ..BatchConfig::default()
    }
}

/// Starts engines on the CPU, each of which looks at its passes first.
fn engines(looks: Vec<Look>) -> LocalBackend {
    let started = looks.into_iter().map(|look| {
        let mut tiny = loaded("gemma3");
        let passes = AtomicUsize::new(0);
        tiny.model = Watched::new(tiny.model, move |_| {
            look(1 + passes.fetch_add(1, Ordering::Relaxed));
        });
        ("cpu".to_owned(), tiny, config())
    });
    LocalBackend::start_all(started.collect(), Vec::new(), "several".into()).unwrap()
}

fn sound() -> Look {
    Box::new(|_| {})
}

/// Fails with `error` from pass `first` on.
fn failing(first: usize, error: &'static str) -> Look {
    Box::new(move |pass| {
        if pass >= first {
            fault::raise(&error);
        }
    })
}

/// Prompts that differ and begin alike, with seeds of their own.
fn asked(count: usize) -> Vec<(Vec<i64>, Sampling)> {
    let (prompt, _) = expected("gemma3").remove(2);
    let one = |number: usize| {
        let sampling = Sampling {
            max_tokens: 6 + number % 9,
            temperature: 0.8 * (number % 2) as f64,
            seed: number as u64,
            ignore_eos: true,
            ..Sampling::default()
        };
        ([&prompt[..], &[5 + number as i64 % 60]].concat(), sampling)
    };
    (0..count).map(one).collect()
}

async fn answers(backend: &LocalBackend, asked: Vec<(Vec<i64>, Sampling)>) -> Vec<Completion> {
    let streams = backend.stream_all(asked).unwrap().into_iter();
    let answers = futures::future::join_all(streams.map(|stream| stream.completion())).await;
    answers.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn several_engines_answer_as_one() {
    let wanted = answers(&tiny_backend("gemma3", "auto", config()), asked(40)).await;
    let backend = engines(vec![sound(), sound(), sound()]);
    assert_eq!(backend.capacity(), 9);
    assert_eq!(backend.budget_lines().len(), 3);
    assert_eq!(answers(&backend, asked(40)).await, wanted);
    let devices = backend.engines().devices();
    assert!(
        devices
            .iter()
            .all(|device| device.is_up && device.stats.steps > 0),
        "{devices:?}"
    );
    let sum: usize = wanted.iter().map(|answer| answer.completion_tokens).sum();
    assert_eq!(backend.stats().generated_tokens, sum);
    assert!(backend.engines().failures().is_empty());
}

#[tokio::test]
async fn answers_go_on_elsewhere_when_a_device_breaks() {
    let wanted = answers(&tiny_backend("gemma3", "auto", config()), asked(30)).await;
    for first in [1, 2, 7] {
        let backend = engines(vec![sound(), failing(first, BROKEN)]);
        assert_eq!(answers(&backend, asked(30)).await, wanted, "from pass {first} on");
        assert_eq!(backend.broken(), None);
        let failures = backend.engines().failures();
        assert_eq!(failures.len(), 1);
        assert!(
            failures[0].reason.contains("illegal memory access"),
            "{failures:?}"
        );
        // It gets no more.
        assert_eq!(answers(&backend, asked(30)).await, wanted);
        assert_eq!(backend.engines().failures(), failures);
    }
}

#[tokio::test]
async fn a_stream_goes_on_behind_what_it_has_shown() {
    let (prompt, _) = expected("gemma3").remove(2);
    let sampling = Sampling {
        ignore_eos: true,
        ..greedy(20)
    };
    let alone = tiny_backend("gemma3", "auto", config());
    let ask = || GenerationRequest {
        prompt: prompt.clone(),
        sampling: sampling.clone(),
        options: RequestOptions {
            logprobs: Some(1),
            prompt_logprobs: true,
            ..RequestOptions::default()
        },
    };
    let tokens = |events: &[Event]| -> Vec<i64> {
        let tokens = events.iter().flat_map(|event| match event {
            Event::Prompt(prompt) => prompt.iter().map(|of| of.chosen.id).collect(),
            Event::Token { logprobs, .. } => vec![logprobs.chosen.id],
            _ => Vec::new(),
        });
        tokens.collect()
    };
    let text = |events: &[Event]| -> String {
        let texts = events.iter().filter_map(|event| match event {
            Event::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    };
    let stream = alone.generate_all(vec![ask()]).unwrap().remove(0);
    let wanted: Vec<Event> = stream.map(Result::unwrap).collect().await;
    for first in [1, 2, 5, 11] {
        let backend = engines(vec![failing(first, BROKEN), sound()]);
        let stream = backend.generate_all(vec![ask()]).unwrap().remove(0);
        let events: Vec<Event> = stream.map(Result::unwrap).collect().await;
        assert_eq!(tokens(&events), tokens(&wanted), "from pass {first} on");
        assert_eq!(text(&events), text(&wanted), "from pass {first} on");
        assert_eq!(events.last(), wanted.last());
    }
}

#[tokio::test]
async fn an_engine_that_fails_again_and_again_is_passed_over_and_comes_back() {
    let wanted = answers(&tiny_backend("gemma3", "auto", config()), asked(30)).await;
    let fails = Arc::new(AtomicUsize::new(3));
    let left = fails.clone();
    let fragile: Look = Box::new(move |_| {
        let failed = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if failed.is_ok() {
            fault::raise(&"shape '[-7, 13]' is invalid");
        }
    });
    let backend = engines(vec![fragile, sound()]);
    for _ in 0..3 {
        assert_eq!(answers(&backend, asked(30)).await, wanted);
    }
    assert_eq!(backend.broken(), None);
    assert_eq!(fails.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_error_of_the_last_device_is_that_of_the_requests() {
    let breaks = Arc::new(AtomicBool::new(false));
    let gate = breaks.clone();
    let last: Look = Box::new(move |_| {
        if gate.load(Ordering::Relaxed) {
            fault::raise(&BROKEN);
        }
    });
    let backend = engines(vec![failing(1, "CUDA error: device-side assert triggered"), last]);
    assert_eq!(answers(&backend, asked(12)).await.len(), 12);
    assert_eq!(backend.engines().failures().len(), 1);
    breaks.store(true, Ordering::Relaxed);
    let streams = backend.stream_all(asked(12)).unwrap().into_iter();
    let ended = futures::future::join_all(streams.map(|stream| stream.completion())).await;
    for ended in ended {
        let error = ended.unwrap_err().to_string();
        assert!(error.contains("illegal memory access"), "{error}");
    }
    let refused = backend.complete("t".into(), greedy(1)).await.unwrap_err();
    assert!(
        matches!(&refused, BackendError::Fatal(reason) if reason.contains("illegal memory access")),
        "{refused}"
    );
    assert!(backend.broken().is_some());
    assert!(backend.device_lost().await.contains("CUDA error"));
}

#[tokio::test]
async fn a_request_that_no_engine_survives_ends_alone() {
    let (prompt, _) = expected("gemma3").remove(2);
    let poison = (3..90).find(|id| !prompt.contains(id)).unwrap();
    let engine = || {
        let mut tiny = loaded("gemma3");
        tiny.model = Watched::new(tiny.model, move |tokens_bt| {
            if tokens_bt.eq(poison).any().int64_value(&[]) == 1 {
                let _ = tokens_bt.view([-7, 13]);
            }
        });
        ("cpu".to_owned(), tiny, config())
    };
    let backend = LocalBackend::start_all(vec![engine(), engine()], Vec::new(), "fragile".into()).unwrap();
    let stream = backend.stream(vec![1, poison], greedy(5)).unwrap();
    let error = stream.completion().await.unwrap_err();
    assert!(error.to_string().contains("shape"), "{error}");
    let stream = backend.stream(prompt.clone(), greedy(20)).unwrap();
    assert!(stream.completion().await.unwrap().completion_tokens > 0);
    assert!(backend.engines().failures().is_empty());
}

#[tokio::test]
async fn who_leaves_frees_the_place() {
    let backend = engines(vec![sound(), sound()]);
    for _ in 0..5 {
        drop(backend.stream_all(asked(20)).unwrap());
    }
    let wanted = answers(&tiny_backend("gemma3", "auto", config()), asked(20)).await;
    assert_eq!(answers(&backend, asked(20)).await, wanted);
    assert_eq!(backend.engines().waiting(), 0);
}
