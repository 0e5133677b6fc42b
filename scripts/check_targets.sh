#!/usr/bin/env bash
# `cargo check` of the data half for other targets, as far as this machine has what they need: the
# target's standard library, and a C compiler for SQLite and the codecs. Says what is missing where
# it has not. Exits with 1 if a check fails, with STRICT=1 also if one was left out.
set -uo pipefail
cd "$(dirname "$0")/.."

# Target, its C compiler, and what installs that on Debian.
targets=(
    "aarch64-unknown-linux-gnu aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu"
    "x86_64-unknown-linux-musl musl-gcc musl-tools"
    "aarch64-apple-darwin xcrun -"
    "x86_64-apple-darwin xcrun -"
)
failed=0 left_out=0
for line in "${targets[@]}"; do
    read -r target compiler package <<<"$line"
    missing=()
    [ -d "$(rustc --print target-libdir --target "$target")" ] || missing+=("rustup target add $target")
    if ! command -v "$compiler" >/dev/null; then
        if [ "$package" = - ]; then
            missing+=("a Mac, for the headers of its system")
        else
            missing+=("apt install $package")
        fi
    fi
    if [ ${#missing[@]} -gt 0 ]; then
        printf '%s: not checked; needs %s\n' "$target" "$(printf '%s, ' "${missing[@]}" | sed 's/, $//')"
        left_out=1
        continue
    fi
    if ${CARGO:-cargo} check --locked --no-default-features --target "$target"; then
        echo "$target: builds"
    else
        echo "$target: does not build"
        failed=1
    fi
done
[ $failed = 0 ] && { [ $left_out = 0 ] || [ "${STRICT:-0}" = 0 ]; }
