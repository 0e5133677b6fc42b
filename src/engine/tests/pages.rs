//! The engine over a pool of pages, on the CPU with the twins of the GPU's kernels: the tokens that
//! slots give, prefixes that are shared, requests that give way when pages run out, and no page
//! that is lost.

use ewe::backend::Sampling;
use proptest::prelude::*;
use tch::{Device, Kind};

use super::budgets::FirstBlocks;
use super::{Record, Table, finish, submit, tiny_engine};
use crate::engine::batch::{BatchConfig, Engine, OutOfMemoryPolicy};
use crate::model::ModelInfo;
use crate::model::cache::KvCache;
use crate::model::tests::{loaded, paged_goldens};

/// Tokens of a page.
const PAGE: usize = 256;

/// Greedy, and not ended by a token.
fn greedy(max_tokens: usize) -> Sampling {
    Sampling {
        ignore_eos: true,
        ..super::greedy(max_tokens)
    }
}

/// A tiny model that takes `context` tokens, of a pool of `pages` pages or of slots for as many
/// tokens.
fn long_engine(name: &str, context: usize, pages: usize, config: BatchConfig, is_paged: bool) -> Engine {
    let model = loaded(name).model;
    let info = ModelInfo {
        context,
        ..model.info().clone()
    };
    let bytes_per_token = KvCache::bytes_per_token(&info, Kind::Float);
    let config = BatchConfig {
        kv_bytes: pages * PAGE * bytes_per_token,
        ..config
    };
    let model = Box::new(FirstBlocks { model, info });
    let engine = Engine::new(model, Kind::Float, Device::Cpu, config);
    match is_paged {
        true => engine.in_pages(Kind::Float),
        false => engine,
    }
}

/// An engine whose model counts and has no layers, so that a step is only what the engine does.
fn counting(context: usize, pages: usize, config: BatchConfig) -> Engine {
    let mut table = Table::counting(64);
    table.info.context = context;
    let config = BatchConfig {
        kv_bytes: pages * PAGE,
        ..config
    };
    Engine::new(Box::new(table), Kind::Float, Device::Cpu, config).in_pages(Kind::Float)
}

/// `length` tokens that begin with `shared` of the same ones, and differ by `which` behind.
fn prompt(which: i64, shared: usize, length: usize) -> Vec<i64> {
    let token = |at: usize| {
        let own = if at < shared { 0 } else { 1 + which };
        3 + (at as i64 * 7 + own * 31 + own * own * at as i64) % 60
    };
    (0..length).map(token).collect()
}

fn checked_step(engine: &mut Engine) {
    engine.step();
    engine.check_pages();
}

fn checked_finish(engine: &mut Engine) {
    for _ in 0..20_000 {
        if engine.idle() {
            engine.drop_prefixes();
            engine.check_pages();
            assert_eq!(engine.pages().1, 0, "pages that nobody gave back");
            return;
        }
        checked_step(engine);
    }
    panic!("the engine does not come to an end");
}

/// All families that have pages, with windows and grouped heads: prompts that share a page and a
/// part of the next, answers across a border of pages, and slots that change owners.
#[test]
fn pages_give_the_tokens_that_slots_give() {
    for name in paged_goldens() {
        let run = |is_paged| {
            let config = BatchConfig {
                max_batch: 3,
                ..BatchConfig::default()
            };
            let mut engine = long_engine(name, 1024, 40, config, is_paged);
            let mut records = Vec::new();
            for (which, (shared, length)) in [(300, 330), (300, 301), (300, 505), (0, 251), (256, 257)]
                .into_iter()
                .enumerate()
            {
                let prompt = prompt(which as i64, shared, length);
                records.push(submit(&mut engine, &prompt, &greedy(6 + 3 * which)));
                engine.step();
                engine.check_pages();
            }
            finish(&mut engine);
            engine.check_pages();
            let tokens: Vec<Vec<i64>> = records.iter().map(Record::tokens).collect();
            (tokens, engine.stats().saved_tokens)
        };
        let ((ours, saved), (want, wanted)) = (run(true), run(false));
        assert_eq!(ours, want, "{name}");
        assert_eq!(saved, wanted, "{name}");
        assert!(saved >= 2 * 300 + 256, "{name}: {saved} tokens were shared");
    }
}

