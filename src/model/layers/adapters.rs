//! Several adapters on the weights of one model: each row of a forward pass has one of them or
//! none. The base's product is computed once for all rows, and each adapter's correction for its
//! own.
//!
//! Shapes: `n` rows of input, `g` rows of one adapter, `i` features in, `o` out.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

use super::lora::Lora;
use crate::shim::transfer::numbers_on;

thread_local! {
    static ROUTES: RefCell<Vec<Route>> = const { RefCell::new(Vec::new()) };
}

/// The rows of one adapter.
#[derive(Debug)]
struct Route {
    adapter: usize,
    /// int64 `[g]`; none for all rows.
    rows_g: Option<Tensor>,
}

/// Says which adapter each row has, for forward passes on this thread until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Routed(());

impl Drop for Routed {
    fn drop(&mut self) {
        ROUTES.with_borrow_mut(Vec::clear);
    }
}

/// Sets which adapter rows have, by the runs of rows that have the same: their adapter and their
/// number, in order. Without this, rows have none.
pub fn route(runs: &[(Option<usize>, i64)], device: Device) -> Routed {
    let mut adapters: Vec<usize> = runs.iter().filter_map(|&(adapter, _)| adapter).collect();
    adapters.sort_unstable();
    adapters.dedup();
    let routes = adapters.iter().map(|&adapter| {
        let is_all = runs.iter().all(|&(other, _)| other == Some(adapter));
        let rows = || {
            let mut begin = 0;
            let rows = runs.iter().flat_map(|&(other, count)| {
                begin += count;
                let rows = begin - count..begin;
                if other == Some(adapter) { rows } else { 0..0 }
            });
            numbers_on(&rows.collect::<Vec<i64>>(), Kind::Int64, device)
        };
        Route {
            adapter,
            rows_g: (!is_all).then(rows),
        }
    });
    let routes = routes.collect();
    ROUTES.with_borrow_mut(|set| *set = routes);
    Routed(())
}

/// Computes a layer whose rows have these `adapters`, as [`Lora::apply`] computes one with a single
/// adapter: `product(x, bias)` is the layer's own product.
pub fn forward(
    adapters: &[Option<Lora>],
    x_ni: &Tensor,
    weight: impl Fn() -> Tensor,
    bias_o: Option<&Tensor>,
    product: impl Fn(&Tensor, Option<&Tensor>) -> Tensor,
) -> Tensor {
    ROUTES.with_borrow(|routes| {
        if let [
            Route {
                adapter,
                rows_g: None,
            },
        ] = routes.as_slice()
        {
            return match adapters.get(*adapter) {
                Some(Some(lora)) => lora.apply(x_ni, weight, bias_o, product),
                _ => product(x_ni, bias_o),
            };
        }
        let mut y_no = product(x_ni, bias_o);
        for route in routes {
            let (Some(Some(lora)), Some(rows_g)) = (adapters.get(route.adapter), &route.rows_g) else {
                continue;
            };
            let x_gi = x_ni.index_select(0, rows_g);
            // Plain LoRA adds to what is there; DoRA scales it before the bias is added.
            let own = |x_gi: &Tensor, bias: Option<&Tensor>| match bias.is_some() == bias_o.is_some() {
                true => y_no.index_select(0, rows_g),
                false => product(x_gi, bias),
            };
            let adapted_go = lora.apply(&x_gi, &weight, bias_o, own);
            let _ = y_no.index_copy_(0, rows_g, &adapted_go);
        }
        y_no
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layers::Linear;
    use crate::model::layers::lora::Magnitude;
    use crate::shim::tests::{apart, numbers};
    use tch::Kind;

    fn lora(weight: &Tensor, seed: i64, is_dora: bool) -> Lora {
        Lora {
            a: numbers(&[2, 8], Kind::Float, seed),
            b: numbers(&[6, 2], Kind::Float, seed + 1),
            scale: 0.5,
            dropout: 0.0,
            magnitude: is_dora.then(|| {
                let lengths = numbers(&[6], Kind::Float, seed + 2).abs() + 1.0;
                Magnitude::new(weight, Some(lengths))
            }),
        }
    }

    #[test]
    fn each_row_has_its_own_adapter() {
        for has_bias in [false, true] {
            let layer = || {
                let bias = has_bias.then(|| numbers(&[6], Kind::Float, 3));
                Linear::of("x", numbers(&[6, 8], Kind::Float, 1), bias)
            };
            let weight = layer().weight;
            let of = |index: usize| lora(&weight, 10 * index as i64 + 20, index == 1);
            let mut shared = layer();
            shared.adapters = vec![Some(of(0)), Some(of(1)), None];
            let x = numbers(&[6, 8], Kind::Float, 5);
            let want = |adapter: Option<usize>| {
                let mut alone = layer();
                alone.lora = adapter.filter(|&index| index < 2).map(of);
                alone.forward(&x)
            };
            for runs in [
                vec![(Some(1), 6)],
                vec![(None, 6)],
                vec![(Some(0), 2), (None, 1), (Some(1), 1), (Some(0), 1), (Some(2), 1)],
            ] {
                let routed = route(&runs, Device::Cpu);
                let ours = shared.forward(&x);
                drop(routed);
                let mut row = 0;
                for &(adapter, count) in &runs {
                    for _ in 0..count {
                        let (ours, want) = (ours.get(row), want(adapter).get(row));
                        assert!(apart(&ours, &want) < 1e-5, "row {row} of {runs:?}");
                        row += 1;
                    }
                }
            }
            // Nothing is left of a route once it is dropped.
            assert!(apart(&shared.forward(&x), &want(None)) < 1e-6);
        }
    }
}
