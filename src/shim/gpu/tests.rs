//! The GPU's kernels without a GPU: their twin beside the CPU's kernels, under the sanitizers, and
//! through NVRTC.

mod adafactor;

use super::*;
use crate::shim::library;
use crate::shim::optimizers::{self as kernels, AdamwStep, MomentTensors, WeightTensors};
use crate::shim::tests::numbers;
use std::process::Command;

/// Sizes of tensors that fill neither lanes nor blocks, and some that do.
const COUNTS: [i64; 9] = [1, 7, 8, 255, 256, 257, 1000, 4096, 20_001];
const KINDS: [Kind; 2] = [Kind::Float, Kind::BFloat16];

/// A weight in one of the four formats, with what is kept beside it.
struct Kept {
    format: usize,
    weight: Tensor,
    exact: Tensor,
}

impl Kept {
    fn new(format: usize, count: i64) -> Kept {
        let values = numbers(&[count], Kind::Float, count) * 0.02;
        let bits = values.view_dtype(Kind::Int);
        let nearest = (&bits + 0x8000)
            .bitwise_right_shift_tensor_scalar(16)
            .to_kind(Kind::Int16)
            .view_dtype(Kind::BFloat16);
        let low = bits.bitwise_and(0xffff).to_kind(Kind::Int16);
        let (weight, exact) = match format {
            0 => (values.copy(), Tensor::new()),
            1 => (nearest, values.copy()),
            2 => (nearest, low),
            _ => (nearest, Tensor::new()),
        };
        Kept {
            format,
            weight,
            exact,
        }
    }

    fn as_weights(&self) -> WeightTensors<'_> {
        match self.format {
            0 => WeightTensors::Fp32(&self.weight),
            1 => WeightTensors::Copy(&self.weight, &self.exact),
            2 => WeightTensors::Split(&self.weight, &self.exact),
            _ => WeightTensors::Drawn(&self.weight),
        }
    }
}

/// MomentTensors of AdamW, all zero at first.
struct State {
    eight: bool,
    first: Tensor,
    second: Tensor,
    first_scale: Tensor,
    second_scale: Tensor,
}

impl State {
    fn new(eight: bool, count: i64) -> State {
        let zeros = |count, kind| Tensor::zeros([count], (kind, Device::Cpu));
        let scales = || zeros(kernels::blocks(count), Kind::Float);
        State {
            eight,
            first: zeros(count, if eight { Kind::Int8 } else { Kind::Float }),
            second: zeros(count, if eight { Kind::Uint8 } else { Kind::Float }),
            first_scale: scales(),
            second_scale: scales(),
        }
    }

    fn as_moments(&self) -> MomentTensors<'_> {
        if self.eight {
            MomentTensors::Eight {
                first: &self.first,
                first_scale: &self.first_scale,
                second: &self.second,
                second_scale: &self.second_scale,
            }
        } else {
            MomentTensors::Fp32 {
                first: &self.first,
                second: &self.second,
            }
        }
    }

    fn all(&self) -> [&Tensor; 4] {
        [&self.first, &self.second, &self.first_scale, &self.second_scale]
    }
}

/// The same bits: NaN equals NaN, and 0 is not -0.
fn same_bits(a: &Tensor, b: &Tensor) -> bool {
    if !a.defined() || !b.defined() {
        return a.defined() == b.defined();
    }
    let bits = |x: &Tensor| match x.kind() {
        Kind::Float => x.view_dtype(Kind::Int),
        Kind::BFloat16 => x.view_dtype(Kind::Int16),
        _ => x.shallow_clone(),
    };
    bits(a) == bits(b)
}

fn step(number: u64, decay: f32) -> AdamwStep {
    AdamwStep {
        factor: 0.7,
        decay,
        rate: -0.002,
        first_share: 0.1,
        second_kept: 0.999,
        second_share: 0.001,
        second_bias: 1.3,
        eps: 1e-8,
        key: [number as u32 * 77 + 5, 0x1234_5678],
    }
}

/// Gradients as training has them: a third of the blocks without any, and some of no sign.
fn gradient(count: i64, kind: Kind, number: i64) -> Tensor {
    let g = numbers(&[count], Kind::Float, number) * 0.01;
    let block = Tensor::arange(count, (Kind::Int64, Device::Cpu)).floor_divide_scalar(256);
    let silent = block.remainder(3).eq(1);
    g.masked_fill(&silent, 0.0).to_kind(kind)
}

