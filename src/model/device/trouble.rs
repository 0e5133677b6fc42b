//! Why no GPU can be used, in words that say what is there and what is needed.

use super::signs::Signs;
use crate::shim::context::{CudaVersion, DriverLibrary};

/// Oldest driver for each major version of CUDA that libtorch may be built for: NVIDIA's CUDA
/// Compatibility guide, minor version compatibility.
const OLDEST_DRIVERS: [(u32, u32); 3] = [(11, 450), (12, 525), (13, 580)];

/// Results of `cuInit` (`CUresult` of cuda.h).
const NO_DEVICE: i32 = 100;
const SYSTEM_NOT_READY: i32 = 802;
const DRIVER_MISMATCH: i32 = 803;
const COMPATIBILITY: i32 = 804;

/// A reason, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What is there, and why it is not enough.
    pub what: String,
    /// What to do; empty if there is nothing but `--device cpu`.
    pub hint: String,
}

impl Trouble {
    /// Returns a reason with a hint.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Trouble {
        Trouble {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// Returns the error for a device that the user named.
    pub fn error(&self, name: &str) -> anyhow::Error {
        let before = if self.hint.is_empty() { "" } else { ", or " };
        anyhow::anyhow!(
            "device `{name}` cannot be used: {}\nhint: {}{before}--device cpu",
            self.what,
            self.hint
        )
    }

    /// Returns the line for `--device auto`, which goes on on the CPU.
    pub fn line(&self) -> String {
        let before = if self.hint.is_empty() { "" } else { "; " };
        format!(
            "computing on the CPU: {}{before}{} (--device cpu silences this)",
            self.what, self.hint
        )
    }
}

/// Everything that tells why libtorch counts no GPU.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// What the file system shows.
    pub signs: Signs,
    /// What the driver's library says.
    pub library: DriverLibrary,
    /// CUDA version that libtorch is built for.
    pub toolkit: Option<CudaVersion>,
    /// `CUDA_VISIBLE_DEVICES`, if it is set.
    pub visible: Option<String>,
}

impl Findings {
    /// Returns whether the driver runs the CUDA version that libtorch is built for. Within a major
    /// version, older drivers do.
    pub fn is_new_enough(&self) -> bool {
        match (self.library.cuda, self.toolkit) {
            (Some(driver), Some(toolkit)) => driver.major >= toolkit.major,
            _ => true,
        }
    }

    /// Returns whether libtorch can be asked for its GPUs. With a driver that is missing or too old
    /// it counts none, and prints a warning of its own.
    pub fn is_usable(&self) -> bool {
        self.library.found && self.library.status == 0 && self.library.count > 0 && self.is_new_enough()
    }

    /// Returns why libtorch counts no GPU.
    pub fn trouble(&self) -> Trouble {
        if !self.library.found {
            return self.no_library();
        }
        if !self.is_new_enough() {
            return self.old_driver();
        }
        let hidden = self.library.status == NO_DEVICE || self.library.status == 0 && self.library.count == 0;
        match &self.visible {
            Some(value) if hidden => Trouble::new(
                format!("CUDA_VISIBLE_DEVICES=\"{value}\" hides every GPU"),
                "unset it, or list GPUs of this machine",
            ),
            _ if self.library.status != 0 => self.failed_driver(),
            _ => Trouble::new(
                format!(
                    "libtorch counts no GPU; GPUs of the {}: {}",
                    self.driver(),
                    self.library.count
                ),
                "look at the output of nvidia-smi",
            ),
        }
    }

    /// Without `libcuda.so.1`, which the driver installs.
    fn no_library(&self) -> Trouble {
        let needed = self.needed();
        let signs = &self.signs;
        if let Some(version) = &signs.driver {
            let old = match (signs.driver_branch(), self.oldest_driver()) {
                (Some(branch), Some(oldest)) if branch < oldest => {
                    format!("; it is too old, too: {needed} is needed")
                }
                _ => String::new(),
            };
            return Trouble::new(
                format!(
                    "the NVIDIA driver {version} is loaded, but its library libcuda.so.1 was not found{old}"
                ),
                "in a container, start it with GPUs (docker run --gpus all); else install the driver's libraries",
            );
        }
        if signs.wsl {
            return Trouble::new(
                "WSL2 shows a GPU (/dev/dxg), but no libcuda.so.1 of an NVIDIA driver",
                format!("install {needed} in Windows, and none within WSL"),
            );
        }
        if signs.cards > 0 || signs.device_files {
            let count = match signs.cards {
                0 => "device files of NVIDIA GPUs".to_owned(),
                count => ewe::text::counted(count, "NVIDIA GPU"),
            };
            return Trouble::new(
                format!("this machine has {count}, but no NVIDIA driver was found"),
                format!("install {needed}"),
            );
        }
        Trouble::new("no NVIDIA driver and no NVIDIA GPU was found", "")
    }

