#!/bin/sh
# Installs Meltano, as pinned in tests/meltano/requirements.txt, into a Python environment of its own.
#   scripts/install-meltano.sh DIR
# Does nothing when DIR is up to date. The machine's own Python packages are left alone.
set -eu

root=$(dirname "$0")/..
exec "$root/scripts/install-venv.sh" "$root/tests/meltano/requirements.txt" "$1"