/// The goldens' own texts, within a page.
#[test]
fn short_texts_are_the_references_over_pages() {
    for name in ["gemma3", "gptj", "llama"] {
        let mut engine = tiny_engine(name, small()).in_pages(Kind::Float);
        let cases = super::expected(name);
        let records: Vec<Record> = cases
            .iter()
            .map(|(prompt, _)| submit(&mut engine, prompt, &super::greedy(32)))
            .collect();
        checked_finish(&mut engine);
        for (record, (_, new)) in records.iter().zip(&cases) {
            let text: Vec<i64> = new.iter().copied().filter(|&id| id != 0).collect();
            assert_eq!(record.tokens(), text, "{name}");
        }
    }
}

fn small() -> BatchConfig {
    BatchConfig {
        kv_bytes: 4 << 20,
        ..BatchConfig::default()
    }
}

#[test]
fn a_shared_prefix_takes_no_page_but_the_last_in_part() {
    let mut engine = counting(2000, 30, BatchConfig::default());
    let first = submit(&mut engine, &prompt(0, 600, 620), &greedy(100));
    checked_step(&mut engine);
    assert_eq!(engine.pages(), (30, 3));
    // Two whole pages and a part of the third.
    let second = submit(&mut engine, &prompt(1, 600, 640), &greedy(100));
    checked_step(&mut engine);
    assert_eq!((engine.pages().1, engine.stats().saved_tokens), (4, 600));
    // Two whole pages, and a page of its own for the rest.
    let third = submit(&mut engine, &prompt(2, 512, 520), &greedy(100));
    checked_step(&mut engine);
    assert_eq!((engine.pages().1, engine.stats().saved_tokens), (5, 1112));
    // The pages of the prefix stay where the first request was; the others stay anyway.
    first.leave();
    checked_step(&mut engine);
    assert_eq!(engine.pages().1, 5);
    checked_finish(&mut engine);
    assert_eq!((second.tokens().len(), third.tokens().len()), (100, 100));
}

#[test]
fn who_runs_short_of_pages_waits_and_goes_on_where_it_was() {
    // Each of both needs three pages in the end, and there are four for them.
    let prompts = [prompt(0, 0, 250), prompt(1, 0, 252)];
    let run = |pages, is_paged| {
        let config = BatchConfig {
            prefix_bytes: 0,
            ..BatchConfig::default()
        };
        let mut engine = long_engine("llama", 1024, pages, config, is_paged);
        let records: Vec<Record> = prompts
            .iter()
            .map(|prompt| submit(&mut engine, prompt, &greedy(275)))
            .collect();
        let mut gave_way = 0;
        while !engine.idle() {
            let before = engine.stats();
            engine.step();
            engine.check_pages();
            let after = engine.stats();
            gave_way += usize::from(after.running < before.running && after.finished == before.finished);
            let (total, used) = engine.pages();
            assert!(
                used <= total && (!is_paged || total == pages),
                "{used} of {total}"
            );
        }
        let tokens: Vec<Vec<i64>> = records.iter().map(Record::tokens).collect();
        let stats = engine.stats();
        (tokens, gave_way, (stats.prompt_tokens, stats.finished))
    };
    let (want, none, counted) = run(30, false);
    assert_eq!((none, counted), (0, (502, 2)));
    let (ours, gave_way, counted) = run(4, true);
    assert_eq!((gave_way, counted), (1, (502, 2)));
    assert_eq!(ours, want);
}

/// Those that joined first get their pages first, and whoever waits keeps its place in the queue.
#[test]
fn the_newest_gives_way_and_the_order_stays() {
    let config = BatchConfig {
        prefix_bytes: 0,
        ..BatchConfig::default()
    };
    let mut engine = counting(2000, 9, config);
    let records: Vec<Record> = (0..6)
        .map(|which| submit(&mut engine, &prompt(which, 0, 200), &greedy(700)))
        .collect();
    let mut ended = Vec::new();
    while !engine.idle() {
        checked_step(&mut engine);
        for (which, record) in records.iter().enumerate() {
            if record.reason().is_some() && !ended.contains(&which) {
                ended.push(which);
            }
        }
    }
    assert_eq!(ended, [0, 1, 2, 3, 4, 5]);
    for (which, record) in records.iter().enumerate() {
        let last = *prompt(which as i64, 0, 200).last().unwrap();
        let want: Vec<i64> = (1..=700).map(|at| (last + at) % 64).collect();
        assert_eq!(record.tokens(), want, "request {which}");
    }
    assert_eq!((engine.stats().prompt_tokens, engine.pages().1), (6 * 200, 0));
}