    fn old_driver(&self) -> Trouble {
        let needed = self.needed();
        let place = if self.signs.wsl { " in Windows" } else { "" };
        let wheel = match self.library.cuda {
            Some(cuda) if cuda.major == 12 => {
                ", or a libtorch wheel for CUDA 12 (cu126, cu128) in requirements.txt"
            }
            _ => "",
        };
        Trouble::new(
            format!(
                "the {} is too old for this libtorch, which is built for CUDA {}",
                self.driver(),
                self.toolkit
                    .map_or_else(|| "13.0".to_owned(), |toolkit| toolkit.to_string())
            ),
            format!("install {needed}{place}{wheel}"),
        )
    }

    /// With a library that could not be initialized.
    fn failed_driver(&self) -> Trouble {
        let DriverLibrary { status, text, .. } = &self.library;
        let hint = match *status {
            NO_DEVICE if !self.signs.device_files && !self.signs.wsl => {
                "in a container, start it with GPUs (docker run --gpus all)"
            }
            SYSTEM_NOT_READY => "on a machine with NVSwitch, start nvidia-fabricmanager",
            DRIVER_MISMATCH => {
                "library and kernel module of the driver differ, as after an update: restart the machine"
            }
            COMPATIBILITY => "take cuda-compat out of LD_LIBRARY_PATH, or install a newer driver",
            _ => "look at the output of nvidia-smi",
        };
        Trouble::new(
            format!("the {} found no GPU: {text} (CUDA error {status})", self.driver()),
            hint,
        )
    }

    /// The driver that is there, in words.
    fn driver(&self) -> String {
        let version = self.signs.driver.as_deref().unwrap_or_default();
        match self.library.cuda {
            Some(cuda) if version.is_empty() => format!("NVIDIA driver for CUDA {cuda}"),
            Some(cuda) => format!("NVIDIA driver {version} (CUDA {cuda})"),
            None => format!("NVIDIA driver {version}").trim_end().to_owned(),
        }
    }

    fn oldest_driver(&self) -> Option<u32> {
        let major = self.toolkit?.major;
        let row = OLDEST_DRIVERS.iter().find(|(cuda, _)| *cuda == major)?;
        Some(row.1)
    }

