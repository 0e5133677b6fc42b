//! Steps that are enqueued before the host has read the tokens of the step before: the same answers
//! as one step after the other gives.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ewe::backend::{FinishReason, Sampling};
use tch::{Device, Kind, Tensor};

use super::watched::Watched;
use super::{Table, expected, finish, greedy, submit, tiny_engine};
use crate::engine::batch::{
    BatchConfig, Begun, Engine, EngineRequest, Listener, OutOfMemoryPolicy, RequestOptions,
};
use crate::model::CausalLm;
use crate::model::fault;
use crate::model::tests::{GOLDENS, loaded};

/// All that a request receives, in order.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Logprobs(String),
    Token(i64),
    Done(FinishReason, usize),
    Failed,
}

/// Records it. Ends at the token `stop`, and leaves after `patience` tokens.
#[derive(Clone)]
struct Record {
    told: Arc<Mutex<Vec<Told>>>,
    stop: Option<i64>,
    patience: usize,
}

impl Record {
    fn add(&self, told: Told) {
        self.told.lock().unwrap().push(told);
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    fn tokens(&self) -> usize {
        let told = self.told();
        told.iter().filter(|told| matches!(told, Told::Token(_))).count()
    }
}

impl Listener for Record {
    fn logprobs(&mut self, logprobs: crate::engine::logprobs::Logprobs) {
        self.add(Told::Logprobs(format!("{logprobs:?}")));
    }
    fn token(&mut self, id: i64) -> bool {
        self.add(Told::Token(id));
        self.stop != Some(id)
    }
    fn done(&mut self, reason: FinishReason, tokens: usize) {
        self.add(Told::Done(reason, tokens));
    }
    fn failed(&mut self, _: String) {
        self.add(Told::Failed);
    }
    fn gone(&self) -> bool {
        self.tokens() >= self.patience
    }
}

/// A request with everything that may end it, or make it wait for the host.
#[derive(Clone)]
struct Ask {
    prompt: Vec<i64>,
    sampling: Sampling,
    options: RequestOptions,
    stop: Option<i64>,
    patience: usize,
}

impl Ask {
    fn of(prompt: &[i64], sampling: Sampling) -> Ask {
        Ask {
            prompt: prompt.to_vec(),
            sampling,
            options: RequestOptions::default(),
            stop: None,
            patience: usize::MAX,
        }
    }

