//! `ewe selftest`

/// Arguments of `ewe selftest`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// auto, cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,

    /// JSON on stdout
    #[arg(long)]
    pub json: bool,
}
