//! The files of a model's directory, or the one [GGUF file](crate::gguf) in its place. In reading
//! order:
//!
//! - [`config`]: config.json; unsupported values are refused by name. [`text_config`]: the text
//!   half of one of text and images.
//! - [`weights`]: checkpoints in safetensors, or in [PyTorch's format](torch_file), whose
//!   [`pickle`] is read without running it.
//! - [`adapter`]: LoRA adapters in PEFT's format.
//! - [`hub`]: models named by their id on the Hugging Face hub.
//! - [`fingerprint`]: the name under which a model's responses are stored.

pub mod adapter;
pub mod config;
pub mod fingerprint;
pub mod hub;
mod pickle;
pub mod text_config;
mod torch_file;
pub mod weights;
