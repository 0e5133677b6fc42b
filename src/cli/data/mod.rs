//! Commands that bring tasks in and take them out.

pub mod add_documents;
pub mod backup;
pub mod check;
pub mod export;
pub mod filter;
pub mod generate;
pub mod import;
pub mod init;
pub mod judge;
pub mod merge_db;
pub mod recipe;
pub mod split;
pub mod validate;

use crate::backend::Backend;
use crate::cli::args::{batch, endpoint};
use crate::client::batch_backend::BatchBackend;
use anyhow::Result;

/// Runs a command with the backend that its options name: an endpoint, or batch files. The dataset
/// is opened before any request.
async fn with_backend<Dataset>(
    files: &batch::Args,
    at: &endpoint::Args,
    open: impl Future<Output = Result<Dataset>>,
    run: impl AsyncFnOnce(Dataset, &dyn Backend, Option<&BatchBackend>) -> Result<u8>,
) -> Result<u8> {
    let backend = files.backend(at).await?;
    run(open.await?, backend.backend(), backend.batch_files()).await
}
