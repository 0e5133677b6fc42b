//! `ewe merge`: an adapter becomes part of its model's weights, and the result a model like any other.

use super::saved_template::SavedTemplate;
use super::{files, save};
use crate::model::adapter::{self, Attached};
use crate::model::hub::{self, Want};
use crate::model::layers::Linear;
use crate::model::{self, LoadedModel};
use crate::train::out::NewFolder;
use anyhow::{Context, Result, bail};
use ewe::cli::models::merge::Args;
use ewe::text::counted;
use tch::{Device, Kind, Tensor};

/// Runs `ewe merge`. Fails when nothing of the adapter is left in the result, and then writes nothing.
pub fn run(args: &Args, quiet: bool) -> Result<()> {
    let out = NewFolder::begin(&args.out)?;
    let base = hub::resolve(&args.model, Want::Model)?;
    let _guard = tch::no_grad_guard();
    let LoadedModel {
        mut model,
        kind,
        tokenizer,
        ..
    } = model::load(&base, Device::Cpu, &args.dtype)?;
    let Attached { layers, replaced } = adapter::attach(model.as_mut(), &base, &args.adapter, Device::Cpu)?;
    // What the adapter was trained on is how the merged model is to be asked.
    let form = SavedTemplate::of(&tokenizer.asked_as_in(&args.adapter)?);
    let (mut changed, mut all) = (0.0, 0.0);
    let mut merge = |linear: &mut Linear| {
        if linear.lora.is_none() {
            return;
        }
        let before = linear.weight.copy();
        linear.merge();
        let count = |x: Tensor| x.sum(Kind::Double).double_value(&[]);
        changed += count(linear.weight.not_equal_tensor(&before));
        all += before.numel() as f64;
    };
    model.for_each_linear(&mut merge);
    merge(model.ends().head);
    if changed == 0.0 && replaced.is_empty() {
        bail!(
            "the merged model is its base: no weight differs\nhint: an adapter that was never trained changes nothing, and what it \
             changes can be less than a step of {}; --dtype fp32 keeps it",
            model::device::dtype_name(kind)
        );
    }
    out.fill(save::is_last, |out| {
        files::make_sure_of_room(out, files::bytes(&model.parameters())).context("cannot save the model")?;
        save::copy_tokenizer(&base, out)?;
        form.write(&base, out)?;
        save::write_model(model.as_ref(), &base, out)
    })?;
    crate::train::run::say(
        quiet,
        &format!(
            "{}: {} merged in {}, {:.1} % of the weights there differ from the base's{}",
            args.out.display(),
            counted(layers, "layer"),
            model::device::dtype_name(kind),
            // An adapter of whole weights has no layers.
            100.0 * changed / f64::max(all, 1.0),
            match replaced.len() {
                0 => String::new(),
                _ => format!("; replaced: {}", replaced.join(", ")),
            }
        ),
    );
    Ok(())
}
