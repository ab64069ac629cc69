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

compile() { # compile NAME OUTPUT INPUTS...
    name=$1 output=$2
    shift 2
    "$work/env/bin/uv" --no-config pip compile --quiet --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
        --upgrade "$@" --output-file "$work/$name.txt"
    {
        echo "# Written by \`make lock\`: do not edit."
        cat "$work/$name.txt"
    } >"$output"
    echo "wrote $output"
}

# dev first; run.txt is then resolved within it, so that tests run what users run, and peers.txt
# too, so that all brokers are measured with the same event loop.
compile dev requirements/dev.txt --extra dev pyproject.toml "$work/build.in"
echo "-c $PWD/requirements/dev.txt" >>"$work/build.in"
compile broker requirements/run.txt --extra broker pyproject.toml "$work/build.in"
compile peers requirements/peers.txt --group pyproject.toml:peers -c requirements/dev.txt
compile docs requirements/docs.txt --group pyproject.toml:docs