#[test]
fn a_pool_that_is_short_drops_prefixes_that_were_never_reused_first() {
    let mut engine = counting(2000, 8, BatchConfig::default());
    let ask = |engine: &mut Engine, prompt: &[i64]| {
        let before = engine.stats().saved_tokens;
        submit(engine, prompt, &greedy(2));
        while !engine.idle() {
            checked_step(engine);
        }
        engine.stats().saved_tokens - before
    };
    let other = |which: i64| {
        let mut prompt = prompt(which, 0, 300);
        prompt[299] = 63;
        prompt
    };
    assert_eq!(ask(&mut engine, &prompt(0, 0, 300)), 0);
    assert_eq!(ask(&mut engine, &other(0)), 299);
    assert_eq!(ask(&mut engine, &prompt(1, 0, 300)), 0);
    assert_eq!(ask(&mut engine, &prompt(2, 0, 300)), 0);
    assert_eq!(engine.pages(), (8, 6));
    // Needs one page more than there is: the older one of those that nobody reused leaves.
    assert_eq!(ask(&mut engine, &prompt(3, 0, 700)), 0);
    assert_eq!(engine.pages(), (8, 7));
    assert_eq!(ask(&mut engine, &other(0)), 299);
    assert_eq!(ask(&mut engine, &other(2)), 299);
    assert_eq!(ask(&mut engine, &other(1)), 0);
    // One that needs all of them gets them, with the pages of the prefix that it shares.
    assert_eq!(ask(&mut engine, &prompt(0, 0, 1900)), 299);
    assert_eq!(engine.pages(), (8, 8));
    checked_finish(&mut engine);
}

/// A prompt that shares the only prefix takes over its last page if there is no other.
#[test]
fn a_prefix_gives_its_last_page_to_who_shares_it() {
    let mut engine = counting(600, 2, BatchConfig::default());
    let first = submit(&mut engine, &prompt(0, 280, 300), &greedy(4));
    finish(&mut engine);
    assert_eq!(engine.pages(), (2, 2));
    let second = submit(&mut engine, &prompt(1, 280, 300), &greedy(4));
    checked_finish(&mut engine);
    assert_eq!((first.tokens().len(), second.tokens().len()), (4, 4));
    assert_eq!(engine.stats().saved_tokens, 280);
}

#[test]
fn requests_join_by_their_pages_and_no_more_than_the_pool_has() {
    let config = || BatchConfig {
        prefix_bytes: 0,
        ..BatchConfig::default()
    };
    // Prompt and answer of each fit in a page.
    let mut engine = counting(2000, 5, config());
    (0..8).for_each(|which| drop(submit(&mut engine, &prompt(which, 0, 100), &greedy(50))));
    checked_step(&mut engine);
    assert_eq!((engine.stats().running, engine.pages()), (5, (5, 5)));
    assert_eq!(engine.stats().kv_bytes, 5 * PAGE);
    checked_finish(&mut engine);
    assert_eq!(engine.stats().finished, 8);
    // One page is left for each that may need another one.
    let mut engine = counting(2000, 5, config());
    (0..8).for_each(|which| drop(submit(&mut engine, &prompt(which, 0, 100), &greedy(200))));
    checked_step(&mut engine);
    assert_eq!(engine.stats().running, 2);
    checked_finish(&mut engine);
    // One that needs more pages than the budget has runs alone.
    let mut engine = counting(2000, 2, config());
    let small = submit(&mut engine, &prompt(0, 0, 100), &greedy(50));
    let large = submit(&mut engine, &prompt(1, 0, 900), &greedy(300));
    checked_step(&mut engine);
    assert_eq!(engine.stats().running, 1);
    checked_finish(&mut engine);
    assert_eq!((small.tokens().len(), large.tokens().len()), (50, 300));
    assert_eq!(engine.pages().0, 5);
}

