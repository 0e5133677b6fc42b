//! The running batch: requests that join and leave, and the size of the KV cache.

use ewe::backend::{FinishReason, Sampling};
use tch::{Device, Kind, Tensor};

use super::{Record, Table, expected, finish, greedy, submit, tiny_engine};
use crate::engine::batch::{BatchConfig, Begun, Engine, EngineRequest, Listener, RequestOptions};
use crate::model::tests::GOLDENS;

#[test]
fn greedy_text_is_the_references_alone_and_in_a_batch() {
    for name in GOLDENS.iter() {
        let cases = expected(name);
        for (prompt, new) in &cases {
            let mut engine = tiny_engine(name, BatchConfig::default());
            let record = submit(&mut engine, prompt, &greedy(32));
            finish(&mut engine);
            let text: Vec<i64> = new.iter().copied().filter(|&id| id != 0).collect();
            assert_eq!(record.tokens(), text, "{name}, alone");
            let want = if new.contains(&0) {
                FinishReason::Stop
            } else {
                FinishReason::Length
            };
            assert_eq!(record.reason(), Some(want), "{name}");
        }
        // Requests join and leave at different times; two slots serve twelve requests.
        for (max_batch, pause) in [(32, 0), (3, 2), (2, 1)] {
            let mut engine = tiny_engine(
                name,
                BatchConfig {
                    max_batch,
                    ..BatchConfig::default()
                },
            );
            let mut records = Vec::new();
            for _ in 0..3 {
                for (prompt, new) in &cases {
                    records.push((submit(&mut engine, prompt, &greedy(32)), new));
                    (0..pause).for_each(|_| engine.step());
                }
            }
            finish(&mut engine);
            for (record, new) in records {
                let text: Vec<i64> = new.iter().copied().filter(|&id| id != 0).collect();
                assert_eq!(record.tokens(), text, "{name}, batch of {max_batch}");
            }
            assert_eq!(engine.stats().finished, 3 * cases.len());
        }
    }
}

#[test]
fn a_shared_beginning_is_computed_once_and_changes_nothing() {
    for name in GOLDENS.iter() {
        let head: Vec<i64> = (0..40).map(|i| 3 + i * 7 % 80).collect();
        let prompts: Vec<Vec<i64>> = (0..5).map(|i| [&head[..], &[5 + i, 9]].concat()).collect();
        let run = |prefix_bytes| {
            let mut engine = tiny_engine(
                name,
                BatchConfig {
                    prefix_bytes,
                    ..BatchConfig::default()
                },
            );
            let records: Vec<Record> = prompts
                .iter()
                .map(|p| submit(&mut engine, p, &greedy(12)))
                .collect();
            finish(&mut engine);
            (
                records.iter().map(Record::tokens).collect::<Vec<_>>(),
                engine.stats().saved_tokens,
            )
        };
        let ((with, saved), (without, none)) = (run(1 << 20), run(0));
        assert_eq!(with, without, "{name}");
        assert_eq!((saved, none), (4 * 40, 0), "{name}");
    }
}

#[test]
fn the_budget_for_keys_and_values_is_kept_and_the_queue_still_drains() {
    let name = "gemma3";
    let (prompt, new) = &expected(name)[2];
    let per_token = 2 * 3 * 2 * 16 * 4;
    // Room for two requests of this length.
    let kv_bytes = 2 * (prompt.len() + 32) * per_token;
    let mut engine = tiny_engine(
        name,
        BatchConfig {
            kv_bytes,
            ..BatchConfig::default()
        },
    );
    let records: Vec<Record> = (0..5).map(|_| submit(&mut engine, prompt, &greedy(32))).collect();
    engine.step();
    assert_eq!(records.iter().filter(|r| !r.tokens().is_empty()).count(), 2);
    finish(&mut engine);
    assert!(records.iter().all(|r| r.tokens().len() == new.len()));
}

#[test]
fn requests_end_at_max_tokens_at_the_end_token_and_at_the_context() {
    let mut engine = Engine::new(
        Box::new(Table::counting(64)),
        Kind::Float,
        Device::Cpu,
        BatchConfig::default(),
    );
    let short = submit(&mut engine, &[10], &greedy(3));
    let ended = submit(&mut engine, &[60], &greedy(30));
    let full = submit(&mut engine, &[1; 45], &greedy(30));
    let nothing = submit(&mut engine, &[1], &greedy(0));
    finish(&mut engine);
    assert_eq!(
        (short.tokens(), short.reason()),
        (vec![11, 12, 13], Some(FinishReason::Length))
    );
    assert_eq!(
        (ended.tokens(), ended.reason()),
        (vec![61, 62, 63], Some(FinishReason::Stop))
    );
    assert_eq!(
        (full.tokens(), full.reason()),
        (vec![2, 3, 4, 5, 6], Some(FinishReason::Length))
    );
    assert_eq!(
        (nothing.tokens(), nothing.reason()),
        (vec![], Some(FinishReason::Length))
    );
}

#[test]
fn who_leaves_frees_the_slot() {
    let config = BatchConfig {
        max_batch: 1,
        ..BatchConfig::default()
    };
    let mut engine = Engine::new(Box::new(Table::counting(64)), Kind::Float, Device::Cpu, config);
    let (first, second, third) = (
        submit(&mut engine, &[1], &greedy(40)),
        submit(&mut engine, &[2], &greedy(2)),
        submit(&mut engine, &[3], &greedy(2)),
    );
    engine.step();
    first.leave();
    second.leave();
    finish(&mut engine);
    assert_eq!((first.tokens(), first.reason()), (vec![2], None));
    assert!(second.tokens().is_empty());
    assert_eq!(third.tokens(), vec![4, 5]);
}

