//! LoRA and DoRA adapters of linear layers.
//!
//! Shapes: `n` rows of input, `i` features in, `o` out, `r` rank.

use std::cell::RefCell;

use tch::{Kind, Tensor};

use super::matmul;
use crate::shim::keyed;

thread_local! {
    static RECORD: RefCell<Option<Vec<AdapterPass>>> = const { RefCell::new(None) };
    static ROWS: RefCell<Option<Rows>> = const { RefCell::new(None) };
}

/// By what the dropout of adapters is drawn on a thread.
struct Rows {
    /// Keys of the rows of an input, for each number of rows that one may have, int64 `[n]`.
    keys: Vec<Tensor>,
    seed: i64,
    /// Inputs so far.
    count: i64,
}

/// Runs `work`, in which dropout is a function of the key of each row (one of `keys` has as many as
/// an input has rows), of `seed`, and of how many inputs of adapters there were before.
pub fn with_rows<T>(keys: &[Tensor], seed: i64, work: impl FnOnce() -> T) -> T {
    let keys = keys.iter().map(Tensor::shallow_clone).collect();
    ROWS.set(Some(Rows { keys, seed, count: 0 }));
    let done = work();
    ROWS.set(None);
    done
}

/// Drops features of `x_ni` with probability `share`: by the rows' keys within [`with_rows`], else
/// by libtorch's generator.
fn dropout(x_ni: &Tensor, share: f64) -> Tensor {
    ROWS.with_borrow_mut(|rows| {
        let Some(rows) = rows else {
            return x_ni.dropout(share, true);
        };
        let columns = x_ni.size().last().copied().unwrap_or(1);
        let count = x_ni.numel() as i64 / columns.max(1);
        let key_n = rows.keys.iter().find(|keys| keys.size()[0] == count);
        let key_n = key_n.expect("a key for each row");
        rows.count += 1;
        let salt = rows
            .seed
            .wrapping_add(rows.count.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64));
        let kept_ni = keyed::uniform(key_n, salt, columns)
            .ge(share)
            .to_kind(x_ni.kind());
        x_ni * (kept_ni * (1.0 / (1.0 - share))).view(x_ni.size().as_slice())
    })
}

/// What one adapted layer read and made in a forward pass: with the gradient of what it made, the
/// gradients of A and B follow for each row of the input.
#[derive(Debug)]
pub struct AdapterPass {
    /// Address of A, which names the layer.
    pub a: usize,
    /// Input of the adapter, `[n, in]`.
    pub x_ni: Tensor,
    /// The layer's own product plus the adapter's, before DoRA's factor and bias, `[n, out]`.
    pub y_no: Tensor,
}

/// Runs `work`, and returns with its result what each adapted layer read and made on this thread,
/// in order.
pub fn recorded<T>(work: impl FnOnce() -> T) -> (T, Vec<AdapterPass>) {
    RECORD.set(Some(Vec::new()));
    let done = work();
    (done, RECORD.take().unwrap_or_default())
}

/// The low-rank adapter of a linear layer (LoRA, Hu et al. 2021): `scale · B(A(dropout(x)))`.
///
/// A and B are kept in fp32 whatever the model computes in, because training updates them.
#[derive(Debug)]
pub struct Lora {
    /// Down projection, `[rank, in]`.
    pub a: Tensor,
    /// Up projection, `[out, rank]`.
    pub b: Tensor,
    /// `alpha / rank`, or `alpha / √rank` with rank-stabilized LoRA.
    pub scale: f64,
    /// Probability of dropping an input feature; 0 outside training.
    pub dropout: f64,
    /// DoRA's magnitudes; none for plain LoRA.
    pub magnitude: Option<Magnitude>,
}

impl Lora {
    /// Computes the layer with its adapter. `product(x, bias)` is the layer's own product. `weight`
    /// is called only for DoRA, and only before [`Lora::fix`].
    pub fn apply(
        &self,
        x_ni: &Tensor,
        weight: impl Fn() -> Tensor,
        bias_o: Option<&Tensor>,
        product: impl Fn(&Tensor, Option<&Tensor>) -> Tensor,
    ) -> Tensor {
        let dropped_ni = if self.dropout > 0.0 {
            dropout(x_ni, self.dropout)
        } else {
            x_ni.shallow_clone()
        };
        let Some(factor_o) = self.factor(weight) else {
            return self.add_to(&product(x_ni, bias_o), &dropped_ni);
        };
        // In fp32: in bf16 a factor near 1 would round to 1, and what was learned would be lost.
        let adapted_no = self.add_to(&product(&dropped_ni, None), &dropped_ni) * factor_o;
        let adapted_no = adapted_no.to_kind(x_ni.kind());
        // Only the features that were not dropped are rescaled; dropped ones pass through the base
        // unchanged.
        match bias_o {
            _ if self.dropout > 0.0 => adapted_no + product(&(x_ni - dropped_ni), bias_o),
            Some(bias_o) => adapted_no + bias_o,
            None => adapted_no,
        }
    }

