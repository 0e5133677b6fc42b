//! Sequences and prefixes that come, grow, share pages and leave, in any order.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Write(i64, usize),
    Keep(i64, i64),
    Put(i64, usize, i64),
    Shorten(usize, i64),
    Forget(usize),
    Swap(i64, i64),
    Leave(i64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let slot = 0i64..3;
    let tokens = 0i64..700;
    let act = prop_oneof![
        (slot.clone(), 1usize..400).prop_map(|(slot, count)| Act::Write(slot, count)),
        (slot.clone(), 1usize..400).prop_map(|(slot, count)| Act::Write(slot, count)),
        (slot.clone(), tokens.clone()).prop_map(|(slot, length)| Act::Keep(slot, length)),
        (slot.clone(), 0usize..3, tokens.clone())
            .prop_map(|(slot, which, length)| Act::Put(slot, which, length)),
        (0usize..3, tokens).prop_map(|(which, length)| Act::Shorten(which, length)),
        (0usize..3).prop_map(Act::Forget),
        (slot.clone(), slot.clone()).prop_map(|(one, other)| Act::Swap(one, other)),
        slot.prop_map(Act::Leave),
    ];
    prop::collection::vec(act, 0..24)
}

/// A cache of pages with what was written for its slots and prefixes.
struct Followed {
    cache: KvCache,
    slots: Vec<Vec<f64>>,
    prefixes: Vec<(Prefix, Vec<f64>)>,
    next: f64,
}

impl Followed {
    fn pages(&mut self) -> &mut PageCache {
        match &mut self.cache {
            KvCache::Pages(cache) => cache,
            KvCache::Slots(_) => unreachable!("it is one of pages"),
        }
    }

    fn take(&mut self, act: Act) {
        let prefixes = self.prefixes.len();
        match act {
            Act::Write(slot, count) => {
                let start = self.slots[slot as usize].len() as i64;
                if self.pages().prepare(slot, start, start + count as i64) {
                    let values: Vec<f64> = (0..count).map(|at| self.next + at as f64).collect();
                    write(&mut self.cache, slot, start, &values);
                    self.next += count as f64;
                    self.slots[slot as usize].extend(values);
                }
            }
            Act::Keep(slot, length) => {
                let tokens = &self.slots[slot as usize];
                let length = length.min(tokens.len() as i64);
                let kept = tokens[..length as usize].to_vec();
                self.prefixes.push((self.cache.take_prefix(slot, length), kept));
            }
            Act::Put(slot, which, length) if which < prefixes => {
                let (prefix, tokens) = &self.prefixes[which];
                let length = tokens.len().min(length as usize);
                self.cache.put_prefix(slot, prefix, length);
                self.slots[slot as usize] = tokens[..length].to_vec();
            }
            Act::Shorten(which, length) if which < prefixes => {
                let (prefix, tokens) = &mut self.prefixes[which];
                tokens.truncate(length as usize);
                self.cache.shorten_prefix(prefix, tokens.len());
            }
            Act::Forget(which) if which < prefixes => {
                self.cache.drop_prefix(self.prefixes.swap_remove(which).0);
            }
            Act::Swap(one, other) => {
                self.cache.move_row(one, other, 0);
                self.slots.swap(one as usize, other as usize);
            }
            Act::Leave(slot) => {
                self.pages().empty_slot(slot);
                self.slots[slot as usize].clear();
            }
            _ => {}
        }
    }

    fn check(&mut self) {
        let KvCache::Pages(cache) = &self.cache else {
            unreachable!("it is one of pages");
        };
        let tables = || self.prefixes.iter().filter_map(|(prefix, _)| prefix.table());
        cache.check(tables());
        let slots = cache.tables().iter().zip(&self.slots);
        let prefixes = tables().zip(self.prefixes.iter().map(|(_, tokens)| tokens));
        for (table, tokens) in slots.chain(prefixes) {
            let read = of_table(cache, table, tokens.len() as i64).get(0).flatten(0, -1);
            assert_eq!(
                &Vec::<f64>::try_from(&read.to_kind(Kind::Double)).unwrap(),
                tokens
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever sequences and prefixes do: each reads what was written for it, and each page is
    /// free or theirs.
    #[test]
    fn pages_keep_what_was_written_whoever_shares_them(acts in acts()) {
        let _guard = tch::no_grad_guard();
        let mut cache = KvCache::paged(&info(1, 1, 1, 1), Kind::Float, 7);
        cache.reserve(3, 0);
        let mut followed = Followed {
            cache,
            slots: vec![Vec::new(); 3],
            prefixes: Vec::new(),
            next: 1.0,
        };
        for act in acts {
            followed.take(act);
            followed.check();
        }
        for slot in 0..3 {
            followed.take(Act::Leave(slot));
        }
        while !followed.prefixes.is_empty() {
            followed.take(Act::Forget(0));
        }
        prop_assert_eq!(used(&followed.cache), 0);
    }
}
