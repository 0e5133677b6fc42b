use super::attention::AttentionBytes;
use super::report::{gigabytes, grouped};
use super::run_time::TimedRun;
use super::tensors::Tensors;
use super::*;
use std::path::Path;

fn here(path: &str) -> Planner {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    Planner::new(size::fields(&path).unwrap()).unwrap()
}

fn full(master: Master, optimizer: OptimizerKind, within: bool) -> PlanConfig {
    PlanConfig {
        method: Method::Full,
        lora: LoraSettings {
            rank: 16,
            ..LoraSettings::default()
        },
        formats: Formats {
            master,
            optimizer,
            recompute: within,
            update_in_backward: within,
            ..Formats::default()
        },
        tokens: 2048,
        target_tokens: 2048,
        tokens_beside: 0,
        cut: false,
        parts: 1,
        gpu: true,
        step_tokens: 2048,
        branches: Branches::apart(2048),
        fused: true,
    }
}

fn lora(quantize: Option<Quantize>, recompute: bool) -> PlanConfig {
    let full = full(Master::Split, OptimizerKind::Adamw, false);
    PlanConfig {
        method: Method::Lora,
        formats: Formats {
            quantize,
            recompute,
            ..full.formats
        },
        ..full
    }
}

/// What is planned for this machine first must not stand for GPUs: a CPU keeps less of a block.
#[test]
fn a_plan_for_a_gpu_is_the_same_after_one_for_a_cpu() {
    let path = "tests/golden/llama";
    let on_gpu = lora(None, false);
    let on_cpu = PlanConfig {
        gpu: false,
        fused: false,
        ..on_gpu.clone()
    };
    let mut planner = here(path);
    let cpu = planner.estimate(&on_cpu).unwrap();
    let after = planner.estimate(&on_gpu).unwrap();
    let alone = here(path).estimate(&on_gpu).unwrap();
    assert_eq!(after.bytes.activations, alone.bytes.activations);
    assert!(cpu.bytes.activations < alone.bytes.activations);
}

/// The table of published figures: bytes per parameter, gigabytes, and the GPU.
#[test]
fn gpt_j_needs_what_its_formats_say() {
    let mut planner = here("tests/fixtures/gpt-j-6b/config.json");
    assert_eq!(grouped(planner.size.parameters), "6,050,882,784");
    assert_eq!(
        (planner.size.layers, planner.size.linear),
        (28, 28 * 12 * 4096 * 4096)
    );
    for (config, gigabytes_of_formats, fits) in [
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
        let estimate = planner.estimate(&config).unwrap();
        let formats = gigabytes(estimate.bytes.formats(estimate.all_gradients));
        assert!(
            (formats - gigabytes_of_formats).abs() < 0.06,
            "{config:?}: {formats}"
        );
        assert_eq!(
            gpus::smallest(estimate.total),
            fits,
            "{config:?}: {:?}",
            estimate.bytes
        );
    }
    let mut offloaded = full(Master::Split, OptimizerKind::Adamw, true);
    offloaded.formats.offload = true;
    let estimate = planner.estimate(&offloaded).unwrap();
    assert_eq!(gpus::smallest(estimate.total), Some(16), "{:?}", estimate.bytes);
    assert!((gigabytes(estimate.host) - 72.6).abs() < 0.1, "{}", estimate.host);
    let estimate = planner.estimate(&lora(None, false)).unwrap();
    assert_eq!(estimate.trained, 28 * 16 * (4 * 8192 + 2 * (4096 + 16384)));
    assert_eq!(gpus::smallest(estimate.total), Some(24), "{:?}", estimate.bytes);
}

/// Which GPUs hold each way to fine-tune a model of 6B parameters.
#[test]
fn gpt_j_fits_the_gpus_that_are_known_to_hold_it() {
    let mut planner = here("tests/fixtures/gpt-j-6b/config.json");
    let (split, stochastic) = (Master::Split, Master::Stochastic);
    let (eight, factored) = (OptimizerKind::Adamw8bit, OptimizerKind::Adafactor);
    let rows = [
        (
            "fp32 masters",
            full(Master::Fp32, OptimizerKind::Adamw, false),
            "141",
        ),
        ("split masters, 8 bits", full(split, eight, false), "80 141"),
        ("the same, in backward", full(split, eight, true), "40 48 80 141"),
        (
            "stochastic, 8 bits",
            full(stochastic, eight, true),
            "40 48 80 141",
        ),
        (
            "stochastic, factored",
            full(stochastic, factored, true),
            "24 40 48 80 141",
        ),
        ("LoRA", lora(None, false), "24 40 48 80 141"),
        ("QLoRA", lora(Some(Quantize::Nf4), true), "8 24 40 48 80 141"),
    ];
    for (name, config, fits) in rows {
        let total = planner.estimate(&config).unwrap().total;
        let holding = [8, 24, 40, 48, 80, 141].into_iter();
        let holding = holding.filter(|gigabytes| total <= gigabytes * 1_000_000_000);
        let holding: Vec<String> = holding.map(|gigabytes| gigabytes.to_string()).collect();
        assert_eq!(holding.join(" "), fits, "{name}: {}", gigabytes(total));
    }
}

