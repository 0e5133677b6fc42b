//! Rotary position embedding (Su et al. 2021) in both layouts the field uses. Shapes: `b` rows, `t` time,
//! `h` heads, `d` features of a head; `x_bthd`, `cos_bt1d`.

use tch::{Device, Kind, Tensor};

/// Which features of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Feature `i` with `i + d/2` (Llama, Gemma, GPT-NeoX).
    Halves,
    /// Feature `2i` with `2i + 1` (GPT-J).
    Pairs,
}

/// Angles of one kind of layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of wavelengths.
    pub theta: f64,
    /// How many leading features of a head turn; the rest pass through.
    pub dims: i64,
    /// Positions are divided by this ("linear" scaling); 1 leaves them alone.
    pub factor: f64,
    /// Which features turn together.
    pub layout: Layout,
}

/// Cosines and signed sines of the positions of one pass, in the model's type: `cos_bt1d`, `sin_bt1d`.
#[derive(Debug)]
pub struct Angles {
    cos_bt1d: Tensor,
    // The minus of the rotation is in the sine, so that turning costs one permutation, two products and a sum.
    sin_bt1d: Tensor,
}

impl Rope {
    /// Angles at `positions_bt` (int64). Computed in fp32, then rounded to `kind`, as `transformers` does.
    pub fn angles(&self, positions_bt: &Tensor, kind: Kind) -> Angles {
        let device = positions_bt.device();
        let exponents = Tensor::arange_start_step(0, self.dims, 2, (Kind::Float, device)) / self.dims as f64;
        let theta = Tensor::from(self.theta as f32).to_device(device);
        let frequencies = theta.pow(&exponents).reciprocal() / self.factor;
        let angles_btf = positions_bt.unsqueeze(-1).to_kind(Kind::Float) * frequencies;
        let (cos, sin) = (angles_btf.cos(), angles_btf.sin());
        let (cos_btd, sin_btd) = match self.layout {
            Layout::Halves => (Tensor::cat(&[&cos, &cos], -1), Tensor::cat(&[&-&sin, &sin], -1)),
            Layout::Pairs => (
                Tensor::stack(&[&cos, &cos], -1).flatten(-2, -1),
                Tensor::stack(&[&-&sin, &sin], -1).flatten(-2, -1),
            ),
        };
        Angles {
            cos_bt1d: cos_btd.to_kind(kind).unsqueeze(2),
            sin_bt1d: sin_btd.to_kind(kind).unsqueeze(2),
        }
    }

    /// Turns `x_bthd`.
    pub fn apply(&self, x_bthd: &Tensor, angles: &Angles) -> Tensor {
        let width = x_bthd.size()[3];
        if self.dims == width {
            return self.turn(x_bthd, angles);
        }
        let turned = self.turn(&x_bthd.narrow(3, 0, self.dims), angles);
        Tensor::cat(&[turned, x_bthd.narrow(3, self.dims, width - self.dims)], 3)
    }

    fn turn(&self, x_bthd: &Tensor, angles: &Angles) -> Tensor {
        let swapped = match self.layout {
            Layout::Halves => x_bthd.roll(self.dims / 2, 3),
            Layout::Pairs => x_bthd.unflatten(3, [self.dims / 2, 2]).flip(-1).flatten(-2, -1),
        };
        x_bthd * &angles.cos_bt1d + swapped * &angles.sin_bt1d
    }
}

/// `0, 1, …, time - 1` for every row: `positions_bt` of a batch that starts at the beginning.
pub fn positions_from_zero(batch: i64, time: i64, device: Device) -> Tensor {
    Tensor::arange(time, (Kind::Int64, device))
        .unsqueeze(0)
        .expand([batch, time], false)
}
