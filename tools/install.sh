#!/bin/sh
# install.sh VENV LOCK: installs a lock file, then this checkout in editable form.
set -eu
cd "$(dirname "$0")/.."
pip="$1/bin/python -m pip --disable-pip-version-check --quiet"

# Only files whose hash is in the lock; the build tools of the second step are in it too.
$pip install --require-hashes -r "$2"
$pip install --no-build-isolation --no-deps --editable .
