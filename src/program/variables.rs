//! Variables of the environment that change what ewe does, without their secrets.

use std::ffi::OsString;

/// Beginnings of names.
const BEGINNINGS: [&str; 7] = ["EWE_", "HF_", "OPENAI_", "CUDA_", "OMP_", "PYTORCH_", "GOMP_"];

/// Other names.
const NAMES: [&str; 9] = [
    "LIBTORCH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_COLOR",
    "TMPDIR",
];

/// Words in the names of secrets.
const SECRETS: [&str; 7] = [
    "KEY",
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "CREDENTIAL",
    "AUTH",
    "HEADER",
];

/// What is shown in place of a value.
const HIDDEN: &str = "set";

/// Returns the variables of interest with their values, sorted by name. Secrets are shown as `set`.
pub fn shown(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = all
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .filter(|(name, _)| is_of_interest(name))
        .map(|(name, value)| {
            let value = value_of(&name, value);
            (name, value)
        })
        .collect();
    found.sort();
    found
}

fn is_of_interest(name: &str) -> bool {
    let upper = name.to_uppercase();
    BEGINNINGS.iter().any(|beginning| upper.starts_with(beginning)) || NAMES.contains(&upper.as_str())
}

/// The value, unless it is a secret by its name, or is an address that may have a password or a key
/// in it.
fn value_of(name: &str, value: String) -> String {
    let upper = name.to_uppercase();
    let is_secret = SECRETS.iter().any(|word| upper.contains(word));
    let is_private_address = value.contains("://") && value.contains(['@', '?', '#']);
    match is_secret || is_private_address {
        true => HIDDEN.to_owned(),
        false => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_and_other_variables_are_left_out() {
        let all = [
            ("OPENAI_API_KEY", "sk-1"),
            ("HF_TOKEN", "hf_2"),
            ("EWE_DB", "my.db"),
            ("EWE_JUDGE_KEY_3", "k3"),
            ("EWE_ENDPOINT", "http://ann:pass4@host/v1"),
            ("HTTPS_PROXY", "http://bob:pass5@proxy:8080"),
            ("HF_ENDPOINT", "https://mirror/?sig=6"),
            ("HF_HOME", "/models"),
            ("HOME", "/home/ann"),
            ("AWS_SECRET_ACCESS_KEY", "7"),
        ];
        let shown = shown(all.iter().map(|(name, value)| (name.into(), value.into())));
        let lines: Vec<String> = shown
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            lines,
            [
                "EWE_DB=my.db",
                "EWE_ENDPOINT=set",
                "EWE_JUDGE_KEY_3=set",
                "HF_ENDPOINT=set",
                "HF_HOME=/models",
                "HF_TOKEN=set",
                "HTTPS_PROXY=set",
                "OPENAI_API_KEY=set",
            ]
        );
    }
}
