//! The sampler's twin beside one that sorts everything, under the sanitizers.

use std::path::Path;
use std::process::Command;

use super::*;

/// `csrc/gpu/sampler_bounds.cpp`.
#[test]
fn the_sampler_chooses_as_sorting_does_and_stays_within_its_tensors() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("csrc/gpu");
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("sampler_bounds");
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
        .args(["sampler_bounds.cpp", "twin.cpp"].map(|file| source.join(file)))
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{said}");
    let ran = Command::new(&program).output().unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn structures_have_the_sizes_of_the_header() {
    assert_eq!(size_of::<Step>(), 168);
    assert_eq!(size_of::<SamplerItem>(), 72);
    assert_eq!(size_of::<SeenUpdate>(), 16);
}

const ITEM: SamplerItem = SamplerItem {
    u: 0.5,
    top_p: 1.0,
    min_p: 0.0,
    presence: 0.0,
    frequency: 0.0,
    seen: 0,
    before: -1,
    sharpness: 1.0,
    repetition: 1.0,
    top_k: 0,
    mode: SamplerMode::Plain,
};

/// Samples one row of 40 tokens, with these changes of the table of seen tokens.
fn sampled(
    item: SamplerItem,
    updates: Vec<SeenUpdate>,
    forbidden: Vec<i64>,
    before: Option<&SampledTokens>,
    seen: &Tensor,
) -> Result<SampledTokens> {
    let mut workspace = SamplerWorkspace::on(Device::Cpu)?;
    let mut upload = Upload::default();
    let request = SamplerRequest {
        items: vec![item],
        updates,
        forbidden,
    };
    let request = request.add_to(&mut upload);
    let input = SamplerInput {
        logits_bv: &Tensor::zeros([1, 40], (Kind::Float, Device::Cpu)),
        request: &request,
        uploaded: &upload.send(Device::Cpu)?,
        before,
        seen,
        width: 64,
    };
    sample(&input, &mut workspace)
}

#[test]
fn places_beyond_the_vocabulary_are_refused() {
    let seen = Tensor::zeros([1, 40], (Kind::Int, Device::Cpu));
    let tried = |item: SamplerItem, place: i64, forbidden: i64| {
        let update = SeenUpdate::new(place, seen_value(1, true));
        sampled(item, vec![update], vec![forbidden], None, &seen).is_ok()
    };
    assert!(tried(ITEM, 39, 39));
    assert!(!tried(ITEM, 40, 39));
    assert!(!tried(ITEM, 39, 40));
    assert!(!tried(ITEM, -1, 39));
    assert!(!tried(SamplerItem { seen: 1, ..ITEM }, 39, 39));
    assert!(!tried(SamplerItem { before: 0, ..ITEM }, 39, 39));
}

/// The table has the number that the host would have sent, and no other changes.
#[test]
fn the_token_of_the_step_before_is_counted_where_the_host_has_not_read_it() {
    let seen = Tensor::zeros([1, 40], (Kind::Int, Device::Cpu));
    let counted = |token: i32| {
        let before = SampledTokens {
            tokens_b: Tensor::from_slice(&[9, token]),
            inputs_b: Tensor::from_slice(&[9i64, 0]),
        };
        let item = SamplerItem { before: 1, ..ITEM };
        let found = sampled(item, Vec::new(), Vec::new(), Some(&before), &seen).unwrap();
        assert_eq!(
            found.tokens_b.to_kind(Kind::Int64),
            found.inputs_b,
            "a row with a token"
        );
        (
            seen.int64_value(&[0, 7]) as u32,
            seen.sum(Kind::Int64).int64_value(&[]),
        )
    };
    let whole = |value: u32| (value, i64::from(value));
    assert_eq!(counted(7), whole(seen_value(1, true)));
    assert_eq!(counted(7), whole(seen_value(2, true)));
    assert_eq!(counted(FOR_HOST), whole(seen_value(2, true)));
    // In the prompt only, and outside of the window of the repetition penalty.
    let _ = seen.get(0).get(7).fill_(i64::from(seen_value(0, false)));
    assert_eq!(counted(7), whole(seen_value(1, true)));
}
