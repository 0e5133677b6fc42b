//! `ewe push`: a model, an adapter or a dataset to the Hugging Face hub, with a card made of the
//! run's facts.
//!
//! - [`account`]: the hub and the token, from the environment; [`repo`]: the repository.
//! - [`file`]: a file to send, its checksums, its bytes as the body of a request.
//! - [`folder`]: which files of a model's folder are sent; [`dataset`]: a dataset as files.
//! - [`facts`]: what a training run says of itself; [`results`]: results of evaluations.
//! - [`card`], [`dataset_card`]: README.md; [`markdown`]: its parts.
//! - [`plan`]: what is sent where, for people to agree to.
//! - [`http`]: requests, repeated after transient failures, and the token that only the hub gets.
//! - [`repository`]: the hub's API; [`lfs`]: large files; [`upload`]: all of it in order.
//!
//! The protocol is that of `huggingface_hub`: the hub says which files are large; large ones go to
//! its storage by Git LFS; one commit then names them and holds the small ones. What is in the
//! storage already is not sent again, so a push that was cut short goes on where it was.

pub mod account;
pub mod card;
pub mod dataset;
pub mod dataset_card;
pub mod facts;
pub mod file;
pub mod folder;
pub mod http;
mod lfs;
mod markdown;
pub mod plan;
pub mod repo;
mod repository;
pub mod results;
pub mod upload;
