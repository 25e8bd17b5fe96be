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
# Without quotes: a list of packages.
# shellcheck disable=SC2086
"$(dirname "$0")/install-packages.sh" install-sdk-tap $missing

exec "$(dirname "$0")/install-venv.sh" "$requirements" "$dir"