#[test]
fn adamw_of_all_tensors_at_once_has_the_bits_of_the_cpu_kernels() {
    for format in 0..4 {
        for eight in [false, true] {
            for kind in KINDS {
                let make = || -> Vec<(Kept, State)> {
                    COUNTS
                        .iter()
                        .map(|count| (Kept::new(format, *count), State::new(eight, *count)))
                        .collect()
                };
                let (ours, theirs) = (make(), make());
                for number in 1..=4 {
                    let step = step(number, if number % 2 == 0 { 1.0 } else { 0.99 });
                    let gradients: Vec<Tensor> = COUNTS
                        .iter()
                        .map(|count| gradient(*count, kind, number as i64))
                        .collect();
                    let updates: Vec<AdamwUpdate> = ours
                        .iter()
                        .zip(&gradients)
                        .map(|((weights, state), gradient)| AdamwUpdate {
                            step,
                            weights: weights.as_weights(),
                            moments: state.as_moments(),
                            gradient: gradient.shallow_clone(),
                        })
                        .collect();
                    adamw(&updates).unwrap();
                    for ((weights, state), gradient) in theirs.iter().zip(&gradients) {
                        kernels::adamw(&step, weights.as_weights(), state.as_moments(), gradient);
                    }
                    for (((weights, state), (weights_2, state_2)), count) in
                        ours.iter().zip(&theirs).zip(COUNTS)
                    {
                        let at = format!(
                            "format {format}, 8 bits {eight}, {kind:?}, {count} elements, step {number}"
                        );
                        assert!(same_bits(&weights.weight, &weights_2.weight), "{at}: weights");
                        assert!(
                            same_bits(&weights.exact, &weights_2.exact),
                            "{at}: what is beside them"
                        );
                        for (one, other) in state.all().into_iter().zip(state_2.all()) {
                            assert!(same_bits(one, other), "{at}: optimizer state");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_gradient_that_is_not_a_number_reaches_the_weight_and_its_scale_as_on_the_cpu() {
    for eight in [false, true] {
        let (ours, theirs) = (Kept::new(2, 300), Kept::new(2, 300));
        let (state, state_2) = (State::new(eight, 300), State::new(eight, 300));
        let g = gradient(300, Kind::Float, 1);
        let _ = g.get(5).fill_(f64::NAN);
        let _ = g.get(299).fill_(f64::INFINITY);
        adamw(&[AdamwUpdate {
            step: step(1, 1.0),
            weights: ours.as_weights(),
            moments: state.as_moments(),
            gradient: g.shallow_clone(),
        }])
        .unwrap();
        kernels::adamw(&step(1, 1.0), theirs.as_weights(), state_2.as_moments(), &g);
        assert_eq!(
            Vec::<f32>::try_from(&ours.weight)
                .unwrap()
                .iter()
                .map(|x| x.is_nan())
                .collect::<Vec<_>>(),
            Vec::<f32>::try_from(&theirs.weight)
                .unwrap()
                .iter()
                .map(|x| x.is_nan())
                .collect::<Vec<_>>(),
        );
    }
}

#[test]
fn sums_of_squares_are_those_of_the_cpu_kernels() {
    let gradients: Vec<Tensor> = COUNTS
        .iter()
        .flat_map(|count| KINDS.map(|kind| numbers(&[*count], kind, *count)))
        .collect();
    let sums = sums_of_squares(&gradients).unwrap();
    for (gradient, sum) in gradients.iter().zip(sums) {
        let expected = kernels::sum_of_squares(gradient);
        assert!((sum - expected).abs() <= 1e-6 * expected, "{sum} for {expected}");
    }
}

#[test]
fn nf4_values_have_the_bits_of_the_shim() {
    for count in [2, 64, 66, 130, 4096, 70_000] {
        for kind in KINDS {
            let codes = Tensor::arange(count / 2, (Kind::Int64, Device::Cpu))
                .remainder(251)
                .to_kind(Kind::Uint8);
            let scales = numbers(&[(count + 63) / 64], Kind::Float, 5).abs();
            let table = numbers(&[256, 2], Kind::Float, 6);
            let of = crate::shim::nf4::Nf4Codes {
                codes: &codes,
                scales: &scales,
                table: &table,
                size: (1, count),
            };
            let expected = crate::shim::nf4::dequantize(of, kind);
            let made = nf4_values(&codes, &scales, &table, (1, count), kind).unwrap();
            assert!(same_bits(&made, &expected), "{count} weights in {kind:?}");
        }
    }
}

#[test]
fn every_kernel_is_in_a_group_that_is_compiled_for_it() {
    let names = twin::names();
    assert!(names.len() > 30, "{names:?}");
    for name in &names {
        assert!(driver::group_of(name).is_some(), "{name}");
    }
}

/// NVRTC needs neither a GPU nor a driver. Skipped where the wheel is the one without CUDA.
#[test]
fn nvrtc_compiles_every_group_for_every_architecture() {
    const ARCHITECTURES: [&str; 6] = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"];
    let mut groups: Vec<&str> = twin::names()
        .iter()
        .map(|name| driver::group_of(name).unwrap())
        .collect();
    groups.sort_unstable();
    groups.dedup();
    if library::open(c"libnvrtc.so.13", nvrtc::FOLDER).is_none() {
        eprintln!("no NVRTC here: this libtorch is the one without CUDA");
        return;
    }
    let jobs: Vec<(&str, &str)> = groups
        .iter()
        .flat_map(|group| ARCHITECTURES.map(|architecture| (*group, architecture)))
        .collect();
    rayon::scope(|scope| {
        for (group, architecture) in &jobs {
            scope.spawn(move |_| {
                let code = nvrtc::compile(&nvrtc::source(group), architecture)
                    .unwrap_or_else(|error| panic!("{group} for {architecture}: {error:#}"));
                assert!(
                    code.starts_with(b"\x7fELF"),
                    "{group} for {architecture} is no machine code"
                );
                for name in twin::names() {
                    if driver::group_of(&name) == Some(*group) {
                        let found = code.windows(name.len()).any(|at| at == name.as_bytes());
                        assert!(found, "{group} for {architecture} lacks {name}");
                    }
                }
            });
        }
    });
}

#[test]
fn nvrtc_says_what_it_does_not_compile() {
    if library::open(c"libnvrtc.so.13", nvrtc::FOLDER).is_none() {
        return;
    }
    let error = nvrtc::compile("__global__ void f() { nothing(); }", "sm_90").unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
    assert!(nvrtc::compile(&nvrtc::source("NORMS"), "sm_10").is_err());
}

/// The launch simulator under the address and undefined-behaviour sanitizers:
/// `csrc/gpu/bounds.cpp`.
#[test]
fn no_kernel_reads_or_writes_beyond_its_tensors() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("csrc/gpu");
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("bounds");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let compiled = Command::new(compiler)
        .args([
            "-std=c++17",
            "-g",
            "-O1",
            "-ffp-contract=off",
            "-fno-sanitize-recover=all",
        ])
        .arg("-fsanitize=address,undefined")
        .args([source.join("bounds.cpp"), source.join("twin.cpp")])
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap();
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let ran = Command::new(&program).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(String::from_utf8_lossy(&ran.stdout).contains("launches"));
}

/// Updates all of these with gradients of their sizes.
fn update_by_adamw(list: &[(Kept, State)]) {
    let updates = list.iter().map(|(weights, state)| AdamwUpdate {
        step: step(1, 0.99),
        weights: weights.as_weights(),
        moments: state.as_moments(),
        gradient: gradient(weights.weight.numel() as i64, Kind::Float, 1),
    });
    adamw(&updates.collect::<Vec<_>>()).unwrap();
}

/// A launch has no work for a tensor without numbers, and finds those behind it.
#[test]
fn empty_tensors_among_others_change_nothing() {
    for eight in [false, true] {
        let of = |count| (Kept::new(2, count), State::new(eight, count));
        let (all, alone) = (vec![of(0), of(300), of(0), of(7)], vec![of(300), of(7)]);
        update_by_adamw(&all);
        update_by_adamw(&alone);
        for (ours, theirs) in [&all[1], &all[3]].into_iter().zip(&alone) {
            assert!(same_bits(&ours.0.weight, &theirs.0.weight));
            assert!(same_bits(&ours.0.exact, &theirs.0.exact));
        }
    }
    let gradients = [0i64, 300, 0, 7].map(|count| gradient(count, Kind::Float, 1));
    let squares = sums_of_squares(&gradients).unwrap();
    let rows = gradients
        .each_ref()
        .map(|x| (x.shallow_clone(), (1, x.numel() as i64)));
    let (_, of_rows) = FactoredSums::of(&rows).unwrap();
    for squares in [&squares, &of_rows] {
        assert!(squares[0] == 0.0 && squares[2] == 0.0, "{squares:?}");
        assert!(squares[1] > 0.0 && squares[3] > 0.0, "{squares:?}");
    }
}

/// What docs/design/gpu.md says that a finding is held by is there.
#[test]
fn the_tests_that_the_page_of_findings_names_exist() {
    fn read(folder: &std::path::Path, all: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => read(&path, all),
                false => all.push_str(&std::fs::read_to_string(&path).unwrap_or_default()),
            }
        }
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/design/gpu.md")).unwrap();
    let (_, findings) = page
        .split_once("\n## What a reading of the GPU path found\n")
        .unwrap();
    let is_name = |word: &&str| {
        let is_plain = |byte: u8| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit();
        word.matches('_').count() >= 3 && word.bytes().all(is_plain)
    };
    let names: Vec<&str> = findings.split('`').filter(is_name).collect();
    assert!(names.len() > 12, "{names:?}");
    let mut source = String::new();
    read(&root.join("src"), &mut source);
    for name in names {
        assert!(
            source.contains(&format!("fn {name}()")),
            "there is no test {name}"
        );
    }
}