/// What a GPU needs beyond the tensors that a CPU needs, too.
#[test]
fn a_step_on_a_gpu_needs_more_with_more_micro_batches() {
    let planner = here("tests/fixtures/gpt-j-6b/config.json");
    let fused = full(Master::Stochastic, OptimizerKind::Adamw8bit, true);
    let total = |config: &PlanConfig| planner.lower_bound(config).total as i64;
    // Of each further micro-batch the inputs of all 28 blocks and a gradient wait.
    let mut two = fused.clone();
    (two.step_tokens, two.cut) = (4096, true);
    two.place_step();
    assert_eq!(two.tokens_beside, 2048);
    let mut three = two.clone();
    three.step_tokens = 6144;
    three.place_step();
    assert_eq!(total(&three) - total(&two), 29 * 2048 * 4096 * 2);
    // The gradients of a block, or of the head, are summed in fp32.
    assert!(total(&two) - total(&fused) >= 29 * 2048 * 4096 * 2 + 4 * 201_355_264);
    // Flash attention gathers shared keys for each branch, and pads the sums of each.
    let mut shared = fused.clone();
    shared.branches = Branches {
        count: 40,
        keys: 6000,
    };
    let backward = |config: &PlanConfig| AttentionBytes::of(&planner.size, config).backward;
    assert!(backward(&fused) > 60_000_000 && backward(&shared) > backward(&fused) + 150_000_000);
    // Without our kernels, temporaries: 1 GB where updates draw random bits.
    let composed = PlanConfig {
        fused: false,
        ..fused.clone()
    };
    let tensors = |config: &PlanConfig| {
        let tensors = Tensors {
            size: &planner.size,
            config,
        };
        update::temporaries(&tensors, planner.size.block, 1 << 26)
    };
    assert_eq!(tensors(&composed), 15 * 4 * (1 << 24));
    assert!(tensors(&fused) <= 1 << 20);
    let cpu = PlanConfig { gpu: false, ..fused };
    assert_eq!(tensors(&cpu), 0);
    assert_eq!(AttentionBytes::of(&planner.size, &cpu), AttentionBytes::default());
}

/// Bytes that fused updates move for each number.
#[test]
fn updates_move_few_bytes() {
    let planner = here("tests/fixtures/gpt-j-6b/config.json");
    for (master, optimizer, bytes) in [
        (Master::Fp32, OptimizerKind::Adamw, 28),
        (Master::Split, OptimizerKind::Adamw, 26),
        (Master::Split, OptimizerKind::Adamw8bit, 14),
        (Master::Stochastic, OptimizerKind::Adamw8bit, 10),
        (Master::Split, OptimizerKind::Adafactor, 12),
        (Master::Stochastic, OptimizerKind::Adafactor, 8),
    ] {
        let tensors = Tensors {
            size: &planner.size,
            config: &full(master, optimizer, false),
        };
        assert_eq!(
            update::bytes_moved(&tensors, 2),
            bytes,
            "{master:?} {optimizer:?}"
        );
    }
}

/// 6.2M tokens, one epoch of Alpaca's 52k examples: 2.2e17 operations. On an H100 products take
/// 7.8 minutes of it at 47 % of the peak, and updates 1.8 in steps of 2,048 tokens. With the
/// default batch of 8 examples, 954 tokens, it takes 13 minutes.
#[test]
fn an_epoch_of_alpaca_takes_ten_minutes_on_an_h100() {
    let mut planner = here("tests/fixtures/gpt-j-6b/config.json");
    let whole = full(Master::Split, OptimizerKind::Adamw8bit, false);
    let mut small = whole.clone();
    (small.tokens, small.target_tokens, small.step_tokens) = (954, 954, 954);
    let mut time = |config: &PlanConfig| {
        let estimate = planner.estimate(config).unwrap();
        let operations = estimate.flops_per_token * 6.2e6;
        assert!((operations / 2.2e17 - 1.0).abs() < 0.05, "{operations:e}");
        let run = TimedRun {
            size: &planner.size,
            estimate: &estimate,
            tokens: 6_200_000,
            exchanged: [0.0; 2],
            share: None,
        };
        let times = run.times();
        times.into_iter().find(|time| time.gpu == "H100 80 GB").unwrap()
    };
    let h100 = time(&whole);
    assert!((h100.products - 7.8).abs() < 0.1, "{h100:?}");
    assert!((h100.updates - 1.8).abs() < 0.1, "{h100:?}");
    assert!((h100.launches + h100.checkpoints) < 0.4, "{h100:?}");
    let parts = h100.products + h100.updates + h100.checkpoints + h100.launches;
    assert!((h100.minutes - parts).abs() < 1e-9, "{h100:?}");
    assert!((h100.minutes - 9.8).abs() < 0.3, "{h100:?}");
    let h100 = time(&small);
    assert!((h100.minutes - 13.2).abs() < 0.3, "{h100:?}");
}

