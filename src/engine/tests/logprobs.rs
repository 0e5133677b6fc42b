//! Logprobs against those that the model gives when it is asked once.

use ewe::backend::Sampling;
use futures::StreamExt;
use tch::{Device, Kind, Tensor};

use super::expected;
use crate::engine::answer::{Answer, Event};
use crate::engine::batch::{Config, Wants};
use crate::engine::handle::{Ask, LocalBackend};
use crate::engine::logprobs::Logprobs;
use crate::model::attention::ForwardPass;
use crate::model::tests::golden;

#[tokio::test]
async fn logprobs_are_those_of_the_model_whatever_is_done_to_its_scores() {
    for (name, kind) in [("gemma3", Kind::Float), ("gptj", Kind::BFloat16)] {
        let dtype = if kind == Kind::Float { "fp32" } else { "bf16" };
        let backend = LocalBackend::open(&golden(name), None, "cpu", dtype, Config::default()).unwrap();
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
        let ask = |logprobs| Ask {
            prompt: prompt.clone(),
            sampling: sampling.clone(),
            wants: Wants {
                logprobs,
                ..Wants::default()
            },
        };
        // Beside rows that ask for nothing, and for another number.
        let mut answers = backend
            .ask_all(vec![ask(None), ask(Some(3)), ask(Some(0))])
            .unwrap();
        let (last, asked) = (answers.pop().unwrap(), answers.pop().unwrap());
        let told = |events: Vec<Event>| -> Vec<Logprobs> {
            let logprobs = events.into_iter().filter_map(|event| match event {
                Event::Token { logprobs, .. } => Some(logprobs),
                _ => None,
            });
            logprobs.collect()
        };
        let collected = |answer: Answer| answer.map(Result::unwrap).collect::<Vec<Event>>();
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
