//! Logprobs against those of a single forward pass over the whole text.

use ewe::backend::{Backend, Sampling};
use futures::StreamExt;
use tch::{Device, Kind, Tensor};

use super::{expected, greedy, tiny_backend};
use crate::engine::answer::AnswerStream;
use crate::engine::batch::{BatchConfig, RequestOptions};
use crate::engine::event::Event;
use crate::engine::handle::GenerationRequest;
use crate::engine::logprobs::Logprobs;
use crate::model::layers::attention::ForwardPass;
use crate::model::tests::golden;

#[tokio::test]
async fn logprobs_are_those_of_the_model_whatever_is_done_to_its_scores() {
    for (name, kind) in [("gemma3", Kind::Float), ("gptj", Kind::BFloat16)] {
        let dtype = if kind == Kind::Float { "fp32" } else { "bf16" };
        let backend = tiny_backend(name, dtype, BatchConfig::default());
        let reference = crate::model::load(&golden(name), Device::Cpu, dtype).unwrap();
        let prompt = expected(name)[2].0.clone();
        let sampling = Sampling {
            max_tokens: 6,
            temperature: 0.4,
            repetition_penalty: 1.8,
            presence_penalty: 2.0,
            top_p: 0.9,
            seed: 5,
            ..Sampling::default()
        };
        let ask = |logprobs| GenerationRequest {
            prompt: prompt.clone(),
            sampling: sampling.clone(),
            options: RequestOptions {
                logprobs,
                ..RequestOptions::default()
            },
        };
        // Beside rows that ask for no logprobs, and for another number of them.
        let mut answers = backend
            .generate_all(vec![ask(None), ask(Some(3)), ask(Some(0))])
            .unwrap();
        let (last, asked) = (answers.pop().unwrap(), answers.pop().unwrap());
        let told = |events: Vec<Event>| -> Vec<Logprobs> {
            let logprobs = events.into_iter().filter_map(|event| match event {
                Event::Token { logprobs, .. } => Some(logprobs),
                _ => None,
            });
            logprobs.collect()
        };
        let collected = |answer: AnswerStream| answer.map(Result::unwrap).collect::<Vec<Event>>();
        assert!(told(collected(answers.pop().unwrap()).await).is_empty());
        assert!(
            told(collected(last).await)
                .iter()
                .all(|told| told.likeliest.is_empty())
        );
        let told = told(collected(asked).await);
        assert!(told.len() >= 3);
        let mut ids = prompt.clone();
        for Logprobs { chosen, likeliest } in told {
            let tokens_bt = Tensor::from_slice(&ids).unsqueeze(0);
            let mut pass = ForwardPass::whole(1, ids.len() as i64, Device::Cpu);
            let hidden = reference
                .model
                .forward(&tokens_bt, &mut pass)
                .select(1, ids.len() as i64 - 1);
            let want_v = reference
                .model
                .logits(&hidden)
                .log_softmax(-1, Kind::Float)
                .squeeze();
            let limit = if kind == Kind::Float { 1e-4 } else { 0.1 };
            for scored in likeliest.iter().chain([&chosen]) {
                let want = want_v.double_value(&[scored.id]);
                assert!(
                    (f64::from(scored.logprob) - want).abs() < limit,
                    "{name}: {scored:?}, want {want}"
                );
            }
            assert_eq!(likeliest.len(), 3);
            assert!(
                likeliest
                    .windows(2)
                    .all(|pair| pair[0].logprob >= pair[1].logprob)
            );
            ids.push(chosen.id);
        }
    }
}

/// A prompt of as many tokens of the tiny models' vocabulary.
fn prompt_of(tokens: i64) -> Vec<i64> {
    (0..tokens).map(|at| 5 + at * 7 % 80).collect()
}

/// The logprobs of the prompt, which must come first, and how many tokens were generated.
async fn prompt_logprobs(answer: AnswerStream) -> (Vec<Logprobs>, usize) {
    let events: Vec<Event> = answer.map(Result::unwrap).collect().await;
    let Some(Event::Prompt(logprobs)) = events.first() else {
        panic!("{:?} comes first", events.first());
    };
    let Some(Event::Done {
        completion_tokens, ..
    }) = events.last()
    else {
        panic!("{:?} is the last", events.last());
    };
    let rest = &events[1..];
    assert!(!rest.iter().any(|event| matches!(event, Event::Prompt(_))));
    let tokens = rest.iter().filter(|event| matches!(event, Event::Token { .. }));
    assert_eq!(tokens.count(), *completion_tokens);
    (logprobs.clone(), *completion_tokens)
}

