#!/usr/bin/env bash
# Prepares a checkout: .venv with the pinned libtorch wheel, the link .libtorch, the demo model.
# Running it again does only what is missing.
#
#   scripts/setup.sh          what users need
#   scripts/setup.sh dev      also the reference tools for golden files and development checks
set -euo pipefail
cd "$(dirname "$0")/.."

# Two terminals may run this at once; the second waits, and finds nothing left to do.
if command -v flock >/dev/null; then
    exec 9<requirements.txt
    flock 9
fi

fail() {
    printf 'error: set-up: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

# Checks all requirements before downloading anything.
command -v cargo >/dev/null || fail "'cargo' is not on the PATH" "install Rust 1.94 or newer, https://rustup.rs"
rust=$(rustc --version | sed -E 's/rustc ([0-9]+)\.([0-9]+).*/\1 \2/')
read -r major minor <<<"$rust"
[ "$major" -gt 1 ] || [ "$minor" -ge 94 ] || fail "'$(rustc --version)' is too old" "rustup update (1.94 or newer is needed)"
command -v gcc >/dev/null || fail "'gcc' is not on the PATH" "apt install build-essential"
command -v g++ >/dev/null || fail "'g++' is not on the PATH; the bindings of libtorch are C++" "apt install build-essential"
command -v python3 >/dev/null || fail "'python3' is not on the PATH" "apt install python3 python3-venv"
python3 -c 'import ensurepip, venv' 2>/dev/null || fail "python3 has no venv module" "apt install python3-venv"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "'$(python3 --version)' is too old" "3.11 or newer is needed"

requirements=requirements.txt
[ "${1:-}" != dev ] || requirements=requirements-dev.txt

if ! [ -x .venv/bin/python ]; then
    echo "set-up: creating .venv"
    python3 -m venv .venv || fail "could not create .venv" "is the disk full, or python3-venv missing?"
fi
# A requirements file that was installed completely is copied into .venv. If the copy is equal,
# there is nothing to install.
for installed in .venv/installed-*; do
    [ -f "$installed" ] && cmp -s "$installed" <(cat requirements.txt "$requirements") && have=yes
done
if [ "${have:-}" != yes ]; then
    echo "set-up: installing $requirements into .venv (libtorch with its CUDA libraries is about 5 GB)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements" \
        || fail "pip could not install '$requirements'" "is a Python package index reachable, and are 8 GB free on this disk?"
    cat requirements.txt "$requirements" >".venv/installed-$requirements"
fi

torch=$(echo .venv/lib/python3.*/site-packages/torch)
[ -e "$torch/lib/libtorch_cpu.so" ] || fail "'$torch' has no lib/libtorch_cpu.so" "rm -r .venv and run this again"
[ "$(readlink .libtorch 2>/dev/null)" = "$torch" ] || ln -sfn "$torch" .libtorch

.venv/bin/python scripts/demo_model.py models/gemma-3-270m.gguf || fail "could not make the demo model" "see the message above; rm -r .venv and run this again if a package is damaged"
echo "set-up: done"
