"""Checks a wheel of ewe: names, metadata, no path of this machine, and on which Linux it runs.

    .venv/bin/python scripts/check_wheel.py WHEEL [--platform manylinux_2_28_x86_64]

The rules are those of auditwheel for manylinux (PEP 600), except that libtorch's own libraries may
be needed: they come with the `torch` of the extra `train`, and must not be in the wheel. Without
--platform, the platform is that of the wheel's name; `linux_x86_64` promises nothing, and the check
says which manylinux the programs would be good for. Exits with 1 and a line for each fault.
"""

import argparse
import email
import io
import os
import re
import sys
import zipfile
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ["ewe", "ewe-torch"]

# Libraries that every manylinux_2_28 system has (auditwheel 6.8, manylinux-policy.json).
SYSTEM = set(
    """libatomic.so.1 libgcc_s.so.1 libstdc++.so.6 libm.so.6 libmvec.so.1 libanl.so.1 libdl.so.2 librt.so.1 libc.so.6
    libnsl.so.1 libutil.so.1 libpthread.so.0 libresolv.so.2 libexpat.so.1 libz.so.1""".split()
)
# The loader, which auditwheel does not count.
LOADERS = {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
# Libraries in `torch/lib` of libtorch's wheel.
LIBTORCH = {"libtorch.so", "libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libtorch_global_deps.so"}
# The newest versions of symbols by manylinux, from the same file: glibc, libstdc++, its ABI, libgcc.
POLICIES = {
    "manylinux_2_28": {"GLIBC": "2.28", "GLIBCXX": "3.4.24", "CXXABI": "1.3.11", "GCC": "7.0.0"},
    "manylinux_2_31": {"GLIBC": "2.31", "GLIBCXX": "3.4.28", "CXXABI": "1.3.12", "GCC": "7.0.0"},
    "manylinux_2_34": {"GLIBC": "2.34", "GLIBCXX": "3.4.29", "CXXABI": "1.3.13", "GCC": "7.0.0"},
    "manylinux_2_35": {"GLIBC": "2.35", "GLIBCXX": "3.4.30", "CXXABI": "1.3.13", "GCC": "12.0.0"},
    "manylinux_2_36": {"GLIBC": "2.36", "GLIBCXX": "3.4.30", "CXXABI": "1.3.13", "GCC": "12.0.0"},
    "manylinux_2_39": {"GLIBC": "2.39", "GLIBCXX": "3.4.33", "CXXABI": "1.3.15", "GCC": "14.0.0"},
}
# Run paths that lead from `bin` to the packages of the same environment.
RUN_PATH = re.compile(r"\$ORIGIN/\.\./lib/python3\.\d+/site-packages/torch/lib")
LARGEST = 100 * 1024 * 1024


def number(version):
    """`2.28` as (2, 28); words such as `PRIVATE` are None."""
    return tuple(map(int, version.split("."))) if re.fullmatch(r"\d+(\.\d+)*", version) else None


class Program:
    """What an ELF file needs."""

    def __init__(self, data):
        elf = ELFFile(io.BytesIO(data))
        self.machine = elf.get_machine_arch()
        self.needed, self.run_paths, self.versions = set(), [], {}
        self.is_stripped = elf.get_section_by_name(".symtab") is None
        for section in elf.iter_sections():
            if isinstance(section, DynamicSection):
                for tag in section.iter_tags():
                    if tag.entry.d_tag == "DT_NEEDED":
                        self.needed.add(tag.needed)
                    elif tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH"):
                        value = tag.rpath if tag.entry.d_tag == "DT_RPATH" else tag.runpath
                        self.run_paths += [path for path in value.split(":") if path]
            elif isinstance(section, GNUVerNeedSection):
                for file, versions in section.iter_versions():
                    for version in versions:
                        name, _, release = version.name.partition("_")
                        # glibc's and libstdc++'s: a symbol of libtorch is bound to its release anyway.
                        if file.name not in LIBTORCH:
                            self.versions.setdefault(name, set()).add(release)

    def newest(self, name):
        known = [release for release in self.versions.get(name, ()) if number(release)]
        return max(known, key=number, default=None)

    def faults_of(self, policy):
        """What keeps it from running on every system of `policy`."""
        for name, releases in sorted(self.versions.items()):
            allowed = POLICIES[policy].get(name)
            if allowed is None:
                yield f"needs symbols of {name}_{', '.join(sorted(releases))}, which {policy} does not know"
                continue
            beyond = [release for release in releases if number(release) and number(release) > number(allowed)]
            if beyond:
                newest = max(beyond, key=number)
                yield f"needs {name}_{newest}; {policy} has {name}_{allowed} at most"


def places():
    """Paths of this machine that must not be in a program."""
    names = ["HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR", "VIRTUAL_ENV", "TMPDIR"]
    found = {os.environ[name] for name in names if os.environ.get(name)}
    found |= {str(ROOT), str(ROOT / "target"), str(Path.home())}
    for link in (ROOT / ".venv", ROOT / ".libtorch"):
        if link.exists():
            found.add(str(link.resolve()))
    return sorted(path.rstrip("/") + "/" for path in found if len(path) > 4)


def strings_with(data, path):
    """Some texts in `data` that contain `path`."""
    pattern = rb"[\x20-\x7e]*" + re.escape(path.encode()) + rb"[\x20-\x7e]*"
    return sorted({found.group().decode()[:120] for found in re.finditer(pattern, data)})[:3]


def check_program(name, data, platform):
    """Faults of one program, and a line about it."""
    program, faults = Program(data), []
    foreign = program.needed - SYSTEM - LOADERS
    if name == "ewe-torch":
        foreign -= LIBTORCH
        if "libtorch_cpu.so" not in program.needed:
            faults.append("does not need libtorch_cpu.so: is it the tensor half?")
    if foreign:
        faults.append(f"needs {', '.join(sorted(foreign))}, which neither the system nor libtorch has")
    if wrong := [path for path in program.run_paths if not RUN_PATH.fullmatch(path)]:
        faults.append(f"has the run path {':'.join(wrong)}")
    if not program.is_stripped:
        faults.append("has its symbols: it was not stripped")
    for path in places():
        for text in strings_with(data, path):
            faults.append(f"has a path of this machine: {text!r}")
    good_for = [policy for policy in POLICIES if not list(program.faults_of(policy))]
    if platform in POLICIES:
        faults += program.faults_of(platform)
    newest = ", ".join(f"{kind}_{program.newest(kind)}" for kind in ("GLIBC", "GLIBCXX", "CXXABI") if program.newest(kind))
    line = (
        f"{name}: {len(data) / 1e6:.1f} MB, {program.machine}, newest symbols {newest}; "
        f"good for {good_for[0] if good_for else 'no manylinux'}; needs {' '.join(sorted(program.needed))}"
    )
    return faults, line


def check_metadata(wheel, names):
    """Faults of the wheel's metadata."""
    tables = [name for name in names if name.endswith(".dist-info/METADATA")]
    if len(tables) != 1:
        return [f"has {len(tables)} METADATA"]
    metadata = email.message_from_bytes(wheel.read(tables[0]))
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M).group(1)
    faults = []
    for field, wanted in [("Name", "ewe"), ("Version", version), ("Requires-Python", ">=3.10")]:
        if metadata[field] != wanted:
            faults.append(f"{field} is {metadata[field]!r}, not {wanted!r}")
    needs = metadata.get_all("Requires-Dist") or []
    if [need for need in needs if "extra" not in need]:
        faults.append(f"needs packages without an extra: {needs}")
    train = [need.replace(" ", "") for need in needs if "train" in need]
    if len(train) != 1 or not train[0].startswith("torch==2.13.*;"):
        faults.append(f"the extra `train` is {train}, not torch==2.13.*")
    pinned = re.search(r"^torch==(\d+\.\d+)\.", (ROOT / "requirements.txt").read_text(), re.M).group(1)
    needed = re.search(r'NEEDED: &str = "(.*?)"', (ROOT / "src/program/libtorch.rs").read_text()).group(1)
    if {pinned, needed} != {"2.13"}:
        faults.append(f"requirements.txt pins torch {pinned}, src/program/libtorch.rs needs {needed}, the extra has 2.13")
    if metadata.get("License-Expression", metadata.get("License")) != "MIT":
        faults.append("the licence is not MIT")
    if "ewe" not in (metadata.get_payload() or ""):
        faults.append("has no description")
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--platform", help="such as manylinux_2_28_x86_64 [default: that of the name]")
    options = parser.parse_args()
    found = re.fullmatch(r"ewe-([^-]+)-py3-none-(.+)\.whl", options.wheel.name)
    if not found:
        sys.exit(f"{options.wheel.name}: not named ewe-VERSION-py3-none-PLATFORM.whl")
    platform = re.sub(r"_(x86_64|aarch64)$", "", options.platform or found.group(2))
    faults, lines = [], []
    if platform != "linux" and platform not in POLICIES:
        faults.append(f"the rules of {platform} are not known here")
    if options.wheel.stat().st_size > LARGEST:
        faults.append(f"is {options.wheel.stat().st_size / 1e6:.0f} MB: package indexes take 100 MB")
    with zipfile.ZipFile(options.wheel) as wheel:
        names = wheel.namelist()
        programs = {Path(name).name: name for name in names if ".data/scripts/" in name}
        if sorted(programs) != PROGRAMS:
            faults.append(f"has the programs {sorted(programs)}, not {PROGRAMS}")
        if libraries := [name for name in names if ".so" in Path(name).name]:
            faults.append(f"has libraries in it: {libraries}")
        faults += check_metadata(wheel, names)
        for name, path in sorted(programs.items()):
            of_program, line = check_program(name, wheel.read(path), platform)
            faults += [f"{name} {fault}" for fault in of_program]
            lines.append(line)
            if not wheel.getinfo(path).external_attr >> 16 & 0o111:
                faults.append(f"{name} is not executable")
        for name in sorted(set(names) - set(programs.values())):
            data = wheel.read(name)
            for place in places():
                faults += [f"{name} has a path of this machine: {text!r}" for text in strings_with(data, place)]
    print(f"{options.wheel.name}: {options.wheel.stat().st_size / 1e6:.1f} MB")
    print("\n".join(lines))
    for fault in faults:
        print(f"fault: {fault}")
    if not faults:
        promise = "promises no manylinux" if platform == "linux" else f"keeps the rules of {platform}"
        print(f"the wheel is in order; its name {promise}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
