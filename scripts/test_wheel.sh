#!/usr/bin/env bash
# Installs the newest wheel of target/wheels, or WHEEL, into a fresh virtual environment and uses it
# as a newcomer does.
#
#   scripts/test_wheel.sh [WHEEL]
#
# EWE_WHEEL_TORCH=DIR   the folder of an installed torch, linked into the environment; without it,
#                       torch is installed from the package index (extra `train`)
# EWE_WHEEL_MODEL=DIR   the model of `ewe demo` [default: models/gemma-3-270m; without it, no demo]
# EWE_DEMO_TARGET=N     tasks that it writes [default: 4]
set -euo pipefail
cd "$(dirname "$0")/.."

wheel=${1:-$(ls -t target/wheels/ewe-*.whl 2>/dev/null | head -n 1)}
[ -f "$wheel" ] || { echo "error: there is no wheel '$wheel'" >&2; echo "hint: make wheel" >&2; exit 1; }
wheel=$(realpath "$wheel")
model=$(realpath -m "${EWE_WHEEL_MODEL:-models/gemma-3-270m}")
torch=${EWE_WHEEL_TORCH:+$(realpath "$EWE_WHEEL_TORCH")}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What the checkout has set must not help.
unset LIBTORCH EWE_LIBTORCH LD_LIBRARY_PATH VIRTUAL_ENV CONDA_PREFIX EWE_DB EWE_MODEL EWE_ENDPOINT
cd "$work"
python3 -m venv venv
pip=(venv/bin/python -m pip install --quiet --disable-pip-version-check)
if [ -n "$torch" ]; then
    "${pip[@]}" --no-deps "$wheel"
    ln -s "$torch" "$(echo venv/lib/python3.*/site-packages)/torch"
else
    "${pip[@]}" "$wheel[train]"
fi
start=$SECONDS
PATH="$work/venv/bin:$PATH"
run() {
    printf '$'
    printf ' %q' "$@"
    printf '\n'
    "$@"
}

[ "$(command -v ewe)" = "$work/venv/bin/ewe" ] || { echo "error: 'ewe' is not the wheel's" >&2; exit 1; }
run ewe --version
run ewe doctor
run ewe doctor | grep -q "the Python of this" || { echo "error: libtorch is not that of the environment" >&2; exit 1; }
run ewe init --db my.db
run ewe stats --db my.db
ewe completions bash | bash -n
run ewe man --out man1
if [ -f "$model/config.json" ]; then
    run ewe demo --model "$model" --target "${EWE_DEMO_TARGET:-4}"
    test -s demo/after.txt
else
    echo "no demo: there is no model at $model"
fi
echo "the wheel works; $((SECONDS - start)) s since pip was done"
