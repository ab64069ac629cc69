#!/bin/sh
# install.sh [DIRECTORY]: installs the broker command, with all it needs, from this checkout into
# DIRECTORY (/opt/trishula), as its locks say. It needs Python 3.11 or later ($PYTHON, else python3).
#
# It never touches an installation that is there, for a hub may run from it: an upgrade goes into a
# directory of its own (docs/deploy.md).
set -eu
cd "$(dirname "$0")/.."
into=${1:-/opt/trishula}

case $into in
/*) ;;
*)
    echo "error: $into: name a directory from / on" >&2
    exit 2
    ;;
esac
if [ -e "$into" ]; then
    echo "error: $into is there; name another directory, and see docs/deploy.md for an upgrade" >&2
    exit 2
fi
# As root it is for a service, whose user has no way into somebody's home.
python=${PYTHON:-python3}
if [ "$(id -u)" -eq 0 ] && command -v "$python" >/dev/null 2>&1; then
    "$python" - <<'END' >&2 || exit 2
import pathlib, sys
here = pathlib.Path(sys.executable).resolve()
shut = [folder for folder in here.parents if not folder.stat().st_mode & 1]
if shut:
    print(f"error: nobody but root can run {here}, for {shut[0]} is closed to others; name the "
          "system's own Python: PYTHON=/usr/bin/python3")
    sys.exit(1)
END
fi
umask 022 # whoever the hub runs as must be able to read it, and nobody to change it

wheels=$(mktemp -d)
done=
finish() {
    rm -rf "$wheels"
    [ -n "$done" ] || rm -rf "$into" # half of it would be taken for all of it
}
trap finish EXIT

PYTHON="$python" sh tools/venv.sh "$into"
pip="$into/bin/python -m pip --disable-pip-version-check --quiet"
# Only files whose hash is in the lock; what builds the wheel is in it too, and goes again.
$pip install --only-binary :all: --require-hashes -r requirements/run.txt
$pip wheel --no-build-isolation --no-deps --wheel-dir "$wheels" .
$pip install --no-index --no-deps "$wheels"/trishula-*.whl
$pip uninstall --yes editables hatchling pathspec pluggy tomlkit trove-classifiers
$pip check
done=yes
echo "installed $("$into/bin/broker" --version) in $into"
