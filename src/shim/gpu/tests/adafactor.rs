//! Adafactor's kernels beside those of the CPU, with sums of their own and those of norms.

use super::*;
use crate::shim::tests::apart;

/// How far sums of up to 515 squares may be apart that were added in two orders: each addition
/// rounds by 6e-8 of the sum, which is 1e-6 where the roundings differ at random.
const SUMS_APART: f64 = 1e-5;

/// Adafactor's step by the CPU's kernels, as `train::optim::adafactor` takes it.
fn adafactor_on_the_cpu(
    rate: f32,
    kept: f64,
    weights: WeightTensors,
    means: (&Tensor, &Tensor),
    gradient_rc: &Tensor,
    key: [u32; 2],
) {
    let (rows, columns) = gradient_rc.size2().unwrap();
    let (rows_r, columns_c) = kernels::squares(gradient_rc, 0.7);
    let average = |mean: &Tensor, sums: Tensor, count: i64| {
        let now = sums / count as f64 + 1e-30;
        mean.shallow_clone().copy_(&(mean * kept + now * (1.0 - kept)));
    };
    average(means.0, rows_r, columns);
    average(means.1, columns_c, rows);
    let row_r = (means.0 / means.0.mean(Kind::Float)).rsqrt();
    let column_c = means.1.rsqrt();
    let squares = kernels::scaled_squares(gradient_rc, 0.7, &row_r, &column_c);
    let size = (squares.sum(Kind::Double).double_value(&[]) / gradient_rc.numel() as f64).sqrt();
    let step = kernels::FactoredStep {
        factor: 0.7,
        decay: 0.99,
        rate: -rate / size.max(1.0) as f32,
        key,
    };
    kernels::factored(&step, weights, gradient_rc, &row_r, &column_c);
}

#[test]
fn adafactor_of_all_matrices_at_once_is_that_of_the_cpu_kernels() {
    const SIZES: [(i64, i64); 7] = [
        (1, 1),
        (1, 300),
        (65, 9),
        (64, 256),
        (130, 515),
        (300, 64),
        (257, 1),
    ];
    for format in 0..3 {
        for kind in KINDS {
            let make = || -> Vec<(Kept, Tensor, Tensor)> {
                SIZES
                    .iter()
                    .map(|(rows, columns)| {
                        let zeros = |count| Tensor::zeros([count], (Kind::Float, Device::Cpu));
                        (Kept::new(format, rows * columns), zeros(*rows), zeros(*columns))
                    })
                    .collect()
            };
            let (ours, theirs) = (make(), make());
            for number in 1..=3 {
                let key = [number, 9];
                let kept = 1.0 - f64::from(number).powf(-0.8);
                let gradients: Vec<Tensor> = SIZES
                    .iter()
                    .map(|(rows, columns)| numbers(&[*rows, *columns], kind, i64::from(number)))
                    .collect();
                let updates: Vec<FactoredUpdate> = ours
                    .iter()
                    .zip(&gradients)
                    .map(|((weights, rows, columns), gradient)| FactoredUpdate {
                        factor: 0.7,
                        decay: 0.99,
                        rate: 0.01,
                        kept: kept as f32,
                        share: (1.0 - kept) as f32,
                        key,
                        weights: weights.as_weights(),
                        row_means: rows,
                        column_means: columns,
                        gradient: gradient.shallow_clone(),
                        sums: None,
                    })
                    .collect();
                super::adafactor(&updates).unwrap();
                for ((weights, rows, columns), gradient) in theirs.iter().zip(&gradients) {
                    adafactor_on_the_cpu(0.01, kept, weights.as_weights(), (rows, columns), gradient, key);
                }
                for (((weights, rows, columns), (weights_2, rows_2, columns_2)), size) in
                    ours.iter().zip(&theirs).zip(SIZES)
                {
                    let at = format!("format {format}, {kind:?}, {size:?}, step {number}");
                    let values = |of: &Kept| crate::train::optim::fallback::exact_values(&of.as_weights());
                    assert!(apart(rows, rows_2) < SUMS_APART, "{at}: rows");
                    assert!(apart(columns, columns_2) < SUMS_APART, "{at}: columns");
                    let off = apart(&values(weights), &values(weights_2));
                    assert!(off < 1e-6, "{at}: weights are {off} apart");
                }
            }
        }
    }
}