#[tokio::test]
async fn logprobs_of_prompts_are_those_of_one_forward_pass() {
    for name in ["gemma3", "gptj"] {
        let backend = tiny_backend(name, "fp32", BatchConfig::default());
        let reference = crate::model::load(&golden(name), Device::Cpu, "fp32").unwrap();
        let ask = |tokens: i64, max_tokens, likeliest: Option<usize>| GenerationRequest {
            prompt: prompt_of(tokens),
            sampling: Sampling {
                ignore_eos: true,
                ..greedy(max_tokens)
            },
            options: RequestOptions {
                logprobs: likeliest,
                prompt_logprobs: likeliest.is_some(),
                ..RequestOptions::default()
            },
        };
        // The first leaves its prefix in the cache.
        let plain = backend.generate_all(vec![ask(50, 3, None)]).unwrap().remove(0);
        let plain = plain.completion().await.unwrap();
        let cases = [
            (50, 3, 2),
            (40, 0, 0),
            (1, 0, 1),
            (1, 2, 0),
            (63, 1, 5),
            (9, 0, 3),
        ];
        let asked = cases.map(|(tokens, max_tokens, likeliest)| ask(tokens, max_tokens, Some(likeliest)));
        let answers = backend.generate_all(asked.to_vec()).unwrap();
        for ((tokens, max_tokens, likeliest), answer) in cases.into_iter().zip(answers) {
            let (told, generated) = prompt_logprobs(answer).await;
            assert_eq!((told.len() as i64, generated), (tokens - 1, max_tokens));
            let ids = prompt_of(tokens);
            let tokens_bt = Tensor::from_slice(&ids).unsqueeze(0);
            let mut pass = ForwardPass::whole(1, tokens, Device::Cpu);
            let hidden_btd = reference.model.forward(&tokens_bt, &mut pass);
            let want_tv = reference
                .model
                .logits(&hidden_btd)
                .log_softmax(-1, Kind::Float)
                .squeeze_dim(0);
            for (at, of) in told.iter().enumerate() {
                assert_eq!(of.chosen.id, ids[at + 1]);
                assert_eq!(of.likeliest.len(), likeliest);
                for scored in of.likeliest.iter().chain([&of.chosen]) {
                    let want = want_tv.double_value(&[at as i64, scored.id]);
                    let off = (f64::from(scored.logprob) - want).abs();
                    assert!(off < 1e-4, "{name}: {scored:?} at {at}, want {want}");
                }
            }
        }
        // What was computed for its logprobs goes on as any prompt does.
        let again = backend.generate_all(vec![ask(50, 3, Some(1))]).unwrap().remove(0);
        assert_eq!(again.completion().await.unwrap().text, plain.text);
    }
}

#[tokio::test]
async fn prompts_are_scored_a_few_at_a_time() {
    // No more hidden features are kept than those of 32 tokens, or of one prompt.
    let config = BatchConfig {
        prefill_tokens: 32,
        max_batch: 3,
        ..BatchConfig::default()
    };
    let backend = tiny_backend("gemma3", "fp32", config);
    let ask = |max_tokens| GenerationRequest {
        prompt: prompt_of(40),
        sampling: greedy(max_tokens),
        options: RequestOptions {
            logprobs: Some(0),
            prompt_logprobs: true,
            ..RequestOptions::default()
        },
    };
    let mut answers = backend
        .generate_all((0..12).map(|at| ask(at % 3)).collect())
        .unwrap();
    // Nobody waits for these any more.
    answers.truncate(10);
    drop(answers.remove(4));
    let mut all = Vec::new();
    for answer in answers {
        all.push(prompt_logprobs(answer).await.0);
    }
    assert_eq!(all.len(), 9);
    for told in &all {
        let apart = told
            .iter()
            .zip(&all[0])
            .map(|(a, b)| (a.chosen.logprob - b.chosen.logprob).abs());
        assert!(told.len() == 39 && apart.fold(0.0, f32::max) < 1e-4);
    }
}

#[tokio::test]
async fn the_likelihood_of_choices_is_that_of_their_tokens() {
    let backend = tiny_backend("gemma3", "auto", BatchConfig::default());
    let sampling = Sampling {
        choices: ["y", "g", "?!"].map(str::to_owned).to_vec(),
        ..greedy(6)
    };
    let ids = backend.encode("the inner thing").unwrap();
    let asked = GenerationRequest {
        prompt: ids.clone(),
        sampling: greedy(6),
        options: RequestOptions {
            logprobs: Some(20),
            ..RequestOptions::default()
        },
    };
    let answer = backend.generate_all(vec![asked]).unwrap().remove(0);
    let events: Vec<Event> = answer.map(|event| event.unwrap()).collect().await;
    let told = events.iter().filter_map(|event| match event {
        Event::Token { logprobs, .. } => Some(logprobs.clone()),
        _ => None,
    });
    let told: Vec<Logprobs> = told.collect();
    let answer = backend.answer(ids, sampling).await.unwrap();
    assert_eq!(answer.text, "gggyyy");
    let places = answer.places.unwrap();
    assert_eq!(
        places.iter().map(|place| place.at).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5]
    );
    for (place, told) in places.iter().zip(&told) {
        let said = usize::from(place.at < 3);
        let own = f64::from(told.chosen.logprob).exp();
        // With a space before it, a token is the same word.
        assert!(
            place.p[said] >= own - 1e-6 && place.p[said] <= 1.0,
            "{place:?} {told:?}"
        );
        assert_eq!(place.p[2], 0.0);
    }
    let plain = backend
        .complete("the inner thing".into(), greedy(6))
        .await
        .unwrap();
    assert_eq!((plain.text.as_str(), plain.places), ("gggyyy", None));
}
