//! Log-probabilities under the model itself, before penalties, temperature and filters, as vLLM's
//! `raw_logprobs`. Computed before the sampler, which may change logits in place.
//!
//! Shapes: `b` rows of the batch, `r` rows that ask for logprobs, `v` vocabulary, `k` likeliest.

use ewe::choice::ReportedToken;
use tch::{Kind, Tensor};

use crate::model::text::token_bytes::TokenBytes;
use crate::shim::transfer::numbers_on;

/// A token and the natural logarithm of its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLogprob {
    /// Its id.
    pub id: i64,
    /// At most 0; `-inf` where the model rules it out.
    pub logprob: f32,
}

/// The logprobs of one generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// The token itself.
    pub chosen: TokenLogprob,
    /// As many of the likeliest tokens as requested, best first.
    pub likeliest: Vec<TokenLogprob>,
}

impl Logprobs {
    /// Returns the token as a server reports it.
    pub fn reported(&self, bytes: &TokenBytes) -> ReportedToken {
        let text = |id| String::from_utf8_lossy(&bytes.bytes(id)).into_owned();
        let all = [&self.chosen].into_iter().chain(&self.likeliest);
        ReportedToken {
            text: text(self.chosen.id),
            // The token itself counts once: by its id, since tokens may have the same text.
            likeliest: all
                .enumerate()
                .filter(|&(at, token)| at == 0 || token.id != self.chosen.id)
                .map(|(_, token)| (text(token.id), f64::from(token.logprob)))
                .collect(),
        }
    }
}

/// The distributions of the rows that ask for logprobs.
pub struct RawLogprobs {
    /// Row of the batch, and how many of the likeliest tokens it asks for.
    asked: Vec<(usize, usize)>,
    /// The rows of `asked`.
    rows_r: Tensor,
    logprobs_rv: Tensor,
}

impl RawLogprobs {
    /// Computes the distributions of `logits_bv`, of any float type; `wanted` has an entry per row.
    /// Returns none, at no cost, if no row asks.
    pub fn of(logits_bv: &Tensor, wanted: impl Iterator<Item = Option<usize>>) -> Option<RawLogprobs> {
        let asked: Vec<(usize, usize)> = wanted
            .enumerate()
            .filter_map(|(row, wanted)| wanted.map(|count| (row, count)))
            .collect();
        if asked.is_empty() {
            return None;
        }
        let rows: Vec<i64> = asked.iter().map(|&(row, _)| row as i64).collect();
        let rows_r = numbers_on(&rows, Kind::Int64, logits_bv.device());
        let logprobs_rv = logits_bv.index_select(0, &rows_r).log_softmax(-1, Kind::Float);
        Some(RawLogprobs {
            asked,
            rows_r,
            logprobs_rv,
        })
    }

    /// Returns the logprobs of `tokens`, which has an entry per row of the batch. Rows without a
    /// token are left out.
    pub fn of_tokens(&self, tokens: &[Option<i64>]) -> Vec<(usize, Logprobs)> {
        let (best_rk, ids_rk) = self.logprobs_rv.topk(self.most(), -1, true, true);
        let (best, ids) = (numbers::<f32>(&best_rk), numbers::<i64>(&ids_rk));
        let chosen: Vec<i64> = self
            .asked
            .iter()
            .map(|&(row, _)| tokens[row].unwrap_or(0))
            .collect();
        let places_r1 = Tensor::from_slice(&chosen)
            .unsqueeze(1)
            .to_device(self.logprobs_rv.device());
        let of_chosen = numbers::<f32>(&self.logprobs_rv.gather(1, &places_r1, false));
        self.rows_of(tokens, &of_chosen, &best, &ids)
    }

    /// Returns what [`RawLogprobs::unpacked`] takes, for the tokens `tokens_b` (int32; negative
    /// where there is none), without a read by the host: int32, `[r · (1 + 2k)]`.
    pub fn packed(&self, tokens_b: &Tensor) -> Tensor {
        let (best_rk, ids_rk) = self.logprobs_rv.topk(self.most(), -1, true, true);
        let chosen_r = tokens_b.index_select(0, &self.rows_r).clamp_min(0);
        let places_r1 = chosen_r.to_kind(Kind::Int64).unsqueeze(1);
        let of_chosen_r1 = self.logprobs_rv.gather(1, &places_r1, false);
        let bits = |x: &Tensor| x.contiguous().view(-1).view_dtype(Kind::Int);
        let ids = ids_rk.contiguous().view(-1).to_kind(Kind::Int);
        Tensor::cat(&[bits(&of_chosen_r1), bits(&best_rk), ids], 0)
    }

    /// As [`RawLogprobs::of_tokens`], from what [`RawLogprobs::packed`] made of the same tokens.
    pub fn unpacked(&self, packed: &[i32], tokens: &[Option<i64>]) -> Vec<(usize, Logprobs)> {
        let (of_chosen, likeliest) = packed.split_at(self.asked.len());
        let (best, ids) = likeliest.split_at(likeliest.len() / 2);
        let floats = |bits: &[i32]| -> Vec<f32> {
            let floats = bits.iter().map(|&bits| f32::from_bits(bits.cast_unsigned()));
            floats.collect()
        };
        let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        self.rows_of(tokens, &floats(of_chosen), &floats(best), &ids)
    }

    /// Returns how many of the likeliest tokens are looked up for every row.
    fn most(&self) -> i64 {
        let most = self.asked.iter().map(|&(_, count)| count).max().unwrap_or(0);
        (most as i64).min(self.logprobs_rv.size()[1])
    }

    /// Returns the logprobs of `tokens`, from those of the chosen and of the `[r, k]` likeliest.
    fn rows_of(
        &self,
        tokens: &[Option<i64>],
        of_chosen: &[f32],
        best: &[f32],
        ids: &[i64],
    ) -> Vec<(usize, Logprobs)> {
        let most = self.most() as usize;
        let of_token = |(i, &(row, count)): (usize, &(usize, usize))| {
            let id = tokens[row]?;
            let from = i * most;
            let likeliest = (from..from + count.min(most)).map(|place| TokenLogprob {
                id: ids[place],
                logprob: best[place],
            });
            Some((
                row,
                Logprobs {
                    chosen: TokenLogprob {
                        id,
                        logprob: of_chosen[i],
                    },
                    likeliest: likeliest.collect(),
                },
            ))
        };
        self.asked.iter().enumerate().filter_map(of_token).collect()
    }
}

/// Copies a tensor to the host.
fn numbers<T: tch::kind::Element + Copy>(x: &Tensor) -> Vec<T>
where
    Vec<T>: TryFrom<Tensor>,
{
    Vec::try_from(x.to_device(tch::Device::Cpu).contiguous().view(-1))
        .unwrap_or_else(|_| panic!("a tensor of another type"))
}
