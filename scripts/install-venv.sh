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
  if ! command -v apt-get >/dev/null; then
    echo "install-venv: python3 with its modules venv and ensurepip is missing; install it with your system's package manager" >&2
    exit 1
  fi
  sudo=
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  $sudo apt-get -q update
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends python3 python3-venv
fi

echo "install-venv: installing $requirements into $dir"
rm -rf "$dir"
python3 -m venv "$dir"
bin=$dir/bin
[ -d "$bin" ] || bin=$dir/Scripts # Windows
"$bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$requirements"
cp "$requirements" "$stamp"
