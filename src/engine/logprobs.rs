//! How likely the model itself found a token: logarithms of its probabilities before penalties, temperature and
//! filters, which vLLM calls `raw_logprobs`. Taken before the sampler, which may change scores in place.
//!
//! Shapes: `b` rows of the batch, `r` those that ask, `v` vocabulary, `k` likeliest.

use tch::{Kind, Tensor};

/// A token and the natural logarithm of its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Its id.
    pub id: i64,
    /// At most 0; `-inf` where the model rules it out.
    pub logprob: f32,
}

/// What is told of one generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// The token itself.
    pub chosen: Scored,
    /// As many of the likeliest as were asked for, best first.
    pub likeliest: Vec<Scored>,
}

/// The distributions of the rows that ask.
pub struct Raw {
    /// Row of the batch, and how many of the likeliest it wants.
    asked: Vec<(usize, usize)>,
    logprobs_rv: Tensor,
}

impl Raw {
    /// Of `logits_bv`, of any float type; `wants` has an entry a row. None if nobody asks, which then costs nothing.
    pub fn of(logits_bv: &Tensor, wants: impl Iterator<Item = Option<usize>>) -> Option<Raw> {
        let asked: Vec<(usize, usize)> = wants
            .enumerate()
            .filter_map(|(row, want)| want.map(|count| (row, count)))
            .collect();
        if asked.is_empty() {
            return None;
        }
        let rows: Vec<i64> = asked.iter().map(|&(row, _)| row as i64).collect();
        let rows = Tensor::from_slice(&rows).to_device(logits_bv.device());
        let logprobs_rv = logits_bv.index_select(0, &rows).log_softmax(-1, Kind::Float);
        Some(Raw { asked, logprobs_rv })
    }

    /// What there is to tell of `tokens`, which has an entry for each row of the batch; rows without a token are left out.
    pub fn tell(&self, tokens: &[Option<i64>]) -> Vec<(usize, Logprobs)> {
        let most = self.asked.iter().map(|&(_, count)| count).max().unwrap_or(0);
        let most = (most as i64).min(self.logprobs_rv.size()[1]);
        let (best_rk, ids_rk) = self.logprobs_rv.topk(most, -1, true, true);
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
        let tell = |(i, &(row, count)): (usize, &(usize, usize))| {
            let id = tokens[row]?;
            let from = i * most as usize;
            let likeliest = (from..from + count.min(most as usize)).map(|place| Scored {
                id: ids[place],
                logprob: best[place],
            });
            Some((
                row,
                Logprobs {
                    chosen: Scored {
                        id,
                        logprob: of_chosen[i],
                    },
                    likeliest: likeliest.collect(),
                },
            ))
        };
        self.asked.iter().enumerate().filter_map(tell).collect()
    }
}

fn numbers<T: tch::kind::Element + Copy>(x: &Tensor) -> Vec<T>
where
    Vec<T>: TryFrom<Tensor>,
{
    Vec::try_from(x.to_device(tch::Device::Cpu).contiguous().view(-1))
        .unwrap_or_else(|_| panic!("a tensor of another type"))
}
