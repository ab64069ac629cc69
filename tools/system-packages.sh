#!/bin/sh
# system-packages.sh COMMAND=PACKAGE...: installs the package of each command that is missing,
# with apt-get or brew. Where the two name a package differently: COMMAND=APT-NAME:BREW-NAME.
set -eu

# Debian keeps daemons in sbin, which is not on every user's PATH.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

apt= brew= missing=
for pair in "$@"; do
    command=${pair%%=*} names=${pair#*=}
    command -v "$command" >/dev/null 2>&1 && continue
    missing="$missing $command"
    apt="$apt ${names%%:*}"
    brew="$brew ${names#*:}"
done
[ -n "$missing" ] || exit 0

# Word splitting of the lists below is meant.
if command -v apt-get >/dev/null 2>&1; then
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 && sudo=sudo || {
            echo "error: missing:$missing. As root, run: apt-get install$apt" >&2
            exit 1
        }
    fi
    # One broken source fails the update, yet the install may still find what it needs.
    $sudo apt-get update -qq </dev/null || true
    $sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $apt </dev/null >/dev/null || {
        echo "error: missing:$missing. Installing$apt failed; install them and run make again" >&2
        exit 1
    }
elif command -v brew >/dev/null 2>&1; then
    brew install --quiet $brew </dev/null
else
    echo "error: missing:$missing. Install them with your system's package manager" >&2
    exit 1
fi