/// The launches of a LoRA's small kernels hide behind products.
#[test]
fn launches_of_a_lora_are_a_tenth_at_most() {
    let mut planner = here("tests/fixtures/gpt-j-6b/config.json");
    let estimate = planner.estimate(&lora(None, false)).unwrap();
    let run = TimedRun {
        size: &planner.size,
        estimate: &estimate,
        tokens: 1_000_000,
        exchanged: [0.0; 2],
        share: None,
    };
    for time in run.times() {
        assert!(
            time.launches < 0.1 * time.minutes || time.gpu == "B200 180 GB",
            "{time:?}"
        );
    }
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
        // Smaller micro-batches would not help before: a step has two of them then, whose gradients
        // are summed in fp32.
        (14_800, "--method lora --recompute --micro-tokens 1024"),
    ] {
        let (found, estimate) = change::cheapest(&mut planner, &wants, megabytes * 1_000_000)
            .unwrap()
            .unwrap();
        assert_eq!(found, options, "{megabytes} MB: {:?}", estimate.bytes);
    }
    assert!(
        change::cheapest(&mut planner, &wants, 1_000_000_000)
            .unwrap()
            .is_none()
    );
}

/// The fields of the JSON, in the order that it has always had.
#[test]
fn json_keeps_its_fields_and_their_order() {
    let planner = here("tests/fixtures/gpt-j-6b/config.json");
    let estimate = planner.lower_bound(&full(Master::Split, OptimizerKind::Adamw, false));
    let value = serde_json::to_value(estimate).unwrap();
    let fields = |value: &serde_json::Value| {
        let fields: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        fields.join(" ")
    };
    assert_eq!(
        fields(&value),
        "choice trained all_gradients bytes total host flops_per_token"
    );
    assert_eq!(
        fields(&value["choice"]),
        "method rank targets dora quantize precision master optimizer recompute update_in_backward offload tokens \
         target_tokens tokens_beside cut gpu"
    );
}

/// All experts are weights, have states, and are quantized; a token goes through half of them.
#[test]
fn all_experts_of_a_mixture_count() {
    let planner = here("tests/golden/qwen3_moe/config.json");
    let size = &planner.size;
    let each: u64 = 24 * 32;
    assert_eq!(size.experts, vec![each; 2 * 4 * 3]);
    let in_experts: u64 = size.experts.iter().sum();
    assert_eq!(size.active, size.linear - in_experts / 2);
    assert!(size.linears.iter().all(|(path, ..)| path.contains("self_attn")));
    // The experts of the second block are not of the first.
    assert!(size.block < size.parameters / 2);
    let quantized = lora(Some(Quantize::Nf4), false);
    let weights = |config: &PlanConfig| Tensors { size, config }.resident().0.weights;
    let saved = weights(&lora(None, false)) - weights(&quantized);
    assert!(saved > in_experts, "{saved} of {in_experts} numbers of two bytes");
}

/// Autograd keeps each score of an example: in bf16 its tanh, its weight in fp32, and that rounded.
#[test]
fn capped_scores_count_with_the_square_of_an_examples_length() {
    let planner = here("tests/golden/gemma2/config.json");
    assert!(planner.size.capped);
    let of_length = |count: u64| {
        let config = PlanConfig {
            branches: Branches { count, keys: 2048 },
            ..full(Master::Split, OptimizerKind::Adamw, false)
        };
        assert!(config.is_bf16());
        AttentionBytes::of(&planner.size, &config).kept
    };
    assert_eq!(of_length(1), 4 * 2048 * (2048 - 128) * (2 + 4 + 2));
    // As long as those that were measured.
    assert_eq!(of_length(16), 0);
}