    fn submit(&self, engine: &mut Engine) -> Record {
        let record = Record {
            told: Arc::default(),
            stop: self.stop,
            patience: self.patience,
        };
        engine.submit(EngineRequest {
            prompt: self.prompt.clone(),
            sampling: self.sampling.clone(),
            end_tokens: vec![0],
            options: self.options.clone(),
            listener: Box::new(record.clone()),
            begun: Begun::default(),
        });
        record
    }
}

fn engine_of(model: Box<dyn CausalLm>, max_batch: usize) -> Engine {
    let config = BatchConfig {
        max_batch,
        ..BatchConfig::default()
    };
    Engine::new(model, Kind::Float, Device::Cpu, config)
}

/// Submits requests with `pause` steps between two of them, and returns what each received.
fn answers(mut engine: Engine, asks: &[Ask], pause: usize) -> Vec<Vec<Told>> {
    let submit = |ask: &Ask| {
        let record = ask.submit(&mut engine);
        (0..pause).for_each(|_| engine.step());
        record
    };
    let records: Vec<Record> = asks.iter().map(submit).collect();
    finish(&mut engine);
    records.iter().map(Record::told).collect()
}

/// Checks that requests receive the same with the twin of the GPU's sampler, which runs ahead, as
/// with the host's.
fn check(model: &dyn Fn() -> Box<dyn CausalLm>, asks: &[Ask]) {
    for max_batch in [1, 3, 8] {
        for pause in [0, 1, 2] {
            let mut ahead = engine_of(model(), max_batch);
            ahead.sample_by_twin();
            assert_eq!(
                answers(ahead, asks, pause),
                answers(engine_of(model(), max_batch), asks, pause),
                "batch of {max_batch}, pause of {pause}"
            );
        }
    }
}

fn drawn(seed: u64, max_tokens: usize) -> Sampling {
    Sampling {
        seed,
        temperature: 1.0,
        max_tokens,
        ..Sampling::default()
    }
}

/// Scores that make neither a token nor a draw certain. After the last token none is a number.
fn uneven(vocab: i64) -> Box<dyn CausalLm> {
    let rows = Tensor::arange(vocab, (Kind::Double, Device::Cpu));
    let scores_vv = (rows.unsqueeze(1) * 0.7 + rows * 1.3).sin() * 3.0;
    let _ = scores_vv.get(vocab - 1).fill_(f64::NAN);
    Box::new(Table::of(scores_vv.to_kind(Kind::Float)))
}

#[test]
fn answers_end_as_they_do_one_step_after_the_other() {
    let counting = || -> Box<dyn CausalLm> { Box::new(Table::counting(64)) };
    let asks = [
        // At the end token, at the limit, at the context, at a stop string, before the first token.
        Ask::of(&[60], greedy(30)),
        Ask::of(&[10], greedy(3)),
        Ask::of(&[20], greedy(1)),
        Ask::of(&[1; 45], greedy(30)),
        Ask {
            stop: Some(34),
            ..Ask::of(&[30], greedy(30))
        },
        Ask::of(&[7], greedy(0)),
        // Nobody waits any more.
        Ask {
            patience: 3,
            ..Ask::of(&[40], greedy(30))
        },
        Ask::of(&[5], greedy(8)),
        Ask {
            options: RequestOptions {
                min_tokens: 4,
                ..RequestOptions::default()
            },
            ..Ask::of(&[62], greedy(9))
        },
    ];
    check(&counting, &asks);
}

#[test]
fn penalties_logprobs_and_rows_for_the_host_change_nothing() {
    let penalized = |seed, repetition_penalty| Sampling {
        repetition_penalty,
        frequency_penalty: 0.4,
        presence_penalty: 0.3,
        ..drawn(seed, 12)
    };
    let asks = [
        Ask::of(&[3, 3, 9], penalized(1, 1.3)),
        Ask {
            options: RequestOptions {
                repetition_window: Some(2),
                ..RequestOptions::default()
            },
            ..Ask::of(&[3, 4], penalized(2, 1.5))
        },
        Ask {
            options: RequestOptions {
                logprobs: Some(3),
                ..RequestOptions::default()
            },
            ..Ask::of(&[8], penalized(3, 1.0))
        },
        Ask::of(&[5], drawn(4, 20)),
    ];
    check(&|| uneven(40), &asks);
    // More candidates than the kernels take, of one request among others: in some steps by top-p,
    // in all by top-k.
    let wide = [
        Ask::of(
            &[3],
            Sampling {
                top_p: 0.93,
                ..penalized(5, 1.1)
            },
        ),
        Ask::of(
            &[4],
            Sampling {
                top_k: 300,
                ..penalized(6, 1.2)
            },
        ),
        Ask::of(&[5], penalized(7, 1.2)),
        Ask {
            options: RequestOptions {
                logprobs: Some(2),
                ..RequestOptions::default()
            },
            ..Ask::of(
                &[6],
                Sampling {
                    top_k: 290,
                    ..drawn(8, 9)
                },
            )
        },
    ];
    check(&|| uneven(640), &wide);
}

/// Broken scores end one request; the token that follows is computed from them and dropped.
#[test]
fn a_request_whose_scores_are_no_numbers_fails_alone() {
    let broken = || -> Box<dyn CausalLm> {
        let scores_vv = Tensor::eye(50, (Kind::Float, Device::Cpu)).roll(1, 1) * 20.0;
        let _ = scores_vv.get(13).fill_(f64::NAN);
        Box::new(Table::of(scores_vv))
    };
    let asks = [
        Ask::of(&[10], greedy(20)),
        Ask::of(&[20], greedy(20)),
        Ask::of(&[30], greedy(5)),
    ];
    check(&broken, &asks);
    let mut engine = engine_of(broken(), 3);
    engine.sample_by_twin();
    let told = answers(engine, &asks, 0);
    assert_eq!(
        told[0],
        [Told::Token(11), Told::Token(12), Told::Token(13), Told::Failed]
    );
    assert_eq!(told[1].len(), 21);
}

/// By slots and by pages, requests join and leave; the answers are those of `transformers`.
#[test]
fn greedy_text_is_the_references_by_slots_and_by_pages() {
    for name in GOLDENS.iter() {
        for in_pages in [false, true] {
            // Capped scores are computed over slots only.
            if in_pages && loaded(name).model.info().capped {
                continue;
            }
            let config = BatchConfig {
                max_batch: 3,
                ..BatchConfig::default()
            };
            let mut engine = tiny_engine(name, config);
            if in_pages {
                engine = engine.in_pages(Kind::Float);
            }
            engine.sample_by_twin();
            let mut records = Vec::new();
            for (prompt, new) in expected(name).into_iter().chain(expected(name)) {
                records.push((submit(&mut engine, &prompt, &greedy(32)), new));
                engine.step();
                engine.check_pages();
            }
            finish(&mut engine);
            engine.check_pages();
            for (record, new) in records {
                let text: Vec<i64> = new.into_iter().filter(|&id| id != 0).collect();
                assert_eq!(record.tokens(), text, "{name}, pages: {in_pages}");
            }
        }
    }
}

/// Returns an engine with the twin of the GPU's sampler, and the number of passes of its model.
fn counted(max_batch: usize) -> (Engine, Arc<AtomicUsize>) {
    let passes = Arc::new(AtomicUsize::new(0));
    let seen = passes.clone();
    let model = Watched::new(Box::new(Table::counting(64)), move |_| {
        seen.fetch_add(1, Ordering::Relaxed);
    });
    let mut engine = engine_of(model, max_batch);
    engine.sample_by_twin();
    (engine, passes)
}

#[test]
fn the_next_step_is_enqueued_before_a_token_is_delivered() {
    let (mut engine, passes) = counted(4);
    let record = submit(&mut engine, &[10], &greedy(5));
    for step in 1..=4 {
        engine.advance();
        assert_eq!(passes.load(Ordering::Relaxed), step + 1);
        assert_eq!(record.tokens().len(), step - 1);
        engine.deliver();
        assert_eq!(record.tokens().len(), step);
    }
    // The last token is known to be the last, so no step follows it.
    finish(&mut engine);
    assert_eq!((passes.load(Ordering::Relaxed), engine.stats().steps), (5, 5));
    assert_eq!(record.tokens(), [11, 12, 13, 14, 15]);
}

/// A step is wasted only where a token ends the answer unforeseen.
#[test]
fn an_end_token_costs_one_step_and_a_queue_behind_it_goes_on() {
    let (mut engine, passes) = counted(1);
    let first = submit(&mut engine, &[60], &greedy(30));
    let second = submit(&mut engine, &[20], &greedy(2));
    finish(&mut engine);
    assert_eq!(first.tokens(), [61, 62, 63]);
    assert_eq!(second.tokens(), [21, 22]);
    // Four tokens, the end token's included, and the one behind it; then two.
    assert_eq!(passes.load(Ordering::Relaxed), 5 + 2);
    assert_eq!(engine.stats().generated_tokens, 4 + 2);
    assert_eq!((engine.stats().running, engine.stats().finished), (0, 2));
}

/// Memory runs out in a step that is enqueued while another one has not been read.
#[test]
fn a_step_that_fails_behind_another_loses_no_token() {
    let wanted = expected("gptj");
    let is_scarce = Arc::new(AtomicBool::new(true));
    let watched = is_scarce.clone();
    let model = Watched::new(loaded("gptj").model, move |tokens_bt| {
        if tokens_bt.size()[0] > 1 && watched.load(Ordering::Relaxed) {
            fault::raise(&"CUDA out of memory. Tried to allocate 2.00 GiB");
        }
    });
    let config = BatchConfig {
        out_of_memory: OutOfMemoryPolicy::RequeueNewest,
        ..BatchConfig::default()
    };
    let mut engine = Engine::new(model, Kind::Float, Device::Cpu, config);
    engine.sample_by_twin();
    let records: Vec<_> = wanted
        .iter()
        .map(|(prompt, _)| submit(&mut engine, prompt, &greedy(32)))
        .collect();
    let mut failures = 0;
    while !engine.idle() {
        if catch_unwind(AssertUnwindSafe(|| engine.step())).is_err() {
            failures += 1;
            assert!(engine.preempt("CUDA out of memory"));
        }
    }
    assert!(failures > 0);
    for (record, (_, new)) in records.iter().zip(&wanted) {
        let text: Vec<i64> = new.iter().copied().filter(|&id| id != 0).collect();
        assert_eq!(record.tokens(), text);
    }
}
