//! A cache of pages beside one of slots: on the CPU, with the twins of what a GPU runs.

mod sequences;

use tch::{Device, Kind, Tensor};

use super::*;
use crate::model::layers::attention::{AttentionParams, ForwardPass, QuerySpan};
use crate::model::layers::rope::{Rope, RopePairing, Scaling};
use crate::model::tests::{GOLDENS, distance, loaded, paged_goldens};
use crate::model::{CausalLm, ModelInfo};
use crate::shim::tests::{apart, numbers, step};
use crate::shim::trace::{Counts, Trace};

fn info(layers: usize, heads: i64, kv_heads: i64, head_dim: i64) -> ModelInfo {
    ModelInfo {
        family: "test",
        layers,
        heads,
        kv_heads,
        head_dim,
        hidden: heads * head_dim,
        vocab: 1,
        context: 1024,
        end_tokens: Vec::new(),
        begin_token: None,
        tied: false,
        capped: false,
    }
}

fn span(slot: i64, start: i64, length: i64) -> QuerySpan {
    QuerySpan { slot, start, length }
}

/// Keys and values of the first `length` tokens of a slot, as [`SlotCache::copy_of`] gives them.
fn contents(cache: &KvCache, slot: i64, length: i64) -> Tensor {
    match cache {
        KvCache::Slots(cache) => cache.copy_of(slot, length),
        KvCache::Pages(cache) => of_table(cache, &cache.tables()[slot as usize], length),
    }
}

fn of_table(cache: &PageCache, table: &pages::PageTable, length: i64) -> Tensor {
    let of = |x_ppkd: &Tensor| {
        let x_nkd = x_ppkd.flatten(0, 1);
        let runs = table.runs(PAGE, 0, length).into_iter();
        let parts: Vec<Tensor> = runs.map(|run| x_nkd.narrow(0, run.place, run.length)).collect();
        match parts.is_empty() {
            true => x_nkd.narrow(0, 0, 0),
            false => Tensor::cat(&parts, 0),
        }
    };
    let layers = (0..cache.layers()).map(|layer| cache.layer(layer));
    let both: Vec<Tensor> = layers.flat_map(|(k, v)| [of(k), of(v)]).collect();
    Tensor::stack(&both, 0)
}

/// Writes new tokens of a slot, each with values of its own from `first` on.
fn write(cache: &mut KvCache, slot: i64, start: i64, values: &[f64]) {
    let length = values.len() as i64;
    let spans = std::iter::once((slot, start, length));
    cache.hold(spans);
    let KvCache::Pages(pages) = &*cache else {
        unreachable!("slots have a test of their own");
    };
    let table = &pages.tables()[slot as usize];
    let places: Vec<i64> = table
        .runs(PAGE, start, length)
        .into_iter()
        .flat_map(|run| run.place..run.place + run.length)
        .collect();
    let (layers, size) = (pages.layers(), pages.layer(0).0.size());
    let places_n = Tensor::from_slice(&places);
    let values_n = Tensor::from_slice(values).to_kind(Kind::Float);
    let x = values_n
        .view([1, -1, 1, 1])
        .expand([1, length, size[2], size[3]], false);
    for layer in 0..layers {
        cache.write(layer, &places_n, &(&x + layer as f64 * 0.25), &-&x);
    }
}

/// Passes of new tokens: ragged prompts, some across pages; prompts that follow others; decoding;
/// slots in any order.
fn passes() -> Vec<Vec<QuerySpan>> {
    vec![
        vec![span(0, 0, 250), span(2, 0, 3), span(1, 0, 257)],
        vec![span(0, 250, 1), span(1, 257, 1), span(2, 3, 1)],
        vec![span(2, 4, 300), span(0, 251, 12)],
        vec![span(0, 263, 1), span(1, 258, 1), span(2, 304, 1)],
    ]
}

