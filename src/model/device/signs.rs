//! What the file system shows of NVIDIA GPUs and their driver.

use std::fs;
use std::path::Path;

/// The version of a driver that words its version otherwise.
const UNKNOWN: &str = "of unknown version";

/// Signs of a GPU, as far as files tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signs {
    /// Version of the driver's kernel module, such as `550.54.15`. None if it is not loaded, or not
    /// shown, as in WSL2.
    pub driver: Option<String>,
    /// Whether there are device files, without which a process cannot reach the driver. Containers
    /// lack them unless they are started with GPUs.
    pub device_files: bool,
    /// NVIDIA display controllers on the PCI bus, with or without a driver.
    pub cards: usize,
    /// Whether this is WSL2, which passes the GPU of Windows through as `/dev/dxg`, of any vendor.
    pub wsl: bool,
    /// Whether Windows provides the library of NVIDIA's driver.
    pub wsl_library: bool,
}

impl Signs {
    /// Reads the signs below `root`, which is `/` but in tests.
    pub fn below(root: &Path) -> Signs {
        let exists = |path: &str| root.join(path).exists();
        let wsl = exists("dev/dxg");
        Signs {
            driver: fs::read_to_string(root.join("proc/driver/nvidia/version"))
                .ok()
                .map(|text| module_version(&text).unwrap_or_else(|| UNKNOWN.to_owned())),
            device_files: exists("dev/nvidiactl") || exists("dev/nvidia0"),
            cards: cards(&root.join("sys/bus/pci/devices")),
            wsl,
            wsl_library: wsl && exists("usr/lib/wsl/lib/libcuda.so.1"),
        }
    }

    /// Returns whether anything points to an NVIDIA GPU. `/dev/dxg` alone does not, since WSL2 has
    /// it on laptops with any GPU.
    pub fn any(&self) -> bool {
        self.driver.is_some() || self.device_files || self.cards > 0 || self.wsl_library
    }

    /// Returns the first number of the driver's version: 550 of 550.54.15.
    pub fn driver_branch(&self) -> Option<u32> {
        self.driver.as_deref()?.split('.').next()?.parse().ok()
    }
}

/// Returns the version in the text of `/proc/driver/nvidia/version`. Its first line is one of
///
/// ```text
/// NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024
/// NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build  (…)
/// ```
fn module_version(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
    let is_version = |word: &&str| {
        word.contains('.')
            && word
                .split('.')
                .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    line.split_whitespace().find(is_version).map(str::to_owned)
}

/// Counts devices of NVIDIA (vendor 0x10de) that are display controllers (class 0x03…): the sound
/// devices of the same cards are not.
fn cards(folder: &Path) -> usize {
    let is_card = |device: &Path| {
        let field = |name: &str| fs::read_to_string(device.join(name)).unwrap_or_default();
        field("vendor").trim() == "0x10de" && field("class").starts_with("0x03")
    };
    let Ok(devices) = fs::read_dir(folder) else {
        return 0;
    };
    devices.flatten().filter(|device| is_card(&device.path())).count()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use ewe::atomic_file::scratch::ScratchFolder;

    pub const CLOSED: &str = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n\
                              GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n";
    pub const OPEN: &str = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build  \
                            (dvs-builder@U22-I3-AE18-23-3)  Wed Feb 26 02:16:28 UTC 2025\n\
                            GCC version:  gcc version 13.3.0 (Ubuntu 13.3.0-6ubuntu2~24.04)\n";

    /// Returns the signs in a folder with these files.
    pub fn signs(files: &[(&str, &str)]) -> Signs {
        let root = ScratchFolder::within(&std::env::temp_dir()).unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Signs::below(root.path())
    }

    #[test]
    fn a_machine_without_a_gpu_has_no_signs() {
        let nothing = signs(&[
            ("proc/version", "Linux"),
            ("sys/bus/pci/devices/0000:00:02.0/vendor", "0x8086\n"),
            ("sys/bus/pci/devices/0000:00:02.0/class", "0x030000\n"),
        ]);
        assert_eq!(nothing, Signs::default());
        assert!(!nothing.any());
    }

    #[test]
    fn the_version_is_read_in_every_form() {
        for (text, version, branch) in [
            (CLOSED, "550.54.15", 550),
            (OPEN, "570.124.06", 570),
            (
                "NVRM version: NVIDIA UNIX aarch64 Kernel Module  535.104\n",
                "535.104",
                535,
            ),
        ] {
            let signs = signs(&[("proc/driver/nvidia/version", text)]);
            assert_eq!(signs.driver.as_deref(), Some(version));
            assert_eq!(signs.driver_branch(), Some(branch));
            assert!(signs.any());
        }
        assert_eq!(module_version("GCC version:  gcc version 12.3.0\n"), None);
        assert_eq!(module_version("NVRM version: NVIDIA UNIX x86_64\n"), None);
        let other = signs(&[("proc/driver/nvidia/version", "in other words\n")]);
        assert!(other.any() && other.driver_branch().is_none());
    }

    #[test]
    fn cards_are_counted_without_their_sound_devices() {
        let signs = signs(&[
            ("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n"),
            ("sys/bus/pci/devices/0000:01:00.0/class", "0x030000\n"),
            ("sys/bus/pci/devices/0000:01:00.1/vendor", "0x10de\n"),
            ("sys/bus/pci/devices/0000:01:00.1/class", "0x040300\n"),
            ("sys/bus/pci/devices/0000:41:00.0/vendor", "0x10de\n"),
            ("sys/bus/pci/devices/0000:41:00.0/class", "0x030200\n"),
        ]);
        assert_eq!(signs.cards, 2);
        assert!(signs.any() && !signs.device_files);
    }

    #[test]
    fn wsl_counts_where_windows_has_nvidias_driver() {
        let any_gpu = signs(&[("dev/dxg", "")]);
        assert!(any_gpu.wsl && !any_gpu.any());
        let nvidia = signs(&[("dev/dxg", ""), ("usr/lib/wsl/lib/libcuda.so.1", "")]);
        assert!(nvidia.wsl_library && nvidia.any());
    }

    #[test]
    fn one_device_file_is_enough() {
        assert!(signs(&[("dev/nvidiactl", "")]).device_files);
        assert!(signs(&[("dev/nvidia0", "")]).any());
    }
}
