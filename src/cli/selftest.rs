//! `ewe selftest`

/// Arguments of `ewe selftest`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// auto, cpu, or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
}
