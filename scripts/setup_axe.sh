#!/usr/bin/env bash
# Fetches axe-core (MPL-2.0) into target/axe for `make check-axe`, and prints the path of its script.
# Users never need it.
set -euo pipefail
cd "$(dirname "$0")/.."

version=4.14.1
folder=target/axe/$version
script=$folder/package/axe.min.js
if [ ! -f "$script" ]; then
    command -v npm >/dev/null || {
        printf 'error: fetching axe-core takes npm\n' >&2
        printf 'hint: on Debian, `apt-get install npm`\n' >&2
        exit 1
    }
    mkdir -p "$folder"
    archive=$(cd "$folder" && npm pack --silent "axe-core@$version")
    tar -xzf "$folder/$archive" -C "$folder"
fi
printf '%s/%s\n' "$PWD" "$script"
