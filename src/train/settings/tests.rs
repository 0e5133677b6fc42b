//! Tests of settings.

use super::*;
use ewe::finetune::{LORA_RANK, ScheduleKind, default_alpha};
use ewe::job::train::RowSource;

/// Returns the job of `ewe train` without options, changed by `change`.
fn job(change: impl FnOnce(&mut TrainJob)) -> TrainJob {
    let mut job = TrainJob {
        rows: RowSource::Files(Vec::new()),
        model: "m".into(),
        out: "o".into(),
        resume: false,
        allow_changes: false,
        method: Method::Lora,
        lora: LoraSettings {
            rank: LORA_RANK,
            alpha: default_alpha(LORA_RANK),
            ..LoraSettings::default()
        },
        adapter: None,
        template: None,
        loss: AnswerLoss::All,
        reasoning: ReasoningChoice::Keep,
        epochs: None,
        steps: None,
        batch_size: 8,
        micro_batch: None,
        micro_tokens: None,
        lr: None,
        schedule: ScheduleKind::Cosine,
        warmup_steps: None,
        weight_decay: 0.0,
        clip: 1.0,
        neftune: None,
        max_length: None,
        precision: None,
        formats: Formats::default(),
        formats_are_given: false,
        order: RowOrder::Shuffled,
        seed: 0,
        save_every: None,
        keep_checkpoints: 0,
        guard: 10.0,
        eval_every: None,
        keep_best: false,
        early_stop: None,
        eval_data: None,
        eval_fraction: None,
        device: "auto".to_owned(),
        ranks: Default::default(),
        numerics: Default::default(),
        ignore_plan: false,
        dry_run: false,
        show_rows: None,
        json: false,
        options: Default::default(),
    };
    change(&mut job);
    job
}

/// Returns the settings of a run without options.
pub fn settings() -> Settings {
    resolved(|_| {})
}

fn resolved(change: impl FnOnce(&mut TrainJob)) -> Settings {
    Settings::resolve(&job(change), Precision::Bf16, Template::Alpaca, 64, 100, None)
}

#[test]
fn defaults_follow_the_method() {
    let lora = resolved(|_| {});
    assert_eq!(
        (lora.schedule.total, lora.schedule.peak, lora.schedule.warmup),
        (13, 2e-4, 0)
    );
    assert_eq!(lora.lora.unwrap().alpha, 32.0);
    let full = resolved(|job| {
        (job.method, job.steps, job.batch_size) = (Method::Full, Some(100), 3);
    });
    assert_eq!(
        (full.schedule.total, full.schedule.peak, full.schedule.warmup),
        (100, 2e-5, 3)
    );
    assert_eq!((full.lora, full.micro_batch), (None, 3));
}

#[test]
fn what_model_and_rows_do_not_bear_is_refused() {
    assert!(Settings::max_length(Some(99), 64).is_err());
    for choice in [
        TemplateChoice::Known(Template::Alpaca),
        TemplateChoice::File("mine.jinja".into()),
        TemplateChoice::File("mine".into()),
    ] {
        assert!(
            Settings::check_template(Some(&choice), true).is_err(),
            "{choice:?}"
        );
        Settings::check_template(Some(&choice), false).unwrap();
    }
    let completion = TemplateChoice::Known(Template::Completion);
    Settings::check_template(Some(&completion), true).unwrap();
}

#[test]
fn a_changed_setting_is_named() {
    let saved = resolved(|_| {});
    let now = resolved(|job| (job.clip, job.lr) = (2.0, Some(0.1)));
    saved.same_as(&saved).unwrap();
    let error = now.same_as(&saved).unwrap_err().to_string();
    assert!(
        error.contains("\n  --clip: 1.0 then, 2.0 now")
            && error.contains("\n  --lr: 0.0002 then, 0.1 now")
            && !error.contains("--schedule"),
        "{error}"
    );
}

/// The names and their order, as older versions wrote them.
#[test]
fn stored_settings_keep_their_names_and_order() {
    let value = serde_json::to_value(resolved(|_| {})).unwrap();
    let names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names.join(" "),
        "method lora template template_text loss reasoning max_length eval_fraction batch_size order seed micro_batch \
         micro_tokens recompute update_in_backward offload quantize precision master optimizer weight_decay \
         clip neftune guard eval_every early_stop keep_best schedule"
    );
    let mut old = value.clone();
    for name in [
        "loss",
        "reasoning",
        "recompute",
        "update_in_backward",
        "offload",
        "quantize",
        "neftune",
    ] {
        old.as_object_mut().unwrap().shift_remove(name);
    }
    let read: Settings = serde_json::from_value(old).unwrap();
    assert_eq!(read, resolved(|_| {}));
}
