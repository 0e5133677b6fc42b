//! The model on its thread: answers, failures, and refused requests.

use ewe::backend::{Backend, BackendError};
use futures::StreamExt;

use super::watched::Watched;
use super::{Table, expected, greedy, tiny_backend};
use crate::engine::batch::BatchConfig;
use crate::engine::event::Event;
use crate::engine::handle::LocalBackend;
use crate::model::tests::loaded;

fn backend(name: &str) -> LocalBackend {
    tiny_backend(name, "auto", BatchConfig::default())
}

#[tokio::test]
async fn the_backend_answers_streams_and_survives_those_who_leave() {
    let backend = backend("gemma3");
    assert!(
        backend.model().starts_with("gemma3@") && backend.model().ends_with("-fp32"),
        "{}",
        backend.model()
    );
    let whole = backend.complete("t".into(), greedy(32)).await.unwrap();
    assert!(whole.prompt_tokens == 2 && whole.completion_tokens > 0);
    drop(backend.complete("the inner thing".into(), greedy(60)));
    let mut answer = backend.stream(backend.encode("t").unwrap(), greedy(32)).unwrap();
    let mut text = String::new();
    while let Some(event) = answer.next().await {
        match event.unwrap() {
            Event::Text(more) => text += &more,
            Event::Prompt(_) | Event::Token { .. } => panic!("nobody asked"),
            Event::Done {
                finish_reason,
                completion_tokens,
            } => {
                assert_eq!(
                    (finish_reason, completion_tokens),
                    (whole.finish_reason, whole.completion_tokens)
                );
            }
        }
    }
    assert_eq!(text, whole.text);
    let long = backend.complete("t".repeat(80), greedy(1)).await.unwrap_err();
    assert!(
        matches!(&long, BackendError::Request(message) if message.contains("context is 64")),
        "{long}"
    );
}

#[tokio::test]
async fn a_model_that_is_broken_says_so_and_is_tried_again() {
    let mut tiny = loaded("gemma3");
    // The output head has a wrong size, so the first matrix product fails inside libtorch.
    let mut broken = Table::counting(8);
    broken.info.vocab = 96;
    tiny.model = Box::new(broken);
    let backend = LocalBackend::start(tiny, "broken".into(), BatchConfig::default()).unwrap();
    for failures in 1..5 {
        let error = backend.complete("the".into(), greedy(4)).await.unwrap_err();
        assert!(
            matches!(&error, BackendError::Fatal(message) if message.contains("the local model stopped")),
            "{error}"
        );
        assert!(!error.to_string().contains("Exception raised"), "{error}");
        assert_eq!(backend.broken().is_some(), failures >= 3);
    }
}

#[tokio::test]
async fn the_engine_goes_on_after_a_step_that_failed() {
    let (prompt, _) = expected("gemma3").remove(2);
    let poison = (3..90).find(|id| !prompt.contains(id)).unwrap();
    let start = |poison| {
        let mut tiny = loaded("gemma3");
        let model = tiny.model;
        tiny.model = Watched::new(model, move |tokens_bt| {
            if tokens_bt.eq(poison).any().int64_value(&[]) == 1 {
                let _ = tokens_bt.view([-7, 13]);
            }
        });
        let config = BatchConfig {
            max_batch: 2,
            ..BatchConfig::default()
        };
        LocalBackend::start(tiny, "fragile".into(), config).unwrap()
    };
    let untouched = start(-1).stream(prompt.clone(), greedy(20)).unwrap();
    let want = untouched.completion().await.unwrap();
    let backend = start(poison);
    for _ in 0..5 {
        // The first runs beside the one that fails; the third waits.
        let asked = [prompt.clone(), vec![1, poison], prompt.clone()];
        let asked = asked.map(|prompt| (prompt, greedy(20))).to_vec();
        let mut answers = backend.stream_all(asked).unwrap();
        let third = answers.pop().unwrap();
        for answer in answers {
            let error = answer.completion().await.unwrap_err();
            assert!(
                matches!(&error, BackendError::Fatal(message) if message.contains("the local model stopped: ") && message.contains("shape")),
                "{error}"
            );
        }
        assert_eq!(third.completion().await.unwrap(), want);
        assert_eq!(backend.broken(), None);
    }
}

#[tokio::test]
async fn a_request_without_numbers_ends_alone() {
    let (prompt, _) = expected("gemma3_untied").remove(2);
    let poison = (3..90).find(|id| !prompt.contains(id)).unwrap();
    let start = |broken: bool| {
        let tiny = loaded("gemma3_untied");
        let embedding = tiny.model.parameters().into_iter();
        let (_, embedding_vd) = embedding
            .into_iter()
            .find(|(name, _)| name.ends_with("embed_tokens.weight"))
            .unwrap();
        if broken {
            let _guard = tch::no_grad_guard();
            let _ = embedding_vd.get(poison).fill_(f64::NAN);
        }
        let config = BatchConfig {
            max_batch: 3,
            ..BatchConfig::default()
        };
        LocalBackend::start(tiny, "broken".into(), config).unwrap()
    };
    let answer = |backend: &LocalBackend, prompt: &[i64]| backend.stream(prompt.to_vec(), greedy(8)).unwrap();
    // Rows of different lengths, so that the shorter ones read masked positions of their slots.
    let long = vec![6; 45];
    let sound = start(false);
    let want = answer(&sound, &prompt).completion().await.unwrap();
    let want_long = answer(&sound, &long).completion().await.unwrap();
    let backend = start(true);
    for _ in 0..3 {
        let broken = [&[5, poison][..], &[5; 40]].concat();
        let asked = [long.clone(), broken, prompt.clone()].map(|prompt| (prompt, greedy(8)));
        let mut ended = Vec::new();
        for answer in backend.stream_all(asked.to_vec()).unwrap() {
            ended.push(answer.completion().await);
        }
        let error = ended.remove(1).unwrap_err();
        assert!(
            matches!(&error, BackendError::Request(message) if message.contains("not numbers")),
            "{error}"
        );
        let neighbours: Vec<_> = ended.into_iter().map(Result::unwrap).collect();
        assert_eq!(neighbours, [want_long.clone(), want.clone()]);
        // The next requests in these slots.
        let asked = [long.clone(), prompt.clone(), prompt.clone()].map(|prompt| (prompt, greedy(8)));
        for (answer, want) in backend
            .stream_all(asked.to_vec())
            .unwrap()
            .into_iter()
            .zip([&want_long, &want, &want])
        {
            assert_eq!(&answer.completion().await.unwrap(), want);
        }
    }
}

#[tokio::test]
async fn the_budget_refuses_what_it_could_never_hold() {
    let per_token = 2 * 3 * 2 * 16 * 4;
    let config = BatchConfig {
        kv_bytes: 20 * per_token,
        ..BatchConfig::default()
    };
    let backend = tiny_backend("gemma3", "auto", config);
    assert_eq!((backend.budget().tokens, backend.room()), (20, 20));
    assert!(
        backend.budget_lines()[0].contains("20 tokens, less than"),
        "{:?}",
        backend.budget_lines()
    );
    let error = backend.stream(vec![5; 10], greedy(11)).err().unwrap().to_string();
    for words in ["21 tokens", "15.4 kB", "a smaller limit of tokens"] {
        assert!(error.contains(words), "{error}");
    }
    for answer in backend.stream_all(vec![(vec![5; 10], greedy(10)); 4]).unwrap() {
        answer.completion().await.unwrap();
        assert!(backend.stats().kv_bytes <= 20 * per_token);
    }
}