/// With many key heads and few, all features rotated and some, windows within a page and across:
/// attention, keys and values are those of today's path.
#[test]
fn attention_over_pages_is_that_over_slots() {
    let _guard = tch::no_grad_guard();
    for kind in [Kind::Float, Kind::BFloat16] {
        for (heads, kv_heads, window) in [(4, 4, None), (4, 2, None), (4, 1, Some(5)), (4, 2, Some(260))] {
            for (pairing, dims) in [(RopePairing::Halves, 16), (RopePairing::Pairs, 8)] {
                let info = info(1, heads, kv_heads, 16);
                let (mut paged, mut slots) = (
                    KvCache::paged(&info, kind, 8),
                    KvCache::new(&info, kind, Device::Cpu),
                );
                let rope = Rope {
                    theta: 10_000.0,
                    dims,
                    scaling: Scaling::None,
                    pairing,
                    in_fp32: false,
                };
                let params = AttentionParams {
                    window,
                    ..AttentionParams::by_root(16)
                };
                for (number, spans) in (0i64..).zip(passes()) {
                    let tokens: i64 = spans.iter().map(|span| span.length).sum();
                    let x = |heads, seed| numbers(&[1, tokens, heads, 16], kind, 10 * number + seed);
                    let (q, k, v) = (x(heads, 1), x(kv_heads, 2), x(kv_heads, 3));
                    let run = |cache: &mut KvCache| {
                        let mut pass = ForwardPass::ragged(cache, &spans, Device::Cpu);
                        pass.rotate_and_attend(0, &rope, &q, &k, &v, params)
                    };
                    let (ours, want) = (run(&mut paged), run(&mut slots));
                    let off = apart(&ours, &want);
                    let at =
                        format!("{kind:?}, {kv_heads} of {heads}, {window:?}, {pairing:?}, pass {number}");
                    assert!(off <= 2.0 * step(kind), "{at}: {off:e}");
                    for span in &spans {
                        let length = span.start + span.length;
                        let known = |cache: &KvCache| contents(cache, span.slot, length);
                        assert_eq!(known(&paged), known(&slots), "{at}: slot {}", span.slot);
                    }
                }
            }
        }
    }
}

/// Moves, prefixes and sequences that leave do the same to both.
#[test]
fn sequences_of_pages_move_share_and_leave_as_those_of_slots() {
    let _guard = tch::no_grad_guard();
    let info = info(2, 2, 2, 8);
    let (mut paged, mut slots) = (
        KvCache::paged(&info, Kind::Float, 8),
        KvCache::new(&info, Kind::Float, Device::Cpu),
    );
    let lengths = [300, 20, 256];
    for cache in [&mut paged, &mut slots] {
        cache.reserve(3, 300);
        for (slot, length) in (0..).zip(lengths) {
            let spans = [span(slot, 0, length)];
            let mut pass = ForwardPass::ragged(cache, &spans, Device::Cpu);
            let rope = Rope {
                theta: 10_000.0,
                dims: 8,
                scaling: Scaling::None,
                pairing: RopePairing::Halves,
                in_fp32: false,
            };
            for layer in 0..2 {
                let x = numbers(&[1, length, 2, 8], Kind::Float, slot);
                let params = AttentionParams::by_root(8);
                let _ = pass.rotate_and_attend(layer, &rope, &x, &x, &x, params);
            }
        }
    }
    assert_eq!(used(&paged), 4);
    let same = |paged: &KvCache, slots: &KvCache, lengths: &[i64]| {
        for (slot, &length) in (0..).zip(lengths) {
            let known = |cache: &KvCache| contents(cache, slot, length);
            assert_eq!(known(paged), known(slots), "slot {slot}");
        }
    };
    same(&paged, &slots, &lengths);
    for cache in [&mut paged, &mut slots] {
        cache.move_row(2, 0, 256);
    }
    same(&paged, &slots, &[256, 20]);
    for cache in [&mut paged, &mut slots] {
        let mut prefix = cache.take_prefix(0, 200);
        cache.wipe(2);
        cache.put_prefix(2, &prefix, 180);
        cache.shorten_prefix(&mut prefix, 190);
        cache.drop_prefix(prefix);
    }
    same(&paged, &slots, &[256, 20, 180]);
    for cache in [&mut paged, &mut slots] {
        cache.vacate(0, 2, 180);
    }
    same(&paged, &slots, &[180, 20]);
    for cache in [&mut paged, &mut slots] {
        cache.vacate(1, 1, 20);
    }
    same(&paged, &slots, &[180]);
    paged.vacate(0, 0, 180);
    assert_eq!(used(&paged), 0);
}

