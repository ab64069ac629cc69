#!/bin/sh
# venv.sh DIR: makes a virtual environment with $PYTHON (python3), which must be 3.11 or later.
set -eu
here=$(dirname "$0")
python=${PYTHON:-python3}

command -v "$python" >/dev/null 2>&1 || {
    echo "error: $python not found: install Python 3.11 or later, or name one: make PYTHON=/path/to/python3 ..." >&2
    exit 1
}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: Python 3.11 or later is needed, and $python is $("$python" -V 2>&1): name another one: make PYTHON=python3.12 ..." >&2
    exit 1
}

# Debian packs ensurepip apart from python3, in a package named after the minor version.
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if command -v apt-get >/dev/null 2>&1; then
        sh "$here/system-packages.sh" "ensurepip=$package"
    else
        echo "error: $python has no ensurepip: install $package, or name another one: make PYTHON=/path/to/python3 ..." >&2
        exit 1
    fi
fi

"$python" -m venv --clear "$1"
