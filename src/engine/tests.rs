//! The engine in token ids, against `transformers`' greedy text, a naive sampler, and a model that is a table.

use std::sync::{Arc, Mutex};

use ewe::backend::{Backend, BackendError, FinishReason, Sampling};
use futures::StreamExt;
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use super::answer::{Answer, Event};
use super::batch::{Config, Engine, Listener, Request, Wants};
use super::handle::{Ask, LocalBackend};
use super::logprobs::Logprobs;
use super::sampler::{Row, Seen, choose};
use super::text::TextStream;
use crate::model::attention::Pass;
use crate::model::layers::Linear;
use crate::model::tests::{GOLDENS, golden, loaded};
use crate::model::{CausalLm, Ends, ModelInfo};

// --- helpers ---------------------------------------------------------------------------------------------------------

/// Tokens, why they ended, and whether nobody listens any more.
type Heard = (Vec<i64>, Option<FinishReason>, bool);

/// What became of a request.
#[derive(Default, Clone)]
struct Record(Arc<Mutex<Heard>>);

impl Record {
    fn tokens(&self) -> Vec<i64> {
        self.0.lock().unwrap().0.clone()
    }
    fn reason(&self) -> Option<FinishReason> {
        self.0.lock().unwrap().1
    }
    fn leave(&self) {
        self.0.lock().unwrap().2 = true;
    }
}

impl Listener for Record {
    fn token(&mut self, id: i64) -> bool {
        self.0.lock().unwrap().0.push(id);
        true
    }
    fn done(&mut self, reason: FinishReason, _: usize) {
        self.0.lock().unwrap().1 = Some(reason);
    }
    fn failed(&mut self, reason: String) {
        panic!("{reason}");
    }
    fn gone(&self) -> bool {
        self.0.lock().unwrap().2
    }
}

fn submit(engine: &mut Engine, prompt: &[i64], sampling: &Sampling) -> Record {
    let record = Record::default();
    engine.submit(Request {
        prompt: prompt.to_vec(),
        sampling: sampling.clone(),
        end_tokens: vec![0],
        wants: Wants::default(),
        listener: Box::new(record.clone()),
    });
    record
}

fn greedy(max_tokens: usize) -> Sampling {
    Sampling {
        temperature: 0.0,
        max_tokens,
        ..Sampling::default()
    }
}

fn finish(engine: &mut Engine) {
    for _ in 0..10_000 {
        if engine.idle() {
            return;
        }
        engine.step();
    }
    panic!("the engine does not come to an end");
}

/// Prompt and continuation, an end token included, as `transformers` generated them.
fn expected(name: &str) -> Vec<(Vec<i64>, Vec<i64>)> {
    #[derive(serde::Deserialize)]
    struct Case {
        ids: Vec<i64>,
        new: Vec<i64>,
    }
    let text = std::fs::read_to_string(golden(name).join("expected.json")).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cases: Vec<Case> = serde_json::from_value(value["greedy"].take()).unwrap();
    cases.into_iter().map(|case| (case.ids, case.new)).collect()
}

fn tiny_engine(name: &str, config: Config) -> Engine {
    Engine::new(loaded(name).model, Kind::Float, Device::Cpu, config)
}

/// A model whose scores are those of a table: after token `i`, the scores of row `i`.
struct Table {
    info: ModelInfo,
    scores_vv: Tensor,
}

impl Table {
    /// After `i` comes `i + 1`, and so around.
    fn counting(vocab: i64) -> Table {
        Table::of(Tensor::eye(vocab, (Kind::Float, Device::Cpu)).roll(1, 1) * 20.0)
    }

    fn of(scores_vv: Tensor) -> Table {
        let vocab = scores_vv.size()[0];
        let info = ModelInfo {
            family: "table",
            layers: 0,
            heads: 1,
            kv_heads: 1,
            head_dim: 1,
            hidden: vocab,
            vocab,
            context: 50,
            end_tokens: vec![0],
            begin_token: None,
            tied: false,
        };
        Table { info, scores_vv }
    }
}

impl CausalLm for Table {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
    fn embed(&self, tokens_bt: &Tensor) -> Tensor {
        Tensor::embedding(&self.scores_vv, tokens_bt, -1, false, false)
    }
    fn block(&self, _: usize, x_btd: &Tensor, _: &mut Pass) -> Tensor {
        x_btd.shallow_clone()
    }
    fn finish(&self, x_btd: &Tensor) -> Tensor {
        x_btd.shallow_clone()
    }
    fn logits(&self, hidden: &Tensor) -> Tensor {
        hidden.shallow_clone()
    }
    fn pack_head(&mut self) {}

