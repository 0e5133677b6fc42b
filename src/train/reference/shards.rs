//! Parameters that ranks divide against whole ones. No ranks are needed to read, save and restore
//! parts; `tests/it/shards.rs` has what they compute together.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ewe::finetune::{Formats, Master, OptimizerKind};
use tch::{Device, Kind, Tensor};

use super::{MODELS, WHOLE, golden_dir, learn, read, with_config};
use crate::distributed::group::Division;
use crate::model;
use crate::model::files::weights::Form;
use crate::train::optim::optimizer::OptimizerConfig;
use crate::train::out::files;
use crate::train::shards::load::Source;
use crate::train::shards::saved::Shapes;
use crate::train::trainer::Trainer;

/// Part number `part` of `parts` of a model.
fn divided(name: &str, dtype: &str, config: OptimizerConfig, part: usize, parts: usize) -> Trainer {
    let dir = golden_dir().join(name);
    let (mut model, _, weights) = model::load_hollow(&dir, Device::Cpu, dtype, Form::Plain).unwrap();
    let ends = model.embedding_and_head();
    let source = Source {
        weights,
        exact: None,
        dir: &dir,
        head_name: ends.tied.then_some(ends.head_name),
    };
    let division = Division::of(part, parts, parts);
    Trainer::divided(model, source, division, config, Device::Cpu).unwrap()
}

/// All parts of a model.
fn all_parts(name: &str, dtype: &str, config: OptimizerConfig, parts: usize) -> Vec<Trainer> {
    (0..parts)
        .map(|part| divided(name, dtype, config, part, parts))
        .collect()
}

#[test]
fn the_parts_of_every_family_are_all_of_it() {
    for name in MODELS {
        let config = OptimizerConfig::default();
        let whole = with_config(name, "fp32", config);
        let parts = all_parts(name, "fp32", config, 3);
        for (at, of) in whole.trained.iter().enumerate() {
            let pieces = parts.iter().map(|part| part.trained[at].values());
            let together = Tensor::cat(&pieces.collect::<Vec<_>>(), 0);
            assert_eq!(together, of.values().reshape(-1), "{name}: {}", of.name);
            assert_eq!(parts[0].trained[at].name, of.name);
        }
        for part in &parts {
            assert_eq!(part.trained_head, whole.trained_head, "{name}");
        }
    }
}

/// A rank's memory is its part, and no more while nothing is gathered.
#[test]
fn a_part_takes_its_share_of_the_numbers() {
    let config = OptimizerConfig::default();
    let whole: usize = with_config("gemma3", "fp32", config)
        .trained
        .iter()
        .map(|of| of.leaf.numel())
        .sum();
    for parts in [2, 4] {
        for trainer in all_parts("gemma3", "fp32", config, parts) {
            let own: usize = trainer.trained.iter().map(|of| of.values().numel()).sum();
            let units = trainer.shards.as_ref().unwrap().units.len();
            // A block of 256 numbers more for each unit, and gaps of that between parameters.
            let gaps = 256 * (units + trainer.trained.len());
            assert!(own <= whole / parts + gaps, "{own} of {whole} by {parts}");
        }
    }
}

fn write_parts(dir: &Path, trainers: &[Trainer]) -> (Vec<PathBuf>, Shapes) {
    let write = |(number, of): (usize, &Trainer)| {
        let path = dir.join(format!("{number}-of-{}.safetensors", trainers.len()));
        files::write_safetensors(&path, &of.own_state()).unwrap();
        path
    };
    let paths = trainers.iter().enumerate().map(write).collect();
    (paths, trainers[0].state_shapes())
}

/// A state goes from one rank to two, to three, to five and back to one without a changed bit.
#[test]
fn a_state_is_the_same_whoever_had_its_parts() {
    let formats = [
        ("fp32", Master::Split, OptimizerKind::Adamw),
        ("fp32", Master::Split, OptimizerKind::Adamw8bit),
        ("bf16", Master::Split, OptimizerKind::Adamw8bit),
        ("bf16", Master::Fp32, OptimizerKind::Lion),
        ("bf16", Master::Stochastic, OptimizerKind::Adamw),
    ];
    for (dtype, master, optimizer) in formats {
        let config = OptimizerConfig {
            formats: Formats {
                master,
                optimizer,
                ..Formats::default()
            },
            ..OptimizerConfig::default()
        };
        let (_, examples) = read("gemma3");
        let mut first = with_config("gemma3", dtype, config);
        for _ in 0..3 {
            learn(&mut first, &examples, &[0, 1, 2, 3], WHOLE);
            first.update(0.01, 1.0, &|_| None);
        }
        let before: HashMap<String, Tensor> = first.state().into_iter().collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        files::write_safetensors(&path, &first.state()).unwrap();
        let (mut paths, mut shapes) = (vec![path], Shapes::new());
        for parts in [2, 3, 5] {
            let mut trainers = all_parts("gemma3", dtype, config, parts);
            for trainer in &mut trainers {
                files::restore_parts(
                    &paths,
                    |name| shapes.get(name).cloned(),
                    |take| trainer.restore(take),
                )
                .unwrap();
            }
            (paths, shapes) = write_parts(dir.path(), &trainers);
        }
        let mut last = with_config("gemma3", dtype, config);
        files::restore_parts(
            &paths,
            |name| shapes.get(name).cloned(),
            |take| last.restore(take),
        )
        .unwrap();
        let after = last.state();
        assert_eq!(after.len(), before.len());
        for (name, tensor) in after {
            assert_eq!(tensor, before[&name], "{dtype} {master:?} {optimizer:?}: {name}");
        }
        // A file too few is found.
        paths.pop();
        let cut = files::restore_parts(
            &paths,
            |name| shapes.get(name).cloned(),
            |take| last.restore(take),
        );
        let error = format!("{:#}", cut.unwrap_err());
        assert!(error.contains("missing or of another"), "{error}");
        assert_eq!(last.trained[0].leaf.kind() == Kind::Float, dtype == "fp32");
    }
}