/// Pages in use.
fn used(cache: &KvCache) -> usize {
    let KvCache::Pages(cache) = cache else {
        return 0;
    };
    cache.used()
}

fn traced(f: impl FnOnce()) -> Counts {
    let trace = Trace::begin().unwrap();
    f();
    trace.end()
}

/// A prefix of whole pages takes none and copies nothing; of a last page in part, only the tokens
/// that it has are copied, read once and written once in all layers. Growth and moves copy nothing.
#[test]
fn shared_pages_are_not_copied_and_neither_are_growing_sequences() {
    let _guard = tch::no_grad_guard();
    let info = info(3, 4, 2, 8);
    let token_bytes = KvCache::bytes_per_token(&info, Kind::Float) as i64;
    let mut cache = KvCache::paged(&info, Kind::Float, 16);
    let values: Vec<f64> = (0..800).map(f64::from).collect();
    write(&mut cache, 0, 0, &values);
    let mut prefix = None;
    let counts = traced(|| prefix = Some(cache.take_prefix(0, 800)));
    assert_eq!((counts.launches, counts.bytes, used(&cache)), (0, 0, 4));
    let prefix = prefix.unwrap();
    for (slot, length, pages) in [(1, 768, 0), (2, 512, 0), (3, 700, 1), (4, 257, 1)] {
        let before = used(&cache);
        let counts = traced(|| {
            cache.put_prefix(slot, &prefix, length as usize);
            cache.hold(std::iter::once((slot, length, 0)));
        });
        let tokens = length % PAGE;
        assert_eq!(counts.bytes, 2 * tokens * token_bytes, "{length}: {counts:?}");
        assert_eq!(counts.launches, i64::from(tokens > 0), "{length}: {counts:?}");
        assert_eq!(used(&cache) - before, pages, "{length}");
        assert_eq!(contents(&cache, slot, length), contents(&cache, 0, length));
    }
    // Across borders of pages, and behind a prefix that is shared to its end.
    for (slot, start, end) in [(0, 800, 1025), (1, 768, 769), (2, 512, 1024)] {
        let counts = traced(|| cache.hold(std::iter::once((slot, start, end - start))));
        assert_eq!((counts.launches, counts.bytes), (0, 0), "{slot}: {counts:?}");
    }
    let counts = traced(|| {
        cache.move_row(4, 1, 257);
        cache.vacate(0, 4, 769);
        cache.drop_prefix(prefix);
    });
    assert_eq!((counts.launches, counts.bytes), (0, 0), "{counts:?}");
}

/// Whoever took a page may go on in it behind the tokens that others share, and keeps it.
#[test]
fn a_sequence_goes_on_behind_its_own_prefix_without_a_copy() {
    let _guard = tch::no_grad_guard();
    let mut cache = KvCache::paged(&info(1, 1, 1, 8), Kind::Float, 4);
    write(&mut cache, 0, 0, &[1.0; 100]);
    let prefix = cache.take_prefix(0, 100);
    let counts = traced(|| cache.hold(std::iter::once((0, 100, 1))));
    assert_eq!((counts.bytes, used(&cache)), (0, 1), "{counts:?}");
    write(&mut cache, 0, 100, &[2.0; 50]);
    cache.put_prefix(1, &prefix, 100);
    write(&mut cache, 1, 100, &[3.0; 50]);
    let last = |slot| {
        contents(&cache, slot, 150)
            .get(0)
            .get(149)
            .flatten(0, -1)
            .double_value(&[0])
    };
    assert_eq!((last(0), last(1)), (2.0, 3.0));
    assert_eq!(contents(&cache, 0, 100), contents(&cache, 1, 100));
    assert_eq!(used(&cache), 2);
}

