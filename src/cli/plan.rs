//! `ewe plan`

use super::train::Method;
use std::path::PathBuf;

/// Arguments of `ewe plan`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Directory of a model, its config.json alone, or its id on the Hugging Face hub
    #[arg(long, value_name = "DIR|config.json|HF_ID")]
    pub model: PathBuf,

    /// Only this method [default: all]
    #[arg(long, value_enum)]
    pub method: Option<Method>,

    /// Rank of the adapter
    #[arg(long, value_name = "R", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub lora_rank: u32,

    /// Tokens that go through the model at once
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    pub micro_tokens: u32,

    /// Memory to fit into, in gigabytes of 10^9 bytes: 80GB; exit code 1 where nothing fits
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    pub memory: Option<u64>,

    /// JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `80GB`, `80G`, `80` (all 80·10⁹ bytes) or `16GiB`.
fn parse_memory(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (digits, unit) = match lower.strip_suffix("gib") {
        Some(digits) => (digits, f64::from(1u32 << 30)),
        None => (
            lower
                .strip_suffix("gb")
                .or(lower.strip_suffix('g'))
                .unwrap_or(&lower),
            1e9,
        ),
    };
    match digits.trim().parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok((number * unit) as u64),
        _ => Err("expected gigabytes, like 80GB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_memory;

    #[test]
    fn memory_sizes() {
        for text in ["80GB", "80g", "80", " 80 gb"] {
            assert_eq!(parse_memory(text), Ok(80_000_000_000), "{text}");
        }
        assert_eq!(parse_memory("16GiB"), Ok(16 << 30));
        for text in ["", "GB", "-1GB", "inf", "80TB"] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
    }
}