/// Norms and update of a list of both types share the sums of squares: the norms are those of the
/// gradients, and the update has the bits of one that computes its sums itself.
#[test]
fn sums_for_the_norms_serve_the_update() {
    const SIZES: [(i64, i64); 5] = [(1, 1), (1, 300), (65, 9), (64, 256), (130, 515)];
    let gradients: Vec<(Tensor, (i64, i64))> = SIZES
        .iter()
        .zip(KINDS.iter().cycle())
        .map(|(&(rows, columns), kind)| (numbers(&[rows, columns], *kind, rows), (rows, columns)))
        .collect();
    let (sums, squares) = FactoredSums::of(&gradients).unwrap();
    for ((gradient, size), square) in gradients.iter().zip(&squares) {
        let expected = kernels::sum_of_squares(gradient);
        assert!(
            (square - expected).abs() <= SUMS_APART * expected,
            "{size:?}: {square} for {expected}"
        );
    }
    let ones = |count| Tensor::ones([count], (Kind::Float, Device::Cpu));
    let run = |with_sums: bool| -> Vec<(Kept, Tensor, Tensor)> {
        let made: Vec<(Kept, Tensor, Tensor)> = SIZES
            .iter()
            .map(|&(rows, columns)| (Kept::new(2, rows * columns), ones(rows), ones(columns)))
            .collect();
        let updates: Vec<FactoredUpdate> = made
            .iter()
            .zip(&gradients)
            .enumerate()
            .map(
                |(number, ((weights, rows, columns), (gradient, _)))| FactoredUpdate {
                    factor: 0.7,
                    decay: 0.99,
                    rate: 0.01,
                    kept: 0.4,
                    share: 0.6,
                    key: [1, 2],
                    weights: weights.as_weights(),
                    row_means: rows,
                    column_means: columns,
                    gradient: gradient.shallow_clone(),
                    sums: with_sums.then_some(SumsOf { all: &sums, number }),
                },
            )
            .collect();
        super::adafactor(&updates).unwrap();
        drop(updates);
        made
    };
    for ((ours, theirs), size) in run(true).iter().zip(&run(false)).zip(SIZES) {
        assert!(same_bits(&ours.0.weight, &theirs.0.weight), "{size:?}: weights");
        assert!(same_bits(&ours.0.exact, &theirs.0.exact), "{size:?}: masters");
        assert!(
            same_bits(&ours.1, &theirs.1) && same_bits(&ours.2, &theirs.2),
            "{size:?}: means"
        );
    }
    let (_, none) = FactoredSums::of(&[]).unwrap();
    assert!(none.is_empty());
}

#[test]
fn stochastic_rounding_of_adafactor_draws_as_the_cpu_kernels_do() {
    // One row and no clipping: the factors have the same bits, so the weights must.
    let (ours, theirs) = (Kept::new(3, 512), Kept::new(3, 512));
    let means = || Tensor::ones([512], (Kind::Float, Device::Cpu));
    let row = || Tensor::ones([1], (Kind::Float, Device::Cpu));
    let gradient = numbers(&[1, 512], Kind::BFloat16, 3) * 0.01;
    let (our_means, our_row, their_means, their_row) = (means(), row(), means(), row());
    super::adafactor(&[FactoredUpdate {
        factor: 0.7,
        decay: 0.99,
        rate: 0.01,
        kept: 0.5,
        share: 0.5,
        key: [3, 4],
        weights: ours.as_weights(),
        row_means: &our_row,
        column_means: &our_means,
        gradient: gradient.shallow_clone(),
        sums: None,
    }])
    .unwrap();
    adafactor_on_the_cpu(
        0.01,
        0.5,
        theirs.as_weights(),
        (&their_row, &their_means),
        &gradient,
        [3, 4],
    );
    let different = (ours.weight.view_dtype(Kind::Int16) - theirs.weight.view_dtype(Kind::Int16))
        .ne(0)
        .sum(Kind::Int64)
        .int64_value(&[]);
    // A factor that differs in its last bit moves a weight of hundreds across the drawn border.
    assert!(
        different <= 2,
        "{different} of 512 weights were rounded another way"
    );
}
