#!/bin/sh
# What the tests need beyond pip: Chromium for the browser test, bubblewrap to lock a student's code in.
# Installs them where that is allowed (Debian and its children, as root or with sudo); else names the cure and goes on.
browser=chromium locks=bubblewrap
for name in chromium-headless-shell chromium chromium-browser google-chrome chrome; do
    command -v $name >/dev/null && browser=""
done
[ "$(uname)" = Linux ] && ! command -v bwrap >/dev/null || locks=""
[ -n "$browser$locks" ] || exit 0

as_root="sudo -n"
[ "$(id -u)" != 0 ] || as_root="env"
if command -v apt-get >/dev/null && $as_root true 2>/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq
    # Debian has the same engine without windows, which is smaller and quicker; Ubuntu has not.
    small=chromium-headless-shell
    [ -z "$browser" ] || ! apt-cache show $small 2>/dev/null | grep -q . || browser=$small
    $as_root apt-get install -qq --yes --no-install-recommends $browser $locks && exit 0
fi
set -- $browser $locks
echo "Some tests will fail: install $* with your system's package manager (apt-get install $*), then run the tests again." >&2