#[test]
fn a_sampled_text_depends_on_its_seed_and_not_on_its_neighbours() {
    let scores = Tensor::ones([64, 64], (Kind::Float, Device::Cpu));
    let run = |seeds: &[u64], max_batch| {
        let config = BatchConfig {
            max_batch,
            ..BatchConfig::default()
        };
        let mut engine = Engine::new(
            Box::new(Table::of(scores.copy())),
            Kind::Float,
            Device::Cpu,
            config,
        );
        let sampling = |seed| Sampling {
            seed,
            temperature: 1.0,
            max_tokens: 12,
            ..Sampling::default()
        };
        let records: Vec<Record> = seeds
            .iter()
            .map(|&seed| submit(&mut engine, &[1], &sampling(seed)))
            .collect();
        finish(&mut engine);
        records.iter().map(Record::tokens).collect::<Vec<_>>()
    };
    let together = run(&[7, 8, 9, 7], 4);
    assert_eq!(together, run(&[7, 8, 9, 7], 1));
    assert_eq!(together[0], together[3]);
    assert_ne!(together[0], together[1]);
}

#[test]
fn storage_stays_within_the_budget_while_it_grows() {
    let per_token = 2 * 3 * 2 * 16 * 4;
    for tokens in [60, 100, 130, 200] {
        let mut engine = tiny_engine(
            "gemma3",
            BatchConfig {
                kv_bytes: tokens * per_token,
                ..BatchConfig::default()
            },
        );
        let records: Vec<Record> = (0..20)
            .map(|i| {
                submit(
                    &mut engine,
                    &vec![5 + i; 1 + i as usize % 7],
                    &greedy(3 + i as usize * 2),
                )
            })
            .collect();
        while !engine.idle() {
            engine.step();
            assert!(engine.stats().kv_bytes <= tokens * per_token);
        }
        assert!(records.iter().all(|record| record.reason().is_some()));
    }
}

#[test]
fn sizes_from_outside_may_be_the_largest_there_are() {
    let mut engine = Engine::new(
        Box::new(Table::counting(50)),
        Kind::Float,
        Device::Cpu,
        BatchConfig::default(),
    );
    let record = submit(&mut engine, &[1, 2, 3], &greedy(usize::MAX));
    finish(&mut engine);
    assert!(record.reason().is_some());
}

#[test]
fn an_answer_does_not_end_before_its_least_number_of_tokens() {
    let mut engine = Engine::new(
        Box::new(Table::counting(10)),
        Kind::Float,
        Device::Cpu,
        BatchConfig::default(),
    );
    let mut ask = |min_tokens, ignore_eos| {
        let record = Record::default();
        engine.submit(EngineRequest {
            prompt: vec![7],
            sampling: Sampling {
                ignore_eos,
                ..greedy(6)
            },
            // One of them is outside of the vocabulary, as in some configs.
            end_tokens: vec![0, 5000],
            options: RequestOptions {
                min_tokens,
                ..RequestOptions::default()
            },
            listener: Box::new(record.clone()),
            begun: Begun::default(),
        });
        finish(&mut engine);
        record
    };
    // 8, 9, then the end token; while that is forbidden, another token takes its place.
    let free = ask(0, false);
    assert_eq!(
        (free.tokens(), free.reason()),
        (vec![8, 9], Some(FinishReason::Stop))
    );
    assert_eq!(ask(2, false).tokens(), [8, 9]);
    let held = ask(4, false).tokens();
    assert!(
        held.len() >= 4 && held[..2] == [8, 9] && !held.contains(&0),
        "{held:?}"
    );
    assert_eq!(ask(4, true).tokens()[..3], [8, 9, 0]);
}

/// Panics while it waits for a slot.
struct Bomb(Record);

impl Listener for Bomb {
    fn token(&mut self, _: i64) -> bool {
        true
    }
    fn done(&mut self, _: FinishReason, _: usize) {}
    fn failed(&mut self, reason: String) {
        assert!(reason.contains("bang"), "{reason}");
        self.0.leave();
    }
    fn gone(&self) -> bool {
        panic!("bang")
    }
}

#[test]
fn a_request_that_fails_on_its_way_in_takes_none_along() {
    let mut engine = Engine::new(
        Box::new(Table::counting(50)),
        Kind::Float,
        Device::Cpu,
        BatchConfig::default(),
    );
    let before = submit(&mut engine, &[1], &greedy(5));
    engine.step();
    let told = Record::default();
    engine.submit(EngineRequest {
        prompt: vec![1],
        sampling: greedy(5),
        end_tokens: Vec::new(),
        options: RequestOptions::default(),
        listener: Box::new(Bomb(told.clone())),
        begun: Begun::default(),
    });
    let behind = submit(&mut engine, &[11], &greedy(5));
    finish(&mut engine);
    assert_eq!(before.tokens(), [2, 3, 4, 5, 6]);
    assert_eq!(behind.tokens(), [12, 13, 14, 15, 16]);
    assert!(told.gone());
}
