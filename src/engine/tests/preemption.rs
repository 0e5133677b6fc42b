//! Memory that runs out, and a GPU that is lost, as far as a CPU can tell: by the errors that they
//! raise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ewe::backend::{Backend, BackendError};
use futures::StreamExt;

use super::watched::Watched;
use super::{expected, greedy};
use crate::engine::batch::{BatchConfig, OutOfMemoryPolicy};
use crate::engine::handle::LocalBackend;
use crate::model::fault;
use crate::model::tests::loaded;

const FULL: &str = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.00 GiB free";
const BROKEN: &str =
    "CUDA error: an illegal memory access was encountered\\nCUDA kernel errors might be late";

/// Starts a tiny model that has no memory for more than `rows` requests in a decode step, while
/// `is_scarce`.
fn scarce(rows: i64, is_scarce: &Arc<AtomicBool>, policy: OutOfMemoryPolicy) -> LocalBackend {
    let mut tiny = loaded("gemma3");
    let is_scarce = is_scarce.clone();
    tiny.model = Watched::new(tiny.model, move |tokens_bt| {
        if tokens_bt.size()[0] > rows && is_scarce.load(Ordering::Relaxed) {
            fault::raise(&FULL);
        }
    });
    let config = BatchConfig {
        out_of_memory: policy,
        ..BatchConfig::default()
    };
    LocalBackend::start(tiny, "scarce".into(), config).unwrap()
}

/// Returns prompts that differ, and their greedy answers of 20 tokens.
async fn prompts_and_answers(count: usize) -> Vec<(Vec<i64>, String)> {
    let (prompt, _) = expected("gemma3").remove(2);
    let free = scarce(
        i64::MAX,
        &Arc::new(AtomicBool::new(false)),
        OutOfMemoryPolicy::FailAll,
    );
    let mut all = Vec::new();
    for first in 0..count as i64 {
        let prompt = [&[5 + first][..], &prompt].concat();
        let answer = free.stream(prompt.clone(), greedy(20)).unwrap();
        all.push((prompt, answer.completion().await.unwrap().text));
    }
    all
}

#[tokio::test]
async fn the_newest_request_gives_way_and_the_others_go_on() {
    let wanted = prompts_and_answers(5).await;
    let is_scarce = Arc::new(AtomicBool::new(true));
    let backend = scarce(3, &is_scarce, OutOfMemoryPolicy::ShedNewest);
    for round in 0..3 {
        let asked = wanted.iter().map(|(prompt, _)| (prompt.clone(), greedy(20)));
        let answers = backend.stream_all(asked.collect()).unwrap();
        let ended: Vec<_> = futures::future::join_all(answers.into_iter().map(|a| a.completion())).await;
        for (index, (ended, (_, text))) in ended.into_iter().zip(&wanted).enumerate() {
            match ended {
                Ok(completion) => {
                    assert!(index < 3, "{round}: request {index} is one of the newest");
                    assert_eq!((&completion.text, completion.completion_tokens > 0), (text, true));
                }
                Err(BackendError::Overloaded(message)) => {
                    assert!(index >= 3, "{round}: request {index} is one of the oldest");
                    assert!(
                        message.contains("CUDA out of memory") && message.contains("hint: try again later"),
                        "{message}"
                    );
                }
                Err(error) => panic!("{round}: {error}"),
            }
        }
        // A step that somebody gave way in is no failure of the model.
        assert_eq!(backend.broken(), None);
    }
    // Once nothing runs, the limits are the old ones.
    is_scarce.store(false, Ordering::Relaxed);
    let asked = wanted.iter().map(|(prompt, _)| (prompt.clone(), greedy(20)));
    for (answer, (_, text)) in backend
        .stream_all(asked.collect())
        .unwrap()
        .into_iter()
        .zip(&wanted)
    {
        assert_eq!(&answer.completion().await.unwrap().text, text);
    }
}

#[tokio::test]
async fn a_run_that_needs_all_answers_gets_them_with_less_memory() {
    let wanted = prompts_and_answers(6).await;
    let backend = scarce(
        2,
        &Arc::new(AtomicBool::new(true)),
        OutOfMemoryPolicy::RequeueNewest,
    );
    let asked = wanted.iter().map(|(prompt, _)| (prompt.clone(), greedy(20)));
    for (answer, (prompt, text)) in backend
        .stream_all(asked.collect())
        .unwrap()
        .into_iter()
        .zip(&wanted)
    {
        let completion = answer.completion().await.unwrap();
        assert_eq!((&completion.text, completion.prompt_tokens), (text, prompt.len()));
    }
    // Requests that were prefilled twice count once.
    let prompt_tokens: usize = wanted.iter().map(|(prompt, _)| prompt.len()).sum();
    assert_eq!(backend.stats().prompt_tokens, prompt_tokens);
    assert_eq!(backend.broken(), None);
}

#[tokio::test]
async fn a_request_that_runs_alone_gets_the_error_and_without_a_policy_all_do() {
    let wanted = prompts_and_answers(2).await;
    for (rows, policy, requests) in [
        (0, OutOfMemoryPolicy::ShedNewest, 1),
        (0, OutOfMemoryPolicy::RequeueNewest, 1),
        (1, OutOfMemoryPolicy::FailAll, 2),
    ] {
        let backend = scarce(rows, &Arc::new(AtomicBool::new(true)), policy);
        let asked = wanted.iter().map(|(prompt, _)| (prompt.clone(), greedy(20)));
        let answers = backend.stream_all(asked.take(requests).collect()).unwrap();
        for answer in answers {
            let error = answer.completion().await.unwrap_err();
            assert!(
                matches!(&error, BackendError::Fatal(message) if message.contains("CUDA out of memory")),
                "{policy:?}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn a_broken_context_ends_all_requests_and_the_engine() {
    let (prompt, _) = expected("gemma3").remove(2);
    let poison = (3..90).find(|id| !prompt.contains(id)).unwrap();
    let mut tiny = loaded("gemma3");
    tiny.model = Watched::new(tiny.model, move |tokens_bt| {
        if tokens_bt.eq(poison).any().int64_value(&[]) == 1 {
            fault::raise(&BROKEN);
        }
    });
    let config = BatchConfig {
        max_batch: 2,
        out_of_memory: OutOfMemoryPolicy::ShedNewest,
        ..BatchConfig::default()
    };
    let backend = LocalBackend::start(tiny, "lost".into(), config).unwrap();
    assert!(backend.complete("t".into(), greedy(4)).await.is_ok());
    assert!(futures::poll!(Box::pin(backend.device_lost())).is_pending());
    // One runs, one breaks the context, one waits.
    let asked = [prompt.clone(), vec![1, poison], prompt.clone()].map(|prompt| (prompt, greedy(20)));
    for mut answer in backend.stream_all(asked.to_vec()).unwrap() {
        let mut last = None;
        while let Some(event) = answer.next().await {
            last = Some(event);
        }
        let error = last.expect("an end").unwrap_err();
        assert!(
            matches!(&error, BackendError::Fatal(message) if message.contains("illegal memory access")),
            "{error}"
        );
    }
    let reason = backend.device_lost().await;
    assert_eq!(
        reason,
        "libtorch: CUDA error: an illegal memory access was encountered"
    );
    // Whoever comes later hears the same, at once or in the answer, and nobody waits for ever.
    let late = match backend.stream(prompt, greedy(4)) {
        Ok(answer) => answer.completion().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(late.to_string().contains("illegal memory access"), "{late}");
    assert!(backend.broken().unwrap().contains("illegal memory access"));
}
