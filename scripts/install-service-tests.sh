#!/bin/sh
# Installs what `make service-tests` drives: from PyPI, each group into a Python environment of its own, as pinned in
# tests/service/requirements/GROUP.txt; from npm (group `node`), as pinned in tests/service/requirements/node.
#   scripts/install-service-tests.sh DIR [GROUP ...]
# Does nothing for what is up to date. Without groups: all but `canaille`, which tests/service/conformance.py compares with. The servers come from scripts/install-servers.sh.
set -eu

dir=$1
shift
here=$(dirname "$0")
requirements=$here/../tests/service/requirements
[ $# -gt 0 ] || set -- service scim api oidc node

for group; do
  if [ "$group" = canaille ] && [ ! -e /usr/include/ldap.h ]; then
    "$here/install-packages.sh" install-service-tests gcc python3-dev libldap-dev libsasl2-dev
  fi
  if [ "$group" != node ]; then
    "$here/install-venv.sh" "$requirements/$group.txt" "$dir/$group"
    continue
  fi
  command -v npm >/dev/null || "$here/install-packages.sh" install-service-tests nodejs npm
  # Copied when all is installed, as install-venv.sh does.
  cmp -s "$requirements/node/package-lock.json" "$dir/node/installed.json" && continue
  echo "install-service-tests: installing $requirements/node into $dir/node"
  rm -rf "$dir/node"
  mkdir -p "$dir/node"
  cp "$requirements/node/package.json" "$requirements/node/package-lock.json" "$dir/node/"
  (cd "$dir/node" && npm ci --silent --no-audit --no-fund --ignore-scripts)
  cp "$requirements/node/package-lock.json" "$dir/node/installed.json"
done
