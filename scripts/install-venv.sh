#!/bin/sh
# Installs what a requirements.txt lists, pinned, into a Python environment of its own.
#   scripts/install-venv.sh REQUIREMENTS DIR
# Does nothing when DIR is up to date. The machine's own Python packages are left alone.
set -eu

requirements=$1
dir=$2
# Copied when all is installed: what is there without it is half done, or out of date.
stamp=$dir/requirements.txt
if cmp -s "$requirements" "$stamp"; then
  exit 0
fi

# Debian divides Python: without this package an environment would come without pip.
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  "$(dirname "$0")/install-packages.sh" install-venv python3 python3-venv
fi

echo "install-venv: installing $requirements into $dir"
rm -rf "$dir"
python3 -m venv "$dir"
bin=$dir/bin
[ -d "$bin" ] || bin=$dir/Scripts # Windows
"$bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$requirements"
cp "$requirements" "$stamp"