    /// Adds the adapter's output to the layer's own result `y_no` in one product. The only
    /// activation in between is the narrow `[n, rank]`; the scale goes into B.
    fn add_to(&self, y_no: &Tensor, x_ni: &Tensor) -> Tensor {
        let kind = x_ni.kind();
        let inner_nr = matmul::linear(x_ni, &self.a.to_kind(kind), None);
        let scaled_or = (&self.b * self.scale).to_kind(kind);
        let sum_no = match matmul::widens(&inner_nr) {
            true => y_no + matmul::linear(&inner_nr, &scaled_or, None),
            false => y_no.addmm(&inner_nr, &scaled_or.tr()),
        };
        RECORD.with_borrow_mut(|record| {
            if let Some(record) = record {
                record.push(AdapterPass {
                    a: self.a.data_ptr() as usize,
                    x_ni: x_ni.shallow_clone(),
                    y_no: sum_no.shallow_clone(),
                });
            }
        });
        sum_no
    }

    /// Returns the factor of each row of the adapted weight, fp32 `[out]`; none for plain LoRA.
    fn factor(&self, weight: impl Fn() -> Tensor) -> Option<Tensor> {
        let magnitude = self.magnitude.as_ref()?;
        if let Some(factor_o) = &magnitude.factor {
            return Some(factor_o.shallow_clone());
        }
        Some(&magnitude.lengths / self.lengths(&weight(), &magnitude.squares))
    }

    /// Returns the norms of the rows of `W + scale · B A`, fp32 `[out]`, without computing that
    /// sum: `|w|² + 2 w·c + |c|²` for each row `w` and its correction `c`. No gradient flows
    /// through them (section 4.3 of the DoRA paper).
    fn lengths(&self, weight_oi: &Tensor, squares_o: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        let [a_ri, b_or] = [&self.a, &self.b].map(|x| x.to_kind(Kind::Float));
        let crossed_or = weight_oi.to_kind(Kind::Float).matmul(&a_ri.tr());
        let own_or = b_or.matmul(&a_ri.matmul(&a_ri.tr()));
        let along = |x_or: Tensor| (x_or * &b_or).sum_dim_intlist(1i64, false, Kind::Float);
        let squares_o =
            squares_o + along(crossed_or) * (2.0 * self.scale) + along(own_or) * self.scale.powi(2);
        // A row of zeros has no direction; dividing by its norm would give NaN.
        squares_o.clamp_min(f64::from(f32::MIN_POSITIVE)).sqrt()
    }

    /// Computes the factors of the rows once and for all, for inference: the weight is not needed
    /// afterwards.
    pub fn fix(&mut self, weight_oi: &Tensor) {
        let factor = tch::no_grad(|| self.factor(|| weight_oi.shallow_clone()));
        if let Some(magnitude) = &mut self.magnitude {
            magnitude.factor = factor;
        }
    }

    /// Returns the adapted weight, in fp32.
    pub fn merged(&self, weight_oi: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        let sum_oi = weight_oi.to_kind(Kind::Float) + self.b.matmul(&self.a) * self.scale;
        match self.factor(|| weight_oi.shallow_clone()) {
            Some(factor_o) => sum_oi * factor_o.unsqueeze(1),
            None => sum_oi,
        }
    }
}

/// Norms of a weight's rows, learned apart from their directions (DoRA, Liu et al. 2024,
/// <https://arxiv.org/abs/2402.09353>).
#[derive(Debug)]
pub struct Magnitude {
    /// The learned norms, fp32 `[out]`.
    pub lengths: Tensor,
    /// Squared norms of the base's rows, fp32 `[out]`.
    squares: Tensor,
    /// The factors of the rows, once [`Lora::fix`] has computed them.
    factor: Option<Tensor>,
}

