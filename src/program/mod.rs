//! The program itself: what it was built from, its second half, and the machine around it.
//!
//! - [`about`]: version, commit and compiler of this build.
//! - [`libtorch`]: where libtorch is.
//! - [`torch_half`]: starting `ewe-torch`.
//! - [`doctor`]: what a bug report needs; [`machine`]: its facts of processor, memory and disk;
//!   [`variables`]: of the environment.
//! - [`pages`]: completions of shells and manual pages.
//! - [`demo`]: all steps on a real model.

pub mod about;
pub mod demo;
pub mod doctor;
pub mod libtorch;
pub mod machine;
pub mod pages;
pub mod torch_half;
pub mod variables;
