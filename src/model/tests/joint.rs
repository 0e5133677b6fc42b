//! Queries, keys and values in one product, as inference on a GPU computes them.

use tch::{Device, Kind, Tensor};

use super::{GOLDENS, distance, expected, loaded, paged_goldens};
use crate::model::cache::KvCache;
use crate::model::layers::attention::ForwardPass;

#[test]
fn logits_and_weights_stay_when_projections_are_joined() {
    let _guard = tch::no_grad_guard();
    for name in GOLDENS.iter() {
        let (tokens_bt, logits) = expected(name);
        let (apart, mut joined) = (loaded(name).model, loaded(name).model);
        joined.join_projections();
        let mut pass = ForwardPass::whole(2, 24, Device::Cpu);
        let ours = joined.logits(&joined.forward(&tokens_bt, &mut pass));
        let off = distance(&ours, &logits);
        assert!(off <= 1e-5, "{name}: logits differ by {off:e}");
        for ((path, ours), (other, theirs)) in joined.parameters().iter().zip(apart.parameters()) {
            assert_eq!((path, ours), (&other, &theirs), "{name}");
        }
    }
}

/// By pages, where views of the product go straight into the kernel that rotates and writes.
#[test]
fn a_cache_of_pages_takes_views_of_the_product() {
    let _guard = tch::no_grad_guard();
    for name in paged_goldens() {
        let (tokens_bt, logits) = expected(name);
        let tokens_1t = tokens_bt.narrow(0, 0, 1);
        let mut model = loaded(name).model;
        model.join_projections();
        let mut cache = KvCache::paged(model.info(), Kind::Float, 2);
        let mut pass = ForwardPass::cached(&mut cache, 0, &[0], 24, Device::Cpu);
        let ours: Tensor = model.logits(&model.forward(&tokens_1t, &mut pass));
        let off = distance(&ours, &logits.narrow(0, 0, 1));
        assert!(off <= 1e-5, "{name}: logits differ by {off:e}");
    }
}
