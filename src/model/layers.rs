//! What the architectures are made of. In reading order:
//!
//! - [`Linear`], with [`matmul`], [`lora`], [`nf4`]: matrix products, adapters, weights in 4 bits;
//!   [`adapters`]: several of them at once; `joint`: several layers in one product.
//! - [`QkvProjection`], [`GatedMlp`], [`Experts`]: what attention begins with, and MLPs, one or
//!   many; [`LogitForm`].
//! - [`Embedding`], [`RmsNorm`], [`PlainRmsNorm`], [`Fp32RmsNorm`], [`LayerNorm`], [`AnyNorm`];
//!   [`activation`].
//! - [`attention`]: one forward pass; [`rope`]: rotary positions; [`prefix_tree`]: sequences that
//!   share a prefix; [`sdpa`]: attention in libtorch's operations.
//!
//! Shapes: `b` rows of a batch, `t` time, `d` features; `x_btd` and, where leading dimensions do
//! not matter, `x_d` with any number of them before the features.

pub mod activation;
pub mod adapters;
pub mod attention;
mod embedding;
mod experts;
mod gated_mlp;
mod joint;
mod linear;
mod logit_form;
pub mod lora;
pub mod matmul;
mod nf4;
mod norm;
pub mod prefix_tree;
mod qkv;
mod query_span;
pub mod rope;
mod sdpa;

pub use embedding::Embedding;
pub use experts::{Experts, ExpertsConfig};
pub use gated_mlp::GatedMlp;
pub use linear::Linear;
pub use logit_form::LogitForm;
pub use norm::{AnyNorm, Fp32RmsNorm, LayerNorm, PlainRmsNorm, RmsNorm};
pub use qkv::QkvProjection;
