#!/bin/sh
# What the tests need beyond pip: Chromium for the browser test, bubblewrap to lock a student's code in.
# Installs them where that is allowed (Debian and its children, as root or with sudo); else names the cure and goes on.
missing=""
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || command -v chrome)
[ -n "$browser" ] || missing="chromium"
[ "$(uname)" != Linux ] || command -v bwrap >/dev/null || missing="$missing bubblewrap"
[ -n "$missing" ] || exit 0

as_root="sudo -n"
[ "$(id -u)" != 0 ] || as_root="env"
if command -v apt-get >/dev/null && $as_root true 2>/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq && $as_root apt-get install -qq --yes --no-install-recommends $missing && exit 0
fi
echo "Some tests will fail: install $missing with your system's package manager (apt-get install $missing), then run the tests again." >&2