impl Magnitude {
    /// Makes the magnitudes of a layer with this weight: `lengths`, or else the norms of its rows.
    pub fn new(weight_oi: &Tensor, lengths: Option<Tensor>) -> Magnitude {
        let _guard = tch::no_grad_guard();
        let own = weight_oi.norm_scalaropt_dim_dtype(2.0, [1i64].as_slice(), false, Kind::Float);
        Magnitude {
            squares: own.square(),
            lengths: lengths.unwrap_or(own),
            factor: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::generator::with_seed;
    use crate::shim::tests::{apart, numbers};

    /// Numbers of which products stay small.
    fn small(size: &[i64], seed: i64) -> Tensor {
        numbers(size, Kind::Float, seed) * 0.5
    }

    /// A weight, a bias, and an input of four rows.
    fn layer() -> (Tensor, Tensor, Tensor) {
        (small(&[5, 8], 1), small(&[5], 2), small(&[4, 8], 3))
    }

    fn lora(weight_oi: &Tensor, dora: bool) -> Lora {
        let lengths = weight_oi
            .square()
            .sum_dim_intlist(1i64, false, Kind::Float)
            .sqrt();
        Lora {
            a: small(&[3, 8], 4),
            b: small(&[5, 3], 5),
            scale: 0.7,
            dropout: 0.0,
            // Other norms than the rows have, so that they matter.
            magnitude: dora.then(|| Magnitude::new(weight_oi, Some(lengths * 1.5 + 0.1))),
        }
    }

    #[test]
    fn a_merged_weight_does_what_the_adapter_did() {
        let (weight, bias, x) = layer();
        for (dora, bias) in [
            (false, None),
            (false, Some(&bias)),
            (true, None),
            (true, Some(&bias)),
        ] {
            let mut lora = lora(&weight, dora);
            let product = |x: &Tensor, bias: Option<&Tensor>| x.linear(&weight, bias);
            let adapted = lora.apply(&x, || weight.shallow_clone(), bias, product);
            assert!(apart(&adapted, &x.linear(&lora.merged(&weight), bias)) < 1e-5);
            lora.fix(&weight);
            let fixed = lora.apply(&x, || unreachable!("it is not looked at"), bias, product);
            assert_eq!(fixed, adapted);
        }
    }

    #[test]
    fn what_is_dropped_of_a_row_does_not_depend_on_other_rows() {
        let x = Tensor::ones([4, 1000], (Kind::Float, tch::Device::Cpu));
        let keys = Tensor::from_slice(&[5i64, 7, 5, -9]);
        let drop = |seed| {
            with_rows(&[keys.shallow_clone()], seed, || {
                [dropout(&x, 0.25), dropout(&x, 0.25)]
            })
        };
        let [first, second] = drop(3);
        assert_ne!(first, second, "each input has its own");
        assert_eq!(first.get(0), first.get(2), "of one key");
        assert_ne!(first.get(0), first.get(1));
        assert_eq!([first.shallow_clone(), second], drop(3));
        assert_ne!(first, drop(4)[0]);
        assert!((first.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.05);
        let alone = with_rows(&[keys.narrow(0, 3, 1)], 3, || dropout(&x.narrow(0, 3, 1), 0.25));
        assert_eq!(alone, first.narrow(0, 3, 1));
    }

    /// The same as `peft` with dropout: the base's own result of all of `x`, and the rescaled rest
    /// from what was not dropped.
    #[test]
    fn what_is_dropped_goes_through_the_base() {
        let (weight, bias, x) = layer();
        let lora = Lora {
            dropout: 0.5,
            ..lora(&weight, true)
        };
        let ours = with_seed(7, || {
            lora.apply(
                &x,
                || weight.shallow_clone(),
                Some(&bias),
                |x, bias| x.linear(&weight, bias),
            )
        });
        let dropped = with_seed(7, || x.dropout(0.5, true));
        let corrected = &weight + lora.b.matmul(&lora.a) * lora.scale;
        let lengths = corrected
            .square()
            .sum_dim_intlist(1i64, false, Kind::Float)
            .sqrt();
        let factor = &lora.magnitude.as_ref().unwrap().lengths / lengths;
        let base = dropped.matmul(&weight.tr());
        let delta = dropped.matmul(&lora.a.tr()).matmul(&lora.b.tr()) * lora.scale;
        let want = x.linear(&weight, Some(&bias)) + (&factor - 1.0) * base + &factor * delta;
        assert!(apart(&ours, &want) < 1e-5, "{}", apart(&ours, &want));
    }
}
