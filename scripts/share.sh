#!/usr/bin/env bash
# Writes the completions and manual pages of an `ewe` into a `share` folder, as systems have them:
# scripts/share.sh target/release/ewe target/share
set -euo pipefail
[ $# = 2 ] || { echo "usage: scripts/share.sh EWE FOLDER" >&2; exit 2; }
ewe=$1 share=$2
rm -rf "$share"
mkdir -p "$share/bash-completion/completions" "$share/zsh/site-functions" "$share/fish/vendor_completions.d" "$share/man/man1"
"$ewe" completions bash >"$share/bash-completion/completions/ewe"
"$ewe" completions zsh >"$share/zsh/site-functions/_ewe"
"$ewe" completions fish >"$share/fish/vendor_completions.d/ewe.fish"
"$ewe" --quiet man --out "$share/man/man1"
