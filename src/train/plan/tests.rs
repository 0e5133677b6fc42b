use super::*;
use std::path::Path;

fn here(path: &str) -> Planner {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    Planner::new(size::fields(&path).unwrap()).unwrap()
}

fn full(master: Master, optimizer: OptimizerKind, within: bool) -> PlanConfig {
    PlanConfig {
        method: Method::Full,
        rank: 16,
        targets: Vec::new(),
        dora: false,
        quantize: None,
        precision: Precision::Bf16,
        master,
        optimizer,
        recompute: within,
        update_in_backward: within,
        offload: false,
        tokens: 2048,
        target_tokens: 2048,
        tokens_beside: 0,
        cut: false,
        gpu: true,
    }
}

/// The table of the published figures: bytes a parameter, gigabytes, and the GPU.
#[test]
fn gpt_j_needs_what_its_formats_say() {
    let mut planner = here("tests/fixtures/gpt-j-6b/config.json");
    assert_eq!(grouped(planner.size.parameters), "6,050,882,784");
    assert_eq!(
        (planner.size.layers, planner.size.linear),
        (28, 28 * 12 * 4096 * 4096)
    );
    for (choice, gigabytes_of_formats, fits) in [
        (full(Master::Fp32, OptimizerKind::Adamw, false), 96.8, Some(141)),
        (
            full(Master::Split, OptimizerKind::Adamw8bit, false),
            48.6,
            Some(80),
        ),
        (
            full(Master::Split, OptimizerKind::Adamw8bit, true),
            36.9,
            Some(40),
        ),
        (
            full(Master::Stochastic, OptimizerKind::Adamw8bit, true),
            24.8,
            Some(32),
        ),
        (
            full(Master::Stochastic, OptimizerKind::Adafactor, true),
            12.5,
            Some(16),
        ),
    ] {
        let need = planner.need(&choice).unwrap();
        let formats = gigabytes(need.bytes.formats(need.all_gradients));
        assert!(
            (formats - gigabytes_of_formats).abs() < 0.06,
            "{choice:?}: {formats}"
        );
        assert_eq!(gpus::smallest(need.total), fits, "{choice:?}: {:?}", need.bytes);
    }
    let offloaded = PlanConfig {
        offload: true,
        ..full(Master::Split, OptimizerKind::Adamw, true)
    };
    let need = planner.need(&offloaded).unwrap();
    assert_eq!(gpus::smallest(need.total), Some(16), "{:?}", need.bytes);
    assert!((gigabytes(need.host) - 72.6).abs() < 0.1, "{}", need.host);
    let lora = PlanConfig {
        method: Method::Lora,
        ..full(Master::Split, OptimizerKind::Adamw, false)
    };
    let need = planner.need(&lora).unwrap();
    assert_eq!(need.trained, 28 * 16 * (4 * 8192 + 2 * (4096 + 16384)));
    assert_eq!(gpus::smallest(need.total), Some(24), "{:?}", need.bytes);
}

/// 6.2M tokens, an epoch of Alpaca's 52k examples: 2.2e17 operations, 11 minutes on an H100 at 33 %.
#[test]
fn an_epoch_of_alpaca_takes_eleven_minutes_on_an_h100() {
    let mut planner = here("tests/fixtures/gpt-j-6b/config.json");
    let need = planner
        .need(&full(Master::Split, OptimizerKind::Adamw8bit, false))
        .unwrap();
    let operations = need.flops_per_token * 6.2e6;
    assert!((operations / 2.2e17 - 1.0).abs() < 0.05, "{operations:e}");
    let times = gpus::times(&need, 6_200_000, 0.33);
    let h100 = times.iter().find(|time| time.gpu == "H100 80 GB").unwrap();
    assert!((h100.minutes - 11.5).abs() < 0.6, "{}", h100.minutes);
}

#[test]
fn a_tied_head_counts_once() {
    for name in ["gemma3", "gemma3_untied"] {
        let planner = here(&format!("tests/golden/{name}"));
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}/model.safetensors"));
        let tensors = crate::train::out::files::read_safetensors(&path).unwrap();
        let in_file: u64 = tensors.values().map(|tensor| tensor.numel() as u64).sum();
        assert_eq!(planner.size.parameters, in_file, "{name}");
    }
}

/// The cheapest change is the one that costs least, not the one that saves most.
#[test]
fn what_does_not_fit_is_helped() {
    let mut planner = here("tests/fixtures/gpt-j-6b/config.json");
    let wants = full(Master::Split, OptimizerKind::Adamw, false);
    for (megabytes, options) in [
        (141_000, ""),
        (80_000, "--optimizer adamw8bit"),
        (48_000, "--optimizer adamw8bit --update-in-backward --clip 0"),
        (
            32_000,
            "--optimizer adamw8bit --master stochastic --update-in-backward --clip 0",
        ),
        (
            24_000,
            "--optimizer adafactor --master stochastic --update-in-backward --clip 0",
        ),
        (
            14_200,
            "--optimizer adafactor --master stochastic --update-in-backward --clip 0 --micro-tokens 1024",
        ),
    ] {
        let (found, need) = change::cheapest(&mut planner, &wants, megabytes * 1_000_000)
            .unwrap()
            .unwrap();
        assert_eq!(found, options, "{megabytes} MB: {:?}", need.bytes);
    }
    assert!(
        change::cheapest(&mut planner, &wants, 1_000_000_000)
            .unwrap()
            .is_none()
    );
}
