//! What a bug report needs to know of the machine: processor, memory, disks. What the system does
//! not tell is unknown.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::atomic_file;
use crate::text::format_size;

/// A name and a value.
pub type Fact = (&'static str, String);

/// Returns the facts of this machine.
pub fn facts() -> Vec<Fact> {
    let first = first_processor();
    let cores = std::thread::available_parallelism().map_or_else(|_| unknown(), |n| n.to_string());
    let mut facts = vec![
        ("system", system()),
        (
            "processor",
            field(&first, "model name").map_or_else(unknown, str::to_owned),
        ),
        ("processor features", features_of(&first)),
        ("cores", cores),
        ("memory", memory()),
        ("free disk here", free(Path::new("."))),
        ("free disk for temporary files", free(&std::env::temp_dir())),
    ];
    facts.extend(driver().map(|driver| ("NVIDIA driver", driver)));
    facts
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The system's name, with that of the distribution and the kernel on Linux.
fn system() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut name = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    for more in [pretty.map(|name| name.trim_matches('"')), Some(kernel.trim())] {
        if let Some(more) = more.filter(|more| !more.is_empty()) {
            name += ", ";
            name += more;
        }
    }
    name
}

/// What Linux tells of the first processor, by lines of `name : value`; nothing elsewhere. The file
/// goes on with the others, of which a server has hundreds.
fn first_processor() -> String {
    let Ok(file) = File::open("/proc/cpuinfo") else {
        return String::new();
    };
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    let first: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    first.join("\n")
}

/// The value of this name in what Linux tells of a processor.
fn field<'a>(processor: &'a str, name: &str) -> Option<&'a str> {
    processor.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// Returns the instruction sets that matter here and that the processor has, with spaces between.
pub fn processor_features() -> String {
    features_of(&first_processor())
}

/// The same, of a processor of which Linux tells this. The standard library does not detect the
/// matrix units that it has no functions for.
fn features_of(processor: &str) -> String {
    let mut all = features();
    let flags = field(processor, "flags").unwrap_or_default();
    let has = |name: &&str| flags.split_whitespace().any(|flag| flag == *name);
    all.extend(["amx_tile", "amx_bf16", "amx_int8"].into_iter().filter(has));
    all.join(" ")
}

/// The instruction sets that matter here and that the processor has.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    macro_rules! those_of {
        ($($name:tt)*) => { vec![$((std::arch::is_x86_feature_detected!($name), $name)),*] };
    }
    let all = those_of!(
        "sse4.2" "popcnt" "avx" "f16c" "fma" "bmi2" "avx2" "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512vnni" "avx512bf16"
    );
    all.into_iter()
        .filter_map(|(has, name)| has.then_some(name))
        .collect()
}

/// The instruction sets that matter here and that the processor has.
#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    macro_rules! those_of {
        ($($name:tt)*) => { vec![$((std::arch::is_aarch64_feature_detected!($name), $name)),*] };
    }
    let all = those_of!("neon" "fp16" "dotprod" "bf16" "i8mm" "sve" "sve2");
    all.into_iter()
        .filter_map(|(has, name)| has.then_some(name))
        .collect()
}

/// The instruction sets that matter here and that the processor has.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    vec!["unknown"]
}

/// Memory of the machine, and what of it is available.
fn memory() -> String {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match (kib(&text, "MemTotal:"), kib(&text, "MemAvailable:")) {
        (Some(all), Some(available)) => {
            format!("{}, {} available", format_size(all), format_size(available))
        }
        _ => unknown(),
    }
}

/// The bytes on the line of `/proc/meminfo` that begins with `name`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(1024 * line.split_whitespace().next()?.parse::<u64>().ok()?)
}

fn free(folder: &Path) -> String {
    atomic_file::free(folder).map_or_else(|_| unknown(), format_size)
}

/// The version line of NVIDIA's kernel module, if it is loaded. `ewe-torch` knows more.
fn driver() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let line = text.lines().next()?;
    let version = line.strip_prefix("NVRM version:").unwrap_or(line);
    Some(version.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_has_a_value() {
        let facts = facts();
        assert!(facts.len() >= 7);
        for (name, value) in facts {
            // A processor may lack all of the features.
            assert!(!value.is_empty() || name == "processor features", "{name}");
            assert!(!value.contains('\n'), "{name}: {value}");
        }
    }

    #[test]
    fn matrix_units_are_among_the_features() {
        let processor = "processor\t: 0\nmodel name\t: A: B\nflags\t\t: fpu amx_bf16 amx_tile avx512_bf16";
        assert_eq!(field(processor, "model name"), Some("A: B"));
        assert_eq!(field(processor, "cores"), None);
        let (with, without) = (features_of(processor), features_of(""));
        assert_eq!(
            with.strip_prefix(&without).map(str::trim),
            Some("amx_tile amx_bf16")
        );
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "MemTotal:       24737856 kB\nMemFree:  1 kB\nMemAvailable:   23000000 kB\n";
        assert_eq!(kib(text, "MemTotal:"), Some(24_737_856 * 1024));
        assert_eq!(kib(text, "MemAvailable:"), Some(23_000_000 * 1024));
        assert_eq!(kib("", "MemTotal:"), None);
    }
}