    fn ends(&mut self) -> Ends<'_> {
        unreachable!("it has no layers")
    }

    fn head(&self) -> (Tensor, Option<Tensor>) {
        (Tensor::eye(self.info.vocab, (Kind::Float, Device::Cpu)), None)
    }
    fn for_each_linear(&mut self, _: &mut dyn FnMut(&mut Linear)) {}
    fn parameters(&self) -> Vec<(String, Tensor)> {
        vec![("scores".to_string(), self.scores_vv.shallow_clone())]
    }
}

// --- the batch -------------------------------------------------------------------------------------------------------

#[test]
fn greedy_text_is_the_references_alone_and_in_a_batch() {
    for name in GOLDENS {
        let cases = expected(name);
        for (prompt, new) in &cases {
            let mut engine = tiny_engine(name, Config::default());
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
        // Joining at different times, leaving at different times, two slots for twelve requests.
        for (max_batch, pause) in [(32, 0), (3, 2), (2, 1)] {
            let mut engine = tiny_engine(
                name,
                Config {
                    max_batch,
                    ..Config::default()
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
    for name in GOLDENS {
        let head: Vec<i64> = (0..40).map(|i| 3 + i * 7 % 80).collect();
        let prompts: Vec<Vec<i64>> = (0..5).map(|i| [&head[..], &[5 + i, 9]].concat()).collect();
        let run = |prefix_bytes| {
            let mut engine = tiny_engine(
                name,
                Config {
                    prefix_bytes,
                    ..Config::default()
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
        Config {
            kv_bytes,
            ..Config::default()
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
        Config::default(),
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
    let config = Config {
        max_batch: 1,
        ..Config::default()
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
        let config = Config {
            max_batch,
            ..Config::default()
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

// --- the sampler -----------------------------------------------------------------------------------------------------

/// The same choice by sorting everything.
fn naive(scores: &[f32], s: &Sampling, u: f64) -> i64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    if s.temperature <= 0.0 {
        return order[0] as i64;
    }
    let plain = s.top_p >= 1.0 && s.top_k == 0 && s.min_p <= 0.0;
    let scaled = |i: usize| f64::from(scores[i] / s.temperature as f32);
    let best = scaled(order[0]);
    if s.top_k > 0 {
        order.truncate(s.top_k);
    }
    let weight = |i: usize| (scaled(i) - best).exp();
    let mass: f64 = order.iter().map(|&i| weight(i)).sum();
    let (mut kept, mut sum) = (Vec::new(), 0.0);
    for &i in &order {
        if weight(i) < s.min_p {
            break;
        }
        kept.push(i);
        sum += weight(i);
        if s.top_p < 1.0 && sum >= s.top_p * mass {
            break;
        }
    }
    if plain {
        // Without a filter the draw goes through the vocabulary in its own order.
        kept.sort_unstable();
    }
    let mut left = u * sum;
    for &i in &kept {
        left -= weight(i);
        if left < 0.0 {
            return i as i64;
        }
    }
    *kept.last().unwrap() as i64
}

fn naive_penalties(scores: &mut [f32], prompt: &[i64], generated: &[i64], s: &Sampling) {
    for (id, score) in scores.iter_mut().enumerate() {
        let count = generated.iter().filter(|&&t| t == id as i64).count();
        if count > 0 || prompt.contains(&(id as i64)) {
            let factor = s.repetition_penalty as f32;
            *score = if *score > 0.0 {
                *score / factor
            } else {
                *score * factor
            };
        }
        if count > 0 {
            *score -= (s.presence_penalty + s.frequency_penalty * count as f64) as f32;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Flat and peaked scores, vocabularies that do and do not divide into groups, every filter on and off.
    #[test]
    fn sampling_equals_sorting_everything(
        vocab in prop_oneof![Just(96usize), Just(1000), Just(5003), Just(20_480)],
        spread in prop_oneof![Just(0.05f32), Just(1.0), Just(6.0)],
        noise in any::<u64>(),
        temperature in prop_oneof![Just(0.0), 0.3f64..1.5],
        top_p in prop_oneof![Just(1.0), 0.05f64..0.999],
        top_k in prop_oneof![Just(0usize), 1usize..300],
        min_p in prop_oneof![Just(0.0), 0.001f64..0.5],
        penalties in prop_oneof![Just((0.0, 0.0, 1.0)), (0.0f64..2.0, 0.0f64..1.0, 0.8f64..1.5)],
        seed in any::<u64>(),
        index in 0usize..500,
    ) {
        tch::manual_seed(noise as i64 & i64::MAX);
        let scores = Tensor::randn([vocab as i64], (Kind::Float, Device::Cpu)) * f64::from(spread);
        let sampling = Sampling {
            temperature, top_p, top_k, min_p, seed,
            presence_penalty: penalties.0, frequency_penalty: penalties.1, repetition_penalty: penalties.2,
            ..Sampling::default()
        };
        let (prompt, generated) = ([1, 5, 9, 5], [3, 9, 3, 90, 3]);
        let mut seen = Seen::of_prompt(&prompt, None);
        generated.iter().for_each(|&id| seen.generated(id));
        let mut plain: Vec<f32> = Vec::try_from(&scores).unwrap();
        naive_penalties(&mut plain, &prompt, &generated, &sampling);
        let want = naive(&plain, &sampling, super::sampler::uniform(seed, index));
        // Beside a row of another kind, which must not matter.
        let other = Sampling { temperature: 1.0 - temperature.min(1.0), ..Sampling::default() };
        let rows = [
            Row { sampling: &sampling, seen: &seen, index, forbidden: &[] },
            Row { sampling: &other, seen: &seen, index: 0, forbidden: &[] },
        ];
        let both = Tensor::stack(&[&scores, &scores], 0);
        prop_assert_eq!(choose(&both, &rows)[0], Some(want));
    }
}

#[test]
fn draws_follow_the_probabilities() {
    let scores_bv = Tensor::from_slice(&[0.5f32.ln(), 0.3f32.ln(), 0.15f32.ln(), 0.05f32.ln()]).unsqueeze(0);
    let seen = Seen::default();
    for (top_p, want) in [(1.0, [0.5, 0.3, 0.15, 0.05]), (0.75, [0.625, 0.375, 0.0, 0.0])] {
        let sampling = Sampling {
            temperature: 1.0,
            top_p,
            seed: 3,
            ..Sampling::default()
        };
        let mut counts = [0.0; 4];
        for index in 0..4000 {
            counts[choose(
                &scores_bv,
                &[Row {
                    sampling: &sampling,
                    seen: &seen,
                    index,
                    forbidden: &[],
                }],
            )[0]
            .unwrap() as usize] += 1.0 / 4000.0;
        }
        let off = counts
            .iter()
            .zip(want)
            .map(|(a, b): (&f64, f64)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(off < 0.03, "top_p {top_p}: {counts:?}, want {want:?}");
    }
}

#[test]
fn scores_that_are_no_numbers_choose_nothing_and_do_not_touch_their_neighbours() {
    let seen = Seen::of_prompt(&[3], None);
    let whole = |value| Tensor::full([500], value, (Kind::Float, Device::Cpu));
    let one = |value| {
        let scores_v = Tensor::zeros([500], (Kind::Float, Device::Cpu));
        let _ = scores_v.get(400).fill_(value);
        scores_v
    };
    let samplings = [
        Sampling {
            top_p: 0.9,
            ..Sampling::default()
        },
        Sampling {
            top_k: 5,
            repetition_penalty: 1.3,
            ..Sampling::default()
        },
        Sampling::default(),
        greedy(1),
    ];
    for broken_v in [
        whole(f64::NAN),
        whole(f64::NEG_INFINITY),
        one(f64::NAN),
        one(f64::INFINITY),
    ] {
        for kind in [Kind::Float, Kind::BFloat16] {
            let scores_bv = Tensor::stack(&[&one(9.0), &broken_v, &one(9.0)], 0).to_kind(kind);
            for sampling in &samplings {
                let row = || Row {
                    sampling,
                    seen: &seen,
                    index: 0,
                    forbidden: &[],
                };
                let chosen = choose(&scores_bv, &[row(), row(), row()]);
                assert_eq!(chosen[1], None, "{sampling:?}");
                assert!(chosen[0].is_some() && chosen[0] == chosen[2], "{sampling:?}");
            }
        }
    }
}

#[test]
fn temperatures_that_nothing_can_be_divided_by_take_the_likeliest() {
    let scores_v = Tensor::arange(500, (Kind::Float, Device::Cpu)) / 50.0;
    let seen = Seen::of_prompt(&[3], None);
    for temperature in [1e-6, 1e-45, 1e-300, f64::MIN_POSITIVE] {
        for (top_p, min_p) in [(1.0, 0.0), (0.9, 0.0), (0.9, 0.5)] {
            let sampling = Sampling {
                temperature,
                top_p,
                min_p,
                ..Sampling::default()
            };
            let row = Row {
                sampling: &sampling,
                seen: &seen,
                index: 0,
                forbidden: &[],
            };
            let chosen = choose(&scores_v.unsqueeze(0).copy(), &[row]);
            assert_eq!(chosen, [Some(499)], "{temperature} {top_p} {min_p}");
        }
    }
}

#[test]
fn a_window_holds_the_repetition_penalty_to_the_last_tokens() {
    // 7 is likelier than 6 until it is penalised; it was said four tokens ago.
    let scores = || {
        let scores_v = Tensor::zeros([100], (Kind::Float, Device::Cpu));
        let _ = scores_v.get(7).fill_(2.0);
        let _ = scores_v.get(6).fill_(1.5);
        scores_v.unsqueeze(0)
    };
    let sampling = Sampling {
        repetition_penalty: 2.0,
        ..greedy(1)
    };
    for (window, want) in [(None, 6), (Some(4), 6), (Some(3), 7), (Some(0), 7)] {
        let mut seen = Seen::of_prompt(&[1, 7], window);
        [2, 3, 4].iter().for_each(|&id| seen.generated(id));
        let row = Row {
            sampling: &sampling,
            seen: &seen,
            index: 3,
            forbidden: &[],
        };
        assert_eq!(choose(&scores(), &[row]), [Some(want)], "{window:?}");
    }
}

// --- text ------------------------------------------------------------------------------------------------------------

/// Feeds the tokens of `text` one by one; gives the pieces, and where it stopped.
fn stream(text: &str, stop: &[&str]) -> (Vec<String>, bool) {
    let tokenizer = loaded("gptj").tokenizer;
    let stop: Vec<String> = stop.iter().map(|s| s.to_string()).collect();
    let mut stream = TextStream::after(&tokenizer, &[], &stop);
    let mut pieces = Vec::new();
    for id in tokenizer.encode(text, false).unwrap() {
        pieces.push(stream.push(id).unwrap());
        if stream.stopped() {
            return (pieces, true);
        }
    }
    pieces.push(stream.finish().unwrap());
    (pieces, stream.stopped())
}

#[test]
fn stop_strings_are_met_across_tokens_and_never_shown() {
    assert_eq!(stream("in the end", &[]).0.concat(), "in the end");
    let (pieces, stopped) = stream("one\n\n## two", &["\n\n#"]);
    assert_eq!((pieces.concat().as_str(), stopped), ("one", true));
    // The beginning of a stop string that is not one after all is shown in the end.
    let (pieces, stopped) = stream("a\n\nb\n", &["\n\n#", "\n?"]);
    assert_eq!((pieces.concat().as_str(), stopped), ("a\n\nb\n", false));
    // The earliest of several wins, whatever their order.
    assert_eq!(stream("abcdef", &["ef", "cd", ""]).0.concat(), "ab");
    let every: String = "thinking there".to_string();
    for from in 0..every.len() {
        for to in from + 1..=every.len() {
            let stop = &every[from..to];
            let (pieces, stopped) = stream(&every, &[stop]);
            assert!(stopped, "{stop:?}");
            assert_eq!(pieces.concat(), every[..every.find(stop).unwrap()], "{stop:?}");
        }
    }
}

#[test]
fn characters_of_several_tokens_come_whole() {
    let (pieces, _) = stream("caf\u{e9} \u{7f8a}!", &[]);
    assert_eq!(pieces.concat(), "caf\u{e9} \u{7f8a}!");
    assert!(
        pieces.iter().all(|piece| !piece.contains('\u{FFFD}')),
        "{pieces:?}"
    );
    // Stopped in the middle of a character, the rest is marked as unreadable and not dropped.
    let tokenizer = loaded("gptj").tokenizer;
    let ids = tokenizer.encode("a\u{7f8a}", false).unwrap();
    let mut stream = TextStream::after(&tokenizer, &[], &[]);
    let mut text: String = ids[..ids.len() - 1]
        .iter()
        .map(|&id| stream.push(id).unwrap())
        .collect();
    text += &stream.finish().unwrap();
    assert!(text.starts_with('a') && text.contains('\u{FFFD}'), "{text:?}");
}

// --- the handle ------------------------------------------------------------------------------------------------------

fn backend(name: &str) -> LocalBackend {
    LocalBackend::open(&golden(name), None, "cpu", "auto", Config::default()).unwrap()
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
            Event::Token { .. } => panic!("nobody asked"),
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
    // A head that fits nothing: the first product fails inside libtorch.
    let mut broken = Table::counting(8);
    broken.info.vocab = 96;
    tiny.model = Box::new(broken);
    let backend = LocalBackend::start(tiny, "broken".into(), Config::default()).unwrap();
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

/// A model that fails inside libtorch when it meets one token.
struct Fragile {
    model: Box<dyn CausalLm>,
    poison: i64,
}

impl CausalLm for Fragile {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }
    fn embed(&self, tokens_bt: &Tensor) -> Tensor {
        if tokens_bt.eq(self.poison).any().int64_value(&[]) == 1 {
            let _ = tokens_bt.view([-7, 13]);
        }
        self.model.embed(tokens_bt)
    }
    fn block(&self, layer: usize, x_btd: &Tensor, pass: &mut Pass) -> Tensor {
        self.model.block(layer, x_btd, pass)
    }
    fn finish(&self, x_btd: &Tensor) -> Tensor {
        self.model.finish(x_btd)
    }
    fn logits(&self, hidden: &Tensor) -> Tensor {
        self.model.logits(hidden)
    }
    fn pack_head(&mut self) {}

    fn ends(&mut self) -> Ends<'_> {
        self.model.ends()
    }

    fn head(&self) -> (Tensor, Option<Tensor>) {
        self.model.head()
    }
    fn for_each_linear(&mut self, f: &mut dyn FnMut(&mut Linear)) {
        self.model.for_each_linear(f)
    }
    fn parameters(&self) -> Vec<(String, Tensor)> {
        self.model.parameters()
    }
}

#[tokio::test]
async fn the_engine_goes_on_after_a_step_that_failed() {
    let (prompt, _) = expected("gemma3").remove(2);
    let poison = (3..90).find(|id| !prompt.contains(id)).unwrap();
    let start = |poison| {
        let mut tiny = loaded("gemma3");
        let model = tiny.model;
        tiny.model = Box::new(Fragile { model, poison });
        let config = Config {
            max_batch: 2,
            ..Config::default()
        };
        LocalBackend::start(tiny, "fragile".into(), config).unwrap()
    };
    let untouched = start(-1).stream(prompt.clone(), greedy(20)).unwrap();
    let want = untouched.completion().await.unwrap();
    let backend = start(poison);
    for _ in 0..5 {
        // The first runs beside the one that fails, the third waits meanwhile.
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
        let config = Config {
            max_batch: 3,
            ..Config::default()
        };
        LocalBackend::start(tiny, "broken".into(), config).unwrap()
    };
    let answer = |backend: &LocalBackend, prompt: &[i64]| backend.stream(prompt.to_vec(), greedy(8)).unwrap();
    // Rows of different lengths, so that the shorter ones look at places of their slots that a mask hides.
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
        // Whoever gets the slots next.
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
    let config = Config {
        kv_bytes: 20 * per_token,
        ..Config::default()
    };
    let backend = LocalBackend::open(&golden("gemma3"), None, "cpu", "auto", config).unwrap();
    assert_eq!((backend.budget().tokens, backend.room()), (20, 20));
    assert!(
        backend.budget_line().contains("20 tokens, less than"),
        "{}",
        backend.budget_line()
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

#[test]
fn storage_stays_within_the_budget_while_it_grows() {
    let per_token = 2 * 3 * 2 * 16 * 4;
    for tokens in [60, 100, 130, 200] {
        let mut engine = tiny_engine(
            "gemma3",
            Config {
                kv_bytes: tokens * per_token,
                ..Config::default()
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
        Config::default(),
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
        Config::default(),
    );
    let mut ask = |min_tokens, ignore_eos| {
        let record = Record::default();
        engine.submit(Request {
            prompt: vec![7],
            sampling: Sampling {
                ignore_eos,
                ..greedy(6)
            },
            // One of them is beyond the vocabulary, as configs have it.
            end_tokens: vec![0, 5000],
            wants: Wants {
                min_tokens,
                ..Wants::default()
            },
            listener: Box::new(record.clone()),
        });
        finish(&mut engine);
        record
    };
    // 8, 9, and then the text ends; held off, another token takes its place.
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

/// Panics as long as it waits for a slot.
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
        Config::default(),
    );
    let before = submit(&mut engine, &[1], &greedy(5));
    engine.step();
    let told = Record::default();
    engine.submit(Request {
        prompt: vec![1],
        sampling: greedy(5),
        end_tokens: Vec::new(),
        wants: Wants::default(),
        listener: Box::new(Bomb(told.clone())),
    });
    let behind = submit(&mut engine, &[11], &greedy(5));
    finish(&mut engine);
    assert_eq!(before.tokens(), [2, 3, 4, 5, 6]);
    assert_eq!(behind.tokens(), [12, 13, 14, 15, 16]);
    assert!(told.gone());
}

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
            let mut pass = Pass::whole(1, ids.len() as i64, Device::Cpu);
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
