//! Sizes of memory, as people write them.

/// More than any machine has, and far from what overflows when a few of them are added.
const MOST: f64 = 1e15;

/// `80GB`, `80G`, `80` (all 80·10⁹ bytes), `500MB`, `16GiB`, `512MiB`, `2TB`; up to a petabyte.
///
/// # Errors
///
/// On anything else, on what is not positive, and on other units.
pub fn parse(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 9] = [
        ("tib", 1_099_511_627_776.0),
        ("tb", 1e12),
        ("t", 1e12),
        ("gib", 1_073_741_824.0),
        ("mib", 1_048_576.0),
        ("gb", 1e9),
        ("mb", 1e6),
        ("g", 1e9),
        ("m", 1e6),
    ];
    let lower = text.trim().to_ascii_lowercase();
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| lower.strip_suffix(name).map(|digits| (digits, *unit)))
        .unwrap_or((&lower, 1e9));
    match digits.trim().parse::<f64>() {
        Ok(number) if (1.0..=MOST).contains(&(number * unit)) => Ok((number * unit) as u64),
        _ => {
            Err("expected gigabytes, like 80GB, or megabytes, like 500MB; a petabyte at the most".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_are_read() {
        for text in ["80GB", "80g", "80", " 80 gb", "80000MB"] {
            assert_eq!(parse(text), Ok(80_000_000_000), "{text}");
        }
        assert_eq!(parse("16GiB"), Ok(16 << 30));
        assert_eq!(parse("0.5MiB"), Ok(1 << 19));
        assert_eq!(parse("2TB"), Ok(2_000_000_000_000));
        for text in [
            "",
            "GB",
            "-1GB",
            "inf",
            "infGB",
            "80PB",
            "0",
            "NaN",
            "99999999999999TiB",
            "1e300",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
