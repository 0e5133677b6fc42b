#!/usr/bin/env bash
# Runs a build for other machines: `scripts/portable.sh cargo build --release`. The run path of the
# result leads to the `torch` beside its own Python, and no path of this machine is in it: paths of
# sources, which messages of panics have, begin with /ewe, /cargo or /rust.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { echo "usage: scripts/portable.sh COMMAND..." >&2; exit 2; }

here=$PWD
cargo_home=${CARGO_HOME:-$HOME/.cargo}
target=${CARGO_TARGET_DIR:-$here/target}
libtorch=$(realpath "${LIBTORCH:-.libtorch}" 2>/dev/null || echo "$here/.libtorch")
# Of several that fit, rustc takes the last, and gcc the last, too.
maps=("$cargo_home=/cargo" "$(rustc --print sysroot)=/rust" "$libtorch=/libtorch" "$here=/ewe" "$target=/target")

# This variable replaces the flags of .cargo/config.toml, so they are repeated.
flags=""
[ "$(uname -m)" != x86_64 ] || flags="-C target-cpu=x86-64-v2"
c_flags=""
for map in "${maps[@]}"; do
    flags+=" --remap-path-prefix=$map"
    c_flags+=" -ffile-prefix-map=$map"
done
export EWE_PORTABLE=1
export RUSTFLAGS="${RUSTFLAGS:-} $flags"
export CFLAGS="${CFLAGS:-} $c_flags"
export CXXFLAGS="${CXXFLAGS:-} $c_flags"
exec "$@"
