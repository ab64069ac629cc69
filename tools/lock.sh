#!/bin/sh
# Regenerates requirements/*.txt: every version pinned, every file hashed, no addresses.
# The resolver lives in a throw-away environment; installing from the locks needs only pip.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/env"
"$work/env/bin/pip" install --quiet uv

# hatchling and editables build the editable install, which runs without build isolation.
printf 'hatchling\neditables\n' >"$work/build.in"

compile() { # compile EXTRA OUTPUT
    "$work/env/bin/uv" --no-config pip compile --quiet --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
        --upgrade --extra "$1" pyproject.toml "$work/build.in" --output-file "$work/$1.txt"
    {
        echo "# Written by \`make lock\`: do not edit."
        cat "$work/$1.txt"
    } >"$2"
    echo "wrote $2"
}

# dev first; run.txt is then resolved within it, so that tests run what users run.
compile dev requirements/dev.txt
echo "-c $PWD/requirements/dev.txt" >>"$work/build.in"
compile broker requirements/run.txt
