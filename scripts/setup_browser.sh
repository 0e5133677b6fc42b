#!/bin/sh
# Installs Chromium and its driver for `make test-browser` if it is run as root and there is
# apt-get. Otherwise says what to install.
set -eu

present() {
    command -v chromedriver >/dev/null && { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null
}

present && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    # Also a font, because screenshots would show boxes instead of letters.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-dejavu-core >/dev/null
fi
present || {
    echo "error: the tests in a browser need \`chromium\` and \`chromedriver\`" >&2
    echo "hint: on Debian, \`apt-get install chromium chromium-driver\`" >&2
    exit 1
}