    /// The driver that is needed, in words.
    fn needed(&self) -> String {
        match self.oldest_driver() {
            Some(branch) => format!("driver {branch} or newer"),
            None => "a newer driver".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::signs::tests::{CLOSED, OPEN, signs};
    use super::*;

    fn library(cuda: i32, status: i32, count: usize) -> DriverLibrary {
        DriverLibrary {
            found: true,
            cuda: CudaVersion::of(cuda),
            status,
            text: if status == 0 {
                String::new()
            } else {
                "words of the driver".to_owned()
            },
            count,
        }
    }

    fn findings(files: &[(&str, &str)], library: DriverLibrary) -> Findings {
        Findings {
            signs: signs(files),
            library,
            toolkit: CudaVersion::of(13000),
            visible: None,
        }
    }

    const HOST: [(&str, &str); 2] = [("proc/driver/nvidia/version", CLOSED), ("dev/nvidiactl", "")];
    const OPEN_HOST: [(&str, &str); 2] = [("proc/driver/nvidia/version", OPEN), ("dev/nvidia0", "")];
    const CARD: [(&str, &str); 2] = [
        ("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n"),
        ("sys/bus/pci/devices/0000:01:00.0/class", "0x030000\n"),
    ];
    const WSL: [(&str, &str); 2] = [("dev/dxg", ""), ("usr/lib/wsl/lib/libcuda.so.1", "")];

    /// What is said of `findings`, none of which libtorch is asked about.
    fn said(findings: &Findings) -> String {
        assert!(!findings.is_usable(), "{findings:?}");
        let line = findings.trouble().line();
        assert!(!line.contains('\n'), "{line}");
        line
    }

    #[test]
    fn a_driver_that_runs_libtorchs_cuda_is_usable() {
        for (cuda, toolkit) in [(13000, 13000), (13010, 13000), (12040, 12080), (13000, 12060)] {
            let mut found = findings(&HOST, library(cuda, 0, 1));
            found.toolkit = CudaVersion::of(toolkit);
            assert!(found.is_usable(), "{cuda} {toolkit}");
        }
    }

    #[test]
    fn an_old_driver_is_named_with_what_is_needed() {
        let line = said(&findings(&HOST, library(12040, 0, 1)));
        for words in [
            "550.54.15",
            "CUDA 12.4",
            "CUDA 13.0",
            "driver 580 or newer",
            "cu126",
        ] {
            assert!(line.contains(words), "{line}");
        }
        let line = said(&findings(&OPEN_HOST, library(12080, 0, 8)));
        assert!(line.contains("570.124.06 (CUDA 12.8)"), "{line}");
        // No wheel of today runs with a driver of CUDA 11.
        let line = said(&findings(&HOST, library(11040, 0, 1)));
        assert!(line.contains("580") && !line.contains("cu126"), "{line}");
    }

    #[test]
    fn in_wsl_the_driver_is_that_of_windows() {
        let line = said(&findings(&WSL, library(12040, 0, 1)));
        assert!(line.contains("NVIDIA driver for CUDA 12.4"), "{line}");
        assert!(line.contains("driver 580 or newer in Windows"), "{line}");
        let line = said(&findings(&WSL[..1], DriverLibrary::default()));
        assert!(
            line.contains("/dev/dxg") && line.contains("in Windows, and none within WSL"),
            "{line}"
        );
    }

    #[test]
    fn a_missing_driver_is_told_from_a_missing_gpu() {
        let line = said(&findings(&CARD, DriverLibrary::default()));
        assert!(
            line.contains("1 NVIDIA GPU, but no NVIDIA driver") && line.contains("install driver 580"),
            "{line}"
        );
        let error = findings(&[], DriverLibrary::default()).trouble().error("cuda");
        assert_eq!(
            error.to_string(),
            "device `cuda` cannot be used: no NVIDIA driver and no NVIDIA GPU was found\nhint: --device cpu"
        );
    }

    #[test]
    fn a_container_without_gpus_is_told_how_to_get_them() {
        let line = said(&findings(&HOST[..1], DriverLibrary::default()));
        for words in [
            "550.54.15 is loaded",
            "libcuda.so.1 was not found",
            "too old",
            "--gpus all",
        ] {
            assert!(line.contains(words), "{line}");
        }
        let line = said(&findings(&HOST[..1], library(13000, NO_DEVICE, 0)));
        assert!(line.contains("--gpus all"), "{line}");
    }

    #[test]
    fn hidden_gpus_are_named() {
        for (value, library) in [
            ("", library(13000, NO_DEVICE, 0)),
            ("-1", library(13000, NO_DEVICE, 0)),
            ("7", library(13000, 0, 0)),
        ] {
            let mut found = findings(&HOST, library);
            found.visible = Some(value.to_owned());
            let line = said(&found);
            assert!(
                line.contains(&format!("CUDA_VISIBLE_DEVICES=\"{value}\" hides")),
                "{line}"
            );
        }
        // Which is not the reason where the driver does not start at all.
        let mut found = findings(&HOST, library(13000, DRIVER_MISMATCH, 0));
        found.visible = Some("0".to_owned());
        assert!(!said(&found).contains("CUDA_VISIBLE_DEVICES"));
    }

    #[test]
    fn a_driver_that_does_not_start_is_quoted() {
        for (status, words) in [
            (SYSTEM_NOT_READY, "fabricmanager"),
            (DRIVER_MISMATCH, "restart the machine"),
            (COMPATIBILITY, "cuda-compat"),
            (NO_DEVICE, "nvidia-smi"),
            (999, "nvidia-smi"),
        ] {
            let line = said(&findings(&HOST, library(13000, status, 0)));
            assert!(line.contains(words), "{line}");
            assert!(
                line.contains("words of the driver") && line.contains(&status.to_string()),
                "{line}"
            );
        }
    }

    #[test]
    fn a_named_device_gets_an_error_with_a_hint() {
        let error = findings(&HOST, library(12040, 0, 1)).trouble().error("cuda:1");
        let text = error.to_string();
        assert!(text.starts_with("device `cuda:1` cannot be used: the NVIDIA driver 550.54.15"));
        assert!(text.ends_with(", or --device cpu"), "{text}");
    }
}