/// A pool is no larger than requests and prefixes can need.
#[test]
fn a_small_model_gets_no_more_pages_than_it_can_use() {
    let config = BatchConfig {
        max_batch: 4,
        prefix_tokens: 1024,
        ..BatchConfig::default()
    };
    let mut engine = counting(700, 1000, config);
    submit(&mut engine, &[5], &greedy(1));
    finish(&mut engine);
    assert_eq!(engine.pages().0, 4 * 3 + 4);
}

#[test]
fn after_memory_ran_out_the_pool_is_smaller_until_nobody_runs() {
    let config = BatchConfig {
        out_of_memory: OutOfMemoryPolicy::RequeueNewest,
        ..BatchConfig::default()
    };
    let mut engine = counting(2000, 40, config);
    let records: Vec<Record> = (0..4)
        .map(|which| submit(&mut engine, &prompt(which, 0, 300), &greedy(20)))
        .collect();
    (0..3).for_each(|_| checked_step(&mut engine));
    assert_eq!((engine.pages().0, engine.stats().running), (40, 4));
    engine.advance();
    assert!(engine.preempt("CUDA out of memory"));
    engine.check_pages();
    assert_eq!(engine.pages(), (0, 0));
    checked_step(&mut engine);
    // Two pages of three requests, and one more for each.
    assert_eq!(engine.pages().0, 9);
    checked_finish(&mut engine);
    assert!(records.iter().all(|record| record.tokens().len() == 20));
    submit(&mut engine, &[5], &greedy(1));
    checked_finish(&mut engine);
    assert_eq!(engine.pages().0, 40);
}

#[derive(Debug, Clone)]
enum Act {
    Ask {
        which: i64,
        shared: usize,
        length: usize,
        tokens: usize,
    },
    Steps(usize),
    Leave(usize),
    RunOut,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let ask = (
        0i64..6,
        prop::sample::select(vec![0usize, 40, 256, 300]),
        1usize..600,
        1usize..120,
    );
    let act = prop_oneof![
        6 => ask.prop_map(|(which, shared, length, tokens)| Act::Ask { which, shared, length, tokens }),
        4 => (1usize..60).prop_map(Act::Steps),
        1 => (0usize..8).prop_map(Act::Leave),
        1 => Just(Act::RunOut),
    ];
    prop::collection::vec(act, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whoever asks, leaves and gives way: every page is free or somebody's, every answer is the
    /// one that a request alone gets, and in the end nobody has a page.
    #[test]
    fn no_page_is_lost_and_no_answer_changes(acts in acts(), pages in 4usize..16) {
        let config = BatchConfig {
            max_batch: 5,
            prefix_tokens: 2048,
            out_of_memory: OutOfMemoryPolicy::RequeueNewest,
            ..BatchConfig::default()
        };
        let mut engine = counting(1000, pages, config);
        let mut asked: Vec<(Record, i64, usize)> = Vec::new();
        for act in acts {
            match act {
                Act::Ask { which, shared, length, tokens } => {
                    let prompt = prompt(which, shared, length);
                    let record = submit(&mut engine, &prompt, &greedy(tokens));
                    asked.push((record, prompt[length - 1], tokens));
                }
                Act::Steps(count) => (0..count).for_each(|_| checked_step(&mut engine)),
                Act::Leave(which) => {
                    if let Some((record, ..)) = asked.get(which) {
                        record.leave();
                    }
                }
                Act::RunOut => {
                    engine.preempt("CUDA out of memory");
                    engine.check_pages();
                }
            }
        }
        checked_finish(&mut engine);
        for (record, last, tokens) in &asked {
            let told = record.tokens();
            let want: Vec<i64> = (1..=*tokens as i64).map(|at| (last + at) % 64).collect();
            prop_assert_eq!(&told[..], &want[..told.len()]);
            prop_assert!(told.len() == *tokens || record.reason().is_none());
        }
    }
}
