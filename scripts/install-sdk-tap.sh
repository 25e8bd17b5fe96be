#!/bin/sh
# Installs what the benchmarks' Python tap (tests/bench/sdk_tap) needs, as pinned in its requirements.txt, into a Python
# environment of its own.
#   scripts/install-sdk-tap.sh DIR
# Does nothing when DIR is up to date. python-ldap comes as source only: it is compiled here against OpenLDAP's library.
set -eu

dir=$1
requirements=$(dirname "$0")/../tests/bench/sdk_tap/requirements.txt
# One a line: package, and a file (a pattern where the directory is the architecture's) that shows it is there.
missing=$(printf '%s\n' 'libldap2-dev /usr/include/ldap.h' 'libsasl2-dev /usr/include/sasl/sasl.h' 'gcc /usr/bin/gcc' \
  'python3-venv /usr/lib/python3*/ensurepip/__init__.py' 'python3-dev /usr/include/python3*/Python.h' |
  while read -r package sign; do
    # Without quotes: a pattern; of the files it finds, the first will do.
    # shellcheck disable=SC2086
    set -- $sign
    [ -e "$1" ] || printf '%s ' "$package"
  done)
if [ -n "$missing" ]; then
  if ! command -v apt-get >/dev/null; then
    echo "install-sdk-tap: missing: $missing; install them, or what they are called there, with your system's package manager" >&2
    exit 1
  fi
  sudo=
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  $sudo apt-get -q update
  # Without quotes: a list of packages.
  # shellcheck disable=SC2086
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $missing
fi

exec "$(dirname "$0")/install-venv.sh" "$requirements" "$dir"
