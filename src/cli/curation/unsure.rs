//! `ewe unsure`

use super::opinion;
use crate::curate;
use crate::task::Stance;

/// Arguments of `ewe unsure`.
pub use super::decision::Args;

/// Records that a reviewer leaves tasks to somebody else.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let name = args.name.clone().unwrap_or_else(curate::who);
    opinion::run(args, &name, Stance::Unsure, quiet).await
}