#[test]
fn a_pool_that_is_too_small_changes_nothing() {
    let mut cache = KvCache::paged(&info(1, 1, 1, 8), Kind::Float, 3);
    let KvCache::Pages(pages) = &mut cache else {
        unreachable!("it is one of pages");
    };
    assert!(pages.prepare(0, 0, 300) && !pages.prepare(1, 0, 257) && pages.prepare(1, 0, 256));
    assert_eq!((pages.total(), pages.used()), (3, 3));
    assert_eq!(pages.left_beside(1, None), -1);
    let known = pages.share(0, 300);
    // Nothing is left for the page behind the shared one.
    assert_eq!(pages.left_beside(300, Some((&known, 256))), -1);
    assert_eq!(pages.left_beside(256, Some((&known, 256))), 0);
    pages.empty_slot(0);
    // The prefix alone has them now, so whoever shares it takes them.
    assert_eq!(
        (pages.used(), pages.left_beside(300, Some((&known, 256)))),
        (3, 0)
    );
    assert_eq!(pages.freed_by(&known), 2);
    pages.check(std::iter::once(&known));
    pages.release(known);
    pages.provide(5);
    assert_eq!((pages.total(), pages.used(), pages.tables().len()), (5, 0, 0));
}

/// On a GPU that reads the caches of others by pages.
#[test]
fn models_with_capped_scores_have_slots() {
    for capped in [false, true] {
        let info = ModelInfo {
            capped,
            ..info(1, 4, 2, 64)
        };
        let has_pages = KvCache::has_pages_at(&info, Kind::BFloat16, Some((9, 0)));
        assert_eq!(has_pages, !capped);
    }
    let goldens = (paged_goldens().count(), GOLDENS.len());
    assert!(goldens.0 < goldens.1, "no golden has capped scores");
}

#[test]
#[should_panic(expected = "capped scores are not computed over pages")]
fn a_pool_for_capped_scores_is_refused() {
    let info = ModelInfo {
        capped: true,
        ..info(1, 1, 1, 8)
    };
    KvCache::paged(&info, Kind::Float, 1);
}

/// Whole models, from prompts over a reused prefix to decoding.
#[test]
fn models_have_the_same_logits_over_pages() {
    let _guard = tch::no_grad_guard();
    for name in paged_goldens() {
        let loaded = loaded(name);
        let model = &loaded.model;
        let token = |at: i64| (at * 31 + 7) % model.info().vocab;
        let run = |cache: &mut KvCache| {
            let mut logits = Vec::new();
            for spans in passes() {
                let tokens_of = |span: &QuerySpan| {
                    let slot = span.slot;
                    (span.start..span.start + span.length).map(move |at| token(at + slot))
                };
                let tokens: Vec<i64> = spans.iter().flat_map(tokens_of).collect();
                let mut pass = ForwardPass::ragged(cache, &spans, Device::Cpu);
                logits.push(logits_of(&**model, &tokens, 1, &mut pass));
            }
            let prefix = cache.take_prefix(1, 259);
            // A slot for the other sequence, and room for what follows.
            cache.reserve(4, 600);
            cache.put_prefix(3, &prefix, 255);
            cache.move_row(3, 0, 255);
            for starts in [[255, 259], [256, 260], [257, 261]] {
                let mut pass = ForwardPass::cached(cache, 0, &starts, 1, Device::Cpu);
                let tokens = starts.map(token);
                logits.push(logits_of(&**model, &tokens, 2, &mut pass));
            }
            logits
        };
        let ours = run(&mut KvCache::paged(model.info(), Kind::Float, 12));
        let want = run(&mut KvCache::new(model.info(), Kind::Float, Device::Cpu));
        for (number, (ours, want)) in ours.iter().zip(&want).enumerate() {
            let off = distance(ours, want);
            assert!(off <= 1e-4, "{name}: pass {number} differs by {off:e}");
        }
    }
}

fn logits_of(model: &dyn CausalLm, tokens: &[i64], rows: i64, pass: &mut ForwardPass) -> Tensor {
    let tokens_bt = Tensor::from_slice(tokens).view([rows, -1]);
    model.logits(&model.forward(&tokens_bt, pass))
}
